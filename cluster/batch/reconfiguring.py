"""Restoring a batch's step from its ``batch.cfg``, checked against the ledger."""

from __future__ import annotations

from calbatch.calibrate.errors import CalibrationError
from calbatch.calibrate.parameters import cfg
from calbatch.calibrate.step import Step
from calbatch.cluster.errors import RequestError
from calbatch.cluster.folder import BatchFolder
from calbatch.cluster.ledger import BatchRow
from calbatch.cluster.ledger.sqlite_errors import decoding
from calbatch.cluster.ledger.store import NAME
from calbatch.cluster.planning.identity import parameters_of
from calbatch.cluster.planning.step_configuration import configure_step

_UNCHECKED = ("output_dir",)  # a folder of products may have been moved


def reconfigure(folder: BatchFolder, row: BatchRow) -> Step:
    """Return the step of a batch with the parameters with which the batch was started.

    Parameters
    ----------
    folder : BatchFolder
        The batch's files.
    row : BatchRow
        The batch's record in its ledger, with its parameters.

    Raises
    ------
    RequestError
        If ``batch.cfg`` cannot be read, has been truncated, or differs from the ledger.
    DamagedLedgerError
        If the parameters in the ledger cannot be decoded.
    """
    try:
        is_cut = cfg.read(folder.config).cls is None
    except CalibrationError as error:
        raise RequestError(str(error)) from error
    if is_cut:
        raise _mismatch(folder, "has no class: it has been truncated or changed")
    step = configure_step(folder.config)
    step.output_dir = str(folder.output)
    _require_recorded(step, folder, row)
    return step


def _require_recorded(step: Step, folder: BatchFolder, row: BatchRow) -> None:
    """Refuse parameters that differ from the recorded ones, except changed defaults."""
    file, recorded = str(folder.config), _decode_recorded(folder, row)
    for section, values in parameters_of(step).items():
        for name, (value, source) in values.items():
            before, source_before = recorded.get((section, name), (value, source))
            is_chosen = source == file or source != source_before
            if value != before and is_chosen and name not in _UNCHECKED:
                place = f"{section}.{name}" if section else name
                reason = f"{place} is {value}, but the batch was started with {before}"
                raise _mismatch(folder, f"{reason}: the file has been truncated or changed")


def _decode_recorded(folder: BatchFolder, row: BatchRow) -> dict[tuple[str, str], tuple[str, str]]:
    """Return the value and the source of each recorded parameter, by section and name."""
    with decoding(folder.state / NAME):
        return {
            (section, name): (str(value), str(source))
            for section, values in row.parameters.items()
            for name, (value, source) in values.items()
        }


def _mismatch(folder: BatchFolder, reason: str) -> RequestError:
    return RequestError(
        f"{folder.config}: {reason}; `calbatch run` with the same inputs starts a new batch, "
        "which does not repeat exposures that are done"
    )
