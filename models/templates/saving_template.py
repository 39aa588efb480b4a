"""Templates for saving the products of one kind of exposure: of headers, and of the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from calbatch.models.budget import kept_rows, row_bytes
from calbatch.models.errors import ModelError
from calbatch.models.fits.headers import trace_cards, value_of
from calbatch.models.fits.output_hdus import OutputImage, image_cards, image_header
from calbatch.models.model import DataModel
from calbatch.models.products.product_hdus import build_hdus, complete_metadata, own_metadata
from calbatch.models.schema.spec import KeywordSpec
from calbatch.models.schema.validate import validate_tree
from calbatch.models.storage.location import Location
from calbatch.models.templates.blanks import PATH_TEXT, Blank, Place, place_of
from calbatch.models.templates.header_template import CardSlot, HeaderTemplate
from calbatch.models.templates.kinds import FileParts
from calbatch.models.templates.template import Template
from calbatch.models.tiling import graphs
from calbatch.models.tiling.blocks import Blocks
from calbatch.models.tiling.plan import PlanNode
from calbatch.models.tiling.sinks import BeforeNaming, Sink


class _SinkSlot:
    """Stands for a sink in the template of a graph."""

    def __init__(self, label: str, node: PlanNode) -> None:
        self.label, self.node = label, node
        self.write: Any = object()  # stands for its function


class SavingTemplate:
    """Headers and the graph of the products of one kind of exposure.

    Parameters
    ----------
    blank : sequence of DataModel
        The products, derived from a blank model.
    sample : sequence of (DataModel, Path or Url)
        The same products of one exposure, and their files.
    parts : FileParts
        The parts of that exposure.

    Raises
    ------
    ModelError
        If the products have something that each exposure needs for itself: lists of items, arrays
        without tiles, or its path in their metadata.
    """

    def __init__(
        self,
        blank: Sequence[DataModel],
        sample: Sequence[tuple[DataModel, Location]],
        parts: FileParts,
    ) -> None:
        if any(model._content.lists or model._content.node is None for model in blank):
            raise ModelError("the products have arrays without tiles, or lists of items")
        if any(_names_file(c.tree) or _names_file(c.extra) for c in (m._content for m in blank)):
            raise ModelError("the products name the exposure's file in their metadata")
        self._headers = [
            _make_headers(model, like, path, parts)
            for model, (like, path) in zip(blank, sample, strict=True)
        ]
        self._graph = _make_graph(blank)

    def fill(self, parts: FileParts) -> FilledTemplate:
        """Return the template with the parts of an exposure."""
        return FilledTemplate(self._headers, self._graph, parts)


@dataclass(frozen=True)
class FilledTemplate:
    """A saving template with the parts of one exposure, for `build_saving_graph`.

    Attributes
    ----------
    headers : sequence of mapping
        The templates of the headers of each product, by EXTNAME.
    graph : Template
        The template of the graph.
    parts : FileParts
        The parts of the exposure.
    """

    headers: Sequence[Mapping[str, HeaderTemplate]]
    graph: Template
    parts: FileParts

    def make_headers(
        self, number: int, model: DataModel, path: Location, date: str
    ) -> dict[str, bytes] | None:
        """Return the headers of a product's images by EXTNAME.

        None if a value is invalid or cannot be written: the headers are then made without the
        template, which leaves such a card out.
        """
        values = _add_own(self.parts, own_metadata(model, path, date))
        try:
            return {hdu: template.fill(values) for hdu, template in self.headers[number].items()}
        except ModelError:
            return None

    def make_graph(self, sinks: Sequence[Sink], before_naming: BeforeNaming) -> Blocks:
        """Return the graph that writes the products.

        Parameters
        ----------
        sinks : sequence of Sink
            Those that write the files, in the order of the products, then those that gather their
            statistics.
        before_naming : callable or None
            As for `calbatch.models.saving.build_saving_graph`.
        """
        if len(sinks) != 2 * len(self.headers):
            raise ModelError("a template needs two sinks for each product")
        objects: dict[str, Any] = {"naming": before_naming}
        for number, sink in enumerate(sinks):
            objects |= {f"sink {number}": sink, f"write {number}": sink.write}
        return Blocks(self.graph.fill(self.parts, objects))


def _names_file(value: Any) -> bool:
    """Return whether metadata or cards have the path of the file in them."""
    cls = type(value)
    if issubclass(cls, Blank):
        return False
    if cls is str:
        return PATH_TEXT in value
    inner = value.values() if isinstance(value, dict) else value
    return isinstance(value, (dict, list, tuple)) and any(map(_names_file, inner))


def _add_own(parts: FileParts, own: Mapping[str, Any]) -> dict[Place, Any]:
    """Return the values of an exposure, and those that a product has for itself."""
    return {**parts.values, **{("own", path): value for path, value in own.items()}}


def _make_graph(models: Sequence[DataModel]) -> Template:
    """Return the template of the graph that saves products, and gathers their statistics."""
    nodes = [node for model in models if (node := model._content.node) is not None]
    sinks: list[Any] = [_SinkSlot("write", node) for node in nodes]
    sinks += [_SinkSlot("statistics", node) for node in nodes]
    naming: Any = object()
    slots = {id(naming): "naming"}
    for number, sink in enumerate(sinks):
        slots |= {id(sink): f"sink {number}", id(sink.write): f"write {number}"}
    total = row_bytes(models).total
    graph = graphs.build_product_graph(sinks, total, naming, kept_rows(models))
    return Template(graph.layer, slots)


def _make_headers(
    blank: DataModel, like: DataModel, path: Location, parts: FileParts
) -> dict[str, HeaderTemplate]:
    """Return the templates of the headers of a product by EXTNAME."""
    own = own_metadata(like, path, "2000-01-01T00:00:00.000")
    tree = validate_tree(like.schema, complete_metadata(like._content, own), str(path))
    blanks = {name: Blank(("own", name), set()) for name in own}
    blank_tree = complete_metadata(blank._content, blanks)
    values = _add_own(parts, own)
    made: dict[str, HeaderTemplate] = {}
    for output in build_hdus(like, path, own["meta.date"]):
        is_primary = not made
        if not isinstance(output, OutputImage):
            continue
        if not is_primary and output.name not in like._content.on_grid:
            continue
        traced = trace_cards(like.schema, tree, like._content.extra, output.extname)
        slots = {
            id(card): slot
            for card, origin in traced
            if (slot := _find_slot(blank, blank_tree, output.extname, origin)) is not None
        }
        cards = image_cards(replace(output, cards=[card for card, _ in traced]), is_primary)
        made[output.extname] = template = HeaderTemplate(output.extname, cards, slots)
        if template.fill(values) != image_header(output, is_primary):
            raise ModelError(f"{path}: the header of {output.extname} has no template")
    return made


def _find_slot(
    blank: DataModel, tree: Mapping[str, Any], hdu: str, origin: KeywordSpec | int | None
) -> CardSlot | None:
    """Return the slot of a card of some origin if its value is blank."""
    if origin is None:
        return None
    if isinstance(origin, KeywordSpec):
        value = value_of(tree, origin)
        return CardSlot(place_of(value), origin) if type(value) is Blank else None
    card = blank._content.extra[hdu.upper()][origin]
    return CardSlot(place_of(card[1]), card) if type(card[1]) is Blank else None
