"""A client of dask whose tasks end when a test ends them."""

from types import SimpleNamespace

from distributed.protocol.pickle import dumps, loads

from calbatch.cluster.exposure.outcome import MemoryPeak


class FakeFuture:
    """A task that ends when its error is set, or when its result has been sent."""

    def __init__(self, key):
        self.key, self.status, self.error = key, "pending", None
        self.released = False

    def exception(self, timeout):
        return self.error

    def release(self):
        self.released = True


class FakeClient:
    """The parts of a client that a site uses."""

    def __init__(self):
        self.status, self.scheduler_comm, self.id = "running", object(), "Client-1"
        self.futures, self.priorities, self.graphs = {}, {}, []
        self.cancelled, self.restarted, self.topics = [], [], {}
        self.threads, self.processing = {"a": 2, "b": 1}, {}
        self.scheduler = SimpleNamespace(
            ncores=lambda: self.threads, processing=lambda: self.processing
        )

    def sync(self, function, callback_timeout=None, **how):
        return function(**how)

    def subscribe_topic(self, topic, handler):
        self.topics[topic] = handler

    def unsubscribe_topic(self, topic):
        del self.topics[topic]

    def map(self, function, packed, key, pure, priority):
        made = [FakeFuture(each) for each in key]
        numbers = [loads(each)[1].number for each in packed]
        self.graphs.append(numbers)
        self.futures |= dict(zip(numbers, made, strict=True))
        self.priorities |= dict.fromkeys(numbers, priority)
        return made

    def compute(self, graph, priority):
        return graph

    def submit(self, function, saved, topic, sent, key, pure, priority):
        self.futures[-priority] = FakeFuture(key)
        return self.futures[-priority]

    def reconnect(self):
        """Lose the connection with all tasks, and connect again."""
        self.scheduler_comm = object()
        for future in self.futures.values():
            future.status = "cancelled"

    def run(self, function, on_error):
        return {"a": MemoryPeak("a:1", 7)}

    def cancel(self, futures):
        self.cancelled += futures

    def restart_workers(self, workers, **how):
        self.restarted += workers

    def send(self, message):
        """Publish a message to those who have subscribed."""
        for handler in self.topics.values():
            handler((0.0, message))

    def end(self, number, result):
        """End the task of an exposure: its worker sends a result, or it has failed."""
        future = self.futures[number]
        if isinstance(result, BaseException):
            future.status, future.error = "error", result
        else:
            future.status = "finished"
            self.send((future.key, dumps(result)))
