"""Configuring the requested step or pipeline."""

import re

import pytest

from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.steps.jump import JumpStep
from calbatch.cluster.errors import RequestError
from calbatch.cluster.planning.step_configuration import configure_step, input_pattern
from calbatch.models.datamodels import GainModel


def test_precedence(tmp_path):
    cfg = tmp_path / "a.cfg"
    cfg.write_text("[jump]\nrejection_threshold = 5\nflag_4_neighbors = False\n")
    given = {"jump": {"rejection_threshold": "6"}}
    step = configure_step("detector1", config=cfg, parameters=given)
    assert step.jump.rejection_threshold == 6
    assert step.jump.flag_4_neighbors is False
    assert step.jump.sources["rejection_threshold"] == "the command line"
    assert step.jump.sources["flag_4_neighbors"] == str(cfg)


@pytest.mark.parametrize("pipeline", ["jump", JumpStep, JumpStep(), "a.cfg"])
def test_a_step_can_be_given_by_name_class_instance_or_file(tmp_path, monkeypatch, pipeline):
    (tmp_path / "a.cfg").write_text('name = "jump"\n')
    monkeypatch.chdir(tmp_path)
    assert isinstance(configure_step(pipeline), JumpStep)


def test_an_instance_is_not_modified():
    mine = Detector1Pipeline()
    configure_step(mine, parameters={"jump": {"skip": True}}, save_steps=["jump"])
    assert not mine.jump.skip
    assert not mine.jump.save_results


def test_a_single_step_runs_even_if_it_is_off_by_default():
    assert Detector1Pipeline().persistence.skip
    assert not configure_step("persistence").skip
    assert configure_step("persistence", parameters={"": {"skip": "True"}}).skip is True


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"pipeline": "detectr1"}, "no step or pipeline 'detectr1'; did you mean 'detector1'?"),
        ({"pipeline": "absent.cfg"}, "absent.cfg: no such parameter file"),
        ({"pipeline": "no_such_package.steps:Step"}, "cannot be imported"),
        ({"parameters": {"jmp": {"skip": True}}}, "no step 'jmp'; did you mean 'jump'?"),
        (
            {"parameters": {"jump": {"rejection_treshold": 5}}},
            "no parameter 'rejection_treshold'; did you mean 'rejection_threshold'?",
        ),
        (
            {"parameters": {"jump": {"rejection_threshold": "high"}}},
            "jump.rejection_threshold = 'high': must be a number",
        ),
        ({"save_steps": ["dark_curent"]}, "no step 'dark_curent'; did you mean 'dark_current'?"),
        ({"pipeline": "jump", "save_steps": ["jump"]}, "jump is a single step"),
        (
            {"parameters": {"jump": {"override_gain": "absent.fits"}}},
            "jump.override_gain: there is no file absent.fits",
        ),
    ],
)
def test_errors_are_reported_in_one_line(wanted, message):
    with pytest.raises(RequestError, match=re.escape(message)) as caught:
        configure_step(**{"pipeline": "detector1", **wanted})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no FITS file at all", None])
def test_overrides_that_are_not_references_are_refused(tmp_path, content):
    path = tmp_path / "gain.fits"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(RequestError, match=r"^jump\.override_gain: .*gain\.fits"):
        configure_step("detector1", parameters={"jump": {"override_gain": path}})


def test_overrides_are_absolute(tmp_path, monkeypatch):
    """Workers on a scheduler elsewhere have another working folder."""
    GainModel((4, 4)).save(tmp_path / "gain.fits", fsync=False)
    monkeypatch.chdir(tmp_path)
    given = {"jump": {"override_gain": "gain.fits", "override_readnoise": "n/a"}}
    step = configure_step("detector1", parameters=given)
    assert step.jump.override_gain == str(tmp_path / "gain.fits")
    assert step.jump.override_readnoise == "N/A"


def test_files_that_steps_read_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {"clean_flicker_noise": {"user_mask": "mask.fits"}}
    step = configure_step("detector1", parameters=given)
    assert step.clean_flicker_noise.user_mask == str(tmp_path / "mask.fits")
    assert step.emicorr.user_supplied_reffile is None


def test_the_input_pattern_depends_on_the_step():
    assert input_pattern(configure_step("detector1")) == "*_uncal.fits"
    assert input_pattern(configure_step("flat_field")) == "*.fits"
