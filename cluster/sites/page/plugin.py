"""The page in a scheduler: a plugin that adds it to the scheduler's web server.

The scheduler may lack calbatch, so everything here is sent to it by value. This module therefore
imports nothing of calbatch but the page, which is sent as well, and refers to nothing outside of
them that a scheduler does not have.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from dask.utils import key_split
from distributed import SchedulerPlugin
from distributed.scheduler import TaskPrefix

from calbatch.cluster.sites.page.batch_page import BatchPage

NAME = "calbatch-page"
"""Name of the plugin, and of the first format of its messages."""


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


class CalbatchPage(BatchPage, SchedulerPlugin):
    """The page in the web server of a scheduler, to which drivers report.

    Parameters
    ----------
    html : str
        The page.
    policy : str
        Its content security policy.
    """

    name = NAME
    idempotent = True  # several drivers may share a scheduler, and its page
    has_dask_pages = True

    def __init__(self, html: str, policy: str) -> None:
        super().__init__(html, policy)
        self.scheduler: Any = None
        self._bars: dict[str, _ProgressBar] = {}

    async def start(self, scheduler: Any) -> None:
        """Add the page to the web server of a scheduler, and accept reports."""
        self.scheduler = scheduler
        scheduler.handlers["calbatch_report"] = self.receive_report
        scheduler.handlers["calbatch_details"] = self.receive_details
        scheduler.http_application.applications.insert(0, self.make_application())
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
        """Replace the report of a batch, also on dask's page Progress; see `BatchPage`."""
        with suppress(Exception):  # another release of dask may count in another way
            self._show_progress(f"{public['pipeline']}-{batch}", public)
        return super().receive_report(batch, public, private, digest)

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

    def describe_workers(self) -> list[dict[str, Any]]:
        """Return the memory, its limit, the CPU usage and the number of tasks of each worker."""
        return [
            {
                "memory": worker.metrics.get("memory", 0),
                "limit": worker.memory_limit or 0,
                "cpu": worker.metrics.get("cpu", 0.0),
                "tasks": len(worker.processing),
            }
            for worker in self.scheduler.workers.values()
        ]
