"""Guide-star exposures: their types, and the model that their steps take."""

from __future__ import annotations

from calbatch.calibrate.errors import StepError
from calbatch.models.datamodels import GuiderCalModel, GuiderRawModel
from calbatch.models.model import DataModel

GUIDE_STARS = (
    "FGS_ID-IMAGE", "FGS_ID-STACK", "FGS_ACQ1", "FGS_ACQ2", "FGS_TRACK", "FGS_FINEGUIDE",
)  # fmt: skip
"""Exposure types of the fine guidance sensor to which no rates are fitted."""


def exposure_type(exposure: DataModel) -> str:
    """Return EXP_TYPE in capital letters."""
    return str(exposure.meta.exposure.type).upper()


def is_guide_star(exposure: DataModel) -> bool:
    """Return whether an exposure is one that the pipeline guider calibrates."""
    return exposure_type(exposure) in GUIDE_STARS


def as_guider(exposure: DataModel) -> GuiderRawModel:
    """Return a raw guide-star exposure with its tables; missing flags are zero.

    Raises
    ------
    StepError
        If it is of another type, or its data are not single reads.
    """
    require_guide_star(exposure)
    if len(exposure.shape or ()) != 4:
        raise StepError(
            f"{exposure.path}: must be a raw guide-star exposure, (integrations, groups, rows, "
            f"columns), but its shape is {exposure.shape}"
        )
    return exposure if isinstance(exposure, GuiderRawModel) else GuiderRawModel(exposure)


def as_guider_rates(exposure: DataModel) -> GuiderCalModel:
    """Return the rates of a guide-star exposure, which a product of guider_cds holds.

    Raises
    ------
    StepError
        If it is of another type, or its data are not rates.
    """
    require_guide_star(exposure)
    if len(exposure.shape or ()) != 3:
        raise StepError(
            f"{exposure.path}: must hold the rates of a guide-star exposure, (integrations, rows, "
            f"columns), since dq_init and guider_cds are skipped, but its shape is {exposure.shape}"
        )
    return exposure if isinstance(exposure, GuiderCalModel) else GuiderCalModel(exposure)


def require_guide_star(exposure: DataModel) -> None:
    """Reject an exposure of another type.

    Raises
    ------
    StepError
        If it is not of a guide star.
    """
    if not is_guide_star(exposure):
        raise StepError(
            f"{exposure.path}: its EXP_TYPE is {exposure.meta.exposure.type}, but the pipeline "
            f"guider and its steps calibrate only guide stars ({', '.join(GUIDE_STARS)}); "
            "detector1 calibrates the others"
        )
