"""Entries of a report: each exposure with its header, products and metrics."""

import pytest
from support.measured_batches import PIXELS, SCRIPT, header_of, record_measured, statistics_of

from calbatch.cluster.ledger import View
from calbatch.cluster.reporting.entries import read_entries


def read(folder):
    with View(folder.state) as view:
        return list(read_entries(view, view.batch(folder.name).id))


def test_metrics_come_from_the_first_product_with_statistics(tmp_path):
    first, second = statistics_of(1), statistics_of(2)
    (entry,) = read(record_measured(tmp_path, {0: [None, first]}))
    assert len(entry.products) == 2
    assert entry.metrics == {
        "level": first.level,
        "noise": first.noise,
        "error": first.error,
        "jumps": 100 * first.flags["dq"]["JUMP_DET"] / PIXELS,
        "saturated": 1.0,
        "unusable": 0.0,
        "jump_rate": 0.5,
        "cpu": 2.0,
    }
    (entry,) = read(record_measured(tmp_path / "two", {0: [second, first]}))
    assert entry.metrics["noise"] == second.noise


def test_a_ramp_is_measured_by_the_flags_of_its_groups(tmp_path):
    ramp = statistics_of(
        0,
        flags={"pixeldq": {"GOOD": 10}, "groupdq": {"JUMP_DET": 30}},
        values={"pixeldq": 10, "groupdq": 300},
    )
    (entry,) = read(record_measured(tmp_path, {0: [ramp]}))
    assert entry.metrics["jumps"] == 10


def test_labels_and_time_come_from_the_header(tmp_path):
    headers = {1: {"meta.instrument.detector": SCRIPT * 9, "meta.exposure.start_time": "odd"}}
    entries = read(record_measured(tmp_path, {0: [], 1: []}, headers))
    assert entries[0].labels == {
        "instrument": "NIRCAM", "detector": "NRCA1", "filter": "F200W", "type": "NRC_IMAGE",
    }  # fmt: skip
    assert entries[0].time == 60000.0
    assert entries[1].labels["detector"] == (SCRIPT * 9)[:40]
    assert entries[1].labels["filter"] == ""
    assert entries[1].time is None


def test_an_exposure_without_statistics_has_its_cpu_time_alone(tmp_path):
    exposures = {1: {"state": "failed", "reason": "broken", "stages": "{}", "cpu": None}}
    entries = read(record_measured(tmp_path, {0: [None], 1: []}, exposures=exposures))
    assert [entry.metrics for entry in entries] == [{"cpu": 2.0}, {}]


@pytest.mark.parametrize("count", [0, 1, 301])
def test_every_exposure_has_its_own_products(tmp_path, count):
    found = {n: [statistics_of(n, quick_look=None)] * (n % 3) for n in range(count)}
    entries = read(record_measured(tmp_path, found, {n: header_of(n) for n in found}))
    assert [len(entry.products) for entry in entries] == [n % 3 for n in range(count)]
    assert [entry.time for entry in entries] == [60000.0 + n / 100 for n in range(count)]
