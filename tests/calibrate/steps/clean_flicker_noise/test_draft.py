"""Contributions of tiles to the cleaning: draft rates, and differences of groups."""

import numpy as np

from calbatch.calibrate.steps.clean_flicker_noise.draft import (
    DraftFit,
    RampRows,
    cut_to_region,
    gather_noise,
    gather_ramp,
)
from calbatch.models.dq import DO_NOT_USE, JUMP_DET, NON_SCIENCE
from calbatch.models.tiling.plan import Region

WHOLE = Region((0, 4), (0, 5))


def fit(data, groupdq, pixeldq, dark, zeroframe=None, **options):
    """Return rates in the order of a fit's results: here the means of the samples."""
    rates = data.mean(axis=1)
    blank = [np.zeros(rates.shape[1:], "f4")] * 4
    first = 0 if zeroframe is None else zeroframe.mean(axis=0)
    return rates.mean(axis=0) + first, *blank, rates


def ramp():
    rng = np.random.default_rng(4)
    data = np.cumsum(rng.normal(5, 1, (2, 3, 4, 5)), axis=1).astype("f4")
    return data, np.zeros(data.shape, "u1"), np.zeros((4, 5), "u4"), np.zeros((4, 5), "f4")


def differences(rows):
    """Return all differences of a contribution."""
    found = np.empty(rows.shape, "f4")
    for i, j in np.ndindex(found.shape[:2]):
        rows.write_frame(i, j, found[i, j])
    return found


def gather(products, flat=None, **more):
    draft = DraftFit(kernel=fit, products=products)
    arguments = {"gain": None, "readnoise": None, "settings": None, "flat": flat}
    return gather_noise(*ramp(), *more.values(), draft=draft, region=WHOLE, **arguments)


def test_rates_and_differences_are_divided_by_the_flat():
    flat = np.full((4, 5), 2, "f4")
    plain, divided = gather(("rateints.data",)), gather(("rateints.data",), flat)
    np.testing.assert_array_equal(differences(divided), differences(plain) / 2)
    rates = (each.rates["rateints.data"] for each in (divided, plain))
    np.testing.assert_array_equal(next(rates), next(rates) / 2)


def test_only_the_wanted_rates_are_handed_over():
    assert gather(("rate.data",)).rates.keys() == {"rate.data"}


def test_zero_frames_reach_the_fit():
    zero = np.ones((2, 4, 5), "f4")
    with_zero, plain = gather(("rate.data",), zeroframe=zero), gather(("rate.data",))
    np.testing.assert_allclose(with_zero.rates["rate.data"], plain.rates["rate.data"] + 1)


def test_a_users_mask_replaces_rates():
    data, groupdq, *_ = ramp()
    user = np.arange(20, dtype="f4").reshape(4, 5)
    flat = np.full((4, 5), 2, "f4")
    rows = gather_ramp(data, groupdq, user_mask=user, region=WHOLE, flat=flat)
    assert rows.rates == {}
    np.testing.assert_array_equal(rows.mask, user > 0)
    np.testing.assert_array_equal(differences(rows), np.diff(data, axis=1) / 2)


def test_flags_show_pixels_outside_science_regions():
    flat, flat_dq = np.ones((4, 5), "f4"), np.zeros((4, 5), "u4")
    flat[0, 0], flat_dq[1, 1] = np.nan, NON_SCIENCE
    rows = gather_noise(
        *ramp(), draft=DraftFit(kernel=fit_with_flags, products=("rate.data", "rate.dq")),
        gain=None, readnoise=None, settings=None, region=WHOLE, science_flat=flat,
        science_flat_dq=flat_dq,
    )  # fmt: skip
    assert np.argwhere(rows.excluded).tolist() == [[0, 0], [1, 1], [2, 3]]
    assert rows.rates.keys() == {"rate.data"}


def fit_with_flags(*arrays, **options):
    data, err, *rest = fit(*arrays, **options)
    flags = np.zeros((4, 5), "u4")
    flags[2, 3] = DO_NOT_USE
    return data, err, flags, *rest[1:]


def test_flagged_differences_are_nan():
    data, groupdq, *_ = ramp()
    groupdq[1, 2, 3, 4] = JUMP_DET
    rows = RampRows(data=data, groupdq=groupdq, rates={})
    assert np.argwhere(np.isnan(differences(rows))).tolist() == [[1, 1, 3, 4]]


def test_differences_of_strided_and_read_only_arrays():
    data, groupdq, *_ = ramp()
    wanted = np.diff(data, axis=1)[..., 1:3, 1:4]
    part = data[..., 1:3, 1:4]
    part.flags.writeable = False
    rows = RampRows(data=part, groupdq=groupdq[..., 1:3, 1:4], rates={})
    np.testing.assert_array_equal(differences(rows), wanted)


def test_the_arrays_of_the_ramp_are_handed_over_as_they_are():
    data, groupdq, *_ = ramp()
    rows = gather_ramp(data, groupdq, user_mask=np.ones((4, 5)), region=WHOLE)
    assert rows.data is data
    assert rows.groupdq is groupdq


def test_regions_are_cut_from_the_last_axes():
    array = np.arange(60).reshape(3, 4, 5)
    np.testing.assert_array_equal(cut_to_region(array, Region((1, 3), (2, 5))), array[:, 1:3, 2:5])
