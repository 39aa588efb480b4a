"""Steps and pipelines: parameters, references, status, provenance, hooks and products."""

import pickle

import dask.array as da
import numpy as np
import pytest
from astropy.io import fits
from distributed import Client, LocalCluster
from support.offsets import Offset, Two
from support.simulated import small_exposure

from calbatch import __version__
from calbatch.calibrate.errors import ParameterError, ReferenceFileError
from calbatch.calibrate.parameters import cfg
from calbatch.calibrate.pipeline import Pipeline
from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.references import ChosenReference, ResolvedReferences
from calbatch.calibrate.step import Step
from calbatch.calibrate.steps import dark_current as dark_step
from calbatch.calibrate.steps import reset as reset_step
from calbatch.calibrate.steps import superbias as bias_step
from calbatch.models import datamodels
from calbatch.models.errors import UnknownNameError


# A step with its correction, and a pipeline, as users write them.
class FlatFieldStep(Step):
    reference_file_types = ["flat"]

    def process(self, input):
        input_model = datamodels.ImageModel(input)
        self.flat_name = self.get_reference_file(input_model, "flat")
        flat_model = datamodels.FlatModel(self.flat_name)
        return do_correction(input_model, flat_model)


def do_correction(input, flat):
    input.data /= flat.data
    input.err /= flat.data
    input.dq = np.bitwise_or(input.dq, flat.dq)
    return input


class SimplePipeline(Pipeline):
    step_defs = {
        "bias": bias_step.SuperBiasStep,
        "dark": dark_step.DarkCurrentStep,
        "reset": reset_step.ResetStep,
    }

    def process(self, input):
        input = self.bias(input)
        input = self.dark(input)
        if input.meta.instrument.name == "MIRI":
            input = self.reset(input)
        return input


@pytest.fixture
def image(tmp_path):
    data = np.full((8, 6), 6.0, "f4")
    model = datamodels.ImageModel(data, err=data / 2)
    model.meta.instrument.name = "NIRCAM"
    model.meta.telescope = "JWST"
    return model.save(tmp_path / "jw1_rate.fits")


@pytest.fixture
def flat(tmp_path):
    model = datamodels.FlatModel(np.full((8, 6), 2.0, "f4"), dq=np.full((8, 6), 4, "u4"))
    model.meta.reftype = "FLAT"
    model.meta.instrument.name = "NIRCAM"
    return model.save(tmp_path / "jwst_nircam_flat_0001.fits")


def check_flat_fielded(result):
    np.testing.assert_array_equal(result.data, np.full((8, 6), 3.0))
    np.testing.assert_array_equal(result.err, np.full((8, 6), 1.5))
    np.testing.assert_array_equal(result.dq, np.full((8, 6), 4))


def test_users_step_runs_lazily(image, flat):
    result = FlatFieldStep.call(image, override_flat=str(flat))
    assert isinstance(result.data, da.Array)
    check_flat_fielded(result)
    np.testing.assert_array_equal(datamodels.open(image).data, np.full((8, 6), 6.0))


def test_users_step_and_pipeline_run_on_a_cluster(image, flat, tmp_path):
    exposure = small_exposure("NIS", ngroups=4, shape=(32, 32))
    over = {"bias": {"override_superbias": exposure.reference("superbias")},
            "dark": {"override_dark": exposure.reference("dark")}}  # fmt: skip
    here = SimplePipeline.call(exposure.path, steps=over)
    wanted = np.asarray(here.data)
    with (
        LocalCluster(
            1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster),
    ):
        check_flat_fielded(FlatFieldStep.call(image, override_flat=str(flat)))
        there = SimplePipeline.call(exposure.path, steps=over)
        there.save(tmp_path / "there.fits")
    np.testing.assert_array_equal(datamodels.open(tmp_path / "there.fits").data, wanted)
    assert here.meta.cal_step.dark_sub == "COMPLETE"
    assert here.meta.cal_step.superbias == "COMPLETE"


