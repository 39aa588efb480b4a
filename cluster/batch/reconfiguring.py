"""The step of a batch that is taken up again, from its ``batch.cfg``, checked by its ledger."""

from __future__ import annotations

from calbatch.calibrate import cfg
from calbatch.calibrate.errors import CalibrationError
from calbatch.calibrate.step import Step
from calbatch.cluster.errors import RequestError
from calbatch.cluster.folder import BatchFolder
from calbatch.cluster.ledger import BatchRow
from calbatch.cluster.planning.identity import parameters_of
from calbatch.cluster.planning.step_configuration import configure_step

_UNCHECKED = ("output_dir",)  # a folder of products may have been moved


def reconfigure(folder: BatchFolder, row: BatchRow) -> Step:
    """Return the step of a batch with the parameters that the batch was begun with.

    Parameters
    ----------
    folder : BatchFolder
        The batch's files.
    row : BatchRow
        The batch as its ledger has it, with the parameters that it was begun with.

    Raises
    ------
    RequestError
        If ``batch.cfg`` cannot be read, has been cut, or says something else than the ledger.
    """
    try:
        is_cut = cfg.read(folder.config).cls is None
    except CalibrationError as error:
        raise RequestError(str(error)) from error
    if is_cut:
        raise _mismatch(folder, "has no class: it has been cut or changed")
    step = configure_step(folder.config)
    step.output_dir = str(folder.output)
    _require_recorded(step, folder, row)
    return step


def _require_recorded(step: Step, folder: BatchFolder, row: BatchRow) -> None:
    """Refuse parameters other than recorded ones; a later release's defaults may differ."""
    file = str(folder.config)
    for section, values in parameters_of(step).items():
        recorded = row.parameters.get(section, {})
        for name, (value, source) in values.items():
            if name in _UNCHECKED or name not in recorded:
                continue
            before, source_before = recorded[name]
            if value != before and (source == file or source != source_before):
                place = f"{section}.{name}" if section else name
                reason = f"{place} is {value}, but the batch was begun with {before}"
                raise _mismatch(folder, f"{reason}: the file has been cut or changed")


def _mismatch(folder: BatchFolder, reason: str) -> RequestError:
    return RequestError(
        f"{folder.config}: {reason}; `calbatch run` with the same inputs begins a batch anew, and "
        "does not repeat what is done"
    )
