"""Comparison of one kind of exposure with jwst, step by step: a row of the agreement table."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy.io import fits

from calbatch.calibrate.errors import StepError
from support.agreement import (
    Arrays,
    Difference,
    jwst_guider_steps,
    jwst_steps,
    measure_differences,
    our_guider_steps,
    our_steps,
)
from support.agreement_kinds import GUIDE_STAR, Kind
from support.simulated import offline, simulated_exposure

AGREES, DIFFERS, REFUSED, NEITHER, FAILS, ALONE = (
    "agrees", "differs", "refused", "neither", "fails", "only calbatch",
)  # fmt: skip
NOT_RUN, NOT_SIMULATED = "not run", "not simulated"


@dataclass
class StepResult:
    """The comparison of all arrays after one step.

    Attributes
    ----------
    values, flags : int
        Compared values, and flags that differ.
    worst : float
        Largest difference as a fraction of the tolerance.
    is_skipped : bool
        True if jwst skips the step.
    """

    values: int = 0
    flags: int = 0
    worst: float = 0.0
    is_skipped: bool = False


@dataclass
class Row:
    """The result for one kind: its outcome, the reason for it, and each step's comparison."""

    outcome: str
    why: str = ""
    pixels: int = 0
    steps: dict[str, StepResult] = field(default_factory=dict)


def compare_kind(kind: Kind) -> Row:
    """Simulate an exposure of a kind, calibrate it with jwst and calbatch, and compare."""
    exposure = simulated_exposure(kind.spec, kind.seed)
    with tempfile.TemporaryDirectory() as folder, offline(exposure.set), np.errstate(all="ignore"):
        path = copy_with_cards(exposure.path, Path(folder), kind.cards)
        pixels = int(np.prod(exposure.data.shape[-2:]))
        return compare_file(path, kind, pixels) if kind.is_simulated else describe_refusal(path)


def copy_with_cards(path: Path, folder: Path, cards: Mapping[str, str | int]) -> Path:
    """Return a copy of a file with further header cards; the file itself if there are none."""
    if not cards:
        return path
    copy = folder / path.name
    with fits.open(path, memmap=False) as hdus:
        hdus[0].header.update(cards)
        hdus.writeto(copy)
    return copy


def describe_refusal(path: Path) -> Row:
    """Return the row of an exposure that calbatch refuses; jwst may calibrate it, or fail."""
    wanted, found = _Run(jwst_steps(path)), _Run(our_steps(path))
    for run in (wanted, found):
        run.finish()
    if not isinstance(found.error, StepError):
        return Row(NOT_SIMULATED, f"calbatch does not refuse it: {found.error!r}")
    return _describe_errors(Row(REFUSED), wanted.error, found.error)


def compare_file(path: Path, kind: Kind, pixels: int) -> Row:
    """Calibrate an exposure with jwst and calbatch, and compare after each step."""
    steps = jwst_guider_steps, our_guider_steps
    if kind.family != GUIDE_STAR:
        steps = jwst_steps, our_steps
    wanted, found = (_Run(make(path, **kind.parameters)) for make in steps)
    row = Row(AGREES, pixels=pixels)
    earlier: set[str] = set()
    while True:
        theirs, ours = wanted.advance(), found.advance()
        if theirs is None or ours is None:
            break
        reason = _compare_step(row, theirs, ours, kind.read_noise, earlier)
        if reason and not row.why:
            row.outcome, row.why = DIFFERS, f"{theirs.step}: {reason}"
        earlier = set(theirs.status)
    for run in (wanted, found):
        run.finish()
    return _describe_errors(row, wanted.error, found.error)


def _compare_step(
    row: Row, theirs: Arrays, ours: Arrays, read_noise: float, earlier: set[str]
) -> str:
    """Add a step to the row; return why it differs."""
    new = set(theirs.status) - earlier
    skipped = bool(new) and all(theirs.status[name] == "SKIPPED" for name in new)
    differences = measure_differences(ours, theirs, read_noise)
    result = row.steps[theirs.step] = StepResult(is_skipped=skipped)
    for difference in differences.values():
        result.values += difference.values
        result.flags += difference.flags
        result.worst = max(result.worst, difference.worst)
    if ours.step != theirs.step or ours.status != theirs.status:
        return f"step {ours.step} with status {ours.status} for jwst's {theirs.status}"
    if ours.fields.keys() != theirs.fields.keys():
        return f"arrays {list(ours.fields)} for jwst's {list(theirs.fields)}"
    return _first_failure(differences)


def _first_failure(differences: Mapping[str, Difference]) -> str:
    failures = (f"{name}: {one}" for name, one in differences.items() if not one.agrees)
    return next(failures, "")


def _describe_errors(row: Row, theirs: Exception | None, ours: Exception | None) -> Row:
    """Replace the outcome of a row where one of the two raises an error."""
    if theirs is None and ours is None:
        return row
    reasons = [f"{name}: {_first_line(error)}" for name, error in
               (("jwst", theirs), ("calbatch", ours)) if error is not None]  # fmt: skip
    if theirs is not None:
        row.outcome = ALONE if ours is None else NEITHER
    else:
        row.outcome = REFUSED if isinstance(ours, StepError) else FAILS
    row.why = "; ".join(reasons)
    return row


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {_without_folders(lines[0])}"[:300]


def _without_folders(text: str) -> str:
    """Return a message with the names of files instead of their paths."""
    return " ".join(word.rsplit("/", 1)[-1] if word[:1] == "/" else word for word in text.split())


class _Run:
    """The steps of one pipeline until it ends or raises an error."""

    def __init__(self, steps: Iterator[Arrays]) -> None:
        self.steps = steps
        self.error: Exception | None = None

    def advance(self) -> Arrays | None:
        """Return the arrays after the next step; None at the end, and after an error."""
        if self.error is not None:
            return None
        try:
            return next(self.steps, None)
        except Exception as error:  # any exception is a result here
            self.error = error
            return None

    def finish(self) -> None:
        """Run the remaining steps."""
        while self.advance() is not None:
            pass
