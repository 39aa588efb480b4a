"""The header of a product records the reference files that were used."""

import logging
import shutil
from functools import cache

import numpy as np
import pytest
from astropy.io import fits
from support.simulated import small_exposure

from calbatch.calibrate.pipeline import Pipeline
from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.references import NOT_APPLICABLE, ChosenReference, ResolvedReferences
from calbatch.calibrate.step import SkipStep, Step
from calbatch.calibrate.steps.gain_scale import GainScaleStep
from calbatch.calibrate.steps.jump import JumpStep
from calbatch.calibrate.steps.ramp_fit import RampFitStep
from calbatch.calibrate.steps.saturation import SaturationStep
from calbatch.models import datamodels
from calbatch.models.schema.spec import load_schema

KEYWORDS = {
    spec.parts[2]: spec.keyword
    for path, spec in load_schema("ramp.schema.yaml").keywords.items()
    if path.startswith("meta.ref_file.") and path.endswith(".name")
}
"""Reference type to keyword, of all types that a header can name."""

OTHERS = {("refpix", "refpix"), ("refpix", "sirskernel")}
"""References of IRS2, and of an algorithm that is not the default."""

USERS = [
    (step.name, kind)
    for step in Detector1Pipeline().steps_for("NIRCAM")
    for kind in step.reference_file_types
    if (step.name, kind) not in OTHERS and not step.skip
]
"""Every step that NIRCam's exposures need by default, with each of its reference types."""


@cache
def exposure():
    return small_exposure("NRCA1", shape=(16, 16), ngroups=5)


@cache
def references():
    """Return references like those that CRDS chooses."""
    kinds = {kind for _, kind in USERS}
    return ResolvedReferences("jwst_0001.pmap", {kind: choose_reference(kind) for kind in kinds})


def choose_reference(kind):
    try:
        path = exposure().reference(kind)
    except IndexError:
        return NOT_APPLICABLE
    return ChosenReference(path, f"crds://{path.name}")


def another(kind, folder):
    """Return a copy of a reference in another folder."""
    return shutil.copy(exposure().reference(kind), folder / f"my_{kind}.fits")


def rate(**steps):
    """Return the lazy rate of detector1."""
    pipeline = Detector1Pipeline.from_config(parameters={"steps": steps})
    pipeline.references = references()
    return pipeline.run_lazily(exposure().path)[0]


def name_in(model, kind):
    return model[f"meta.ref_file.{kind}.name"]


def files_in_history(model, kind):
    """Return the files of a type in HISTORY, by step."""
    start = f"{KEYWORDS[kind]} of "
    lines = [line.removeprefix(start) for line in model.history if line.startswith(start)]
    return dict(line.split(": ", 1) for line in lines)


# -- every step, every type ------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kind"), [u for u in USERS if u != ("ipc", "ipc")])
def test_an_override_of_any_step_is_recorded(tmp_path, name, kind):
    override = another(kind, tmp_path)
    with fits.open(override, mode="update") as hdus:
        hdus[0].header["GAINFACT"] = 1.25
    model = rate(**{name: {f"override_{kind}": override}})
    usual = references().chosen[kind].recorded
    used = {n: usual for n, k in USERS if k == kind and n != "gain_scale"}
    if name == "gain_scale":
        assert model.meta.cal_step.gain_scale == "COMPLETE"
    assert name_in(model, kind) == str(override)
    assert files_in_history(model, kind) == (
        {**used, name: str(override)} if used.keys() != {name} else {}
    )
    for other in {k for _, k in USERS} - {kind}:
        assert name_in(model, other) == references().chosen[other].recorded
        assert files_in_history(model, other) == {}


@pytest.mark.parametrize(("name", "kind"), [u for u in USERS if u[0] not in ("jump", "ramp_fit")])
def test_a_step_without_a_reference_keeps_recorded_ones(name, kind):
    model = rate(**{name: {f"override_{kind}": "N/A"}})
    others = [n for n, k in USERS if k == kind and n not in (name, "gain_scale")]
    wanted = references().chosen[kind].recorded if others else "N/A"
    assert name_in(model, kind) == wanted


@pytest.mark.parametrize("kind", KEYWORDS)
@pytest.mark.parametrize("order", ["override first", "override last"])
def test_the_keyword_names_the_override_and_history_every_file(tmp_path, kind, order):
    mine, theirs = tmp_path / "mine.fits", tmp_path / "theirs.fits"
    for path in (mine, theirs):
        path.touch()
    asks = type("Asks", (Step,), {"reference_file_types": [kind], "process": _asking(kind)})
    both = type("Both", (Pipeline,), {"step_defs": {"one": asks, "two": asks}, "process": _both})
    first = order == "override first"
    step = both()
    step.steps()["one" if first else "two"].configure({"": {f"override_{kind}": mine}}, "test")
    step.references = ResolvedReferences("c", {kind: ChosenReference(theirs, "crds://theirs.fits")})
    model = step.run(datamodels.ImageModel(np.zeros((2, 2), "f4")))
    assert name_in(model, kind) == str(mine)
    names = [str(mine), "crds://theirs.fits"]
    assert files_in_history(model, kind) == dict(
        zip(("one", "two"), names if first else names[::-1], strict=True)
    )


