"""The ASDF extension: required by jwst's readers, and kept if it has values of its own."""

import io
import warnings

import asdf
import numpy as np
import pytest
import yaml
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from stdatamodels.jwst import datamodels as jwst_models
from stdatamodels.jwst.datamodels.util import read_metadata

from calbatch.models import datamodels
from calbatch.models.errors import FileError
from calbatch.models.fits.asdf_extension import remove_header_values, set_values
from calbatch.models.schema.spec import load_schema

SCHEMA = load_schema("image")
READ_TIMES = "meta.exposure.read_times"


def image(**tree):
    """Return an image of jwst with further values in its tree."""
    model = jwst_models.ImageModel((6, 8))
    model.meta.telescope, model.meta.instrument.name = "JWST", "NIRCAM"
    for name, value in tree.items():
        setattr(model.meta, name, value)
    return model


def save_again(model, folder):
    """Return a file written by jwst, then changed and saved by calbatch."""
    original, again = folder / "original.fits", folder / "again.fits"
    model.save(original)
    ours = datamodels.open(original)
    ours.meta.target.catalog_name = "changed"
    return ours.save(again, fsync=False)


def content(path):
    return fits.getdata(path, "ASDF").tobytes()


def asdf_bytes(tree):
    stream = io.BytesIO()
    asdf.AsdfFile(tree).write_to(stream)
    return stream.getvalue()


def tree_of(data):
    with asdf.open(io.BytesIO(data)) as opened:
        return {k: v for k, v in opened.tree.items() if k not in ("asdf_library", "history")}


def test_a_model_without_an_extension_gets_an_empty_tree(tmp_path):
    path = datamodels.ImageModel((4, 5)).save(tmp_path / "x.fits", fsync=False)
    assert tree_of(content(path)) == {}
    with fits.open(path) as hdus:
        assert hdus[-1].name == "ASDF"
    assert read_metadata(path)["meta.model_type"] == "ImageModel"


def test_the_empty_extension_is_the_same_in_every_file(tmp_path):
    paths = [tmp_path / name for name in ("a.fits", "b.fits")]
    for path in paths:
        datamodels.CubeModel((2, 4, 5)).save(path, fsync=False)
    assert content(paths[0]) == content(paths[1])


def test_values_in_headers_and_arrays_are_removed(tmp_path):
    path = save_again(image(), tmp_path)
    assert tree_of(content(path)) == {}
    with jwst_models.open(path) as model:
        assert model.meta.target.catalog_name == "changed"
        assert model.data.shape == (6, 8)


def test_a_world_coordinate_system_is_kept(real_data, tmp_path):
    source = real_data / "miri_lrs" / "ERS_NGTS10_2022_new_drift_041_calints.fits"
    copy = datamodels.open(source).save(tmp_path / "copy.fits", fsync=False)
    with warnings.catch_warnings(), jwst_models.open(source) as theirs:
        warnings.simplefilter("error")
        with jwst_models.open(copy) as ours:
            columns, rows = np.meshgrid(np.arange(0, 72.0), np.arange(0, 416.0))
            np.testing.assert_array_equal(
                ours.meta.wcs(columns, rows), theirs.meta.wcs(columns, rows)
            )
            assert ours.meta.filetype == theirs.meta.filetype


def test_arrays_in_blocks_are_kept(tmp_path):
    table = np.arange(12.0).reshape(3, 4)
    path = save_again(image(calibration_curve=table), tmp_path)
    with jwst_models.open(path) as model:
        np.testing.assert_array_equal(model.meta.calibration_curve, table)


def test_unreferenced_blocks_are_removed():
    data = asdf_bytes({"data": np.zeros((50, 50)), "meta": {"mine": 1}})
    kept = remove_header_values(SCHEMA, data)
    assert tree_of(kept) == {"meta": {"mine": 1}}
    assert len(kept) < len(data) - 50 * 50 * 8


def test_links_to_arrays_are_removed_at_any_depth():
    link = "!core/ndarray-1.1.0 {source: 'fits:SCI,2', datatype: float32, shape: [2]}"
    text = f"slits:\n- name: a\n  data: {link}\n- {link}\n"
    data = b"#ASDF 1.0.0\n%YAML 1.1\n%TAG ! tag:stsci.edu:asdf/\n---\n" + text.encode() + b"...\n"
    assert tree_of(remove_header_values(SCHEMA, data)) == {"slits": [{"name": "a"}]}


def test_shared_values_stay_shared():
    shared = {"a": [1, 2]}
    tree = tree_of(remove_header_values(SCHEMA, asdf_bytes({"mine": [shared, shared]})))
    assert tree["mine"][0] is tree["mine"][1]


def test_a_model_of_another_kind_has_no_extension(tmp_path):
    schema = tmp_path / "own.schema.yaml"
    schema.write_text("type: object\nproperties:\n  data: {fits_hdu: SCI, datatype: float32}\n")
    model = datamodels.DataModel(np.zeros((3, 3), "f4"), schema=schema)
    with fits.open(model.save(tmp_path / "x.fits", fsync=False)) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "SCI"]


