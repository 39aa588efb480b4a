"""A CRDS cache on disk, in the observatories' own layout.

``mappings/<observatory>/`` holds the rules, ``references/<observatory>/`` the references, flat or
in one folder per instrument, and ``config/<observatory>/`` the server's last description of itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import uuid
from pathlib import Path
from typing import Any

from calbatch.crds_client.answers import MAX_ANSWER, parse_literal
from calbatch.crds_client.errors import (
    ContextError,
    CrdsError,
    ReferenceMissing,
    ServerError,
    UnsafeName,
)
from calbatch.models.storage.files import read_small_file

log = logging.getLogger(__name__)

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,254}")
_CONTEXT = re.compile(r"[a-z]+_(\d{4,})\.pmap")
_MAPPING_SUFFIXES = (".pmap", ".imap", ".rmap")


def check_name(name: str) -> str:
    """Return a name unless it is a path or would lead outside the cache.

    Raises
    ------
    UnsafeName
        If it is not a plain file name.
    """
    if not _SAFE_NAME.fullmatch(name) or ".." in name:
        raise UnsafeName(f"{name!r} is not the plain name of a file in a CRDS cache")
    return name


def is_mapping(name: str) -> bool:
    """Return whether a file contains rules."""
    return name.endswith(_MAPPING_SUFFIXES)


def _read(path: Path) -> bytes:
    """Return the content of a file of a cache, which others may be able to write to."""
    return read_small_file(path, MAX_ANSWER)


def replace_text(path: Path, text: str) -> None:
    """Write a small file atomically."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with part.open("x", encoding="utf-8") as file:  # never through a link
            file.write(text)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _bad_files(info: dict[str, Any]) -> list[str]:
    """Return the files that a server has withdrawn as scientifically invalid."""
    names = info.get("bad_files_list")
    return [str(name) for name in names] if isinstance(names, list | tuple) else []


