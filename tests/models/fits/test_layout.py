"""The layout of files, against astropy, and invalid files."""

import contextlib
import gzip
import pickle
import tracemalloc
import warnings

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support.fits_bytes import BLOCK, blocks, header, image, primary

from calbatch.models.errors import FileError, ValidationWarning
from calbatch.models.fits.layout import read_layout, verify_checksums

IN_ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
DTYPES = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


@st.composite
def hdu_lists(draw):
    """Return a list of HDUs as astropy writes them."""
    hdus = [fits.PrimaryHDU()]
    for number in range(draw(st.integers(0, 4))):
        name = draw(st.sampled_from(["SCI", "err", "", "DQ"]))
        version = draw(st.integers(1, 3))
        if draw(st.booleans()):
            rows = draw(st.integers(0, 3))
            table = np.zeros(rows, [("a", "i2"), ("b", "S3")])
            hdus.append(fits.BinTableHDU(table, name=name, ver=version))
        else:
            data = np.full(draw(shapes), number, draw(st.sampled_from(DTYPES)))
            hdus.append(fits.ImageHDU(data, name=name, ver=version))
    return fits.HDUList(hdus)


def cards_of(hdu):
    """Return the cards of a header as astropy reads them."""
    return [(card.keyword, card.value, card.comment) for card in hdu.header.cards]


@settings(IN_ONE_FOLDER, max_examples=40)
@given(hdu_lists(), st.booleans(), st.booleans())
def test_the_layout_agrees_with_astropy(tmp_path, hdus, gzipped, checksums):
    path = tmp_path / ("a.fits.gz" if gzipped else "a.fits")
    hdus.writeto(path, overwrite=True, checksum=checksums)
    layout = read_layout(path)
    with fits.open(path, memmap=False) as expected:
        assert len(layout.hdus) == len(expected)
        for hdu, wanted in zip(layout.hdus, expected, strict=True):
            assert (hdu.name, hdu.version) == (wanted.name, wanted.ver)
            assert cards_of(hdu) == cards_of(wanted)
            info = wanted.fileinfo()
            assert (hdu.header_offset, hdu.data_offset) == (info["hdrLoc"], info["datLoc"])
            assert hdu.end == info["datLoc"] + info["datSpan"]
            if hdu.kind == "image":
                assert hdu.shape == wanted.data.shape
                assert hdu.dtype == wanted.data.dtype.newbyteorder("=")
            if hdu.kind == "table":
                assert hdu.shape == (len(wanted.data),)
    assert verify_checksums(layout) == (len(hdus) if checksums else 0)


@pytest.mark.parametrize("compression", ["RICE_1", "GZIP_2"])
def test_a_compressed_image_is_described_as_it_will_be_decoded(tmp_path, compression):
    path = tmp_path / "c.fits"
    data = np.arange(60000, dtype=np.uint16).reshape(3, 100, 200)
    hdu = fits.CompImageHDU(data, name="SCI", compression_type=compression)
    hdu.header["BUNIT"] = "DN"
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    found = read_layout(path).find("sci")
    assert (found.kind, found.shape, found.dtype) == ("compressed", data.shape, np.uint16)
    assert found.header["BUNIT"] == "DN"
    assert "ZIMAGE" not in found.header


@pytest.mark.parametrize(
    ("bitpix", "cards", "dtype"),
    [
        (16, ["BSCALE = 0.5"], np.float32),
        (32, ["BZERO = 10"], np.float64),
        (-32, ["BZERO = 1.5D0"], np.float32),
        (16, ["BLANK = -1"], np.float32),
        (16, ["BZERO = 32768", "BLANK = -1"], np.uint16),
        (-64, ["BLANK = -1"], np.float64),
    ],
)
def test_scaled_types_are_astropys(tmp_path, bitpix, cards, dtype):
    path = tmp_path / "a.fits"
    data = bytes(4 * abs(bitpix) // 8)
    path.write_bytes(primary() + image("SCI", bitpix, (4,), data, *cards))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fits.verify.VerifyWarning)  # BLANK on floats
        expected = fits.getdata(path, 1)
    assert read_layout(path).hdus[1].dtype == dtype == expected.dtype.newbyteorder("=")


