"""The identity of an exposure: a digest of its input, parameters, code and references.

An exposure whose identity is in the ledger, and whose products are intact, is not calibrated again.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import platform
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.metadata import PackageNotFoundError, version
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from calbatch.calibrate.numerics import EARLIER_RELEASE, EARLIER_SOURCES, NUMERICS_VERSION
from calbatch.calibrate.parameters import InputFile, Override
from calbatch.calibrate.step import Step
from calbatch.cluster.planning.checksum_memory import ChecksumMemory, FileState
from calbatch.models.threads import ThreadPool

_REPORTED = ("calbatch", "numpy", "numba", "dask", "distributed", "astropy")


def json_digest(value: Any) -> str:
    """Return the SHA-256 of a value's JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def parameters_of(step: Step) -> dict[str, dict[str, list[str]]]:
    """Return the parameters of each section as text, with the sources of their values."""
    return {s: _texts(part) for s, part in {"": step, **step.steps()}.items()}


def _texts(step: Step) -> dict[str, list[str]]:
    declared = step.parameters()
    return {
        name: [declared[name].text(value), source]
        for name, (value, source) in step.parameter_values().items()
    }


_ELSEWHERE = ("output_dir",)
"""Parameters that do not change the contents of products."""


def settings_digest(step: Step, date: str | None) -> str:
    """Return a digest of a step's parameter values and code, regardless of the values' sources.

    calbatch's own classes are named without their module, which may move.
    """
    numerics = f"numerics {NUMERICS_VERSION}"
    code = {
        section: _code(cls, f"calbatch {cls.__qualname__}" if _is_ours(cls) else None, numerics)
        for section, cls in _classes(step).items()
    }
    return json_digest([_values(step), code, date])


def earlier_settings_digests(step: Step, date: str | None) -> list[str]:
    """Return the digests of the same settings from before numerics had a version."""
    values, classes = _values(step), _classes(step).items()
    return [
        json_digest(
            [values, {s: _code(c, None, sources) for s, c in classes}, date, EARLIER_RELEASE]
        )
        for sources in EARLIER_SOURCES
    ]


def _values(step: Step) -> dict[str, dict[str, str]]:
    return {
        section: {n: value for n, (value, _) in values.items() if n not in _ELSEWHERE}
        for section, values in parameters_of(step).items()
    }


def _classes(step: Step) -> dict[str, type[Step]]:
    return {section: type(part) for section, part in {"": step, **step.steps()}.items()}


def _code(cls: type, name: str | None, numerics: str) -> list[str]:
    """Return a class's name, digests of the user's source files, and the version of ours."""
    foreign = takewhile(lambda base: not _is_ours(base), cls.__mro__)  # all derive from Step
    return [name or f"{cls.__module__}.{cls.__qualname__}", *map(_source, foreign), numerics]


def _is_ours(cls: type) -> bool:
    return cls.__module__.startswith("calbatch.")


def _source(cls: type) -> str:
    try:
        text = Path(inspect.getfile(cls)).read_bytes()
    except (TypeError, OSError):  # typed into an interpreter or a notebook
        try:
            text = inspect.getsource(cls).encode()
        except (TypeError, OSError):
            return uuid.uuid4().hex  # unknown source: treated as always changed
    return hashlib.sha256(text).hexdigest()


def software() -> dict[str, str]:
    """Return the versions of Python, calbatch and the libraries that calibrate."""
    versions = {"python": platform.python_version(), "machine": platform.machine()}
    for name in _REPORTED:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "unknown"
    return versions


def overrides_of(step: Step) -> dict[str, str]:
    """Return overrides of references, and other files that steps read, by parameter.

    They are paths, ``N/A``, or a model's class.
    """
    overrides = {}
    for section, part in {step.name: step, **step.steps()}.items():
        for name, parameter in part.parameters().items():
            value = getattr(part, name)
            if isinstance(parameter, (Override, InputFile)) and value is not None:
                path = getattr(value, "path", value)  # the value is a model or a path
                overrides[f"{section}.{name}"] = str(path or f"<{type(value).__name__} in memory>")
    return overrides


