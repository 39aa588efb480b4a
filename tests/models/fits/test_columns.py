"""A table's columns as its header describes them, and checks before its values are read."""

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fits_bytes import blocks, header, primary

from calbatch.models.errors import FileError
from calbatch.models.fits import columns
from calbatch.models.fits.columns import (
    describe_columns,
    describe_units,
    require_columns,
    require_full_rows,
)
from calbatch.models.fits.layout import read_layout
from calbatch.models.fits.tables import read_table


def table(*cards, rows=b""):
    return (
        primary() + header("XTENSION= 'BINTABLE'", "BITPIX = 8", "NAXIS = 2", *cards) + blocks(rows)
    )


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.sampled_from("LBIJKAEDCMX")), min_size=1, max_size=5),
    st.integers(-9, 9),
)
def test_columns_must_fill_the_rows_of_a_table(tmp_path_factory, formats, off):
    path = tmp_path_factory.mktemp("table") / "a.fits"
    forms = [f"{repeat}{letter}" for repeat, letter in formats]
    coldefs = fits.ColDefs([fits.Column(f"C{n}", f) for n, f in enumerate(forms)])
    width = coldefs.dtype.itemsize  # as astropy counts
    cards = [f"TFORM{n} = '{form:8}'" for n, form in enumerate(forms, 1)]
    cards += [f"TTYPE{n} = 'C{n:7}'" for n in range(1, len(forms) + 1)]
    size = max(1, width + off)
    path.write_bytes(
        table(
            *(f"NAXIS1 = {size}", "NAXIS2 = 1", "PCOUNT = 0", "GCOUNT = 1"),
            *(f"TFIELDS = {len(forms)}", *cards),
            rows=bytes(size),
        )
    )
    hdu = read_layout(path).hdus[1]
    if size == width:
        assert len(read_table(hdu)) == 1
    else:
        with pytest.raises(FileError, match=f"up to {width} bytes?, .* NAXIS1 = {size}"):
            read_table(hdu)


def test_a_column_of_an_ascii_table_must_end_within_the_row(tmp_path):
    path = tmp_path / "a.fits"
    column = fits.Column("N", "I5", array=np.array([1, 2]), ascii=True)
    fits.HDUList([fits.PrimaryHDU(), fits.TableHDU.from_columns([column])]).writeto(path)
    assert read_table(read_layout(path).hdus[1])["N"].tolist() == [1, 2]
    fits.setval(path, "TFORM1", ext=1, value="I50")
    with pytest.raises(FileError, match="column 1 takes bytes 1 to 50 of a row"):
        read_table(read_layout(path).hdus[1])


def table_of(path, *cards, rows=b""):
    path.write_bytes(table(*cards, rows=rows))
    return read_layout(path).hdus[1]


def test_an_unknown_format_is_named(tmp_path):
    hdu = table_of(tmp_path / "a.fits", "NAXIS1 = 2", "NAXIS2 = 0", "TFIELDS = 1", "TFORM1 = '?'")
    with pytest.raises(FileError, match=r"HDU 1: TFORM1 = '\?' is not the format of a column"):
        require_full_rows(hdu)


def variable_length(path, descriptor):
    column = fits.Column("V", "PE()", array=np.array([[1.0, 2.0], [3.0]], dtype=object))
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([column])]).writeto(path)
    hdu = read_layout(path).hdus[1]
    octets = bytearray(path.read_bytes())
    octets[hdu.data_offset : hdu.data_offset + 8] = np.array(descriptor, ">i4").tobytes()
    path.write_bytes(octets)
    return read_layout(path).hdus[1]


def test_cells_within_the_heap_are_read(tmp_path):
    hdu = variable_length(tmp_path / "a.fits", (2, 0))
    require_columns(hdu)
    assert [list(cell) for cell in read_table(hdu)["V"]] == [[1.0, 2.0], [3.0]]


