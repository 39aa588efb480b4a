"""Cases of damage, and the classes of their outcomes."""

from __future__ import annotations

import random
import re
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

from support.damage import Mutator

SLOW_SECONDS = 5.0
MUCH_MEMORY = 200 << 20
HUNG_SECONDS = 300
NONE_OF = ("wrong data", "escaped", "slow", "memory")
CLASSES = ("same data", "clear error", "other data", *NONE_OF)
"""Other data may come of damage that is valid by itself, wrong data of damage that is not."""


class Refused(Exception):
    """A clear error, which a batch reports in one line."""


class Hung(BaseException):
    """A case that does not end."""


@dataclass(frozen=True)
class Subject:
    """A file to damage, and the entry point through which a batch reads it.

    Attributes
    ----------
    name : str
        Name of the subject.
    path : Path
        Its path; the file is restored after each case.
    mutators : tuple
        Kinds of damage.
    door : callable
        Reads it as a batch does; returns a digest of the result, or raises.
    seal : callable, optional
        Occasionally corrects checksums, so that they do not catch all damage.
    """

    name: str
    path: Path
    mutators: tuple[Mutator, ...]
    door: Callable[[], str]
    seal: Callable[[bytes, random.Random], bytes] | None = None


@dataclass
class Case:
    """The outcome of one case of damage."""

    subject: str
    number: int
    what: str
    valid: bool = True
    outcome: str = ""
    message: str = ""
    seconds: float = 0.0
    memory: int = 0

    def __str__(self) -> str:
        cost = f"{self.seconds:.1f} s, {self.memory >> 20} MB"
        return f"{self.subject}:{self.number}: {self.what}: {self.outcome} ({cost}): {self.message}"


@dataclass
class World:
    """Everything that a batch reads, in one folder, and a server of another cache."""

    folder: Path
    subjects: dict[str, Subject] = field(default_factory=dict)
    usual: dict[str, tuple[str, float]] = field(default_factory=dict)
    _count: int = 0

    def add(self, subjects: Iterable[Subject]) -> None:
        """Add subjects."""
        self.subjects.update({subject.name: subject for subject in subjects})

    def output(self) -> Path:
        """Return a new output folder."""
        self._count += 1
        return self.folder / f"out{self._count}"

    def case(self, name: str, number: int) -> Case:
        """Damage a subject by the number of the case, and classify the outcome."""
        subject = self.subjects[name]
        rng = random.Random(f"{name}:{number}")
        sound = subject.path.read_bytes()
        damaged = rng.choice(subject.mutators)(sound, rng)
        content = damaged.content
        if subject.seal is not None:
            content = subject.seal(content, rng)
        case = Case(name, number, damaged.what, damaged.valid)
        if name not in self.usual:
            self.usual[name] = self._digest_and_seconds(subject)
        subject.path.write_bytes(content)
        try:
            self._judge(subject, case, max(len(sound), len(content)))
        finally:
            subject.path.write_bytes(sound)
        return case

    def _digest_and_seconds(self, subject: Subject) -> tuple[str, float]:
        began = time.process_time()
        return subject.door(), time.process_time() - began

    def _judge(self, subject: Subject, case: Case, size: int) -> None:
        digest, seconds = self.usual[subject.name]
        began, before = time.process_time(), _reset_peak()
        with warnings.catch_warnings(), _alarm():
            warnings.simplefilter("ignore")
            try:
                found = subject.door()
                other = "other data" if case.valid or not _is_fits(subject) else "wrong data"
                case.outcome = "same data" if found == digest else other
            except Refused as error:
                case.outcome, case.message = "clear error", str(error)[:200]
            except Hung:
                case.outcome = "slow"
            except BaseException as error:
                case.outcome, case.message = "escaped", f"{type(error).__name__}: {error}"[:500]
                case.message += _where(error)
        case.seconds, case.memory = time.process_time() - began, _peak() - before
        if case.seconds > max(SLOW_SECONDS, 3 * seconds):
            case.outcome = "slow"
        elif case.memory > max(MUCH_MEMORY, 4 * size):
            case.outcome = "memory"


def forbidden_outcomes(world: World, count: int, start: int = 0) -> list[str]:
    """Run cases of all subjects in turn, print their outcomes, and return the forbidden."""
    numbered = zip(range(count), cycle(world.subjects), strict=False)
    cases = [world.case(name, start + number) for number, name in numbered]
    sys.stdout.write(f"{Counter((case.subject, case.outcome) for case in cases)}\n")
    return [str(case) for case in cases if case.outcome in NONE_OF]


def _is_fits(subject: Subject) -> bool:
    # A text without its end, or without a line, may be valid.
    return subject.path.suffix == ".fits"


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""


@contextmanager
def _alarm() -> Iterator[None]:
    def hung(number: int, frame: object) -> None:
        raise Hung

    before = signal.signal(signal.SIGALRM, hung)
    signal.alarm(HUNG_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _memory(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


def _reset_peak() -> int:
    """Reset this process's peak memory, and return its current memory."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _peak() -> int:
    return _memory("VmHWM")
