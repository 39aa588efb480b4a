"""The site that is this process."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from support.batches import small_set
from support.placed import jobs

from calbatch.calibrate.step import Step
from calbatch.cluster.planning.step_configuration import configure_step
from calbatch.cluster.sites import in_process
from calbatch.cluster.sites.in_process import InProcess, describe_threads
from calbatch.models.datamodels import RampModel


@pytest.fixture
def calibrated(monkeypatch):
    """Collect the jobs that are calibrated, with their threads; a job's outcome is its number."""
    found = []

    def calibrate(job, threads):
        found.append((job, threads))
        return job.number

    monkeypatch.setattr(in_process, "calibrate", calibrate)
    return found


@pytest.fixture
def three(tmp_path):
    return jobs([Path(f"e{n}_uncal.fits") for n in range(3)], tmp_path / "out")


def test_exposures_are_calibrated_when_outcomes_are_collected(calibrated, three):
    site = InProcess(4)
    for job in three:
        assert site.submit(job) is None
    assert calibrated == []
    assert [(job.number, outcome) for job, outcome in site.collect(0)] == [(0, 0), (1, 1), (2, 2)]
    assert [threads for _, threads in calibrated] == [4, 4, 4]
    assert site.collect(0) == []


def test_the_log_exists_while_the_exposure_is_calibrated(three, tmp_path):
    log, seen = tmp_path / "0-1.log", []

    class Watching(Step):
        def process(self, exposure):
            seen.append(log.read_text())
            return RampModel(exposure)

    step = configure_step(Watching)
    step.output_dir = str(tmp_path)
    site = InProcess(0)
    site.submit(replace(three[0], path=small_set().exposures[0], step=step, log=log))
    [(_, outcome)] = site.collect(0)
    assert not outcome.failed
    assert f":{os.getpid()}\n" in seen[0]
    assert not log.exists()


@pytest.mark.parametrize(("numbers", "left"), [(None, []), ([], [0, 1, 2]), ([0, 2, 9], [1])])
def test_withdrawn_exposures_are_not_calibrated(calibrated, three, numbers, left):
    site = InProcess(1)
    for job in three:
        site.submit(job)
    site.withdraw(numbers)
    assert [job.number for job, _ in site.collect(0)] == left


def test_there_is_room_for_one_exposure_and_there_are_no_workers():
    site = InProcess(2)
    assert site.room() == 1
    assert site.running_numbers() == set()
    assert site.find_silent(0.0) == []
    assert site.dashboard is None


@pytest.mark.parametrize(
    ("threads", "words"),
    [(0, "without threads"), (1, "in 1 thread"), (8, "in 8 threads")],
)
def test_the_description_has_the_number_of_threads(threads, words):
    assert describe_threads(threads) == f"in this process, {words}"
    assert InProcess(threads).description == f"in this process, {words}"
