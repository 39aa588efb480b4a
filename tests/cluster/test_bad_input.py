"""Bad files of every kind beside a good one: one line each, and no partial products.

The files are other projects' examples of damage.
"""

import re

import pytest
from support.batches import products_in, quiet_console

from calbatch.cluster import run
from calbatch.models import datamodels
from calbatch.models.fits.layout import read_layout

NOT_OURS = "has no SCI array, so it is not an exposure, a rate or a known reference"
EMPTY = "has no pixels in its SCI extension, so it is not an exposure, a rate or a known reference"

MESSAGES = {
    "ascii.fits": NOT_OURS,
    "checksum_false.fits": NOT_OURS,
    "history_header.fits": NOT_OURS,
    "invalid.asdf": "is a damaged ASDF file, not FITS",
    "jw00001001001_01101_00001_MIRIMAGE_uncal.0d017fa5.fits": EMPTY,
    "jw00034001001_01101_00001_NIRISS_uncal.25d1635b.fits": (
        f"{EMPTY}; DETECTOR (meta.instrument.detector) = 'NIRISS': must be one of 21 values, "
        "nearest NIS, NRS2, NRS1, MIRIFUSHORT, MIRIMAGE"
    ),
    # Intact, but of a detector for which the cache has no rules.
    "jw01075001001_03105_00009_nrca2_uncal.fits": (
        "no mask reference: META.INSTRUMENT.DETECTOR='NRCA2' is not one of ['NRCA1']"
    ),
    "jwst_bad_instrument.1923986e.fits": (
        f"{NOT_OURS}; its REFTYPE is 'PHOTOM'; INSTRUME (meta.instrument.name) = 'FOO': must be "
        "one of NIRCAM, NIRSPEC, MIRI, TFI, FGS, NIRISS, ANY, N/A"
    ),
    "jwst_bad_keyword.336e92d3.fits": f"{NOT_OURS}; its REFTYPE is 'FOO'",
    "jwst_bad_type.bdb1b732.fits": (
        f"{NOT_OURS}; its REFTYPE is 'PHOTOM'; DETECTOR (meta.instrument.detector) = 'FOO': must "
        "be one of 21 values, such as NRCA1, NRCA2, NRCA3, NRCA4, NRCALONG"
    ),
    "jwst_truncated.1625f78b.fits": (
        "truncated: HDU 1 needs 2880 bytes of data from byte 5760 on, but only 1240 are present"
    ),
    "jwst_truncated.7ac5c241.fits": (
        "truncated: the file ends in the header of HDU 0, after 1000 bytes"
    ),
    "lfs-pointer.fits": "is a Git LFS pointer, not the file itself: run `git lfs pull`",
    "s7g1700gl_dead_bad_xsum.fits": (
        f"{NOT_OURS}; INSTRUME (meta.instrument.name) = 'COS': must be one of NIRCAM, NIRSPEC, "
        "MIRI, TFI, FGS, NIRISS, ANY, N/A; DETECTOR (meta.instrument.detector) = 'FUV': must be "
        "one of 21 values, such as NRCA1, NRCA2, NRCA3, NRCA4, NRCALONG"
    ),
    "zerowidth.fits": NOT_OURS,
}

DAMAGED = {
    "checksum_false.fits": (
        "HDU 0: the data do not match DATASUM: it is 3949466131, they add up to 3949456131"
    ),
    "s7g1700gl_dead_bad_xsum.fits": (
        "HDU 1: the data do not match DATASUM: it is 375880257, they add up to 375880323"
    ),
}


def test_the_table_lists_every_file(real_data):
    assert sorted(p.name for p in (real_data / "bad_inputs").iterdir()) == sorted(MESSAGES)


@pytest.mark.parametrize("verify", [False, True], ids=["", "verified"])
def test_each_bad_file_has_a_line_and_the_others_are_calibrated(
    real_data, simulated, tmp_path, verify
):
    wanted = MESSAGES | (DAMAGED if verify else {})
    bad = [real_data / "bad_inputs" / name for name in wanted]
    good = simulated.exposures[0]
    console = quiet_console()
    given = [*bad[:7], good, *bad[7:]]
    result = run(
        "detector1", given, tmp_path, verify_inputs=verify, scheduler="sync", console=console
    )
    found = {o.path.name: o.error for o in result.failed}
    assert found == {path.name: f"{path}: {wanted[path.name]}" for path in bad}
    shown = re.findall(r"^[\d: -]{19} (FAILED .*)$", console.file.getvalue(), re.MULTILINE)
    assert sorted(shown) == sorted(f"FAILED {error}" for error in found.values())
    stem = good.name.removesuffix("_uncal.fits")
    written = [p.name for p in products_in(tmp_path)]
    assert written == [f"{stem}_rate.fits", f"{stem}_rateints.fits"]


def test_verification_finds_a_damaged_exposure(simulated, tmp_path):
    sound = tmp_path / "sound_uncal.fits"
    datamodels.open(simulated.exposures[0]).save(sound)  # with checksums
    octets = bytearray(sound.read_bytes())
    octets[read_layout(sound).find("SCI").data_offset + 1000] ^= 1
    damaged = tmp_path / "damaged_uncal.fits"
    damaged.write_bytes(octets)
    given = [damaged, sound]
    result = run(
        "detector1",
        given,
        tmp_path / "out",
        verify_inputs=True,
        scheduler="sync",
        console=quiet_console(),
    )
    assert [o.path for o in result.failed] == [damaged]
    assert "do not match DATASUM" in result.failed[0].error
    assert len(result.products) == 2
