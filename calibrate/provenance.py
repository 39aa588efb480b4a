"""What a product's header says of the steps that made it.

A keyword ``R_*`` has room for one file of its type. Where the steps that ran used several, it names
an override rather than a file that CRDS chose, and otherwise the file of the last step; HISTORY
then names each step's.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from calbatch.models.arrays import UsedReference
from calbatch.models.model import DataModel

if TYPE_CHECKING:
    from calbatch.calibrate.step import Step

log = logging.getLogger(__name__)

NOT_APPLICABLE = "N/A"
EARLIER = "earlier steps"
CONTEXT = "meta.ref_file.crds.context_used"


def warn_repeated(name: str, steps: Mapping[str, Step], model: DataModel) -> None:
    """Warn of corrections that an exposure has had already and is about to get again.

    Parameters
    ----------
    name : str
        Of the step or pipeline that runs.
    steps : mapping
        The steps that it is made of, by name.
    model : DataModel
        The exposure.
    """
    status = model.to_flat_dict()
    again = [
        each
        for each, step in steps.items()
        if not step.skip and status.get(f"meta.cal_step.{step.cal_step}") == "COMPLETE"
    ]
    if again:
        log.warning(
            "%s: COMPLETE already, and applied again by %s: %s",
            model.path or type(model).__name__, name, ", ".join(again),
        )  # fmt: skip


def is_file(recorded: str | None) -> bool:
    """Return whether what a keyword says is a file."""
    return recorded is not None and recorded != NOT_APPLICABLE


def is_override(recorded: str | None) -> bool:
    """Return whether what a keyword says is a file that CRDS did not choose."""
    return recorded is not None and is_file(recorded) and not recorded.startswith("crds://")


def record_references(model: DataModel, step: str, used: Mapping[str, str]) -> None:
    """Write the references that a step used into a product's metadata.

    Parameters
    ----------
    model : DataModel
        The product.
    step : str
        The step's name.
    used : mapping
        Reference type to ``crds://<name>``, a path, or ``N/A``.
    """
    for kind, name in used.items():
        path = f"meta.ref_file.{kind}.name"
        if model.schema.lookup(path) is not None:
            earlier = _earlier(model, kind, path)
            model._content.used_references += (UsedReference(kind, step, name),)
            _name_each(model, path, earlier, UsedReference(kind, step, name))
            model[path] = _for_keyword(model[path], name)


def record_absence(model: DataModel, used: Mapping[str, str]) -> None:
    """Write ``N/A`` for the types of which a skipped step had no reference, nor any step before."""
    for kind, name in used.items():
        path = f"meta.ref_file.{kind}.name"
        absent = name == NOT_APPLICABLE and model.schema.lookup(path) is not None
        if absent and model[path] is None:
            model[path] = name


def record_software(model: DataModel, followed: str, version: str, context: str | None) -> None:
    """Write the software and the CRDS context into a product's metadata, where its schema has them.

    Parameters
    ----------
    model : DataModel
        The product.
    followed : str
        The release of jwst whose numbers it has.
    version : str
        The release of calbatch.
    context : str, optional
        The CRDS context; HISTORY keeps an earlier one that differs.
    """
    values = {"meta.calibration_software_version": followed, "meta.calbatch.version": version}
    if context:
        values |= {CONTEXT: context, "meta.ref_file.crds.sw_version": version}
    for path, value in values.items():
        if model.schema.lookup(path) is not None:
            if path == CONTEXT and model[path] not in (None, value):
                model.history.append(f"CRDS_CTX of {EARLIER}: {model[path]}")
            model[path] = value


def _earlier(model: DataModel, kind: str, path: str) -> list[UsedReference]:
    """Return what steps used before, of one type; of another run only the keyword is known."""
    known = [used for used in model._content.used_references if used.kind == kind]
    if not known and is_file(model[path]):
        known = [UsedReference(kind, EARLIER, model[path])]
        model._content.used_references += tuple(known)
    return known


def _name_each(model: DataModel, path: str, earlier: list[UsedReference], latest: UsedReference) -> None:
    """Name each step's file in HISTORY, once they differ."""
    told = len({used.recorded for used in earlier}) > 1
    if told or any(used.recorded != latest.recorded for used in earlier):
        keyword = model.schema.keywords[path].keyword
        news = [latest] if told else [*earlier, latest]
        model.history += [f"{keyword} of {used.step}: {used.recorded}" for used in news]


def _for_keyword(before: str | None, name: str) -> str:
    """Return what the keyword says of two files."""
    if before is None or not is_file(before) or is_override(name):
        return name
    return before if is_override(before) or not is_file(name) else name
