"""Batches of units that wait for others, on fake sites, with drivers that die."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from calbatch.cluster.batch.registering import load_dependencies
from calbatch.cluster.driver.batch_setup import BatchSetup
from calbatch.cluster.driver.driver import Driver
from calbatch.cluster.driver.feed import Feed
from calbatch.cluster.driver.recording import Recorder
from calbatch.cluster.exposure.job import ExposureOptions
from calbatch.cluster.exposure.policy import RetryPolicy
from calbatch.cluster.exposure.unit import Member, Unit
from calbatch.cluster.ledger import Ledger
from calbatch.cluster.planning.identity import ReferenceChecksums
from calbatch.models.storage.location import location
from support.fakes import FakePlanner, FakeSites, exposure_path


class DriverDeath(BaseException):
    """Ends a driver at once, as a kill would."""


def waiting_units(
    makers_by_unit: Mapping[int, Sequence[int]], optional: bool = False
) -> list[Unit]:
    """Return units by the numbers of the units whose products they take."""
    return [
        Unit(
            number,
            exposure_path(number),
            tuple(Member("science", f"/out/{m}_rate.fits", m, optional) for m in makers),
        )
        for number, makers in makers_by_unit.items()
        if makers
    ]


@dataclass
class UnitBatch:
    """A batch of units, which several drivers may drive one after another."""

    folder: Path
    count: int
    units: Sequence[Unit]
    policy: RetryPolicy = field(default_factory=lambda: RetryPolicy(first_delay=0.0))
    planner: FakePlanner = field(default_factory=FakePlanner)
    outcomes: list = field(default_factory=list)
    ahead: bool = True

    def drive(self, *sites, commit=True):
        """Drive the rest of the batch; return the driver, or None if it died."""
        with Ledger(self.folder / "state") as ledger:
            if not list(ledger._rows("SELECT * FROM batches")):
                paths = [str(exposure_path(n)) for n in range(self.count)]
                ledger.add_batch(
                    "b", "jump", paths, request={}, parameters={}, software={}, units=self.units
                )
            try:
                return self._drive(ledger, FakeSites(*sites))
            except DriverDeath:
                if not commit:
                    ledger._queue.clear()
                return None

    def _drive(self, ledger, sites):
        ledger.reset_running(1)
        left = [(n, location(path)) for n, path in ledger.unfinished_exposures(1)]
        dependencies = load_dependencies(ledger, 1)
        sums = ReferenceChecksums(ledger.find_checksum, ledger.add_reference)
        recorder = Recorder(ledger, 1, sums, self.outcomes.append, dependencies=dependencies)
        setup = BatchSetup(name="b", options=ExposureOptions(), output=self.folder)
        free = [pair for pair in left if not dependencies.is_held(pair[0])]
        try:
            with Feed(
                self.planner, free, self.policy, dependencies=dependencies, ahead=self.ahead
            ) as feed:
                driver = Driver(setup, feed, recorder, self.policy)
                if driver.prepare():
                    driver.run(sites.enter)
        finally:
            sums.close()
        ledger.commit()
        return driver

    @property
    def rows(self):
        """The exposures in the ledger."""
        with Ledger(self.folder / "state") as ledger:
            return list(ledger._rows("SELECT * FROM exposures ORDER BY number"))

    @property
    def states(self):
        """The states of the exposures in the ledger."""
        return [row["state"] for row in self.rows]
