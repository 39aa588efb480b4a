"""Exposures of one kind share a plan, and get what they would get without."""

import logging
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from astropy.io import fits
from support.alike import MODULE, as_built_in, calibrate_all, errors, make_jobs
from support.batches import SMALL, copy_changed, small_set
from support.simulated import simulated_set

from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.pipelines.guider import GuiderPipeline
from calbatch.calibrate.simulate import SimulationSpec
from calbatch.calibrate.simulate.spec import PRESETS
from calbatch.calibrate.step import Step
from calbatch.calibrate.steps.group_scale import scale_groups
from calbatch.cluster.exposure import shared_plans
from calbatch.cluster.planning.step_configuration import configure_step
from calbatch.models import datamodels
from calbatch.models.datamodels import RampModel

KINDS = {
    "NIRCam": (Detector1Pipeline, SMALL),
    "NIRISS": (
        Detector1Pipeline,
        SimulationSpec("NIS", "SUB64", nints=2, ngroups=5, full_references=False),
    ),
    "MIRI": (
        Detector1Pipeline,
        SimulationSpec("MIRIMAGE", "SUB64", nints=2, ngroups=8, full_references=False),
    ),
    "guide stars": (GuiderPipeline, PRESETS["guide-stars"][2]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threads", [0, 2])
def test_products_are_those_of_exposures_planned_by_themselves(
    tmp_path, filled, alone, kind, threads
):
    cls, spec = KINDS[kind]
    made = simulated_set(spec, 4)
    shared, outcomes = calibrate_all(make_jobs(made, tmp_path / "x", cls), threads=threads)
    assert errors(outcomes) == [""] * 4
    assert filled == [path.name for path in made.exposures[2:]]
    own, others = alone(make_jobs(made, tmp_path / "x", cls), threads)
    assert shared == own
    assert len(shared) == sum(len(outcome.products) for outcome in outcomes)
    for one, other in zip(outcomes, others, strict=True):
        assert one.content == other.content
        assert one.statistics == other.statistics


def test_kinds_may_alternate(tmp_path, filled, alone):
    """Each has its own plan; results of steps that are saved come with it."""
    step = configure_step(Detector1Pipeline)
    step.save_calibrated_ramp = True
    step.linearity.save_results = True
    jobs = []
    for number in range(4):
        for kind in ("NIRISS", "MIRI"):
            made = simulated_set(KINDS[kind][1], 4)
            jobs += make_jobs(made, tmp_path / "x", step, [made.exposures[number]])
    shared, outcomes = calibrate_all(jobs)
    assert errors(outcomes) == [""] * 8
    assert len(filled) == 4
    assert shared == alone(jobs)[0]
    assert len(shared) == 8 * 4


@pytest.mark.parametrize("cards", [{"SUBSTRT1": 2}, {"TGROUP": 9.5}, {"TGROUP": None}], ids=str)
def test_another_value_that_matters_is_another_kind(tmp_path, filled, alone, cards):
    paths = [*small_set().exposures]
    paths.append(copy_changed(paths[0], tmp_path / "n_uncal.fits", **cards))
    jobs = make_jobs(small_set(), tmp_path / "x", paths=paths)
    jobs = [replace(job, references=jobs[0].references) for job in jobs]
    shared, outcomes = calibrate_all(jobs)
    assert filled == [paths[2].name]
    own, others = alone(jobs)
    assert shared == own
    assert errors(outcomes) == errors(others)


def copy_with_cards(folder, cards):
    """Return jobs for copies of an exposure, each with cards of its own."""
    raw = small_set().exposures[0]
    paths = [copy_changed(raw, folder / f"e{n}_uncal.fits", **own) for n, own in enumerate(cards)]
    return make_jobs(small_set(), folder / "x", paths=paths)


def test_each_comment_makes_a_kind(tmp_path, filled, alone):
    jobs = copy_with_cards(tmp_path, [{"COMMENT": f"number {n}"} for n in range(4)])
    shared, outcomes = calibrate_all(jobs)
    assert errors(outcomes) == [""] * 4
    assert filled == []
    assert shared == alone(jobs)[0]


def test_cards_that_no_schema_names_are_each_exposures_own(tmp_path, filled, alone):
    own = [{"MINE": n, "LONGER": n * "x" * 40} for n in range(4)]
    jobs = copy_with_cards(tmp_path, own)
    shared, outcomes = calibrate_all(jobs)
    assert len(filled) == 2
    assert shared == alone(jobs)[0]
    for cards, outcome in zip(own, outcomes, strict=True):
        header = fits.getheader(tmp_path / "shared" / outcome.products[0].name)
        assert (header["MINE"], header["LONGER"]) == (cards["MINE"], cards["LONGER"])


@as_built_in
class DependsOnTime(Step):
    """A step whose plan depends on the time."""

    def process(self, exposure):
        ramp = RampModel(exposure)
        log = logging.getLogger(MODULE)
        log.info("%s: of %s", exposure.path, exposure.meta.observation.exposure_number)
        if exposure.meta.exposure.start_time > self.after():
            return ramp.map_tiles(scale_groups, outputs=("data",), factor=2.0)
        return ramp

    def after(self):
        return 0.0


@as_built_in
class Later(DependsOnTime):
    """The same, for some exposures only."""

    def after(self):
        times = [datamodels.open(path).meta.exposure.start_time for path in small_set().exposures]
        return sorted(times)[1]


@pytest.mark.parametrize("cls", [DependsOnTime, Later])
def test_what_a_plan_depends_on_becomes_part_of_the_kind(tmp_path, filled, alone, built_in, cls):
    jobs = make_jobs(None, tmp_path / "x", cls(), small_set().exposures)
    shared, outcomes = calibrate_all([*jobs, *jobs, *jobs, *jobs])
    assert errors(outcomes) == [""] * 12
    assert shared == alone(jobs)[0]
    assert {
        "meta.exposure.start_time",
        "meta.observation.exposure_number",
    } <= shared_plans._consulted
    # Once the time belongs to kinds, each exposure is its own kind. Only the third, whose planning
    # showed that, has a plan at once.
    assert filled.count(jobs[2].path.name) == 4
    assert filled.count(jobs[0].path.name) == filled.count(jobs[1].path.name) == 1


def test_each_exposure_logs_what_it_would_log_by_itself(tmp_path, filled, alone, caplog):
    caplog.set_level(logging.INFO, "calbatch")
    jobs = make_jobs(small_set(), tmp_path / "x")
    logged = []
    for run in (calibrate_all, alone):
        caplog.clear()
        run(jobs)
        logged.append(
            [(r.name, r.levelno, r.getMessage(), r.funcName, r.lineno) for r in caplog.records]
        )
    assert len(filled) == 1
    assert logged[0] == logged[1]
    assert any("skipped" in message for _, _, message, *_ in logged[0])
    assert "(file " not in caplog.text


def test_other_threads_log_meanwhile(caplog):
    caplog.set_level(logging.INFO, "calbatch")
    log = logging.getLogger("calbatch.test")
    received = []
    handler = logging.Handler()
    handler.emit = received.append
    log.addHandler(handler)
    with shared_plans._catch_messages() as lines:
        log.info("mine")
        thread = threading.Thread(target=log.info, args=("another's",))
        thread.start()
        thread.join()
        logging.getLogger("elsewhere").warning("of a library")
    log.info("after")
    log.removeHandler(handler)
    assert [record.getMessage() for record in received] == ["another's", "after"]
    assert [line.text for line in lines] == ["mine"]
    assert [r.getMessage() for r in caplog.records] == ["another's", "of a library", "after"]


def test_metadata_that_name_the_file_are_each_exposures_own(tmp_path, filled, alone):
    paths = [tmp_path / f"e{n}_uncal.fits" for n in range(4)]
    cards = [{"HISTORY": f"made {p.name}", "COMMENT": p.name, "R_FLAT": p.name} for p in paths]
    jobs = copy_with_cards(tmp_path, cards)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        near = [replace(job, path=Path(job.path.name)) for job in jobs]
        shared, outcomes = calibrate_all(near)
        assert errors(outcomes) == [""] * 4
        assert filled == []
        assert shared == alone(near)[0]


def test_steps_with_other_parameters_have_other_plans(tmp_path, filled, alone):
    steps = [configure_step(Detector1Pipeline) for _ in range(2)]
    steps[1].jump.rejection_threshold = 500.0
    made = [make_jobs(small_set(4), tmp_path / "x", step) for step in steps]
    (first, _), (second, outcomes) = (calibrate_all(made[n], f"shared{n}") for n in range(2))
    assert errors(outcomes) == [""] * 4
    assert len(filled) == 4
    assert not set(first.values()) & set(second.values())
    assert second == alone(made[1])[0]


def test_a_value_that_the_schema_refuses_is_left_out_with_a_warning(
    tmp_path, filled, alone, monkeypatch
):
    monkeypatch.setenv("VALIDATE_ON_ASSIGNMENT", "false")
    paths = [
        copy_changed(path, tmp_path / f"e{n}_uncal.fits", TARG_RA=value)
        for n, (path, value) in enumerate(
            zip(small_set(4).exposures, (1.0, 2.0, 3.0, "east"), strict=True)
        )
    ]
    jobs = make_jobs(small_set(), tmp_path / "x", paths=paths)
    shared, outcomes = calibrate_all(jobs)
    assert len(filled) == 2
    own, others = alone(jobs)
    assert shared == own
    assert [o.warnings for o in outcomes] == [o.warnings for o in others]
    assert any("east" in warning for warning in outcomes[3].warnings)