@pytest.mark.parametrize("descriptor", [(-1, 0), (2, -4), (2, 12), (2**30, 0)])
def test_cells_outside_the_heap_are_refused(tmp_path, descriptor):
    hdu = variable_length(tmp_path / "a.fits", descriptor)
    require_full_rows(hdu)  # reads no cells
    with pytest.raises(FileError, match="the column of TFORM1 has cells that lie outside"):
        require_columns(hdu)


def test_a_table_larger_than_memory_is_refused(tmp_path, monkeypatch):
    def refuse(path, size, what):
        raise FileError(path, f"{what} is too much: {size}")

    monkeypatch.setattr(columns, "require_memory", refuse)
    hdu = table_of(
        tmp_path / "a.fits",
        "NAXIS1 = 4",
        "NAXIS2 = 2",
        "TFIELDS = 1",
        "TFORM1 = 'E'",
        rows=bytes(8),
    )
    with pytest.raises(FileError, match="reading HDU 1 as a whole is too much: 8"):
        require_columns(hdu)


def test_columns_are_described_without_reading_them(tmp_path):
    described = {
        fits.Column("FLUX", "E", unit="MJy/sr"): "float32",
        fits.Column("DQ", "J", bzero=2**31): "uint32",
        fits.Column("CELL", "6D", dim="(3,2)"): "float64 (3,2)",
        fits.Column("ROW", "6K"): "int64 (6)",
        fits.Column("NAME", "15A"): "text (15)",
        fits.Column("ANY", "PE(9)"): "float32 of any number",
    }
    path = tmp_path / "a.fits"
    fits.BinTableHDU.from_columns(list(described), nrows=1, name="A").writeto(path)
    hdu = read_layout(path).find("A")
    wanted = [(column.name, kind, column.unit or "") for column, kind in described.items()]
    assert list(describe_columns(hdu)) == wanted
    assert describe_units(hdu) == {name: unit for name, _, unit in wanted}


@pytest.mark.parametrize(
    ("form", "zero", "kind"),
    [
        *(("PI(5)", 2**15, "uint16"), ("PJ(5)", 2**31, "uint32"), ("QK(5)", 2**63, "uint64")),
        *(("PJ(5)", 2**15, "int32"), ("PJ(5)", 0, "int32")),
    ],
)
def test_cells_of_any_number_may_be_unsigned(tmp_path, form, zero, kind):
    cards = ("NAXIS1 = 16", "NAXIS2 = 0", "TFIELDS = 1", "TTYPE1 = 'A'")
    hdu = table_of(tmp_path / "a.fits", *cards, f"TFORM1 = '{form}'", f"TZERO1 = {zero}")
    assert list(describe_columns(hdu)) == [("A", f"{kind} of any number", "")]


def test_names_and_units_may_be_any_text(tmp_path):
    names = ["'A/B'", "' lead'", "5", "'C'", "'D'"]
    units = ["'J/m'", "'s'", "'s'", "5", "'\t'"]
    cards = ["NAXIS1 = 20", "NAXIS2 = 1", "TFIELDS = 5"]
    for number, (name, unit) in enumerate(zip(names, units, strict=True), 1):
        keywords = (f"TFORM{number} = 'E'", f"TTYPE{number} = {name}", f"TUNIT{number} = {unit}")
        cards.extend(keywords)
    hdu = table_of(tmp_path / "a.fits", *cards, rows=bytes(20))
    assert [(name, unit) for name, _, unit in describe_columns(hdu)] == [
        ("A/B", "J/m"), (" lead", "s"), ("5", "s"), ("C", ""), ("D", ""),
    ]  # fmt: skip
    assert describe_units(hdu) == {"A/B": "J/m", " lead": "s", "C": "", "D": ""}


def test_columns_of_a_table_of_text_are_described(tmp_path):
    path = tmp_path / "a.fits"
    columns_of_text = [fits.Column("A", "I10", array=[1], ascii=True, unit="s")]
    fits.TableHDU.from_columns(columns_of_text, name="A").writeto(path)
    assert list(describe_columns(read_layout(path).find("A"))) == [("A", "I10", "s")]
