"""HTML for notebooks: tables, foldable sections and links, in which every text is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from calbatch.models.errors import escape_text

LONGEST = 500
"""Maximum number of characters of a text; headers and file names can be of any length."""

_CELL = 'style="text-align:left"'  # JupyterLab aligns each cell to the right


class Markup(str):
    """HTML, as opposed to text that must still be escaped."""

    __slots__ = ()


def escape(text: object) -> Markup:
    """Return a text as HTML, without control characters and cut to a length; HTML as it is."""
    if isinstance(text, Markup):
        return text
    plain = escape_text(str(text))
    if len(plain) > LONGEST:
        plain = f"{plain[:LONGEST]}…"
    return Markup(html.escape(plain))


def join(parts: Iterable[object], separator: str = "") -> Markup:
    """Return parts one after another, separated by a text."""
    return Markup(escape(separator).join(map(escape, parts)))


def wrap(tag: str, *parts: object) -> Markup:
    """Return parts within an element."""
    return Markup(f"<{tag}>{join(parts)}</{tag}>")


def make_display(*parts: object) -> str:
    """Return parts as the HTML of a display, in which dollar signs do not begin mathematics."""
    return f'<div class="mathjax_ignore">{join(parts)}</div>'


def make_table(rows: Iterable[Sequence[object]], headings: Sequence[object] = ()) -> Markup:
    """Return rows of cells as a table; without headings, the first column names the rows."""
    lines = [_make_row(headings, len(headings))] if headings else []
    lines += [_make_row(row, 0 if headings else 1) for row in rows]
    return Markup(f'<table style="overflow-wrap:anywhere">{join(lines)}</table>')


def _make_row(cells: Sequence[object], headings: int) -> Markup:
    names = ["th"] * headings + ["td"] * (len(cells) - headings)
    marked = (
        Markup(f"<{name} {_CELL}>{escape(cell)}</{name}>")
        for name, cell in zip(names, cells, strict=True)
    )
    return wrap("tr", *marked)


def make_details(summary: object, *parts: object, is_open: bool = False) -> Markup:
    """Return parts as a section that unfolds when its summary is clicked."""
    attribute = " open" if is_open else ""
    return Markup(f"<details{attribute}>{wrap('summary', summary)}{join(parts)}</details>")


def make_bar(value: float, total: float) -> Markup:
    """Return a bar of which a part is filled: ``value`` of ``total``."""
    numbers = f'value="{value:g}" max="{max(total, 1):g}"'
    return Markup(f'<progress {numbers} style="width:30em"></progress>')


def make_link(address: str) -> Markup:
    """Return a link to an address of the web, or on this server; anything else remains text."""
    is_web = address.startswith(("http://", "https://"))
    if not (is_web or (address.startswith("/") and not address.startswith("//"))):
        return escape(address)
    target = html.escape(escape_text(address))
    return Markup(f'<a href="{target}" target="_blank" rel="noopener">{escape(address)}</a>')