def _asking(kind):
    def process(self, model):
        self.get_reference_file(model, kind)
        return model

    return process


def _both(self, model):
    return self.two(self.one(model))


# -- steps that are skipped, or use no file ------------------------------------------------------


class Asks(Step):
    """A step that requests its reference before it skips itself."""

    reference_file_types = ("gain",)
    cal_step = "gain_scale"

    def process(self, model):
        self.get_reference_file(model, "gain")
        raise SkipStep("there is nothing to do")


def test_a_skipped_step_records_the_reference_that_no_other_step_has_used(tmp_path):
    model = datamodels.ImageModel(np.zeros((2, 2), "f4"))
    mine = another("gain", tmp_path)
    result = Asks(override_gain=mine).run(model)
    assert result.meta.cal_step.gain_scale == "SKIPPED"
    assert name_in(result, "gain") == str(mine)
    assert result.history == []


def test_gain_scale_without_a_factor_keeps_the_recorded_name(tmp_path):
    mine = another("gain", tmp_path)
    model = rate(ramp_fit={"override_gain": mine}, jump={"override_gain": mine})
    assert model.meta.cal_step.gain_scale == "SKIPPED"
    assert name_in(model, "gain") == str(mine)
    assert files_in_history(model, "gain") == {}


def test_an_override_of_jump_is_in_the_written_product(tmp_path):
    mine = another("gain", tmp_path)
    pipeline = Detector1Pipeline.from_config(
        parameters={"steps": {"jump": {"override_gain": mine}}}
    )
    pipeline.references = references()
    pipeline.output_dir = str(tmp_path)
    pipeline.ramp_fit.save_opt = pipeline.save_results = True
    pipeline.run(exposure().path)
    for suffix in ("rate", "rateints", "fitopt"):
        (path,) = tmp_path.glob(f"*_{suffix}.fits")
        header = fits.getheader(path)
        assert header["R_GAIN"] == str(mine)
        lines = "".join(str(line).ljust(72) for line in header["HISTORY"])
        assert f"R_GAIN of jump: {mine}".replace(" ", "") in lines.replace(" ", "")
        assert f"R_GAIN of ramp_fit: {references().chosen['gain'].recorded}" in lines


def test_saturation_records_no_unused_bias(tmp_path):
    step = SaturationStep(use_readpatt=False)
    step.references = references()
    assert name_in(step.run(exposure().path), "superbias") is None


# -- from one run to the next ---------------------------------------------------------------------


def test_files_named_in_the_input_count_as_used_earlier(tmp_path):
    jump = JumpStep(override_gain=another("gain", tmp_path))
    jump.references = references()
    ramp = jump.run(exposure().path).save(tmp_path / "ramp.fits", fsync=False)
    fit = RampFitStep()
    fit.references = references()
    model = fit.run(ramp)[1]
    mine, usual = str(tmp_path / "my_gain.fits"), references().chosen["gain"].recorded
    assert name_in(model, "gain") == mine
    assert files_in_history(model, "gain") == {"earlier steps": mine, "ramp_fit": usual}
    assert files_in_history(model, "readnoise") == {}


def test_a_different_earlier_context_is_kept_in_history(tmp_path):
    step = SaturationStep()
    step.references = ResolvedReferences("jwst_0002.pmap", references().chosen)
    model = datamodels.open(exposure().path)
    model.meta.ref_file.crds.context_used = "jwst_0001.pmap"
    result = step.run(model)
    assert result.meta.ref_file.crds.context_used == "jwst_0002.pmap"
    assert result.history == ["CRDS_CTX of earlier steps: jwst_0001.pmap"]


def test_repeated_corrections_are_named_in_a_warning(tmp_path, caplog):
    model = datamodels.RampModel(exposure().path)
    model.meta.cal_step.dq_init = model.meta.cal_step.jump = "COMPLETE"
    model.meta.cal_step.dark_sub = "SKIPPED"
    pipeline = Detector1Pipeline()
    pipeline.references = references()
    with caplog.at_level(logging.WARNING, "calbatch.calibrate.provenance"):
        pipeline.run_lazily(model)
        (record,) = caplog.records
        assert record.getMessage().endswith("applied again by detector1: dq_init, jump")
        assert str(exposure().path) in record.getMessage()
        caplog.clear()
        pipeline.configure({"dq_init": {"skip": True}, "jump": {"skip": True}}, "test")
        pipeline.run_lazily(model)
        GainScaleStep(override_gain="N/A").run(model)
        assert caplog.records == []
