"""Conversion of metadata and header cards between the schemas of two model classes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from calbatch.models.arrays import ModelContent
from calbatch.models.errors import ValidationError
from calbatch.models.fits.headers import take_cards
from calbatch.models.schema.meta import get_path, set_path
from calbatch.models.schema.spec import KeywordSpec, Schema


def translate(content: ModelContent, old: Schema, new: Schema) -> None:
    """Move metadata from the places of one schema to those of another.

    Metadata that only the old schema names become header cards, and cards that only the new one
    names become metadata, so that both are written when the model is saved.

    Raises
    ------
    ValidationError
        If the files of one schema are FITS, and those of the other hold trees.
    """
    if old is new:
        return
    if old.stored_as != new.stored_as:
        formats = old.stored_as.upper(), new.stored_as.upper()
        raise ValidationError(
            f"a model of {formats[0]} files cannot become one of {formats[1]} files"
        )
    for spec in _only_in(old, new):
        value = get_path(content.tree, spec.path)
        if value is None:
            continue
        set_path(content.tree, spec.path, None)
        if spec.keyword is not None:
            content.extra.setdefault(spec.hdu.upper(), []).append((spec.keyword, value, spec.title))
    fresh: dict[str, dict[str, tuple[KeywordSpec, ...]]] = {}
    for spec in _only_in(new, old):
        cards = fresh.setdefault(spec.hdu.upper(), {})
        cards[spec.keyword or ""] = (*cards.get(spec.keyword or "", ()), spec)
    for hdu, specs in fresh.items():
        if hdu in content.extra:
            content.extra[hdu] = take_cards(specs, content.extra[hdu], content.tree)
            _drop_if_empty(content.extra, hdu)


@lru_cache(maxsize=64)
def _only_in(one: Schema, other: Schema) -> tuple[KeywordSpec, ...]:
    return tuple(spec for path, spec in one.keywords.items() if path not in other.keywords)


def _drop_if_empty(extra: dict[str, list[Any]], hdu: str) -> None:
    if not extra[hdu]:
        del extra[hdu]
