"""Headers that contradict their arrays: one warning, or an error."""

import warnings

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from calbatch.models import datamodels
from calbatch.models.errors import FileError, ValidationWarning

INTS, GROUPS, ROWS, COLS = 2, 3, 20, 24
CARDS = {"NINTS": INTS, "NGROUPS": GROUPS, "SUBSIZE1": COLS, "SUBSIZE2": ROWS}


def ramp(path, *extensions, cards=(), dtype="u2", model="Level1bModel", shape=None):
    """Write an exposure whose header and array agree, except for the given changes."""
    shape = shape or (INTS, GROUPS, ROWS, COLS)
    data = (np.arange(np.prod(shape)) % 30000 + 1000).reshape(shape).astype(dtype)
    first = fits.PrimaryHDU(header=fits.Header({**CARDS, "DATAMODL": model, **dict(cards)}))
    science = fits.ImageHDU(data, name="SCI")
    fits.HDUList([first, science, *extensions]).writeto(path)
    return path


def open_with_warnings(path):
    """Open a file, and return its model and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = datamodels.open(path)
    assert all(issubclass(w.category, ValidationWarning) for w in caught)
    return model, [str(w.message).removeprefix(f"{path}: ") for w in caught]


def times(rows):
    return fits.BinTableHDU(np.zeros(rows, [("integration_number", ">i4")]), name="INT_TIMES")


def image(name, shape, dtype="f4"):
    return fits.ImageHDU(np.ones(shape, dtype), name=name)


PLANES = (INTS, GROUPS, ROWS, COLS)


@pytest.mark.parametrize(
    ("extensions", "cards"),
    [
        ((), ()),
        ((times(INTS),), ()),
        ((), [("NINTS", 900), ("INTSTART", 101), ("INTEND", 102)]),
        ((times(900),), [("NINTS", 900), ("INTSTART", 101), ("INTEND", 102)]),
        ((), [("NINTS", 900), ("EXSEGTOT", 450)]),
        ((), [("SUBSIZE2", 512), ("READPATT", "NRSIRS2")]),
        ((), [("NGROUPS", 1), ("NINTS", 1), ("SSTR_NST", 2)]),
        ((image("PIXELDQ", (ROWS, COLS), "u4"), image("GROUPDQ", PLANES, "u1")), ()),
    ],
    ids=["plain", "times", "segment", "times of all", "no INTEND", "IRS2", "stripes", "flags"],
)
def test_consistent_files_give_no_warning(tmp_path, extensions, cards):
    assert open_with_warnings(ramp(tmp_path / "a.fits", *extensions, cards=cards))[1] == []


@pytest.mark.parametrize(
    ("extensions", "cards", "wanted"),
    [
        ((), [("NGROUPS", 5)], "NGROUPS = 5, but the group count of SCI is 3: calibrating these"),
        ((), [("NINTS", 7)], "NINTS = 7, but the integration count of SCI is 2: calibrating these"),
        (
            (),
            [("INTSTART", 2), ("INTEND", 4)],
            "INTSTART = 2 and INTEND = 4, but the integration count of SCI is 2: calibrating these",
        ),
        (
            (),
            [("SUBSIZE1", 64)],
            "SUBSIZE1 x SUBSIZE2 = 64 x 20, but its arrays have 24 x 20 pixels",
        ),
        (
            (),
            [("ZEROFRAM", True)],
            "ZEROFRAM = T, but there is no ZEROFRAME extension: calibrating without zero frames",
        ),
        ((times(5),), (), "INT_TIMES has 5 rows, but SCI has 2 integrations"),
        (
            (image("SCI", PLANES, "u2"),),
            (),
            "it has 2 SCI extensions with EXTVER 1: using the first",
        ),
        (
            (image("PIXELDQ", (ROWS, COLS + 1), "u4"),),
            (),
            "PIXELDQ has the shape (20, 25), SCI has (2, 3, 20, 24): PIXELDQ is ignored",
        ),
        (
            (image("GROUPDQ", (1, GROUPS, ROWS, COLS), "u1"),),
            (),
            "GROUPDQ has the shape (1, 3, 20, 24), SCI has (2, 3, 20, 24): GROUPDQ is ignored",
        ),
        (
            (image("ZEROFRAME", (1, ROWS, COLS), "u2"),),
            (),
            "ZEROFRAME has the shape (1, 20, 24), SCI has (2, 3, 20, 24): ZEROFRAME is ignored",
        ),
        (
            (image("GROUPDQ", PLANES, "i4"),),
            (),
            "GROUPDQ is stored as int32: flags beyond 8 bits are dropped",
        ),
    ],
    ids=lambda value: value.split(",")[0].split(" has")[0] if isinstance(value, str) else "",
)
def test_a_contradiction_gives_one_warning_and_the_array_is_used(
    tmp_path, extensions, cards, wanted
):
    path = ramp(tmp_path / "a.fits", *extensions, cards=cards)
    model, warned = open_with_warnings(path)
    assert warned == [wanted]
    assert model.shape == PLANES
    np.testing.assert_array_equal(np.asarray(model.data), fits.getdata(path, 1))


@pytest.mark.parametrize(
    "flags",
    [image("PIXELDQ", (ROWS, 9), "u4"), image("GROUPDQ", (1, 1, ROWS, COLS), "u1")],
    ids=["PIXELDQ", "GROUPDQ"],
)
def test_flags_of_another_shape_are_ignored(tmp_path, flags):
    model, _ = open_with_warnings(ramp(tmp_path / "a.fits", flags))
    found = np.asarray(getattr(model, flags.name.lower()))
    assert found.shape == (PLANES if flags.name == "GROUPDQ" else PLANES[-2:])
    assert not found.any()


@settings(max_examples=30)
@given(nints=st.integers(1, 9), ngroups=st.integers(1, 9), ints=st.integers(1, 9))
def test_a_warning_is_given_only_if_counts_differ(tmp_path_factory, nints, ngroups, ints):
    path = tmp_path_factory.mktemp("counts") / "a.fits"
    cards = [("NINTS", nints), ("NGROUPS", ngroups)]
    _, warned = open_with_warnings(ramp(path, cards=cards, shape=(ints, GROUPS, ROWS, COLS)))
    named = {message.split()[0] for message in warned}
    differing = {"NINTS": nints != ints, "NGROUPS": ngroups != GROUPS}
    assert named == {keyword for keyword, differs in differing.items() if differs}


# -- refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ERR", "DQ", "VAR_POISSON"])
def test_planes_of_another_shape_than_their_image_are_refused(tmp_path, name):
    path = tmp_path / "a_rate.fits"
    science = fits.ImageHDU(np.ones((ROWS, COLS), "f4"), name="SCI")
    other = image(name, (ROWS, COLS - 1), "u4" if name == "DQ" else "f4")
    first = fits.PrimaryHDU(header=fits.Header([("DATAMODL", "ImageModel")]))
    fits.HDUList([first, science, other]).writeto(path)
    with pytest.raises(FileError) as caught:
        datamodels.open(path)
    assert str(caught.value) == f"{path}: {name} has the shape (20, 23), SCI has (20, 24)"


@pytest.mark.parametrize("name", ["PIXELDQ", "GROUPDQ"])
def test_flags_that_are_floating_point_numbers_are_refused(tmp_path, name):
    path = ramp(tmp_path / "a.fits", image(name, PLANES[-2:] if name == "PIXELDQ" else PLANES))
    with pytest.raises(FileError, match=f"{name} must hold uint.*, found float32"):
        datamodels.open(path)


def without_bzero(path):
    """Remove the card that makes signed integers unsigned counts."""
    octets = bytearray(path.read_bytes())
    at = octets.index(b"BZERO   =")
    octets[at : at + 80] = b"COMMENT".ljust(80)
    path.write_bytes(octets)
    return path


def test_a_ramp_without_its_bzero_is_refused_and_the_advice_repairs_it(tmp_path):
    path = ramp(tmp_path / "a.fits")
    counts = fits.getdata(path, 1)
    without_bzero(path)
    assert fits.getdata(path, 1).max() < 0
    with pytest.raises(FileError, match="below zero: the offset of unsigned counts is lost") as e:
        datamodels.open(path)
    assert "setval(FILE, 'BZERO', ext=1, value=32768)" in str(e.value)
    fits.setval(path, "BZERO", ext=1, value=32768)
    np.testing.assert_array_equal(np.asarray(datamodels.open(path).data), counts)


def test_plausible_signed_counts_are_read_as_in_jwst(tmp_path):
    path = ramp(tmp_path / "a.fits", dtype="i2")
    model, warned = open_with_warnings(path)
    assert warned == [
        "SCI holds 16-bit integers without BZERO = 32768: its counts are read as signed"
    ]
    np.testing.assert_array_equal(np.asarray(model.data), fits.getdata(path, 1).astype("f4"))


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "u4"])
def test_counts_of_another_type_than_the_detectors_are_a_ramp(tmp_path, dtype):
    path = ramp(tmp_path / "a.fits", dtype=dtype)
    model, warned = open_with_warnings(path)
    assert warned == []
    assert (type(model).__name__, model.data.dtype) == ("RampModel", np.float32)
    np.testing.assert_array_equal(np.asarray(model.data), fits.getdata(path, 1).astype("f4"))
    with pytest.raises(FileError, match="SCI must hold uint16, found"):
        datamodels.Level1bModel(path)


@pytest.mark.parametrize(
    ("axis", "length"), [("NAXIS1", 12), ("NAXIS2", 30), ("NAXIS3", 2), ("NAXIS4", 1)]
)
def test_an_array_truncated_only_by_its_header_is_refused(tmp_path, axis, length):
    """All pixels exist: following the header, other pixels would be read in their place."""
    shape = (4, 6, 60, 24)
    sizes = [("NINTS", 4), ("NGROUPS", 6), ("SUBSIZE1", 24), ("SUBSIZE2", 60)]
    path = ramp(tmp_path / "a.fits", shape=shape, cards=sizes)
    octets = path.read_bytes()
    at = octets.index(f"{axis}  =".encode())
    path.write_bytes(octets[:at] + f"{axis}  = {length:>20}".ljust(80).encode() + octets[at + 80 :])
    with (
        pytest.warns(ValidationWarning, match="are not an HDU and are ignored"),
        pytest.raises(FileError, match=r"more data follow: NAXIS. or NAXIS. of SCI is wrong"),
    ):
        datamodels.open(path)


def test_definitions_of_flags_that_do_not_fill_their_rows_are_refused(tmp_path):
    path = tmp_path / "mask.fits"
    rows = np.array([(0, 1, "DO_NOT_USE", "")], "i4, u4, U40, U80")
    rows.dtype.names = ("BIT", "VALUE", "NAME", "DESCRIPTION")
    flags = image("DQ", (ROWS, COLS), "u4")
    fits.HDUList([fits.PrimaryHDU(), flags, fits.BinTableHDU(rows, name="DQ_DEF")]).writeto(path)
    assert datamodels.MaskModel(path).shape == (ROWS, COLS)
    fits.setval(path, "TFORM1", ext=2, value="I")
    with pytest.raises(FileError, match=r"HDU 2 \(DQ_DEF\): the TFORM of its 4 columns adds up to"):
        datamodels.MaskModel(path)


def test_random_groups_are_not_an_image(tmp_path):
    path = ramp(tmp_path / "a.fits")
    octets = path.read_bytes()
    at = octets.rindex(b"PCOUNT  =")
    path.write_bytes(octets[:at] + b"PCOUNT  = 4".ljust(80) + octets[at + 80 :] + bytes(2880))
    with pytest.raises(FileError, match="SCI must be an image, but PCOUNT = 4 and GCOUNT = 1"):
        datamodels.open(path)