def test_names_versions_and_lookup(tmp_path):
    path = tmp_path / "a.fits"
    sci = [image("sci", 8, (1,), b"a", f"EXTVER = {version}") for version in (1, 2)]
    path.write_bytes(primary() + sci[0] + sci[1])
    layout = read_layout(path)
    assert layout.names == ("PRIMARY", "SCI", "SCI")
    assert layout.find("Sci", 2).index == 2
    assert layout.find("primary").index == 0
    assert layout.find("ERR") is None
    assert layout.find("SCI", 3) is None


def test_layouts_pickle(tmp_path):
    path = tmp_path / "a.fits"
    path.write_bytes(primary() + image("SCI", 8, (1,), b"a"))
    layout = read_layout(path)
    assert pickle.loads(pickle.dumps(layout)) == layout


def test_headers_are_those_of_the_file_to_the_last_byte(tmp_path):
    path = tmp_path / "a.fits"
    odd = header("SIMPLE = T", "BITPIX = 8", "NAXIS = 0")[:-7] + b"\n after"
    path.write_bytes(odd + 9 * image("SCI", 8, (1,), b"a", " " * 80, "NOTE = 1", " " * 80))
    written = path.read_bytes()
    hdus = read_layout(path).hdus
    for hdu in hdus:
        assert hdu.raw_header == written[hdu.header_offset : hdu.data_offset]
        assert b"".join(hdu.cards) == hdu.raw_header.rstrip(b" ").ljust(80 * len(hdu.cards))
        assert {*map(len, hdu.cards)} == {80}
        assert hdu.find_card("NOTE") == hdu.keywords.cards({b"NOTE    "})
    assert [len(hdu.parts) > 1 for hdu in hdus] == 8 * [False] + 2 * [True]


def test_many_hdus_share_the_memory_of_their_headers(tmp_path):
    path = tmp_path / "many.fits"
    notes = [f"NOTE{number} = 'of every HDU'" for number in range(60)]
    copies = [image("SCI", 8, (1,), b"a", f"EXTVER = {n}", *notes) for n in range(1, 1001)]
    path.write_bytes(primary() + b"".join(copies))
    tracemalloc.start()
    layout = read_layout(path)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < sum(hdu.data_offset - hdu.header_offset for hdu in layout.hdus) / 4


def test_the_digest_follows_the_headers(tmp_path):
    paths = [tmp_path / f"{name}.fits" for name in "abc"]
    for path, value in zip(paths, (1, 1, 2), strict=True):
        path.write_bytes(primary(f"VALUE = {value}"))
    first, same, other = (read_layout(path).digest for path in paths)
    assert first == same != other


@IN_ONE_FOLDER
@given(st.data())
def test_every_truncation_is_detected(tmp_path, data):
    first = primary() + image("SCI", -32, (30, 30), bytes(3600))
    whole = first + image("DQ", 8, (5,), b"12345")
    size = data.draw(st.integers(1, len(whole) - 1))
    assume(size not in (BLOCK, len(first)))  # a file that ends after an HDU looks complete
    path = tmp_path / "cut.fits"
    path.write_bytes(whole[:size])
    with pytest.raises(FileError, match=r"cut\.fits: truncated: "):
        read_layout(path)


