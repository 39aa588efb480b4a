"""Parameter references: the parameters that they set, and stpipe's order among them."""

import logging

import pytest
from stpipe._config import StepConfig
from support.parameter_references import add_parameters, copy_cache
from support.simulated import offline, small_exposure

from calbatch.calibrate import pars
from calbatch.calibrate.errors import ParameterError, ReferenceFileError
from calbatch.calibrate.parameters import Text, cfg
from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.references import ChosenReference
from calbatch.calibrate.step import Step
from calbatch.calibrate.steps.jump import JumpStep
from calbatch.models import datamodels

# astropy's and jwst's own, when jwst is imported and opens files
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

JUMP = StepConfig("jwst.jump.JumpStep", "jump", {"rejection_threshold": 7.0, "skip": True}, [])


def pipeline_config(**jump):
    step = StepConfig("jwst.jump.JumpStep", "jump", jump, [])
    return StepConfig(
        "jwst.pipeline.Detector1Pipeline", "detector1", {"save_calibrated_ramp": True}, [step]
    )


def write_references(folder, **configs):
    """Write parameter references; give them by type."""
    found = {}
    for kind, config in configs.items():
        path = folder / f"{kind}.asdf"
        with config.to_asdf() as tree:
            tree.write_to(path)
        found[f"pars-{kind}"] = ChosenReference(path, f"crds://{path.name}")
    return found


def value(step, name):
    return step.parameter_values()[name]


def test_user_values_override_a_steps_reference(tmp_path):
    step = Detector1Pipeline()
    step.configure({"jump": {"rejection_threshold": 5.0}}, "my.cfg")
    made = pars.configure(step, write_references(tmp_path, jumpstep=JUMP))
    assert value(made.jump, "rejection_threshold") == (5.0, "my.cfg")
    assert value(made.jump, "skip") == (True, "jumpstep.asdf")
    assert value(step.jump, "skip")[0] is False  # others' exposures have other parameters


def test_a_steps_reference_overrides_the_pipelines_default(tmp_path):
    class Careful(Detector1Pipeline):
        defaults = {"jump": {"rejection_threshold": 3.0}}

    assert value(Careful().jump, "rejection_threshold") == (3.0, "the pipeline's default")
    made = pars.configure(Careful(), write_references(tmp_path, jumpstep=JUMP))
    assert value(made.jump, "rejection_threshold") == (7.0, "jumpstep.asdf")


def test_a_pipelines_reference_overrides_those_of_its_steps(tmp_path):
    found = write_references(
        tmp_path, jumpstep=JUMP, detector1pipeline=pipeline_config(rejection_threshold=9.0)
    )
    made = pars.configure(Detector1Pipeline(), found)
    assert value(made.jump, "rejection_threshold") == (9.0, "detector1pipeline.asdf")
    assert value(made.jump, "skip") == (True, "jumpstep.asdf")
    assert value(made, "save_calibrated_ramp") == (True, "detector1pipeline.asdf")


def test_a_step_requested_on_its_own_runs(tmp_path):
    made = pars.configure(JumpStep(), write_references(tmp_path, jumpstep=JUMP))
    assert not made.skip
    assert made.rejection_threshold == 7.0


def test_unknown_values_are_ignored_with_one_message(tmp_path, caplog):
    odd = StepConfig("x.JumpStep", "jump", {"newer": 1, "newest": 2, "output_ext": ".fits"}, [])
    other = StepConfig("x.Wavecal", "wavecal", {}, [])
    pipeline = StepConfig("x.Detector1Pipeline", "d1", {}, [other])
    found = write_references(tmp_path, jumpstep=odd, detector1pipeline=pipeline)
    with caplog.at_level(logging.INFO, logger="calbatch"):
        made = pars.configure(Detector1Pipeline(), found)
    assert made.jump.parameter_values() == Detector1Pipeline().jump.parameter_values()
    assert [record.getMessage() for record in caplog.records] == [
        "jumpstep.asdf: jump has no newer, newest: ignored",
        "detector1pipeline.asdf: detector1 has no step wavecal: ignored",
    ]


def test_references_cannot_set_hooks_or_output_folders(tmp_path):
    values = {"pre_hooks": ["os:system"], "output_dir": "/tmp", "override_gain": "g.fits"}
    config = StepConfig("jwst.jump.JumpStep", "jump", values, [])
    made = pars.configure(JumpStep(), write_references(tmp_path, jumpstep=config))
    assert (made.pre_hooks, made.output_dir, made.override_gain) == ([], None, None)


def test_references_cannot_contain_commands(tmp_path):
    """Nor any other hook, of the pipeline, of a step, or of a step's own reference."""
    values = {name: ["touch canary", "a:b"] for name in ("pre_hooks", "post_hooks")}
    step = StepConfig("jwst.jump.JumpStep", "jump", values, [])
    whole = StepConfig("jwst.pipeline.Detector1Pipeline", "detector1", values, [step])
    found = write_references(tmp_path, jumpstep=step, detector1pipeline=whole)
    mine = Detector1Pipeline()
    mine.jump.post_hooks = "os.path:exists"
    made = pars.configure(mine, found)
    hooks = [one.pre_hooks + one.post_hooks for one in (made, *made.steps().values())]
    assert [hook for some in hooks for hook in some] == ["os.path:exists"]


