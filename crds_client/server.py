"""The CRDS server's protocol: JSON-RPC for questions, plain addresses for files.

Source: PyPI ``crds`` 14.0.3, ``client.api`` and ``client.proxy``. A question is POSTed to
``<server>/json/<method>/<id>/``; long answers come gzipped and in base64 (``crds_encoded``).
"""

from __future__ import annotations

import base64
import functools
import html
import json
import os
import uuid
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import IO, Any

from calbatch.crds_client.cache import check_name, is_mapping
from calbatch.crds_client.errors import ServerError
from calbatch.crds_client.transport import Refused, Transient, open_url, persistently

_MAX_ANSWER = 512 * 2**20
"""Bytes: the list of all JWST files takes some ten million."""


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


def _setting(name: str, default: float) -> float:
    try:
        return float(os.environ.get(name, default))
    except ValueError:
        return default


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server, and how often to ask again.

    Attributes
    ----------
    timeout : float
        Seconds without any answer.
    attempts : int
        At least one.
    delay : float
        Seconds before the second attempt; doubled before each further one.
    """

    timeout: float = 60.0
    attempts: int = 4
    delay: float = 1.0

    @classmethod
    def from_environment(cls) -> Patience:
        """Read the variables of the official client; what they do not say is our default."""
        return cls(
            timeout=_setting("CRDS_CLIENT_TIMEOUT_SECONDS", cls.timeout),
            attempts=max(1, int(_setting("CRDS_CLIENT_RETRY_COUNT", cls.attempts))),
            delay=_setting("CRDS_CLIENT_RETRY_DELAY_SECONDS", cls.delay),
        )


class Server:
    """A CRDS server.

    Parameters
    ----------
    url : str
        As in ``CRDS_SERVER_URL``.
    observatory : str
        ``jwst``, ``roman`` or ``hst``.
    patience : Patience, optional
        By default as the environment says.
    """

    def __init__(
        self, url: str, observatory: str = "jwst", patience: Patience | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self.observatory = observatory
        self.patience = patience or Patience.from_environment()

    def __str__(self) -> str:
        return self.url

    def call(self, method: str, *parameters: Any) -> Any:
        """Ask a question.

        Raises
        ------
        ServerError
            If the server cannot be reached, or answers with an error.
        """
        identity = f"calbatch-{uuid.uuid4()}"
        question = {"jsonrpc": "1.0", "method": method, "params": parameters, "id": identity}
        body = json.dumps(question).encode()
        url = f"{self.url}/json/{method}/{identity}/"
        try:
            patience = self.patience
            text = persistently(lambda: self._post(url, body), patience.attempts, patience.delay)
        except (Transient, Refused) as error:
            raise ServerError(f"CRDS server {self.url}, {method}: {error}") from None
        return self._result(method, text)

    def _post(self, url: str, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        with open_url(url, data=body, headers=headers, timeout=self.patience.timeout) as response:
            try:
                answer = response.read(_MAX_ANSWER + 1)
            except (OSError, ValueError) as error:
                raise Transient(str(error)) from None
        if len(answer) > _MAX_ANSWER:
            raise Refused("the answer is too long")
        return answer

    def _result(self, method: str, text: bytes) -> Any:
        try:
            answer = json.loads(text)
            error, result = answer.get("error"), answer.get("result")
        except (ValueError, AttributeError, RecursionError):
            raise ServerError(
                f"CRDS server {self.url}, {method}: the answer is not JSON-RPC"
            ) from None
        if error:
            message = error.get("message") if isinstance(error, dict) else error
            raise ServerError(f"CRDS server {self.url}, {method}: {html.unescape(str(message))}")
        return crds_decode(result)

    @functools.cached_property
    def info(self) -> dict[str, Any]:
        """What the server says of itself; asked once."""
        info = self.call("get_server_info")
        if not isinstance(info, dict):
            raise ServerError(f"CRDS server {self.url}: get_server_info is not a dictionary")
        if info.get("observatory", self.observatory) != self.observatory:
            raise ServerError(
                f"CRDS server {self.url} is {info['observatory']}'s, not {self.observatory}'s"
            )
        return {**info, "server": self.url}

    def default_context(self, state: str) -> str:
        """Give the context in use (``latest``) or in preparation (``edit``)."""
        return str(self.call("get_default_context", self.observatory, state))

    def build_context(self, version: str) -> str:
        """Give the context of a release of the calibration software."""
        return str(self.call("get_build_context", self.observatory, version))

    def context_by_date(self, date: str) -> str:
        """Give the context in use at a date."""
        return str(self.call("get_context_by_date", date, self.observatory))

    def mapping_names(self, context: str) -> list[str]:
        """List all rules files of a context."""
        return [check_name(str(name)) for name in self.call("get_mapping_names", context)]

    def required_parameters(self, context: str) -> dict[str, list[str]]:
        """Give what the rules need of headers, by instrument."""
        return {
            str(instrument).lower(): [str(name) for name in names]
            for instrument, names in self.call("get_required_parkeys", context).items()
        }

    def best_references(
        self, context: str, header: Mapping[str, str], types: Iterable[str] | None
    ) -> dict[str, Any]:
        """Have the server choose references: type to name, or ``NOT FOUND`` and a reason."""
        wanted = None if types is None else list(types)
        return dict(self.call("get_best_references", context, dict(header), wanted))

    def file_infos(self, names: Iterable[str]) -> dict[str, FileInfo]:
        """Give sizes and sums; files that the server does not know are left out."""
        wanted = list(names)
        known = parse_infos(self._all_infos, wanted)
        if unknown := [name for name in wanted if name not in known]:
            known |= parse_infos(self._asked_infos(unknown), unknown)
        return known

    def _asked_infos(self, names: list[str]) -> Mapping[str, Any]:
        fields = ["size", "sha1sum"]
        try:
            answer = self.call("get_file_info_map", self.observatory, sorted(names), fields)
        except ServerError:
            if not self._all_infos:
                raise
            return {}  # it has told all it knows, and may call other names an error
        return answer if isinstance(answer, dict) else {}

    @functools.cached_property
    def _all_infos(self) -> Mapping[str, Any]:
        return crds_decode(self.info.get("download_metadata")) or {}

    def open_file(self, name: str, offset: int) -> tuple[int, IO[bytes]]:
        """Begin to fetch a file; gives where the response begins, and the response.

        Raises
        ------
        Transient, Refused
            By the kind of fault.
        """
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        headers["Accept-Encoding"] = "identity"
        response = open_url(self._address(name), headers=headers, timeout=self.patience.timeout)
        resumed = getattr(response, "status", 200) == 206
        return offset if resumed else 0, response

    def _address(self, name: str) -> str:
        section = "mapping_url" if is_mapping(name) else "reference_url"
        bases = self.info.get(section, {})
        if isinstance(bases, dict):
            bases = bases.get("unchecked", bases)
        base = bases.get(self.observatory) if isinstance(bases, dict) else bases
        if not base:
            raise Refused(f"CRDS server {self.url} gives no {section}")
        return f"{str(base).rstrip('/')}/{check_name(name)}"


def parse_infos(described: Mapping[str, Any], names: Iterable[str]) -> dict[str, FileInfo]:
    """Take sizes and sums from a server's description of files."""
    infos = {}
    for name in names:
        entry = described.get(name)
        if isinstance(entry, dict) and str(entry.get("size", "")).isdigit():
            sha1 = str(entry.get("sha1sum", "")).lower()
            infos[name] = FileInfo(int(entry["size"]), sha1 if sha1 != "none" else "")
    return infos


def crds_decode(value: Any) -> Any:
    """Unpack an answer that was packed for its length; others are returned as they are.

    Raises
    ------
    ServerError
        If it cannot be unpacked.
    """
    if not isinstance(value, dict) or "crds_encoded" not in value:
        return value
    try:
        packed = base64.b64decode(value["crds_payload"])
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        text = unpacker.decompress(packed, _MAX_ANSWER)
        return json.loads(text if unpacker.eof else b"")  # cut short, or too long
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise ServerError(f"a packed answer cannot be unpacked: {error}") from None
