"""Random contents of model classes that calbatch and stdatamodels have, and their comparison."""

from functools import cache, reduce

import numpy as np
from asdf.tags.core.ndarray import asdf_datatype_to_numpy_dtype
from stdatamodels.jwst import datamodels as jwst_models

from calbatch.models import datamodels
from calbatch.models.schema.spec import load_schema

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


@cache
def jwst_definitions(name):
    """Return all leaves in the schema of a class of stdatamodels, by dotted path."""
    with getattr(jwst_models, name)() as model:
        return dict(_leaves(model.schema, []))


def jwst_item_definitions(name, of_list):
    """Return all leaves in the schema of a list's items, by dotted path."""
    return dict(_leaves(jwst_definitions(name)[of_list]["items"], []))


def _leaves(node, path):
    if "properties" not in node and "allOf" not in node:
        yield ".".join(path), node
    for part in node.get("allOf", ()):
        yield from _leaves(part, path)
    for below, child in node.get("properties", {}).items():
        is_required = below in node.get("required", ())
        yield from _leaves({**child, "is_required": is_required}, [*path, below])


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


def random_value(rng, spec, definition):
    """Return random valid metadata, or None for a kind of value that is left out.

    A reference class of stdatamodels may allow fewer values than other classes do.
    """
    if spec.keyword is None or spec.others or spec.path in OF_THE_FILE:
        return None
    if spec.path.startswith(WRITTEN_BY_JWST):
        return None
    allowed = spec.enum or [v for v in definition.get("enum", ()) if isinstance(v, str)]
    if allowed:
        return allowed[rng.integers(len(allowed))]
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


def random_contents(name, seed=0):
    """Return random arrays, tables and metadata of a class, by name and by dotted path.

    A fifth of the metadata that stdatamodels has as well suffices, since shared parts are in many
    classes. Those outside the tree ``meta`` are the class's own, and are all set, like those that
    stdatamodels requires.
    """
    rng = np.random.default_rng(seed + sum(map(ord, name)))
    schema = load_schema(getattr(datamodels, name).schema_url)
    arrays, values = _random_parts(rng, schema, jwst_definitions(name))
    values |= CONSISTENT.get(name, {})
    return arrays, {path: value for path, value in values.items() if value is not None}


def random_item(name, of_list, number, seed=0):
    """Return random arrays, tables and metadata of an item of a list; see `random_contents`."""
    rng = np.random.default_rng([number, seed, *map(ord, name)])
    schema = load_schema(getattr(datamodels, name).schema_url).lists[of_list].item
    arrays, values = _random_parts(rng, schema, jwst_item_definitions(name, of_list))
    return arrays, {path: value for path, value in values.items() if value is not None}


def _random_parts(rng, schema, known):
    most = next((spec.ndim for spec in schema.fields.values() if spec.ndim), 2)
    arrays = {
        spec.name: random_field(rng, spec, known[spec.name], most)
        for spec in schema.fields.values()
        if spec.name in known
    }
    hdus = {schema.fields[field].hdu.upper() for field in arrays}
    values = {
        spec.path: random_value(rng, spec, known[spec.path])
        for spec in schema.keywords.values()
        if spec.path in known
        and spec.hdu.upper() in hdus | {"PRIMARY"}
        and ("." not in spec.path or known[spec.path]["is_required"] or rng.random() < 0.2)
    }
    return arrays, values


def fill(model, arrays, values):
    for name, array in arrays.items():
        setattr(model, name, array.copy())  # astropy stores unsigned integers in place
    for path, value in values.items():
        *branches, leaf = path.split(".")
        setattr(_at(model, branches), leaf, value)


def assert_equal(model, arrays, values):
    for name, array in arrays.items():
        found = getattr(model, name)
        if array.dtype.names is None:
            assert_same(np.asarray(found), array, name)
            continue
        for column in array.dtype.names:
            assert_same(np.asarray(found[column]), array[column], f"{name}: {column}")
    assert {path: _at(model, path.split(".")) for path in values} == values


def _at(model, names):
    """Return the part of a model, or of an item of its lists, at a path."""
    return reduce(getattr, names, model)


def assert_same(found, wanted, name):
    assert found.shape == wanted.shape, name
    if wanted.dtype.kind != "U":
        assert found.dtype.newbyteorder("=") == wanted.dtype, name
    np.testing.assert_array_equal(found.astype(wanted.dtype), wanted, err_msg=name)
