"""Models in the JWST ecosystem: files of ours open in stdatamodels, and files of its in ours."""

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from asdf.tags.core.ndarray import asdf_datatype_to_numpy_dtype
from stdatamodels.jwst import datamodels as jwst_models
from support.cases import long
from support.model_classes import PAGE, make_page

from calbatch.models import datamodels
from calbatch.models.schema.spec import load_schema

# Deprecation warnings of stdatamodels and its dependencies.
pytestmark = [pytest.mark.agreement, pytest.mark.filterwarnings("ignore")]

OTHERS = {
    "DataModel": "has another name in stdatamodels",
    "OpenWindowsModel": "does not exist in stdatamodels",
    "ReferenceFileModel": "is the base of others, and has no arrays",
    "GuiderRawModel": "is compared in test_guide_stars.py",
    "GuiderCalModel": "is compared in test_guide_stars.py",
}
"""Classes that are not compared here, and why."""
SAMPLE = {
    "BarshadowModel", "LastFrameModel", "NRMModel", "NrsFsApcorrModel", "RSCDModel", "SlitModel",
    "SossWaveGridModel",
}  # fmt: skip
"""Classes in the default run: each further kind of content that a class may have."""
CONSISTENT = {
    "AmiOIModel": {"meta.observation.date": "2026-01-01", "meta.telescope": "JWST"},
    "SuperstripeRampModel": {"meta.subarray.num_superstripe": 2},
}
"""Metadata that a class requires, or that the shapes of its arrays determine."""
ROWS, COLUMNS = 5, 7
EARLIER = (2, 2)
"""The lengths of the axes before rows and columns."""
CELLS = (2, 3, 4)
"""The lengths of the axes of a table's cells, as many as they have."""
FLAGS = ["DO_NOT_USE", "SATURATED", "JUMP_DET", "DROPOUT", "OUTLIER", "PERSISTENCE", "AD_FLOOR"]
"""The standard flags of the lowest bits, which random DQ arrays may have."""
OF_THE_FILE = {"meta.date", "meta.filename", "meta.model_type", "meta.calbatch.version"}
WRITTEN_BY_JWST = ("meta.telescope", "meta.oifits.derived.")
"""Metadata that stdatamodels sets whenever it saves a reference, or a model of OIFITS tables."""

NAMES = sorted(name for name in datamodels.__all__ if name[0].isupper() and name not in OTHERS)


@cache
def jwst_definitions(name):
    """Return all leaves in the schema of a class of stdatamodels, by dotted path."""

    def walk(node, path):
        if "properties" not in node:
            yield ".".join(path), node
        for below, child in node.get("properties", {}).items():
            is_required = below in node.get("required", ())
            yield from walk({**child, "is_required": is_required}, [*path, below])

    with getattr(jwst_models, name)() as model:
        return dict(walk(model.schema, []))


def random_numbers(rng, dtype, shape):
    if dtype.kind in "iu":
        return rng.integers(0, 100, shape).astype(dtype)
    return rng.normal(size=shape).astype(dtype)


def random_table(rng, definitions):
    """Return random rows of the columns that stdatamodels defines."""
    columns = {}
    for definition in definitions:
        name, dtype = definition["name"], asdf_datatype_to_numpy_dtype(definition["datatype"])
        shape = (ROWS, *(definition.get("shape") or CELLS[: definition.get("ndim", 0)]))
        if dtype == np.int8:  # astropy stores signed bytes as logical values
            columns[name] = rng.random(shape) < 0.5
        elif dtype.kind == "S":
            columns[name] = rng.choice(["", "A", "TXT"], shape)
        else:
            columns[name] = random_numbers(rng, dtype.newbyteorder("="), shape)
    table = np.zeros(ROWS, [(name, c.dtype, c.shape[1:]) for name, c in columns.items()])
    for name, column in columns.items():
        table[name] = column
    return table


def flag_definitions():
    """Return the table that defines the bits of a DQ array as the standard ones."""
    kinds = [("BIT", "i4"), ("VALUE", "u4"), ("NAME", "U40"), ("DESCRIPTION", "U80")]
    return np.array([(bit, 1 << bit, name, "") for bit, name in enumerate(FLAGS)], kinds)


def random_field(rng, spec, definition, most):
    if spec.name == "dq_def":
        return flag_definitions()
    if spec.is_table:
        return random_table(rng, definition["datatype"])
    ndim = spec.ndim or min(spec.max_ndim or most, most)
    return random_numbers(rng, spec.dtype, (*EARLIER, ROWS, COLUMNS)[4 - ndim :])


