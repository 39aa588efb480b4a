"""The data model: validated metadata beside lazy arrays, and the file they come from."""

from __future__ import annotations

import copy as copying
import html
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from calbatch.models.arrays import Content, Deferred, LazyArrays
from calbatch.models.asdf_extension import has_value
from calbatch.models.headers import ASDF, Extra
from calbatch.models.layout import Layout
from calbatch.models.location import Location, Url, location
from calbatch.models.mapping import MappedArrays
from calbatch.models.meta import Node as Meta
from calbatch.models.meta import flatten, get_path, set_path
from calbatch.models.opening import load
from calbatch.models.rows import Copies
from calbatch.models.schema import Schema, load_schema
from calbatch.models.validate import accept, misfit, validate_tree


class DataModel(MappedArrays):
    """Metadata and arrays of one file, as its schema names them.

    Parameters
    ----------
    init : path, URL, DataModel, tuple of int, array, or None
        A FITS file (only its headers are read); a model, whose lazy graph is shared and which
        assigning here never changes; the shape of the primary array; or that array.
    schema : str or path, optional
        Another schema than the class's own.
    copies : Copies, optional
        Where arrays and tables of the file are read from that have to be decoded
        (`calbatch.models.rows.Copies`); by default each process decodes by itself.
    layout : Layout, optional
        The file's, where it has been read already.
    **fields
        Arrays and tables by name.

    Raises
    ------
    FileError
        When the file is not what it should be: missing, truncated, not FITS.
    ValidationError
        When an array or table does not fit the schema.
    """

    schema_url: ClassVar[str] = "core.schema.yaml"

    schema: Schema
    path: Location | None
    _content: Content

    def __init__(
        self,
        init: Any = None,
        *,
        schema: str | Path | None = None,
        copies: Copies | None = None,
        layout: Layout | None = None,
        **fields: Any,
    ) -> None:
        self.schema = load_schema(schema or self.schema_url)
        self.path = None
        self._content = Content()
        if isinstance(init, DataModel):
            self._adopt(init)
        elif isinstance(init, (str, Path, Url)):
            self.path = location(init)
            self._content = load(self.path, self.schema, copies, layout)
        elif init is not None:
            shape = init if isinstance(init, tuple) else None
            setattr(self, self.primary, np.zeros(shape, "f4") if shape is not None else init)
        for name, value in fields.items():
            setattr(self, name, value)

    def _adopt(self, other: DataModel) -> None:
        """Share another model's content, as far as this schema knows its fields."""
        self.path, self._content = other.path, other._content.copy()
        if self.schema is other.schema:
            return
        for held in (self._content.placed, self._content.loose):
            for name in [n for n in held if n not in self.schema.fields]:
                held.pop(name)
        for name, placed in list(self._content.placed.items()):
            wanted = self.schema.fields[name].dtype
            if wanted is not None and wanted != placed.dtype:
                self._cast(other, name, wanted)

    def _cast(self, other: DataModel, name: str, dtype: np.dtype[Any]) -> None:
        reader = other.reader(name)
        if reader is None:
            setattr(self, name, getattr(other, name).astype(dtype))
        else:
            self.place(name, reader.astype(dtype))

    def _inherit(self, other: LazyArrays) -> None:
        """Take over metadata, history and header cards, and the tables that this schema has."""
        self._content.tree = copying.deepcopy(other._content.tree)
        self._content.extra = copying.deepcopy(other._content.extra)
        self._content.used = other._content.used
        for name, value in other._content.loose.items():
            if name in self.schema.fields and self.schema.fields[name].is_table:
                self._content.loose[name] = value
        self.path = other.path

    # -- metadata -----------------------------------------------------------------------------

    @property
    def _where(self) -> str:
        return str(self.path) if self.path else type(self).__name__

    @property
    def meta(self) -> Meta:
        """The metadata tree."""
        check = partial(accept, self.schema, where=self._where)
        return Meta(self._content.tree, self.schema, "meta", check)

    @property
    def history(self) -> list[str]:
        """HISTORY lines, oldest first."""
        return self._content.tree.setdefault("history", [])

    @history.setter
    def history(self, lines: Sequence[str]) -> None:
        self._content.tree["history"] = list(lines)

    @property
    def extra(self) -> Extra:
        """Header cards that no schema names."""
        return self._content.extra

    def __getitem__(self, path: str) -> Any:
        value: Any = self
        for name in path.split("."):
            value = getattr(value, name)
        return value

    def __setitem__(self, path: str, value: Any) -> None:
        head, _, leaf = path.rpartition(".")
        setattr(self[head] if head else self, leaf, value)

    def to_flat_dict(self) -> dict[str, Any]:
        """Return the metadata that is set, by dotted path."""
        return flatten({"meta": self._content.tree.get("meta", {})})

    def has_in_asdf(self, path: str) -> bool:
        """Return whether the file's ASDF extension has a value for which no keyword has room.

        Nothing else is read of that extension.

        Parameters
        ----------
        path : str
            Such as ``meta.exposure.read_times``.

        Raises
        ------
        FileError
            When the extension seems to have it and cannot be read.
        """
        return any(has_value(hdu, path) for hdu in self._content.passed if hdu.name == ASDF)

    def misread(self, path: str) -> str | None:
        """Return what is wrong with the card of metadata that its value kept from being set.

        Returns
        -------
        str or None
            Such as ``NFRAMES = '1' is text; a whole number is needed``; None where the header has
            no such card, or the value was accepted.
        """
        spec = self.schema.keywords.get(path)
        if spec is None:
            return None
        value = get_path(self._content.tree, path)
        cards = self._content.extra.get(spec.hdu.upper(), ())
        refused = [v for keyword, v, _ in cards if keyword == spec.keyword and v is not None]
        if value is None and refused:
            value = refused[0]
        return None if value is None else misfit(spec, value)

    def search_schema(self, text: str) -> list[tuple[str, str]]:
        """Return (path, title) of everything in the schema that mentions ``text``."""
        return self.schema.search(text)

    def update(self, other: DataModel, only: Sequence[str] | None = None) -> None:
        """Take over another model's metadata: all that this schema names, or just some branches."""
        for path, value in other.to_flat_dict().items():
            inside = only is None or any(path == o or path.startswith(f"{o}.") for o in only)
            if inside and self.schema.lookup(path) is not None:
                set_path(self._content.tree, path, copying.deepcopy(value))

    def validate(self) -> None:
        """Check all metadata against the schema, as saving does.

        Raises
        ------
        ValidationError
            Under ``STRICT_VALIDATION``; otherwise a `ValidationWarning` is given.
        """
        validate_tree(self.schema, self._content.tree, self._where)

    def defer_meta(self, deferred: Deferred) -> None:
        """Let row counts decide some metadata when the model is saved."""
        self._content.deferred = (*self._content.deferred, deferred)

    # -- as a whole ---------------------------------------------------------------------------

    def copy(self) -> Self:
        """Return a model that shares the lazy graph and nothing else."""
        return self._shared()

    def get_primary_array_name(self) -> str:
        """Return the name of the primary array."""
        return self.primary

    def save(self, path: str | Location, **options: Any) -> Location:
        """Compute the model tile by tile into a FITS file; see `calbatch.models.saving.save`."""
        from calbatch.models.saving import save  # it saves DataModels

        return location(save([(self, location(path))], **options).products[0].path)

    def close(self) -> None:
        """Do nothing: no file stays open. Here for those who are used to closing models."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _summary(self) -> list[tuple[str, str]]:
        rows = []
        for name, spec in self.schema.fields.items():
            shape = self.shape_of(name)
            if shape is not None:
                kind = "table" if spec.is_table else str(spec.dtype)
                rows.append((name, f"{kind} {shape}  {spec.hdu}  {spec.title}".rstrip()))
        for path in ("telescope", "instrument.name", "instrument.detector", "exposure.type"):
            value = get_path(self._content.tree, f"meta.{path}")
            rows.extend([] if value is None else [(f"meta.{path}", str(value))])
        return rows

    def __repr__(self) -> str:
        head = f"<{type(self).__name__}{f' {self.path}' if self.path else ''}>"
        return "\n".join([head, *(f"  {name}: {text}" for name, text in self._summary())])

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for name, text in self._summary()
        )
        head = html.escape(f"{type(self).__name__} {self.path or ''}".strip())
        return f"<table><caption>{head}</caption>{cells}</table>"
