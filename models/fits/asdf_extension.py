"""The ASDF extension of a product, in which jwst stores values that FITS headers cannot hold.

jwst 3.0.0 does not calibrate a named file that lacks this extension. Its readers prefer headers and
HDUs to values in the extension, unless the extension has the digest of the headers. Extensions
written here have no digest and repeat nothing: they are empty, or have the values of the input's
extension that are neither in headers nor in HDUs.

Source: stdatamodels 6.0 (`fits_support`), ASDF standard 1.6.0.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import yaml

from calbatch.models.asdf._nodes import (
    NameTree,
    as_text,
    blocks_needed,
    prune,
    remove_links,
    replace_block_numbers,
    set_node,
)
from calbatch.models.asdf.asdf_blocks import split_blocks
from calbatch.models.asdf.asdf_tree import compose_tree, find_tree_end, load_plain
from calbatch.models.errors import FileError, one_line
from calbatch.models.fits.hdu import Hdu
from calbatch.models.fits.headers import ASDF
from calbatch.models.fits.output_hdus import OutputTable
from calbatch.models.schema.spec import Schema
from calbatch.models.storage.files import open_decompressed
from calbatch.models.storage.memory import require_memory
from calbatch.models.storage.stamps import Stamp

_EMPTY = b"""#ASDF 1.0.0
#ASDF_STANDARD 1.6.0
%YAML 1.1
%TAG ! tag:stsci.edu:asdf/
--- !core/asdf-1.1.0
{}
...
"""
IN_ASDF = ("meta.exposure.read_times",)
"""Metadata without a FITS keyword that are stored in the ASDF extension, as in jwst."""

_ABOUT_ITSELF = ("asdf_library", "history")
_OF_HEADERS = ("_fits_hash", "extra_fits", "history.entries")


class AsdfPlace(NamedTuple):
    """The place of an item's values in an ASDF extension.

    Attributes
    ----------
    extension : Hdu
        The extension.
    name, number : str, int
        The list there, and the item's index in it; "" if the values are those of the whole file.
    schema : Schema
        The values that headers and HDUs have as well.
    """

    extension: Hdu
    name: str
    number: int
    schema: Schema


def asdf_table(content: bytes = _EMPTY) -> npt.NDArray[np.void]:
    """Return the extension's table, with an ASDF file in its cell; by default an empty tree."""
    table = np.zeros(1, dtype=[("ASDF_METADATA", np.uint8, (len(content),))])
    table["ASDF_METADATA"] = np.frombuffer(content, dtype=np.uint8)
    return table


def build_asdf_hdus(
    schema: Schema,
    hdus: Iterable[Hdu],
    values: Mapping[str, Any] | None = None,
    places: Mapping[str, Sequence[AsdfPlace | None]] | None = None,
) -> list[OutputTable]:
    """Return the ASDF extension of a model, or an empty list.

    Parameters
    ----------
    schema : Schema
        The model's schema. Schemas with a ``meta.model_type``, such as jwst's, always have an
        extension; others have one only if the input's extension has further values.
    hdus : iterable of Hdu
        The HDUs of the model's file that no schema names.
    values : mapping, optional
        Plain values to store in the extension, by dotted path.
    places : mapping, optional
        For each item of a list, the place of its further values, or None.

    Raises
    ------
    FileError
        If the file's extension is damaged.
    """
    found = next((hdu for hdu in hdus if hdu.name == ASDF), None)
    order, foreign = _split_places(places or {}, found)
    content = None if found is None else _remainder(schema, found, order)
    if foreign:
        content = _add_items(content or _EMPTY, foreign)
    if values:
        content = set_values(content or _EMPTY, values)
    if content is None and schema.lookup("meta.model_type") is None:
        return []
    return [OutputTable(ASDF, asdf_table(content or _EMPTY))]