def test_a_truncated_gzip_file_is_detected(tmp_path):
    whole = gzip.compress(
        primary() + image("SCI", -32, (30, 30), np.random.default_rng(1).bytes(3600))
    )
    path = tmp_path / "a.fits.gz"
    for size in (20, len(whole) // 2, len(whole) - 9):
        path.write_bytes(whole[:size])
        with pytest.raises(FileError, match="truncated"):
            read_layout(path)
    path.write_bytes(gzip.compress(gzip.decompress(whole)[:-1]))
    with pytest.raises(FileError, match=r"HDU 1 \(SCI\) needs 5760 bytes of data"):
        read_layout(path)


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        (["BITPIX = 8", "NAXIS = 1", "NAXIS1 = -5"], "NAXIS1 = -5 is negative"),
        (["BITPIX = 8", "NAXIS = -1"], "NAXIS = -1 is not between 0 and 999"),
        (["BITPIX = 8", "NAXIS = 1000"], "NAXIS = 1000 is not between 0 and 999"),
        (["BITPIX = 12", "NAXIS = 0"], "BITPIX = 12 is none of"),
        (["BITPIX = 8", "NAXIS = 1", "NAXIS1 = 'abc'"], "NAXIS1 = 'abc' is not an integer"),
        (["BITPIX = 8", "NAXIS = 1", "NAXIS1 = 2.5"], "NAXIS1 = 2.5 is not an integer"),
        (["BITPIX = 8", "NAXIS = 2", "NAXIS1 = 2"], "the required keyword NAXIS2 is missing"),
        (["NAXIS = 0"], "the required keyword BITPIX is missing"),
        (["BITPIX", "NAXIS = 0"], "keyword BITPIX has no value"),
        (["BITPIX = 8", "NAXIS = 0", "PCOUNT = -1"], "is negative"),
        (["BITPIX = 16", "NAXIS = 0", "BZERO = 'x'"], "BZERO = 'x' is not a number"),
        (["BITPIX = 16", "NAXIS = 0", "BZERO = 1E400"], "BZERO = 1E400 is too large a number"),
        (["BITPIX = 16", "NAXIS = 0", "BSCALE = -1D999"], "BSCALE = -1D999 is too large a number"),
        (["BITPIX = 16", "NAXIS = 0", "EXTVER = T"], "EXTVER = T is not an integer"),
        (["BITPIX = 16", "NAXIS = 0", "EXTNAME = 3"], "EXTNAME = 3 is not a string"),
        (["BITPIX = 8", "NAXIS = 1", f"NAXIS1 = {10**20}"], "is absurd"),
        (
            ["BITPIX = 64", "NAXIS = 3", *(f"NAXIS{n} = {2**40}" for n in (1, 2, 3))],
            "which is absurd",
        ),
        (
            ["BITPIX = -64", "NAXIS = 2", f"NAXIS1 = {2**20}", f"NAXIS2 = {2**20}"],
            "HDU 1 needs 8796093024960 bytes of data from byte 5760 on, but only 0 are present",
        ),
    ],
)
def test_implausible_headers_are_refused(tmp_path, cards, message):
    path = tmp_path / "bad.fits"
    path.write_bytes(primary() + header("XTENSION= 'IMAGE   '", *cards))
    tracemalloc.start()
    try:
        with pytest.raises(FileError) as caught:
            read_layout(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    text = str(caught.value)
    assert message in text
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert peak < 1 << 20  # the size in the header is never allocated


def test_an_implausible_compressed_image_is_refused(tmp_path):
    path = tmp_path / "bomb.fits"
    table = header(
        *("XTENSION= 'BINTABLE'", "BITPIX = 8", "NAXIS = 2", "NAXIS1 = 8", "NAXIS2 = 1"),
        *("PCOUNT = 0", "GCOUNT = 1", "TFIELDS = 1", "ZIMAGE = T", "ZBITPIX = -32", "ZNAXIS = 2"),
        *("ZNAXIS1 = 1000000", "ZNAXIS2 = 1000000"),
    )
    path.write_bytes(primary() + table + blocks(bytes(8)))
    with pytest.raises(FileError, match="require 4000000000000 bytes from 8, which is absurd"):
        read_layout(path)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("OBSERV\xe9R  'Jose'", "byte 0xe9 in card 'OBSERV[?]R' is not text"),
        ("\xff" * 80, "byte 0xff in card '[?]{8}' is not text"),
        ("OBSERV\0R= 'Jose'", "byte 0x00 in card 'OBSERV"),
        ("COMMENT Jos\0", "byte 0x00 in card 'COMMENT' is not text"),
    ],
)
def test_damaged_header_text_is_refused_with_its_card(tmp_path, card, message):
    path = tmp_path / "bad.fits"
    path.write_bytes(header("SIMPLE = T", "BITPIX = 8", "NAXIS = 0", card))
    with pytest.raises(FileError, match=message):
        read_layout(path)


@pytest.mark.parametrize(
    "card",
    [
        "OBSERVER= 'Jos\xe9'", "COMMENT \xe9", "\x20" * 8 + "\xe9", "OBSERV\xe9R= 'Jose'",
        "REMARK  \xe9t\xe9", "REMARK   \xe9t\xe9", "OBSERVER\xe9 'Jose'",
    ],
)  # fmt: skip
def test_a_byte_that_is_not_ascii_is_read_as_a_question_mark(tmp_path, card):
    path = tmp_path / "accent.fits"
    path.write_bytes(header("SIMPLE = T", "BITPIX = 8", "NAXIS = 0", card))
    (hdu,) = read_layout(path).hdus
    assert b"\xe9" in hdu.raw_header  # checksums are those of the original bytes
    assert hdu.text == hdu.raw_header.decode("ascii", "replace").replace("\ufffd", "?")


