"""Random contents of model classes whose files hold a tree, and their comparison."""

import re

import numpy as np
from asdf_astropy.testing.helpers import assert_model_equal
from astropy.modeling import Model
from astropy.modeling import models as astropy_models
from astropy.table import Table

from calbatch.models import datamodels
from calbatch.models.schema.parts import TABLE, TRANSFORM
from calbatch.models.schema.spec import load_schema
from support.model_contents import random_contents

ITEMS = 2
ORDERS = ("displ", "dispx", "dispy", "invdispl", "invdispx", "invdispy")
"""Parts with transforms by spectral order, which may be nested."""
WRITTEN_BY_JWST = ("meta.reftype", "meta.instrument.name")
"""Metadata that stdatamodels sets whenever it saves some of the classes."""
LIKE_OTHERS = re.compile(r"slice_([3-9]|\d\d)")
"""Parts that are left out, since others are like them."""


def schema_of(name):
    return load_schema(getattr(datamodels, name).schema_url)


NAMES = sorted(
    name for name in datamodels.__all__ if name[0].isupper() and schema_of(name).stored_as == "asdf"
)


def random_transform(rng):
    match rng.integers(5):
        case 0:
            made = astropy_models.Polynomial2D(2, **{f"c{n}_0": rng.normal() for n in range(3)})
            made.inverse = astropy_models.Mapping((0,), n_inputs=1)
            return made
        case 1:
            pair = astropy_models.Shift(rng.normal()) & astropy_models.Scale(rng.normal() + 5)
            return astropy_models.Mapping((1, 0)) | pair
        case 2:
            points = [np.arange(3.0), np.arange(4.0)]
            return astropy_models.Tabular2D(points=points, lookup_table=rng.normal(size=(3, 4)))
        case 3:
            return astropy_models.AffineTransformation2D(rng.normal(size=(2, 2)))
    return astropy_models.Polynomial1D(3, c0=rng.normal(), c3=1.5)


def random_part(rng, node):
    """Return random content that a schema allows."""
    keywords = node.keywords
    if keywords.get("tag") == TRANSFORM:
        return random_transform(rng)
    if keywords.get("tag") == TABLE:
        columns = {"filter": ["F070W", "ANY"], "abvega_offset": rng.normal(size=2).astype("f4")}
        return Table(columns)
    if not keywords.keys().isdisjoint({"datatype", "ndim", "max_ndim"}):
        shape = (3, 4, 5)[: keywords.get("ndim") or keywords.get("max_ndim") or 1]
        return rng.normal(size=shape).astype(keywords.get("datatype", "f8"))
    if node.children:
        return {name: random_part(rng, child) for name, child in node.children.items()}
    if node.items is not None:
        return [random_part(rng, node.items) for _ in range(ITEMS)]
    return random_leaf(rng, keywords)


def random_leaf(rng, keywords):
    if "enum" in keywords:
        return keywords["enum"][rng.integers(len(keywords["enum"]))]
    match keywords.get("type"):
        case "string":
            return f"TEXT {rng.integers(1000)}"
        case "integer":
            return int(rng.integers(1, 100))
        case "number":
            return float(rng.normal())
        case "boolean":
            return bool(rng.integers(2))
        case "array":
            return [1, "F070W", float(rng.normal())]
    return {"one": {"frequency": 390.625, "phase_amplitudes": rng.normal(size=9)}, "two": ["a", 1]}


def random_tree(name, seed=0):
    """Return random parts by name, and metadata by dotted path, of a class."""
    rng = np.random.default_rng(seed + sum(map(ord, name)))
    schema = schema_of(name)
    parts = {
        part: random_part(rng, spec.node)
        for part, spec in schema.parts.items()
        if not LIKE_OTHERS.fullmatch(part)
    }
    for part in ORDERS:
        if part in parts:
            nested = [random_transform(rng), random_transform(rng)]
            parts[part] = [nested, nested] if part in ("dispx", "dispy") else nested
    values = {p: v for p, v in random_contents(name, seed)[1].items() if p not in WRITTEN_BY_JWST}
    for path in ("meta.input_units", "meta.output_units", "meta.wavelength_units"):
        if path in schema.keywords:
            values[path] = "micron"
    return parts, values


def assert_same_tree(found, wanted, path=""):
    """Assert that content read from a file is what was stored."""
    found = getattr(found, "_instance", found)  # as stdatamodels wraps it
    if isinstance(wanted, Model):
        assert_model_equal(found, wanted)
    elif isinstance(wanted, Table):
        assert found.colnames == wanted.colnames
        for column in wanted.colnames:
            np.testing.assert_array_equal(found[column], wanted[column])
            assert found[column].dtype == wanted[column].dtype
    elif isinstance(wanted, np.ndarray):
        found = np.asarray(found)
        assert found.dtype.newbyteorder("=") == wanted.dtype, path
        np.testing.assert_array_equal(found, wanted, err_msg=path)
    elif isinstance(wanted, dict):
        assert set(found) == set(wanted), path
        for name, value in wanted.items():
            assert_same_tree(found[name], value, f"{path}.{name}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), path
        for n, value in enumerate(wanted):
            assert_same_tree(found[n], value, f"{path}[{n}]")
    else:
        assert found == wanted, path
