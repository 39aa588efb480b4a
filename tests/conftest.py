"""Fixtures and settings shared by every test."""

import atexit
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support import groups, jwst_schemas
from support.failures import drop_leftovers
from support.services import REQUIRED

# No deadline for one example: the first may compile a kernel or import astropy.
settings.register_profile("calbatch", deadline=None)
# On a shared machine, drawing data may be slow for reasons other than the code.
settings.register_profile(
    "ci", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci" if os.environ.get("CI") else "calbatch")

# Otherwise each of several hundred processes compiles all of calbatch's modules.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Keep the notes on batches out of the user's own registry.
os.environ["CALBATCH_STATE_DIR"] = tempfile.mkdtemp(prefix="calbatch-state-")
atexit.register(shutil.rmtree, os.environ["CALBATCH_STATE_DIR"], ignore_errors=True)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile kernels before several processes start, which would each compile them."""
    option = session.config.option
    if getattr(option, "numprocesses", None) and not option.collectonly:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        command = [sys.executable, "-m", "support.warming"]
        # kernels that cannot be compiled fail their own tests
        subprocess.run(command, env=environment, capture_output=True, check=False)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Assign tests to groups, which run in one process each, the longest groups first."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(groups.group_of(item)))
    items.sort(key=groups.rank_of)


REQUIRE = "CALBATCH_REQUIRE_AGREEMENT"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real files; skip the test if it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CALBATCH_REAL_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not a folder (set CALBATCH_REAL_DATA)")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _shared_schemas() -> None:
    """Let jwst's models parse each schema once."""
    jwst_schemas.share()


@pytest.fixture(scope="module", autouse=True)
def _little_to_collect() -> None:
    """Exempt the objects that exist so far from garbage collection.

    jwst collects garbage after every step. With everything that the tests import, that takes
    longer than the step.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Keep what a failed test leaves open from failing a later test."""
    failed = item.session.testsfailed
    result = yield
    if item.session.testsfailed > failed:
        drop_leftovers()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where comparisons and services are mandatory."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        if item.get_closest_marker("agreement") or "real_data" in getattr(item, "fixturenames", ()):
            _refuse(report, REQUIRE)
        if item.get_closest_marker("services"):
            _refuse(report, REQUIRED)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn the skip of a whole module into a failure where comparisons are mandatory."""
    report = yield
    if report.skipped:
        _refuse(report, REQUIRE)
    return report


def _refuse(report: pytest.TestReport | pytest.CollectReport, variable: str) -> None:
    if os.environ.get(variable):
        report.outcome = "failed"
        report.longrepr = f"skipped, but {variable} is set: {report.longrepr}"
