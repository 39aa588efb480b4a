"""Summaries of models, as text and as HTML for notebooks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from calbatch.models import dq
from calbatch.models._stored_fields import UnreadField
from calbatch.models.arrays import LazyArrays
from calbatch.models.errors import escape_text, format_count
from calbatch.models.fits.columns import describe_columns
from calbatch.models.fits.readers import ArrayReader
from calbatch.models.markup import Markup, make_details, make_display, make_table, wrap
from calbatch.models.schema.meta import flatten, get_path
from calbatch.models.storage.location import Location
from calbatch.models.tiling.tile import Array

_METADATA = ("telescope", "instrument.name", "instrument.detector", "exposure.type")

SOUGHT = (
    *("telescope", "instrument.name", "instrument.detector", "instrument.channel"),
    *("instrument.band", "instrument.filter", "instrument.pupil", "instrument.grating"),
    *("exposure.type", "exposure.readpatt", "exposure.nints", "exposure.ngroups"),
    *("exposure.exposure_time", "subarray.name", "target.catalog_name", "target.proposer_name"),
    *("observation.program_number", "observation.date", "observation.time"),
    "ref_file.crds.context_used",
)
"""Metadata that people look for first, below ``meta``; HTML shows those that are set."""

_FLAGS: Mapping[str, Mapping[str, int]] = {
    "dq": dq.PIXEL,
    "pixeldq": dq.PIXEL,
    "groupdq": dq.GROUP,
}
"""The flags of a field, by its name."""


def as_text(model: LazyArrays, path: Location | None) -> str:
    """Return a model's title, fields and main metadata, one per line.

    Parameters
    ----------
    model : LazyArrays
        The model.
    path : Path or Url, optional
        The file from which the model was made.
    """
    rows = (f"  {name}: {text}" for name, text in _rows(model))
    return "\n".join([f"<{_title(model, path)}>", *rows])


def as_html(model: LazyArrays, path: Location | None) -> str:
    """Return a model as HTML: main metadata, steps, arrays, and flags that are in memory.

    Nothing is read or computed for it.

    Parameters
    ----------
    model : LazyArrays
        The model.
    path : Path or Url, optional
        The file from which the model was made.
    """
    return make_display(wrap("strong", _title(model, path)), *_sections(model))


def describe_frames(wcs: Any) -> Iterator[str]:
    """Yield a line for each frame of world coordinates, in the order of the transforms.

    Parameters
    ----------
    wcs : Any
        The plain data of a ``gwcs`` object in an ASDF extension; anything else has no frames.
    """
    steps = wcs.get("steps") if isinstance(wcs, Mapping) else None
    for step in steps if isinstance(steps, Sequence) else ():
        frame = step.get("frame") if isinstance(step, Mapping) else None
        if isinstance(frame, Mapping):
            axes = (_as_words(frame.get(key)) for key in ("axes_names", "unit"))
            yield escape_text(f"wcs: {frame.get('name')}: {' in '.join(filter(None, axes))}")


def _as_words(values: Any) -> str:
    is_list = isinstance(values, Sequence) and not isinstance(values, str)
    return ", ".join(map(str, values)) if is_list else str(values or "")


def describe_contents(model: LazyArrays) -> Iterator[str]:
    """Yield a line for each column of a model's tables, and for each item of its lists.

    Columns are described for the first item that has a table alone. Only headers are read.
    """
    yield from _describe_tables(model, "")
    for name in model.schema.lists:
        has_columns = False
        for index, item in enumerate(getattr(model, name)):
            by_shape: dict[tuple[int, ...] | None, list[str]] = {}
            for field in item.schema.fields:
                by_shape.setdefault(item.shape_of(field), []).append(field)
            there = [f"{', '.join(by_shape[s])} {s}" for s in by_shape if s is not None]
            yield escape_text(f"{name}[{index}]{_identify(item)}: {'; '.join(there) or 'empty'}")
            if not has_columns:
                columns = list(_describe_tables(item, f"{name}[{index}]."))
                has_columns = bool(columns)
                yield from columns


def _identify(item: LazyArrays) -> str:
    """Return the name of an item, or else the number of its source, after a blank."""
    known = (getattr(item, key) for key in ("name", "source_id") if key in item.schema.keywords)
    return next((f" {value}" for value in known if value is not None), "")


def _describe_tables(model: LazyArrays, prefix: str) -> Iterator[str]:
    for name, held in model._content.off_grid.items():
        if isinstance(held, UnreadField) and held.hdu.kind == "table":
            for column, kind, unit in describe_columns(held.hdu):
                text = f"{prefix}{name}: {column}: {kind}{f', in {unit}' if unit else ''}"
                yield escape_text(text)


def _title(model: LazyArrays, path: Location | None) -> str:
    """Return the class, and the file that holds the model, or else its product and source."""
    name, content = type(model).__name__, model._content
    if content.stored is not None and content.stored.node is content.node:
        return f"{name} {content.stored.path}"
    made = f"{name} {content.product}".rstrip()
    return f"{made} from {path.name}" if path else made


def _rows(model: LazyArrays) -> list[tuple[str, str]]:
    rows = []
    for name, spec in model.schema.fields.items():
        shape = model.shape_of(name)
        if shape is not None:
            kind = "table" if spec.is_table else str(spec.dtype)
            rows.append((name, f"{kind} {shape}  {spec.hdu}  {spec.title}".rstrip()))
    rows += [(name, f"{text}  {title}".rstrip()) for name, text, title in _lists(model)]
    return rows + _metadata(model, _METADATA)


def _lists(model: LazyArrays) -> Iterator[tuple[str, str, str]]:
    """Yield name, items in short, and meaning of each list."""
    for name, spec in model.schema.lists.items():
        yield name, getattr(model, name).text, spec.title


def _metadata(model: LazyArrays, paths: Sequence[str]) -> list[tuple[str, str]]:
    values = ((f"meta.{path}", get_path(model._content.tree, f"meta.{path}")) for path in paths)
    return [(path, str(value)) for path, value in values if value is not None]


def _sections(model: LazyArrays) -> Iterator[Markup]:
    metadata = _metadata(model, SOUGHT)
    if metadata:
        yield make_details("metadata", make_table(metadata), is_open=True)
    steps = flatten(get_path(model._content.tree, "meta.cal_step", {}))
    if steps:
        counts = Counter(map(str, steps.values()))
        summary = ", ".join(f"{count} {status}" for status, count in counts.items())
        yield make_details(f"steps: {summary}", make_table([*steps.items()]))
    arrays = list(_arrays(model))
    if arrays:
        headings = ("array", "type", "shape", "memory", "HDU", "meaning")
        summary = f"{format_count(len(arrays), 'array or table', 'arrays and tables')}"
        yield make_details(
            f"{summary}{_describe_tiles(model)}", make_table(arrays, headings), is_open=True
        )
    lists = list(_lists(model))
    if lists:
        yield make_details("lists", make_table(lists, ("list", "items", "meaning")), is_open=True)
    yield from _flags(model)


def _arrays(model: LazyArrays) -> Iterator[tuple[str, ...]]:
    """Yield name, type, shape, memory, HDU and meaning of each field that is there."""
    for name, spec in model.schema.fields.items():
        shape = model.shape_of(name)
        if shape is None:
            continue
        placed = model._content.on_grid.get(name)
        held = placed if placed is not None else model._content.off_grid[name]
        dtype: np.dtype[np.generic] | None = getattr(held, "dtype", None) or spec.dtype
        memory = "" if dtype is None else _megabytes(np.prod(shape, dtype=float) * dtype.itemsize)
        kind = "table" if spec.is_table else str(dtype or "")
        yield name, kind, str(shape), memory, spec.hdu, spec.title


def _megabytes(count: float) -> str:
    return f"{count / 1e6:.3g} MB"


def _describe_tiles(model: LazyArrays) -> str:
    """Return the number and height of the tiles; their height is chosen on first use."""
    node = model._content.node
    edges = None if node is None else node.source.edges
    if edges is None:
        return ""
    height = max(stop - start for start, stop in pairwise(edges))
    return f", in {format_count(len(edges) - 1, 'tile')} of up to {format_count(height, 'row')}"


def _flags(model: LazyArrays) -> Iterator[Markup]:
    """Yield the number of values with each flag, for fields that are in memory."""
    for name, flags in _FLAGS.items():
        array = _find_in_memory(model, name)
        if array is not None and array.dtype.kind in "iu":
            rows = _count_flags(array, flags)
            yield make_details(f"flags in {name}", make_table(rows, ("flag", "values", "%")))


def _find_in_memory(model: LazyArrays, name: str) -> Array | None:
    """Return an array that needs neither to be read nor to be computed; else None."""
    if name in model._content.on_grid:
        reader = model.reader(name)
        return reader.whole() if isinstance(reader, ArrayReader) else None
    held = model._content.off_grid.get(name)
    return held if isinstance(held, np.ndarray) else None


def _count_flags(array: Array, flags: Mapping[str, int]) -> Iterator[tuple[str, str, str]]:
    """Yield the flags that occur, each with the number and the percentage of its values."""
    bits = array.astype(f"u{array.dtype.itemsize}", copy=False)  # a user's schema may have a sign
    present = int(np.bitwise_or.reduce(bits, axis=None)) if bits.size else 0
    counts = {"GOOD": int(np.count_nonzero(bits == 0))}
    for name, bit in flags.items():
        if present & bit:
            counts[name] = int(np.count_nonzero(bits & bits.dtype.type(bit)))
    for name, count in counts.items():
        yield name, str(count), f"{100 * count / max(array.size, 1):.3g}"
