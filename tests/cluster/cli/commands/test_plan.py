"""`calbatch plan`: the work, time and space that a batch would take."""

import json
import re

import dask
import pytest
from support.batches import DATE, calbatch, quiet_console

from calbatch import cluster
from calbatch.cluster.cli.commands import plan
from calbatch.cluster.display.quantities import describe_about, megabytes
from calbatch.cluster.errors import RequestError
from calbatch.cluster.folder import STATE
from calbatch.cluster.ledger import LedgerError, View
from calbatch.cluster.ledger.store import NAME
from calbatch.models.tiling import reference_cache


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def forecast(simulated, tmp_path, capsys):
    """Return a function that plans exposures, and returns the status and the lines."""

    def main(*inputs, pipeline="superbias", **options):
        paths = [str(path) for path in inputs or simulated.exposures]
        how = {"scheduler": "sync", "output_dir": str(tmp_path / "out")} | options
        status = plan.main(pipeline, paths, **how)
        return status, capsys.readouterr().out.splitlines()

    return main


def table(lines, first):
    """Return the rows of the table whose heading starts with a word, as lists of cells."""
    rows = [re.split(r"\s*[│┃]\s*", line)[1:-1] for line in lines if line[:1] in "│┃"]
    start = next(n for n, row in enumerate(rows) if row[0] == first)
    width = len(rows[start])
    found = []
    for row in rows[start + 1 :]:
        if len(row) != width:
            break
        found.append(row)
    return found


def test_exposures_references_and_tiles_are_counted(forecast, simulated):
    status, lines = forecast()
    size = sum(path.stat().st_size for path in simulated.exposures) / 1e6
    assert status == 0
    assert lines[0].startswith(f"superbias: 3 exposures, {size:.1f} MB, context jwst_")
    [[kind, name, reference_size, count]] = table(lines, "type")
    [reference] = (simulated.crds / "references" / "jwst").rglob(name)
    assert (kind, count) == ("superbias", "3")
    assert reference_size == f"{reference.stat().st_size / 1e6:.1f} MB"
    [[_, members, tiles, rows, *_]] = table(lines, "kind")
    assert (members, tiles, rows) == ("3", "1", "48")


def test_nothing_is_written(forecast, tmp_path):
    forecast()
    assert not (tmp_path / "out").exists()


def test_exposures_that_would_fail_are_named(forecast, simulated, tmp_path):
    broken = tmp_path / "broken_uncal.fits"
    broken.write_bytes(b"SIMPLE")
    status, lines = forecast(simulated.exposures[0], broken)
    assert status == 1
    [line] = [line for line in lines if str(broken) in line]
    assert line.startswith("would fail: ")


def test_exposures_that_are_done_are_counted(forecast, simulated, tmp_path):
    cluster.run(
        "superbias", simulated.exposures[:2], tmp_path / "out", scheduler="sync", date=DATE,
        fsync=False, console=quiet_console(),
    )  # fmt: skip
    _, lines = forecast(date=DATE)
    assert any(line.startswith("2 ") and "intact" in line for line in lines)
    assert table(lines, "kind")[0][1] == "1"
    _, lines = forecast(date=DATE, force=True)
    assert table(lines, "kind")[0][1] == "3"


def test_failed_exposures_alone_need_some(forecast, simulated, tmp_path):
    cluster.run(
        "superbias", simulated.exposures[:1], tmp_path / "out", scheduler="sync", date=DATE,
        fsync=False, console=quiet_console(),
    )  # fmt: skip
    with pytest.raises(RequestError, match="none of the exposures has failed before"):
        forecast(only_failed=True)


