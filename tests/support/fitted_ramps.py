"""Ramps of every kind, and the results of jwst's ramp fit."""

from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
from stcal.ramp_fitting import ramp_fit as stcal_fit
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import dqflags

from calbatch.calibrate.steps.ramp_fit import covariance, likely
from calbatch.calibrate.steps.ramp_fit import least_squares as ours
from calbatch.calibrate.steps.ramp_fit.plan import FitSettings

DO_NOT_USE, SATURATED, JUMP, PERSISTENCE, CHARGELOSS = 1, 2, 4, 32, 128
FLAGS = (DO_NOT_USE, SATURATED, JUMP, PERSISTENCE, CHARGELOSS)
FIELDS = ("data", "err", "dq", "var_poisson", "var_rnoise")
ARRAYS = ("data", "groupdq", "pixeldq", "gain", "readnoise", "dark")


@dataclass(frozen=True)
class Ramps:
    """An exposure before ramp fitting, its references, and its times."""

    data: np.ndarray
    groupdq: np.ndarray
    pixeldq: np.ndarray
    gain: np.ndarray
    readnoise: np.ndarray
    dark: np.ndarray
    times: dict = field(default_factory=dict)
    instrument: str = "NIRCAM"
    zero: np.ndarray | None = None

    def rows(self, start, stop):
        """Return a cutout of rows."""
        return replace(self, **{f: getattr(self, f)[..., start:stop, :] for f in ARRAYS})

    def theirs(self):
        """Return jwst's model of the ramps."""
        fields = {f: getattr(self, f).copy() for f in ARRAYS[:3]}
        model = datamodels.RampModel(**fields, average_dark_current=self.dark.copy())
        if self.zero is not None:
            model.zeroframe = self.zero.copy()
        model.meta.instrument.name = self.instrument
        for name, value in self.times.items():
            setattr(model.meta.exposure, name, value)
        return model

    def settings(self, suppress=True, window=None):
        """Return calbatch's settings for the ramps."""
        window = window or (0, self.data.shape[1])
        return FitSettings(**self.times, window=window, suppress_one_group=suppress)

    def ours(self):
        """Return the positional and the reference arguments of our kernels."""
        return (
            (self.data, self.groupdq, self.pixeldq, self.dark),
            {"gain": self.gain, "readnoise": self.readnoise},
        )


def draw(rng, integrations=1, groups=10, rows=8, columns=24, **times):
    """Draw smooth ramps: rates from below 0 to very bright, noise, ordinary pixels."""
    shape = integrations, groups, rows, columns
    times = {"frame_time": 10.73676, "nframes": 1, "groupgap": 0, "drop_frames1": 0} | times
    times.setdefault("group_time", times["frame_time"] * (times["nframes"] + times["groupgap"]))
    rate = (10 ** rng.uniform(-2, 3.3, (rows, columns)) - 1).astype(np.float32)
    steps = rate * times["group_time"] + rng.normal(0, 1, shape) * np.sqrt(10 + np.abs(rate))
    data = np.cumsum(steps, axis=1) + rng.normal(0, 8, shape)
    return Ramps(
        data.astype(np.float32),
        np.zeros(shape, np.uint8),
        np.zeros((rows, columns), np.uint32),
        rng.uniform(0.8, 3, (rows, columns)).astype(np.float32),
        rng.uniform(4, 20, (rows, columns)).astype(np.float32),
        np.zeros((rows, columns), np.float32),
        times,
    )


def flag_at_random(ramps, rng, chance=0.12, flags=FLAGS):
    """Flag samples at random; after a saturated one, most ramps stay saturated."""
    groupdq = ramps.groupdq.copy()
    for flag in flags:
        groupdq[rng.random(groupdq.shape) < chance] |= np.uint8(flag)
    full = np.logical_or.accumulate(groupdq & SATURATED != 0, axis=1)
    groupdq[full & (rng.random(groupdq.shape[-2:]) < 0.8)] |= np.uint8(SATURATED)
    if CHARGELOSS in flags:  # like charge migration: both bits, at the end of a ramp
        groupdq[:, -1][rng.random(groupdq[:, 0].shape) < chance] |= np.uint8(
            CHARGELOSS | DO_NOT_USE
        )
    return replace(ramps, groupdq=groupdq)


def every_pattern(ramps, states=(0, DO_NOT_USE, SATURATED, JUMP, CHARGELOSS | DO_NOT_USE)):
    """Return ramps with another combination of flags in each pixel.

    All integrations but the first start clean.
    """
    groupdq = ramps.groupdq.copy()
    patterns = np.array(list(product(states, repeat=groupdq.shape[1])), np.uint8).T
    rows, columns = groupdq.shape[-2:]
    assert rows * columns >= patterns.shape[1], "the frame is too small for all of them"
    groupdq.reshape(*groupdq.shape[:2], -1)[0, :, : patterns.shape[1]] = patterns
    return replace(ramps, groupdq=groupdq)


