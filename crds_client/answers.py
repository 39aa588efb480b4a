"""Checks of a server's answers: their size, their form, and the types in them.

An answer may be an error page, cut short, or designed to exhaust memory. Every such fault becomes a
`ServerError` here.
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
"""Bytes of a decompressed answer: the list of all JWST files takes some ten million."""

MAX_VALUES = 1_500_000
"""Values in an answer: that list has fewer than half as many. Each takes up to 100 bytes."""

MAX_LITERAL_VALUES = 300_000
"""Values in a ``server_config``, whose syntax tree takes several times as much memory."""

_PIECE = 2**18


@dataclass(frozen=True, slots=True)
class FileInfo:
    """The description of a file that has not been fetched yet.

    Attributes
    ----------
    size : int
        Size in bytes.
    sha1 : str
        SHA-1 digest; empty if unknown.
    """

    size: int
    sha1: str


def parse_json(text: bytes) -> Any:
    """Return the value of a JSON text.

    Raises
    ------
    ServerError
        If the text is not JSON, or its value would take too much memory.
    """
    _check_size(text, MAX_VALUES)
    try:
        return json.loads(text, parse_float=_parse_finite, parse_constant=_refuse)
    except (ValueError, RecursionError, MemoryError) as error:
        raise ServerError(f"not JSON: {_error_text(error)}") from None


def _parse_finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _refuse(text: str) -> float:
    raise ValueError(f"{shorten(text, 30)} is not a number")


def parse_literal(text: bytes) -> dict[str, Any]:
    """Return the dictionary in a ``server_config``, which is a Python literal.

    Raises
    ------
    ServerError
        If the text is anything else, or its value would take too much memory.
    """
    _check_size(text, MAX_LITERAL_VALUES)
    try:
        config = ast.literal_eval(text.decode())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ServerError(f"not a server configuration: {_error_text(error)}") from None
    if not isinstance(config, dict):
        raise ServerError(
            f"not a server configuration: expected a dictionary, {_describe_type(config)}"
        )
    return check_info(config)


def _check_size(text: bytes, max_values: int) -> None:
    """Reject text with too many values; separators within strings are counted, too."""
    if len(text) > MAX_ANSWER:
        raise ServerError(f"longer than {MAX_ANSWER} bytes")
    values = sum(text.count(separator) for separator in (b",", b"[", b"{", b"("))
    if values > max_values:
        raise ServerError(f"has more than {max_values} values")


def decode_packed(value: Any) -> Any:
    """Decompress an answer that was compressed for its length; return others unchanged.

    Raises
    ------
    ServerError
        If the answer cannot be decompressed, or would take too much memory.
    """
    if not isinstance(value, dict) or "crds_encoded" not in value:
        return value
    try:
        packed = base64.b64decode(value["crds_payload"])
        text = _unzip(packed)
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise ServerError(
            f"a compressed answer cannot be decompressed: {_error_text(error)}"
        ) from None
    try:
        return parse_json(text)
    except ServerError as error:
        raise ServerError(f"a compressed answer cannot be decompressed: {error}") from None


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
    """Return a value, which must be a non-empty string."""
    if not isinstance(value, str) or not value:
        raise ServerError(f"{what}: expected text, {_describe_type(value)}")
    return value


def require_texts(value: Any, what: str) -> list[str]:
    """Return a value, which must be a list of strings."""
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise ServerError(f"{what}: expected a list, {_describe_type(value)}")
    for item in value:
        if not isinstance(item, str):
            raise ServerError(f"{what}: expected a list of text, {_describe_type(item)}")
    return list(value)


def require_mapping(value: Any, what: str) -> dict[str, Any]:
    """Return a value, which must be a dictionary with non-empty strings as keys."""
    if not isinstance(value, dict):
        raise ServerError(f"{what}: expected a dictionary, {_describe_type(value)}")
    for key in value:
        require_text(key, f"a key of {what}")
    return value


_TEXTS = ("observatory", "operational_context", "latest_context", "edit_context")
_LISTS = ("bad_files_list",)


def check_info(info: Any) -> dict[str, Any]:
    """Return a server's description of itself, after checking the entries that are used.

    Entries may be absent or None.

    Raises
    ------
    ServerError
        If an entry has the wrong type.
    """
    info = require_mapping(info, "the server's description of itself")
    for key in _TEXTS:
        if info.get(key) is not None:
            require_text(info[key], key)
    for key in _LISTS:
        if info.get(key) is not None:
            require_texts(info[key], key)
    return info


def file_descriptions(info: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the descriptions of all files in a server's description of itself.

    Raises
    ------
    ServerError
        If they cannot be decompressed, or are not a dictionary.
    """
    descriptions = decode_packed(info.get("download_metadata"))
    return {} if descriptions is None else require_mapping(descriptions, "download_metadata")


def parse_infos(descriptions: Mapping[str, Any], names: Iterable[str]) -> dict[str, FileInfo]:
    """Return the sizes and checksums in a server's descriptions of files.

    Files without a valid size are left out.
    """
    infos = {}
    for name in names:
        entry = descriptions.get(name)
        size = _size(entry.get("size")) if isinstance(entry, dict) else None
        if isinstance(entry, dict) and size is not None:
            sha1 = str(entry.get("sha1sum") or "").lower()
            infos[name] = FileInfo(size, sha1 if sha1 != "none" else "")
    return infos


def _size(value: Any) -> int | None:
    """Return a size in bytes; None if no file can have it."""
    text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        return None
    return int(text)


def _describe_type(value: Any) -> str:
    """Return a description of a value of the wrong type, for the end of a message."""
    if value == "":
        return "not an empty string"
    kind = {type(None): "nothing", str: "text"}.get(type(value), type(value).__name__)
    return f"not {kind}"


def _error_text(error: BaseException) -> str:
    """Return an error's message as one line; the name of its type if it has none."""
    return shorten(str(error)) or type(error).__name__


def shorten(text: str, max_length: int = 300) -> str:
    """Return foreign text as one line of limited length, for a message."""
    line = " ".join(text[: 4 * max_length].split())
    return line if len(line) <= max_length else f"{line[:max_length]} ..."
