"""Changes of an ASDF tree as YAML nodes, from which no objects are made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

_TAGS = {"!": "tag:stsci.edu:asdf/"}

_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


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


def set_node(mapping: Any, name: str, node: Any) -> Any:
    """Return the node of a name, which is added if it is missing."""
    for key, value in mapping.value:
        if key.value == name:
            return value
    mapping.value.append((yaml.ScalarNode("tag:yaml.org,2002:str", name), node))
    return node


def as_text(tree: yaml.Node) -> bytes:
    """Return a tree as the text of an ASDF file."""
    return yaml.serialize(
        tree,
        Dumper=_DUMPER,
        encoding="utf-8",
        version=(1, 1),
        tags=_TAGS,
        explicit_start=True,
        explicit_end=True,
    )


def prune(mapping: yaml.MappingNode, names: NameTree) -> None:
    """Remove named values, and the branches that this leaves empty."""
    left = []
    for key, value in mapping.value:
        named = names.below.get(key.value) if isinstance(key, yaml.ScalarNode) else None
        if named is not None and named.below and isinstance(value, yaml.MappingNode):
            prune(value, named)
            if not value.value:
                continue
        elif named is not None:
            continue
        left.append((key, value))
    mapping.value = left


def remove_links(tree: yaml.Node) -> Iterator[yaml.Node]:
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


def replace_block_numbers(tree: yaml.Node, offset: int, count: int) -> None:
    """Replace the numbers of an array's binary block, of ``count`` in its file, with later ones."""
    for node in remove_links(tree):
        source = _source(node)
        if source is not None and blocks_needed(node):
            source.value = str(int(source.value) % count + offset)


def blocks_needed(node: yaml.Node) -> int:
    """Return the number of blocks that must exist if a node is an array in a block."""
    source = _source(node)
    if source is None or not source.value.removeprefix("-").isdecimal():
        return 0
    return max(0, int(source.value)) + 1  # -1 is the last one
