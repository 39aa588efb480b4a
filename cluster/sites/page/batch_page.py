"""The page about batches: what it knows from reports, and its answers to browsers.

It is served by schedulers that may lack calbatch, to which this module is sent by value. It
therefore imports nothing of calbatch, and refers to nothing outside of it that they do not have.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

from tornado import web

log = logging.getLogger("calbatch.page")

TOKEN_HEADER = "X-Calbatch-Token"
"""Header of a request with the token. Unlike a URL, headers are logged by no server or proxy."""

MOST_DETAILS = 20
"""Maximum number of exposures whose details a scheduler requests, or keeps, at the same time."""

FRESH = 10.0
"""Seconds after which details are no longer shown: the exposure has gone on meanwhile."""

MOST_BATCHES = 50
"""Maximum number of batches that a scheduler remembers: those with the latest reports."""

HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of all answers."""


class _Report(NamedTuple):
    """The latest report of a batch's driver."""

    public: Mapping[str, Any]
    private: Mapping[str, Any]
    digest: str
    received: float


class _Details(NamedTuple):
    """The details of an exposure."""

    values: Mapping[str, Any]
    received: float


def digest_token(token: str) -> str:
    """Return the SHA-256 of a token, in hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


class BatchPage:
    """A page about batches at ``/calbatch``, and its data at ``/calbatch.json``.

    The details of an exposure, at ``/calbatch-exposure.json``, come from the batch's driver: the
    answer to its next report asks for them.

    Parameters
    ----------
    html : str
        The page.
    policy : str
        Its content security policy.
    """

    has_dask_pages = False
    """True if the pages of dask's dashboard are beside this one."""

    def __init__(self, html: str, policy: str) -> None:
        self.html, self.policy = html, policy
        self._reports: OrderedDict[str, _Report] = OrderedDict()
        self._wanted: list[tuple[str, int]] = []
        self._details: OrderedDict[tuple[str, int], _Details] = OrderedDict()

    def make_application(self) -> web.Application:
        """Return what a web server needs to serve the page, below any prefix."""
        routes = [
            (r"(?:/.*)?/calbatch", _PageHandler, {"page": self}),
            (r"(?:/.*)?/calbatch\.json", _DataHandler, {"page": self}),
            (r"(?:/.*)?/calbatch-exposure\.json", _DetailsHandler, {"page": self}),
        ]
        return web.Application(routes, log_function=lambda handler: None)

    def describe_workers(self) -> list[dict[str, Any]]:
        """Return the memory, its limit, the CPU usage and the number of tasks of each worker."""
        raise NotImplementedError

    def receive_report(
        self, batch: str, public: Mapping[str, Any], private: Mapping[str, Any], digest: str
    ) -> list[int]:
        """Replace the report of a batch; return the numbers of exposures to be described.

        Parameters
        ----------
        batch : str
            Its name.
        public, private : mapping
            Values that anyone may see, and those that need the token.
        digest : str
            That of the token; see `digest_token`.
        """
        self._reports[batch] = _Report(public, private, digest, time.monotonic())
        self._reports.move_to_end(batch)
        while len(self._reports) > MOST_BATCHES:
            self._reports.popitem(last=False)
        return [number for name, number in self._wanted if name == batch]

    def receive_details(self, batch: str, number: int, details: Mapping[str, Any]) -> None:
        """Keep the details of an exposure until they are taken."""
        self._details[batch, number] = _Details(details, time.monotonic())
        self._wanted = [each for each in self._wanted if each != (batch, number)]
        while len(self._details) > MOST_DETAILS:
            self._details.popitem(last=False)

    def take_details(self, batch: str, number: int) -> Mapping[str, Any] | None:
        """Return the details of an exposure, once; None if they have not arrived."""
        found = self._details.pop((batch, number), None)
        if found is not None and time.monotonic() - found.received < FRESH:
            return found.values
        if (batch, number) not in self._wanted:
            self._wanted = [*self._wanted, (batch, number)][-MOST_DETAILS:]
        return None

    def is_token(self, token: str, batch: str) -> bool:
        """Return whether a text is the token of a batch."""
        report = self._reports.get(batch)
        return report is not None and hmac.compare_digest(digest_token(token), report.digest)

    def collect_data(self, token: str) -> dict[str, Any]:
        """Return the data of the page: all batches, and the workers.

        Parameters
        ----------
        token : str
            The token that a browser has sent; "" if none.
        """
        batches, now = [], time.monotonic()
        for batch, report in reversed(self._reports.items()):
            each = {**report.public, "age": now - report.received}
            if self.is_token(token, batch):
                each["private"] = report.private
            batches.append(each)
        return {
            "batches": batches,
            "workers": self.describe_workers(),
            "dask_pages": self.has_dask_pages,
        }


class Handler(web.RequestHandler):
    """A handler of requests to a page."""

    def initialize(self, page: BatchPage) -> None:
        """Take the page."""
        self.page = page

    def set_default_headers(self) -> None:
        """Set headers that all answers have."""
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def log_exception(self, *fault: Any) -> None:
        """Log an error for developers: anyone may cause it, and the terminal is the user's."""
        log.debug("%s", self.request.path, exc_info=fault)

    def send_json(self, values: Mapping[str, Any]) -> None:
        """Send values as JSON."""
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(json.dumps(values))

    @property
    def token(self) -> str:
        """The token of the request."""
        return str(self.request.headers.get(TOKEN_HEADER, ""))


class _PageHandler(Handler):
    """Sends the page."""

    def get(self) -> None:
        """Send the page."""
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", self.page.policy)
        self.finish(self.page.html)


class _DataHandler(Handler):
    """Sends the data of the page as JSON."""

    def get(self) -> None:
        """Send the data that the request's token permits."""
        self.send_json(self.page.collect_data(self.token))


class _DetailsHandler(Handler):
    """Sends the details of an exposure as JSON, when they have arrived."""

    def get(self) -> None:
        """Send the details of the exposure ``number`` of ``batch``."""
        batch, number = self.get_query_argument("batch"), self.get_query_argument("number")
        if not self.page.is_token(self.token, batch):
            raise web.HTTPError(403)
        if re.fullmatch("[0-9]{1,9}", number) is None:
            raise web.HTTPError(400)
        self.send_json({"details": self.page.take_details(batch, int(number))})
