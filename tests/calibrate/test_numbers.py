"""Numbers of headers: cards of another type are reported, not treated as missing."""

import pytest
from support.batches import copy_changed, small_set

from calbatch.calibrate.errors import StepError
from calbatch.calibrate.numbers import header_number, required_number
from calbatch.calibrate.steps.dq_init import DQInitStep
from calbatch.calibrate.steps.gain_scale import GainScaleStep
from calbatch.calibrate.steps.group_scale import GroupScaleStep
from calbatch.calibrate.steps.jump import JumpStep
from calbatch.calibrate.steps.ramp_fit import RampFitStep
from calbatch.models import datamodels

pytestmark = pytest.mark.filterwarnings("ignore::calbatch.models.errors.ValidationWarning")


@pytest.fixture(scope="module")
def simulated():
    return small_set()


def with_cards(simulated, tmp_path, **cards):
    return datamodels.open(copy_changed(simulated.exposures[0], tmp_path / "a_uncal.fits", **cards))


@pytest.mark.parametrize(
    ("path", "keyword", "value", "fault"),
    [
        ("nframes", "NFRAMES", "1", "NFRAMES = '1' is text; a whole number is needed"),
        ("nframes", "NFRAMES", 1.5, "NFRAMES = 1.5: must be an integer, not float"),
        ("nframes", "NFRAMES", 10**20, f"NFRAMES = {10**20}: must fit into 64 bits"),
        ("group_time", "TGROUP", "5", "TGROUP = '5' is text; a number is needed"),
        ("group_time", "TGROUP", True, "TGROUP = True: must be a number, not bool"),
        ("zero_frame", "ZEROFRAM", "T", "ZEROFRAM = 'T' is text; T or F is needed"),
    ],
)
def test_a_card_of_another_type_is_reported(simulated, tmp_path, path, keyword, value, fault):
    model = with_cards(simulated, tmp_path, **{keyword: value})
    for ask in (header_number, required_number):
        with pytest.raises(StepError) as caught:
            ask(model, f"meta.exposure.{path}")
        assert str(caught.value) == f"{model.path}: {fault}"


def test_a_missing_card_is_none(simulated, tmp_path):
    model = with_cards(simulated, tmp_path, NFRAMES=None, TGROUP=0.0)
    assert header_number(model, "meta.exposure.nframes") is None
    with pytest.raises(StepError, match="the header lacks NFRAMES"):
        required_number(model, "meta.exposure.nframes")
    with pytest.raises(StepError, match=r"TGROUP must be positive, is 0\.0"):
        required_number(model, "meta.exposure.group_time", positive=True)


def test_an_unvalidated_value_is_still_reported(simulated, tmp_path, monkeypatch):
    monkeypatch.setenv("PASS_INVALID_VALUES", "1")
    model = with_cards(simulated, tmp_path, NFRAMES="1")
    with pytest.raises(StepError, match="NFRAMES = '1' is text"):
        header_number(model, "meta.exposure.nframes")


@pytest.mark.parametrize(
    ("step", "keyword"), [(GroupScaleStep, "FRMDIVSR"), (GainScaleStep, "GAINFACT")]
)
def test_a_step_is_not_skipped_if_a_number_is_text(simulated, tmp_path, step, keyword):
    model = with_cards(simulated, tmp_path, **{keyword: "2"})
    with pytest.raises(StepError, match=f"{keyword} = '2' is text"):
        step().run(model)


@pytest.mark.parametrize(
    ("keyword", "value", "bound"),
    [
        ("NFRAMES", 0, "least 1"),
        ("NFRAMES", -2, "least 1"),
        ("NFRAMES", 2**62, "most 65535"),
        ("GROUPGAP", -1, "least 0"),
        ("GROUPGAP", 2**62, "most 65535"),
    ],
)
@pytest.mark.parametrize("step", [GroupScaleStep, DQInitStep, JumpStep, RampFitStep])
def test_impossible_groups_are_rejected(simulated, tmp_path, step, keyword, value, bound):
    model = with_cards(simulated, tmp_path, **{keyword: value})
    with pytest.raises(StepError, match=f"^{model.path}: {keyword} must be at {bound}, is"):
        step().run(model)
