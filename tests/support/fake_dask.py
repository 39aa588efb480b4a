"""A client of dask whose tasks end when a test ends them."""

import asyncio
import threading
from types import SimpleNamespace

from distributed import CancelledError

from calbatch.cluster.exposure.outcome import MemoryPeak


class FakeFuture:
    """A task that ends when its result is set."""

    def __init__(self, key):
        self.key, self.status, self.result = key, "pending", None
        self.released = False
        self._end = asyncio.Event()

    def end(self, result):
        self.result = result
        self.status = "error" if isinstance(result, BaseException) else "finished"
        self._end.set()

    def cancel(self):
        self.result, self.status = CancelledError("connection lost"), "cancelled"
        self._end.set()

    async def exception(self):
        await self._end.wait()
        return self.result if self.status == "error" else None

    def release(self):
        self.released = True


class FakeClient:
    """The parts of a client that a site uses, with an event loop in a thread."""

    def __init__(self):
        self.status, self.scheduler_comm = "running", object()
        self.futures, self.priorities = {}, {}
        self.cancelled, self.restarted, self.fetches = [], [], []
        self.threads, self.processing = {"a": 2, "b": 1}, {}
        self.unpicklable = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.loop = SimpleNamespace(add_callback=self._add_callback)
        self.scheduler = SimpleNamespace(
            ncores=lambda: self.threads, processing=lambda: self.processing
        )

    def close(self):
        asyncio.run_coroutine_threadsafe(self._cancel_tasks(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cancel_tasks(self):
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _add_callback(self, function, *arguments):
        asyncio.run_coroutine_threadsafe(function(*arguments), self._loop)

    def sync(self, function, callback_timeout=None, **how):
        return function(**how)

    def map(self, work, submitted, key, pure, priority):
        if self.unpicklable & {job.number for job in submitted}:
            raise TypeError("cannot pickle it")
        made = [FakeFuture(each) for each in key]
        self.futures |= {job.number: f for job, f in zip(submitted, made, strict=True)}
        self.priorities |= dict.fromkeys((job.number for job in submitted), priority)
        return made

    def compute(self, graph, priority):
        future = FakeFuture("graph")
        self.futures[-priority] = future
        return future

    def reconnect(self):
        """Lose the connection with all tasks, and connect again."""
        self.scheduler_comm = object()
        for number in self.futures:
            self._loop.call_soon_threadsafe(self.futures[number].cancel)

    async def gather(self, futures):
        self.fetches.append(len(futures))
        failed = [f.result for f in futures if isinstance(f.result, BaseException)]
        if failed:
            raise failed[0]
        return [f.result for f in futures]

    def run(self, function, on_error):
        return {"a": MemoryPeak("a:1", 7)}

    def cancel(self, futures):
        self.cancelled += futures

    def restart_workers(self, workers, **how):
        self.restarted += workers

    def end(self, number, result):
        self._loop.call_soon_threadsafe(self.futures[number].end, result)
