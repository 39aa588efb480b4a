"""What tests need of the machine beyond Python: programs, and the right to use them."""

import os
import shutil
from contextlib import suppress
from subprocess import DEVNULL, STDOUT, Popen, TimeoutExpired

import pytest

REQUIRED = "CALBATCH_REQUIRE_SERVICES"
"""Where this is set, tests that are marked ``services`` may not be skipped."""


def needed(*programs: str, package: str) -> None:
    """Skip a test where it cannot have what it needs, and say what that is."""
    missing = [name for name in programs if shutil.which(name, path=search_path()) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not found: apt-get install {package}")
    if os.geteuid() != 0:
        pytest.skip("only root may do this")


def search_path() -> str:
    """Return where programs are: daemons lie where only root looks."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def located(program: str) -> str:
    """Return a program's full path."""
    found = shutil.which(program, path=search_path())
    assert found is not None, program
    return found


def ended(process: Popen, seconds: float = 10.0) -> None:
    """End a process that was started here, gently if it lets us."""
    if process.poll() is None:
        process.terminate()
        with suppress(TimeoutExpired):
            process.wait(seconds)
    if process.poll() is None:
        process.kill()
    process.wait()


def started(*command: object, log, **more) -> Popen:
    """Start a process that stays in the foreground, with its output in an open file."""
    return Popen(list(map(str, command)), stdin=DEVNULL, stdout=log, stderr=STDOUT, **more)
