"""The services that tests run: they come up, and leave nothing."""

import os
import time

import psutil
import pytest
from support.onehost import one_host, slurm


@pytest.mark.services
def test_slurm_runs_jobs_and_leaves_nothing(tmp_path):
    ours = psutil.Process()
    with one_host() as folder:
        written = tmp_path / "written"
        job = slurm("sbatch", "--parsable", "-o", tmp_path / "log", f"--wrap=hostname > {written}")
        slurm("sbatch", "--parsable", "-o", tmp_path / "other", "--wrap=sleep 600")
        limit = time.monotonic() + 20
        while not written.exists() and time.monotonic() < limit:
            time.sleep(0.1)
        assert int(job)
        assert written.read_text().strip() == os.uname().nodename
        daemons = {child.name() for child in ours.children()}
        assert {"munged", "slurmctld", "slurmd"} <= daemons
    assert not folder.exists()
    left = [p for p in psutil.process_iter(["cmdline"]) if str(folder) in str(p.info["cmdline"])]
    assert left == []
    assert not {"munged", "slurmctld", "slurmd"} & {child.name() for child in ours.children()}
