"""Results as tables of text, and as JSON values."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Table:
    """One table of results.

    Attributes
    ----------
    title : str
        Title, which names the measured quantity.
    columns : list of str
        Names of the columns, with units.
    rows : list of list
        Strings and numbers; None is printed as a dash.
    notes : list of str
        Explanations below the table.
    gains : list of str
        Columns with ratios of which more is better, and which later measurements must not lose.
    """

    title: str
    columns: list[str]
    rows: list[list[Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    gains: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        cells = [self.columns, *([format_cell(value) for value in row] for row in self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.columns))]
        lines = [_line(row, widths) for row in cells]
        rule = "  ".join("-" * width for width in widths)
        return "\n".join(["", self.title, lines[0], rule, *lines[1:], *self.notes])

    def as_json(self) -> dict[str, Any]:
        """Return the table as plain values."""
        return asdict(self)


def format_cell(value: Any) -> str:
    """Return the text of a cell; numbers have three significant digits."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")
    return str(value)


def _line(row: list[str], widths: list[int]) -> str:
    name, *cells = row
    name_width, *cell_widths = widths
    padded = (cell.rjust(width) for cell, width in zip(cells, cell_widths, strict=True))
    return "  ".join([name.ljust(name_width), *padded])
