"""FITS headers in, metadata out, and back.

Metadata that the schema names goes to its place in the tree; every other card is kept, HDU by HDU,
and written back after the schema's own.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from astropy.io import fits

from calbatch.models.errors import (
    FileError,
    ModelError,
    ValidationError,
    ValidationWarning,
    escape_text,
)
from calbatch.models.fits.cards import (
    COMMENTARY,
    Card,
    Unreadable,
    commentary,
    cut_comment,
    is_structural,
    read_cards,
    replace_unprintable,
    unwritable_reason,
)
from calbatch.models.schema.spec import PRIMARY, KeywordSpec, Schema
from calbatch.models.schema.validate import (
    describe,
    is_enabled,
    to_plain,
    validate_value,
    warn_or_raise,
)

_CARD_NAME = re.compile(r"[A-Z0-9_-]{1,8}")

#: Cards that no schema names, by HDU (see `hdu_keys`).
ExtraCards = dict[str, list[Card]]

#: The extension in which stdatamodels repeats all metadata as ASDF: it is read from the headers.
ASDF = "ASDF"


def hdu_keys(hdus: Sequence[tuple[str, int]]) -> list[str]:
    """Return a distinct name for every HDU of a file.

    Parameters
    ----------
    hdus : sequence of (str, int)
        EXTNAME and EXTVER of each, the primary HDU first.

    Returns
    -------
    list of str
        ``PRIMARY`` for the first, ``SCI`` for version 1 of an extension, ``SCI,2`` for others, and
        ``#3`` for the HDU at index 3 where it has no name, or one that is taken.
    """
    keys = [PRIMARY]
    for index, (name, version) in enumerate(hdus[1:], start=1):
        key = name.strip().upper() if version == 1 else f"{name.strip().upper()},{version}"
        keys.append(f"#{index}" if not name.strip() or key in keys else key)
    return keys


def meta_from_headers(
    schema: Schema,
    headers: Sequence[tuple[str, int, fits.Header | str]],
    *,
    where: str = "",
) -> tuple[dict[str, Any], ExtraCards]:
    """Read metadata from the headers of a file.

    Parameters
    ----------
    schema : Schema
        What to look for, and in which HDU.
    headers : sequence of (str, int, Header or str)
        EXTNAME, EXTVER and header of every HDU, the primary first. The text of a header is read
        many times faster than a header that astropy made of it.
    where : str
        The file, for messages.

    Returns
    -------
    data : dict
        ``{"meta": {...}, "history": [...]}``; history only where there is some.
    extra : dict
        The cards that the schema does not name, or whose value it does not allow, by HDU. Cards
        that describe the array or table below the header are left out.

    Raises
    ------
    FileError
        When a card cannot be read.
    ValidationError
        When a value is not allowed and ``STRICT_VALIDATION`` is set.

    Warns
    -----
    ValidationWarning
        For each value that the schema does not allow.
    """
    data: dict[str, Any] = {"meta": {}}
    extra: ExtraCards = {}
    checked = is_enabled("VALIDATE_ON_ASSIGNMENT", default=True)
    keys = hdu_keys([(name, version) for name, version, _ in headers])
    for index, (key, (_, _, header)) in enumerate(zip(keys, headers, strict=True)):
        if key == ASDF:
            continue
        try:
            found = _readable_cards(
                read_cards(header), schema.by_card.get(key, {}), (index, key), where
            )
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
    """Yield the cards that have a value; refuse others that the schema names, warn of the rest."""
    index, key = hdu
    for card in cards:
        keyword, value, _ = card
        if not isinstance(value, Unreadable):
            yield card
            continue
        fault = f"HDU {key}: {keyword} = {value.text} is no value that a FITS header can hold"
        if keyword in named:
            place = f"FILE, {keyword!r}, ext={index}"
            raise FileError(
                where or "header",
                f"{fault}; set it with astropy.io.fits.setval({place}, value=VALUE), or remove it "
                f"with astropy.io.fits.delval({place})",
            )
        message = f"{where or 'header'}: {fault}; the card is left out"
        warnings.warn(message, ValidationWarning, stacklevel=4)


def _sort_cards(
    specs: Mapping[str, tuple[KeywordSpec, ...]],
    cards: list[Card],
    data: dict[str, Any],
    where: str | None,
) -> list[Card]:
    """Put what the specs name into the data, and return the other cards; None: do not check."""
    unnamed = []
    seen = set()
    for card in cards:
        keyword, value, _ = card
        if keyword in specs:
            if keyword in seen:  # FITS readers take the first of two
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
    """Move the cards that some keywords name into a model's metadata; return the other cards.

    Values that the schema does not allow stay cards, without a word: they were told of, or
    allowed, where they come from.
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


