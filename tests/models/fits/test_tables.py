"""Tables, against astropy, and casting their columns."""

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from support.fits_bytes import blocks, header, primary

from calbatch.models.errors import FileError, ValidationError
from calbatch.models.fits.layout import read_layout
from calbatch.models.fits.tables import cast_columns, read_table
from calbatch.models.fits.writer import OutputImage, OutputTable, write_fits
from calbatch.models.schema.spec import ColumnSpec

IN_ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def write_table(path, *columns):
    fits.BinTableHDU.from_columns(columns, name="TAB").writeto(path, overwrite=True)
    return read_layout(path).find("TAB")


def test_every_type_of_column_is_read(tmp_path):
    hdu = write_table(
        tmp_path / "a.fits",
        fits.Column("text", "5A", array=["ab ", "c"]),
        fits.Column("logical", "L", array=[True, False]),
        fits.Column("byte", "B", array=[0, 255]),
        fits.Column("short", "I", array=[-5, 5]),
        fits.Column("unsigned", "J", bzero=2**31, array=np.array([0, 2**32 - 1], "u4")),
        fits.Column("vector", "2D", array=[[1, 2], [3, 4]]),
        fits.Column("varying", "PI()", array=np.array([[1], [1, 2, 3]], dtype=object)),
    )
    table = read_table(hdu)
    assert table["text"].tolist() == ["ab", "c"]
    assert table["logical"].tolist() == [True, False]
    assert table["byte"].tolist() == [0, 255]
    assert table["short"].tolist() == [-5, 5]
    assert table["unsigned"].tolist() == [0, 2**32 - 1]
    assert table["vector"].tolist() == [[1, 2], [3, 4]]
    assert [list(cell) for cell in table["varying"]] == [[1], [1, 2, 3]]
    kinds = [table.dtype[name].base for name in ("byte", "short", "unsigned", "vector")]
    assert kinds == [np.uint8, np.int16, np.uint32, np.float64]
    assert all(kind.isnative for kind in kinds)


def test_plain_columns_have_the_types_of_those_that_astropy_reads(tmp_path):
    text = fits.Column("text", "9A", array=["ab ", "c"])
    plain = [
        text,
        fits.Column("n", "K", array=[2**60, -1]),
        fits.Column("e", "3E", array=[[1] * 3] * 2),
    ]
    logical = fits.Column("l", "L", array=[True, False])  # not plain, so astropy reads them all
    other = write_table(tmp_path / "b.fits", *plain, logical)
    table, expected = read_table(write_table(tmp_path / "a.fits", *plain)), read_table(other)
    for name in ("text", "n", "e"):
        assert table.dtype[name] == expected.dtype[name]
        np.testing.assert_array_equal(table[name], expected[name])


def test_text_that_is_not_ascii_stays_bytes_until_a_schema_names_its_column(tmp_path):
    hdu = write_table(tmp_path / "a.fits", fits.Column("text", "4A", array=["abcd"]))
    content = (tmp_path / "a.fits").read_bytes()
    (tmp_path / "a.fits").write_bytes(content.replace(b"abcd", b"ab\xe9d"))
    table = read_table(read_layout(hdu.stamp.path).find("TAB"))
    assert table["text"].tolist() == [b"ab\xe9d"]
    columns = [ColumnSpec("text", np.dtype("U4"))]
    with pytest.raises(ValidationError, match="'text': has text that is not ASCII"):
        cast_columns(table, columns, "a.fits")


def test_scaled_columns_are_decoded(tmp_path):
    path = tmp_path / "a.fits"
    head = header(
        *("XTENSION= 'BINTABLE'", "BITPIX = 8", "NAXIS = 2", "NAXIS1 = 2", "NAXIS2 = 2"),
        *(
            "PCOUNT = 0",
            "GCOUNT = 1",
            "TFIELDS = 1",
            "TTYPE1 = 'a'",
            "TFORM1 = 'I'",
            "TSCAL1 = 0.5",
            "TZERO1 = 1.0",
        ),
    )
    path.write_bytes(primary() + head + blocks(b"\0\0\0\3"))
    assert read_table(read_layout(path).hdus[1])["a"].tolist() == [1.0, 2.5]


def test_an_empty_table_keeps_its_columns(tmp_path):
    hdu = write_table(tmp_path / "a.fits", fits.Column("a", "J"), fits.Column("b", "3A"))
    table = read_table(hdu)
    assert table.shape == (0,)
    assert table.dtype.names == ("a", "b")


