"""Rows of the ledger as objects."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, NamedTuple, Self


class KnownHeader(NamedTuple):
    """The header of an input, read earlier."""

    digest: str
    header: dict[str, Any]


FINAL = ("done", "kept", "failed", "quarantined")
"""States of an exposure that has a final outcome."""

OPEN = ("waiting", "running", "retrying")
"""States of an exposure that has no final outcome yet."""

FAILED = ("failed", "quarantined")
"""States of an exposure without products."""


class _Row:
    """Base of row classes, whose fields are named like the columns of a table."""

    _json: frozenset[str] = frozenset()
    _states: tuple[str, ...] = ()

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Return an object for a row of the database; columns that hold JSON are decoded.

        Raises
        ------
        ValueError
            If a value has the wrong type, which SQLite does not check, or an unknown state.
        """
        types = _types_of(cls)  # type: ignore[arg-type]  # classes are hashable
        values = {n: _decode(row[n]) if n in cls._json else row.get(n) for n in types}
        for name, kind in types.items():
            if not _fits(name, values[name], kind, cls._states):
                raise ValueError(f"{name} is {values[name]!r:.60}")
        return cls(**values)


@cache
def _types_of(cls: type[_Row]) -> dict[str, str]:
    """Return the annotation of each field; a batch has a row for each exposure and member."""
    return {f.name: str(f.type) for f in fields(cls)}  # type: ignore[arg-type]


_TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str, type(None)),
    "int": (int,),
    "int | None": (int, type(None)),
    "float": (float, int),
    "float | None": (float, int, type(None)),
    "Sequence[str]": (list,),
    "Mapping[str, Any]": (dict,),
    "Mapping[str, str]": (dict,),
    "Mapping[str, float]": (dict,),
}
"""Accepted types of a field, by its annotation."""


_LATEST = 2.5e11
"""Upper limit of times, in seconds since 1970; later ones cannot be shown as dates."""


def _fits(name: str, value: Any, kind: str, states: tuple[str, ...]) -> bool:
    """Return whether a field with the annotation `kind` can have a value."""
    if name == "state" and value not in states:
        return False
    if isinstance(value, float) and not abs(value) < _LATEST:  # also rejects NaN
        return False
    if kind.startswith("float") and isinstance(value, int) and not abs(value) < _LATEST:
        return False
    return isinstance(value, _TYPES[kind])


def _decode(text: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None  # rejected by `_fits`


@dataclass(frozen=True)
class BatchRow(_Row):
    """A batch.

    Attributes
    ----------
    name : str
        The name shown to users.
    state : str
        ``planned``, ``running``, ``done``, ``failed``, ``interrupted`` or ``cancelled``.
    request, parameters, software : mapping
        The request; every parameter with its source; versions of software.
    host, pid
        Host and process id of the latest driver.
    beat : float, optional
        Time of the driver's latest heartbeat.
    """

    _json = frozenset({"request", "parameters", "software"})
    _states = ("planned", "running", "done", "failed", "interrupted", "cancelled")

    id: int
    name: str
    state: str
    reason: str
    pipeline: str
    request: Mapping[str, Any]
    parameters: Mapping[str, Any]
    software: Mapping[str, str]
    context: str
    context_reason: str
    site: str
    dashboard: str
    host: str
    pid: int
    total: int
    created: float
    started: float | None
    ended: float | None
    beat: float | None


@dataclass(frozen=True)
class ProductRow(_Row):
    """A product, with its size, modification time and digest when it was written."""

    path: str
    size: int
    mtime_ns: int
    digest: str


@dataclass(frozen=True)
class ExposureRow(_Row):
    """An exposure of a batch.

    Attributes
    ----------
    digest : str, optional
        Digest of the input's headers.
    content : str, optional
        Digest of the input's bytes, or its version; see
        `calbatch.models.storage.content_digests.content_digest`.
    note : str
        The reason why it was calibrated, or why it was not.
    pipeline, product : str, optional
        See `calbatch.cluster.exposure.unit.Unit`; None in older ledgers.
    members : int, optional
        Number of its members; 0 for a unit of one file.
    """

    _json = frozenset({"warnings", "stages"})
    _states = (*OPEN, *FINAL)

    id: int
    number: int
    path: str
    state: str
    reason: str
    note: str
    identity: str | None
    size: int | None
    mtime_ns: int | None
    digest: str | None
    content: str | None
    attempts: int
    deaths: int
    started: float | None
    ended: float | None
    seconds: float | None
    cpu: float | None
    peak: int | None
    warnings: Sequence[str]
    stages: Mapping[str, float]
    pipeline: str | None = None
    product: str | None = None
    members: int | None = None


@dataclass(frozen=True)
class MemberRow(_Row):
    """A member of a unit; see `calbatch.cluster.exposure.unit.Member`."""

    number: int
    role: str
    path: str
    maker: int | None
    optional: int


@dataclass(frozen=True)
class AttemptRow(_Row):
    """An attempt at an exposure."""

    number: int
    alone: int
    worker: str
    started: float | None
    ended: float | None
    seconds: float | None
    cpu: float | None
    peak: int | None
    result: str
    reason: str
    log: str


@dataclass(frozen=True)
class EventRow(_Row):
    """An event of a batch, such as a retry or a lost site."""

    time: float
    kind: str
    number: int | None
    text: str