def _split_places(
    places: Mapping[str, Sequence[AsdfPlace | None]], own: Hdu | None
) -> tuple[dict[str, list[int | None]], dict[tuple[str, int], bytes]]:
    """Return the items' indices in an extension, and the values of items that are elsewhere."""
    order: dict[str, list[int | None]] = {}
    foreign = {}
    for name, of_items in places.items():
        order[name] = [None] * len(of_items)
        for index, place in enumerate(of_items):
            if place is None:
                continue
            if place.extension == own and place.name == name:
                order[name][index] = place.number
                continue
            values = _process(place.extension, partial(extract_item, place=place))
            if values is not None:
                foreign[name, index] = values
    return order, foreign


def _remainder(schema: Schema, hdu: Hdu, order: Mapping[str, Sequence[int | None]]) -> bytes | None:
    """Return the values of an extension that are in no header or HDU; None if there are none."""
    return _process(hdu, partial(remove_header_values, schema, order=order))


def _process(hdu: Hdu, function: Callable[[bytes], bytes | None]) -> bytes | None:
    """Return the result of a function on an extension's content."""
    require_memory(hdu.stamp.path, hdu.data_size, f"reading {hdu.label} as a whole")
    with open_decompressed(hdu.stamp) as read_at:
        content = read_at(hdu.data_offset, hdu.data_size)
    try:
        return function(content)
    except MemoryError:
        raise
    except Exception as error:  # PyYAML raises exceptions of many kinds
        raise FileError(
            hdu.stamp.path,
            f"{hdu.label} cannot be read: {one_line(error)}; remove that extension to proceed "
            "without its contents",
        ) from error


def value_at(hdu: Hdu, path: str) -> Any:
    """Return the value of an ASDF extension at a dotted path as plain data, or None.

    Arrays in binary blocks are not read.

    Raises
    ------
    FileError
        If the extension is damaged.
    """
    return copy.deepcopy(_value_at(hdu.stamp, hdu.data_offset, hdu.data_size, path))


@lru_cache(maxsize=64)
def _value_at(stamp: Stamp, offset: int, size: int, path: str) -> Any:
    with open_decompressed(stamp) as read_at:
        content = read_at(offset, size)
    try:
        text = _text_of(content)
        if path.rpartition(".")[2].encode() not in text:
            return None
        value = load_plain(text.decode())
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
    except MemoryError:
        raise
    except Exception as error:  # PyYAML raises exceptions of many kinds
        reason = f"its ASDF extension, where {path} may be, cannot be read: {one_line(error)}"
        raise FileError(stamp.path, reason) from None
    return value


def _text_of(content: bytes) -> bytes:
    """Return the tree of an ASDF file as text; empty for an empty extension.

    Raises
    ------
    ValueError
        If the tree has no beginning or no end.
    """
    if not content:
        return b""
    start = content.find(b"%YAML")
    stop = find_tree_end(content, start) if start >= 0 else -1
    if stop < 0:
        raise ValueError("its tree is cut short")
    return content[start:stop]


def remove_header_values(
    schema: Schema, content: bytes, order: Mapping[str, Sequence[int | None]] | None = None
) -> bytes | None:
    """Return an ASDF file without values in a model's headers and HDUs; None if nothing remains.

    The tree is processed as text, and no objects are made from it.

    Parameters
    ----------
    schema : Schema
        Names the values.
    content : bytes
        The file.
    order : mapping, optional
        The index that each item of a list has in the file, or None; by default they are the same.

    Raises
    ------
    ValueError, yaml.YAMLError
        If the file is damaged, nested too deeply, or has too many parts.
    """
    text = _text_of(content)
    tree = compose_tree(text) if text else None
    if not isinstance(tree, yaml.MappingNode):
        return None
    prune(tree, _names(schema))
    for name, spec in schema.lists.items():
        _prune_items(tree, name, spec.item, (order or {}).get(name))
    return _rebuild(content, text, tree)


