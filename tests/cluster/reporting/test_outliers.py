"""Robust z-scores: as SciPy's functions give them, within comparable exposures, and in words."""

import numpy as np
import pytest
from scipy import stats
from support.measured_batches import header_of, record_measured, record_outlying, statistics_of

from calbatch.cluster.ledger import View
from calbatch.cluster.reporting.entries import read_entries
from calbatch.cluster.reporting.outliers import FEWEST, measure_spread, score_entries


def scores(folder):
    with View(folder.state) as view:
        return score_entries(list(read_entries(view, view.batch(folder.name).id)))


def of_metric(found, name):
    return next(score for score in found if score.metric.name == name)


def test_the_spread_is_the_normal_median_absolute_deviation():
    values = np.random.default_rng(1).normal(5, 2, 101)
    spread = measure_spread(values.tolist())
    assert spread.median == np.median(values)
    wanted = stats.median_abs_deviation(values, scale="normal")
    assert spread.sigma == pytest.approx(wanted, rel=1e-4)  # 1.4826 is rounded


def test_where_most_values_are_equal_the_mean_deviation_counts():
    values = [0.0] * 90 + [10.0] * 10
    spread = measure_spread(values)
    assert spread.sigma == pytest.approx(np.sqrt(np.pi / 2) * 1.0, rel=1e-4)  # mean deviation: 1


def test_few_or_equal_values_have_no_spread():
    assert measure_spread(list(range(FEWEST - 1))) is None
    assert measure_spread([3.0] * 50) is None


def test_differences_far_below_the_values_do_not_stand_out():
    values = [1000.0] * 40 + [1000.001]
    assert measure_spread(values, 1e-3).sigma == 1.0
    assert measure_spread(values).sigma < 1e-4


def test_an_outlier_is_named_in_words(tmp_path):
    found = scores(record_outlying(tmp_path))
    first = found[3][0]
    assert first.stands_out
    text = str(first)
    assert text.startswith("noise 1 is far above the 0.2")
    assert "usual for the 30 exposures of NRCA1 F200W NRC_IMAGE: by " in text
    assert text.endswith(" robust standard deviations")
    others = [score for number, each in found.items() if number != 3 for score in each]
    assert not [score for score in others if score.metric.name == "noise" and score.stands_out]


def test_exposures_are_compared_within_their_detector(tmp_path):
    quiet = {n: [statistics_of(n)] for n in range(20)}
    loud = {n: [statistics_of(n, noise=1 + n / 1000)] for n in range(20, 40)}
    headers = {n: header_of(n, "NRCB1") for n in loud}
    found = scores(record_measured(tmp_path, quiet | loud, headers))
    noise = of_metric(found[25], "noise")
    assert not noise.stands_out
    assert noise.spread.size == 20
    assert "NRCB1" in noise.group


def test_exposures_of_a_small_group_are_compared_with_a_larger_one(tmp_path):
    many = {n: [statistics_of(n)] for n in range(20)}
    headers = {0: {**header_of(0), "meta.instrument.filter": "F090W"}}
    found = scores(record_measured(tmp_path, many, headers))
    assert of_metric(found[0], "noise").group == "NRCA1 NRC_IMAGE"
    assert of_metric(found[0], "noise").spread.size == 20


def test_without_enough_exposures_there_are_no_scores(tmp_path):
    found = scores(record_measured(tmp_path, {n: [statistics_of(n)] for n in range(3)}))
    assert found == {0: [], 1: [], 2: []}


def test_cpu_times_stand_out_from_twice_the_median_on(tmp_path):
    stages = dict.fromkeys(range(20), 2.0) | {1: 2.001, 2: 3.0, 3: 6.0}
    exposures = {n: {"stages": f'{{"jump": {seconds}}}'} for n, seconds in stages.items()}
    many = {n: [] for n in stages}
    found = scores(record_measured(tmp_path, many, exposures=exposures))
    assert [n for n, each in found.items() if of_metric(each, "cpu").stands_out] == [3]


def test_scores_are_finite_whatever_the_values(tmp_path):
    many = {n: [statistics_of(n, level=(-1) ** n * 1.7e308)] for n in range(9)}
    found = scores(record_measured(tmp_path, many))
    assert all(np.isfinite(score.z) for each in found.values() for score in each)
    assert "level" not in {score.metric.name for score in found[1]}  # infinitely far away
