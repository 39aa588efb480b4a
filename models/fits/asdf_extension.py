"""The ASDF extension of a product, in which jwst stores values that FITS headers cannot hold.

jwst 3.0.0 does not calibrate a named file that lacks this extension. Its readers prefer headers and
HDUs to values in the extension, unless the extension has the digest of the headers. Extensions
written here have no digest and repeat nothing: they are empty, or have the values of the input's
extension that are neither in headers nor in HDUs.

Source: stdatamodels 6.0 (`fits_support`), ASDF standard 1.6.0.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

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
_TAGS = {"!": "tag:stsci.edu:asdf/"}

_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_ABOUT_ITSELF = ("asdf_library", "history")
_OF_HEADERS = ("_fits_hash", "extra_fits", "history.entries")


@dataclass(frozen=True)
class NameTree:
    """Names to remove from a tree: leaves as a whole, branches by the names in them."""

    below: Mapping[str, NameTree]

    @classmethod
    def of(cls, paths: Iterable[str]) -> NameTree:
        """Return the names of dotted paths."""
        tree: dict[str, Any] = {}
        for path in paths:
            branch = tree
            for part in path.split("."):
                branch = branch.setdefault(part, {})
        return cls._of_tree(tree)

    @classmethod
    def _of_tree(cls, tree: Mapping[str, Any]) -> NameTree:
        return cls({name: cls._of_tree(branch) for name, branch in tree.items()})


def asdf_table(content: bytes = _EMPTY) -> npt.NDArray[np.void]:
    """Return the extension's table, with an ASDF file in its cell; by default an empty tree."""
    table = np.zeros(1, dtype=[("ASDF_METADATA", np.uint8, (len(content),))])
    table["ASDF_METADATA"] = np.frombuffer(content, dtype=np.uint8)
    return table


