"""A simulation of a long batch on many workers, from service times that were measured.

Driver and scheduler are one server, which handles each exposure before and after its calibration.
A worker reads, calibrates and writes one exposure after another. All workers share the bandwidth
of one file system equally. Before its first exposure, each reads the references.
"""

import heapq
from dataclasses import dataclass, field

from tables import Table

WINDOW_PER_WORKER = 2
"""Exposures in flight per worker, as in a batch."""

BANDWIDTHS = (0.2e9, 1e9, 5e9, 20e9)
WORKERS = (1, 8, 16, 64, 256)


@dataclass(frozen=True, kw_only=True)
class Costs:
    """The costs of a full frame of 2048 x 2048 pixels and 10 groups, from docs/performance.md.

    Attributes
    ----------
    calibration : float
        CPU seconds of a worker for an exposure.
    driver : float
        CPU seconds of driver and scheduler for an exposure.
    read, written : float
        Bytes of an exposure and of its products.
    references : float
        Bytes of references that each worker reads once.
    start : float
        Seconds until the workers can begin.
    """

    calibration: float = 0.47
    driver: float = 0.003
    read: float = 84e6
    written: float = 168e6
    references: float = 0.4e9
    start: float = 2.0


class SharedBandwidth:
    """A file system whose transfers get equal shares of its bandwidth.

    Attributes
    ----------
    busy : float
        Seconds in which there was any transfer.
    """

    def __init__(self, bandwidth: float) -> None:
        self.busy = 0.0
        self._bandwidth, self._now = bandwidth, 0.0
        self._each = 0.0  # bytes that a transfer since the beginning would have got
        self._ends: list[tuple[float, int]] = []

    def advance(self, now: float) -> None:
        """Move the bytes of a span of time, up to `now`."""
        if self._ends:
            self.busy += now - self._now
            self._each += (now - self._now) * self._bandwidth / len(self._ends)
        self._now = now

    def begin(self, worker: int, size: float) -> None:
        """Begin a transfer for a worker."""
        heapq.heappush(self._ends, (self._each + size, worker))

    def next_end(self) -> float:
        """Return the time at which the next transfer ends if no other begins."""
        if not self._ends:
            return float("inf")
        left = max(self._ends[0][0] - self._each, 0.0)
        return self._now + left * len(self._ends) / self._bandwidth

    def end(self) -> int:
        """Remove the transfer that ends next, and return its worker."""
        return heapq.heappop(self._ends)[1]


@dataclass
class Simulation:
    """A batch of equal exposures on some workers.

    Attributes
    ----------
    exposures, workers : int
        Their numbers.
    bandwidth : float
        Bytes per second of the file system.
    costs : Costs
        The costs of an exposure.
    """

    exposures: int
    workers: int
    bandwidth: float
    costs: Costs = field(default_factory=Costs)

    def __post_init__(self) -> None:
        self.now = 0.0
        self.files = SharedBandwidth(self.bandwidth)
        self._phases = dict.fromkeys(range(self.workers), "references")
        self._ready: list[int] = []
        self._calibrating: list[tuple[float, int]] = []
        self._unsent, self._waiting, self._in_flight, self._unsettled = self.exposures, 0, 0, 0
        self._driver_ends, self._settles = float("inf"), False

    def run(self) -> float:
        """Run to the end; return the seconds that the batch takes."""
        self.now = self.costs.start
        self.files.advance(self.now)
        for worker in self._phases:
            self.files.begin(worker, self.costs.references)
        done = 0
        while done < self.exposures:
            self._start_driver()
            calibrated = self._calibrating[0][0] if self._calibrating else float("inf")
            self.now = min(self._driver_ends, calibrated, self.files.next_end())
            self.files.advance(self.now)
            if self.now == self._driver_ends:
                done += self._end_driver()
            elif self.now == calibrated:
                self._begin_transfer(heapq.heappop(self._calibrating)[1], "write")
            else:
                self._end_transfer(self.files.end())
            self._assign_exposures()
        return self.now

    def _start_driver(self) -> None:
        """Begin to settle an outcome, or else to send an exposure, if the driver is idle."""
        if self._driver_ends < float("inf"):
            return
        has_room = self._in_flight < WINDOW_PER_WORKER * self.workers
        if self._unsettled or (self._unsent and has_room):
            self._settles = bool(self._unsettled)
            self._driver_ends = self.now + self.costs.driver / 2

    def _end_driver(self) -> int:
        """End what the driver did; return the number of exposures that are done by it."""
        self._driver_ends = float("inf")
        if self._settles:
            self._unsettled -= 1
            self._in_flight -= 1
            return 1
        self._unsent -= 1
        self._in_flight += 1
        self._waiting += 1
        return 0

    def _assign_exposures(self) -> None:
        """Assign waiting exposures to idle workers."""
        while self._waiting and self._ready:
            self._waiting -= 1
            self._begin_transfer(self._ready.pop(), "read")

    def _begin_transfer(self, worker: int, phase: str) -> None:
        self._phases[worker] = phase
        self.files.begin(worker, self.costs.read if phase == "read" else self.costs.written)

    def _end_transfer(self, worker: int) -> None:
        phase = self._phases[worker]
        if phase == "read":
            heapq.heappush(self._calibrating, (self.now + self.costs.calibration, worker))
            return
        self._ready.append(worker)
        self._unsettled += phase == "write"


def describe(simulation: Simulation) -> list[object]:
    """Run a simulation; return a row of the table."""
    costs, seconds = simulation.costs, simulation.run()
    count, workers = simulation.exposures, simulation.workers
    efficiency = count * costs.calibration / workers / seconds
    references = workers * costs.references
    of_references = references / (references + count * (costs.read + costs.written))
    shares = {
        "workers": efficiency,
        "driver": count * costs.driver / seconds,
        "file system": (1 - of_references) * simulation.files.busy / seconds,
        "references": of_references * simulation.files.busy / seconds,
    }
    return [
        f"{simulation.bandwidth / 1e9:g}", str(workers), seconds / 60, count / seconds,
        *(f"{100 * share:.0f}" for share in shares.values()), max(shares, key=shares.__getitem__),
    ]  # fmt: skip


def make_table(exposures: int, costs: Costs) -> Table:
    """Return a table of batches on several numbers of workers and file systems."""
    return Table(
        f"{exposures} full frames, simulated",
        ["GB/s", "workers", "minutes", "exposures/s", "workers busy %", "driver %",
         "file system %", "references %", "bottleneck"],
        [describe(Simulation(exposures, workers, bandwidth, costs))
         for bandwidth in BANDWIDTHS for workers in WORKERS],
        [f"an exposure: {costs.calibration} s CPU of a worker, {1e3 * costs.driver:g} ms of the "
         f"driver, {costs.read / 1e6:g} MB read, {costs.written / 1e6:g} MB written; "
         f"{costs.references / 1e6:g} MB of references for each worker"],
    )  # fmt: skip
