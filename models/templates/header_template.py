"""Headers of files of one kind: cards that are formatted once, and slots for those that differ."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from itertools import groupby
from typing import Any, NamedTuple

from calbatch.models.errors import ModelError
from calbatch.models.fits.card_formats import (
    cut_comment,
    end_header,
    format_card,
    unwritable_reason,
)
from calbatch.models.fits.cards import Card
from calbatch.models.fits.headers import extra_card
from calbatch.models.schema.spec import KeywordSpec
from calbatch.models.schema.validate import describe, validate_value


class CardSlot(NamedTuple):
    """A card whose value differs from file to file.

    Attributes
    ----------
    place : hashable
        Identifies the value among those of a file.
    origin : KeywordSpec or Card
        The specification of the keyword or, if no schema names it, the card of the sample file.
    """

    place: Hashable
    origin: KeywordSpec | Card

    def make_card(self, value: Any) -> Card:
        """Return the card with a value, as `calbatch.models.fits.headers.place_cards` makes it.

        Raises
        ------
        ModelError
            If the schema does not allow the value, or FITS cannot hold it.
        """
        if not isinstance(self.origin, KeywordSpec):
            keyword, _, comment = self.origin
            return extra_card(keyword, value, comment)
        value = validate_value(self.origin, value)
        fault = unwritable_reason(value)
        if fault is not None:
            raise ModelError(f"{describe(self.origin, value)}: {fault}")
        return self.origin.keyword or "", value, cut_comment(value, self.origin.title)


class HeaderTemplate:
    """A header without the values that differ from file to file.

    Parameters
    ----------
    where : str
        The HDU, for messages.
    cards : iterable of Card
        All cards of the header but END, in order, of any file.
    slots : mapping
        The slots in place of those whose values differ, by the `id` of the card.

    Raises
    ------
    ModelError
        If one of these cards is not among the others.
    """

    def __init__(self, where: str, cards: Iterable[Card], slots: Mapping[int, CardSlot]) -> None:
        self._where = where
        self._pieces: list[str | CardSlot] = []
        for is_slot, group in groupby(cards, lambda card: id(card) in slots):
            if is_slot:
                self._pieces += [slots[id(card)] for card in group]
            else:
                self._pieces.append("".join(format_card(where, card) for card in group))
        if sum(isinstance(piece, CardSlot) for piece in self._pieces) < len(slots):
            raise ModelError(f"{where}: a card that differs from file to file is not in the header")

    def fill(self, values: Mapping[Any, Any]) -> bytes:
        """Return the blocks of a header with the values of a file, by their places.

        Raises
        ------
        ModelError
            If one cannot be written.
        """
        return end_header(
            "".join(
                piece
                if isinstance(piece, str)
                else format_card(self._where, piece.make_card(values[piece.place]))
                for piece in self._pieces
            )
        )
