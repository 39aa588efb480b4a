"""The covariance of differences is that of averages of correlated reads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbatch.calibrate.steps.ramp_fit.covariance import (
    covariance_scales,
    make_covariance,
    make_regular_times,
    separate_first_read,
)


def dense_covariances(times):
    """Return the covariance matrices of differences per second for unit rate and unit read noise.

    Reads at the times s and t share the photons until min(s, t); groups are their averages.
    """
    reads = np.concatenate(times)
    owner = np.repeat(np.arange(len(times)), [len(group) for group in times])
    average = (owner == np.arange(len(times))[:, None]) / np.array([[len(g)] for g in times])
    change = np.diff(average, axis=0) / np.diff(average @ reads)[:, None]
    photon = change @ np.minimum.outer(reads, reads) @ change.T
    return photon, change @ change.T


times = st.lists(st.integers(1, 5), min_size=3, max_size=8).map(
    lambda sizes: np.split(np.arange(1.0, sum(sizes) + 1) * 2.5, np.cumsum(sizes)[:-1])
)
"""Reads of 3 to 8 groups."""


@given(times)
def test_it_follows_from_the_times_of_the_reads(times):
    found = make_covariance(times)
    for dense, own, following in zip(
        dense_covariances(times),
        (found.photon, found.read),
        (found.next_photon, found.next_read),
        strict=True,
    ):
        # The dense products add up to 40 reads in another order.
        np.testing.assert_allclose(own, np.diag(dense), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(following, np.diag(dense, 1), rtol=1e-9, atol=1e-12)
        assert np.abs(np.triu(dense, 2)).max() < 1e-12
    sizes = [len(group) for group in times]
    assert found.averaged.tolist() == [float(size > 1) for size in sizes[1:-1]]


def test_groups_of_single_reads_may_be_numbers():
    found, wanted = (make_covariance(t) for t in ([1.0, 2.0, 4.0], [[1.0], [2.0], [4.0]]))
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_regular_times_leave_gaps():
    found = make_regular_times(2, 3, 2, 10.0)
    assert [group.tolist() for group in found] == [[10, 20, 30], [60, 70, 80]]


def test_the_first_read_becomes_a_group():
    found = separate_first_read(make_regular_times(2, 2, 0, 1.0))
    assert [group.tolist() for group in found] == [[1], [2], [3, 4]]


def test_intervals_are_those_of_mean_times():
    found = make_covariance(make_regular_times(3, 4, 1, 2.0))
    assert found.intervals == pytest.approx([10, 10])


@given(st.integers(3, 45), st.lists(st.floats(0, 5000), min_size=1, max_size=3).map(np.array))
def test_the_scale_is_the_root_of_the_determinant(n, rates):
    cov = make_covariance(make_regular_times(n + 1, 2, 1, 3.0))
    gain, noise = np.full(rates.size, 1.8), np.full(rates.size, 9.0)
    photon, read = (
        np.diag(own) + np.diag(following, 1) + np.diag(following, -1)
        for own, following in ((cov.photon, cov.next_photon), (cov.read, cov.next_read))
    )
    wanted = [np.exp(np.linalg.slogdet(rate / 1.8 * photon + 81 * read)[1] / n) for rate in rates]
    found = covariance_scales(rates, gain, noise, cov)
    np.testing.assert_allclose(found, wanted, rtol=1e-9)  # up to 45 factors
