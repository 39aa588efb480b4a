"""Validation of the parts of a tree, beside its metadata, against a schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from calbatch.models.errors import ValidationError
from calbatch.models.schema._datatypes import read_datatype
from calbatch.models.schema.source import SchemaNode
from calbatch.models.schema.spec import leaf_spec
from calbatch.models.schema.validate import validate_value

TRANSFORM = "transform"
"""The ``tag`` of a schema for a transform of coordinates."""

TABLE = "table"
"""The ``tag`` of a schema for a table of astropy."""


def check_part(node: SchemaNode, value: Any, path: str, where: str) -> Any:
    """Return a part of a tree if the schema allows it.

    Parameters
    ----------
    node : SchemaNode
        The part's schema.
    value : Any
        The part: dicts, lists, scalars, arrays, and objects or their unread descriptions.
    path : str
        Dotted path of the part.
    where : str
        The file, for messages.

    Returns
    -------
    Any
        The part, whose arrays in memory have the schema's types. Names that the schema does not
        have are kept.

    Raises
    ------
    ValidationError
        If the schema does not allow it.
    """
    keywords = node.keywords
    if value is None:
        return None
    if "tag" in keywords:
        return _check_tag(keywords["tag"], value, path, where)
    if not keywords.keys().isdisjoint({"datatype", "ndim", "max_ndim"}):
        return _check_array(keywords, value, path, where)
    if node.children or keywords.get("type") == "object":
        return _check_mapping(node, value, path, where)
    if node.items is not None:
        return _check_items(node, node.items, value, path, where)
    return validate_value(leaf_spec(path, node), value, where=where)


def _fault(path: str, where: str, message: str) -> ValidationError:
    return ValidationError(f"{where}: {path}: {message}")


def _check_tag(tag: str, value: Any, path: str, where: str) -> Any:
    if isinstance(value, (str, int, float, bool, Mapping, list, np.ndarray)):
        raise _fault(path, where, f"must be a {tag}, not {type(value).__name__}")
    return value


def _check_array(keywords: Mapping[str, Any], value: Any, path: str, where: str) -> Any:
    is_unread = hasattr(value, "load")
    try:
        array = value if is_unread else np.asarray(value)
        dtype, ndim = array.dtype, len(array.shape)
    except ValueError as error:
        raise _fault(path, where, f"must be an array: {error}") from error
    if keywords.get("ndim", ndim) != ndim:
        raise _fault(path, where, f"must have {keywords['ndim']} dimensions, has {ndim}")
    if keywords.get("max_ndim", ndim) < ndim:
        most = keywords["max_ndim"]
        raise _fault(path, where, f"must have at most {most} dimensions, has {ndim}")
    wanted = read_datatype(keywords.get("datatype"))[0]
    if wanted is None or dtype == wanted:
        return array
    if not np.can_cast(dtype, wanted, "same_kind"):
        raise _fault(path, where, f"must be an array of {wanted}, not of {dtype}")
    return array if is_unread else array.astype(wanted)


def _check_mapping(node: SchemaNode, value: Any, path: str, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise _fault(path, where, f"must be a mapping, not {type(value).__name__}")
    absent = [name for name in node.keywords.get("required", ()) if value.get(name) is None]
    if absent:
        raise _fault(path, where, f"{absent[0]} is required")
    checked = dict(value)
    for name, child in node.children.items():
        if name in checked:
            checked[name] = check_part(child, checked[name], f"{path}.{name}", where)
    return checked


def _check_items(node: SchemaNode, items: SchemaNode, value: Any, path: str, where: str) -> Any:
    if not isinstance(value, list):
        raise _fault(path, where, f"must be a list, not {type(value).__name__}")
    least, most = node.keywords.get("minItems", 0), node.keywords.get("maxItems", len(value))
    if not least <= len(value) <= most:
        raise _fault(path, where, f"has {len(value)} items, must have {least} to {most}")
    return [check_part(items, v, f"{path}[{n}]", where) for n, v in enumerate(value)]
