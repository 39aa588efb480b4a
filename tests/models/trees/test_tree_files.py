"""Files that hold trees: kinds of files, JSON, bounds and damage."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calbatch.models import datamodels
from calbatch.models.asdf.asdf_tree import MAX_DEPTH, MAX_TREE_LENGTH
from calbatch.models.errors import FileError, ValidationError, ValidationWarning
from calbatch.models.storage.location import location
from calbatch.models.trees.tree_files import holds_tree, read_file

APERTURE = {"id": "S200A1", "xstart": 3, "src_coeff": [[1.5], [2.5]], "smoothing_length": 0}
EXTRACT = {
    "reftype": "EXTRACT1D", "instrument": "NIRSPEC", "telescope": "JWST", "author": "somebody",
    "exp_type": "NRS_FIXEDSLIT", "useafter": "2022-01-01T00:00:00", "history": "made",
    "apertures": [APERTURE],
}  # fmt: skip
SHUTTERS = {
    "instrument": "NIRSPEC", "reftype": "msaoper",
    "msaoper": [{"Q": 1, "x": 2, "y": 3, "state": "closed", "TA state": "open"}],
}  # fmt: skip
ASSOCIATION = {
    "asn_type": "image2", "asn_rule": "Asn_Lv2Image", "program": "00001", "version_id": None,
    "products": [{"name": "a", "members": [{"expname": "a_rate.fits", "exptype": "science"}]}],
}  # fmt: skip


BOMB = b"a0: &a0 [1, 1]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 9)
)
"""A tree of few lines that stands for millions of values."""


def write(path, tree):
    path.write_text(json.dumps(tree))
    return path


@pytest.mark.parametrize(
    ("tree", "cls"),
    [
        (EXTRACT, datamodels.Extract1dModel),
        (SHUTTERS, datamodels.MSAOperModel),
        (ASSOCIATION, datamodels.AssociationModel),
    ],
)
def test_json_opens_and_is_saved_without_loss(tmp_path, tree, cls):
    path = write(tmp_path / "a.json", tree)
    model = datamodels.open(path)
    assert type(model) is cls
    model.save(tmp_path / "again.json")
    again = json.loads((tmp_path / "again.json").read_text())
    assert again == tree


def test_metadata_of_json_are_where_those_of_fits_are(tmp_path):
    model = datamodels.open(write(tmp_path / "a.json", EXTRACT))
    assert model.meta.instrument.name == "NIRSPEC"
    assert model.meta.author == "somebody"
    assert model.history == ["made"]
    assert model.apertures[0].id == "S200A1"
    assert model.apertures[0]["src_coeff"] == [[1.5], [2.5]]


def test_arrays_in_json_are_lists(tmp_path):
    model = datamodels.Extract1dModel(apertures=[{"id": "a", "src_coeff": np.ones((2, 1))}])
    path = model.save(tmp_path / "a.json")
    assert json.loads(path.read_text())["apertures"] == [{"id": "a", "src_coeff": [[1.0], [1.0]]}]
    with pytest.raises(ValidationError, match="JSON cannot hold"):
        datamodels.Extract1dModel(apertures=[{"id": 1j}]).save(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[1]", "neither ASDF nor a JSON object"),
        (b"{", "is not JSON"),
        (b'{"a": "\xff"}', "is not JSON"),
        (b'{"a": ' + b"[" * 100_000, "is not JSON"),
        (b'{"a": ' + b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1) + b"}", "nested more than"),
        (b'{"a": "' + b"x" * MAX_TREE_LENGTH, "is longer than"),
        (b"{}", "is JSON, but names neither a model class nor a reference type"),
        (b'{"reftype": "gain"}', "is JSON; there is no model class for JSON files of type 'gain'"),
        (b'{"reftype": "extract1d"}', "has no 'apertures'"),
        (b"", "empty"),
    ],
    ids=range(10),
)
def test_damaged_json_is_refused(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(FileError, match=message) as caught:
        datamodels.open(path)
    assert len(str(caught.value)) < 500


def test_a_part_of_another_type_is_left_out_with_a_warning(tmp_path):
    path = write(tmp_path / "a.json", {**EXTRACT, "exp_type": 5})
    with pytest.warns(ValidationWarning, match=r"a\.json: exp_type = 5: must be a string"):
        model = datamodels.open(path)
    assert model.exp_type is None
    assert model.apertures[0].id == "S200A1"


def asdf_file(tmp_path):
    waves = {"Hz390": {"frequency": 390.625, "phase_amplitudes": np.arange(500.0)}}
    model = datamodels.EmiModel(frequencies=waves, subarray_cases={"SUB64": {"rowclocks": 28}})
    model.meta.reftype = "emicorr"
    return model.save(tmp_path / "waves.asdf")


def test_trees_are_known_by_their_names_or_first_bytes(tmp_path):
    path = asdf_file(tmp_path)
    other = tmp_path / "waves"
    other.write_bytes(path.read_bytes())
    packed = tmp_path / "waves.asdf.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for file in (path, other, packed):
        assert holds_tree(file)
        waves = datamodels.open(file).frequencies.Hz390.phase_amplitudes
        np.testing.assert_array_equal(waves, np.arange(500.0))
    assert not holds_tree(location("nowhere.fits"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"shape: [500]", b"shape: [501]", "an array of 4008 bytes is outside its block of 4000"),
        (b"shape: [500]", b"offset: 8, shape: [500]", "is outside its block"),
        (b"source: 0", b"source: 1", "block 1, which the file does not have"),
        (b"source: 0", b"source: [0]", "which the file does not have"),
        (b"meta:", b"loop: &a [*a]\nmeta:", "contains itself"),
        (b"meta:", b"deep: " + b"[" * 200 + b"]" * 200 + b"\nmeta:", "nested more than"),
        (
            b"meta:",
            BOMB + b"meta:",
            "more than 200000 values",
        ),
        (b"meta:", b"meta: 5\nother:", "its meta is 5"),
        (b"...\n", b"", "it has no end mark"),
    ],
    ids=range(9),
)
def test_damaged_asdf_is_refused(tmp_path, old, new, message):
    path = asdf_file(tmp_path)
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    with pytest.raises(FileError, match=message):
        datamodels.EmiModel(path)
    with pytest.raises(FileError):
        datamodels.open(path)


def test_a_file_of_a_class_or_type_in_fits_is_refused(tmp_path):
    path = asdf_file(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"EmiModel", b"ImageModel"))
    with pytest.raises(FileError, match="is ASDF; files of ImageModel are FITS"):
        datamodels.open(path)
    with pytest.raises(FileError, match="no model class for ASDF files of type 'gain'"):
        datamodels.open_reference("gain", path)


def test_a_damaged_block_is_refused_when_it_is_read(tmp_path):
    path = asdf_file(tmp_path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    model = datamodels.open(path)
    assert model.subarray_cases.SUB64.rowclocks == 28
    with pytest.raises(FileError, match="does not match its checksum"):
        _ = model.frequencies.Hz390.phase_amplitudes


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_cut_is_refused(tmp_path_factory, data):
    path = asdf_file(tmp_path_factory.mktemp("cut"))
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(FileError):
        read_file(path)
