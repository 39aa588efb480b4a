"""Opening files: fields from HDUs, and errors for HDUs that do not fit the schema."""

import tracemalloc

import numpy as np
import pytest
from astropy.io import fits
from support import fits_bytes

from calbatch.models import datamodels
from calbatch.models.arrays import StoredFile
from calbatch.models.datamodels import (
    CubeModel,
    GuiderRawModel,
    ImageModel,
    Level1bModel,
    MaskModel,
    SuperBiasModel,
)
from calbatch.models.errors import FileError, ValidationError, ValidationWarning
from calbatch.models.opening import UnreadField, convert_field, load_content
from calbatch.models.schema.spec import FieldSpec, load_schema

PIXELS = np.arange(48, dtype="f4").reshape(8, 6)


def write(path, *hdus):
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    return path


def image(name, array=PIXELS):
    return fits.ImageHDU(array, name=name)


def table(name, **columns):
    rows = np.zeros(2, list(columns.items()))
    return fits.BinTableHDU(rows, name=name)


def test_arrays_of_the_frame_are_on_the_grid_and_others_are_not(tmp_path):
    path = write(
        tmp_path / "a.fits", image("SCI"), image("ERR"), image("AREA", PIXELS[:2]), image("OWN")
    )
    content = load_content(path, load_schema("image"))
    assert set(content.on_grid) == {"data", "err"}
    assert set(content.off_grid) == {"area"}
    assert isinstance(content.off_grid["area"], UnreadField)
    assert [hdu.name for hdu in content.other_hdus] == ["OWN"]
    assert content.stored == StoredFile(path, content.node)


def test_a_table_is_read_on_first_use(tmp_path):
    columns = {c.name: c.dtype for c in load_schema("cube").fields["int_times"].columns}
    cube = image("SCI", np.zeros((2, 8, 6), "f4"))
    path = write(tmp_path / "a.fits", cube, table("INT_TIMES", **columns))
    model = CubeModel(path)
    assert model.shape_of("int_times") == (2,)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(FileError, match="was replaced or changed"):
        _ = model.int_times


@pytest.mark.parametrize(
    ("hdus", "message"),
    [
        ((image("ERR"),), r"has no SCI extension \(Image\)"),
        ((table("SCI", a="i4"),), "SCI must be an image extension, found table"),
        ((image("SCI", PIXELS[0]),), r"SCI must have 2 dimensions, found \(6,\)"),
        (
            (image("SCI"), image("VAR_RNOISE", np.zeros((1, 1, 8, 6), "f4"))),
            r"VAR_RNOISE may have 3 dimensions, found \(1, 1, 8, 6\)",
        ),
        (
            (image("SCI"), image("DQ", PIXELS)),
            "DQ must hold uint32, found float32",
        ),
    ],
)
def test_hdus_that_do_not_fit_the_schema_are_refused(tmp_path, hdus, message):
    path = write(tmp_path / "a.fits", *hdus)
    with pytest.raises(FileError, match=rf"^{path}: {message}"):
        ImageModel(path)


def test_an_extension_of_another_kind_is_named(tmp_path):
    path = write(tmp_path / "a.fits", image("SCI"))
    path.write_bytes(path.read_bytes().replace(b"'IMAGE   '", b"'FOREIGN '"))
    with pytest.raises(FileError, match=r"SCI must be an image, but XTENSION = 'FOREIGN'"):
        ImageModel(path)


@pytest.mark.parametrize(
    ("spec", "value", "message"),
    [
        (FieldSpec("a", "A", ndim=2), np.zeros(2, [("x", "i4")]), "must be an array, is a table"),
        (load_schema("cube").fields["int_times"], PIXELS, "must be a table, is an array"),
    ],
)
def test_tables_and_arrays_do_not_become_each_other(spec, value, message):
    with pytest.raises(ValidationError, match=f"here: {message}"):
        convert_field(spec, value, "here")


def test_arrays_of_a_reference_must_have_one_frame(tmp_path):
    path = write(tmp_path / "a.fits", image("SCI"), image("ERR", PIXELS[:4]))
    message = "ERR has 6 x 4 pixels, but the other arrays have 6 x 8"
    with pytest.raises(FileError, match=rf"^{path}: {message}"):
        SuperBiasModel(path)


def test_bytes_that_are_not_ascii_are_warned_about_once(tmp_path):
    science = image("SCI")
    science.header["OBSERVER"] = "Andre"
    science.header["AUTHOR"] = "Rene"
    path = write(tmp_path / "a.fits", science)
    path.write_bytes(path.read_bytes().replace(b"Andre", b"Andr\xe9").replace(b"Rene", b"Ren\xe9"))
    with pytest.warns(ValidationWarning, match=r"OBSERVER of HDU 1 \(SCI\), AUTHOR of") as caught:
        model = ImageModel(path)
    assert len(caught) == 1
    assert model.get_card("OBSERVER", hdu="SCI") == "Andr?"