@dataclass(frozen=True)
class SummedReferences:
    """The references of an exposure with their checksums.

    Attributes
    ----------
    body : mapping
        Path and checksum by type, as the ledger stores them.
    """

    body: Mapping[str, Sequence[str]]

    @cached_property
    def key(self) -> str:
        """Digest of the body."""
        return json_digest(self.body)

    @cached_property
    def names(self) -> Mapping[str, Sequence[str]]:
        """Name and checksum by type."""
        return {kind: [Path(path).name, total] for kind, (path, total) in self.body.items()}


MOST_SETS = 256
"""Maximum number of sets of references that are remembered; most exposures of a batch share few."""


class ReferenceChecksums:
    """SHA-1 checksums of reference files, each computed once, in the background.

    Parameters
    ----------
    find : callable
        Returns the checksum recorded for a path, size and modification time; None if there is none.
    record : callable
        Records a checksum: path, size, modification time, checksum.
    memory : ChecksumMemory, optional
        Checksums from other batches.
    """

    def __init__(
        self,
        find: Callable[[str, int, int], str | None],
        record: Callable[[str, int, int, str], None],
        memory: ChecksumMemory | None = None,
    ) -> None:
        self._find, self._record, self._memory = find, record, memory
        self._pool = ThreadPool(1, "reference-sums")
        self._found: dict[str, Future[str]] = {}
        self._guard = threading.Lock()
        self._wait_for = lru_cache(MOST_SETS)(self._sum_up)

    def schedule(self, path: str) -> Future[str]:
        """Start computing a file's checksum; ``N/A`` and models in memory stand for themselves."""
        with self._guard:
            if path not in self._found:
                self._found[path] = self._pool.submit(self._compute, path)
            return self._found[path]

    def _compute(self, path: str) -> str:
        if path == "N/A" or path.startswith("<"):
            return path
        try:
            status = Path(path).stat()
            checksum = self._find(path, status.st_size, status.st_mtime_ns)
            if checksum is None:
                checksum = self._recall(path, status) or self._read(path)
                self._record(path, status.st_size, status.st_mtime_ns, checksum)
        except OSError as error:  # the exposures that use it fail with a better message
            return f"unreadable: {error.strerror}"
        return checksum

    def _recall(self, path: str, status: os.stat_result) -> str | None:
        return self._memory.find(path, FileState.of(status)) if self._memory else None

    def _read(self, path: str) -> str:
        with Path(path).open("rb") as file:
            before = FileState.of(os.fstat(file.fileno()))
            is_settled = before.is_settled()  # before reading, which may take long
            checksum = hashlib.file_digest(file, "sha1").hexdigest()
            unchanged = FileState.of(os.fstat(file.fileno())) == before
        if self._memory and is_settled and unchanged:
            self._memory.add(path, before, checksum)
        return checksum

    def wait_for(self, files: Mapping[str, str]) -> SummedReferences:
        """Return files by reference type with their checksums, after waiting for these."""
        return self._wait_for(tuple(files.items()))

    def _sum_up(self, files: Sequence[tuple[str, str]]) -> SummedReferences:
        futures = [(kind, path, self.schedule(path)) for kind, path in files]
        return SummedReferences({kind: [path, future.result()] for kind, path, future in futures})

    def close(self) -> None:
        """Cancel checksums that have not been started, wait for the one that has, and save all."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._memory:
            self._memory.save()


class InputVersion(NamedTuple):
    """An input file as it was when its header was read."""

    path: str
    size: int
    mtime_ns: int
    header_digest: str


def identity(
    source: InputVersion,
    settings: str,
    references: Mapping[str, Sequence[str]],
    members: Sequence[Any] = (),
) -> str:
    """Return the identity of an exposure.

    Parameters
    ----------
    source : InputVersion
        The input.
    settings : str
        The step's `settings_digest`.
    references : mapping
        Name and checksum of each reference, by type. Products record the names.
    members : sequence
        For a unit with members: values that identify them, with the identities of their makers.
    """
    values = [list(source), settings, dict(references)]
    return json_digest([*values, list(members)] if members else values)