column_types = st.sampled_from(
    ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "?", "U4"]
)
cells = st.sampled_from([(), (2,), (2, 3)])


@st.composite
def tables(draw):
    kinds = draw(st.lists(st.tuples(column_types, cells), min_size=1, max_size=4))
    plain = [(f"c{n}", kind, () if kind == "U4" else cell) for n, (kind, cell) in enumerate(kinds)]
    text = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=4)
    columns = {}
    rows = draw(st.integers(0, 3))
    for name, kind, cell in plain:
        elements = text if kind == "U4" else None
        columns[name] = draw(st_numpy.arrays(kind, (rows, *cell), elements=elements))
    table = np.zeros(rows, plain)
    for name, column in columns.items():
        table[name] = column
    return table


@settings(IN_ONE_FOLDER, max_examples=40)
@given(tables())
def test_tables_survive_a_round_trip(tmp_path, table):
    path = tmp_path / "a.fits"
    before = table.copy()
    write_fits(
        path, [OutputImage(name="", extname="PRIMARY"), OutputTable("TAB", table)], {}, fsync=False
    )
    assert table.tobytes() == before.tobytes()
    found = read_table(read_layout(path).find("TAB"))
    assert found.dtype.names == table.dtype.names
    for name in table.dtype.names:
        np.testing.assert_array_equal(found[name], table[name])
        # FITS tables have no signed bytes; text is as wide as its longest value.
        if table.dtype[name].base != np.int8 and table.dtype[name].kind != "U":
            assert found.dtype[name].base == table.dtype[name].base


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        (
            ["NAXIS1 = 0", "NAXIS2 = 1000000000000", "TFIELDS = 0"],
            "claims 1000000000000 rows of no",
        ),
        (
            ["NAXIS1 = 4", "NAXIS2 = 1", "TFIELDS = 1", "TFORM1 = 'Q?'"],
            "HDU 1 .TAB.: the TFORM of its 1 column adds up to 16 bytes, but a row has NAXIS1 = 4",
        ),
        (
            ["NAXIS1 = 4", "NAXIS2 = 1", "TFIELDS = 1", "TFORM1 = '?'"],
            "HDU 1 .TAB.: TFORM1 = '[?]' is not the format of a column",
        ),
        (["NAXIS1 = 4", "NAXIS2 = 1", "TFIELDS = 'x'"], "TFIELDS = 'x' is not an integer"),
        (["NAXIS1 = 4", "NAXIS2 = 1", "TFIELDS = 1000"], "TFIELDS = 1000 is not between 0 and 999"),
        (["NAXIS1 = 4", "NAXIS2 = 1", "TFIELDS = 9223372036854775807"], "not between 0 and 999"),
        (["NAXIS1 = 4", "NAXIS2 = 1"], "TFIELDS is missing"),
        (
            ["NAXIS1 = 4", "NAXIS2 = 1", "TFIELDS = 1", "TFORM1 = '99999999999999999999E'"],
            "up to 399999999999999999996 bytes",
        ),
        (["NAXIS1 = 4", "NAXIS2 = 1", "TFIELDS = 1", "TFORM1 = 'H'"], "not the format of a column"),
    ],
)
def test_inconsistent_tables_are_refused(tmp_path, cards, message):
    path = tmp_path / "a.fits"
    head = header("XTENSION= 'BINTABLE'", "BITPIX = 8", "NAXIS = 2", *cards, "EXTNAME = 'TAB'")
    path.write_bytes(primary() + head + blocks(bytes(4)))
    with pytest.raises(FileError, match=message):
        read_table(read_layout(path).find("TAB"))


@pytest.mark.parametrize("cell", [(2**31 - 1, 0), (1, 2**31 - 8), (-1, 0), (2, -4)])
def test_variable_length_cells_outside_the_heap_are_refused(tmp_path, cell):
    path = tmp_path / "a.fits"
    lengths = fits.Column("a", "PJ()", array=np.array([[1, 2], [3]], dtype=object))
    write_table(path, lengths)
    sound = read_table(read_layout(path).find("TAB"))
    assert [list(row) for row in sound["a"]] == [[1, 2], [3]]
    octets = bytearray(path.read_bytes())
    at = read_layout(path).find("TAB").data_offset
    octets[at : at + 8] = np.array(cell, ">i4").tobytes()
    path.write_bytes(octets)
    with pytest.raises(FileError, match="TFORM1 has cells that lie outside the table"):
        read_table(read_layout(path).find("TAB"))


