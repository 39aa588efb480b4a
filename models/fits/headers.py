"""Conversion between FITS headers and metadata.

Metadata that the schema names have their places in the tree. All other cards are stored by HDU,
and written after those of the schema.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from calbatch.models.errors import (
    FileError,
    ModelError,
    ValidationError,
    ValidationWarning,
    escape_text,
)
from calbatch.models.fits.card_formats import (
    commentary,
    cut_comment,
    replace_unprintable,
    unwritable_reason,
)
from calbatch.models.fits.cards import COMMENTARY, Card, Unreadable, is_structural, read_cards
from calbatch.models.schema.spec import PRIMARY, KeywordSpec, Schema
from calbatch.models.schema.validate import (
    describe,
    is_enabled,
    misfit_reason,
    to_plain,
    validate_value,
    warn_or_raise,
)

if TYPE_CHECKING:
    from astropy.io import fits

_CARD_NAME = re.compile(r"[A-Z0-9_-]{1,8}")

#: Cards that no schema names, by HDU (see `hdu_keys`).
ExtraCards = dict[str, list[Card]]

#: A card, and its origin (see `trace_cards`).
TracedCard = tuple[Card, KeywordSpec | int | None]

#: The extension in which stdatamodels repeats all metadata, which are read from the headers.
ASDF = "ASDF"


def hdu_keys(hdus: Sequence[tuple[str, int]]) -> list[str]:
    """Return a distinct key for each HDU of a file.

    Parameters
    ----------
    hdus : sequence of (str, int)
        EXTNAME and EXTVER of each HDU, the primary HDU first.

    Returns
    -------
    list of str
        ``PRIMARY`` for the first HDU, ``SCI`` for version 1 of an extension, ``SCI,2`` for other
        versions, and ``#3`` for an HDU at index 3 without a name or with the key of an earlier HDU.
    """
    keys, known = [PRIMARY], {PRIMARY}
    for index, (name, version) in enumerate(hdus[1:], start=1):
        key = name.strip().upper() if version == 1 else f"{name.strip().upper()},{version}"
        keys.append(f"#{index}" if not name.strip() or key in known else key)
        known.add(keys[-1])
    return keys


def meta_from_headers(
    schema: Schema,
    headers: Sequence[tuple[str, int, fits.Header | str | Callable[[], Any]]],
    *,
    where: str = "",
    indices: Sequence[int] = (),
) -> tuple[dict[str, Any], ExtraCards]:
    """Read metadata from the headers of a file.

    Parameters
    ----------
    schema : Schema
        Names the metadata and their HDUs.
    headers : sequence of (str, int, Header or str or callable)
        EXTNAME, EXTVER and header of each HDU, the primary HDU first; or a function that returns
        the header, so that those of thousands of HDUs are not in memory together. The text of a
        header is read many times faster than astropy's object.
    where : str
        The file, for messages.
    indices : sequence of int
        The HDUs' indices in the file, for messages, unless the headers are those of all HDUs.

    Returns
    -------
    data : dict
        ``{"meta": {...}, "history": [...]}``, without history if there is none.
    extra : dict
        The cards that the schema does not name, or whose value it does not allow, by HDU, without
        those that describe the array or table below the header.

    Raises
    ------
    FileError
        If a card cannot be read.
    ValidationError
        If a value is invalid and ``STRICT_VALIDATION`` is set.

    Warns
    -----
    ValidationWarning
        For each invalid value.
    """
    data: dict[str, Any] = {"meta": {}}
    extra: ExtraCards = {}
    checked = is_enabled("VALIDATE_ON_ASSIGNMENT", default=True)
    keys = hdu_keys([(name, version) for name, version, _ in headers])
    places = zip(indices or range(len(keys)), keys, headers, strict=True)
    for index, key, (_, _, header) in places:
        if key == ASDF:
            continue
        try:
            read = read_cards(header() if callable(header) else header)
            found = _readable_cards(read, schema.by_card.get(key, {}), (index, key), where)
            cards = list(found)
        except FileError:
            raise
        except ModelError as error:
            raise FileError(where or "header", f"HDU {key}: {error}") from error
        unnamed = _sort_cards(schema.by_card.get(key, {}), cards, data, where if checked else None)
        if key == PRIMARY:
            unnamed = _take_history(unnamed, data)
        if unnamed:
            extra[key] = unnamed
    return data, extra


def _readable_cards(
    cards: Iterator[Card], named: Container[str], hdu: tuple[int, str], where: str
) -> Iterator[Card]:
    """Yield the cards with a readable value.

    For any other card, raise an error if the schema names it, and warn if not.
    """
    index, key = hdu
    for card in cards:
        keyword, value, _ = card
        if not isinstance(value, Unreadable):
            yield card
            continue
        fault = f"HDU {key}: {keyword} = {value.text} is not a valid FITS value"
        if keyword in named:
            place = f"FILE, {keyword!r}, ext={index}"
            raise FileError(
                where or "header",
                f"{fault}; set it with astropy.io.fits.setval({place}, value=VALUE), or remove it "
                f"with astropy.io.fits.delval({place})",
            )
        message = f"{where or 'header'}: {fault}; the card is dropped"
        warnings.warn(message, ValidationWarning, stacklevel=4)


def _sort_cards(
    specs: Mapping[str, tuple[KeywordSpec, ...]],
    cards: list[Card],
    data: dict[str, Any],
    where: str | None,
) -> list[Card]:
    """Set the metadata that the specs name, and return the other cards.

    Values are validated unless ``where``, the file's name for messages, is None.
    """
    unnamed = []
    seen = set()
    for card in cards:
        keyword, value, _ = card
        if keyword in specs:
            if keyword in seen:  # FITS readers use the first card
                continue
            seen.add(keyword)
            is_set = [_set(data, spec, value, where) for spec in specs[keyword]]
            if not all(is_set):
                unnamed.append(card)
        elif keyword and not is_structural(keyword):
            unnamed.append(card)
    return unnamed


def take_cards(
    specs: Mapping[str, tuple[KeywordSpec, ...]], cards: list[Card], data: dict[str, Any]
) -> list[Card]:
    """Move the cards of some keywords to a model's metadata, and return the other cards.

    Invalid values remain cards, without a warning, because the schema from which they come has
    already been applied.
    """
    left = []
    for card in cards:
        keyword, value, _ = card
        try:
            valid = [(spec, validate_value(spec, value)) for spec in specs.get(keyword, ())]
        except ValidationError:
            valid = []
        moved = [_set(data, spec, checked, None) for spec, checked in valid]
        if not (moved and all(moved)):
            left.append(card)
    return left


def misread_paths(schema: Schema, extra: Mapping[str, Sequence[Card]]) -> Iterator[str]:
    """Yield the paths of the metadata whose cards have a value that the schema does not allow."""
    for key, cards in extra.items():
        named = schema.by_card.get(key, {})
        for keyword, value, _ in cards:
            if keyword in named and value is not None:
                yield from (spec.path for spec in named[keyword])


def misread_reason(
    schema: Schema, data: Mapping[str, Any], extra: Mapping[str, Sequence[Card]], path: str
) -> str | None:
    """Return the reason why the schema does not allow the value of a path, or None.

    Parameters
    ----------
    schema : Schema
        Names the metadata.
    data, extra : mapping
        The metadata and the other cards, as returned by `meta_from_headers`.
    path : str
        Dotted path, such as ``meta.exposure.nframes``.
    """
    spec = schema.keywords.get(path)
    if spec is None:
        return None
    value = value_of(data, spec)
    cards = extra.get(spec.hdu.upper(), ())
    values = [v for keyword, v, _ in cards if keyword == spec.keyword and v is not None]
    if value is None and values:
        value = values[0]
    return None if value is None else misfit_reason(spec, value)


def user_card(schema: Schema, hdu: str, keyword: str, value: Any, comment: str = "") -> Card:
    """Return a header card for a keyword that the schema does not name.

    Raises
    ------
    ValidationError
        If FITS cannot hold the value, the schema names the keyword, or the keyword describes the
        array below the header.
    """
    name = keyword.strip().upper()
    where = f"header card {name} of {hdu}"
    if not _CARD_NAME.fullmatch(name):
        raise ValidationError(
            f"header card {keyword!r}: a keyword has 1 to 8 characters of A-Z, 0-9, '_' and '-'"
        )
    if name in COMMENTARY or is_structural(name):
        hint = "; see model.history" if name == "HISTORY" else ""
        raise ValidationError(f"{where}: is written with the file and cannot be set{hint}")
    specs = schema.by_card.get(hdu, {}).get(name)
    if specs:
        raise ValidationError(f"{where}: is model.{specs[0].path}; assign to that attribute")
    plain = to_plain(value)
    fault = unwritable_reason(plain)
    if fault is not None:
        raise ValidationError(f"{where} = {plain!r}: {fault}")
    return name, plain, replace_unprintable(comment)


def _set(data: dict[str, Any], spec: KeywordSpec, value: Any, where: str | None) -> bool:
    if value is None:
        return False
    if where is not None:
        try:
            value = validate_value(spec, value, where=where)
        except ValidationError as error:
            if not warn_or_raise(error):
                return False
    branch = data
    for part in spec.parts[:-1]:
        branch = branch.setdefault(part, {})
    branch[spec.parts[-1]] = value
    return True


def _take_history(cards: list[Card], data: dict[str, Any]) -> list[Card]:
    history, others = [], []
    for card in cards:
        keyword, value, _ = card
        if keyword == "HISTORY":
            history.append(value)
        else:
            others.append(card)
    if history:
        data["history"] = history
    return others


def cards_from_meta(
    schema: Schema, data: Mapping[str, Any], extra: Mapping[str, Sequence[Card]], hdu_name: str
) -> list[Card]:
    """Return the cards of an HDU's header, without those that describe its array or table.

    Parameters
    ----------
    schema : Schema
        Names the metadata of the HDU, in order.
    data : mapping
        ``{"meta": {...}, "history": [...]}``.
    extra : mapping
        The cards that no schema names, as returned by `meta_from_headers`.
    hdu_name : str
        The HDU's key, as returned by `hdu_keys`.

    Returns
    -------
    list of (str, Any, str)
        Keywords, values and comments. The metadata of the schema come first, in sections with
        titles as in stdatamodels, with the schema's titles as comments, cut to fit. Other cards
        follow, and in the primary HDU the history comes last.

    Warns
    -----
    ValidationWarning
        For each value that FITS cannot hold, which is dropped. Under ``STRICT_VALIDATION`` it is a
        `ValidationError`.
    """
    return [card for card, _ in trace_cards(schema, data, extra, hdu_name)]


def trace_cards(
    schema: Schema, data: Mapping[str, Any], extra: Mapping[str, Sequence[Card]], hdu_name: str
) -> list[TracedCard]:
    """Return the cards of an HDU's header as `cards_from_meta` does, each with its origin.

    The origin is the specification of a value of the metadata, the index of a card among ``extra``
    of the HDU, or None for titles and commentary.
    """
    key = hdu_name.upper()
    cards = list(_schema_cards(schema, data, key))
    keywords = {keyword for (keyword, _, _), _ in cards}
    for number, (keyword, value, comment) in enumerate(extra.get(key, ())):
        if keyword in COMMENTARY:
            cards += [(card, None) for card in commentary(keyword, str(value))]
        elif keyword not in keywords:
            cards.append((extra_card(keyword, value, comment), number))
    if key == PRIMARY:
        for entry in data.get("history", ()):
            cards += [(card, None) for card in commentary("HISTORY", str(entry))]
    return cards


def extra_card(keyword: str, value: Any, comment: str) -> Card:
    """Return the card to write for one that no schema names."""
    value = replace_unprintable(value) if isinstance(value, str) else value
    return keyword, value, cut_comment(value, replace_unprintable(comment))


def _schema_cards(schema: Schema, data: Mapping[str, Any], key: str) -> Iterator[TracedCard]:
    titled = set()
    for spec in schema.by_hdu.get(key, ()):
        value = value_of(data, spec)
        if value is None or spec.keyword is None:
            continue
        fault = unwritable_reason(value)
        if fault is not None:
            _refuse(spec, value, fault)
            continue
        for branch in spec.branches:
            if branch not in titled:
                titled.add(branch)
                yield from ((card, None) for card in _section(schema.branches.get(branch, "")))
        yield (spec.keyword, value, cut_comment(value, spec.title)), spec


def value_of(data: Mapping[str, Any], spec: KeywordSpec) -> Any:
    """Return the value of a keyword in nested metadata, or None."""
    value: Any = data
    for part in spec.parts:
        if not isinstance(value, (dict, Mapping)):  # nearly always a dict, which is found faster
            return None
        value = value.get(part)
    return value


def _section(title: str) -> list[Card]:
    return [("", "", ""), ("", title, ""), ("", "", "")] if title else []


def _refuse(spec: KeywordSpec, value: Any, fault: str) -> None:
    error = ValidationError(f"{describe(spec, value)}: {fault}")
    if is_enabled("STRICT_VALIDATION", default=False):
        raise error
    warnings.warn(escape_text(f"{error}; dropped"), ValidationWarning, stacklevel=4)