def user_card(schema: Schema, hdu: str, keyword: str, value: Any, comment: str = "") -> Card:
    """Return a header card of a user's own, ready to be kept beside what the schema names.

    Raises
    ------
    ValidationError
        When FITS cannot hold it, or it has a place of its own: in the metadata, or in what
        describes the array below the header.
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
        raise ValidationError(f"{where}: is model.{specs[0].path}; assign to that")
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
    history = [value for keyword, value, _ in cards if keyword == "HISTORY"]
    if history:
        data["history"] = history
    return [card for card in cards if card[0] != "HISTORY"]


def cards_from_meta(
    schema: Schema, data: Mapping[str, Any], extra: Mapping[str, Sequence[Card]], hdu_name: str
) -> list[Card]:
    """Return the cards of one HDU's header, all but those that describe its array or table.

    Parameters
    ----------
    schema : Schema
        Which metadata this HDU has, in which order.
    data : mapping
        ``{"meta": {...}, "history": [...]}``.
    extra : mapping
        The cards that no schema names, as `meta_from_headers` returns them.
    hdu_name : str
        The HDU's name, as `hdu_keys` gives it.

    Returns
    -------
    list of (str, Any, str)
        Keyword, value, comment: what the schema names, each section below its title as
        stdatamodels has it, with the titles for comments, cut to fit; then the other cards; in
        the primary HDU HISTORY last.

    Warns
    -----
    ValidationWarning
        For each value that FITS cannot hold; it is left out. Under ``STRICT_VALIDATION`` it is a
        `ValidationError`.
    """
    key = hdu_name.upper()
    cards = _schema_cards(schema, data, key)
    written = {keyword for keyword, _, _ in cards}
    for keyword, value, comment in extra.get(key, ()):
        if keyword in COMMENTARY:
            cards += commentary(keyword, str(value))
        elif keyword not in written:
            value = replace_unprintable(value) if isinstance(value, str) else value
            cards.append((keyword, value, cut_comment(value, replace_unprintable(comment))))
    if key == PRIMARY:
        for entry in data.get("history", ()):
            cards += commentary("HISTORY", str(entry))
    return cards


def _schema_cards(schema: Schema, data: Mapping[str, Any], key: str) -> list[Card]:
    cards: list[Card] = []
    titled = set()
    for spec in schema.by_hdu.get(key, ()):
        value = _get(data, spec)
        if value is None or spec.keyword is None:
            continue
        fault = unwritable_reason(value)
        if fault is not None:
            _refuse(spec, value, fault)
            continue
        for branch in spec.branches:
            if branch not in titled:
                titled.add(branch)
                cards += _section(schema.branches.get(branch, ""))
        cards.append((spec.keyword, value, cut_comment(value, spec.title)))
    return cards


def _get(data: Mapping[str, Any], spec: KeywordSpec) -> Any:
    value: Any = data
    for part in spec.parts:
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def _section(title: str) -> list[Card]:
    return [("", "", ""), ("", title, ""), ("", "", "")] if title else []


def _refuse(spec: KeywordSpec, value: Any, fault: str) -> None:
    error = ValidationError(f"{describe(spec, value)}: {fault}")
    if is_enabled("STRICT_VALIDATION", default=False):
        raise error
    warnings.warn(escape_text(f"{error}; left out"), ValidationWarning, stacklevel=4)
