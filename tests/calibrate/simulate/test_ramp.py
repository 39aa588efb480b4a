"""Statistics of each disturbance alone, compared with its parameter.

Tolerances are about four standard errors of the statistic for the number of pixels or samples used.
"""

from dataclasses import replace

import numpy as np
import pytest
from support.simulated import without_noise

from calbatch.calibrate.simulate import SimulationSpec
from calbatch.calibrate.simulate.effects.nonlinearity import linearise
from calbatch.calibrate.simulate.maps import make_maps
from calbatch.calibrate.simulate.ramp import reset_factor, simulate_ramp
from calbatch.calibrate.simulate.readout_plan import plan_readout

INNER = SimulationSpec(
    subarray="GENERIC", shape=(100, 120), corner=(901, 901), ngroups=6, full_references=False
)


def make_ramp(spec, *, noise=None, light=5.0, exposure=1):
    noise = noise or without_noise()
    readout = plan_readout(spec)
    maps = make_maps(readout.detector, readout.frame, noise, seed=2)
    sky = np.full(readout.frame.shape, float(light))
    return readout, maps, simulate_ramp(readout, maps, sky, noise, (2, spec.detector, exposure))


def read_times(readout):
    frames = np.arange(readout.ngroups) * (readout.nframes + readout.groupgap)
    return readout.frame_time * (frames + (readout.nframes + 1) / 2)


@pytest.mark.parametrize(("readpatt", "curved"), [("RAPID", 0), ("BRIGHT1", 0), ("SHALLOW4", 8)])
def test_without_noise_the_reference_polynomial_restores_the_signal(readpatt, curved):
    spec = replace(INNER, readpatt=readpatt)
    readout, maps, ramp = make_ramp(spec, light=2e4, noise=without_noise(nonlinearity=0.06))
    counts = ramp.data[0].astype(np.float32) - maps.bias
    linear = linearise(counts, maps.coefficients)
    rate = (2e4 * maps.flat + maps.dark_rate) / maps.gain
    expected = rate * read_times(readout)[:, np.newaxis, np.newaxis]
    assert linear.max() > 6000
    # rounding to whole counts, stretched by the polynomial's slope; and the mean of four frames is
    # not the curve's value at their mean: up to 3e-4 of the signal
    np.testing.assert_allclose(linear, expected, rtol=1e-6, atol=0.6 + curved)


def test_photons_have_poisson_noise():
    noise = without_noise(poisson=True, nonlinearity=0.0)
    for light in (60.0, 2000.0):  # few and many electrons per frame are drawn in different ways
        readout, maps, ramp = make_ramp(INNER, light=light, noise=noise)
        electrons = np.diff(ramp.data[0].astype(float), axis=0) * maps.gain
        mean = (light * maps.flat + maps.dark_rate) * readout.frame_time
        rounding = 2 / 12 * maps.gain**2
        assert (electrons / mean).mean() == pytest.approx(1, abs=float(4 / np.sqrt(mean.sum() * 5)))
        deviation = (electrons - mean) ** 2 / (mean + rounding)
        assert deviation.mean() == pytest.approx(1, abs=0.05)


def test_reads_have_the_noise_of_the_maps_and_averages_have_less():
    noise = without_noise(read=True, read_noise=7.0)
    for readpatt, nframes in (("RAPID", 1), ("SHALLOW4", 4)):
        _, maps, ramp = make_ramp(replace(INNER, readpatt=readpatt), light=0.0, noise=noise)
        difference = (ramp.data[0, 1].astype(float) - ramp.data[0, 0]) / maps.read_noise
        expected = np.sqrt(2 / nframes + 2 / 12 / 49)
        assert difference.std() == pytest.approx(expected, rel=0.03)


def test_reset_noise_changes_with_the_integration_only():
    noise = without_noise(ktc=20.0)
    _, _, ramp = make_ramp(replace(INNER, nints=2), light=0.0, noise=noise)
    data = ramp.data.astype(float)
    assert (data[1] - data[0])[0].std() == pytest.approx(20 * np.sqrt(2), rel=0.03)
    assert np.abs(np.diff(data, axis=1)).max() <= 1  # the dark current's rounding


def test_reference_pixels_record_drift_but_no_light():
    corner = replace(INNER, corner=(1, 1))
    _, maps, still = make_ramp(corner, light=300.0)
    edge = maps.reference
    assert edge.sum() == 100 * 120 - 96 * 116
    assert np.ptp(still.data[0][:, edge], axis=0).max() == 0
    _, _, moving = make_ramp(corner, light=300.0, noise=without_noise(correlated=True))
    drift = moving.data.astype(float) - still.data
    assert drift[0][:, edge].std() > 1
    rows = drift[0].mean(axis=2)
    seen = drift[0][:, :, :4].mean(axis=2)
    assert np.corrcoef(rows.ravel(), seen.ravel())[0, 1] > 0.9  # the drift continues along a line


