"""What became of each exposure, told to the ledger and to whoever watches."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from calbatch.cluster.exposure.outcome import Outcome
from calbatch.cluster.exposure.policy import Action, History
from calbatch.cluster.ledger import Ledger, ProductRow
from calbatch.cluster.planning.identity import Sums, digest
from calbatch.cluster.planning.planner import Planned

Watcher = Callable[[Outcome], None]


@dataclass
class Attempted:
    """An exposure that is under way, or is to be tried again.

    Attributes
    ----------
    planned : Planned
        The exposure.
    history : History
        What happened to it before.
    due : float
        When it may be tried, by `time.monotonic`.
    alone : bool
        Whether it is, or is to be, the only one under way.
    running : float
        When it was first seen to be calibrated, by `time.monotonic`; 0 for not yet.
    serial : int
        Number of the try, from 1.
    """

    planned: Planned
    history: History = field(default_factory=History)
    due: float = 0.0
    alone: bool = False
    running: float = 0.0
    serial: int = 0


class Recorder:
    """Writes the ledger of one batch.

    Parameters
    ----------
    ledger : Ledger
        Open.
    batch : int
        The batch's number in it.
    sums : Sums
        References' checksums.
    told : callable
        Told each outcome that is final.
    say : callable
        Shows a line to whoever watches.
    """

    def __init__(
        self,
        ledger: Ledger,
        batch: int,
        sums: Sums,
        told: Watcher = lambda outcome: None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.ledger, self.batch, self.sums, self.told = ledger, batch, sums, told
        self.say = say
        self.failed = self.done = 0
        self._tries = ledger.tries(batch)  # of earlier drivers
        self._bodies: set[str] = set()
        self._unrecorded: list[Outcome] = []
        self._commits = ledger.commits

    def unrecorded(self) -> list[Outcome]:
        """Return the final outcomes that the ledger has not committed."""
        self._forget_recorded()
        return list(self._unrecorded)

    def _forget_recorded(self) -> None:
        if self._commits != self.ledger.commits:  # a commit takes all that there is
            self._unrecorded.clear()
            self._commits = self.ledger.commits

    def _settled(self, outcome: Outcome) -> None:
        """Count a final outcome, whose changes have just been handed to the ledger."""
        self._forget_recorded()
        self._unrecorded.append(outcome)
        self.failed += outcome.failed
        self.done += not outcome.failed
        self.told(outcome)

    def planned(self, planned: Planned) -> None:
        """Note what an exposure is, when it is taken up."""
        if planned.source is None:
            return
        path, size, mtime_ns, header = planned.source
        if not planned.seen:
            self.ledger.header(path, size, mtime_ns, header, planned.header)
        self.ledger.update(
            self.batch, planned.number, state="running", size=size, mtime_ns=mtime_ns,
            digest=header, parameters=self._body(planned.settings.key, planned.settings.body),
            **({"note": planned.why} if planned.why else {}),
        )  # fmt: skip
        if planned.why:
            self.ledger.event(
                self.batch, "changed", f"{planned.path}: {planned.why}", planned.number
            )
        for path in planned.files().values():
            self.sums.want(path)
        planned.header = {}  # of many exposures, they are large

    def _body(self, key: str, body: object) -> str:
        if key not in self._bodies:
            self._bodies.add(key)
            self.ledger.body(key, body)  # type: ignore[arg-type]
        return key

    def next_try(self, one: Attempted) -> int:
        """Return the number of an exposure's next try, whichever drivers made the others."""
        return max(one.serial, self._tries.get(one.planned.number, 0)) + 1

    def began(self, one: Attempted) -> None:
        """Note that an exposure is under way."""
        self.ledger.update(
            self.batch, one.planned.number,
            state="running", attempts=one.serial, started=time.time(),
        )  # fmt: skip

    def tried(self, one: Attempted, outcome: Outcome, log: str, result: str) -> None:
        """Note how a try ended."""
        told = "\n".join(filter(None, (*outcome.warnings, outcome.details, log)))
        worker = outcome.peaks[0].process if outcome.peaks and not log else _worker(log)
        self.ledger.attempt(
            self.batch, one.planned.number,
            number=one.serial, alone=int(one.alone), worker=worker,
            started=outcome.began, ended=time.time(), seconds=outcome.seconds, cpu=outcome.cpu,
            peak=max((p.bytes for p in outcome.peaks), default=0), result=result,
            reason=outcome.error, log=told,
        )  # fmt: skip

    def lost(self, reason: str) -> None:
        """Note that nobody will hear how the tries under way ended; others follow."""
        self.ledger.broken_off(self.batch, reason)

    def again(
        self, one: Attempted, outcome: Outcome, log: str, seconds: float, *, alone: bool
    ) -> None:
        """Note that a failure is not the last word: the next try may be alone."""
        number = one.planned.number
        self.tried(one, outcome, log, str(outcome.kind))
        self.ledger.update(
            self.batch, number, state="retrying", reason=outcome.error,
            deaths=one.history.deaths_alone,
        )  # fmt: skip
        how = ", alone" if alone else ""
        text = f"{outcome.error}; tried again in {seconds:.1f} s{how}"
        self.ledger.event(self.batch, "retry", text, number)

    def kept(self, planned: Planned, outcome: Outcome) -> None:
        """Note that there was nothing to do."""
        assert planned.source is not None
        _, size, mtime_ns, header = planned.source
        self.ledger.update(
            self.batch, planned.number, state="kept", size=size, mtime_ns=mtime_ns, digest=header,
            identity=planned.identity(self.sums), note="done before, and unchanged",
            parameters=self._body(planned.settings.key, planned.settings.body),
            refs=self._references(planned), ended=time.time(), content=planned.content or None,
        )  # fmt: skip
        self.ledger.products(self.batch, planned.number, planned.made)
        self._settled(outcome)

    def ended(
        self, one: Attempted, outcome: Outcome, log: str = "", action: Action = Action.FAIL
    ) -> None:
        """Note an outcome that is final."""
        planned, number = one.planned, one.planned.number
        quarantined = action is Action.QUARANTINE
        state = "done" if not outcome.failed else "quarantined" if quarantined else "failed"
        if one.serial:
            self.tried(one, outcome, log, state)
        values = {"identity": planned.identity(self.sums)} if planned.source else {}
        if planned.source and planned.files():
            values["refs"] = self._references(planned)
        self.ledger.update(
            self.batch, number, state=state, reason=outcome.error, ended=time.time(),
            seconds=outcome.seconds, cpu=outcome.cpu, deaths=one.history.deaths_alone,
            peak=max((p.bytes for p in outcome.peaks), default=0),
            warnings=json.dumps(outcome.warnings), stages=json.dumps(dict(outcome.stages)),
            content=outcome.content or None, **values,
        )  # fmt: skip
        rows = [ProductRow(p.path, p.size, p.mtime_ns, p.digest) for p in outcome.written]
        self.ledger.products(self.batch, number, rows)
        self._settled(outcome)

    def _references(self, planned: Planned) -> str:
        files = planned.files()
        sums = self.sums.of(files)
        body = {kind: [path, sums[kind]] for kind, path in files.items()}
        return self._body(digest(body), body)

    def event(self, kind: str, text: str) -> None:
        """Note something remarkable."""
        self.ledger.event(self.batch, kind, text)


def _worker(log: str) -> str:
    """Return which process wrote a log."""
    first = log.partition("\n")[0]
    return first.rpartition(" in ")[2] if first.startswith("began ") else ""
