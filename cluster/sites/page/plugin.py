"""The part of the page that runs in a scheduler: handlers of its web server, and the plugin.

The scheduler may lack calbatch, so everything here is sent to it by value. This module therefore
imports nothing of calbatch, and refers to nothing outside of it that a scheduler does not have.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

from distributed import SchedulerPlugin
from tornado import web

NAME = "calbatch-page"
"""Name of the plugin, and of the first format of its messages."""

TOKEN_HEADER = "X-Calbatch-Token"
"""Header of a request with the token. Unlike a URL, headers are logged by no server or proxy."""

MOST_BATCHES = 50
"""Number of batches that a scheduler remembers: those that were heard of last."""

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


class CalbatchPage(SchedulerPlugin):
    """Serves a page about batches at ``/calbatch``, and its data at ``/calbatch.json``.

    Parameters
    ----------
    html : str
        The page.
    policy : str
        Its content security policy.
    """

    name = NAME
    idempotent = True  # several drivers may share a scheduler, and its page

    def __init__(self, html: str, policy: str) -> None:
        self.html, self.policy = html, policy
        self.scheduler: Any = None
        self._reports: OrderedDict[str, _Report] = OrderedDict()

    async def start(self, scheduler: Any) -> None:
        """Add the page to the web server of a scheduler, and accept reports."""
        self.scheduler = scheduler
        scheduler.handlers["calbatch_report"] = self.receive_report
        # below any prefix that the scheduler was given
        routes = [
            (r"(?:/.*)?/calbatch", _PageHandler, {"page": self}),
            (r"(?:/.*)?/calbatch\.json", _DataHandler, {"page": self}),
        ]
        application = web.Application(routes, log_function=lambda handler: None)
        scheduler.http_application.applications.insert(0, application)
        if "distributed.dashboard.scheduler" in sys.modules:  # or else it has no pages yet
            self.add_link()

    def add_link(self) -> None:
        """Add the page to the navigation of dask's own pages."""
        from distributed.dashboard.scheduler import template_variables

        pages = template_variables(self.scheduler)["pages"]
        if "calbatch" not in pages:
            pages.insert(0, "calbatch")

    def receive_report(
        self, batch: str, public: Mapping[str, Any], private: Mapping[str, Any], digest: str
    ) -> None:
        """Replace the report of a batch.

        Parameters
        ----------
        batch : str
            Its name.
        public, private : mapping
            Values that anybody may see, and those that need the token.
        digest : str
            SHA-256 of the token, in hexadecimal.
        """
        self._reports[batch] = _Report(public, private, digest, time.monotonic())
        self._reports.move_to_end(batch)
        while len(self._reports) > MOST_BATCHES:
            self._reports.popitem(last=False)

    def collect_data(self, token: str) -> dict[str, Any]:
        """Return the data of the page: all batches, and the scheduler's workers.

        Parameters
        ----------
        token : str
            The token that a browser has sent; "" if none.
        """
        digest = hashlib.sha256(token.encode()).hexdigest()
        batches, now = [], time.monotonic()
        for report in reversed(self._reports.values()):
            each = {**report.public, "age": now - report.received}
            if hmac.compare_digest(digest, report.digest):
                each["private"] = report.private
            batches.append(each)
        return {"batches": batches, "workers": self._describe_workers()}

    def _describe_workers(self) -> list[dict[str, Any]]:
        return [
            {
                "memory": worker.metrics.get("memory", 0),
                "limit": worker.memory_limit or 0,
                "cpu": worker.metrics.get("cpu", 0.0),
                "tasks": len(worker.processing),
            }
            for worker in self.scheduler.workers.values()
        ]


class _Handler(web.RequestHandler):
    """A handler of requests to a page."""

    def initialize(self, page: CalbatchPage) -> None:
        """Take the plugin."""
        self.page = page

    def set_default_headers(self) -> None:
        """Set headers that all answers have."""
        for name, value in HEADERS.items():
            self.set_header(name, value)


class _PageHandler(_Handler):
    """Sends the page."""

    def get(self) -> None:
        """Send the page."""
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", self.page.policy)
        self.finish(self.page.html)


class _DataHandler(_Handler):
    """Sends the data of the page as JSON."""

    def get(self) -> None:
        """Send the data that the request's token permits."""
        token = self.request.headers.get(TOKEN_HEADER, "")
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(json.dumps(self.page.collect_data(token)))