def extract_item(content: bytes, place: AsdfPlace) -> bytes | None:
    """Return an ASDF file of the further values of an item; None if there are none.

    Raises
    ------
    ValueError, yaml.YAMLError
        As for `remove_header_values`.
    """
    text = _text_of(content)
    tree: Any = compose_tree(text) if text else None
    if place.name and tree is not None:
        items = next((value for key, value in tree.value if key.value == place.name), None)
        known = items.value if isinstance(items, yaml.SequenceNode) else []
        tree = known[place.number] if place.number < len(known) else None
    if not isinstance(tree, yaml.MappingNode):
        return None
    prune(tree, _names(place.schema))
    prune(tree, NameTree.of(_ABOUT_ITSELF))
    return _rebuild(content, text, tree)


def _names(schema: Schema) -> NameTree:
    """Return the names of all values that headers and HDUs have."""
    paths = [spec.path for spec in schema.keywords.values() if spec.keyword is not None]
    return NameTree.of([*paths, *schema.fields, *_OF_HEADERS])


def _rebuild(content: bytes, text: bytes, tree: yaml.MappingNode) -> bytes | None:
    """Return a file with the rest of its tree, and the blocks; None if nothing is left."""
    nodes = list(remove_links(tree))
    if all(key.value in _ABOUT_ITSELF for key, _ in tree.value):
        return None
    needed = max(map(blocks_needed, nodes))
    start = content.find(text)
    blocks = _blocks(content, text) if needed else []
    if len(blocks) < needed:
        raise ValueError("a block is missing")
    return content[:start] + as_text(tree) + b"".join(blocks)


def _blocks(content: bytes, text: bytes) -> list[bytes]:
    return [block.content for block in split_blocks(content[content.find(text) + len(text) :])]


def _add_items(content: bytes, items: Mapping[tuple[str, int], bytes]) -> bytes:
    """Return an ASDF file with further values of items, each from a file of its own."""
    text = _text_of(content)
    tree: Any = compose_tree(text)
    blocks = _blocks(content, text)
    for (name, index), item in items.items():
        own_text = _text_of(item)
        node: Any = compose_tree(own_text)
        own = _blocks(item, own_text)
        replace_block_numbers(node, len(blocks), len(own))
        blocks += own
        known = set_node(tree, name, yaml.SequenceNode("tag:yaml.org,2002:seq", []))
        known.value += [_empty() for _ in range(index + 1 - len(known.value))]
        known.value[index] = yaml.MappingNode("tag:yaml.org,2002:map", node.value)
    return content[: content.find(text)] + as_text(tree) + b"".join(blocks)


def _empty() -> yaml.MappingNode:
    return yaml.MappingNode("tag:yaml.org,2002:map", [])


def set_values(content: bytes, values: Mapping[str, Any]) -> bytes:
    """Return an ASDF file with other values in its tree.

    Parameters
    ----------
    content : bytes
        The file.
    values : mapping
        Plain values by dotted path.
    """
    text = _text_of(content)
    start = content.find(text)
    tree: Any = compose_tree(text)
    for path, value in values.items():
        *branches, leaf = path.split(".")
        place = tree
        for name in branches:
            place = set_node(place, name, yaml.MappingNode("tag:yaml.org,2002:map", []))
        node: Any = yaml.compose(yaml.safe_dump(value), Loader=yaml.SafeLoader)
        place.value = [pair for pair in place.value if pair[0].value != leaf]
        set_node(place, leaf, node)
    return content[:start] + as_text(tree) + content[start + len(text) :]


def _prune_items(
    tree: yaml.MappingNode, name: str, schema: Schema, order: Sequence[int | None] | None
) -> None:
    """Remove named values from the items of a list, and put the items in another order."""
    node = next((value for key, value in tree.value if key.value == name), None)
    if not isinstance(node, yaml.SequenceNode):
        return
    items = [item if isinstance(item, yaml.MappingNode) else _empty() for item in node.value]
    for item in items:
        prune(item, _names(schema))
    numbers = range(len(items)) if order is None else order
    node.value = [items[n] if n is not None and n < len(items) else _empty() for n in numbers]
    if not any(item.value for item in node.value):
        tree.value = [(key, value) for key, value in tree.value if value is not node]
