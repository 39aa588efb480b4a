"""dask's dashboard, whose libraries are imported when a page is first requested.

Importing them takes about a second of CPU, and most batches end before a page is requested.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from distributed.http.scheduler.info import IndividualPlots
from tornado import web
from tornado.ioloop import IOLoop

from calbatch.cluster.exposure.messages import escape_text
from calbatch.cluster.sites.page.plugin import NAME

LOCAL_HOSTS = ("127.0.0.1", "localhost")
"""Hosts whose pages may open a live connection to dask's pages, at any port.

dask's configuration admits them at port 80 alone. A page of the dashboard itself has another port,
which recent releases of tornado admit anyway, and JupyterLab's extension shows dask's plots there.
"""


class LateDashboard(web.Application):
    """Placeholder for a scheduler's dashboard until the first request that nothing else serves.

    Parameters
    ----------
    scheduler : distributed.Scheduler
        The scheduler.
    """

    def __init__(self, scheduler: Any) -> None:
        super().__init__([(r"/.*", _FirstRequest)])
        self._scheduler = scheduler
        self._opening: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Import the dashboard, and replace this application by it.

        Raises
        ------
        ImportError
            If its libraries do not fit together.
        """
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
        await asyncio.shield(self._opening)  # the first browser may disconnect meanwhile

    async def _open(self) -> None:
        # in a thread, so that the scheduler keeps responding
        name = "distributed.dashboard.scheduler"
        dashboard = await IOLoop.current().run_in_executor(None, import_module, name)
        server = self._scheduler
        dashboard.connect(server.http_application, server.http_server, server, prefix="/")
        server.http_application.applications.remove(self)
        for application in server.http_application.applications:
            origins = getattr(application, "websocket_origins", None)
            if isinstance(origins, set):
                origins.update(LOCAL_HOSTS)
        if NAME in server.plugins:
            server.plugins[NAME].add_link()


class _FirstRequest(web.RequestHandler):
    """Open the dashboard, and make the browser repeat its request."""

    application: LateDashboard

    async def get(self) -> None:
        try:
            await self.application.open()
        except ImportError as error:
            self.set_status(501)
            self.finish(escape_text(f"no dashboard: {error}"))
            return
        # relative, as a proxy may serve this under another path
        _, _, page = self.request.path.rpartition("/")
        query = self.request.query
        self.redirect(f"./{page}?{query}" if query else f"./{page}")


class _PlotList(IndividualPlots):
    """The list of plots, by which JupyterLab's extension recognizes a dashboard."""

    async def get(self) -> None:
        for each in list(self.server.http_application.applications):
            if isinstance(each, LateDashboard):
                try:
                    await each.open()
                except ImportError:  # there are no plots
                    break
        super().get()

    def write(self, chunk: Any) -> None:
        """Write the list; the extension can show calbatch's page beside dask's plots."""
        if isinstance(chunk, dict) and NAME in self.server.plugins:
            chunk = {"Calbatch": "/calbatch", **chunk}
        super().write(chunk)


routes: list[tuple[str, type, dict[str, Any]]] = [(r"individual-plots.json", _PlotList, {})]
"""Routes of a scheduler; the name is dask's."""


def scheduler_options() -> Mapping[str, Any]:
    """Return the options of a scheduler whose dashboard is added later.

    Without bokeh, dask serves a page that says so.
    """
    return {} if find_spec("bokeh") is None else {"dashboard": False}


def add_dashboard(scheduler: Any) -> None:
    """Add the dashboard to a scheduler of this process that was started without it."""
    if find_spec("bokeh") is not None:
        scheduler.http_application.add_application(LateDashboard(scheduler))
