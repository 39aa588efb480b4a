"""The services that tests run: they come up, and leave nothing."""

import os

import psutil
import pytest
from support.onehost import one_host, slurm
from support.waiting import eventually


@pytest.mark.services
def test_slurm_runs_jobs_and_leaves_nothing(tmp_path):
    ours = psutil.Process()
    before = {child.pid for child in ours.children()}  # there may be another Slurm
    with one_host() as folder:
        written = tmp_path / "written"
        job = slurm("sbatch", "--parsable", "-o", tmp_path / "log", f"--wrap=hostname > {written}")
        slurm("sbatch", "--parsable", "-o", tmp_path / "other", "--wrap=sleep 600")
        eventually(lambda: written.exists() and written.read_text())
        assert int(job)
        assert written.read_text().strip() == os.uname().nodename
        daemons = {child.name() for child in ours.children() if child.pid not in before}
        assert {"munged", "slurmctld", "slurmd"} <= daemons
    assert not folder.exists()
    left = [p for p in psutil.process_iter(["cmdline"]) if str(folder) in str(p.info["cmdline"])]
    assert left == []
    assert not daemons & {child.name() for child in ours.children() if child.pid not in before}
