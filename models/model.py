"""The data model: validated metadata and lazy arrays of a file."""

from __future__ import annotations

import copy as copying
from collections.abc import Mapping, Sequence
from functools import partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from calbatch.models.arrays import DeferredMetadata, GridField, LazyArrays, ModelContent
from calbatch.models.casting import cast_exactly, check_dimensions, check_shape, needs_value_check
from calbatch.models.conversion import translate
from calbatch.models.errors import ValidationError
from calbatch.models.fits.asdf_extension import value_at
from calbatch.models.fits.headers import (
    ASDF,
    ExtraCards,
    misread_paths,
    misread_reason,
    user_card,
)
from calbatch.models.fits.layout import Layout
from calbatch.models.fits.readers import ConstantReader, CopyProvider
from calbatch.models.opening import claim_tables, convert_field, load_content
from calbatch.models.plotting.plottable import Plottable
from calbatch.models.schema.meta import NOT_PLAIN, flatten, plain_value
from calbatch.models.schema.meta import MetadataNode as Meta
from calbatch.models.schema.spec import KeywordSpec, Schema, load_schema
from calbatch.models.schema.validate import (
    check_assignment,
    require_part,
    to_plain,
    validate_tree,
    warn_of_unknown_names,
)
from calbatch.models.storage.location import Location, Url, location
from calbatch.models.summary import as_html, as_text

if TYPE_CHECKING:
    from calbatch.models.lists.item_list import ItemList

_OF_THE_FILE = ("meta.date", "meta.filename", "meta.model_type")
"""Metadata that describe a single file and are never copied to another."""


def _is_within(spec: KeywordSpec, part: str) -> bool:
    """Return whether a keyword is in an HDU, or at or below a dotted path."""
    in_hdu = spec.keyword is not None and spec.hdu.upper() == part.upper()
    return in_hdu or spec.path == part or spec.path.startswith(f"{part}.")


