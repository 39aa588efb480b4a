"""Jobs for exposures that are alike, and what they come to."""

from pathlib import Path
from types import FunctionType

import pytest

from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.references import CrdsReferences, ResolvedReferences
from calbatch.cluster.exposure.job import ExposureOptions, Job, calibrate
from calbatch.cluster.planning.step_configuration import configure_step
from calbatch.models import datamodels
from support.batches import DATE, checksums

MODULE = "calbatch.calibrate.steps.of_a_test"


def make_jobs(made, folder, step=Detector1Pipeline, paths=None, **options):
    """Return jobs for the exposures of a simulated set."""
    step = configure_step(step) if isinstance(step, type) else step
    step.output_dir = str(folder)
    jobs = []
    for number, path in enumerate(paths or made.exposures):
        header = datamodels.open(path).to_flat_dict()
        types = step.wanted_references(header["meta.instrument.name"])
        references = find_references(made, header, types)
        how = ExposureOptions(date=DATE, fsync=False, **options)
        jobs.append(
            Job(number=number, path=path, step=step, references=references, options=how, batch="b")
        )
    return jobs


def find_references(made, header, types):
    if made is None:
        return ResolvedReferences("none")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in made.environment().items():
            patch.setenv(name, value)
        return CrdsReferences().resolve({0: header}, types)[0]


def calibrate_all(jobs, name="shared", threads=0):
    """Calibrate jobs, and return the checksums of the products and the outcomes.

    Products go to the folder of the jobs, which then gets another name.
    """
    folder = Path(jobs[0].step.output_dir)
    folder.mkdir()
    outcomes = [calibrate(job, threads) for job in jobs]
    folder.rename(folder.parent / name)
    return checksums(folder.parent / name), outcomes


def errors(outcomes):
    return [outcome.error for outcome in outcomes]


def as_built_in(cls):
    """Return a class of steps as one of calbatch's own."""
    cls.__module__ = MODULE
    for value in vars(cls).values():
        if isinstance(value, FunctionType):
            value.__module__ = MODULE
    return cls