def test_pipeline_takes_miri_through_reset(tmp_path):
    exposure = small_exposure("MIRIMAGE", ngroups=4, nints=2, shape=(32, 32))
    result = SimplePipeline.call(
        exposure.path,
        steps={
            "bias": {"skip": True},
            "dark": {"override_dark": exposure.reference("dark")},
            "reset": {"override_reset": exposure.reference("reset")},
        },
    )
    status = dict(result.meta.cal_step.items())
    assert status == {"superbias": "SKIPPED", "dark_sub": "COMPLETE", "reset": "COMPLETE"}


def test_provenance_is_written(image, flat, tmp_path):
    step = FlatFieldStep(save_results=True, output_dir=str(tmp_path / "out"))
    chosen = {"flat": ChosenReference(flat, f"crds://{flat.name}")}
    step.references = ResolvedReferences("jwst_0541.pmap", chosen)
    step.run(image)
    header = fits.getheader(tmp_path / "out" / "jw1_FlatFieldStep.fits")
    assert header["R_FLAT"] == f"crds://{flat.name}"
    assert header["CRDS_CTX"] == "jwst_0541.pmap"
    assert header["CAL_VER"] == "3.0.0"
    assert header["CALBATCH"] == __version__


def test_override_is_recorded_as_its_path_and_model_as_its_file(image, flat):
    assert FlatFieldStep.call(image, override_flat=flat).meta.ref_file.flat.name == str(flat)
    model = datamodels.FlatModel(flat)
    result = FlatFieldStep.call(image, override_flat=model)
    check_flat_fielded(result)
    assert result.meta.ref_file.flat.name == str(flat)


def test_not_applicable_skips_the_step(image):
    result = FlatFieldStep.call(image, override_flat="N/A")
    np.testing.assert_array_equal(result.data, np.full((8, 6), 6.0))
    assert result.meta.ref_file.flat.name == "N/A"


def test_missing_override_is_an_error_that_names_it(image, tmp_path):
    with pytest.raises(ReferenceFileError, match=r"override_flat: no such file: .*gone\.fits"):
        FlatFieldStep.call(image, override_flat=tmp_path / "gone.fits")


def test_reference_not_found_says_why(image):
    step = FlatFieldStep()
    step.references = ResolvedReferences("jwst_0541.pmap", missing={"flat": "no rule for F999"})
    with pytest.raises(ReferenceFileError, match="no flat reference: no rule for F999"):
        step.run(image)


@pytest.mark.parametrize(("parameters", "status"), [({"skip": True}, "SKIPPED"),
                                                    ({"amount": 0}, "SKIPPED"),
                                                    ({}, "COMPLETE")])  # fmt: skip
def test_status_is_recorded(image, parameters, status):
    assert Offset.call(image, **parameters).meta.cal_step.flat_field == status


def test_order_of_precedence_and_sources(image, tmp_path):
    config = tmp_path / "two.cfg"
    config.write_text("[first]\namount = 10\n[second]\namount = 20\n")
    step = Two.from_config(config, {"steps": {"second": {"amount": 30}}})
    described = {a: s.parameter_values()["amount"] for a, s in step.steps().items()}
    assert described == {"first": (10.0, str(config)), "second": (30.0, "set in Python")}
    plain = {a: s.parameter_values()["amount"] for a, s in Two().steps().items()}
    assert plain == {
        "first": (1.0, "the step's default"),
        "second": (2.0, "the pipeline's default"),
    }
    np.testing.assert_array_equal(step.run(image).data, np.full((8, 6), 46.0))