class LabelStep(Step):
    """A step with a string parameter."""

    label = Text("", help="any text")


@pytest.mark.parametrize(
    "label", ["a, b", 'it\'s "x" # 1', "C:\\d", "%(x)s $y", " a ", "naïve", "1,"]
)
def test_strings_are_read_and_written_unchanged(tmp_path, label):
    found = write_references(
        tmp_path, labelstep=StepConfig("x.LabelStep", "label", {"label": label}, [])
    )
    made = pars.configure(LabelStep(), found)
    assert made.label == label
    path = tmp_path / "label.cfg"
    path.write_text(cfg.format_cfg(made))
    assert LabelStep.from_config(path).label == label


def test_assigned_values_count_as_user_values(tmp_path):
    step = Detector1Pipeline()
    step.jump.rejection_threshold = 4.0  # the default, but by choice
    step.jump.skip = False
    made = pars.configure(step, write_references(tmp_path, jumpstep=JUMP))
    assert value(made.jump, "rejection_threshold") == (4.0, "set in Python")
    assert value(made.jump, "skip") == (False, "set in Python")


def test_an_invalid_value_names_the_file(tmp_path):
    config = StepConfig("jwst.jump.JumpStep", "jump", {"rejection_threshold": "high"}, [])
    with pytest.raises(ParameterError, match=r"^jumpstep\.asdf: jump\.rejection_threshold.*--no-p"):
        pars.configure(Detector1Pipeline(), write_references(tmp_path, jumpstep=config))


def test_a_file_that_is_no_reference_is_rejected(tmp_path):
    (tmp_path / "x.asdf").write_text("nothing")
    found = {"pars-jumpstep": ChosenReference(tmp_path / "x.asdf", "crds://x.asdf")}
    with pytest.raises(ReferenceFileError, match=r"x\.asdf: not an ASDF file"):
        pars.configure(JumpStep(), found)


@pytest.fixture
def exposure():
    return small_exposure("NIS", shape=(32, 40))


@pytest.fixture
def cache(exposure, tmp_path, monkeypatch):
    """Return a cache with parameter references for the exposure and for others."""
    crds = copy_cache(exposure, tmp_path / "crds")
    readpatt = exposure.header["READPATT"]
    other = StepConfig("jwst.jump.JumpStep", "jump", {"rejection_threshold": 99.0}, [])
    add_parameters(crds, "pars-jumpstep", {readpatt: JUMP, "OTHER": other})
    whole = pipeline_config(rejection_threshold=9.5)
    add_parameters(crds, "pars-detector1pipeline", {readpatt: whole})
    with offline(exposure.set):
        monkeypatch.setenv("CRDS_PATH", str(crds))
        monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "")
        yield crds


def header_of(exposure):
    return datamodels.open(exposure.path).to_flat_dict()


@pytest.mark.agreement
@pytest.mark.usefixtures("cache")
def test_references_are_merged_as_in_stpipe(exposure):
    from jwst.jump import JumpStep as TheirJump
    from jwst.pipeline import Detector1Pipeline as Theirs

    config = Theirs.get_config_from_reference(str(exposure.path))
    made = pars.configure_for_exposure(Detector1Pipeline(), header_of(exposure))
    theirs = config["steps"]["jump"]
    assert made.jump.rejection_threshold == theirs["rejection_threshold"] == 9.5
    assert made.jump.skip == theirs["skip"]
    assert made.save_calibrated_ramp == config["save_calibrated_ramp"]
    alone = TheirJump.get_config_from_reference(str(exposure.path))
    mine = pars.configure_for_exposure(JumpStep(), header_of(exposure))
    assert mine.rejection_threshold == alone["rejection_threshold"] == 7.0


@pytest.mark.usefixtures("cache")
def test_calling_a_pipeline_reads_references(exposure):
    rate, _ = Detector1Pipeline.call(exposure.path, save_calibrated_ramp=False)
    assert rate.meta.cal_step.jump == "SKIPPED"
    rate, _ = Detector1Pipeline.call(
        exposure.path, save_calibrated_ramp=False, steps={"jump": {"skip": False}}
    )
    assert rate.meta.cal_step.jump == "COMPLETE"


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("name", "text"), [("CALBATCH_NO_PARS", "1"), ("STPIPE_DISABLE_CRDS_STEPPARS", "true")]
)
def test_the_environment_can_disable_references(exposure, monkeypatch, name, text):
    monkeypatch.setenv(name, text)
    step = Detector1Pipeline()
    assert pars.configure_for_exposure(step, header_of(exposure)) is step


def test_a_reference_missing_from_the_cache_is_an_error(exposure, cache):
    for path in cache.rglob("*jumpstep*.asdf"):
        path.unlink()
    with pytest.raises(ReferenceFileError, match=r"calbatch refs sync --files .*; --no-pars"):
        pars.configure_for_exposure(JumpStep(), header_of(exposure))


def test_contexts_and_observatories_without_references(exposure, monkeypatch):
    step = Detector1Pipeline()
    with offline(exposure.set):
        monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "")
        assert pars.configure_for_exposure(step, header_of(exposure)) is step
        monkeypatch.setenv("CRDS_PATH", "")
        assert pars.configure_for_exposure(step, header_of(exposure)) is step
