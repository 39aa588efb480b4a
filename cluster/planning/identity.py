"""What makes an exposure the same work as before: input, parameters, references, software.

Equal identity and intact products mean that there is nothing to do.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import json
import platform
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from calbatch import __version__
from calbatch.calibrate.parameters import Override
from calbatch.calibrate.step import Step

_OURS = ("calbatch.calibrate", "calbatch.models")
"""The packages that decide what products hold."""

_TOLD = ("calbatch", "numpy", "numba", "dask", "distributed", "astropy")


def digest(value: Any) -> str:
    """Return the SHA-256 of a value, by its JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def parameters_of(step: Step) -> dict[str, dict[str, list[str]]]:
    """Return each section's parameters as text, with where the values came from."""
    return {
        section: {
            name: [one.parameters()[name].text(value), source]
            for name, (value, source) in one.parameter_values().items()
        }
        for section, one in {"": step, **step.steps()}.items()
    }


_ELSEWHERE = ("output_dir",)
"""Parameters that do not change what products hold; a ledger belongs to its folder."""


def settings_digest(step: Step, date: str | None) -> str:
    """Return what a step's parameters and code come to, wherever their values are from."""
    values = {
        section: {n: value for n, (value, _) in found.items() if n not in _ELSEWHERE}
        for section, found in parameters_of(step).items()
    }
    code = {section: _code(type(one)) for section, one in {"": step, **step.steps()}.items()}
    return digest([values, code, date, __version__])


def _code(cls: type) -> list[str]:
    """Return a class's name, and a digest of the source that it and its bases are made of."""
    found = [f"{cls.__module__}.{cls.__qualname__}"]
    for base in cls.__mro__:
        if base.__module__.startswith("calbatch."):
            return [*found, _own_sources()]
        if base is not object:
            found.append(_source(base))
    return found


def _source(cls: type) -> str:
    try:
        text = Path(inspect.getfile(cls)).read_bytes()
    except (TypeError, OSError):  # typed into an interpreter or a notebook
        try:
            text = inspect.getsource(cls).encode()
        except (TypeError, OSError):
            return uuid.uuid4().hex  # never the same as before, for all that we know
    return hashlib.sha256(text).hexdigest()


@cache
def _own_sources() -> str:
    total = hashlib.sha256()
    for package in _OURS:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            for path in sorted(Path(folder).rglob("*")):
                if path.suffix in (".py", ".yaml"):
                    total.update(path.relative_to(folder).as_posix().encode())
                    total.update(path.read_bytes())
    return total.hexdigest()


def software() -> dict[str, str]:
    """Return the versions of what calibrates."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in _TOLD:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def overrides_of(step: Step) -> dict[str, str]:
    """Return each override of a reference, by its parameter: a path, ``N/A``, or a model's kind."""
    found = {}
    for one in (step, *step.steps().values()):
        for name, parameter in one.parameters().items():
            value = getattr(one, name)
            if isinstance(parameter, Override) and value is not None:
                path = getattr(value, "path", value)  # a model, or a path
                found[f"{one.name}.{name}"] = str(path or f"<{type(value).__name__} in memory>")
    return found


class Sums:
    """SHA-1 sums of reference files, each taken once, beside the work.

    Parameters
    ----------
    known : callable
        Returns the sum of a file of some path, size and time, where it was taken before.
    keep : callable
        Told each sum that is taken: path, size, time, sum.
    """

    def __init__(
        self,
        known: Callable[[str, int, int], str | None],
        keep: Callable[[str, int, int, str], None],
    ) -> None:
        self._known, self._keep = known, keep
        self._pool = ThreadPoolExecutor(1, "reference-sums")
        self._found: dict[str, Future[str]] = {}
        self._guard = threading.Lock()

    def want(self, path: str) -> Future[str]:
        """Have a file's sum taken, now or soon; ``N/A``, or a model in memory, is its own."""
        with self._guard:
            if path not in self._found:
                self._found[path] = self._pool.submit(self._taken, path)
            return self._found[path]

    def _taken(self, path: str) -> str:
        if path == "N/A" or path.startswith("<"):
            return path
        try:
            status = Path(path).stat()
            found = self._known(path, status.st_size, status.st_mtime_ns)
            if found is None:
                with Path(path).open("rb") as file:
                    found = hashlib.file_digest(file, "sha1").hexdigest()
                self._keep(path, status.st_size, status.st_mtime_ns, found)
        except OSError as error:  # its exposures fail, with a better reason
            return f"unreadable: {error.strerror}"
        return found

    def of(self, files: Mapping[str, str]) -> dict[str, str]:
        """Return reference type to sum, waiting for those that are not taken yet."""
        wanted = {kind: self.want(path) for kind, path in files.items()}
        return {kind: future.result() for kind, future in wanted.items()}

    def close(self) -> None:
        """Take no more sums."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def identity(
    source: tuple[str, int, int, str], settings: str, references: Mapping[str, Sequence[str]]
) -> str:
    """Return the identity of an exposure.

    Parameters
    ----------
    source : (str, int, int, str)
        The input's path, size, time of last change and header digest.
    settings : str
        By `settings_digest`.
    references : mapping
        Type to name, which products tell, and checksum.
    """
    return digest([list(source), settings, dict(references)])
