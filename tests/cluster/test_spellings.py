"""Folders of exposures whose names are spelt in other ways, or that are compressed."""

import gzip

import numpy as np
import pytest
from astropy.io import fits
from support.batches import calbatch, changed, products_in, quiet

from calbatch.cluster import run


@pytest.fixture(scope="module")
def spelt(tmp_path_factory):
    """Return a folder whose name is to be given; see `folder`."""
    return tmp_path_factory.mktemp("spelt")


@pytest.fixture
def folder(spelt, simulated):
    """Return a folder with folders of one exposure, in four spellings and two compressions."""
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


def test_a_folder_of_all_spellings_is_a_batch(folder, tmp_path):
    result = run(
        "detector1", folder, tmp_path, recursive=True, scheduler="sync", console=quiet(),
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


def test_a_folder_of_compressed_exposures_is_a_batch(folder):
    said = calbatch("plan", "detector1", folder / "night2")
    assert said.status == 0
    assert "detector1: 3 exposures" in said.out


@pytest.mark.parametrize("command", ["plan", "run", "submit"])
def test_a_folder_of_folders_is_told_of(folder, tmp_path, command):
    said = calbatch(command, "detector1", folder, "-o", tmp_path / "out")
    assert said.status == 2
    assert said.err.splitlines()[-1] == (
        f"calbatch: no exposures: the folder {folder} has no files *_uncal.fits, but its "
        "subfolders do: use --recursive to include them"
    )


def test_a_folder_of_folders_is_watched(folder, tmp_path):
    said = calbatch(
        "watch", "group_scale", folder, "--recursive", "--settle", "0", "--idle", "1",
        "-o", tmp_path, "--scheduler", "sync",
    )  # fmt: skip
    assert said.status == 0
    names = [p.name for p in products_in(tmp_path)]
    stems = ("CAPITALS_", "dashed-", "packed_", "plain_", "zipped_")
    assert names == [f"{stem}group_scale.fits" for stem in stems]


def test_kinds_are_told_by_arrays_where_headers_contradict_them(simulated, tmp_path):
    good = simulated.exposures[0]
    changed(good, tmp_path / "a_uncal.fits", NINTS=7)
    changed(good, tmp_path / "b_uncal.fits", NGROUPS=4)
    said = calbatch("plan", "detector1", good, tmp_path)
    assert said.status == 0
    (kind,) = [line for line in said.out.splitlines() if "NRCA1" in line]
    assert "2 x 5 x 48 x 64" in kind
    assert kind.split("│")[2].strip() == "3"
