"""What a server answers, checked: its size, its form, and the types in it.

An answer is foreign: it may be an error page, cut short, or made to exhaust memory. Whatever is
wrong with one becomes a `ServerError` here.
"""

from __future__ import annotations

import ast
import base64
import json
import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from calbatch.crds_client.errors import ServerError

MAX_ANSWER = 32 * 2**20
"""Bytes of an answer, unpacked: the list of all JWST files takes some ten million."""

MAX_VALUES = 1_500_000
"""Values in an answer: that list has less than half as many. Each takes up to a hundred bytes."""

MAX_LITERAL_VALUES = 300_000
"""Values in a ``server_config``, whose syntax tree takes several times as much."""

_PIECE = 2**18


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What is known of a file before it is fetched.

    Attributes
    ----------
    size : int
        Bytes.
    sha1 : str
        Empty if not known.
    """

    size: int
    sha1: str


def parse_json(text: bytes) -> Any:
    """Return what a JSON text says.

    Raises
    ------
    ServerError
        If it is not JSON, or would take too much memory.
    """
    _check_size(text, MAX_VALUES)
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_refuse)
    except (ValueError, RecursionError, MemoryError) as error:
        raise ServerError(f"not JSON: {_error_text(error)}") from None


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _refuse(text: str) -> float:
    raise ValueError(f"{shorten(text, 30)} is no number")


def parse_literal(text: bytes) -> dict[str, Any]:
    """Return the dictionary that a ``server_config`` is, which is written as Python would.

    Raises
    ------
    ServerError
        If it is something else, or would take too much memory.
    """
    _check_size(text, MAX_LITERAL_VALUES)
    try:
        config = ast.literal_eval(text.decode())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ServerError(f"not a server configuration: {_error_text(error)}") from None
    if not isinstance(config, dict):
        raise ServerError(
            f"not a server configuration: a dictionary is wanted, {_describe_type(config)}"
        )
    return check_info(config)


def _check_size(text: bytes, most: int) -> None:
    """Refuse a text whose values would not fit; separators within strings count as well."""
    if len(text) > MAX_ANSWER:
        raise ServerError(f"longer than {MAX_ANSWER} bytes")
    values = sum(text.count(separator) for separator in (b",", b"[", b"{", b"("))
    if values > most:
        raise ServerError(f"has more than {most} values")


def decode_packed(value: Any) -> Any:
    """Unpack an answer that was packed for its length; others are returned as they are.

    Raises
    ------
    ServerError
        If it cannot be unpacked, or would take too much memory.
    """
    if not isinstance(value, dict) or "crds_encoded" not in value:
        return value
    try:
        packed = base64.b64decode(value["crds_payload"])
        text = _unzip(packed)
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise ServerError(f"a packed answer cannot be unpacked: {_error_text(error)}") from None
    try:
        return parse_json(text)
    except ServerError as error:
        raise ServerError(f"a packed answer cannot be unpacked: {error}") from None


def _unzip(packed: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    pieces, size = [], 0
    while not unpacker.eof:
        piece = unpacker.decompress(packed, _PIECE)
        packed, size = unpacker.unconsumed_tail, size + len(piece)
        if size > MAX_ANSWER:
            raise ValueError(f"longer than {MAX_ANSWER} bytes")
        if not (piece or packed or unpacker.eof):
            raise ValueError("cut short")
        pieces.append(piece)
    return b"".join(pieces)


# -- types -------------------------------------------------------------------------------------


def require_text(value: Any, what: str) -> str:
    """Return a value that has to be text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ServerError(f"{what} is to be text, {_describe_type(value)}")
    return value


def require_texts(value: Any, what: str) -> list[str]:
    """Return a value that has to be a list of texts."""
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise ServerError(f"{what} is to be a list, {_describe_type(value)}")
    for one in value:
        if not isinstance(one, str):
            raise ServerError(f"each of {what} is to be text, {_describe_type(one)}")
    return list(value)


def require_mapping(value: Any, what: str) -> dict[str, Any]:
    """Return a value that has to be a dictionary with texts as keys."""
    if not isinstance(value, dict):
        raise ServerError(f"{what} is to be a dictionary, {_describe_type(value)}")
    for key in value:
        require_text(key, f"each key of {what}")
    return value


_TEXTS = ("observatory", "operational_context", "latest_context", "edit_context")
_LISTS = ("bad_files_list",)


def check_info(info: Any) -> dict[str, Any]:
    """Return what a server says of itself, or its kept copy, if what is used of it is as it should.

    Absent entries and None are left to whoever needs them.

    Raises
    ------
    ServerError
        If an entry is of another type.
    """
    info = require_mapping(info, "what a server says of itself")
    for key in _TEXTS:
        if info.get(key) is not None:
            require_text(info[key], key)
    for key in _LISTS:
        if info.get(key) is not None:
            require_texts(info[key], key)
    return info


def file_descriptions(info: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the descriptions of all files that come with what a server says of itself.

    Raises
    ------
    ServerError
        If they cannot be unpacked, or are no dictionary.
    """
    found = decode_packed(info.get("download_metadata"))
    return {} if found is None else require_mapping(found, "download_metadata")


def parse_infos(described: Mapping[str, Any], names: Iterable[str]) -> dict[str, FileInfo]:
    """Take sizes and sums from a server's description of files.

    A file whose size is no number is taken for unknown.
    """
    infos = {}
    for name in names:
        entry = described.get(name)
        size = _size(entry.get("size")) if isinstance(entry, dict) else None
        if isinstance(entry, dict) and size is not None:
            sha1 = str(entry.get("sha1sum") or "").lower()
            infos[name] = FileInfo(size, sha1 if sha1 != "none" else "")
    return infos


def _size(value: Any) -> int | None:
    """Return a size in bytes; None if it is none that a file can have."""
    text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        return None
    return int(text)


def _describe_type(value: Any) -> str:
    """Say what was found in the place of what was wanted."""
    found = {type(None): "nothing", str: "text"}.get(type(value), type(value).__name__)
    return f"not {found}" if value != "" else "and is empty"


def _error_text(error: BaseException) -> str:
    """Return an error's message, as long as a line may be, or else its kind."""
    return shorten(str(error)) or type(error).__name__


def shorten(text: str, most: int = 300) -> str:
    """Return a foreign text as one line of limited length, for use in a message."""
    line = " ".join(text[: 4 * most].split())
    return line if len(line) <= most else f"{line[:most]} ..."
