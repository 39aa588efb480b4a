"""Fixtures and settings shared by every test."""

import atexit
import gc
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support.services import REQUIRED

# The first example may compile a kernel or import astropy: no time limit on one example.
settings.register_profile("calbatch", deadline=None)
# On a shared machine hypothesis may find that drawing data is slow, which says nothing of the code.
settings.register_profile(
    "ci", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci" if os.environ.get("CI") else "calbatch")

# Notes on batches are no business of whoever runs the tests.
os.environ["CALBATCH_STATE_DIR"] = tempfile.mkdtemp(prefix="calbatch-state-")
atexit.register(shutil.rmtree, os.environ["CALBATCH_STATE_DIR"], ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests in one process, which have fixtures in common; so with services."""
    for item in items:
        group = "services" if item.get_closest_marker("services") else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))


REQUIRE = "CALBATCH_REQUIRE_AGREEMENT"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real files, or skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CALBATCH_REAL_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not a folder (set CALBATCH_REAL_DATA)")
    return folder


@pytest.fixture(scope="module", autouse=True)
def _little_to_collect() -> None:
    """Take what is there by now out of garbage collection.

    jwst collects garbage after every step; with everything that tests import it takes longer than
    the step.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail what is skipped where it may not be: comparisons, and what needs services."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        if item.get_closest_marker("agreement") or "real_data" in getattr(item, "fixturenames", ()):
            _refuse(report, REQUIRE)
        if item.get_closest_marker("services"):
            _refuse(report, REQUIRED)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a module that skips itself altogether, where no comparison may be skipped."""
    report = yield
    if report.skipped:
        _refuse(report, REQUIRE)
    return report


def _refuse(report: pytest.TestReport | pytest.CollectReport, variable: str) -> None:
    if os.environ.get(variable):
        report.outcome = "failed"
        report.longrepr = f"skipped, but {variable} is set: {report.longrepr}"
