"""Summaries of models, as text and as HTML for notebooks."""

from __future__ import annotations

import html

from calbatch.models.arrays import LazyArrays
from calbatch.models.schema.meta import get_path
from calbatch.models.storage.location import Location

_METADATA = ("telescope", "instrument.name", "instrument.detector", "exposure.type")


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
    """Return a model's title, fields and main metadata as a table; see `as_text`."""
    cells = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
        for name, text in _rows(model)
    )
    return f"<table><caption>{html.escape(_title(model, path))}</caption>{cells}</table>"


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
    for name, of_list in model.schema.lists.items():
        rows.append((name, f"{getattr(model, name).text}  {of_list.title}".rstrip()))
    for path in _METADATA:
        value = get_path(model._content.tree, f"meta.{path}")
        rows.extend([] if value is None else [(f"meta.{path}", str(value))])
    return rows
