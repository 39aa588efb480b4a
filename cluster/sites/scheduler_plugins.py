"""Plugins in a scheduler, which may be another user's and lack calbatch: they are sent by value."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import cloudpickle
from distributed import SchedulerPlugin

from calbatch.cluster.sites.timeouts import call_within

ANSWER = 10.0
"""Seconds to wait for a scheduler to install a plugin."""

_PICKLING = threading.Lock()  # cloudpickle's register belongs to the whole process


class Departures(SchedulerPlugin):
    """Plugin that ends the subscriptions of clients that leave without a word, as killed ones do.

    A driver subscribes to the topic of its client's ID. Under it, the scheduler reports that the
    client has left, which it would try to send to that very client, and log a traceback. It reports
    the same under ``all`` before.
    """

    name = "calbatch-departures"
    idempotent = True  # several drivers may share a scheduler

    async def start(self, scheduler: Any) -> None:
        """Note the scheduler."""
        self.scheduler = scheduler

    def log_event(self, topic: str, msg: Any) -> None:
        """End the subscription of a client to its own topic when it has left."""
        if topic == "all" and isinstance(msg, dict) and msg.get("action") == "remove-client":
            self.scheduler.unsubscribe_topic(msg["client"], msg["client"])


class _ByValue(SchedulerPlugin):
    """A plugin that is pickled with the modules of its classes, which the scheduler may lack."""

    def __init__(self, inner: Any) -> None:
        self.name, self.idempotent = inner.name, inner.idempotent
        names = {kind.__module__ for kind in type(inner).__mro__}
        modules = [sys.modules[name] for name in names if name.startswith(f"{__package__}.")]
        with _PICKLING, ExitStack() as stack:
            for module in modules:
                cloudpickle.register_pickle_by_value(module)
                stack.callback(cloudpickle.unregister_pickle_by_value, module)
            self._packed = cloudpickle.dumps(inner)

    def __reduce__(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        return cloudpickle.loads, (self._packed,)


def install_plugin(client: Any, plugin: Any) -> None:
    """Install a plugin in a client's scheduler, unless it has one of that name.

    Parameters
    ----------
    client : distributed.Client
        Connected to the scheduler.
    plugin : distributed.SchedulerPlugin
        The plugin, whose modules refer to nothing outside of them that a scheduler does not have.

    Raises
    ------
    RuntimeError
        If the scheduler has another version of Python.
    Exception
        Anything, if the scheduler does not accept it: it may accept no code.
    """
    packed = _ByValue(plugin)

    def install() -> None:
        client.sync(_require_same_python, client)
        client.register_plugin(packed)

    call_within(ANSWER, install)


async def _require_same_python(client: Any) -> None:
    """Raise RuntimeError if a scheduler cannot run our code, since bytecode has no version."""
    found = await client.scheduler.versions()
    theirs = ".".join(found["host"]["python"].split(".")[:2])
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    if theirs != ours:
        raise RuntimeError(f"the scheduler has Python {theirs}, and this process {ours}")
