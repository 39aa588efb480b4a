"""The jobs of a batch."""

from pathlib import Path

from support.fakes import exposure_path, plan

from calbatch.cluster.driver.batch_setup import BatchSetup
from calbatch.cluster.driver.recording import Attempt
from calbatch.cluster.driver.staging import Staging
from calbatch.cluster.exposure.job import ExposureOptions

OPTIONS = ExposureOptions(fsync=False)


def test_a_job_is_made_of_the_plan_and_the_settings():
    setup = BatchSetup(name="b", options=OPTIONS, output=Path("/out"), logs=Path("/logs"))
    planned = plan(3)
    job = setup.job(Attempt(planned, serial=2))
    assert (job.number, job.path, job.batch) == (3, exposure_path(3), "b")
    assert job.step is planned.settings.step
    assert job.options is OPTIONS
    assert job.stamp == (planned.source.size, planned.source.mtime_ns)
    assert job.log == Path("/logs/3-2.log")
    assert job.staging is None


def test_without_logs_and_source_a_job_has_neither():
    setup = BatchSetup(name="b", options=OPTIONS, output=Path("/out"))
    job = setup.job(Attempt(plan(3, source=None), serial=1))
    assert job.log is None
    assert job.stamp is None
    setup.make_staging(job)
    setup.fence(job, ended=False)


def test_each_attempt_has_its_own_staging_folder(tmp_path):
    staging = Staging(tmp_path)
    setup = BatchSetup(name="b", options=OPTIONS, output=tmp_path, staging=staging)
    jobs = [setup.job(Attempt(plan(0), serial=serial)) for serial in (1, 2)]
    for job in jobs:
        setup.make_staging(job)
        assert job.staging.is_dir()
    setup.fence(jobs[0], ended=False)
    assert not jobs[0].staging.exists()
    assert jobs[1].staging.exists()