def test_written_cfg_round_trips(tmp_path):
    step = Two(skip=False, suffix="my, odd # suffix")
    step.configure({"first": {"amount": 2.5, "post_hooks": ["a:b", "c:d"]}}, "test")
    path = tmp_path / "two.cfg"
    path.write_text(cfg.format_cfg(step))
    config = cfg.read(path)
    again = Two.from_config(path)
    assert config.cls == f"{Two.__module__}.Two"
    assert "# what to add [DN] (a number); from test" in path.read_text()
    for alias in ("first", "second"):
        values = [
            {n: v for n, (v, _) in s.steps()[alias].parameter_values().items()}
            for s in (step, again)
        ]
        assert values[0] == values[1]
    assert again.suffix == step.suffix


def test_sections_in_the_form_of_stpipe(tmp_path):
    path = tmp_path / "p.cfg"
    path.write_text(
        'name = "Two"\n[steps]\n  [[first]]\n    amount = 7\n    config_file = more.cfg\n'
    )
    (tmp_path / "more.cfg").write_text("amount = 3\nskip = True\n")
    step = Two.from_config(path)
    assert step.first.amount == 7
    assert step.first.skip is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[frist]\namount = 1\n", "no step 'frist'; did you mean 'first'"),
        ("[first]\namuont = 1\n", "first has no parameter 'amuont'; did you mean 'amount'"),
        ("[first]\namount = much\n", "first.amount = 'much': must be a number"),
        ("[first\n", "not a parameter file"),
        ("[steps]\n[[first]]\n[[[deep]]]\na = 1\n", "must not contain sections"),
    ],
)
def test_invalid_cfg_is_rejected_before_anything_runs(tmp_path, text, message):
    path = tmp_path / "wrong.cfg"
    path.write_text(text)
    with pytest.raises(ParameterError, match=message):
        Two.from_config(path)


def test_missing_cfg_is_named(tmp_path):
    with pytest.raises(ParameterError, match=r"gone\.cfg: no such parameter file"):
        Two.from_config(tmp_path / "gone.cfg")


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (5, "steps = 5: must map steps to parameters"),
        ({"jump": 5}, "jump = 5: must map names to values"),
    ],
)
def test_parameters_of_steps_are_mappings(steps, message):
    with pytest.raises(ParameterError, match=message):
        Detector1Pipeline.from_config(parameters={"steps": steps})


def test_own_parameters_override_a_pipelines_defaults():
    class Named(Two):
        defaults = {"": {"suffix": "usual"}}

    assert (Named().suffix, Named(suffix="mine").suffix) == ("usual", "mine")


def test_status_unknown_to_the_schema_is_kept_with_a_warning(image):
    class Odd(Offset):
        cal_step = "flat_feild"

    with pytest.raises(UnknownNameError, match="did you mean 'flat_field'"):
        Odd().run(image)


def double(model):
    model.data = model.data * 2
    return model


def test_hooks_run_before_and_after(image):
    result = Offset.call(image, pre_hooks=[double], post_hooks=[f"{__name__}:double", Offset])
    np.testing.assert_array_equal(result.data, np.full((8, 6), (6 * 2 + 1) * 2 + 1))


def test_hook_that_cannot_be_imported_is_named(image):
    with pytest.raises(ParameterError, match=r"'no\.such:thing' cannot be imported"):
        Offset.call(image, post_hooks=["no.such:thing"])


def test_products_are_named_after_the_input(image, tmp_path):
    Two.call(image, save_results=True, steps={"first": {"save_results": True}})
    assert sorted(p.name for p in tmp_path.glob("jw1*")) == [
        "jw1_first.fits", "jw1_rate.fits", "jw1_two.fits"]  # fmt: skip
    np.testing.assert_array_equal(fits.getdata(tmp_path / "jw1_first.fits"), np.full((8, 6), 7.0))
    Offset.call(
        image, save_results=True, suffix="mine", output_dir=str(tmp_path / "new" / "folder")
    )
    assert (tmp_path / "new" / "folder" / "jw1_mine.fits").exists()


def test_steps_pickle():
    step = Two()
    step.first.amount = 5
    again = pickle.loads(pickle.dumps(step))
    assert again.first.amount == 5
    assert again.first.parent is again
