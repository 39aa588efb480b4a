"""Models of files that hold a tree of values, arrays and transforms."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from calbatch.models.errors import FileError, ValidationError, explain_errors
from calbatch.models.model import DataModel
from calbatch.models.saving import format_now
from calbatch.models.schema.meta import MetadataNode, set_path
from calbatch.models.schema.parts import check_part
from calbatch.models.schema.spec import Schema
from calbatch.models.schema.validate import check_assignment, warn_or_raise
from calbatch.models.storage.location import Location, Url, location
from calbatch.models.trees.tree_files import make_content, read_arrays_of, read_file, write_file
from calbatch.models.trees.tree_summary import as_html, as_text
from calbatch.models.trees.tree_views import show, store


class TreeModel(DataModel):
    """Metadata and parts of an ASDF or JSON file, named by a schema.

    Each part is an attribute: a value, a list, a branch, an array or a transform. An array in a
    binary block is read, and a transform is made, when it is asked for.

    Parameters
    ----------
    init : path, URL, TreeModel, mapping or None
        A file, of which no array in a block is read; a model, of which later assignments are not
        seen; or the tree, ``{"meta": {...}, "model": ...}``.
    schema : str, path or Schema, optional
        Schema to use instead of the class's own.
    **parts
        Parts by name.

    Raises
    ------
    FileError
        If the file is missing, damaged, or of another format than the schema's.
    ValidationError
        If a part does not fit the schema.
    """

    def __init__(
        self, init: Any = None, *, schema: str | Path | Schema | None = None, **parts: Any
    ) -> None:
        for name in ("copies", "layout"):  # of FITS files
            parts.pop(name, None)
        super().__init__(schema=schema)
        if isinstance(init, (str, Path, Url)):
            self._set_tree(location(init), *read_file(location(init)))
        elif isinstance(init, TreeModel):
            self._adopt(init)
        elif isinstance(init, Mapping):
            for name, value in init.items():
                setattr(self, name, value)
        elif init is not None:
            kind = type(init).__name__
            raise TypeError(
                f"{self._where}: is made from a file, a tree or such a model, not {kind}"
            )
        for name, value in parts.items():
            setattr(self, name, value)

    @classmethod
    def of_tree(cls, path: Location, stored_as: str, tree: Mapping[str, Any]) -> TreeModel:
        """Return the model of a file that has been read; see `tree_files.read_file`."""
        model = cls()
        model._set_tree(path, stored_as, tree)
        return model

    def _set_tree(self, path: Location, stored_as: str, tree: Mapping[str, Any]) -> None:
        self.path = path
        with explain_errors(path):
            self._content = make_content(path, self.schema, stored_as, tree)

    def _adopt(self, other: DataModel) -> None:
        """Share the content of another model of a tree."""
        if other.schema.stored_as != self.schema.stored_as:
            raise ValidationError(f"{self._where}: cannot be made from a {type(other).__name__}")
        self.path, self._content = other.path, other._content.copy()

    # -- parts as attributes ------------------------------------------------------------------

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts that are set."""
        names = (name for name in self._content.tree if name not in ("meta", "history"))
        return tuple(name for name in names if self._content.tree[name] is not None)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("schema", "path"):  # pickle asks before they are set
            raise AttributeError(name)
        if name in self.parts:
            return show(self._content.tree, name, self._where, name)
        if name in self.schema.parts:
            return None
        raise AttributeError(f"{type(self).__name__} has no {name!r}{self._hint(name)}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("schema", "path", "_content") or hasattr(type(self), name):
            if name == "meta":
                self._set_meta(value)
            else:
                object.__setattr__(self, name, value)
            return
        spec = self.schema.parts.get(name)
        if spec is None and name not in self.parts:
            raise AttributeError(f"{type(self).__name__} has no {name!r}{self._hint(name)}")
        try:
            plain = store(value)
            stored = plain if spec is None else check_part(spec.node, plain, name, self._where)
        except ValidationError as error:
            if not warn_or_raise(error):
                return
            stored = store(value)
        set_path(self._content.tree, name, stored)

    def _set_meta(self, value: Any) -> None:
        accepted, plain = self._check("meta", value)
        if accepted:
            self._content.tree["meta"] = plain

    def _branch(self, name: str) -> MetadataNode:
        return MetadataNode(self._content.tree, self.schema, name, self._check)

    def _check(self, path: str, value: Any) -> tuple[bool, Any]:
        """Validate an assignment to metadata, of units as text."""
        return check_assignment(self.schema, path, store(value), where=self._where)

    def _hint(self, name: str) -> str:
        near = difflib.get_close_matches(name, [*self.schema.parts, *self.parts], 1)
        return f"; did you mean {near[0]!r}?" if near else ""

    def __dir__(self) -> Iterator[str]:
        return iter(sorted({*super().__dir__(), *self.parts, *self.schema.parts}))

    def has(self, name: str) -> bool:
        """Return whether a part is set."""
        return name in self.parts

    def set_card(
        self, keyword: str, value: Any, comment: str = "", *, hdu: str = "PRIMARY"
    ) -> None:
        """Raise `ValidationError`: trees have no header cards."""
        raise ValidationError(f"{self._where}: has no header cards, where {keyword} could be")

    # -- as a whole ---------------------------------------------------------------------------

    def validate(self) -> None:
        """Check all metadata and parts against the schema, as saving does.

        Raises
        ------
        ValidationError
            If a required part is missing or, under ``STRICT_VALIDATION``, anything is invalid.

        Warns
        -----
        ValidationWarning
            For each invalid value otherwise.
        """
        tree, meta = self._content.tree, self.meta
        for path, value in meta.items():
            if f"meta.{path}" in self.schema.keywords:
                check_assignment(self.schema, f"meta.{path}", value, where=self._where)
        for name, spec in self.schema.parts.items():
            if spec.required and tree.get(name) is None:
                raise ValidationError(f"{self._where}: {name} is required")
            try:
                check_part(spec.node, tree.get(name), name, self._where)
            except ValidationError as error:
                warn_or_raise(error)

    def save(self, path: str | Location, *, date: str | None = None, **options: Any) -> Location:
        """Write the model to a file of its format, ASDF or JSON; parts that no schema names, too.

        Parameters
        ----------
        path : path
            The file, which is replaced if it exists.
        date : str, optional
            Value of ``meta.date`` of ASDF, for reproducible files; by default the current time.
        **options
            Accepted because FITS models have them, and without effect.

        Raises
        ------
        FileError
            If the place is a URL or not writable, or an array cannot be read any more.
        ValidationError
            If the model is invalid, or no installed package can store one of its objects.
        """
        target = location(path)
        if isinstance(target, Url):
            raise FileError(target, "trees are saved to this machine only")
        ending = f".{self.schema.stored_as}"
        if target.suffix != ending:
            raise FileError(target, f"a {type(self).__name__} is saved as a file *{ending}")
        self.validate()
        self._content.tree = read_arrays_of(self._content.tree, target)
        tree = dict(self._content.tree)
        tree["meta"] = self._meta_of_file(target, date)
        try:
            write_file(target, self.schema, tree)
        except OSError as error:
            raise FileError(target, f"cannot be written: {error.strerror or error}") from error
        return target

    def _meta_of_file(self, path: Path, date: str | None) -> dict[str, Any]:
        meta = self.meta.copy()
        if self.schema.stored_as == "asdf":
            own = {"filename": path.name, "model_type": type(self).__name__}
            meta |= {**own, "date": date or format_now()}
        return meta

    def __repr__(self) -> str:
        return as_text(self, self.path)

    def _repr_html_(self) -> str:
        return as_html(self, self.path)
