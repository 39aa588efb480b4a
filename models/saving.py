"""Saving models: tiles are streamed into temporary files, which then get their final names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask.base import compute

from calbatch.models.arrays import ModelContent, StoredFile
from calbatch.models.budget import kept_rows, row_bytes
from calbatch.models.fits.writer import FitsWriter, Product, Receipt
from calbatch.models.lists._list_output import field_prefix, list_items
from calbatch.models.model import DataModel
from calbatch.models.products.product_hdus import build_hdus
from calbatch.models.schema.spec import Schema
from calbatch.models.statistics.product_statistics import ProductStatistics
from calbatch.models.statistics.statistics_sink import StatisticsSink
from calbatch.models.storage.location import Location
from calbatch.models.storage.upload_permits import Permit
from calbatch.models.tiling import graphs
from calbatch.models.tiling.blocks import Blocks
from calbatch.models.tiling.plan import PlanNode, SourceNode
from calbatch.models.tiling.sinks import Sink
from calbatch.models.tiling.tile import Array, Tile
from calbatch.models.tiling.tile_edges import tile_edges

if TYPE_CHECKING:
    from calbatch.models.templates.saving_template import FilledTemplate


@dataclass(frozen=True)
class SaveResult:
    """The result of saving models.

    Attributes
    ----------
    products : tuple of Product
        The files, in the order of the models.
    seconds : mapping
        CPU seconds by step.
    remark : str
        The return value of ``before_naming``.
    statistics : mapping
        Statistics of the files, by path, if they were wanted.
    """

    products: tuple[Product, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)
    remark: str = ""
    statistics: Mapping[str, ProductStatistics] = field(default_factory=dict)


class ProductFile:
    """A file that several sinks fill: one for a model, and one for each item of its lists.

    Parameters
    ----------
    model : DataModel
        The model.
    writer : FitsWriter
        The file.
    """

    def __init__(self, model: DataModel, writer: FitsWriter) -> None:
        self.writer = writer
        self.off_grid = _off_grid_images(model._content)
        self.deferred = model._content.deferred
        self.cards = {path: _card(model.schema, path) for d in self.deferred for path in d.paths}
        self._receipts: dict[str, list[Receipt]] = {}
        self._counts: Mapping[str, Array] = {}
        self._parts = {""}
        for name, index, item in list_items(model):
            prefix = field_prefix(name, index)
            self.off_grid |= {f"{prefix}{n}": a for n, a in _off_grid_images(item._content).items()}
            if item._content.node is not None:
                self._parts.add(prefix)

    def complete(self, part: str, receipts: list[Receipt], counts: Mapping[str, Array]) -> None:
        """Complete the file once all parts are written: the model, which is "", and its items."""
        self._receipts[part] = receipts
        if not part:
            self._counts = counts
        if self._receipts.keys() == self._parts:
            self._finish([receipt for found in self._receipts.values() for receipt in found])
            self._receipts = {}

    def _finish(self, receipts: list[Receipt]) -> None:
        for name, array in self.off_grid.items():
            rows = array.shape[-2] if array.ndim > 1 else 1
            receipts.append(self.writer.write_rows(name, (0, rows), array))
        updates: dict[str, dict[str, Any]] = {}
        for deferred in self.deferred:
            values = deferred.function(self._counts)
            for path in deferred.paths:
                hdu, keyword = self.cards[path]
                updates.setdefault(hdu, {})[keyword] = values.get(path)
        self.writer.complete(receipts, updates)


class FileSink:
    """Streams the tiles of a model, or of an item of its lists, into a FITS file."""

    label = "write"

    def __init__(self, model: DataModel, file: ProductFile, part: str = "") -> None:
        content = model._content
        # A file of tables or lists has no tiles.
        self.node: PlanNode = content.node or SourceNode({}, (1, 1))
        self.file = file
        self.part = part
        keys = {f"{part}{name}": p.key for name, p in content.on_grid.items()}
        # Tasks that write tiles do not need the rest.
        self.write = partial(_write_tile, file.writer.narrow(keys), keys)

    def __getstate__(self) -> dict[str, Any]:
        # Workers do not need the plan, which the graph contains.
        return {**self.__dict__, "node": None}

    def complete(self, receipts: list[Any], counts: Mapping[str, Array]) -> None:
        """Complete this part of the file; the last part completes the file."""
        self.file.complete(self.part, [r for found in receipts for r in found], counts)

    def publish(self) -> Product | None:
        """Publish the complete file under its final name; for an item, do nothing."""
        return None if self.part else self.file.writer.publish()


def _write_tile(writer: FitsWriter, keys: Mapping[str, str], tile: Tile) -> list[Receipt]:
    """Write the rows of a tile, without its halo, for every field."""
    return [writer.write_rows(n, tile.core.rows, tile.core_rows(k)) for n, k in keys.items()]


def _sinks(model: DataModel, writer: FitsWriter) -> Iterator[FileSink]:
    """Yield the sinks of a model's file."""
    file = ProductFile(model, writer)
    yield FileSink(model, file)
    for name, index, item in list_items(model):
        if item._content.node is not None:
            yield FileSink(item, file, field_prefix(name, index))


def _card(schema: Schema, path: str) -> tuple[str, str]:
    spec = schema.keywords[path]
    return spec.hdu, str(spec.keyword)