def test_correlated_noise_follows_the_slow_axis():
    noise = without_noise(correlated=True)
    for detector, axis in (("NRCA1", 1), ("NRS1", 0)):
        spec = replace(INNER, detector=detector)
        _, _, still = make_ramp(spec, light=0.0)
        _, _, moving = make_ramp(spec, light=0.0, noise=noise)
        drift = (moving.data.astype(float) - still.data)[0, 3]
        along = drift.mean(axis=axis).std()
        across = drift.mean(axis=1 - axis).std()
        assert along > 2 * across


def test_counts_stop_at_full_well_and_at_the_limits_of_the_converter():
    _, maps, ramp = make_ramp(INNER, light=1e6)
    last = ramp.data[0, -1].astype(float)
    assert np.abs(last - (maps.bias + maps.full_well)).max() <= 0.51
    _, _, high = make_ramp(INNER, light=1e6, noise=without_noise(full_well=70000.0))
    assert high.data.max() == 65535


def test_zero_frames_are_first_reads():
    spec = replace(INNER, readpatt="SHALLOW4", zero_frame=True, nints=2)
    readout, maps, ramp = make_ramp(spec, light=2e3, noise=without_noise(nonlinearity=0.0))
    rate = (2e3 * maps.flat + maps.dark_rate) / maps.gain
    found = ramp.zero - maps.bias.astype(float)
    np.testing.assert_allclose(found, [rate * readout.frame_time] * 2, atol=0.51)  # rounded
    _, _, plain = make_ramp(replace(spec, zero_frame=False), light=2e3)
    assert plain.zero.shape == (0, 100, 120)


def test_the_first_group_contains_the_noise_of_the_zero_frame():
    noise = without_noise(read=True, read_noise=9.0)
    spec = replace(INNER, readpatt="SHALLOW4", zero_frame=True)
    _, maps, ramp = make_ramp(spec, light=0.0, noise=noise)
    zero, first, second = (
        (counts.astype(float) - maps.bias) / maps.read_noise
        for counts in (ramp.zero[0], ramp.data[0, 0], ramp.data[0, 1])
    )
    assert zero.std() == pytest.approx(1, rel=0.03)
    assert first.std() == pytest.approx(second.std(), rel=0.04)
    assert np.cov(zero.ravel(), first.ravel())[0, 1] == pytest.approx(1 / 4, rel=0.1)
    assert abs(np.cov(zero.ravel(), second.ravel())[0, 1]) < 0.02


def test_without_a_zero_frame_groups_are_the_same_but_the_first():
    noise = without_noise(read=True, poisson=True)
    _, _, with_frame = make_ramp(replace(INNER, zero_frame=True), noise=noise)
    _, _, without = make_ramp(INNER, noise=noise)
    np.testing.assert_array_equal(with_frame.data[:, 1:], without.data[:, 1:])


def test_migrating_charge_moves_to_four_neighbours():
    quiet = without_noise(nonlinearity=0.0, full_well=60000.0, dark_rate=0.0)
    readout = plan_readout(replace(INNER, nints=2))
    maps = make_maps(readout.detector, readout.frame, quiet, seed=2)
    sky = np.zeros(readout.frame.shape)
    sky[50, 63:65] = 8000.0 / readout.frame_time * maps.gain[50, 63:65]  # 8000 DN a frame
    both = [
        simulate_ramp(readout, maps, sky, replace(quiet, charge_migration=part), (2, "NRCA1", 1))
        for part in (0.0, 0.4)
    ]
    still, moving = (ramp.data.astype(float) for ramp in both)
    change = moving - still
    electrons = (change * maps.gain).sum(axis=(2, 3))
    assert np.abs(electrons).max() < 8 * maps.gain.max()  # eight rounded pixels
    assert change[0, -1, 50, 63] < -3000
    up, down = ((change * maps.gain)[0, -1, row, 63] for row in (49, 51))
    assert up == pytest.approx(down, abs=2 * maps.gain.max())  # rounded
    changed = np.abs(change) > 1
    first = np.where(changed.any(axis=1), changed.argmax(axis=1), readout.ngroups)
    np.testing.assert_array_equal(both[1].migrated, first)
    assert (both[0].migrated.shape, first.min()) == ((0, 100, 120), 3)  # 32,000 DN


