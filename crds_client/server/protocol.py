"""The CRDS server's protocol: JSON-RPC for questions, plain URLs for files.

A question is POSTed to ``<server>/json/<method>/<id>/``. Long answers are gzipped and encoded in
base64 (``crds_encoded``). Source: PyPI ``crds`` 14.0.3, ``client.api`` and ``client.proxy``.
"""

from __future__ import annotations

import functools
import html
import json
import math
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from calbatch.crds_client.answers import (
    MAX_ANSWER,
    FileInfo,
    check_info,
    decode_packed,
    file_descriptions,
    parse_infos,
    parse_json,
    require_mapping,
    require_text,
    require_texts,
    shorten,
)
from calbatch.crds_client.cache.layout import check_name, is_mapping
from calbatch.crds_client.errors import ServerError, UnsafeName
from calbatch.crds_client.server.transport import (
    RefusedError,
    TransientError,
    open_url,
    read_answer,
    retry,
)

_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")

_ADVICE = "; check CRDS_SERVER_URL, try again later, or work offline with CRDS_MODE=local"


def _setting(name: str, default: float) -> float:
    try:
        value = float(os.environ.get(name, default))
    except ValueError:
        return default
    return value if math.isfinite(value) and value >= 0 else default


@dataclass(frozen=True)
class Patience:
    """Time limit and retries of requests to a server.

    Attributes
    ----------
    timeout : float
        Longest silence, in seconds.
    attempts : int
        Number of attempts, at least one.
    delay : float
        Seconds before the second attempt, doubled before each further one.
    """

    timeout: float = 60.0
    attempts: int = 4
    delay: float = 1.0

    @classmethod
    def from_environment(cls) -> Patience:
        """Return the values of the official client's variables, otherwise the defaults."""
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
        Its URL, as in ``CRDS_SERVER_URL``.
    observatory : str
        ``jwst``, ``roman`` or ``hst``.
    patience : Patience, optional
        Time limit and retries; by default from the environment.
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
        """Ask the server a question and return its answer.

        Raises
        ------
        ServerError
            If the server cannot be reached, answers with an error, or does not answer in JSON-RPC.
        """
        identity = f"calbatch-{uuid.uuid4()}"
        question = {"jsonrpc": "1.0", "method": method, "params": parameters, "id": identity}
        body = json.dumps(question).encode()
        patience = self.patience
        with self._error_context(method):
            url = f"{self.url}/json/{method}/{identity}/"
            text = retry(lambda: self._post(url, body), patience.attempts, patience.delay)
            return self._result(text)

    @contextmanager
    def _error_context(self, method: str) -> Iterator[None]:
        """Add the server, the question and a remedy to the messages of errors."""
        try:
            yield
        except (ServerError, TransientError, RefusedError, UnsafeName) as error:
            kind = UnsafeName if isinstance(error, UnsafeName) else ServerError
            raise kind(f"CRDS server {self.url}, {method}: {error}{_ADVICE}") from None

    def _post(self, url: str, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        with open_url(url, data=body, headers=headers, timeout=self.patience.timeout) as response:
            return read_answer(response, MAX_ANSWER, self.patience.timeout)

    def _result(self, text: bytes) -> Any:
        try:
            answer = require_mapping(parse_json(text), "an answer")
        except ServerError as error:
            raise ServerError(f"the answer is not JSON-RPC: {error}") from None
        if fault := answer.get("error"):
            message = fault.get("message") if isinstance(fault, dict) else fault
            raise ServerError(shorten(html.unescape(shorten(str(message)))))
        return decode_packed(answer.get("result"))

    @functools.cached_property
    def info(self) -> dict[str, Any]:
        """The server's description of itself; requested once."""
        method = "get_server_info"
        info = self.call(method)
        with self._error_context(method):
            info = check_info(info)
            observatory = info.get("observatory") or self.observatory
            if observatory != self.observatory:
                raise ServerError(f"the server is {observatory}'s, not {self.observatory}'s")
        return {**info, "server": self.url}

    def _context(self, method: str, *parameters: str) -> str:
        answer = self.call(method, *parameters)
        with self._error_context(method):
            name = check_name(require_text(answer, "a context"))
            if not name.endswith(".pmap"):
                raise ServerError(f"expected the name of a .pmap, not {name}")
            return name

    def default_context(self, state: str) -> str:
        """Return the context in use (``latest``) or in preparation (``edit``)."""
        return self._context("get_default_context", self.observatory, state)

    def build_context(self, version: str) -> str:
        """Return the context of a release of the calibration software."""
        return self._context("get_build_context", self.observatory, version)

    def context_by_date(self, date: str) -> str:
        """Return the context that was in use at a date."""
        return self._context("get_context_by_date", date, self.observatory)

    def mapping_names(self, context: str) -> list[str]:
        """Return the names of a context's rules files."""
        answer = self.call("get_mapping_names", context)
        with self._error_context("get_mapping_names"):
            return [check_name(name) for name in require_texts(answer, "the names of rules")]

    def selection_parameters(self, context: str) -> dict[str, list[str]]:
        """Return the parameters by which the rules select, by instrument."""
        answer = self.call("get_required_parkeys", context)
        with self._error_context("get_required_parkeys"):
            parameters = require_mapping(answer, "the parameters by instrument")
            return {one.lower(): require_texts(names, one) for one, names in parameters.items()}

    def best_references(
        self, context: str, header: Mapping[str, str], types: Iterable[str] | None
    ) -> dict[str, Any]:
        """Return the references that the server selects.

        Returns
        -------
        dict
            By type: a name, a list of names, ``NOT FOUND`` and a reason, or None.
        """
        type_names = None if types is None else list(types)
        method = "get_best_references"
        answer = self.call(method, context, dict(header), type_names)
        with self._error_context(method):
            references = require_mapping(answer, "the references by type")
            for kind, value in references.items():
                if value is not None:
                    (require_texts if isinstance(value, list) else require_text)(value, kind)
        return references

    def file_infos(self, names: Iterable[str]) -> dict[str, FileInfo]:
        """Return sizes and checksums of the files that the server knows."""
        wanted = list(names)
        infos = parse_infos(self._all_infos, wanted)
        if unknown := [name for name in wanted if name not in infos]:
            infos |= parse_infos(self._request_infos(unknown), unknown)
        return infos

    def _request_infos(self, names: list[str]) -> Mapping[str, Any]:
        method, fields = "get_file_info_map", ["size", "sha1sum"]
        try:
            answer = self.call(method, self.observatory, sorted(names), fields)
        except ServerError:
            if not self._all_infos:
                raise
            return {}  # the catalogue is known, and unknown names may be errors
        with self._error_context(method):
            return require_mapping(answer, "the descriptions of files")

    @functools.cached_property
    def _all_infos(self) -> Mapping[str, Any]:
        info = self.info
        with self._error_context("get_server_info"):
            return file_descriptions(info)

    @contextmanager
    def open_file(self, name: str, offset: int) -> Iterator[tuple[int, IO[bytes]]]:
        """Request a file from an offset; see `calbatch.crds_client.fetching.Source.open_file`."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        headers["Accept-Encoding"] = "identity"
        url, timeout = self._address(name), self.patience.timeout
        with open_url(url, headers=headers, timeout=timeout) as response:
            yield _start(response, offset), response

    def _address(self, name: str) -> str:
        section = "mapping_url" if is_mapping(name) else "reference_url"
        bases = self.info.get(section, {})
        if isinstance(bases, dict):
            bases = bases.get("unchecked", bases)
        base = bases.get(self.observatory) if isinstance(bases, dict) else bases
        if not base or not isinstance(base, str):
            raise RefusedError(
                f"CRDS server {self.url}, get_server_info: has no {section}{_ADVICE}"
            )
        return f"{base.rstrip('/')}/{check_name(name)}"


def _start(response: Any, offset: int) -> int:
    """Return the offset at which a response begins in the file."""
    if getattr(response, "status", 200) != 206:
        return 0
    content_range = response.headers.get("Content-Range") or ""
    match = _RANGE.fullmatch(content_range.strip())
    if match is None or match[1] != str(offset):
        raise TransientError(
            f"requested bytes from {offset} on, received {shorten(content_range)!r}"
        )
    return offset
