"""Requirements of tests on the machine: programs and permissions."""

import os
import shutil
from contextlib import suppress
from subprocess import DEVNULL, STDOUT, Popen, TimeoutExpired

import pytest

REQUIRED = "CALBATCH_REQUIRE_SERVICES"
"""Variable that, if set, turns skips of tests marked ``services`` into failures."""


def require_available(*programs: str, package: str) -> None:
    """Skip a test if the machine lacks a requirement, and name it."""
    missing = [name for name in programs if shutil.which(name, path=search_path()) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not found: apt-get install {package}")
    if os.geteuid() != 0:
        pytest.skip("only root may do this")


def search_path() -> str:
    """Return the search path of programs, with the folders of daemons."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def find_program(program: str) -> str:
    """Return the full path of a program."""
    found = shutil.which(program, path=search_path())
    assert found is not None, program
    return found


def end_process(process: Popen, seconds: float = 10.0) -> None:
    """End a child process; kill it if it does not end."""
    if process.poll() is None:
        process.terminate()
        with suppress(TimeoutExpired):
            process.wait(seconds)
    if process.poll() is None:
        process.kill()
    process.wait()


def start_process(*command: object, log, **more) -> Popen:
    """Start a foreground process that writes its output to an open file."""
    return Popen(list(map(str, command)), stdin=DEVNULL, stdout=log, stderr=STDOUT, **more)