def build_asdf_hdus(
    schema: Schema,
    hdus: Iterable[Hdu],
    values: Mapping[str, Any] | None = None,
    places: Mapping[str, Sequence[int | None]] | None = None,
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
        For each item of a list, its index in the list of the input's extension, or None. Without
        it, the items are the same.

    Raises
    ------
    FileError
        If the file's extension is damaged.
    """
    found = next((hdu for hdu in hdus if hdu.name == ASDF), None)
    content = None if found is None else _remainder(schema, found, places or {})
    if values:
        content = set_values(content or _EMPTY, values)
    if content is None and schema.lookup("meta.model_type") is None:
        return []
    return [OutputTable(ASDF, asdf_table(content or _EMPTY))]


def _remainder(
    schema: Schema, hdu: Hdu, places: Mapping[str, Sequence[int | None]]
) -> bytes | None:
    """Return the values of an extension that are in no header or HDU; None if there are none."""
    require_memory(hdu.stamp.path, hdu.data_size, f"reading {hdu.label} as a whole")
    with open_decompressed(hdu.stamp) as read_at:
        content = read_at(hdu.data_offset, hdu.data_size)
    try:
        return remove_header_values(schema, content, places)
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
    schema: Schema, content: bytes, places: Mapping[str, Sequence[int | None]] | None = None
) -> bytes | None:
    """Return an ASDF file without values in a model's headers and HDUs; None if nothing remains.

    The tree is processed as text, and no objects are made from it. For ``places`` see
    `build_asdf_hdus`.

    Raises
    ------
    ValueError, yaml.YAMLError
        If the file is damaged, nested too deeply, or has too many parts.
    """
    text = _text_of(content)
    if not text:
        return None
    start = content.find(text)
    stop = start + len(text)
    tree = compose_tree(text)
    if not isinstance(tree, yaml.MappingNode):
        return None
    paths = [s.path for s in schema.keywords.values() if s.keyword is not None]
    _prune(tree, NameTree.of([*paths, *schema.fields, *_OF_HEADERS]))
    for name, spec in schema.lists.items():
        _prune_items(tree, name, spec.item, (places or {}).get(name))
    nodes = list(_without_links(tree))
    if all(key.value in _ABOUT_ITSELF for key, _ in tree.value):
        return None
    needed = max(map(_blocks_needed, nodes))
    blocks = [b.content for b in split_blocks(content[stop:])] if needed else []
    if len(blocks) < needed:
        raise ValueError("a block is missing")
    return content[:start] + _as_text(tree) + b"".join(blocks)


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
            place = _set_node(place, name, yaml.MappingNode("tag:yaml.org,2002:map", []))
        node: Any = yaml.compose(yaml.safe_dump(value), Loader=yaml.SafeLoader)
        place.value = [pair for pair in place.value if pair[0].value != leaf]
        _set_node(place, leaf, node)
    return content[:start] + _as_text(tree) + content[start + len(text) :]


def _set_node(mapping: Any, name: str, node: Any) -> Any:
    """Return the node of a name, which is added if it is missing."""
    for key, value in mapping.value:
        if key.value == name:
            return value
    mapping.value.append((yaml.ScalarNode("tag:yaml.org,2002:str", name), node))
    return node


def _as_text(tree: yaml.Node) -> bytes:
    return yaml.serialize(
        tree,
        Dumper=_DUMPER,
        encoding="utf-8",
        version=(1, 1),
        tags=_TAGS,
        explicit_start=True,
        explicit_end=True,
    )


def _prune(mapping: yaml.MappingNode, names: NameTree) -> None:
    """Remove named values, and the branches that this leaves empty."""
    left = []
    for key, value in mapping.value:
        named = names.below.get(key.value) if isinstance(key, yaml.ScalarNode) else None
        if named is not None and named.below and isinstance(value, yaml.MappingNode):
            _prune(value, named)
            if not value.value:
                continue
        elif named is not None:
            continue
        left.append((key, value))
    mapping.value = left


def _prune_items(
    tree: yaml.MappingNode, name: str, schema: Schema, order: Sequence[int | None] | None
) -> None:
    """Remove named values from the items of a list, and put the items in another order."""
    node = next((value for key, value in tree.value if key.value == name), None)
    if not isinstance(node, yaml.SequenceNode):
        return
    names = NameTree.of([*(s.path for s in schema.keywords.values() if s.keyword), *schema.fields])
    empty = yaml.MappingNode("tag:yaml.org,2002:map", [])
    items = [item if isinstance(item, yaml.MappingNode) else empty for item in node.value]
    for item in items:
        _prune(item, names)
    numbers = range(len(items)) if order is None else order
    node.value = [items[n] if n is not None and n < len(items) else empty for n in numbers]
    if not any(item.value for item in node.value):
        tree.value = [(key, value) for key, value in tree.value if value is not node]


def _without_links(tree: yaml.Node) -> Iterator[yaml.Node]:
    """Remove links to HDUs, and yield each remaining node once."""
    seen = {id(tree)}
    pending = [tree]
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, yaml.MappingNode):
            node.value = [(key, value) for key, value in node.value if not _is_link(value)]
            children = [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            children = node.value = [value for value in node.value if not _is_link(value)]
        else:
            continue
        pending += [child for child in children if id(child) not in seen]
        seen.update(map(id, children))


def _source(node: yaml.Node) -> yaml.ScalarNode | None:
    """Return the ``source`` of an array's node; None for any other node."""
    if not isinstance(node, yaml.MappingNode) or "/ndarray-" not in node.tag:
        return None
    sources = (v for k, v in node.value if k.value == "source" and isinstance(v, yaml.ScalarNode))
    return next(sources, None)


def _is_link(node: yaml.Node) -> bool:
    source = _source(node)
    return source is not None and source.value.startswith("fits:")


def _blocks_needed(node: yaml.Node) -> int:
    """Return the number of blocks that must exist if a node is an array in a block."""
    source = _source(node)
    if source is None or not source.value.removeprefix("-").isdecimal():
        return 0
    return max(0, int(source.value)) + 1  # -1 is the last one