def test_a_header_without_end_is_refused_early(tmp_path):
    path = tmp_path / "bad.fits"
    path.write_bytes(header("SIMPLE = T", "BITPIX = 8", "NAXIS = 0", end=False) + bytes(1 << 20))
    with pytest.raises(FileError, match="byte 0x00"):
        read_layout(path)
    with path.open("wb") as file:
        file.write(primary()[:-BLOCK] + b"SIMPLE  =" + b" " * (BLOCK - 9))
        file.write(b" " * (9 << 20))
    with pytest.raises(FileError, match="no END card in 8 MB"):
        read_layout(path)


@pytest.mark.parametrize(
    ("tail", "warned"),
    [(b"", False), (bytes(BLOCK), False), (b"garbage", True), (b"x" * 3 * BLOCK, True)],
)
def test_data_after_the_last_hdu_are_ignored_with_a_warning(tmp_path, tail, warned):
    path = tmp_path / "a.fits"
    path.write_bytes(primary() + image("SCI", 8, (1,), b"a") + tail)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert read_layout(path).names == ("PRIMARY", "SCI")
    assert bool(caught) == warned
    assert all(w.category is ValidationWarning for w in caught)


def test_simple_f_is_refused(tmp_path):
    path = tmp_path / "a.fits"
    path.write_bytes(header("SIMPLE = F", "BITPIX = 8", "NAXIS = 0"))
    with pytest.raises(FileError, match="HDU 0: SIMPLE is not T"):
        read_layout(path)


@IN_ONE_FOLDER
@given(st.data())
def test_random_damage_gives_a_file_error_or_nothing(tmp_path, data):
    whole = bytearray(primary() + image("SCI", 16, (6, 5), bytes(60), "BZERO = 32768"))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(whole) - BLOCK - 1))
        whole[at] = data.draw(st.integers(0, 255))
    path = tmp_path / "fuzzed.fits"
    path.write_bytes(whole)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValidationWarning)
        with contextlib.suppress(FileError):  # no other exception
            assert all(hdu.end <= len(whole) for hdu in read_layout(path).hdus)


@settings(IN_ONE_FOLDER, max_examples=40)
@given(hdu_lists(), st.data())
def test_one_wrong_byte_of_data_or_header_fails_verification(tmp_path, hdus, data):
    path = tmp_path / "a.fits"
    hdus.writeto(path, overwrite=True, checksum=True)
    layout = read_layout(path)
    hdu = data.draw(st.sampled_from(layout.hdus))
    at = data.draw(st.integers(hdu.data_offset, hdu.end - 1)) if hdu.data_size else None
    content = bytearray(path.read_bytes())
    if at is None:
        # The comment of the first card, which the layout ignores.
        at = hdu.header_offset + 60
        assume(content[at] != ord("~"))
        content[at] += 1
    else:
        content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(FileError, match=f"HDU {hdu.index}.*(DATASUM|CHECKSUM)"):
        verify_checksums(read_layout(path))


LOST = {
    "a block of the first array": (2880 + 2880, 2880, b""),
    "some bytes of the first array": (2880 + 2880, 700, b""),
    "a block too many in the first array": (2880 + 2880, 0, bytes(2880)),
}


@pytest.mark.parametrize("name", LOST)
def test_extensions_hidden_by_lost_or_added_bytes_are_refused(tmp_path, name):
    path = tmp_path / "a.fits"
    arrays = [image(n, 8, (2880, 2), b"\1" * 5760) for n in ("SCI", "DQ", "DQ_DEF")]
    sound = primary() + b"".join(arrays)
    path.write_bytes(sound)
    assert len(read_layout(path).hdus) == 4
    at, lost, added = LOST[name]
    path.write_bytes(sound[:at] + added + sound[at + lost :])
    with pytest.raises(FileError, match="damaged: there is a header at byte"):
        read_layout(path)


def test_an_extension_hidden_by_too_small_a_length_is_refused(tmp_path):
    path = tmp_path / "a.fits"
    arrays = [image(n, 8, (2880, 2), b"\1" * 5760) for n in ("SCI", "DQ")]
    sound = primary() + b"".join(arrays)
    shorter = sound.replace(b"NAXIS2  =                    2", b"NAXIS2  =                    1", 1)
    path.write_bytes(shorter)
    with pytest.raises(FileError, match=r"but HDU 1 \(SCI\) ends at byte"):
        read_layout(path)
