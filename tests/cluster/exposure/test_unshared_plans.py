"""Exposures that are planned by themselves, and what makes a kind another one."""

import logging
import shutil
import warnings
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from support.alike import as_built_in, calibrate_all, errors, make_jobs
from support.batches import copy_changed, small_set

from calbatch.calibrate.errors import StepError
from calbatch.calibrate.parameters import Text
from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.references import ResolvedReferences
from calbatch.calibrate.step import Step
from calbatch.calibrate.steps.group_scale import scale_groups
from calbatch.calibrate.steps.jump import JumpStep
from calbatch.cluster.exposure import outcome as outcome_module
from calbatch.cluster.exposure import shared_plans
from calbatch.cluster.exposure.job import calibrate
from calbatch.cluster.planning.step_configuration import configure_step
from calbatch.models import datamodels
from calbatch.models.datamodels import RampModel


def test_a_replaced_reference_is_used(tmp_path, filled, alone):
    """Each exposure that follows is calibrated with the new one, as without shared plans."""
    made = small_set()
    (job, *_) = make_jobs(made, tmp_path / "x")
    bias = tmp_path / "superbias.fits"
    shutil.copy(job.references.chosen["superbias"].path, bias)
    step = configure_step(Detector1Pipeline)
    step.superbias.override_superbias = str(bias)
    step.superbias.save_results = True
    jobs = make_jobs(made, tmp_path / "x", step)
    before, _ = calibrate_all([*jobs, jobs[0]])
    with fits.open(bias, mode="update") as hdus:
        hdus["SCI"].data += np.float32(5)
    after, outcomes = calibrate_all(jobs, "after")
    assert errors(outcomes) == [""] * 3
    assert len(filled) == 2 + 1
    assert {n.rpartition("_")[2] for n in before if before[n] != after[n]} == {"superbias.fits"}
    assert after == alone(jobs)[0]


@as_built_in
class Careless(Step):
    """A step that catches what stops it."""

    def process(self, exposure):
        with suppress(BaseException):
            if exposure.meta.observation.exposure_number == "2":
                return RampModel(exposure).map_tiles(scale_groups, outputs=("data",), factor=2.0)
        return RampModel(exposure)


@as_built_in
class WarnsAlways(Step):
    """A step whose planning warns."""

    def process(self, exposure):
        warnings.warn(f"{exposure.path}: odd", UserWarning, stacklevel=1)
        return RampModel(exposure)


@pytest.mark.parametrize("cls", [Careless, WarnsAlways])
def test_no_plan_is_shared_if_it_is_not_surely_that_of_all(tmp_path, filled, alone, built_in, cls):
    jobs = make_jobs(None, tmp_path / "x", cls(), small_set(4).exposures)
    shared, outcomes = calibrate_all(jobs)
    own, others = alone(jobs)
    assert filled == []
    assert shared == own
    assert [o.warnings for o in outcomes] == [o.warnings for o in others]


def change_variable(_, patch):
    patch.setenv("PASS_INVALID_VALUES", "true")


def change_level(_, patch):
    patch.setattr(logging.getLogger("calbatch.calibrate.step"), "level", logging.ERROR)


def disable_logging(_, patch):
    patch.setattr(logging.root.manager, "disable", logging.WARNING)


def change_memory(_, patch):
    patch.setattr(shared_plans, "memory_limit", lambda: 10**9)


def change_tiles(job, _):
    return replace(job, options=replace(job.options, tile_rows=8))


def change_context(job, _):
    return replace(job, references=replace(job.references, context="jwst_0002.pmap"))


def change_reference(job, _):
    other = replace(job.references.chosen["dark"], recorded="crds://other.fits")
    chosen = {**job.references.chosen, "dark": other}
    return replace(job, references=replace(job.references, chosen=chosen))


def change_missing(job, _):
    return replace(job, references=replace(job.references, missing={"ipc": "gone"}))


@pytest.mark.parametrize(
    "change",
    [
        change_variable, change_level, disable_logging, change_memory, change_tiles,
        change_context, change_reference, change_missing,
    ],
)  # fmt: skip
def test_circumstances_belong_to_the_kind(tmp_path, filled, monkeypatch, change):
    jobs = make_jobs(small_set(4), tmp_path / "x")
    (tmp_path / "x").mkdir()
    for job in jobs:
        calibrate(job)
    assert len(filled) == 2
    calibrate(change(jobs[0], monkeypatch) or jobs[0])
    assert len(filled) == 2


def test_a_product_that_would_replace_its_input_is_refused(tmp_path, filled):
    jobs = make_jobs(small_set(4), tmp_path / "x")
    (tmp_path / "x").mkdir()
    raw = tmp_path / "x" / "y_rate.fits"
    shutil.copy(jobs[3].path, raw)
    outcomes = [calibrate(job) for job in (*jobs[:3], replace(jobs[3], path=raw))]
    assert filled == [jobs[2].path.name, raw.name]
    assert "would overwrite the input" in outcomes[3].error
    assert raw.read_bytes() == jobs[3].path.read_bytes()


class Named(Step):
    """A step with a parameter, which is not one of calbatch's."""

    text = Text("", help="text")

    def process(self, exposure):
        return RampModel(exposure)


