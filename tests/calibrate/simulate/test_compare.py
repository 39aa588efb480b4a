"""Scores of rates and of flagged rays against the truth."""

import numpy as np
import pytest

from calbatch.calibrate.simulate import Truth, score_rate, score_rays
from calbatch.calibrate.simulate.truth import RAY_COLUMNS
from calbatch.models.dq import DO_NOT_USE, JUMP_DET, SATURATED

SHAPE = (60, 50)


def make_truth(*rays):
    table = np.zeros(len(rays), dtype=RAY_COLUMNS)
    for number, (integration, group, row, col, dn) in enumerate(rays):
        table[number] = (integration, group, group, row, col, 2 * dn, dn)
    rate = np.full(SHAPE, 3.0, dtype=np.float32)
    sigma = np.full(SHAPE, 5.0, dtype=np.float32)
    return Truth(rate, rate, sigma, np.ones(SHAPE, dtype=bool), table)


def test_pull_is_measured_over_usable_pixels():
    truth = make_truth()
    truth.good[0] = False
    error = np.full(SHAPE, 0.5)
    rate = truth.rate + error * np.random.default_rng(0).normal(0.1, 1.2, SHAPE)
    dq = np.zeros(SHAPE, dtype=np.uint32)
    rate[0] = 1e9  # not good in the truth
    rate[1], dq[1] = 1e9, DO_NOT_USE
    rate[2], dq[2] = 1e9, SATURATED
    rate[3] = np.nan
    error[4], rate[4] = 0, 1e9
    score = score_rate(truth, rate, error, dq)
    assert score.pixels == 55 * 50
    assert score.mean == pytest.approx(0.1, abs=4 * 1.2 / np.sqrt(55 * 50))
    assert score.scatter == pytest.approx(1.2, rel=0.06)


def test_a_ray_is_found_if_its_group_is_flagged():
    bright, faint = 60.0, 40.0  # 12 and 8 sigma
    truth = make_truth(
        (0, 2, 10, 10, bright),  # found
        (0, 2, 20, 20, bright),  # flagged a group late
        (1, 0, 30, 30, bright),  # in the first group: cannot be seen
        (1, 2, 50, 40, bright),  # after a group that is not used: cannot be seen either
        (1, 3, 55, 40, bright),  # in a group that is not used
        (1, 3, 40, 40, bright),  # saturated
        (1, 3, 45, 45, faint),
        (1, 3, 5, 5, bright),  # not a good pixel
    )
    truth.good[5, 5] = False
    flags = np.zeros((2, 6, *SHAPE), dtype=np.uint8)
    flags[0, 2, 10, 10] = flags[0, 3, 20, 20] = JUMP_DET
    flags[1, 3, 40, 40] = SATURATED
    flags[1, 1, 50, 40] = flags[1, 3, 55, 40] = DO_NOT_USE
    score = score_rays(truth, flags)
    assert (score.bright, score.found, score.false) == (2, 0.5, 0)


def test_flags_far_from_any_ray_are_false():
    truth = make_truth((0, 2, 0, 10, 1.0))
    flags = np.zeros((1, 6, *SHAPE), dtype=np.uint8)
    near = [(1, 0, 9), (3, 1, 11), (2, 0, 10)]
    far = [(4, 0, 10), (2, 2, 10), (2, 0, 12), (2, 59, 10)]
    for place in near + far:
        flags[0][place] = JUMP_DET
    score = score_rays(truth, flags)
    assert score.false * flags.size == pytest.approx(len(far))
    assert score.bright == 0
