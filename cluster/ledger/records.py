"""Rows of the ledger, as they are read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

FINAL = ("done", "kept", "failed", "quarantined")
"""States in which an exposure has an outcome."""

OPEN = ("waiting", "running", "retrying")
"""States in which it has none yet."""


class _Row:
    """A row of a table, made from a database's by the names of its columns."""

    _json: frozenset[str] = frozenset()
    _states: tuple[str, ...] = ()

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Return it as an object; JSON is decoded.

        Raises
        ------
        ValueError
            When a value is not of its column's type, which SQLite does not check, or is no state.
        """
        wanted = {f.name: str(f.type) for f in fields(cls)}  # type: ignore[arg-type]
        values = {n: _decoded(row[n]) if n in cls._json else row.get(n) for n in wanted}
        for name, kind in wanted.items():
            if not _fits(name, values[name], kind, cls._states):
                raise ValueError(f"{name} is {values[name]!r:.60}")
        return cls(**values)


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
"""By annotation, what a row's field may hold."""


_LATEST = 2.5e11
"""Seconds since 1970: later than that, there are no dates."""


def _fits(name: str, value: Any, kind: str, states: tuple[str, ...]) -> bool:
    """Return whether a value can be a field's, by its annotation."""
    if name == "state" and value not in states:
        return False
    if isinstance(value, float) and not abs(value) < _LATEST:  # nor if it is no number
        return False
    if kind.startswith("float") and isinstance(value, int) and not abs(value) < _LATEST:
        return False
    return isinstance(value, _TYPES[kind])


def _decoded(text: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None  # no field that is kept as JSON may be that


@dataclass(frozen=True)
class BatchRow(_Row):
    """A batch.

    Attributes
    ----------
    name : str
        By which users know it.
    state : str
        ``planned``, ``running``, ``done``, ``failed``, ``interrupted`` or ``cancelled``.
    request, parameters, software : mapping
        What was asked for; every parameter with its source; versions.
    host, pid
        The driver, the last one there was.
    beat : float
        When the driver last said that it lives.
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
    """A file that was written: its size, time and digest when it was."""

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
        Of the input's headers.
    content : str, optional
        Of all its bytes, or its version; see `calbatch.models.storage.files.content_digest`.
    note : str
        Why it is done, or is not.
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


@dataclass(frozen=True)
class AttemptRow(_Row):
    """One try at an exposure."""

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
    """Something remarkable about a batch."""

    time: float
    kind: str
    number: int | None
    text: str