def with_extension(path, data):
    """Return a file with an image and an ASDF extension of these bytes."""
    table = np.zeros(1, [("ASDF_METADATA", "u1", (len(data),))])
    table["ASDF_METADATA"] = np.frombuffer(data, "u1")
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(np.zeros((3, 4), "f4"), name="SCI")]
    fits.HDUList([*hdus, fits.BinTableHDU(table, name="ASDF")]).writeto(path, overwrite=True)
    return path


DEEP = b"%YAML 1.1\n---\n" + b"[" * 100_000 + b"]" * 100_000 + b"\n...\n"
MANY = b"%YAML 1.1\n---\nmine: [" + b"0," * 210_000 + b"]\n...\n"
DAMAGED = {
    "deep": lambda: DEEP,
    "many": lambda: MANY,
    "not YAML": lambda: b"%YAML 1.1\n---\nmine: [1, 2\n...\n",
    "cut block": lambda: asdf_bytes({"mine": np.zeros(1000)})[:-4000],  # asdf starts slowly
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_extension_is_refused(name, tmp_path):
    path = with_extension(tmp_path / "bad.fits", DAMAGED[name]())
    with pytest.raises(FileError, match=rf"{path}: HDU 2 \(ASDF\) cannot be read: .*; remove"):
        datamodels.open(path).save(tmp_path / "x.fits", fsync=False)


@pytest.mark.parametrize(
    ("array", "fill"),
    [({}, b""), ({}, b"\0"), ({"curve": np.arange(5.0)}, b"")],
    ids=["tree shorter", "tree with zeros", "block shorter"],
)
def test_a_truncated_extension_is_refused_or_gives_the_same_result(array, fill):
    whole = asdf_bytes({"mine": {"a": [1, 2], "b": "c"}, "read_times": [[1.5, 2.5]], **array})
    expected = remove_header_values(SCHEMA, whole)
    refused = 0
    for length in range(0 if fill else 1, len(whole)):
        cut = whole[:length] + fill * (len(whole) - length)
        try:
            assert remove_header_values(SCHEMA, cut) == expected
        except (ValueError, yaml.YAMLError):
            refused += 1
    assert refused > 0.5 * len(whole)


def test_zeros_in_a_block_violate_its_checksum():
    curve = np.arange(5.0)
    whole = asdf_bytes({"curve": curve})
    assert curve.tobytes() in whole
    with pytest.raises(ValueError, match="a block does not match its checksum"):
        remove_header_values(SCHEMA, whole.replace(curve.tobytes(), bytes(curve.nbytes)))


def test_values_of_a_truncated_extension_are_an_error(tmp_path):
    whole = asdf_bytes({"a": 1, "meta": {"exposure": {"read_times": [[1.5]]}}})
    found = datamodels.open(with_extension(tmp_path / "x.fits", whole)).value_in_asdf(READ_TIMES)
    assert found == [[1.5]]
    cut = whole[: whole.index(b"meta:")]
    model = datamodels.open(with_extension(tmp_path / "x.fits", cut))
    with pytest.raises(FileError, match=f"{READ_TIMES} may be, cannot be read: its tree is cut"):
        model.value_in_asdf(READ_TIMES)


@given(st.binary(max_size=300), st.booleans())
def test_header_values_of_arbitrary_content_are_removed_at_once_or_it_is_refused(data, headed):
    content = b"#ASDF 1.0.0\n%YAML 1.1\n---\n" + data if headed else data
    try:
        rest = remove_header_values(SCHEMA, content)
    except (ValueError, yaml.YAMLError):
        return
    assert remove_header_values(SCHEMA, rest) == rest


def test_no_objects_are_made_from_tags():
    text = b"%YAML 1.1\n---\nmine: !!python/object/apply:os.system ['false']\n...\n"
    assert b"python/object/apply:os.system" in remove_header_values(SCHEMA, text)


@pytest.mark.parametrize("others", [{}, {"catalogue": {"a": 1}}], ids=["empty", "with others"])
def test_read_times_are_stored_and_found_again(tmp_path, others):
    times = [[1.5], [2.0, 2.25]]
    image(**others).save(tmp_path / "original.fits")
    ours = datamodels.open(tmp_path / "original.fits")
    ours.meta.exposure.read_times = times
    path = ours.save(tmp_path / "again.fits", fsync=False)
    assert datamodels.open(path).value_in_asdf(READ_TIMES) == times
    with jwst_models.ImageModel(str(path)) as model:
        assert [list(group) for group in model.meta.exposure.read_times] == times
        assert model.meta.hasattr("catalogue") == bool(others)


def test_values_replace_those_of_the_tree():
    before = asdf_bytes({"meta": {"exposure": {"read_times": [[9.0]], "other": 2}}})
    after = set_values(before, {READ_TIMES: [[1.0]], "meta.further": 3})
    tree = asdf.open(io.BytesIO(after)).tree["meta"]
    assert tree == {"exposure": {"read_times": [[1.0]], "other": 2}, "further": 3}
