"""The contents of a report, gathered from the ledger of a batch: no product is read again."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from calbatch.cluster.batch import liveness
from calbatch.cluster.display.exposure_details import describe_exposure
from calbatch.cluster.display.monitor import shorten
from calbatch.cluster.folder import BatchFolder
from calbatch.cluster.ledger import BatchRow, View
from calbatch.cluster.ledger.records import FAILED
from calbatch.cluster.reporting.entries import METRICS, ExposureEntry, read_entries
from calbatch.cluster.reporting.outliers import Comparison, score_entries

VERSION = 1
"""Version of the report for programs, raised when the meaning of an entry changes."""

MOST_LOGS = 200
"""Number of failures whose logs are in a report: the first ones."""

MOST_WARNINGS = 50
"""Number of kinds of warnings in a report, and of warnings of an exposure: the first ones."""

_LONGEST_COMMAND = 50
"""Number of inputs that the command repeats."""

_LONGEST_CONFIG = 200_000


@dataclass(frozen=True, kw_only=True)
class BatchReport:
    """The contents of a report.

    Attributes
    ----------
    folder : BatchFolder
        The batch's files.
    batch : BatchRow
        Its row of the ledger.
    state : str
        Its state.
    entries : sequence of ExposureEntry
        Its exposures.
    scores : mapping
        Comparisons of each exposure, by its number, most outlying first.
    logs : sequence of mapping
        Tries and logs of the first failures.
    config : str
        The ``.cfg`` with the parameters that were set.
    site : str
        The place where it ran.
    """

    folder: BatchFolder
    batch: BatchRow
    state: str
    entries: Sequence[ExposureEntry]
    scores: Mapping[int, Sequence[Comparison]]
    logs: Sequence[Mapping[str, Any]]
    config: str
    site: str

    def describe(self) -> dict[str, Any]:
        """Return the report as values for JSON, with texts that are safe to show."""
        return {
            "report": VERSION,
            "batch": self.batch.name,
            "state": self.state,
            "reason": shorten(self.batch.reason),
            "made": time.time(),
            "summary": self._summarize(),
            "counts": dict(Counter(entry.row.state for entry in self.entries)),
            "metrics": [metric._asdict() for metric in METRICS],
            "outliers": self._list_outliers(),
            "exposures": [self._describe_entry(entry) for entry in self.entries],
            "steps": self._add_up_steps(),
            "references": self._count_references(),
            "warnings": self._count_warnings(),
            "failures": self.logs,
            "repeat": self._describe_repetition(),
        }

    def _summarize(self) -> dict[str, Any]:
        rows = [entry.row for entry in self.entries]
        ended = self.batch.ended or time.time()
        return {
            "pipeline": shorten(self.batch.pipeline),
            "output": shorten(str(self.folder.output)),
            "site": shorten(self.site),
            "context": shorten(self.batch.context),
            "started": self.batch.started,
            "ended": self.batch.ended,
            "seconds": ended - self.batch.started if self.batch.started else None,
            "cpu": sum(_cpu(entry) for entry in self.entries),
            "memory": max((row.peak or 0 for row in rows), default=0) or None,
            "products": sum(len(entry.products) for entry in self.entries),
            "measured": sum(bool(entry.metrics.keys() - {"cpu"}) for entry in self.entries),
        }

    def _list_outliers(self) -> list[dict[str, Any]]:
        """Return the exposures that stand out, most outlying first, with the reasons in words."""
        found = []
        for entry in self.entries:
            reasons = [each for each in self.scores[entry.row.number] if each.stands_out]
            if reasons:
                found.append((entry, reasons))
        found.sort(key=lambda each: -abs(each[1][0].z))
        return [
            {
                "number": entry.row.number,
                "exposure": entry.name,
                "reasons": [str(score) for score in reasons],
            }
            for entry, reasons in found
        ]

    def _describe_entry(self, entry: ExposureEntry) -> dict[str, Any]:
        row = entry.row
        return {
            "number": row.number,
            "exposure": entry.name,
            "path": shorten(row.path),
            "state": row.state,
            "reason": shorten(row.reason.removeprefix(f"{row.path}: ")),
            "note": shorten(row.note),
            **entry.labels,
            "time": entry.time,
            "tries": row.attempts,
            "seconds": row.seconds,
            "memory": row.peak,
            "metrics": entry.metrics,
            "scores": {score.metric.name: round(score.z, 3) for score in self.scores[row.number]},
            "steps": {shorten(name): round(seconds, 4) for name, seconds in row.stages.items()},
            "warnings": [shorten(text) for text in row.warnings[:MOST_WARNINGS]],
            "references": {k: shorten(_file_of(used)) for k, used in entry.references.items()},
            "products": [_describe_product(each) for each in entry.products],
        }

    def _add_up_steps(self) -> list[dict[str, Any]]:
        totals: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        for entry in self.entries:
            totals.update(entry.row.stages)
            counts.update(entry.row.stages.keys())
        return [
            {"step": shorten(name), "cpu": seconds, "exposures": counts[name]}
            for name, seconds in totals.items()
        ]

    def _count_references(self) -> list[dict[str, Any]]:
        counts: Counter[tuple[str, str, str]] = Counter()
        for entry in self.entries:
            used = entry.references.items()
            counts.update((kind, _file_of(each), _checksum_of(each)) for kind, each in used)
        return [
            {"type": shorten(kind), "file": shorten(path), "sha1": shorten(sha1), "exposures": n}
            for (kind, path, sha1), n in sorted(counts.items())
        ]

    def _count_warnings(self) -> list[dict[str, Any]]:
        counts: Counter[str] = Counter()
        for entry in self.entries:
            path = entry.row.path
            counts.update({shorten(text.replace(path, "…")) for text in entry.row.warnings})
        return [
            {"warning": text, "exposures": count}
            for text, count in counts.most_common(MOST_WARNINGS)
        ]

    def _describe_repetition(self) -> dict[str, Any]:
        return {
            "command": _make_command(self.folder, self.batch),
            "configuration": self.config,
            "software": {shorten(k): shorten(v) for k, v in self.batch.software.items()},
        }


def read_report(folder: BatchFolder) -> BatchReport:
    """Return the contents of the report of a batch, which may be running.

    Raises
    ------
    LedgerError
        If there is no such batch, or its ledger cannot be read.
    """
    with View(folder.state) as view:
        row = view.batch(folder.name)
        entries = list(read_entries(view, row.id))
        failed = [each.row.number for each in entries if each.row.state in FAILED][:MOST_LOGS]
        logs = [describe_exposure(view, folder.name, number) for number in failed]
        site = view.last_event(row.id, "site")
    return BatchReport(
        folder=folder,
        batch=row,
        state=liveness.batch_state(folder, row),
        entries=entries,
        scores=score_entries(entries),
        logs=logs,
        config=_read_config(folder),
        site=site.text if site else "",
    )


def _read_config(folder: BatchFolder) -> str:
    try:
        with folder.config.open(encoding="utf-8", errors="replace") as file:
            return file.read(_LONGEST_CONFIG)
    except OSError:  # of a batch that was rebuilt
        return ""


def _make_command(folder: BatchFolder, batch: BatchRow) -> str:
    """Return the command that calibrates the same inputs with the same parameters and context."""
    request = batch.request
    inputs = request.get("inputs")
    given = [str(each) for each in inputs] if isinstance(inputs, list) else []
    words = ["calbatch", "run", str(folder.config), *given[:_LONGEST_COMMAND]]
    words += ["-o", str(folder.output)]
    words += ["--context", batch.context] if batch.context else []
    options = request.get("options")
    date = options.get("date") if isinstance(options, dict) else None
    words += ["--date", str(date)] if date else []
    words += ["--recursive"] if request.get("recursive") else []
    words += ["--no-pars"] if request.get("pars") is False else []
    more = len(given) - _LONGEST_COMMAND
    rest = f"  # and {more} more inputs" if more > 0 else ""
    return shlex.join(map(shorten, words)) + rest


def _cpu(entry: ExposureEntry) -> float:
    return sum(entry.row.stages.values()) or entry.row.cpu or 0.0


def _file_of(used: Any) -> str:
    """Return the file of a reference, which the ledger records with its checksum."""
    return str(used[0]) if isinstance(used, list) and used else str(used)


def _checksum_of(used: Any) -> str:
    return str(used[1]) if isinstance(used, list) and len(used) > 1 else ""


def _describe_product(product: Any) -> dict[str, Any]:
    """Return a product and its statistics as values for JSON, without its quick-look."""
    found = product.statistics
    described: dict[str, Any] = {"path": shorten(product.path)}
    if found is not None:
        described |= {
            "flags": {name: dict(counts) for name, counts in found.flags.items()},
            "values": dict(found.values),
            "metadata": dict(found.metadata),
            "samples": found.samples,
            "level": found.level,
            "noise": found.noise,
            "error": found.error,
        }
    return described