@settings(IN_ONE_FOLDER, max_examples=60)
@given(st.data())
def test_random_damage_gives_a_file_error_or_a_table(tmp_path, data):
    path = tmp_path / "a.fits"
    write_table(path, fits.Column("a", "J", array=[1, 2]), fits.Column("b", "3A", array=["x", "y"]))
    content = bytearray(path.read_bytes())
    hdu = read_layout(path).find("TAB")
    # Only cards from TFIELDS on: tests of the layout cover the others.
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(hdu.header_offset + 7 * 80, hdu.header_offset + 12 * 80))
        content[at] = data.draw(st.integers(32, 126))
    path.write_bytes(content)
    try:
        table = read_table(read_layout(path).hdus[1])
    except FileError:
        return
    assert table.shape == (2,)


def test_an_image_is_not_a_table(tmp_path):
    fits.PrimaryHDU(np.zeros(3)).writeto(tmp_path / "a.fits")
    with pytest.raises(FileError, match=r"HDU 0 \(PRIMARY\) is not a table"):
        read_table(read_layout(tmp_path / "a.fits").hdus[0])


COLUMNS = (
    ColumnSpec("Bit", np.dtype("u4")),
    ColumnSpec("NAME", np.dtype("S5")),
    ColumnSpec("pair", np.dtype("f4"), (2,)),
)


def test_columns_are_cast_and_put_in_order():
    kinds = [("name", "S3"), ("PAIR", "f8", 2), ("extra", "i2"), ("bit", "i2")]
    found = cast_columns(np.array([("ab", (0.5, 2), 7, 9)], kinds), COLUMNS, "a.fits: TAB")
    assert found.dtype.names == ("Bit", "NAME", "pair", "extra")
    assert found.dtype["Bit"] == np.uint32
    assert found.dtype["pair"].base == np.float32
    assert [item if isinstance(item, (int, str)) else item.tolist() for item in found[0]] == [
        *(9, "ab", [0.5, 2.0], 7)
    ]


def test_astropy_records_and_lists_of_rows_are_accepted(tmp_path):
    column = fits.Column("bit", "J", bzero=2**31, array=np.array([2**31 + 5], "u4"))
    write_table(tmp_path / "a.fits", column)
    records = fits.getdata(tmp_path / "a.fits", "TAB")
    assert cast_columns(records, COLUMNS[:1], "here")["Bit"].tolist() == [2**31 + 5]
    assert cast_columns([(3, "ab")], COLUMNS[:2], "here").tolist() == [(3, "ab")]
    with pytest.raises(ValidationError, match="here: the rows do not fit the columns"):
        cast_columns([(-3, "ab")], COLUMNS[:2], "here")


def test_text_may_be_longer_than_the_schema_says():
    table = np.array([(1, "longer than five")], [("bit", "i2"), ("name", "U20")])
    assert cast_columns(table, COLUMNS[:2], "here")["NAME"].tolist() == ["longer than five"]


@pytest.mark.parametrize(
    ("kinds", "row", "message"),
    [
        ([("bit", "i2")], (1,), "here: no column 'NAME'; the columns are bit"),
        ([("bit", "i2"), ("name", "i4")], (1, 2), "here: 'NAME': must be .*, found int32"),
        ([("bit", "S2"), ("name", "S2")], ("1", "2"), "here: 'Bit': must be uint32, found"),
        ([("bit", "i2"), ("name", "S2")], (-1, ""), "'Bit': has values that uint32 cannot hold"),
        ([("bit", "f8"), ("name", "S2")], (0.5, ""), "'Bit': has values that uint32 cannot"),
        ([("bit", "f8"), ("name", "S2")], (np.nan, ""), "'Bit': has values that uint32 cannot"),
        ([("bit", "O"), ("name", "S2")], (None, ""), "'Bit': must be uint32, found object"),
        ([("bit", "i2"), ("name", "S2")], (1, b"\xe9"), "'NAME': has text that is not ASCII"),
        (
            [("bit", "i2"), ("name", "S2"), ("pair", "f4", 3)],
            (1, "", (1, 2, 3)),
            r"'pair': cells must have the shape \(2,\), not \(3,\)",
        ),
    ],
)
def test_columns_that_do_not_fit_are_refused(kinds, row, message):
    with pytest.raises(ValidationError, match=message):
        cast_columns(np.array([row], kinds), COLUMNS[: max(2, len(kinds))], "here")


def test_an_array_is_not_a_table():
    with pytest.raises(ValidationError, match="must be a table, found an array of float64"):
        cast_columns(np.zeros(3), COLUMNS, "here")
