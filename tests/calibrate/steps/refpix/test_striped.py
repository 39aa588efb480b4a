"""The signal of stripes' reference pixels, computed from samples that are known."""

from functools import cache

import numpy as np
import pytest
from support.step_contract import StepContract
from support.striped import raw_model

from calbatch.calibrate.frames.stripes import stripes_of
from calbatch.calibrate.steps.refpix.combine import RefPixSettings
from calbatch.calibrate.steps.refpix.striped import (
    OUTPUTS,
    StripeLayout,
    combine_stripes,
    cover_reference,
    find_reference,
    gather_stripe,
    layout_of_stripes,
    subtract_stripes,
)
from calbatch.models import datamodels
from calbatch.models.dq import DO_NOT_USE, REFERENCE_PIXEL
from calbatch.models.tiling.tile import Region

SETTINGS = RefPixSettings()
SHAPE = (6, 8)


def layout(*, is_transposed=False):
    """Return the layout of two amplifiers with four columns each."""
    return StripeLayout(
        np.zeros((1, SHAPE[is_transposed]), int),
        np.array([0, 1, 0, 1, 2, 3, 2, 3])[: SHAPE[not is_transposed]],
        is_transposed,
    )


WHOLE = Region((0, 6), (0, 8))


def stripe_signal(samples, usable, place=None, settings=SETTINGS):
    """Return the signal of a single stripe that is gathered at once."""
    found = gather_stripe(samples, usable=usable, layout=place or layout(), region=WHOLE)
    return combine_stripes([found], count=1, lead=samples.shape[:2], settings=settings)


@pytest.fixture
def samples():
    return np.random.default_rng(0).normal(100, 5, (2, 3, *SHAPE)).astype("f4")


@pytest.fixture
def usable():
    mask = np.zeros(SHAPE, bool)
    mask[0], mask[:, :2] = True, True
    return mask


def test_the_signal_is_the_mean_of_each_output(samples, usable):
    found = stripe_signal(samples, usable)
    assert found.shape == (2, 3, 1, OUTPUTS)
    columns = np.broadcast_to(layout().output, SHAPE)
    for output in range(4):
        wanted = samples[..., usable & (columns == output)].mean(axis=-1)
        np.testing.assert_allclose(found[..., 0, output], wanted, rtol=1e-6)
    assert not found[..., 4:].any()


def test_outliers_are_clipped(samples, usable):
    usable[:] = True
    spoiled = samples.copy()
    spoiled[..., 2, 0] = 1e6
    found, wanted = (stripe_signal(each, usable) for each in (spoiled, samples))
    np.testing.assert_allclose(found, wanted, atol=5)


def test_without_parities_both_outputs_have_the_same_signal(samples, usable):
    settings = RefPixSettings(odd_even_columns=False)
    found = stripe_signal(samples, usable, settings=settings)
    assert np.array_equal(found[..., 0], found[..., 1])


def test_an_amplifier_with_one_parity_alone_has_no_signal(samples):
    usable = np.zeros(SHAPE, bool)
    usable[:, 4] = True
    assert not stripe_signal(samples, usable).any()


@pytest.mark.parametrize("is_transposed", [False, True])
def test_regions_hold_every_reference_pixel_once(samples, is_transposed):
    rng = np.random.default_rng(2)
    mask = rng.random(SHAPE) < 0.1
    mask[2], mask[:, 7] = True, True
    regions = cover_reference([mask], is_transposed=is_transposed, count=2)
    count = np.zeros((12, 8), int)
    for rows, cols in regions:
        count[slice(*rows), slice(*cols)] += 1
    assert count.max() == 1
    assert count[np.tile(mask, (2, 1))].all()
    place = layout(is_transposed=is_transposed)
    stack = np.concatenate([samples, 3 * samples], axis=2)
    gathered = [
        gather_stripe(
            stack[..., slice(*r.rows), slice(*r.cols)], usable=mask, layout=place, region=r
        )
        for r in regions
    ]
    found = combine_stripes(gathered, count=2, lead=(2, 3), settings=SETTINGS)
    for number, stripe in enumerate((samples, 3 * samples)):
        wanted = stripe_signal(stripe, mask, place)[:, :, 0]
        np.testing.assert_allclose(found[:, :, number], wanted, rtol=1e-12)


