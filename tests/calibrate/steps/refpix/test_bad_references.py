"""Bad reference pixels are found and replaced as in jwst, on frames of few columns."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from jwst.refpix import irs2_subtract_reference as jwst
from support.interleaved import reference_rows

from calbatch.calibrate.steps.refpix.bad_references import (
    find_bad_pairs,
    list_bad_pixels,
    replace_bad,
)
from calbatch.models.dq import BAD_REF_PIXEL

ROWS = reference_rows()


def exposure(seed, nints=2, columns=40):
    """Return samples of all rows, (integrations, groups, 3200, columns), with bad pairs."""
    rng = np.random.default_rng(seed)
    data = rng.normal(0, 10, (nints, 3, 3200, columns)).astype("f4")
    data[:, :, rng.choice(ROWS, 20)] *= 3
    data[-1, :, rng.choice(ROWS, 20)] += 40
    known = np.zeros(3200, bool)
    known[rng.choice(ROWS, 60)] = True
    return data, known


def as_sections(rows_of):
    """Return the reference pixels as (..., sections, 128, columns)."""
    return rows_of.reshape(5, 128, *rows_of.shape[1:])


def flag_with_jwst(data, known, **options):
    pixeldq = np.where(known[:, None], BAD_REF_PIXEL, 0).astype("u4") * np.ones(
        data.shape[-1], "u4"
    )
    exposure = SimpleNamespace(nrs_normal=16, nrs_reference=4)
    model = SimpleNamespace(
        data=data.copy(), pixeldq=pixeldq, meta=SimpleNamespace(exposure=exposure)
    )
    jwst.flag_bad_refpix(model, **options)
    return model.data, (model.pixeldq & BAD_REF_PIXEL).any(axis=1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sigmas", [1.5, 3.0])
def test_bad_pairs_are_those_of_jwst(seed, sigmas):
    data, known = exposure(seed)
    _, wanted = flag_with_jwst(data, known, n_sigma=sigmas, flag_only=True)
    samples = data[:, :, ROWS].reshape(*data.shape[:2], 5, 128, -1)
    found = find_bad_pairs(samples, as_sections(known[ROWS]), sigmas)
    assert np.array_equal(found, as_sections(wanted[ROWS]))
    assert found.sum() > known.sum()


def test_a_section_without_good_pixels_has_no_statistics():
    data, _ = exposure(0)
    samples = data[:, :, ROWS].reshape(*data.shape[:2], 5, 128, -1)
    known = np.zeros((5, 128), bool)
    known[1] = True
    assert find_bad_pairs(samples, known, 3.0)[1].all()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("fraction", [0.05, 0.5, 0.9])
def test_replaced_pixels_are_those_of_jwst(seed, fraction):
    data, _ = exposure(seed)
    bad = np.zeros(3200, bool)
    bad[ROWS[np.random.default_rng(seed).random(ROWS.size) < fraction]] = True
    wanted, _ = flag_with_jwst(data, bad, replace_only=True)
    samples = data[:, :, ROWS].reshape(*data.shape[:2], 5, 128, -1)
    by_section = as_sections(bad[ROWS])
    for section in range(5):
        own = by_section[section]
        replace_bad(samples[:, :, section], own, np.flatnonzero(own))
    np.testing.assert_allclose(
        samples, wanted[:, :, ROWS].reshape(samples.shape), rtol=1e-6, atol=1e-6
    )


def test_listed_pixels_are_those_that_jwst_replaces():
    rng = np.random.default_rng(5)
    listed = [(o, p, int(rng.integers(1, 2**32))) for o in (1, 2, 3, 4) for p in (1, 2)]
    data = rng.normal(100, 10, (1, 2, 6, 3200)).astype("f4")
    wanted = data.copy()
    output, odd_even, mask = (np.array(column) for column in zip(*listed, strict=True))
    is_reference = np.isin(np.arange(3200), ROWS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        jwst.clobber_ref(
            wanted, output, odd_even, mask.astype("u4"), np.zeros(3200, bool), is_reference
        )
    samples = data.swapaxes(-1, -2)[:, :, ROWS].reshape(1, 2, 5, 128, 6).copy()
    bad = np.zeros((5, 128), bool)
    for amplifier, pair, blocks in listed:
        fresh = list_bad_pixels(amplifier, pair, blocks)
        assert not bad[amplifier][fresh].any()
        bad[amplifier][fresh] = True
        replace_bad(samples[:, :, amplifier], bad[amplifier], fresh)
    expected = wanted.swapaxes(-1, -2)[:, :, ROWS].reshape(samples.shape)
    np.testing.assert_allclose(samples, expected, rtol=1e-6)
