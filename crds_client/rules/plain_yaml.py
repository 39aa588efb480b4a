"""YAML from elsewhere, read as plain data within bounds.

A few lines of YAML can stand for a tree without end: aliases and merge keys repeat what is there.
So the text's events, of which there are as many as it has parts, are counted before anything is
made of them, each alias as often as what it stands for.
"""

from __future__ import annotations

from typing import Any

import yaml

MOST_NODES = 50_000
"""Scalars, sequences and mappings of one text, those that aliases repeat counted again."""

DEEPEST = 100
LONGEST_NUMBER = 100
"""Characters: YAML's numbers to the base of sixty take the square of their length to read."""

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _PlainLoader(_BASE):
    """Reads what a tag is on, and forgets the tag."""


def load_plain(text: str) -> Any:
    """Return the data of a YAML text: dicts, lists and scalars.

    Parameters
    ----------
    text : str
        A single document.

    Raises
    ------
    ValueError
        If it has too many parts, is nested too deep, or contains itself.
    yaml.YAMLError
        If it is malformed. Values that do not fit their tag raise other exceptions, too.
    """
    _Census().count(text)
    return yaml.load(text, Loader=_PlainLoader)


class _Census:
    """Counts what a text's events come to."""

    def __init__(self) -> None:
        self._open: list[tuple[str | None, int]] = []  # anchor, and the count before it
        self._known: dict[str, int | None] = {}  # None while an anchor's node is open
        self._total = 0

    def count(self, text: str) -> None:
        """Refuse a text that is too large."""
        for event in yaml.parse(text, Loader=_BASE):
            if isinstance(event, yaml.AliasEvent):
                self._add_alias(event.anchor or "")
            elif isinstance(event, yaml.ScalarEvent):
                self._total += 1
                self._note(event.anchor, 1)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._begin(event.anchor)
            elif isinstance(event, yaml.CollectionEndEvent):
                anchor, before = self._open.pop()
                self._note(anchor, self._total - before)
            if self._total > MOST_NODES:
                raise ValueError(f"more than {MOST_NODES} values, repeated ones counted again")

    def _begin(self, anchor: str | None) -> None:
        self._note(anchor, None)
        self._open.append((anchor, self._total))
        self._total += 1
        if len(self._open) > DEEPEST:
            raise ValueError(f"nested more than {DEEPEST} deep")

    def _note(self, anchor: str | None, size: int | None) -> None:
        if anchor is not None:
            self._known[anchor] = size

    def _add_alias(self, anchor: str) -> None:
        size = self._known.get(anchor, 1)  # an unknown one is refused when it is read
        if size is None:
            raise ValueError(f"{anchor!r} contains itself")
        self._total += size


def _plain(loader: Any, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)


def _integer(loader: Any, node: yaml.ScalarNode) -> Any:
    return loader.construct_yaml_int(_short(node))


def _number(loader: Any, node: yaml.ScalarNode) -> Any:
    return loader.construct_yaml_float(_short(node))


def _short(node: yaml.ScalarNode) -> yaml.ScalarNode:
    if len(node.value) > LONGEST_NUMBER:
        raise ValueError(f"line {node.start_mark.line + 1}: a number of {len(node.value)} digits")
    return node


_PlainLoader.add_multi_constructor("!", _plain)
_PlainLoader.add_multi_constructor("tag:", _plain)
_PlainLoader.add_constructor("tag:yaml.org,2002:int", _integer)
_PlainLoader.add_constructor("tag:yaml.org,2002:float", _number)
