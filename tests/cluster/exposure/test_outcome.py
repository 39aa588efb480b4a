"""Outcomes: errors in one line, warnings, times and memory."""

import errno
import logging
import os
import pickle
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from calbatch.calibrate.errors import ReferenceFileError, StepError
from calbatch.cluster.errors import DeathError, LostError
from calbatch.cluster.exposure.outcome import (
    Outcome,
    Stopwatch,
    collect_warnings,
    describe_failure,
    failure,
    peak_memory,
)
from calbatch.cluster.exposure.policy import FailureKind
from calbatch.models.errors import (
    ChangedError,
    FileError,
    FullError,
    ModelError,
    StorageError,
    SupersededError,
    ValidationWarning,
)
from calbatch.models.fits.tables import cast_columns
from calbatch.models.fits.writer import Product
from calbatch.models.storage.files import read_stamp

RAW = Path("/data/a_uncal.fits")
FULL = OSError(28, "the disk is full")


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (FileError(RAW, "is empty"), f"{RAW}: is empty"),
        (StepError("jump: TGROUP is None"), f"{RAW}: jump: TGROUP is None"),
        (StepError("two\n  lines"), f"{RAW}: two lines"),
        (FULL, f"{RAW}: {FULL}"),
        (
            KeyError("x"),
            f"{RAW}: KeyError: 'x' (a defect in calbatch or in one of your steps)",
        ),
        (
            MemoryError(),
            f"{RAW}: not enough memory: MemoryError",
        ),
    ],
)
def test_a_failure_is_described_in_one_line_that_names_the_file(error, wanted):
    assert describe_failure(error, RAW) == wanted


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DeathError("its worker died"), FailureKind.DEATH),
        (LostError("the scheduler lost it"), FailureKind.LOST),
        (SupersededError(RAW, "another driver has taken over"), FailureKind.LOST),
        (FullError(RAW, "no space left"), FailureKind.FULL),
        (OSError(errno.EDQUOT, "quota"), FailureKind.FULL),
        (ChangedError(RAW, "has changed"), FailureKind.CHANGED),
        (StorageError(RAW, "does not answer"), FailureKind.STORAGE),
        (ConnectionResetError(), FailureKind.STORAGE),
        (FileError(RAW, "is empty"), FailureKind.FAULT),
        (OSError(errno.EACCES, "denied"), FailureKind.FAULT),
    ],
)
def test_failures_are_classified_for_retries(error, kind):
    assert failure(0, RAW, error, Stopwatch()).kind is kind


def read_wrongly(stamp=None):
    """Make NumPy raise inside a module that reads files, as it does for damaged ones."""
    cast_columns(np.zeros(1, [("a", "f4")]), [SimpleNamespace(name="a", shape=None)], "")


def test_unexpected_exceptions_while_reading_are_reported_as_damage(tmp_path):
    reference = tmp_path / "gain.fits"
    reference.write_bytes(b"SIMPLE")
    for arguments, named in (((), ""), ((read_stamp(reference),), f"{reference}: ")):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it raises
            read_wrongly(*arguments)
        assert not isinstance(caught.value, ModelError)
        text = describe_failure(caught.value, RAW)
        reason = f"{named}cannot be read, and may be damaged: {caught.type.__name__}: "
        assert text.startswith(f"{RAW}: {reason}")
        assert "defect in calbatch" not in text


def test_a_missing_reference_is_reported_with_rejected_header_values():
    remarks = [f"{RAW}: INSTRUME = 'FOO': must be …", f"{RAW}: INSTRUME = 'FOO': must be …"]
    missing = failure(0, RAW, ReferenceFileError("no mask reference"), Stopwatch(), remarks)
    assert missing.error == f"{RAW}: no mask reference; INSTRUME = 'FOO': must be …"
    other = failure(0, RAW, StepError("jump: no"), Stopwatch(), remarks)
    assert other.error == f"{RAW}: jump: no"
    assert missing.warnings == other.warnings == (remarks[0],)


def test_a_failure_has_its_traceback_and_time():
    clock = Stopwatch()
    try:
        raise StepError("no")  # noqa: TRY301
    except StepError as error:
        outcome = failure(3, RAW, error, clock)
    assert outcome.failed
    assert outcome.seconds > 0
    assert outcome.began == clock.began
    assert "Traceback" in outcome.details
    assert __file__ in outcome.details
    assert pickle.loads(pickle.dumps(outcome)) == outcome


def test_the_repr_of_an_outcome_is_one_short_line():
    product = Product("/out/a_rate.fits", 1, 2, "d")
    done = Outcome(number=0, path=RAW, written=(product, product))
    assert repr(done) == "<Outcome of a_uncal.fits: done, 2 products>"
    kept = Outcome(number=0, path=RAW, written=(product,), kept=True)
    assert repr(kept) == "<Outcome of a_uncal.fits: kept, 1 product>"
    failed = Outcome(number=0, path=RAW, error="is empty", details="Traceback …")
    assert repr(failed) == "<Outcome of a_uncal.fits: failed, is empty>"


def test_only_warnings_for_users_are_collected():
    found: list[str] = []
    log = logging.getLogger("calbatch.calibrate.somewhere")
    with collect_warnings(found):
        warnings.warn("odd value", ValidationWarning, stacklevel=1)
        warnings.warn("for developers", DeprecationWarning, stacklevel=1)
        warnings.warn("divide by zero", RuntimeWarning, stacklevel=1)
        log.warning("%s is odd too", "this")
        log.info("and this is not")
    log.warning("after")
    assert sorted(found) == ["odd value", "this is odd too"]
    with pytest.warns(ValidationWarning):  # the filters are restored
        warnings.warn("odd value", ValidationWarning, stacklevel=1)


def test_warnings_of_other_threads_belong_to_other_exposures():
    found: list[str] = []
    log = logging.getLogger("calbatch.calibrate.somewhere")
    with collect_warnings(found):
        thread = threading.Thread(target=log.warning, args=("of another exposure",))
        thread.start()
        thread.join()
    assert found == []


def test_warnings_before_a_failure_are_collected():
    found: list[str] = []

    def fails():
        warnings.warn("odd value", ValidationWarning, stacklevel=1)
        raise StepError("no")

    with pytest.raises(StepError), collect_warnings(found):
        fails()
    assert found == ["odd value"]


def test_threads_restore_the_warning_filters():
    before = warnings.showwarning, list(warnings.filters)
    entered, leave = threading.Event(), threading.Event()

    def other():
        with collect_warnings([]):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with collect_warnings([]):
        thread.start()
        entered.wait(10)
    leave.set()
    thread.join()
    assert (warnings.showwarning, list(warnings.filters)) == before


def test_peak_memory_excludes_the_parent_process():
    """A child's ru_maxrss, in contrast, starts at its parent's size."""
    ballast = bytearray(300_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    code = (
        "from calbatch.cluster.exposure.outcome import peak_memory; "
        "import sys; sys.stdout.write(str(peak_memory().bytes))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    own = int(done.stdout)
    assert peak_memory().bytes > 300e6
    assert 5e6 < own < 290e6
    assert peak_memory().process.endswith(f":{os.getpid()}")