def test_the_flags_of_a_reference_are_translated(tmp_path):
    rows = np.array([(0, 1, "DEAD", ""), (1, 2, "HOT", "")], "i4, u4, U40, U80")
    rows.dtype.names = ("BIT", "VALUE", "NAME", "DESCRIPTION")
    flags = np.array([[0, 1, 2, 3]] * 2, "u4")
    path = write(tmp_path / "a.fits", image("DQ", flags), fits.BinTableHDU(rows, name="DQ_DEF"))
    np.testing.assert_array_equal(MaskModel(path).dq, [[0, 1024, 2048, 3072]] * 2)


def test_a_flag_that_is_unknown_is_reported_with_the_file_that_names_it(tmp_path, caplog):
    rows = np.array([(0, 1, "NO_SUCH_FLAG", "")], "i4, u4, U40, U80")
    rows.dtype.names = ("BIT", "VALUE", "NAME", "DESCRIPTION")
    flags = image("DQ", np.ones((2, 4), "u4"))
    path = write(tmp_path / "a.fits", flags, fits.BinTableHDU(rows, name="DQ_DEF"))
    assert not np.any(MaskModel(path).dq)
    assert f"{path}: DQ_DEF names 'NO_SUCH_FLAG'" in caplog.text


def test_an_unread_table_is_checked_by_another_schema_when_it_is_read(tmp_path):
    path = write(
        tmp_path / "a.fits", image("SCI", np.zeros((2, 8, 6), "f4")), table("INT_TIMES", a="i4")
    )
    model = CubeModel(path)
    with pytest.raises(ValidationError, match="INT_TIMES: no column 'integration_number'"):
        _ = model.int_times


class TestTablesOfAnotherSchema:
    """By its header, a raw guide-star exposure is a raw exposure, whose schema has no tables."""

    @staticmethod
    def raw(path, hdu):
        science = image("SCI", np.zeros((2, 2, 8, 6), "u2"))
        return Level1bModel(write(path, science, hdu))

    @pytest.fixture
    def columns(self):
        specs = load_schema("guider_raw").fields["track_sub_table"].columns
        return {c.name: c.dtype for c in specs}

    def test_they_become_fields_of_a_model_that_names_them(self, tmp_path, columns):
        hdu = table("Track subarray table", **columns)
        hdu.data["x_size"] = 8, 32
        raw = self.raw(tmp_path / "a.fits", hdu)
        model = GuiderRawModel(raw)
        assert model.track_sub_table["x_size"].tolist() == [8, 32]
        saved = GuiderRawModel(model.save(tmp_path / "b.fits"))
        assert saved.track_sub_table["x_size"].tolist() == [8, 32]
        with fits.open(tmp_path / "b.fits") as hdus:
            assert [hdu.name for hdu in hdus].count("TRACK SUBARRAY TABLE") == 1
        assert [hdu.name for hdu in raw._content.other_hdus] == ["TRACK SUBARRAY TABLE"]

    def test_an_image_of_that_name_is_an_error(self, tmp_path):
        raw = self.raw(tmp_path / "a.fits", image("Pointing"))
        with pytest.raises(FileError, match="POINTING must be a table extension, found image"):
            GuiderRawModel(raw)

    def test_an_assigned_table_is_kept(self, tmp_path, columns):
        model = GuiderRawModel((2, 2, 8, 6))
        model.track_sub_table = np.ones(1, list(columns.items()))
        assert GuiderRawModel(model).track_sub_table["y_size"].tolist() == [1]


@pytest.mark.parametrize("extension", ["SCI", "OWN"])
@pytest.mark.parametrize("keyword", [b"N\xe4ME    ", b"OWNNAME\xe4"])
def test_a_keyword_that_is_not_ascii_costs_neither_the_file_nor_its_value(
    tmp_path, extension, keyword
):
    hdus = {name: image(name) for name in ("SCI", "OWN")}
    hdus[extension].header["OWNNAME"] = "mine"
    path = write(tmp_path / "a.fits", *hdus.values())
    path.write_bytes(path.read_bytes().replace(b"OWNNAME ", keyword))
    with pytest.warns(ValidationWarning, match=rf"question marks, in .* \({extension}\)"):
        model = ImageModel(path)
    saved = model.save(tmp_path / "b.fits", fsync=False)
    with fits.open(saved) as hdus:
        shown = keyword.replace(b"\xe4", b"?").decode().strip()
        (value,) = [c.value for c in hdus[extension].header.cards if c.keyword == shown]
        assert value == "mine"
        np.testing.assert_array_equal(hdus["SCI"].data, PIXELS)


def test_the_headers_of_many_hdus_are_not_in_memory_together(tmp_path):
    path = tmp_path / "a_rate.fits"
    foreign = [fits_bytes.image(f"NOTE{n}", 8, (1,), b"a", f"NUMBER = {n}") for n in range(3000)]
    path.write_bytes(
        fits_bytes.primary() + fits_bytes.image("SCI", -32, (2, 3), bytes(24)) + b"".join(foreign)
    )
    datamodels.open(path)  # imports
    tracemalloc.start()
    model = datamodels.open(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert model.get_card("NUMBER", hdu="NOTE2999") == 2999
    assert most < 5.5e6  # half a megabyte is values of cards, remembered for further files
