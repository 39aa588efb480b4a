"""Ramps of every kind to fit, and what jwst's ramp fit makes of them."""

from dataclasses import dataclass, field, replace

import numpy as np
from stcal.ramp_fitting import ramp_fit as stcal_fit
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import dqflags

DO_NOT_USE, SATURATED, JUMP, PERSISTENCE, CHARGELOSS = 1, 2, 4, 32, 128
FIELDS = ("data", "err", "dq", "var_poisson", "var_rnoise")


@dataclass(frozen=True)
class Ramps:
    """An exposure before ramp fitting, its references, and its times."""

    data: np.ndarray
    groupdq: np.ndarray
    pixeldq: np.ndarray
    gain: np.ndarray
    readnoise: np.ndarray
    dark: np.ndarray
    times: dict = field(
        default_factory=lambda: {
            "frame_time": 10.73676,
            "group_time": 10.73676,
            "nframes": 1,
            "groupgap": 0,
            "drop_frames1": 0,
        }
    )
    instrument: str = "NIRCAM"

    def rows(self, start, stop):
        """Cut rows out."""
        cut = {f: getattr(self, f)[..., start:stop, :] for f in ARRAYS}
        return replace(self, **cut)

    def model(self):
        """Return jwst's model of it."""
        model = datamodels.RampModel(self.data.shape)
        model.data, model.groupdq, model.pixeldq = (
            self.data.copy(), self.groupdq.copy(), self.pixeldq.copy(),
        )  # fmt: skip
        model.average_dark_current = self.dark.copy()
        model.meta.instrument.name = self.instrument
        for name, value in self.times.items():
            setattr(model.meta.exposure, name, value)
        return model


ARRAYS = ("data", "groupdq", "pixeldq", "gain", "readnoise", "dark")


def draw(rng, integrations=1, groups=10, rows=8, columns=24, **times):
    """Draw smooth ramps: rates from below 0 to very bright, noise, ordinary pixels."""
    shape = integrations, groups, rows, columns
    times = {
        "frame_time": 10.73676, "nframes": 1, "groupgap": 0, "drop_frames1": 0, **times
    }  # fmt: skip
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


def flagged(ramps, rng, chance=0.12, flags=(DO_NOT_USE, SATURATED, JUMP, PERSISTENCE)):
    """Flag samples at random; after a saturated one, most ramps stay saturated."""
    groupdq = ramps.groupdq.copy()
    for flag in flags:
        groupdq[rng.random(groupdq.shape) < chance] |= np.uint8(flag)
    full = np.logical_or.accumulate(groupdq & SATURATED != 0, axis=1)
    stays = rng.random(groupdq.shape[-2:]) < 0.8
    groupdq[full & stays] |= np.uint8(SATURATED)
    # Charge migration flags both bits, on groups of a ramp's end.
    lost = rng.random(groupdq[:, 0].shape) < chance
    if CHARGELOSS in flags:
        groupdq[:, -1][lost] |= np.uint8(CHARGELOSS | DO_NOT_USE)
    return replace(ramps, groupdq=groupdq)


def spoiled(ramps, rng, chance=0.06):
    """Make some pixels bad: gain, read noise, flags, samples that are not finite, dark current."""
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
    for value in (np.nan, np.inf):
        bad["data"][rng.random(ramps.data.shape) < chance / 20] = value
    return replace(ramps, **bad)


def jwst_fit(ramps, *, suppress=True, save_opt=False, window=(None, None)):
    """Return jwst's rate, rateints and optional results, by our names; None where it gives none."""
    from jwst.ramp_fitting.ramp_fit_step import set_groupdq

    model = ramps.model()
    if window != (None, None):
        set_groupdq(*window, ramps.data.shape[1], model.groupdq, dqflags.group)
    with np.errstate(all="ignore"):
        found = stcal_fit.ramp_fit(
            model, save_opt, ramps.readnoise.copy(), ramps.gain.copy(), "OLS_C", "optimal", "none",
            dqflags.pixel, suppress_one_group=suppress,
        )  # fmt: skip
    if found[0] is None:
        return None
    rate, rateints, optional = found
    for rates in (rate, rateints):
        rates["data"] = rates.pop("slope")
    return rate, rateints, optional
