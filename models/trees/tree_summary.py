"""Summaries of models of trees: their parts, and the transforms with their frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from calbatch.models.arrays import LazyArrays
from calbatch.models.asdf.asdf_file import StoredArray
from calbatch.models.asdf.tagged import TaggedValue
from calbatch.models.errors import FileError, escape_text, format_count
from calbatch.models.markup import make_details, make_display, make_table, wrap
from calbatch.models.schema.meta import get_path
from calbatch.models.storage.location import Location
from calbatch.models.summary import SOUGHT

_METADATA = (
    *("reftype", "telescope", "instrument.name", "instrument.detector", "exposure.type"),
    *("input_units", "output_units", "wavelength_units", "useafter", "pedigree"),
)
_SHOWN = 8
_LONGEST = 60


def as_text(model: LazyArrays, path: Location | None) -> str:
    """Return a model's title, parts and main metadata, one per line; nothing is read for it."""
    rows = [f"  {name}: {text}" for name, text, _ in _parts(model)]
    rows += [f"  {name}: {escape_text(text)}" for name, text in _metadata(model, _METADATA)]
    return "\n".join([f"<{_title(model, path)}>", *rows])


def as_html(model: LazyArrays, path: Location | None) -> str:
    """Return a model as HTML: its main metadata and parts; nothing is read for it."""
    sections = [wrap("strong", _title(model, path))]
    metadata = _metadata(model, (*_METADATA, *(p for p in SOUGHT if p not in _METADATA)))
    if metadata:
        sections.append(make_details("metadata", make_table(metadata), is_open=True))
    parts = list(_parts(model))
    if parts:
        table = make_table(parts, ("part", "content", "meaning"))
        sections.append(make_details(format_count(len(parts), "part"), table, is_open=True))
    return make_display(*sections)


def _title(model: LazyArrays, path: Location | None) -> str:
    return f"{type(model).__name__} {path or ''}".rstrip()


def _metadata(model: LazyArrays, paths: tuple[str, ...]) -> list[tuple[str, str]]:
    values = ((f"meta.{path}", get_path(model._content.tree, f"meta.{path}")) for path in paths)
    return [(path, str(value)) for path, value in values if value is not None]


def _parts(model: LazyArrays) -> Iterator[tuple[str, str, str]]:
    """Yield name, content in short, and meaning of each part, and of what is in a branch."""
    tree = model._content.tree
    for name in (*model.schema.parts, *(n for n in tree if n not in model.schema.parts)):
        value = tree.get(name)
        if value is None or name in ("meta", "history"):
            continue
        spec = model.schema.parts.get(name)
        yield name, describe(value, _frames(model)), spec.title if spec else ""
        if isinstance(value, Mapping):
            for below, entry in list(value.items())[:_SHOWN]:
                yield f"{name}.{below}", describe(entry, _frames(model)), ""


def _frames(model: LazyArrays) -> str:
    """Return the units on both sides of a model's transforms, such as ``pixel → arcsec``."""
    ends = [get_path(model._content.tree, f"meta.{end}_units") for end in ("input", "output")]
    return " → ".join(map(str, ends)) if all(ends) else ""


def describe(value: Any, frames: str = "") -> str:
    """Return a value of a tree in short.

    Parameters
    ----------
    value : Any
        The value.
    frames : str
        The units on both sides of transforms, if they are known.
    """
    if isinstance(value, TaggedValue):
        return _describe_tagged(value, frames)
    if hasattr(value, "n_inputs") and hasattr(value, "n_outputs"):
        return _join("transform", f"{_axes(value.inputs)} → {_axes(value.outputs)}", frames)
    if isinstance(value, (np.ndarray, StoredArray)):
        return _describe_array(value)
    if isinstance(value, Mapping):
        return _describe_mapping(value)
    if isinstance(value, (list, tuple)):
        return _describe_list(value, frames)
    return escape_text(str(value))[:_LONGEST]


def _describe_mapping(value: Mapping[str, Any]) -> str:
    count = format_count(len(value), "entry", "entries")
    names = ", ".join(map(str, list(value)[:_SHOWN]))
    return escape_text(f"{count}: {names}" if names else count)[: 2 * _LONGEST]


def _describe_array(array: Any) -> str:
    try:
        return f"array, {array.dtype} {array.shape}"
    except FileError:
        return "array of a kind that cannot be read"


def _describe_list(values: Any, frames: str) -> str:
    count = format_count(len(values), "item")
    if not values:
        return count
    if all(isinstance(v, (str, int, float)) for v in values):
        shown = ", ".join(map(str, values[:_SHOWN])) + (", ..." if len(values) > _SHOWN else "")
        return escape_text(f"{count}: {shown}")[: 2 * _LONGEST]
    return f"{count}, of which the first is {describe(values[0], frames)}"[: 3 * _LONGEST]


def _describe_tagged(tagged: TaggedValue, frames: str) -> str:
    value = tagged.value if isinstance(tagged.value, Mapping) else {}
    if not tagged.is_transform:
        names = value.get("colnames") or list(value)
        return escape_text(f"{tagged.kind}: {', '.join(map(str, names))}")[: 2 * _LONGEST]
    ends = [value.get(end) for end in ("inputs", "outputs")]
    axes = " → ".join(_axes(end) for end in ends) if all(ends) else ""
    steps = list(_elements(tagged))
    shown = ", ".join(steps[:_SHOWN]) + (", ..." if len(steps) > _SHOWN else "")
    return escape_text(_join(f"transform of {shown}", axes, frames))


def _join(what: str, axes: str, frames: str) -> str:
    return what + (f", {axes}" if axes else "") + (f", in {frames}" if frames else "")


def _axes(names: Any) -> str:
    return f"({', '.join(map(str, names))})" if isinstance(names, (list, tuple)) else str(names)


def _elements(tagged: TaggedValue) -> Iterator[str]:
    """Yield the kinds of the elementary transforms that a transform consists of, in order."""
    value = tagged.value
    forward = value.get("forward") if isinstance(value, Mapping) else None
    if not isinstance(forward, list):
        yield tagged.kind
        return
    for part in forward:
        if isinstance(part, TaggedValue):
            yield from _elements(part)
