"""The job of one exposure, as in a batch."""

from pathlib import Path

from calbatch.calibrate.references import CrdsReferences
from calbatch.cluster.exposure.job import ExposureOptions, Job
from calbatch.cluster.planning.planner import Planner
from calbatch.cluster.planning.step_configuration import configure_step


def job_of(path: Path, folder: Path, tile_rows: int | None = None) -> Job:
    """Return the job that calibrates an exposure with detector1 and writes to a folder."""
    step = configure_step("detector1", parameters={"": {"output_dir": str(folder)}})
    (planned,) = Planner(step, CrdsReferences()).plan_block([(0, path)])
    options = ExposureOptions(fsync=False, tile_rows=tile_rows)
    return Job(
        number=0,
        path=path,
        step=step,
        references=planned.references,
        options=options,
        batch="benchmark",
    )
