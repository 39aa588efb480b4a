"""MIRI's first groups are excluded as by jwst's step."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from support.detector_steps import assert_same, jwst_references, jwst_result, ramp
from support.step_contract import StepContract

from calbatch.calibrate.steps.rscd import RSCDStep, count_groups_to_exclude
from calbatch.models.datamodels import RampModel
from calbatch.models.dq import DO_NOT_USE, FLUX_ESTIMATED, SATURATED

MIRI = {"instrument": "MIRI", "detector": "MIRIMAGE"}
KEYWORDS = ("INT1SKIP", "INT2SKIP", "INT1UGP1", "INT2UGP1", "INT1BORS", "INT2BORS")


def table_file(path: Path, first=4, later=5, *, old=False) -> Path:
    """Write a reference with a row for other exposures and one for SUB64, FASTR1."""
    rows = [("FULL", "FASTR1", 9, 9), ("SUB64", "FASTR1", first, later)]
    columns = [
        ("subarray", "S17"),
        ("readpatt", "S12"),
        ("group_skip1", "i4"),
        ("group_skip", "i4"),
    ]
    table = np.array(rows, columns)
    if old:
        table = table[["subarray", "readpatt", "group_skip"]]
        table = np.array(table.tolist(), [*table.dtype.descr[:2], ("group_skip", "i4")])
    header = fits.Header({"TELESCOP": "JWST", "INSTRUME": "MIRI", "REFTYPE": "RSCD"})
    hdus = [fits.PrimaryHDU(header=header), fits.BinTableHDU(table, name="RSCD_GROUP_SKIP")]
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


def saturating(rng, ints, groups, chance=0.5, **described):
    """Return a ramp of which some pixels are saturated from a random group on."""
    exposure = ramp(rng, ints=ints, groups=groups, shape=(5, 8), **MIRI, exposure=described)
    first = rng.integers(0, groups, (ints, 1, 5, 8))
    early = rng.random((ints, 1, 5, 8)) < chance
    late_enough = np.arange(groups)[:, None, None] >= first
    exposure.groupdq &= ~np.uint8(SATURATED)
    exposure.groupdq[early & late_enough] |= np.uint8(SATURATED)
    exposure.pixeldq &= ~np.uint32(FLUX_ESTIMATED)
    return exposure


def models(exposure, subarray="SUB64", pattern="FASTR1"):
    """Return our and jwst's model of an exposure."""
    both = exposure.ours(), exposure.theirs()
    for model in both:
        model.meta.subarray.name, model.meta.exposure.readpatt = subarray, pattern
    return both


def header(model, folder, name):
    model.save(str(folder / name))
    cards = fits.getheader(folder / name)
    return {keyword: cards[keyword] for keyword in KEYWORDS if keyword in cards}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("rscd")


@pytest.fixture
def rng():
    return np.random.default_rng(4)