def random_value(rng, spec):
    """Return random valid metadata, or None for a kind of value that is left out."""
    if spec.keyword is None or spec.others or spec.path in OF_THE_FILE:
        return None
    if spec.path.startswith(WRITTEN_BY_JWST):
        return None
    if spec.enum:
        return spec.enum[rng.integers(len(spec.enum))]
    match spec.type:
        case "string" | None if spec.pattern is None:
            return f"TEXT {rng.integers(1000)}"
        case "integer":
            return int(rng.integers(1, 100))
        case "number":
            return round(float(rng.normal()), 9)  # a card has room for 16 digits
        case "boolean":
            return bool(rng.integers(2))
    return None


def contents(name):
    """Return random arrays, tables and metadata of a class, by name and by dotted path.

    A fifth of the metadata that stdatamodels has as well suffices, since shared parts are in many
    classes. Those outside the tree ``meta`` are the class's own, and are all set, like those that
    stdatamodels requires.
    """
    rng = np.random.default_rng(sum(map(ord, name)))
    known = jwst_definitions(name)
    schema = load_schema(getattr(datamodels, name).schema_url)
    most = next((spec.ndim for spec in schema.fields.values() if spec.ndim), 2)
    arrays = {
        spec.name: random_field(rng, spec, known[spec.name], most)
        for spec in schema.fields.values()
        if spec.name in known
    }
    hdus = {schema.fields[field].hdu.upper() for field in arrays}
    values = {
        spec.path: random_value(rng, spec)
        for spec in schema.keywords.values()
        if spec.path in known
        and spec.hdu.upper() in hdus | {"PRIMARY"}
        and ("." not in spec.path or known[spec.path]["is_required"] or rng.random() < 0.2)
    }
    values |= CONSISTENT.get(name, {})
    return arrays, {path: value for path, value in values.items() if value is not None}


def fill(model, arrays, values):
    for name, array in arrays.items():
        setattr(model, name, array.copy())  # astropy stores unsigned integers in place
    for path, value in values.items():
        model[path] = value


def assert_equal(model, arrays, values):
    for name, array in arrays.items():
        found = getattr(model, name)
        if array.dtype.names is None:
            assert_same(np.asarray(found), array, name)
            continue
        for column in array.dtype.names:
            assert_same(np.asarray(found[column]), array[column], f"{name}: {column}")
    assert {path: model[path] for path in values} == values


def assert_same(found, wanted, name):
    assert found.shape == wanted.shape, name
    if wanted.dtype.kind != "U":
        assert found.dtype.newbyteorder("=") == wanted.dtype, name
    np.testing.assert_array_equal(found.astype(wanted.dtype), wanted, err_msg=name)


@pytest.mark.parametrize("name", [name if name in SAMPLE else long(name) for name in NAMES])
def test_a_model_passes_between_calbatch_and_jwst_without_loss(tmp_path, name):
    arrays, values = contents(name)
    ours, theirs = getattr(datamodels, name), getattr(jwst_models, name)

    # Files of a few classes do not name their class.
    reopen = datamodels.open if "meta.model_type" in load_schema(ours.schema_url).keywords else ours

    made = ours()
    fill(made, arrays, values)
    made.save(tmp_path / "ours.fits", fsync=False)
    with theirs(tmp_path / "ours.fits") as opened:
        assert_equal(opened, arrays, values)
        opened.save(tmp_path / "through_theirs.fits")

    with theirs() as filled:
        fill(filled, arrays, values)
        filled.save(tmp_path / "theirs.fits")

    for file in ("ours", "theirs", "through_theirs"):
        opened = reopen(tmp_path / f"{file}.fits")
        assert type(opened) is ours
        assert_equal(opened, arrays, values)
        opened.save(tmp_path / "again.fits", fsync=False)
        assert_equal(reopen(tmp_path / "again.fits"), arrays, values)


def test_the_sample_of_classes_exists():
    assert set(NAMES) > SAMPLE


def test_the_page_of_classes_is_up_to_date():
    assert PAGE.read_text() == make_page()


def test_every_shared_part_of_a_schema_is_used_at_least_twice():
    classes = [getattr(datamodels, name) for name in datamodels.__all__ if name[0].isupper()]
    own = {load_schema(cls.schema_url).source for cls in classes}
    folder = Path(load_schema("core").source).parent
    text = {file: file.read_text() for file in folder.glob("*.yaml")}
    for file in text:
        if str(file) not in own:
            users = [n for n, t in text.items() if re.search(rf"\$ref: \"?{file.name}\b", t)]
            reached = {
                cls.schema_url
                for cls in classes
                if str(file) in {str(source) for source, _ in load_schema(cls.schema_url).files}
            }
            assert users, file.name
            assert len(reached) > 1, file.name
