"""The items of a file's lists, whose headers are read when an item is first used."""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass

from calbatch.models._stored_fields import header_cards, match_fields, place_fields
from calbatch.models.arrays import ModelContent
from calbatch.models.errors import FileError, explain_errors
from calbatch.models.fits.asdf_extension import AsdfPlace
from calbatch.models.fits.cards import read_cards
from calbatch.models.fits.headers import ASDF, meta_from_headers
from calbatch.models.fits.layout import Hdu, Layout
from calbatch.models.fits.readers import CopyProvider
from calbatch.models.schema.spec import PRIMARY, Schema
from calbatch.models.storage.location import Location

_MOST_ITEMS = 10_000


@dataclass(frozen=True, kw_only=True)
class UnreadItem:
    """An item of a list that has not been used yet.

    Attributes
    ----------
    path : Path or Url
        The file.
    schema : Schema
        The contents of the item.
    name, index : str, int
        The name of the list, and the item's index in it.
    by_name : mapping
        The item's HDUs by name.
    of_file : mapping
        The keywords of the file's own metadata in the item's extensions, by extension.
    extension : Hdu, optional
        The file's ASDF extension.
    copies : CopyProvider, optional
        As for `calbatch.models.opening.load_content`.
    """

    path: Location
    schema: Schema
    name: str
    index: int
    by_name: Mapping[str, Hdu]
    of_file: Mapping[str, Container[str]]
    extension: Hdu | None = None
    copies: CopyProvider | None = None

    @property
    def hdus(self) -> tuple[Hdu, ...]:
        """The item's HDUs."""
        return tuple(self.by_name.values())

    def check(self) -> None:
        """Raise an error if an HDU does not fit the schema; metadata are not read."""
        with self._naming():
            for _ in match_fields(self.path, self.schema, self._find):
                pass

    def load(self) -> ModelContent:
        """Return the item's content, without reading pixels.

        Raises
        ------
        FileError
            If a header cannot be read, or the shapes of arrays contradict each other.
        """
        with explain_errors(self.path), self._naming():
            headers = [(hdu.name, 1, header_cards(hdu)) for hdu in self.hdus]
            tree, extra = meta_from_headers(
                self.schema,
                [(PRIMARY, 1, ""), *headers],  # an item has nothing in the primary header
                where=f"{self.path}: {self._label}",
                indices=[0, *(hdu.index for hdu in self.hdus)],
            )
            for name in extra.keys() & self.of_file.keys():
                extra[name] = [c for c in extra[name] if c[0] not in self.of_file[name]]
            content = ModelContent(tree=tree, extra=extra)
            fields = dict(match_fields(self.path, self.schema, self._find))
            place_fields(self.path, self.schema, content, fields, self.copies)
        if self.extension is not None:
            content.place = AsdfPlace(self.extension, self.name, self.index, self.schema)
        return content

    def text(self, path: str) -> str | None:
        """Return the text at a dotted path of the metadata, reading no other card."""
        spec = self.schema.keywords[path]
        hdu = self._find(spec.hdu)
        if hdu is None or spec.keyword is None:
            return None
        cards = read_cards(hdu.find_card(spec.keyword))
        return next((str(value) for _, value, _ in cards if value is not None), None)

    def _find(self, name: str) -> Hdu | None:
        return self.by_name.get(name.upper())

    @property
    def _label(self) -> str:
        return f"{self.name}[{self.index}]"

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        """Add the item to errors about its file."""
        try:
            yield
        except FileError as error:
            raise type(error)(error.path, f"{self._label}: {error.message}") from error


def find_items(
    path: Location, schema: Schema, layout: Layout, copies: CopyProvider | None = None
) -> dict[str, list[UnreadItem]]:
    """Return the items of each list of a schema, by the EXTVER of their HDUs.

    A number without HDUs, below that of another item, is an empty item. Of several HDUs with the
    same name and EXTVER, the first counts.

    Raises
    ------
    FileError
        If an HDU does not fit the schema, or an EXTVER is absurd.
    """
    asdf = layout.find(ASDF) if schema.lists else None
    lists = {}
    for name, spec in schema.lists.items():
        found = _hdus_by_item(layout, spec.item.hdus)
        count = max(found, default=0)
        if count > _MOST_ITEMS:
            raise FileError(path, f"EXTVER = {count} is absurd: the items of {name} are numbered")
        lists[name] = [
            UnreadItem(
                path=path,
                schema=spec.item,
                name=name,
                index=index,
                by_name=found.get(index + 1, {}),
                of_file=schema.by_card if index == 0 else {},
                extension=asdf,
                copies=copies,
            )
            for index in range(count)
        ]
        for item in lists[name]:
            item.check()
    return lists


def _hdus_by_item(layout: Layout, names: frozenset[str]) -> dict[int, dict[str, Hdu]]:
    found: dict[int, dict[str, Hdu]] = {}
    for hdu in layout.hdus[1:]:
        if hdu.name in names and hdu.version > 0:
            found.setdefault(hdu.version, {}).setdefault(hdu.name, hdu)
    return found
