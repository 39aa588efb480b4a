"""The part of the page that runs in a scheduler: handlers of its web server, and the plugin.

The scheduler may lack calbatch, so everything here is sent to it by value. This module therefore
imports nothing of calbatch, and refers to nothing outside of it that a scheduler does not have.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from dask.utils import key_split
from distributed import SchedulerPlugin
from distributed.scheduler import TaskPrefix
from tornado import web

NAME = "calbatch-page"
"""Name of the plugin, and of the first format of its messages."""

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


class _ProgressBar:
    """The exposures of a batch on dask's own page Progress, beyond those that are tasks.

    dask counts the tasks that it knows. A driver submits few exposures at a time, however, and
    releases each when it has ended. The others are added to the numbers that dask shows for tasks
    of this name, which decide nothing.

    Parameters
    ----------
    scheduler : distributed.Scheduler
        The scheduler.
    group : str
        Name of the group of tasks that are exposures of the batch.
    """

    def __init__(self, scheduler: Any, group: str) -> None:
        self._scheduler, self._group = scheduler, group
        self._added: Counter[str] = Counter()
        name, prefixes = key_split((group,)), scheduler.task_prefixes
        if name not in prefixes:  # no exposure is a task
            prefixes[name] = TaskPrefix(name)
        self._prefix = prefixes[name]

    def show(self, counts: Mapping[str, int]) -> None:
        """Replace the added numbers, so that all states together have those of a report."""
        self.clear()
        group = self._scheduler.task_groups.get(self._group)
        states = {} if group is None else group.states
        tasks = sum(count for state, count in states.items() if state != "forgotten")
        succeeded = counts.get("done", 0) + counts.get("kept", 0)
        failed = counts.get("failed", 0) + counts.get("quarantined", 0)
        remaining = sum(counts.values()) - succeeded - failed
        running = max(0, counts.get("running", 0) - tasks)  # of exposures whose tasks are tiles
        self._add("released", succeeded)
        self._add("erred", failed)
        self._add("processing", running)
        self._add("waiting", max(0, remaining - running - tasks))

    def follow(self, start: str, finish: str) -> None:
        """Keep the sum when a task comes or goes between two reports."""
        if (start, finish) == ("memory", "forgotten"):
            self._add("released", 1)
        elif (start, finish) == ("released", "waiting") and self._added["waiting"]:
            self._add("waiting", -1)

    def clear(self) -> None:
        """Subtract everything that was added."""
        for state in list(self._added):
            self._add(state, -self._added[state])

    def _add(self, state: str, count: int) -> None:
        self._prefix.states[state] += count
        self._added[state] += count


class CalbatchPage(SchedulerPlugin):
    """Serves a page about batches at ``/calbatch``, and its data at ``/calbatch.json``.

    The details of an exposure, at ``/calbatch-exposure.json``, come from the batch's driver: the
    answer to its next report asks for them.

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
        self._wanted: list[tuple[str, int]] = []
        self._details: OrderedDict[tuple[str, int], _Details] = OrderedDict()
        self._bars: dict[str, _ProgressBar] = {}

    async def start(self, scheduler: Any) -> None:
        """Add the page to the web server of a scheduler, and accept reports."""
        self.scheduler = scheduler
        scheduler.handlers["calbatch_report"] = self.receive_report
        scheduler.handlers["calbatch_details"] = self.receive_details
        # below any prefix that the scheduler was given
        routes = [
            (r"(?:/.*)?/calbatch", _PageHandler, {"page": self}),
            (r"(?:/.*)?/calbatch\.json", _DataHandler, {"page": self}),
            (r"(?:/.*)?/calbatch-exposure\.json", _DetailsHandler, {"page": self}),
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
    ) -> list[int]:
        """Replace the report of a batch; return the numbers of exposures to be described.

        Parameters
        ----------
        batch : str
            Its name.
        public, private : mapping
            Values that anyone may see, and those that need the token.
        digest : str
            SHA-256 of the token, in hexadecimal.
        """
        self._reports[batch] = _Report(public, private, digest, time.monotonic())
        self._reports.move_to_end(batch)
        while len(self._reports) > MOST_BATCHES:
            self._reports.popitem(last=False)
        with suppress(Exception):  # another release of dask may count in another way
            self._show_progress(f"{public['pipeline']}-{batch}", public)
        return [number for name, number in self._wanted if name == batch]

    def _show_progress(self, group: str, public: Mapping[str, Any]) -> None:
        """Show a batch on dask's page Progress until it ends, as all tasks that have ended."""
        if public["state"] == "running":
            bar = self._bars.get(group) or _ProgressBar(self.scheduler, group)
            self._bars[group] = bar
            bar.show(public["counts"])
        elif group in self._bars:
            self._bars.pop(group).clear()

    def transition(self, key: Any, start: str, finish: str, *args: Any, **how: Any) -> None:
        """Follow a task of a batch that is on dask's page Progress."""
        bar = self._bars.get(key[0]) if isinstance(key, tuple) else None
        if bar is not None:
            bar.follow(start, finish)

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Remove all batches from dask's page Progress; living drivers report them again."""
        while self._bars:
            self._bars.popitem()[1].clear()

    def restart(self, scheduler: Any) -> None:
        """Forget the batches on dask's page Progress, whose numbers the scheduler has forgotten."""
        self._bars.clear()

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
        digest = hashlib.sha256(token.encode()).hexdigest()
        report = self._reports.get(batch)
        return report is not None and hmac.compare_digest(digest, report.digest)

    def collect_data(self, token: str) -> dict[str, Any]:
        """Return the data of the page: all batches, and the scheduler's workers.

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

    def send_json(self, values: Mapping[str, Any]) -> None:
        """Send values as JSON."""
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(json.dumps(values))

    @property
    def token(self) -> str:
        """The token of the request."""
        return str(self.request.headers.get(TOKEN_HEADER, ""))


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
        self.send_json(self.page.collect_data(self.token))


class _DetailsHandler(_Handler):
    """Sends the details of an exposure as JSON, when they have arrived."""

    def get(self) -> None:
        """Send the details of the exposure ``number`` of ``batch``."""
        batch, number = self.get_query_argument("batch"), self.get_query_argument("number")
        if not self.page.is_token(self.token, batch):
            raise web.HTTPError(403)
        if re.fullmatch("[0-9]{1,9}", number) is None:
            raise web.HTTPError(400)
        self.send_json({"details": self.page.take_details(batch, int(number))})