def with_zero_frames(ramps, rng):
    """Return ramps with zero frames, some of them unusable (0) or NaN."""
    zero = rng.normal(300, 200, ramps.data[:, 0].shape).astype(np.float32)
    zero[rng.random(zero.shape) < 0.2] = 0
    zero[rng.random(zero.shape) < 0.02] = np.nan
    return replace(ramps, zero=zero)


def spoil(ramps, rng, chance=0.2):
    """Make pixels bad by gain, read noise, flags, non-finite samples or dark current."""
    bad = {f: getattr(ramps, f).copy() for f in ARRAYS}
    frame = bad["gain"].shape
    for name, values in (
        ("gain", (np.nan, 0, -1.5, np.inf, 1e-3)),
        ("readnoise", (np.nan, 0, 1e6, np.inf, 3e4, -5)),
        ("pixeldq", (1, 2, 3, 4, 1 << 10, 1 << 31)),
        ("dark", (0.5, 20, -1)),
    ):
        for value in values:
            bad[name][rng.random(frame) < chance / len(values)] = value
    for value in (np.nan, np.inf, -np.inf):
        bad["data"][rng.random(ramps.data.shape) < chance / 30] = value
    return replace(ramps, **bad)


def jwst_fit(ramps, *, suppress=True, save_opt=False, window=(None, None), algorithm="OLS_C"):
    """Return jwst's rate, rateints and optional results by our names; None for absent ones."""
    from jwst.ramp_fitting.ramp_fit_step import set_groupdq

    model = ramps.theirs()
    if window != (None, None):
        set_groupdq(*window, ramps.data.shape[1], model.groupdq, dqflags.group)
    with np.errstate(all="ignore"):
        found = stcal_fit.ramp_fit(
            model, save_opt, ramps.readnoise.copy(), ramps.gain.copy(), algorithm, "optimal",
            "none", dqflags.pixel, suppress_one_group=suppress,
        )  # fmt: skip
    if found[0] is None:
        return None
    rate, rateints, optional = found
    for rates in (rate, rateints):
        rates["data"] = rates.pop("slope")
    return rate, rateints, optional


def our_fit(ramps, *, suppress=True, window=None, group_range=None):
    """Return calbatch's rate and rateints of the same ramps."""
    arrays, references = ramps.ours()
    settings = ramps.settings(suppress, window)
    found = ours.fit_ramps(
        *arrays, ramps.zero, **references, settings=settings, group_range=group_range
    )
    return dict(zip(FIELDS, found[:5], strict=True)), dict(zip(FIELDS, found[5:10], strict=True))


def our_likely_fit(ramps, *, window=None, times=None):
    """Return calbatch's rate, rateints and chi-squared of the likelihood fit."""
    arrays, references = ramps.ours()
    facts = ramps.times
    groups = ramps.data.shape[1]
    readout = facts["nframes"], facts["groupgap"], facts["frame_time"]
    times = times or covariance.make_regular_times(groups, *readout)
    zero = ramps.zero if len(times[0]) > 1 else None
    if zero is not None:
        times = covariance.separate_first_read(times)
    settings = likely.LikelySettings(
        covariance.make_covariance(times), facts["nframes"], window or (0, groups)
    )
    found = likely.fit_ramps_by_likelihood(*arrays, zero, **references, settings=settings)
    names = dict(zip(FIELDS, found[:5], strict=True)), dict(zip(FIELDS, found[5:10], strict=True))
    return *names, found[10]


def our_segments(ramps, *, suppress=True, group_range=None):
    """Return calbatch's optional results."""
    arrays, references = ramps.ours()
    options = {"settings": ramps.settings(suppress), "group_range": group_range}
    planes = ours.most_planes([ours.gather_planes(*arrays[:3], ramps.zero, **options)])
    found = ours.fit_ramps_and_segments(*arrays, ramps.zero, **references, planes=planes, **options)
    return dict(zip(ours.OPTIONAL, found[10:-1], strict=True))


def assert_rates_agree(found, wanted):
    """Compare rates: within 1e-5 or 1e-3 of the error, NaN in the same places, flags equal."""
    error = np.nan_to_num(wanted["err"], posinf=0.0)
    np.testing.assert_array_equal(found["dq"], wanted["dq"], err_msg="dq")
    for name in ("data", "err", "var_poisson", "var_rnoise"):
        # A difference of 1e-3 of an error is one of 2e-3 of its variance.
        noise = 2 * error**2 if name.startswith("var") else error
        assert_near(found[name], wanted[name], 1e-3 * noise, name)


def assert_near(found, wanted, noise, name):
    """Compare floats: relative 1e-5 or within ``noise``; NaN and infinities in the same places."""
    assert found.shape == wanted.shape, name
    assert found.dtype == wanted.dtype, name
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(found[~finite], wanted[~finite], err_msg=name)
    found, wanted = np.where(finite, found, 0), np.where(finite, wanted, 0)
    wrong = ~(np.abs(found - wanted) <= np.maximum(1e-5 * np.abs(wanted), noise))
    if wrong.any():
        at = tuple(np.argwhere(wrong)[0])
        raise AssertionError(f"{name}: {wrong.sum()} differ, {at}: {found[at]}, not {wanted[at]}")
