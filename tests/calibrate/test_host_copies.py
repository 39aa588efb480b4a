"""References that need decoding are decoded once per host."""

import gzip
import shutil
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits
from support.simulated import small_exposure

from calbatch.calibrate.host_copies import HostCopies
from calbatch.models import datamodels
from calbatch.models.fits.decoded_copies import DecodedCopies
from calbatch.models.fits.layout import read_layout
from calbatch.models.fits.tables import read_table

READ = """
import sys
from calbatch.calibrate.host_copies import HostCopies
from calbatch.models import datamodels
from calbatch.models.fits import decoded_copies

decode = decoded_copies._decode_images
def noted(path, part):
    print("decoded", path, flush=True)
    decode(path, part)
decoded_copies._decode_images = noted
kind, *paths = sys.argv[1:]
for path in paths:
    reader = datamodels.open_reference(kind, path, HostCopies()).reader("data")
    for row in range(0, 32, 8):
        print("sum", path, reader.read((row, row + 8), (0, 40)).sum(dtype="f8"))
"""


@pytest.fixture
def plain():
    return small_exposure("NIS", shape=(32, 40)).reference("superbias")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CALBATCH_DECODED_DIR", str(tmp_path / "decoded"))
    return DecodedCopies().folder


def compress(source, folder):
    path = folder / f"{source.name}.gz"
    with source.open("rb") as stream, gzip.open(path, "wb") as out:
        shutil.copyfileobj(stream, out)
    return path


def tile_compressed(source, folder):
    path = folder / source.name
    with fits.open(source) as hdus:
        packed = fits.CompImageHDU(
            hdus["SCI"].data, hdus["SCI"].header, "SCI", compression_type="GZIP_2", quantize_level=0
        )
        fits.HDUList([hdus[0], packed, *hdus[2:]]).writeto(path)
    return path


def test_three_processes_decode_each_once(plain, folder, tmp_path):
    paths = [pack(plain, tmp_path) for pack in (compress, tile_compressed)]
    command = [sys.executable, "-c", READ, "superbias", *map(str, paths)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [process.communicate(timeout=240)[0].splitlines() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    data = fits.getdata(plain, "SCI")
    sums = [data[row : row + 8].sum(dtype="f8") for row in range(0, 32, 8)]
    for path in paths:
        assert sum(lines.count(f"decoded {path}") for lines in outputs) == 1
    for lines in outputs:
        found = [line for line in lines if not line.startswith("decoded")]
        assert found == [f"sum {path} {value}" for path in paths for value in sums]
    copies = [one.name for one in DecodedCopies().copies() if one.suffix == ".fits"]
    assert sorted(copies) == sorted(one.name for one in folder.glob("*.fits"))
    assert len(copies) == len(paths)


def test_plain_references_are_read_in_place(plain, folder):
    reader = datamodels.open_reference("superbias", plain, HostCopies()).reader("data")
    np.testing.assert_array_equal(reader.whole(), fits.getdata(plain, "SCI"))
    assert not list(folder.glob("*.fits"))


@pytest.mark.parametrize("pack", [compress, tile_compressed])
def test_a_copy_that_was_cleaned_away_is_made_again(pack, plain, folder, tmp_path):
    reader = datamodels.open_reference("superbias", pack(plain, tmp_path), HostCopies()).reader(
        "data"
    )
    before = reader.whole()
    for copy in DecodedCopies().copies():
        copy.unlink()
    np.testing.assert_array_equal(reader.whole(), before)


def test_a_reader_pickles_with_its_way_to_the_copy(plain, tmp_path):
    import pickle

    path = tile_compressed(plain, tmp_path)
    reader = datamodels.open_reference("superbias", path, HostCopies()).reader("data")
    again = pickle.loads(pickle.dumps(reader.section(8, 16, 4, 8)))
    np.testing.assert_array_equal(again.whole(), reader.whole()[8:24, 4:12])


def test_tables_are_as_models_read_them(plain, folder):
    hdu = read_layout(plain).find("DQ_DEF")
    copy = HostCopies().table_file(str(plain), hdu.index)
    rows = np.load(copy, allow_pickle=False)
    expected = read_table(hdu)
    assert rows.dtype.names == expected.dtype.names
    for name in expected.dtype.names:
        np.testing.assert_array_equal(rows[name], expected[name])
    assert copy.parent == folder


def test_cells_of_varying_length_are_left_to_models(tmp_path):
    column = fits.Column("a", "PJ()", array=np.array([[1], [2, 3]], dtype=object))
    path = tmp_path / "x.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([column])]).writeto(path)
    assert HostCopies().table_file(str(path), 1) is None


def test_a_changed_file_is_opened_anew(plain, tmp_path):
    path = tmp_path / "r.fits"
    shutil.copy(plain, path)
    before = datamodels.open_reference("superbias", path).reader("data").whole()
    with fits.open(path) as hdus:
        hdus["SCI"].data = hdus["SCI"].data + 1
        hdus.writeto(tmp_path / "new.fits")
    (tmp_path / "new.fits").replace(path)
    np.testing.assert_array_equal(
        datamodels.open_reference("superbias", path).reader("data").whole(), before + 1
    )
