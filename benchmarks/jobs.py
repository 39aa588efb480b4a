"""One exposure's job, as a batch would make it."""

from pathlib import Path

from calbatch.calibrate.references import CrdsReferences
from calbatch.cluster.exposure.job import Job, Options
from calbatch.cluster.planning.configure import configured


def job_of(path: Path, folder: Path, tile_rows: int | None = None) -> Job:
    """Return the job that calibrates an exposure with detector1 into a folder."""
    step = configured("detector1", parameters={"": {"output_dir": str(folder)}})
    options = Options(fsync=False, tile_rows=tile_rows)
    return Job(0, path, step, CrdsReferences(), options, "benchmark")