class Cache:
    """The cache of one observatory's files.

    Parameters
    ----------
    root : path
        The folder, as in ``CRDS_PATH``.
    observatory : str
        ``jwst``, ``roman`` or ``hst``.
    behind : Cache, optional
        Another cache, perhaps read-only, that is searched for the files missing in this one.
    """

    def __init__(
        self, root: str | Path, observatory: str = "jwst", behind: Cache | None = None
    ) -> None:
        self.root = Path(root).expanduser().absolute()
        self.observatory = observatory
        self.mappings = self.root / "mappings" / observatory
        self.references = self.root / "references" / observatory
        self.config = self.root / "config" / observatory
        self.behind = behind

    def __str__(self) -> str:
        return f"{self.root} (before {self.behind})" if self.behind else str(self.root)

    @property
    def read_only(self) -> bool:
        """True if nothing may be written, by ``CRDS_READONLY_CACHE`` or by permissions."""
        if os.environ.get("CRDS_READONLY_CACHE", "").upper() in ("1", "T", "TRUE", "Y", "YES"):
            return self.behind is None  # an overlay exists to be written to
        return self.root.exists() and not os.access(self.root, os.W_OK)

    @property
    def layout(self) -> str:
        """``flat``, or ``instrument`` for one folder per instrument."""
        try:
            mode = _read(self.config / "ref_cache_subdir_mode").strip()
        except OSError:
            return "instrument"
        return "flat" if mode == b"flat" else "instrument"

    def new_path(self, name: str) -> Path:
        """Return the path of a new file.

        Raises
        ------
        UnsafeName
            If the name is not a plain file name.
        """
        check_name(name)
        if is_mapping(name):
            return self.mappings / name
        folders = self._instrument_folders(name)
        return folders[-1] / name if self.layout == "instrument" else self.references / name

    def checked_new_path(self, name: str) -> Path:
        """Return the path of a new file, after checking that its folder is inside the cache.

        Raises
        ------
        UnsafeName
            If its folder is a link that leads outside the cache.
        """
        place = self.new_path(name)
        self._check_inside(place.parent, self.mappings if is_mapping(name) else self.references)
        return place

    def find(self, name: str) -> Path | None:
        """Return the path of a file in either layout; None if it is not in the cache.

        Raises
        ------
        UnsafeName
            If the name, or a link of that name, leads outside the cache.
        """
        check_name(name)
        folders = [self.mappings] if is_mapping(name) else self._instrument_folders(name)
        for folder in reversed(folders):
            path = folder / name
            if path.is_file():
                self._check_inside(path, self.mappings if is_mapping(name) else self.references)
                return path
        return self.behind.find(name) if self.behind else None

    def locate(self, name: str) -> Path:
        """Return the path of a file in the cache.

        Raises
        ------
        ReferenceMissing
            If the file is not in the cache; the message says how to fetch it.
        UnsafeName
            See `find`.
        """
        path = self.find(name)
        if path is None:
            raise ReferenceMissing(name, str(self))
        return path

    def read_mapping(self, name: str) -> str:
        """Return the text of a rules file.

        Raises
        ------
        ReferenceMissing, CrdsError
            If the file is not in the cache, or cannot be read.
        """
        path = self.locate(name)
        try:
            return _read(path).decode().replace("\r\n", "\n").replace("\r", "\n")
        except (OSError, UnicodeDecodeError) as error:
            raise CrdsError(f"{path}: {_reason(error)}") from None

    def contexts(self) -> list[str]:
        """Return the contexts in the cache, the latest last."""
        names = {path.name for path in self.mappings.glob(f"{self.observatory}_*.pmap")}
        names.update(self.behind.contexts() if self.behind else ())
        numbered = [(int(match[1]), match[0]) for n in names if (match := _CONTEXT.fullmatch(n))]
        return [name for _, name in sorted(numbered)]

    def server_config(self) -> dict[str, Any]:
        """Return the server's last description of itself; empty if none was saved.

        Raises
        ------
        ContextError
            If the file is damaged.
        """
        path = self.config / "server_config"
        try:
            return parse_literal(_read(path))
        except FileNotFoundError:
            return self.behind.server_config() if self.behind else {}
        except (OSError, ServerError) as error:
            reason = f"{path}: {_reason(error)}"
            raise ContextError(f"{reason}; remove it to ask the server again") from None

    def bad_files(self) -> frozenset[str]:
        """Return the files that the observatory has withdrawn as scientifically invalid.

        Raises
        ------
        ContextError
            If there is a list that cannot be read: withdrawn files must not be used in silence.
        """
        path = self.config / "bad_files.txt"
        try:
            return frozenset(_read(path).decode(errors="replace").split())
        except FileNotFoundError:
            if self.behind is not None and not (self.config / "server_config").exists():
                return self.behind.bad_files()
            return frozenset(_bad_files(self.server_config()))
        except OSError as error:
            reason = f"{path}: the list of withdrawn files cannot be read: {_reason(error)}"
            raise ContextError(f"{reason}; remove it to use the server's description") from None

    def save_config(self, info: dict[str, Any]) -> None:
        """Save the server's description of itself for offline use, as the official client does.

        A cache that cannot be written to is left unchanged.
        """
        bad = "\n".join(_bad_files(info))
        try:
            config = "".join(f" {key!r}: {value!r},\n" for key, value in info.items())
            config = f"{{\n{config}}}\n"
            parse_literal(config.encode())
        except (ServerError, RecursionError) as error:
            log.warning("%s: the server's description of itself cannot be saved: %s", self, error)
            return
        files = {"server_config": config, "bad_files.txt": bad}
        if not (self.config / "ref_cache_subdir_mode").exists():
            files["ref_cache_subdir_mode"] = self.layout
        with contextlib.suppress(OSError):
            if not self.read_only:
                self.config.mkdir(parents=True, exist_ok=True)
                for name, text in files.items():
                    replace_text(self.config / name, text)

    def _instrument_folders(self, name: str) -> list[Path]:
        """Return the folders that may contain a reference: the flat one, then its instrument's."""
        parts = name.split("_")
        if parts[0] == self.observatory and len(parts) > 2:
            return [self.references, self.references / parts[1]]
        return [self.references]

    def _check_inside(self, path: Path, folder: Path) -> None:
        """Reject links that lead outside the cache; its owner may link the top folders."""
        real = path.resolve()
        if not any(real.is_relative_to(top.resolve()) for top in (self.root, folder)):
            raise UnsafeName(f"{path}: is a link to {real}, outside the cache")