def test_rays_add_charge_at_the_pixels_and_groups_of_the_table():
    noise = without_noise(cosmic_rays=2000.0, cosmic_ray_spread=0.0, nonlinearity=0.0)
    _, maps, ramp = make_ramp(replace(INNER, nints=2), noise=noise)
    _, _, quiet = make_ramp(replace(INNER, nints=2), noise=replace(noise, cosmic_rays=0.0))
    extra = ramp.data.astype(float) - quiet.data
    expected = np.zeros_like(extra)
    for integration, rays in enumerate(ramp.rays):
        for ray in range(len(rays.row)):
            group, row, col = rays.frame[ray], rays.row[ray], rays.col[ray]
            expected[integration, group:, row, col] += rays.electrons[ray] / maps.gain[row, col]
    unsaturated = ramp.data < maps.bias + 0.9 * maps.full_well
    assert len(ramp.rays[0].row) > 50
    assert np.abs(extra - expected)[unsaturated].max() <= 1.01  # both ramps are rounded


def test_neighbours_share_a_ray():
    noise = without_noise(cosmic_rays=1000.0, cosmic_ray_spread=0.2, nonlinearity=0.0)
    _, maps, ramp = make_ramp(INNER, noise=noise)
    _, _, quiet = make_ramp(INNER, noise=replace(noise, cosmic_rays=0.0))
    extra = (ramp.data.astype(float) - quiet.data)[0, -1] * maps.gain
    rays = ramp.rays[0]
    measured = (rays.row > 0) & (extra[rays.row, rays.col] > 1000)
    rays = rays.select(measured)
    shares = extra[rays.row - 1, rays.col] / extra[rays.row, rays.col]
    assert len(shares) > 20
    assert np.median(shares) == pytest.approx(0.2, rel=0.02)


def test_rays_arrive_at_the_requested_rate():
    noise = without_noise(cosmic_rays=500.0)
    readout, _, ramp = make_ramp(replace(INNER, nints=5), noise=noise)
    seconds = 5 * readout.total_frames * readout.frame_time
    expected = 500 * seconds * 100 * 120 * readout.detector.family.pixel_area
    count = sum(len(rays.row) for rays in ramp.rays)
    assert count == pytest.approx(expected, abs=4 * np.sqrt(expected))


def test_hot_and_dead_pixels_have_the_requested_fraction():
    noise = without_noise(hot=0.02, dead=0.05)
    _, maps, ramp = make_ramp(INNER, light=100.0, noise=noise)
    assert maps.hot.mean() == pytest.approx(0.02, abs=4 * np.sqrt(0.02 / 12000))
    assert maps.dead.mean() == pytest.approx(0.05, abs=4 * np.sqrt(0.05 / 12000))
    rise = ramp.data[0, -1].astype(int) - ramp.data[0, 0]
    assert rise[maps.dead].max() <= 1
    assert rise[maps.hot].min() > np.median(rise)


def test_miri_ramps_have_a_pedestal_a_reset_anomaly_and_a_first_dark():
    spec = SimulationSpec("MIRIMAGE", "SUB64", nints=3, ngroups=8, full_references=False)
    noise = without_noise(nonlinearity=0.0, dark_rate=4000.0)
    readout, maps, ramp = make_ramp(spec, light=0.0, noise=noise)
    data = ramp.data.astype(float)
    linear = data - maps.pedestal
    linear -= [[maps.reset * reset_factor(i, g) for g in range(8)] for i in range(3)]
    slope = np.diff(linear, axis=1).mean(axis=(1, 2, 3)) / readout.frame_time
    light = ~maps.reference
    assert slope[0] / slope[1] == pytest.approx(1.15, rel=1e-2)
    np.testing.assert_array_equal(data[1], data[2])
    assert (data[0, 0] - maps.pedestal)[light].mean() > 20


def test_the_charge_of_the_integration_before_lowers_first_groups():
    spec = SimulationSpec(
        "MIRIMAGE", "GENERIC", shape=(40, 60), corner=(101, 101), nints=2, ngroups=6,
        full_references=False,
    )  # fmt: skip
    usual, lowered = (
        make_ramp(spec, noise=without_noise(rscd=fraction), light=2.0e5)[2].data.astype(int)
        for fraction in (0.0, 0.05)
    )
    change = (lowered - usual).mean(axis=(2, 3))
    np.testing.assert_array_equal(change[0], 0)
    level = 0.05 * (usual[1, -1] - usual[1, -2]).mean() * 6
    assert change[1, 0] == pytest.approx(-level, rel=0.1)
    assert change[1, 1] == pytest.approx(change[1, 0] * np.exp(-1 / 0.4), abs=1)
    assert change[1, -1] == pytest.approx(0, abs=0.5)
