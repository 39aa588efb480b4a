"""Showing a batch on a page: that of its site's dashboard, or one of this process."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from calbatch.cluster.batch.registering import RegisteredBatch
from calbatch.cluster.display.exposure_details import describe_exposure
from calbatch.cluster.display.monitor import MOST_FAILURES, BatchMonitor, describe_failed
from calbatch.cluster.exposure.messages import escape_text
from calbatch.cluster.folder import BatchFolder
from calbatch.cluster.ledger import Ledger, LedgerError, View
from calbatch.cluster.sites.dask_site import DaskSite
from calbatch.cluster.sites.in_process import InProcess
from calbatch.cluster.sites.page.links import page_link
from calbatch.cluster.sites.page.own_server import serve_batch
from calbatch.cluster.sites.site import Site
from calbatch.models.storage.location import Url


def make_monitor(registered: RegisteredBatch, ledger: Ledger, batch: int) -> BatchMonitor:
    """Return the monitor of a batch, which begins with the states in the ledger.

    Parameters
    ----------
    registered : RegisteredBatch
        The batch.
    ledger : Ledger
        The open ledger.
    batch : int
        The batch's number in the ledger.
    """
    folder = registered.folder

    def measure_free() -> int | None:
        try:
            return shutil.disk_usage(folder.unfinished).free
        except OSError:
            return None

    is_remote = isinstance(folder.output, Url)
    return BatchMonitor(
        batch=folder.name,
        pipeline=registered.step.name,
        output=str(folder.output),
        states=ledger.states(batch),
        left=len(registered.inputs),
        failures=(describe_failed(*each) for each in ledger.latest_failures(batch, MOST_FAILURES)),
        measure_free=(lambda: None) if is_remote else measure_free,
    )


@contextmanager
def show_on_page(
    site: Site,
    folder: BatchFolder,
    monitor: BatchMonitor,
    token: str,
    say: Callable[[str], None],
) -> Iterator[str | None]:
    """Show a batch on a page, and yield the address to open.

    The page is on the dashboard of a site that has one. A batch in threads of this process has a
    page of its own; without threads, none, since nothing else is to run then.

    Parameters
    ----------
    site : Site
        The site.
    folder : BatchFolder
        The batch's files.
    monitor : BatchMonitor
        The batch's states and outcomes.
    token : str
        The token that paths and reasons need.
    say : callable
        Shows the reason why there is no page.

    Yields
    ------
    str, optional
        The address of the page, or else that of the dashboard, if there is one.
    """
    link = site.dashboard

    def describe(number: int) -> Mapping[str, Any]:
        try:
            with View(folder.state) as view:
                return describe_exposure(view, folder.name, number)
        except LedgerError as error:
            return {"number": number, "reason": escape_text(str(error))}

    if isinstance(site, InProcess) and site.threads:
        monitor.site = site.description
        with serve_batch(monitor, token, say, describe=describe) as own:
            yield own
    elif isinstance(site, DaskSite) and link:
        from calbatch.cluster.sites.page.reporter import report_batch  # it imports distributed

        monitor.site = site.description
        with report_batch(site.client, monitor, token, say, describe=describe) as has_page:
            yield page_link(link, token) if has_page else link
    else:
        yield link
