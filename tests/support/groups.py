"""Groups of tests: each runs in one process, where its tests share fixtures."""

from functools import cache
from pathlib import Path

import pytest

FIRST = (
    "cluster/test_on_slurm.py",
    "cluster/sites/slurm/test_slurm_site.py",
    "agreement/test_detector1.py",
    "cluster/sites/slurm/test_driver_job.py",
    "cluster/test_slurm_directives.py",
    "test_services.py",
    "test_documentation.py",
    "cluster/test_remote_batch.py",
    "cluster/test_twohosts.py",
    "cluster/test_watch.py",
    "calibrate/steps/test_refpix.py",
    "cluster/test_faults.py",
    "cluster/test_kills.py",
    "cluster/test_chaos.py",
    "cluster/sites/test_draining.py",
    "cluster/sites/test_silence.py",
    "cluster/test_detached.py",
    "models/storage/test_remote_files.py",
)
"""The files whose tests take longest. They start first, so that none runs alone at the end."""

SPLIT = ("agreement/test_detector1.py", "cluster/test_faults.py")
"""Files whose tests share no costly fixture: each function is a group of its own."""

TOGETHER = {
    f"test_{name}.py": "repository"
    for name in ("repository", "equations", "imports", "pages", "suite")
} | {
    f"cluster/{name}.py": "drivers"
    for name in (
        "batch/test_handle",
        "batch/test_leftovers",
        "batch/test_page_reports",
        "driver/test_deaths",
    )
}
"""Files that form groups: their tests parse the same modules, or fork drivers from one process."""

BATCHES_ON_SLURM = "cluster/test_on_slurm.py"
"""The file whose tests run beside all others on Slurm, and take as long."""


def group_of(item: pytest.Item) -> str:
    """Return the name of a test's group.

    Tests on Slurm mostly wait, and would run alone at the end in one group. Each of their two
    groups has a Slurm of its own, which serves one test at a time.
    """
    name = _file_of(item)
    if name != BATCHES_ON_SLURM and "slurm_host" in getattr(item, "fixturenames", ()):
        return "slurm"
    return f"{name}::{item.originalname}" if name in SPLIT else TOGETHER.get(name, name)


def rank_of(item: pytest.Item) -> int:
    """Return the position of a test's file in the order of files."""
    name = _file_of(item)
    return FIRST.index(name) if name in FIRST else len(FIRST)


def _file_of(item: pytest.Item) -> str:
    return _relative(item.path, item.config.rootpath)


@cache
def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root / "tests"))