@pytest.mark.agreement
class TestAgreementWithJwst:
    @settings(max_examples=8, deadline=None)  # each runs jwst
    @given(
        seed=st.integers(0, 2**32),
        ints=st.integers(1, 3),
        groups=st.integers(2, 12),
        first=st.integers(-1, 10),
        later=st.integers(0, 10),
        start=st.sampled_from([None, 1, 2, 7]),
        total=st.sampled_from([None, 1, 12]),
        chance=st.sampled_from([0.0, 0.1, 0.9]),
    )
    def test_any_segment(self, folder, seed, ints, groups, first, later, start, total, chance):
        from jwst.rscd import RscdStep as JwstStep

        path = table_file(folder / "rscd.fits", first, later)
        facts = {"integration_start": start, "nints": total or ints}
        rng = np.random.default_rng(seed)
        our, their = models(saturating(rng, ints, groups, chance, **facts))
        ours = RSCDStep(override_rscd=path).run(our)
        theirs = jwst_result(JwstStep, their, override_rscd=path)
        assert_same(ours, theirs)
        status = "COMPLETE" if groups > 2 else "SKIPPED"
        assert ours.meta.cal_step.rscd == theirs.meta.cal_step.rscd == status
        found = header(ours, folder, "ours.fits")
        assert found == header(theirs, folder, "theirs.fits")
        assert ("INT2SKIP" in found) == (groups > 2 and (total or ints) > 1)

    @pytest.mark.parametrize(
        ("subarray", "pattern", "status"),
        [
            ("SUB64", "FASTR1", "COMPLETE"),
            ("SUB64", "SLOWR1", "SKIPPED"),
            ("BRIGHTSKY", "FASTR1", "SKIPPED"),
        ],
    )
    def test_exposures_without_a_row_are_skipped(self, folder, rng, subarray, pattern, status):
        from jwst.rscd import RscdStep as JwstStep

        path = table_file(folder / "rscd.fits")
        our, their = models(saturating(rng, 2, 9), subarray, pattern)
        ours = RSCDStep(override_rscd=path).run(our)
        theirs = jwst_result(JwstStep, their, override_rscd=path)
        assert_same(ours, theirs)
        assert ours.meta.cal_step.rscd == theirs.meta.cal_step.rscd == status
        assert ours.meta.ref_file.rscd.name == str(path)

    def test_the_reference_is_recorded_if_groups_are_too_few(self, folder, rng):
        from jwst.rscd import RscdStep as JwstStep

        path = table_file(folder / "rscd.fits")
        our, their = models(saturating(rng, 2, 2), "SUB64", "FASTR1")
        ours = RSCDStep(override_rscd=path).run(our)
        theirs = jwst_result(JwstStep, their, override_rscd=path)
        assert ours.meta.cal_step.rscd == theirs.meta.cal_step.rscd == "SKIPPED"
        recorded = jwst_references(JwstStep, their, override_rscd=path)
        assert ours.meta.ref_file.rscd.name == recorded["rscd"] == str(path)

    def test_a_reference_without_a_number_for_the_first_integration(self, folder, rng):
        from jwst.rscd import RscdStep as JwstStep

        path = table_file(folder / "rscd.fits", old=True)
        our, their = models(saturating(rng, 2, 9))
        ours = RSCDStep(override_rscd=path).run(our)
        assert_same(ours, jwst_result(JwstStep, their, override_rscd=path))
        assert ours.meta.rscd.ngroups_skip_int1 == 1

    def test_other_instruments_are_skipped(self, rng):
        from jwst.rscd import RscdStep as JwstStep

        exposure = ramp(rng)
        ours = RSCDStep(override_rscd="N/A").run(exposure.ours())
        theirs = jwst_result(JwstStep, exposure.theirs(), override_rscd="N/A")
        assert_same(ours, theirs)
        assert ours.meta.cal_step.rscd == theirs.meta.cal_step.rscd == "SKIPPED"


def test_the_former_name_of_a_subarray_finds_its_row(folder, rng):
    path = table_file(folder / "rscd.fits")
    with fits.open(path, mode="update") as hdus:
        hdus[1].data["subarray"][1] = "SLITLESSPRISM"
    our, _ = models(saturating(rng, 2, 9), "SUBPRISM")
    result = RSCDStep(override_rscd=path).run(our)
    assert result.meta.cal_step.rscd == "COMPLETE"


def test_saturation_that_ends_does_not_depend_on_other_pixels():
    """In jwst, a pixel saturated in a single group keeps groups only if another pixel does."""
    alone = np.zeros((1, 8, 1, 2), np.uint8)
    alone[0, 3, 0, 0] = SATURATED
    beside = alone.copy()
    beside[0, 4:, 0, 1] = SATURATED
    counts = [count_groups_to_exclude(flags, 3)[0][0, 0, 0] for flags in (alone, beside)]
    assert counts == [3, 3]


def test_counts_are_those_of_all_rows(folder, rng):
    exposure = saturating(rng, 1, 9, 0.9, nints=1)
    our, _ = models(exposure)
    path = table_file(folder / "rscd.fits")
    result = RSCDStep(override_rscd=path).run(our)
    found = header(result, folder, "counts.fits")
    excluded = np.count_nonzero(np.asarray(result.groupdq)[0] & DO_NOT_USE, axis=0)
    before = np.count_nonzero(exposure.groupdq[0] & DO_NOT_USE, axis=0)
    assert excluded.sum() > before.sum()
    estimated = np.asarray(RampModel(str(folder / "counts.fits")).pixeldq) & FLUX_ESTIMATED != 0
    assert found["INT1BORS"] == np.count_nonzero(estimated) > 0


class TestContract(StepContract):
    name = "rscd"
    detector = "MIRIMAGE"