class DataModel(Plottable):
    """Metadata and arrays of a file, named by a schema.

    Parameters
    ----------
    init : path, URL, DataModel, tuple of int, array, or None
        A FITS file, of which only the headers are read; a model, whose lazy graph is shared but
        which later assignments do not change; the shape of the primary array; or that array.
    schema : str, path or Schema, optional
        Schema to use instead of the class's own.
    copies : CopyProvider, optional
        Provides decoded copies of compressed or scaled arrays and of tables
        (`calbatch.models.fits.readers.CopyProvider`); by default each process decodes them itself.
    layout : Layout, optional
        The file's layout, if it has been read already.
    **fields
        Arrays and tables by name.

    Raises
    ------
    FileError
        If the file is missing, truncated or not FITS, or does not fit the schema.
    ValidationError
        If an assigned array or table does not fit the schema.
    """

    schema_url: ClassVar[str] = "core.schema.yaml"

    schema: Schema
    path: Location | None
    _content: ModelContent

    def __init__(
        self,
        init: Any = None,
        *,
        schema: str | Path | Schema | None = None,
        copies: CopyProvider | None = None,
        layout: Layout | None = None,
        **fields: Any,
    ) -> None:
        if not isinstance(schema, Schema):
            schema = load_schema(schema or self.schema_url)
        self.schema = schema
        self.path = None
        self._content = ModelContent()
        if isinstance(init, DataModel):
            self._adopt(init)
        elif isinstance(init, (str, Path, Url)):
            self.path = location(init)
            self._content = load_content(self.path, self.schema, copies, layout)
        elif isinstance(init, tuple):
            self._fill(init)
        elif init is not None:
            setattr(self, self.primary, init)
        for name, value in fields.items():
            setattr(self, name, value)

    def _fill(self, shape: tuple[int, ...]) -> None:
        """Fill the primary array with its schema's default, or with 0."""
        check_shape(shape, self._where)
        spec = self.schema.fields.get(self.primary)
        if spec is None or len(shape) < 2:
            dtype = None if spec is None else spec.dtype
            setattr(self, self.primary, np.zeros(shape, dtype or "f4"))
            return
        check_dimensions(spec, len(shape), f"{self._where}: {spec.name}")
        dtype = spec.dtype or np.dtype("f4")
        self.set_reader(
            spec.name, ConstantReader(shape, dtype, 0 if spec.default is None else spec.default)
        )

    def _adopt(self, other: DataModel) -> None:
        """Share the content of another model, restricted to the fields of this schema."""
        self.path, self._content = other.path, other._content.copy()
        if self.schema is other.schema:
            return
        translate(self._content, other.schema, self.schema)
        for held in (self._content.on_grid, self._content.off_grid):
            for name in [n for n in held if n not in self.schema.fields]:
                held.pop(name)
        self._content.lists = {}
        for name in self.schema.lists.keys() & other.schema.lists.keys():
            setattr(self, name, getattr(other, name))
        where = f"{type(self).__name__} of {type(other).__name__} {other.path or ''}".rstrip()
        for name, placed in list(self._content.on_grid.items()):
            self._cast(other, name, placed, f"{where}: {name}")
        for name, value in list(self._content.off_grid.items()):
            self._content.off_grid[name] = convert_field(
                self.schema.fields[name], value, f"{where}: {name}"
            )
        claim_tables(self._content, self.schema)

    def _cast(self, other: DataModel, name: str, placed: GridField, where: str) -> None:
        """Cast an array on another model's grid to the type that this schema requires."""
        spec = self.schema.fields[name]
        if spec.is_table:
            raise ValidationError(f"{where}: must be a table, is an array")
        check_dimensions(spec, len(placed.shape), where)
        if spec.dtype is None or spec.dtype == placed.dtype:
            return
        reader = other.reader(name)
        if reader is None:
            setattr(self, name, getattr(other, name))
        elif needs_value_check(placed.dtype, spec.dtype, where):
            self.set_reader(
                name, reader.then(partial(cast_exactly, dtype=spec.dtype, where=where), spec.dtype)
            )
        else:
            self.set_reader(name, reader.astype(spec.dtype))

    def _inherit(self, other: LazyArrays) -> None:
        """Copy metadata, history, header cards, and the tables that this schema names."""
        self._content.tree, self._content.extra = other._content.copy_headers()
        self._content.used_references = other._content.used_references
        translate(self._content, other.schema, self.schema)
        for name, value in other._content.off_grid.items():
            if name in self.schema.fields and self.schema.fields[name].is_table:
                self._content.off_grid[name] = value
                self._content.units[name] = other.column_units(name).copy()
        self.path = other.path

    # -- metadata -----------------------------------------------------------------------------

    @property
    def _where(self) -> str:
        return str(self.path) if self.path else type(self).__name__

    @property
    def meta(self) -> Meta:
        """The metadata tree."""
        return self._branch("meta")

    def _branch(self, name: str) -> Meta:
        check = partial(check_assignment, self.schema, where=self._where)
        return Meta(self._content.tree, self.schema, name, check)

    def _items(self, name: str) -> ItemList:
        from calbatch.models.lists.item_list import ItemList  # which imports this module

        items = self._content.lists.setdefault(name, [])
        return ItemList(items, self.schema.lists[name], self._where)

    @property
    def history(self) -> list[str]:
        """HISTORY lines, oldest first."""
        return self._content.tree.setdefault("history", [])

    @history.setter
    def history(self, lines: Sequence[str]) -> None:
        self._content.tree["history"] = list(lines)

    @property
    def extra(self) -> ExtraCards:
        """Header cards that no schema names; `set_card` adds to them."""
        return self._content.extra

    def set_card(
        self, keyword: str, value: Any, comment: str = "", *, hdu: str = "PRIMARY"
    ) -> None:
        """Set a header card that no schema names.

        Parameters
        ----------
        keyword : str
            The keyword, up to eight characters.
        value : str, bool, int or float
            The value; None removes the card.
        comment : str
            The card's comment.
        hdu : str
            The HDU of the header: ``PRIMARY``, or the extension of one of the model's arrays or
            tables.

        Raises
        ------
        ValidationError
            If the schema names the keyword, or FITS cannot hold the value.
        """
        place = hdu.upper()
        hdus = ["PRIMARY", *(spec.hdu.upper() for spec in self.schema.fields.values())]
        if place not in (*hdus, *self.extra):
            raise ValidationError(f"{self._where}: has no HDU {hdu!r}; it may have {hdus}")
        card = user_card(self.schema, place, keyword, value if value is not None else "", comment)
        name, *_ = card
        others = [other for other in self.extra.get(place, ()) if other[0] != name]
        self.extra[place] = others if value is None else [*others, card]

    def get_card(self, keyword: str, default: Any = None, *, hdu: str = "PRIMARY") -> Any:
        """Return the value of a header card that no schema names, or a default."""
        cards = self.extra.get(hdu.upper(), ())
        return next((to_plain(v) for name, v, _ in cards if name == keyword.upper()), default)

    def __getitem__(self, path: str) -> Any:
        value = plain_value(self._content.tree, self.schema, path)
        return reduce(getattr, path.split("."), self) if value is NOT_PLAIN else value

    def __setitem__(self, path: str, value: Any) -> None:
        head, _, leaf = path.rpartition(".")
        setattr(self[head] if head else self, leaf, value)

    def to_flat_dict(self) -> dict[str, Any]:
        """Return the metadata that are set, by dotted path."""
        tree = self._content.tree
        names = ("meta", *self.schema.own_keywords)
        return flatten({name: tree[name] for name in names if name in tree})

    def value_in_asdf(self, path: str) -> Any:
        """Return a value from the file's ASDF extension as plain data, or None if it is not there.

        Parameters
        ----------
        path : str
            Dotted path, such as ``meta.exposure.read_times``.

        Raises
        ------
        FileError
            If the extension is damaged.
        """
        known, hdus = self._content.asdf_values, self._content.other_hdus
        if path not in known:
            found = (value_at(hdu, path) for hdu in hdus if hdu.name == ASDF)
            known[path] = next((value for value in found if value is not None), None)
        return copying.deepcopy(known[path])

    def misread_reason(self, path: str) -> str | None:
        """Return the reason why the value of a header card was not accepted as metadata.

        Returns
        -------
        str or None
            Such as ``NFRAMES = '1' is text; a whole number is needed``; None if the header has no
            such card, or the value was accepted.
        """
        return misread_reason(self.schema, self._content.tree, self._content.extra, path)

    def misread_paths(self) -> list[str]:
        """Return the paths of all metadata whose header cards were not accepted."""
        return list(misread_paths(self.schema, self._content.extra))

    def search_schema(self, text: str) -> list[tuple[str, str]]:
        """Return (path, title) of all schema entries that mention ``text``."""
        return self.schema.search(text)

    def update(
        self, other: DataModel | Mapping[str, Any], only: str | Sequence[str] | None = None
    ) -> None:
        """Copy the metadata of another model that this schema names.

        The file's own name, date and model type are never copied. Names in a mapping that are not
        in this schema give a `ValidationWarning`.

        Parameters
        ----------
        other : DataModel or mapping
            The model, or nested metadata: ``{"meta": {...}}``.
        only : str or sequence of str, optional
            HDUs (``SCI``) or dotted paths of branches and values to copy; by default everything.

        Raises
        ------
        TypeError
            If ``other`` is neither a model nor a mapping.
        ValidationError
            If ``only`` has a name that is not in this schema.
        """
        if not isinstance(other, (DataModel, Mapping)):
            kind = type(other).__name__
            raise TypeError(
                f'update() needs a model or nested metadata, {{"meta": {{...}}}}, not {kind}'
            )
        flat = other.to_flat_dict() if isinstance(other, DataModel) else flatten(to_plain(other))
        wanted = None if only is None else [only] if isinstance(only, str) else list(only)
        for part in wanted or ():
            require_part(self.schema, part, self._where)
        if wanted is None and isinstance(other, Mapping):
            warn_of_unknown_names(self.schema, flat, self._where)
        for path, value in flat.items():
            spec = self.schema.keywords.get(path)
            if spec is None or path in _OF_THE_FILE:
                continue
            if wanted is None or any(_is_within(spec, part) for part in wanted):
                self[path] = copying.deepcopy(value)

    def validate(self) -> None:
        """Check all metadata against the schema, as saving does.

        Raises
        ------
        ValidationError
            If a required value is missing or, under ``STRICT_VALIDATION``, any value is invalid.

        Warns
        -----
        ValidationWarning
            For each invalid value otherwise.
        """
        validate_tree(self.schema, self._content.tree, self._where)
        for name in self.schema.lists:
            for item in self._items(name):
                item.validate()

    def defer_meta(self, deferred: DeferredMetadata) -> None:
        """Compute some metadata from row counts when the model is saved."""
        self._content.deferred = (*self._content.deferred, deferred)

    # -- as a whole ---------------------------------------------------------------------------

    def copy(self) -> Self:
        """Return a copy that shares only the lazy graph."""
        return self._twin()

    def get_primary_array_name(self) -> str:
        """Return the name of the primary array."""
        return self.primary

    def save(self, path: str | Location, **options: Any) -> Location:
        """Compute the model tile by tile into a FITS file; see `calbatch.models.saving.save`."""
        from calbatch.models.saving import save  # which imports this module

        return location(save([(self, location(path))], **options).products[0].path)

    def close(self) -> None:
        """Do nothing: no file stays open. Provided for compatibility with jwst's models."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def product(self) -> str:
        """Suffix of the product that this model is, such as ``rate``; empty if no step made it."""
        return self._content.product

    @product.setter
    def product(self, suffix: str) -> None:
        self._content.product = suffix

    def __repr__(self) -> str:
        return as_text(self, self.path)

    def _repr_html_(self) -> str:
        return as_html(self, self.path)
