"""Results as tables of text, and as values that JSON can hold."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Table:
    """One table of results.

    Attributes
    ----------
    title : str
        What was measured.
    columns : list of str
        Names with their units.
    rows : list of list
        Texts and numbers; None is shown as a dash.
    notes : list of str
        What one must know to read it.
    """

    title: str
    columns: list[str]
    rows: list[list[Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        cells = [self.columns, *([shown(value) for value in row] for row in self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.columns))]
        lines = [_line(row, widths) for row in cells]
        rule = "  ".join("-" * width for width in widths)
        return "\n".join(["", self.title, lines[0], rule, *lines[1:], *self.notes])

    def as_json(self) -> dict[str, Any]:
        """Return the table as plain values."""
        return {"title": self.title, "columns": self.columns, "rows": self.rows,
                "notes": self.notes}  # fmt: skip


def shown(value: Any) -> str:
    """Return a cell's text; numbers with three digits that mean something."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")
    return str(value)


def _line(row: list[str], widths: list[int]) -> str:
    first, *rest = [*zip(row, widths, strict=True)]
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)])
