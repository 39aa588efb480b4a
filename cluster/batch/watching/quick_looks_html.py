"""Quick-looks of a batch's products, as HTML for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from calbatch.models.errors import format_count
from calbatch.models.markup import Markup, escape, join, make_display, wrap


@dataclass(frozen=True)
class QuickLooks:
    """Quick-looks of products; a notebook shows them.

    Attributes
    ----------
    batch : str
        Name of the batch.
    images : sequence of (str, str)
        The file name of each product, and its quick-look as PNG in base 64.
    """

    batch: str
    images: Sequence[tuple[str, str]]

    def __repr__(self) -> str:
        return f"<{format_count(len(self.images), 'quick-look')} of {self.batch}>"

    def _repr_html_(self) -> str:
        if not self.images:
            return make_display(f"{self.batch}: no product has a quick-look yet")
        return make_display(make_figures(self.images))


def make_figures(images: Iterable[tuple[str, str]]) -> Markup:
    """Return images with their names below them.

    Parameters
    ----------
    images : iterable of (str, str)
        As in `QuickLooks`.
    """
    return join(_make_figure(name, png) for name, png in images)


def _make_figure(name: str, png: str) -> Markup:
    image = Markup(f'<img alt="quick-look of {escape(name)}" src="data:image/png;base64,{png}">')
    style = 'style="display: inline-block; margin: 0.5em; text-align: center"'
    return Markup(f"<figure {style}>{image}{wrap('figcaption', name)}</figure>")
