"""Units of work: a file, or several inputs, some of which are products of other units."""

from __future__ import annotations

from typing import NamedTuple

from calbatch.models.storage.location import Location

SCIENCE = "science"
"""Role of the inputs that are calibrated; the first of them is a unit's main input."""

ORDER = ""
"""Role of a member that is only waited for."""


class Member(NamedTuple):
    """One input of a unit.

    Attributes
    ----------
    role : str
        Its role, such as ``science`` or ``background``; `ORDER` if it is only waited for.
    path : str
        The file, or where its maker will write it.
    maker : int, optional
        Number of the unit that makes it; None for a file.
    optional : bool
        True if the unit is calibrated without it when its maker fails or does not make it.
    """

    role: str
    path: str
    maker: int | None = None
    optional: bool = False


class Unit(NamedTuple):
    """A unit of a batch that is more than one file.

    Attributes
    ----------
    number, path
        Its position in the batch, and its path: the main input, or the association.
    members : tuple of Member
        Its inputs, and the units that it waits for.
    pipeline : str
        The part of the batch's chain of pipelines that it runs; "" for the whole.
    product : str
        Name of its products, without suffix; "" to name them after the main input.
    """

    number: int
    path: Location
    members: tuple[Member, ...]
    pipeline: str = ""
    product: str = ""

    @property
    def makers(self) -> tuple[int, ...]:
        """Numbers of the units that it waits for, each once."""
        return tuple(dict.fromkeys(m.maker for m in self.members if m.maker is not None))

    def needs(self, maker: int) -> bool:
        """Return whether it cannot do without the products of a maker."""
        return any(m.maker == maker and not m.optional for m in self.members)


class UnitInput(NamedTuple):
    """An input file of a unit, as it was when the unit was planned.

    Attributes
    ----------
    role, path
        Its role and its file.
    size, mtime_ns : int
        Its size and modification time.
    """

    role: str
    path: Location
    size: int
    mtime_ns: int


class AssociationKeywords(NamedTuple):
    """The names that products record of their association.

    Attributes
    ----------
    table : str
        The name of its file (ASNTABLE).
    pool : str
        The pool of exposures from which it was made (ASNPOOL); "" if it names none.
    """

    table: str
    pool: str
