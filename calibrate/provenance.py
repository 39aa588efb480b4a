"""Record steps and references in the headers of products.

A keyword ``R_*`` holds one file of its type. If the steps used several, the keyword names an
override if there is one, and otherwise the file of the last step; HISTORY then lists the file of
each step.
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
    """Warn about corrections that are about to be applied to an exposure a second time.

    Parameters
    ----------
    name : str
        The name of the step or pipeline that runs.
    steps : mapping
        Its steps by name.
    model : DataModel
        The exposure.
    """
    again = [
        each
        for each, step in steps.items()
        if not step.skip and _read_status(model, step.cal_step) == "COMPLETE"
    ]
    if again:
        log.warning(
            "%s: steps already COMPLETE are applied again by %s: %s",
            model.path or type(model).__name__, name, ", ".join(again),
        )  # fmt: skip


def _read_status(model: DataModel, cal_step: str | None) -> str | None:
    """Return the status of a step in a model's header; None without one."""
    path = f"meta.cal_step.{cal_step}"
    return None if model.schema.lookup(path) is None else model[path]


def is_file(recorded: str | None) -> bool:
    """Return whether a keyword's value names a file."""
    return recorded is not None and recorded != NOT_APPLICABLE


def is_override(recorded: str | None) -> bool:
    """Return whether a keyword's value names a file that CRDS did not choose."""
    return recorded is not None and is_file(recorded) and not recorded.startswith("crds://")


def record_references(model: DataModel, step: str, used: Mapping[str, str]) -> None:
    """Write the references that a step used to a product's metadata.

    Parameters
    ----------
    model : DataModel
        The product.
    step : str
        The step's name.
    used : mapping
        ``crds://<name>``, a path, or ``N/A`` by reference type.
    """
    for kind, name in used.items():
        path = f"meta.ref_file.{kind}.name"
        if model.schema.lookup(path) is not None:
            earlier = _earlier_uses(model, kind, path)
            model._content.used_references += (UsedReference(kind, step, name),)
            _record_history(model, path, earlier, UsedReference(kind, step, name))
            model[path] = _keyword_value(model[path], name)


def record_choices(model: DataModel, chosen: Mapping[str, str]) -> None:
    """Write the references that a skipped step had looked up, unless their keywords have values."""
    for kind, name in chosen.items():
        path = f"meta.ref_file.{kind}.name"
        if model.schema.lookup(path) is not None and model[path] is None:
            model[path] = name


def record_software(model: DataModel, followed: str, version: str, context: str | None) -> None:
    """Write software versions and the CRDS context to a product's metadata, if its schema has them.

    Parameters
    ----------
    model : DataModel
        The product.
    followed : str
        The release of jwst whose numbers are reproduced.
    version : str
        The release of calbatch.
    context : str, optional
        The CRDS context; HISTORY keeps an earlier, different context.
    """
    values = {"meta.calibration_software_version": followed, "meta.calbatch.version": version}
    if context:
        values |= {CONTEXT: context, "meta.ref_file.crds.sw_version": version}
    for path, value in values.items():
        if model.schema.lookup(path) is not None:
            if path == CONTEXT and model[path] not in (None, value):
                model.history.append(f"CRDS_CTX of {EARLIER}: {model[path]}")
            model[path] = value


def _earlier_uses(model: DataModel, kind: str, path: str) -> list[UsedReference]:
    """Return earlier uses of a reference type; an earlier run is known from the keyword only."""
    uses = [used for used in model._content.used_references if used.kind == kind]
    if not uses and is_file(model[path]):
        uses = [UsedReference(kind, EARLIER, model[path])]
        model._content.used_references += tuple(uses)
    return uses


def _record_history(
    model: DataModel, path: str, earlier: list[UsedReference], latest: UsedReference
) -> None:
    """List each step's file in HISTORY as soon as they differ."""
    differed = len({used.recorded for used in earlier}) > 1
    if differed or any(used.recorded != latest.recorded for used in earlier):
        keyword = model.schema.keywords[path].keyword
        news = [latest] if differed else [*earlier, latest]
        model.history += [f"{keyword} of {used.step}: {used.recorded}" for used in news]


def _keyword_value(before: str | None, name: str) -> str:
    """Return the keyword's value after a second file."""
    if before is None or not is_file(before) or is_override(name):
        return name
    return before if is_override(before) or not is_file(name) else name
