"""Batches that a driver runs on fake sites."""

from dataclasses import dataclass, field

from calbatch.cluster.driver import driver as driver_module
from calbatch.cluster.driver.batch_setup import BatchSetup
from calbatch.cluster.driver.driver import Driver
from calbatch.cluster.driver.feed import Feed
from calbatch.cluster.driver.recording import Recorder
from calbatch.cluster.exposure.job import ExposureOptions
from calbatch.cluster.exposure.policy import RetryPolicy
from calbatch.cluster.ledger import Ledger
from calbatch.cluster.planning.identity import ReferenceChecksums
from support.fakes import FakePlanner, FakeSites, fail, inputs, succeed

QUICK = RetryPolicy(first_delay=0.0)


def omit_delays(monkeypatch):
    """Let a driver look again at once."""
    monkeypatch.setattr(driver_module, "SITE_DELAY", 0.0)
    monkeypatch.setattr(driver_module, "LOOK_EVERY", 0.0)
    monkeypatch.setattr(driver_module, "TICK", 0.01)


@dataclass
class Batch:
    """A batch on fake sites, and the actions of its driver."""

    folder: object
    count: int = 4
    policy: RetryPolicy = QUICK
    planner: FakePlanner = field(default_factory=FakePlanner)
    staging: object = None
    outcomes: list = field(default_factory=list)
    said: list = field(default_factory=list)
    needs_site: bool = True
    example: object = None

    @property
    def logs(self):
        return self.folder / "logs"

    @property
    def control(self):
        return self.folder / "control"

    def run(self, *sites, enter=None):
        """Drive the batch, and return the driver."""
        self.logs.mkdir(exist_ok=True)
        paths = [str(path) for _, path in inputs(self.count)]
        with Ledger(self.folder / "state") as ledger:
            batch = ledger.add_batch("b", "jump", paths, request={}, parameters={}, software={})
            sums = ReferenceChecksums(ledger.find_checksum, ledger.add_reference)
            recorder = Recorder(ledger, batch, sums, self.outcomes.append, self.said.append)
            setup = BatchSetup(
                name="b", options=ExposureOptions(), output=self.folder, logs=self.logs,
                control=self.control, staging=self.staging,
            )  # fmt: skip
            with Feed(self.planner, inputs(self.count), self.policy) as feed:
                driver = Driver(setup, feed, recorder, self.policy)
                self.needs_site, self.example = driver.prepare(), driver.first_job()
                if self.needs_site:
                    driver.run(enter or FakeSites(*sites).enter)
            sums.close()
            ledger.commit()
            self.rows = list(ledger._rows("SELECT * FROM exposures ORDER BY number"))
            self.events = [(e["kind"], e["text"]) for e in ledger._rows("SELECT * FROM events")]
            self.attempts = [
                (a["exposure"] - 1, a["result"], a["alone"])
                for a in ledger._rows("SELECT * FROM attempts ORDER BY id")
            ]
        return driver

    @property
    def states(self):
        return [row["state"] for row in self.rows]


def failing_times(times, kind, others=succeed):
    """Return work that fails for some exposures as often as `times` says."""
    left = dict(times)

    def work(job):
        if left.get(job.number, 0) > 0:
            left[job.number] -= 1
            return fail(job, kind)
        return others(job)

    return work