def test_without_reference_pixels_the_signal_is_zero():
    nothing = np.zeros(SHAPE, bool)
    assert cover_reference([nothing], is_transposed=False, count=3) == ()
    found = combine_stripes([], count=3, lead=(2, 4), settings=SETTINGS)
    assert found.shape == (2, 4, 3, OUTPUTS)
    assert not found.any()


def test_only_usable_flags_count():
    flags = np.array([[REFERENCE_PIXEL, REFERENCE_PIXEL | DO_NOT_USE, DO_NOT_USE, 0]], "u4")
    assert find_reference(flags).tolist() == [[True, False, False, False]]


def test_each_row_loses_the_signal_of_its_stripe_and_repetition(samples):
    rng = np.random.default_rng(1)
    signal = rng.normal(size=(2, 3, 2, OUTPUTS))
    stripe = np.array([[0, 0, 1, 1, -1, -1], [1, 1, 0, 0, 0, -1]])
    place = StripeLayout(stripe, layout().output, is_transposed=False)
    doubled = np.repeat(samples, 2, axis=1)
    (found,) = subtract_stripes(doubled, signal=signal, layout=place, region=WHOLE)
    for group in range(6):
        for row in range(6):
            number = stripe[group % 2, row]
            level = signal[:, group // 2, number][:, place.output] if number >= 0 else 0
            wanted = doubled[:, group, row] - level
            np.testing.assert_allclose(found[:, group, row], wanted, rtol=1e-6)
    part = Region((2, 5), (1, 6))
    (cut,) = subtract_stripes(doubled[..., 2:5, 1:6], signal=signal, layout=place, region=part)
    np.testing.assert_array_equal(cut, found[..., 2:5, 1:6])


def test_zero_frames_have_a_signal_of_their_own(samples, usable):
    zeroframe = samples[:, 0] + 7
    zeroframe[0, 3, 3] = 0
    gathered = gather_stripe(samples, zeroframe, usable=usable, layout=layout(), region=WHOLE)
    signal = combine_stripes([gathered], count=1, lead=(2, 4), settings=SETTINGS)
    data, first = subtract_stripes(samples, zeroframe, signal=signal, layout=layout(), region=WHOLE)
    of_groups = stripe_signal(samples, usable)
    np.testing.assert_allclose(signal[:, :3], of_groups)
    (wanted,) = subtract_stripes(samples, signal=of_groups, layout=layout(), region=WHOLE)
    np.testing.assert_array_equal(data, wanted)
    assert first[0, 3, 3] == 0
    np.testing.assert_allclose(first[1], data[1, 0], atol=1e-4)


@pytest.mark.parametrize("mode", ["rows", "columns"])
def test_outputs_follow_the_direction_of_the_fast_axis(mode):
    stripes = stripes_of(raw_model(mode))
    outputs = layout_of_stripes(stripes).output
    assert outputs.size == 12
    parity = 0 if stripes.orientation.fast > 0 else 1
    assert outputs[0] % 2 == parity
    assert set(outputs) == {6, 7}


class TestContract(StepContract):
    """The contract of all steps, for a superstripe exposure that refpix collates."""

    name = "refpix"

    def inputs(self):
        raw, counts = _counts()
        flags = np.zeros((3, 12, 684), "u4")
        flags[:, -4:] = flags[..., -4:] = REFERENCE_PIXEL
        model = datamodels.SuperstripeRampModel(counts, pixeldq=flags)
        model.update(raw)
        return [model]

    def references(self):
        return {}


@cache
def _counts():
    """Return a raw exposure, and its samples in memory."""
    raw = raw_model("columns")
    return raw, np.asarray(raw.data, "f4")