def look(model):
    return model


@pytest.mark.parametrize(
    "change",
    [
        lambda job: replace(job, step=_with_folder(Named(), job)),
        lambda job: replace(job, product="mine"),
        lambda job: replace(job, step=_with_hook(job)),
        lambda job: replace(job, step=_with_model(job)),
        lambda job: replace(job, step=_that_writes(job)),
        lambda job: replace(job, step=_that_hands_on(job)),
    ],
    ids=["a user's step", "a unit", "hooks", "a model in memory", "files", "states"],
)
def test_others_are_planned_by_themselves(tmp_path, filled, change):
    (tmp_path / "x").mkdir()
    jobs = [change(job) for job in make_jobs(small_set(), tmp_path / "x")]
    assert [calibrate(job).error for job in jobs] == [""] * 3
    assert filled == []
    assert not shared_plans._plans


def _with_folder(step, job):
    step.output_dir = job.step.output_dir
    return step


def _with_hook(job):
    step = _with_folder(configure_step(Detector1Pipeline), job)
    step.jump.pre_hooks = [look]
    return step


def _that_writes(job):
    step = _with_folder(configure_step(Detector1Pipeline), job)
    step.emicorr.save_intermediate_results = True
    return step


def _that_hands_on(job):
    step = _with_folder(configure_step(Detector1Pipeline), job)
    step.persistence.skip = False
    step.persistence.persistence_time = 10
    return step


def _with_model(job):
    step = _with_folder(configure_step(Detector1Pipeline), job)
    step.dark_current.override_dark = datamodels.open(job.references.chosen["dark"].path)
    return step


def test_an_exposure_that_cannot_be_calibrated_is_named(tmp_path, filled):
    paths = [
        copy_changed(path, tmp_path / f"e{n}_uncal.fits", NGROUPS=None, NFRAMES=-1)
        for n, path in enumerate(small_set().exposures)
    ]
    jobs = make_jobs(small_set(), tmp_path / "x", paths=paths)
    _, outcomes = calibrate_all([replace(j, references=ResolvedReferences("none")) for j in jobs])
    assert filled == []
    for outcome, path in zip(outcomes, paths, strict=True):
        assert outcome.error.startswith(f"{path}: ")
        assert "(file " not in outcome.error + outcome.details


def test_settings_belong_to_the_kind(tmp_path, filled):
    jobs = make_jobs(small_set(), tmp_path / "x")
    low = [replace(job, options=replace(job.options, tile_rows=8)) for job in jobs]
    shared, _ = calibrate_all([*jobs, *low])
    assert len(filled) == 2
    assert shared == calibrate_all(jobs, "again")[0]


def test_few_kinds_are_remembered(tmp_path, filled, monkeypatch):
    monkeypatch.setattr(shared_plans, "_REMEMBERED", 2)
    jobs = make_jobs(small_set(), tmp_path / "x")
    for rows in (8, 12, 16):
        low = [replace(job, options=replace(job.options, tile_rows=rows)) for job in jobs]
        assert errors(calibrate_all(low, str(rows))[1]) == [""] * 3
    assert len(shared_plans._plans) == 2
    assert len(filled) == 3


def test_a_class_that_is_changed_in_the_process_is_used(tmp_path, filled, monkeypatch):
    jobs = make_jobs(small_set(4), tmp_path / "x")
    (tmp_path / "x").mkdir()
    assert [calibrate(job).error for job in jobs[:3]] == [""] * 3
    assert len(filled) == 1
    monkeypatch.setattr(JumpStep, "process", refuse)
    assert "changed" in calibrate(jobs[3]).error


def refuse(step, exposure):
    raise StepError("changed")


def test_threads_that_do_not_collect_warnings_make_no_plan(tmp_path, filled, monkeypatch):
    """Python's warnings are global: those of another thread would be lost."""
    jobs = make_jobs(small_set(4), tmp_path / "x")
    with outcome_module._ONE_AT_A_TIME:  # as another thread holds it
        _, outcomes = calibrate_all(jobs)
    assert errors(outcomes) == [""] * 4
    assert filled == []


def test_a_fault_that_passes_keeps_no_kind_from_sharing(tmp_path, filled, monkeypatch):
    faults = [OSError("no such device")]
    make = shared_plans.SavingTemplate

    def fail_once(*arguments):
        if faults:
            raise faults.pop()
        return make(*arguments)

    monkeypatch.setattr(shared_plans, "SavingTemplate", fail_once)
    jobs = make_jobs(small_set(4), tmp_path / "x")
    _, outcomes = calibrate_all(jobs)
    assert errors(outcomes) == [""] * 4
    assert filled == [jobs[3].path.name]


def test_an_override_that_cannot_be_examined_is_reported_by_the_step(tmp_path, filled, alone):
    step = configure_step(Detector1Pipeline)
    step.dark_current.override_dark = "a\0b"
    jobs = make_jobs(small_set(), tmp_path / "x", step)
    _, outcomes = calibrate_all(jobs)
    assert errors(outcomes) == errors(alone(jobs)[1])
    assert "override_dark" in outcomes[0].error
