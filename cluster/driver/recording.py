"""Recording outcomes in the ledger and reporting them to the display."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from calbatch.cluster.exposure.log import find_process
from calbatch.cluster.exposure.outcome import Outcome
from calbatch.cluster.exposure.policy import FailureHistory, RetryAction
from calbatch.cluster.ledger import Ledger, ProductRow
from calbatch.cluster.planning.dependencies import (
    BlockedUnit,
    Dependencies,
    UnitResult,
    describe_blocking_failure,
)
from calbatch.cluster.planning.identity import ReferenceChecksums
from calbatch.cluster.planning.planned_exposure import PlannedExposure

OutcomeCallback = Callable[[Outcome], None]
StateCallback = Callable[[int, str], None]


@dataclass
class Attempt:
    """An attempt at an exposure: running, or waiting until it is due.

    Attributes
    ----------
    planned : PlannedExposure
        The exposure.
    history : FailureHistory
        Its failures so far.
    due : float
        Time before which it must not start, by `time.monotonic`.
    alone : bool
        True if no other exposure may run at the same time.
    running : float
        Time at which it was first seen running, by `time.monotonic`; 0 if it has not been.
    serial : int
        Number of the attempt, from 1; 0 if it has not been submitted.
    """

    planned: PlannedExposure
    _: KW_ONLY
    history: FailureHistory = field(default_factory=FailureHistory)
    due: float = 0.0
    alone: bool = False
    running: float = 0.0
    serial: int = 0


class Recorder:
    """Writes the ledger of one batch.

    Parameters
    ----------
    ledger : Ledger
        The open ledger.
    batch : int
        The batch's number in the ledger.
    sums : ReferenceChecksums
        Checksums of reference files.
    on_outcome : callable
        Called with each final outcome.
    say : callable
        Shows a line to the user.
    dependencies : Dependencies, optional
        The units that wait for others; it receives each final outcome.
    on_state : callable, optional
        Called with the number and the new state of an exposure.

    Attributes
    ----------
    done, failed : int
        Number of final outcomes of either kind.
    """

    def __init__(
        self,
        ledger: Ledger,
        batch: int,
        sums: ReferenceChecksums,
        on_outcome: OutcomeCallback = lambda outcome: None,
        say: Callable[[str], None] = lambda text: None,
        *,
        dependencies: Dependencies | None = None,
        on_state: StateCallback | None = None,
    ) -> None:
        self.ledger, self.batch, self.sums, self.on_outcome = ledger, batch, sums, on_outcome
        self.say, self._dependencies = say, dependencies or Dependencies()
        self._on_state = on_state
        self.failed = self.done = 0
        self._earlier_attempts = ledger.count_attempts(batch)  # made by earlier drivers
        self._bodies: set[str] = set()
        self._uncommitted: list[Outcome] = []
        self._commits = ledger.commits

    def find_uncommitted(self) -> list[Outcome]:
        """Return the final outcomes that the ledger has not committed."""
        self._forget_committed()
        return list(self._uncommitted)

    def _forget_committed(self) -> None:
        if self._commits != self.ledger.commits:  # a commit includes all queued changes
            self._uncommitted.clear()
            self._commits = self.ledger.commits

    def _count_outcome(self, outcome: Outcome) -> None:
        """Count and report a final outcome, whose changes have just been queued in the ledger."""
        self._forget_committed()
        self._uncommitted.append(outcome)
        self.failed += outcome.failed
        self.done += not outcome.failed
        self.on_outcome(outcome)

    def _set_state(self, number: int, state: str, **values: Any) -> None:
        """Record the state of an exposure, and other columns."""
        self.ledger.update_exposure(self.batch, number, state=state, **values)
        if self._on_state is not None:
            self._on_state(number, state)

    def record_plan(self, planned: PlannedExposure) -> None:
        """Record an exposure's input and parameters when its calibration is about to start."""
        if planned.source is None:
            return
        path, size, mtime_ns, header = planned.source
        if not planned.is_known:
            self.ledger.add_header(path, size, mtime_ns, header, planned.header)
        self._set_state(
            planned.number, "running", size=size, mtime_ns=mtime_ns,
            digest=header, parameters=self._body(planned.settings.key, planned.settings.body),
            **({"note": planned.rerun_reason} if planned.rerun_reason else {}),
        )  # fmt: skip
        if planned.rerun_reason:
            self.ledger.add_event(
                self.batch, "changed", f"{planned.path}: {planned.rerun_reason}", planned.number
            )
        for path in planned.files().values():
            self.sums.schedule(path)
        planned.header = {}  # the headers of many exposures take a lot of memory

    def _body(self, key: str, body: object) -> str:
        if key not in self._bodies:
            self._bodies.add(key)
            self.ledger.add_body(key, body)  # type: ignore[arg-type]
        return key

    def next_attempt(self, attempt: Attempt) -> int:
        """Return the number of an exposure's next attempt, counting those of earlier drivers."""
        return max(attempt.serial, self._earlier_attempts.get(attempt.planned.number, 0)) + 1

    def record_start(self, attempt: Attempt) -> None:
        """Record that an attempt has been submitted."""
        number = attempt.planned.number
        self._set_state(number, "running", attempts=attempt.serial, started=time.time())

    def _record_attempt(self, attempt: Attempt, outcome: Outcome, log: str, result: str) -> None:
        """Record the end of an attempt."""
        text = "\n".join(filter(None, (*outcome.warnings, outcome.details, log)))
        worker = outcome.peaks[0].process if outcome.peaks and not log else find_process(log)
        self.ledger.add_attempt(
            self.batch, attempt.planned.number,
            number=attempt.serial, alone=int(attempt.alone), worker=worker,
            started=outcome.began, ended=time.time(), seconds=outcome.seconds, cpu=outcome.cpu,
            peak=max((p.bytes for p in outcome.peaks), default=0), result=result,
            reason=outcome.error, log=text,
        )  # fmt: skip

    def record_lost_site(self, reason: str) -> None:
        """Record that the outcomes of all running attempts have been lost with the site."""
        self.ledger.add_lost_attempts(self.batch, reason)

    def record_retry(
        self, attempt: Attempt, outcome: Outcome, log: str, seconds: float, *, alone: bool
    ) -> None:
        """Record a failed attempt that will be followed by another one in some seconds."""
        number = attempt.planned.number
        self._record_attempt(attempt, outcome, log, str(outcome.kind))
        deaths = attempt.history.deaths_alone
        self._set_state(number, "retrying", reason=outcome.error, deaths=deaths)
        suffix = ", alone" if alone else ""
        text = f"{outcome.error}; retrying in {seconds:.1f} s{suffix}"
        self.ledger.add_event(self.batch, "retry", text, number)

    def record_kept(self, planned: PlannedExposure, outcome: Outcome) -> None:
        """Record that an exposure's products already exist and are kept."""
        assert planned.source is not None
        _, size, mtime_ns, header = planned.source
        identity = planned.identity(self.sums)
        self._set_state(
            planned.number, "kept", size=size, mtime_ns=mtime_ns, digest=header,
            identity=identity, note="already calibrated, and unchanged",
            parameters=self._body(planned.settings.key, planned.settings.body),
            refs=self._references(planned), ended=time.time(), content=planned.content or None,
        )  # fmt: skip
        self.ledger.set_products(self.batch, planned.number, planned.earlier_products)
        self._count_outcome(outcome)
        self._release(
            planned.number, UnitResult(identity, [p.path for p in planned.earlier_products])
        )

    def record_outcome(
        self,
        attempt: Attempt,
        outcome: Outcome,
        log: str = "",
        action: RetryAction = RetryAction.FAIL,
    ) -> None:
        """Record a final outcome."""
        planned, number = attempt.planned, attempt.planned.number
        quarantined = action is RetryAction.QUARANTINE
        state = "done" if not outcome.failed else "quarantined" if quarantined else "failed"
        if attempt.serial:
            self._record_attempt(attempt, outcome, log, state)
        values = {"identity": planned.identity(self.sums)} if planned.source else {}
        if planned.source and planned.files():
            values["refs"] = self._references(planned)
        self._set_state(
            number, state, reason=outcome.error, ended=time.time(),
            seconds=outcome.seconds, cpu=outcome.cpu, deaths=attempt.history.deaths_alone,
            peak=max((p.bytes for p in outcome.peaks), default=0),
            warnings=json.dumps(outcome.warnings), stages=json.dumps(dict(outcome.stages)),
            content=outcome.content or None, **values,
        )  # fmt: skip
        rows = [ProductRow(p.path, p.size, p.mtime_ns, p.digest) for p in outcome.written]
        self.ledger.set_products(self.batch, number, rows)
        self._record_statistics(outcome)
        self._count_outcome(outcome)
        unit = self._dependencies.find_unit(number)  # its path may be that of an association
        failure = describe_blocking_failure(
            unit.path if unit else planned.path, quarantined=quarantined
        )
        products = [row.path for row in rows]
        self._release(
            number,
            UnitResult(values.get("identity", ""), products, failure if outcome.failed else ""),
        )

    def _record_statistics(self, outcome: Outcome) -> None:
        """Record the statistics of an exposure's products, which nothing else needs."""
        for product in outcome.written:
            found = outcome.statistics.get(product.path)
            if found is not None:
                self.ledger.add_statistics(product.digest, found)

    def record_earlier_failures(self) -> None:
        """Record the units that cannot begin because of failures under an earlier driver."""
        self._record_blocked(self._dependencies.propagate_earlier_failures())

    def _release(self, number: int, result: UnitResult) -> None:
        """Release the units that waited for one that has ended; fail those that cannot begin."""
        self._record_blocked(self._dependencies.finish(number, result))

    def _record_blocked(self, blocked: Sequence[BlockedUnit]) -> None:
        for unit in blocked:
            error = f"{unit.path}: {unit.reason}"
            self._set_state(unit.number, "failed", reason=error, ended=time.time())
            self._count_outcome(Outcome(number=unit.number, path=unit.path, error=error))

    def _references(self, planned: PlannedExposure) -> str:
        summed = self.sums.wait_for(planned.files())
        return self._body(summed.key, summed.body)

    def record_event(self, kind: str, text: str) -> None:
        """Record an event of the batch."""
        self.ledger.add_event(self.batch, kind, text)
