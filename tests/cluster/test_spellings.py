"""Folders of exposures with other spellings of their names, or compressed."""

import gzip

import numpy as np
import pytest
from astropy.io import fits
from support.batches import calbatch, copy_changed, products_in, quiet_console

from calbatch.cluster import run


@pytest.fixture(scope="module")
def spelt(tmp_path_factory):
    """Return a folder to pass to commands; see `folder`."""
    return tmp_path_factory.mktemp("spelt")


@pytest.fixture
def folder(spelt, simulated):
    """Return a folder with folders of one exposure in four spellings and two compressions."""
    raw = simulated.exposures[0]
    if not (spelt / "night1").exists():
        (spelt / "night1").mkdir()
        (spelt / "night2").mkdir()
        (spelt / "night1" / "plain_uncal.fits").write_bytes(raw.read_bytes())
        (spelt / "night1" / "._plain_uncal.fits").write_bytes(b"no exposure at all")
        (spelt / "night1" / "CAPITALS_UNCAL.FITS").write_bytes(raw.read_bytes())
        (spelt / "night2" / "dashed-uncal.fits").write_bytes(raw.read_bytes())
        (spelt / "night2" / "zipped_uncal.fits.gz").write_bytes(gzip.compress(raw.read_bytes(), 1))
        with fits.open(raw) as hdus:
            science = fits.CompImageHDU(hdus["SCI"].data, name="SCI", compression_type="GZIP_2")
            others = [hdu for hdu in hdus[1:] if hdu.name != "SCI"]
            fits.HDUList([hdus[0], science, *others]).writeto(
                spelt / "night2" / "packed_uncal.fits.fz"
            )
    return spelt


def test_a_folder_with_all_spellings_is_one_batch(folder, tmp_path):
    result = run(
        "detector1", folder, tmp_path, recursive=True, scheduler="sync", console=quiet_console(),
        fsync=False,
    )  # fmt: skip
    assert [o.error for o in result.outcomes] == [""] * 5
    stems = ("CAPITALS_", "dashed-", "packed_", "plain_", "zipped_")
    wanted = [f"{stem}{kind}.fits" for stem in stems for kind in ("rate", "rateints")]
    assert [p.name for p in products_in(tmp_path)] == wanted
    for kind in ("rate", "rateints"):
        with fits.open(tmp_path / f"plain_{kind}.fits") as plain:
            for stem in stems:
                with fits.open(tmp_path / f"{stem}{kind}.fits") as found:
                    for name in ("SCI", "ERR", "DQ"):
                        np.testing.assert_array_equal(found[name].data, plain[name].data)


def test_a_folder_of_compressed_exposures_is_one_batch(folder):
    completed = calbatch("plan", "detector1", folder / "night2")
    assert completed.status == 0
    assert "detector1: 3 exposures" in completed.out


@pytest.mark.parametrize("command", ["plan", "run", "submit"])
def test_recursive_is_suggested_for_subfolders(folder, tmp_path, command):
    completed = calbatch(command, "detector1", folder, "-o", tmp_path / "out")
    assert completed.status == 2
    assert completed.err.splitlines()[-1] == (
        f"calbatch: no exposures: the folder {folder} has no files *_uncal.fits, but its "
        "subfolders do: use --recursive to include them"
    )


def test_subfolders_are_watched(folder, tmp_path):
    completed = calbatch(
        "watch", "group_scale", folder, "--recursive", "--settle", "0", "--idle", "1",
        "-o", tmp_path, "--scheduler", "sync",
    )  # fmt: skip
    assert completed.status == 0
    names = [p.name for p in products_in(tmp_path)]
    stems = ("CAPITALS_", "dashed-", "packed_", "plain_", "zipped_")
    assert names == [f"{stem}group_scale.fits" for stem in stems]


def test_arrays_decide_the_kind_of_a_file_against_its_header(simulated, tmp_path):
    good = simulated.exposures[0]
    copy_changed(good, tmp_path / "a_uncal.fits", NINTS=7)
    copy_changed(good, tmp_path / "b_uncal.fits", NGROUPS=4)
    completed = calbatch("plan", "detector1", good, tmp_path)
    assert completed.status == 0
    (kind,) = [line for line in completed.out.splitlines() if "NRCA1" in line]
    assert "2 x 5 x 48 x 64" in kind
    assert kind.split("│")[2].strip() == "3"