def _off_grid_images(content: ModelContent) -> dict[str, Array]:
    arrays = {name: content.off_grid_array(name) for name in list(content.off_grid)}
    return {name: array for name, array in arrays.items() if array.dtype.names is None}


def format_now() -> str:
    """Return the value of DATE: the current time, or the one given by SOURCE_DATE_EPOCH."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    when = datetime.fromtimestamp(int(epoch), UTC) if epoch.isdigit() else datetime.now(UTC)
    return when.replace(tzinfo=None).isoformat(timespec="milliseconds")


def build_writer(
    model: DataModel,
    path: Location,
    *,
    date: str | None = None,
    fsync: bool = True,
    tag: str = "",
    staging: Path | Permit | None = None,
    headers: Mapping[str, bytes] | None = None,
) -> FitsWriter:
    """Return the writer of a model's file.

    Parameters
    ----------
    model : DataModel
        The model; see `calbatch.models.products.product_hdus.build_hdus`.
    path : Path or Url
        The file's final name.
    date : str, optional
        Value of DATE, for reproducible files; by default the current time.
    fsync : bool
        Whether to flush the file to disk before it gets its name.
    tag : str
        Part of the temporary file's name, by which it can be found if this process dies.
    staging : Path or Permit, optional
        Folder for the temporary file, by default that of its final name; for an object, a permit.
    headers : mapping, optional
        The headers of its images; see `calbatch.models.products.product_hdus.build_hdus`.
    """
    hdus = build_hdus(model, path, date or format_now(), headers)
    return FitsWriter(path, hdus, fsync=fsync, tag=tag, staging=staging)


def save(
    models: Sequence[tuple[DataModel, Location]],
    *,
    date: str | None = None,
    fsync: bool = True,
    scheduler: str | None = None,
) -> SaveResult:
    """Compute models together, tile by tile, and write each to a FITS file.

    For models that share a plan, such as a ramp and the rates fitted to it, each kernel runs once
    per tile. No file gets its final name before it is complete, checksums included.

    Parameters
    ----------
    models : sequence of (DataModel, Path or Url)
        The models and their files.
    date : str, optional
        Value of DATE, for reproducible files; by default the current time.
    fsync : bool
        Whether to flush files to disk before they get their names.
    scheduler : str, optional
        Name of a dask scheduler; by default dask's current one, such as a connected client.

    Raises
    ------
    FileError
        If the folder is missing or not writable, or the disk is full.
    ValidationError
        If an array or value that the schema requires is missing, an array has another shape than
        the one that it describes or, under ``STRICT_VALIDATION``, metadata are invalid.
    """
    graph, writers = build_saving_graph(models, date=date, fsync=fsync)
    try:
        result = save_result(compute(graph, scheduler=scheduler)[0])
        for model, path in models:
            model._content.stored = StoredFile(path, model._content.node)
        return result
    finally:
        for writer in writers:
            writer.abort()


def build_saving_graph(
    models: Sequence[tuple[DataModel, Location]],
    *,
    date: str | None = None,
    fsync: bool = True,
    tag: str = "",
    staging: Path | Permit | None = None,
    before_naming: Callable[[], str] | None = None,
    with_statistics: bool = False,
    template: FilledTemplate | None = None,
) -> tuple[Blocks, list[FitsWriter]]:
    """Return a collection that saves models when computed, and the writers, to abort on failure.

    ``before_naming``, which must be picklable, is called once all pixels are written. If it raises,
    no product gets its name. With ``staging``, files are made in that folder, which must exist.
    ``with_statistics`` gathers statistics of each model from the tiles that are written. A
    ``template`` gives the graph and the headers of images, and requires ``with_statistics``.
    """
    date = date or format_now()
    how: dict[str, Any] = {"date": date, "fsync": fsync, "tag": tag, "staging": staging}
    writers = []
    for number, (model, path) in enumerate(models):
        headers = template.make_headers(number, model, path, date) if template else None
        writers.append(build_writer(model, path, headers=headers, **how))
    try:
        for writer in writers:
            writer.prepare()
        for model, _ in models:
            _set_item_tiles(model)
        pairs = zip(models, writers, strict=True)
        sinks: list[Sink] = [s for (model, _), writer in pairs for s in _sinks(model, writer)]
        if with_statistics:
            sinks += [StatisticsSink(m, p) for m, p in models if m._content.node is not None]
        if template is not None:
            return template.make_graph(sinks, before_naming), writers
        saved = [m for m, _ in models]
        row, kept = row_bytes(saved).total, kept_rows(saved)
        return graphs.build_product_graph(sinks, row, before_naming, kept), writers
    except BaseException:
        for writer in writers:
            writer.abort()
        raise


def _set_item_tiles(model: DataModel) -> None:
    """Choose the tiles of a model's items, each of which takes memory at another time."""
    for _, _, item in list_items(model):
        if item._content.node is not None:
            tile_edges(item._content.node.source, row_bytes([item]).total)


def save_result(computed: Array) -> SaveResult:
    """Return the result of a computed saving graph."""
    found, seconds, remark = computed[0]
    products = tuple(each for each in found if isinstance(each, Product))
    statistics: dict[str, ProductStatistics] = dict(e for e in found if isinstance(e, tuple))
    return SaveResult(products, seconds, remark, statistics)
