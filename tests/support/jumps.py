"""Ramps with jumps for both our kernels and stcal, and the allowed differences of flags."""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from stcal.jump.jump import detect_jumps_data
from stcal.jump.jump_class import JumpData
from stdatamodels.jwst.datamodels import dqflags

from calbatch.calibrate.steps import jump
from calbatch.calibrate.steps.jump.rules import (
    JumpRules,
    choose_method,
    median_gain,
    unusable_groups,
)
from support.detector_steps import Exposure, reference_file

CLOSE = 1e-4
"""A decision may differ where the statistic is this close to its threshold, relatively."""

DEFAULTS = JumpRules(
    threshold=4.0,
    three_differences=5.0,
    two_differences=6.0,
    frames=1.0,
    neighbours=True,
    min_neighbours=10.0,
    max_neighbours=1000.0,
    after=((0.0, 0), (0.0, 0)),
    single_pass=10,
    clip_groups=100,
    clip_integrations=True,
)
"""The step's default parameters."""


@dataclass
class Ramps:
    """The ramps and references of a frame."""

    data: np.ndarray
    groupdq: np.ndarray
    pixeldq: np.ndarray
    gain: np.ndarray
    readnoise: np.ndarray

    def as_exposure(self, *, origin: tuple[int, int] = (1, 1), **facts: Any) -> Exposure:
        """Return the ramps as an exposure, with ``facts`` among its metadata."""
        facts = {"group_time": 10.7, "nframes": 4, "groupgap": 1} | facts
        arrays = self.data, self.groupdq, self.pixeldq
        return Exposure(*arrays, origin=origin, exposure=facts)

    def references(self, folder: Path, **options: Any) -> dict[str, Path]:
        """Write a gain and a read-noise reference of the frame; return the parameters for them."""
        gain = reference_file(folder / "gain.fits", {"SCI": self.gain}, **options)
        noise = reference_file(folder / "readnoise.fits", {"SCI": self.readnoise}, **options)
        return {"override_gain": gain, "override_readnoise": noise}

    def find_jumps(self, rules: JumpRules) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run our kernels on the whole frame; return group flags, pixel flags and counts."""
        unusable = unusable_groups(self.groupdq)
        references = {"gain": self.gain, "readnoise": self.readnoise, "rules": rules}
        references["unusable"] = unusable
        fully_flagged = jump.fully_flagged_groups(self.data, self.groupdq, **references)
        after = any(count > 0 for _, count in rules.after)
        return jump.find_jumps(
            *(self.data, self.groupdq, self.pixeldq),
            fully_flagged=fully_flagged,
            median_gain=median_gain([self.gain]) if after else None,
            **references,
        )

    def stcal(self, rules: JumpRules, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray, int]:
        """Run stcal with scaled thresholds; return group flags, pixel flags and their number."""
        job = JumpData(None, self.gain.copy(), self.readnoise.copy(), dqflags.pixel)
        job.init_arrays_from_arrays(self.data.copy(), self.groupdq.copy(), self.pixeldq.copy())
        job.nframes = rules.frames
        job.dt_group, job.n_reads_groupdiff = np.ones(1), np.ones(1) * 2 * rules.frames
        thresholds = rules.threshold, rules.two_differences, rules.three_differences
        limits = *thresholds, rules.max_neighbours, rules.min_neighbours
        job.set_detection_settings(*(scale * v for v in limits), rules.neighbours)
        (dn1, n1), (dn2, n2) = rules.after
        job.set_after_jump(scale * dn1, n1, scale * dn2, n2)
        job.min_diffs_single_pass = rules.single_pass
        job.set_sigma_clipping_info(3, rules.clip_groups, rules.clip_integrations)
        job.max_cores = "1"
        with warnings.catch_warnings():  # stcal computes with NaN and infinities
            warnings.simplefilter("ignore", RuntimeWarning)
            groupdq, pixeldq, jumps, _ = detect_jumps_data(job)
        return groupdq, pixeldq, int(jumps)

    def doubtful(self, rules: JumpRules) -> np.ndarray:
        """Return the samples whose flags depend on a statistic within `CLOSE` of its threshold."""
        return self.stcal(rules, 1 - CLOSE)[0] != self.stcal(rules, 1 + CLOSE)[0]


def assert_agrees(ramps: Ramps, rules: JumpRules) -> None:
    """Compare all flags with stcal's, except decisions too close to call."""
    flags, pixeldq, counts = ramps.find_jumps(rules)
    wanted, wanted_pixeldq, jumps = ramps.stcal(rules)
    np.testing.assert_array_equal(pixeldq, wanted_pixeldq)
    different = flags != wanted
    if different.any():
        assert not np.any(different & ~ramps.doubtful(rules))
    elif choose_method(unusable_groups(ramps.groupdq), rules):
        assert counts[:, 0].sum() == jumps
    else:
        assert not counts[:, 2].any()


def calm(ints: int, groups: int, shape: tuple[int, int], seed: int = 0) -> Ramps:
    """Draw ramps of Poisson and read noise, without jumps or flags."""
    rng = np.random.default_rng(seed)
    rate = rng.gamma(2, 15, shape)
    steps = rng.poisson(rate * 1.8, (ints, groups, *shape)) / 1.8
    data = np.cumsum(steps, axis=1) + rng.normal(0, 8, steps.shape)
    return Ramps(
        data.astype("f4"),
        np.zeros(data.shape, "u1"),
        np.zeros(shape, "u4"),
        np.full(shape, 1.8, "f4"),
        np.full(shape, 12, "f4"),
    )


def stormy(ints: int, groups: int, shape: tuple[int, int], seed: int = 0) -> Ramps:
    """Draw ramps with jumps, all kinds of flags, and references with all kinds of faults."""
    ramps = calm(ints, groups, shape, seed)
    rng = np.random.default_rng(seed + 1)
    hit = rng.random(ramps.data.shape) < rng.choice([0.003, 0.03, 0.2])
    data = ramps.data + np.cumsum(hit * rng.exponential(800, hit.shape), axis=1)
    if rng.random() < 0.5:  # equal differences
        data = np.round(data)
    for value in (np.nan, np.inf, -np.inf):
        if rng.random() < 0.2:
            data[rng.random(hit.shape) < 0.01] = value
    data[..., : rng.integers(0, 3)] = 0
    return replace(
        ramps,
        data=data.astype("f4"),
        groupdq=_flags(rng, hit.shape),
        pixeldq=rng.integers(0, 2**32, shape).astype("u4"),
        gain=_faulty(rng, rng.uniform(0.5, 4, shape)),
        readnoise=_faulty(rng, rng.uniform(1, 20, shape)),
    )


def _flags(rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    flags = np.zeros(size, "u1")
    flags[rng.random(size) < 0.01] = 64
    for flag, chances in ((4, (0, 0.02, 0.3)), (1, (0, 0.02, 0.2))):
        flags[rng.random(size) < rng.choice(chances)] |= np.uint8(flag)
    saturates = rng.integers(0, 2 * size[1], size[2:])
    flags[:, np.arange(size[1])[:, None, None] >= saturates] |= np.uint8(2)
    for _ in range(rng.choice([0, 0, 1, 3])):
        flags[rng.integers(size[0]), rng.integers(size[1])] |= np.uint8(1)
    return flags


def _faulty(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    for value in (np.nan, 0, -1.5):
        values[rng.random(values.shape) < 0.02] = value
    return values.astype("f4")