def test_a_damaged_ledger_is_not_taken_for_a_missing_one(forecast, tmp_path):
    (tmp_path / "out" / STATE).mkdir(parents=True)
    (tmp_path / "out" / STATE / NAME).write_bytes(b"noise" * 1000)
    with pytest.raises(LedgerError, match=f"calbatch rebuild {tmp_path}/out"):
        forecast()


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """Return a user's registry without batches."""
    monkeypatch.setenv("CALBATCH_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def find_line(lines, subject):
    """Return the line about a subject, such as the time."""
    [line] = [line for line in lines if line.startswith(f"{subject}: ")]
    return line


def test_time_memory_and_disk_are_told_from_exposures_calibrated_before(
    forecast, simulated, tmp_path, registry
):
    result = cluster.run(
        "superbias", simulated.exposures[:2], tmp_path / "out", scheduler="sync", date=DATE,
        fsync=False, console=quiet_console(),
    )  # fmt: skip
    with View(result.folder.state) as view:
        rows = list(view.exposures(result.batch.id))
    work, peak = sum(max(row.seconds, row.cpu) for row in rows), max(row.peak for row in rows)
    for output in ("out", "another"):  # which has no ledger
        _, lines = forecast(date=DATE, force=True, output_dir=str(tmp_path / output))
        expected = describe_about(3 * work / 2)
        said = f"time: {expected} with 1 worker, judging by 2 exposures calibrated before"
        assert find_line(lines, "time") == said
        assert find_line(lines, "memory") == f"memory: about {megabytes(peak)}, as before"
        size = table(lines, "kind")[0][-1]
        disk = rf"disk: about {re.escape(size)} of products; [\d.]+ [GM]B are free"
        assert re.fullmatch(disk, find_line(lines, "disk"))


def test_a_plan_is_printed_for_programs(simulated, tmp_path, registry):
    broken = tmp_path / "broken\x1b_uncal.fits"
    broken.write_bytes(b"SIMPLE")
    inputs = [*simulated.exposures, broken]
    said = calbatch("plan", "superbias", *inputs, "-o", tmp_path / "out", "--json")
    found = json.loads(said.out)
    assert said.status == 1
    assert (found["pipeline"], found["exposures"], found["seconds"]) == ("superbias", 4, None)
    [kind] = found["kinds"]
    assert (kind["exposures"], kind["products"]) == (3, found["products"])
    assert 0 < found["products"] < found["free"]
    [reference] = found["references"]
    assert (reference["type"], reference["exposures"]) == ("superbias", 3)
    [failure] = found["failures"]
    assert failure["exposure"] == str(broken)
    assert not (tmp_path / "out").exists()


def test_without_experience_the_time_is_measured_on_request(forecast, tmp_path, registry):
    _, lines = forecast()
    assert "unknown until an exposure of this pipeline has been calibrated" in find_line(
        lines, "time"
    )
    _, lines = forecast(measure=True)
    assert re.fullmatch(
        r"time: about \d+ \w+ with 1 worker, judging by 1 exposure calibrated before",
        find_line(lines, "time"),
    )
    assert list(registry.glob("*.json")) == []
    assert not (tmp_path / "out").exists()


def test_other_batches_need_not_be_readable(forecast, registry):
    """A note may name a folder on a disk that is gone: here, a name that no disk accepts."""
    registry.mkdir(mode=0o700)
    output = registry / ("long" * 100)
    (registry / "20260101-000000-abcd.json").write_text(json.dumps({"output": str(output)}))
    status, lines = forecast()
    assert status == 0
    assert find_line(lines, "time").startswith("time: unknown until")
    registry.chmod(0o777)  # anyone could have written notes
    assert forecast()[0] == 0


def test_tiles_are_as_high_as_requested(forecast):
    _, lines = forecast(tile_rows=10)
    [[_, members, tiles, rows, *_]] = table(lines, "kind")
    assert (members, tiles, rows) == ("3", "5", "10")


def test_worker_processes_need_memory_together(forecast):
    _, one = forecast(scheduler="local", workers=1, grain="exposure")
    _, two = forecast(scheduler="local", workers=2, grain="exposure")
    assert "1 tile at a time, in 1 worker process:" in one[-1]
    assert "2 tiles at a time, in 2 worker processes:" in two[-1]

    def size(line):
        return float(re.search(r": ([\d.]+) MB", line)[1])

    assert size(two[-1]) == pytest.approx(2 * size(one[-1]), rel=0.05)


def test_references_are_kept_in_the_memory_that_tiles_leave(simulated, tmp_path):
    def plan_with(*options):
        said = calbatch(
            "plan", "detector1", *simulated.exposures, "-o", tmp_path / "out", "--scheduler",
            "local", "--workers", "1", "--grain", "exposure", *options,
        )  # fmt: skip
        return said.out

    with dask.config.set({reference_cache.SETTING: 10**6}):
        plain, cleaned = plan_with(), plan_with("--clean_flicker_noise.skip=False")
    before, left = (
        float(re.search(r"up to ([\d.]+) MB of references", said)[1]) for said in (plain, cleaned)
    )
    waiting = float(re.search(r"([\d.]+) MB more for tiles and flags", cleaned)[1])
    assert 0.1 < waiting < before <= 1.0
    assert left == pytest.approx(before - waiting, abs=0.15)  # all are rounded
