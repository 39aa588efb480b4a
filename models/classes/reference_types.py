"""The model classes of each reference type, and the one that fits a file."""

from __future__ import annotations

from collections.abc import Callable

from calbatch.models.classes import _references as references
from calbatch.models.classes._references import ReferenceFileModel
from calbatch.models.fits.layout import Hdu, Layout
from calbatch.models.schema.spec import FieldSpec, load_schema

REFERENCES: dict[str, tuple[type[ReferenceFileModel], ...]] = {
    "area": (references.PixelAreaModel,),
    "barshadow": (references.BarshadowModel,),
    "bkg": (references.WfssBkgModel, references.SossBkgModel),
    "dark": (references.DarkModel, references.DarkMIRIModel),
    "flat": (references.FlatModel,),
    "fringe": (references.FringeModel,),
    "gain": (references.GainModel,),
    "ipc": (references.IPCModel,),
    "lastframe": (references.LastFrameModel,),
    "linearity": (references.LinearityModel,),
    "mask": (references.MaskModel,),
    "nrm": (references.NRMModel,),
    "persat": (references.PersistenceSatModel,),
    "pictureframe": (references.PictureFrameModel,),
    "psfmask": (references.PsfMaskModel,),
    "readnoise": (references.ReadnoiseModel,),
    "reset": (references.ResetModel,),
    "resol": (references.ResolutionModel,),
    "rscd": (references.RSCDModel,),
    "saturation": (references.SaturationModel,),
    "speckernel": (references.SpecKernelModel,),
    "straymask": (references.StrayLightModel,),
    "superbias": (references.SuperBiasModel,),
    "trapdensity": (references.TrapDensityModel,),
    "wfssbkg": (references.WfssBkgModel,),
}
"""Model classes by CRDS reference type; of several, the contents of the file choose one."""


def choose_reference_class(
    reference_type: str, read_layout: Callable[[], Layout]
) -> type[ReferenceFileModel] | None:
    """Return the model class of a reference file, or None for a type without classes.

    Parameters
    ----------
    reference_type : str
        Reference type, such as ``dark``.
    read_layout : callable
        Returns the file's layout; it is called if the type has several classes.

    Returns
    -------
    class or None
        The first class whose required arrays the file has. If it has those of none, the first
        class, with which opening the file states what is missing.
    """
    classes = REFERENCES.get(reference_type, ())
    if len(classes) < 2:
        return classes[0] if classes else None
    layout = read_layout()
    return next((cls for cls in classes if _has_contents(layout, cls)), classes[0])


def _has_contents(layout: Layout, cls: type[ReferenceFileModel]) -> bool:
    """Return whether a file has all that a class requires, and anything of it."""
    specs = load_schema(cls.schema_url).fields.values()
    present = [spec for spec in specs if _is_as_specified(layout.find(spec.hdu), spec)]
    return bool(present) and all(spec in present for spec in specs if spec.required)


def _is_as_specified(hdu: Hdu | None, spec: FieldSpec) -> bool:
    if hdu is None or spec.is_table != (hdu.kind == "table"):
        return False
    return spec.is_table or spec.ndim in (None, len(hdu.shape))
