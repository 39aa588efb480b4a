"""`calbatch recalibrate` and `calbatch watch`, with batches that are not calibrated."""

import shutil

import pytest
from support.batches import DATE, quiet_console
from support.recorded import record_batch
from support.toys import write_association

from calbatch import cluster
from calbatch.cluster.batch.result import Ending, Result
from calbatch.cluster.cli.commands import again
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.policy import RetryPolicy
from calbatch.cluster.ledger import HeldLedgerError, Ledger, View

# -- recalibrate -------------------------------------------------------------------------------


@pytest.fixture
def calibrated(simulated, tmp_path):
    """Return a batch of two exposures, and the context that it used."""
    result = cluster.run(
        "superbias", simulated.exposures[:2], tmp_path, scheduler="sync", date=DATE, fsync=False,
        console=quiet_console(),
    )  # fmt: skip
    return result.folder, result.batch.context


def change_reference(folder, number):
    """Record that an exposure was calibrated with another superbias; return the present one."""
    with View(folder.state) as view:
        row = list(view.exposures(view.batch(folder.name).id))[number]
        references = view.references(row.id)
    [path, digest] = references["superbias"]
    with Ledger(folder.state) as ledger:
        ledger.add_body("other", references | {"superbias": ["/old/superbias_0.fits", digest]})
        ledger.update_exposure(ledger.batch(folder.name).id, number, refs="other")
    return path.rpartition("/")[2]


def test_the_same_references_are_no_reason(calibrated, capsys):
    folder, context = calibrated
    assert again.recalibrate(folder.name, context, dry_run=False) == 0
    assert "0 of 2 exposures" in capsys.readouterr().err
    with View(folder.state) as view:
        assert len(view.batches()) == 1


def test_another_reference_is_named_and_nothing_is_done_on_a_dry_run(calibrated, capsys):
    folder, context = calibrated
    reference = change_reference(folder, 1)
    assert again.recalibrate(folder.name, context, dry_run=True) == 0
    line, summary, *_ = capsys.readouterr().err.splitlines()
    assert line.endswith(f": superbias superbias_0.fits -> {reference}")
    assert summary.startswith("1 of 2 exposures")
    with View(folder.state) as view:
        assert len(view.batches()) == 1


def test_only_exposures_with_other_references_are_in_the_new_batch(calibrated):
    folder, context = calibrated
    change_reference(folder, 1)
    assert again.recalibrate(folder.name, context, dry_run=False) == 0
    with View(folder.state) as view:
        _, batch = view.batches()
        [row] = view.exposures(batch.id)
        second = list(view.exposures(view.batch(folder.name).id))[1]
    assert (batch.state, row.path) == ("done", second.path)
    assert batch.request["context"] == context


# -- watch -------------------------------------------------------------------------------------


class Watched:
    """A watched folder: an event at each pause, and the batches that are made."""

    def __init__(self, folder, output):
        self.folder, self.output = folder, output
        self.events, self.batches, self.states, self.held = [], [], [], 0
        self.now = 0.0

    def pause(self, seconds):
        """Let time pass, and the next event happen."""
        self.now += max(seconds, 1.0)
        if self.events:
            self.events.pop(0)()

    def begin(self, step, order, graph, hold):
        if self.held:
            self.held -= 1
            raise HeldLedgerError("a batch is running there")
        self.batches.append([path.rpartition("/")[2] for path in order.inputs])
        return order

    def drive(self, order, console, **how):
        state = self.states.pop(0) if self.states else "done"
        exposure = {"state": {"done": "done", "failed": "failed"}.get(state, "waiting")}
        exposures = [exposure | {"path": path} for path in order.inputs]
        folder = record_batch(self.output, exposures, state)
        return Result(folder, 1.0, Ending(state=state))

    def watch(self, pipeline="superbias", **options):
        how = {
            "settle": 0.0, "idle": 30.0, "scheduler": "sync", "output_dir": str(self.output),
            "policy": RetryPolicy(), "parameters": {},
        }  # fmt: skip
        return again.watch(pipeline, str(self.folder), **how | options)


@pytest.fixture
def watched(simulated, tmp_path, monkeypatch):
    made = Watched(tmp_path / "in", tmp_path / "out")
    made.folder.mkdir()
    made.output.mkdir()
    monkeypatch.setattr(again.time, "sleep", made.pause)
    monkeypatch.setattr(again.time, "monotonic", lambda: made.now)
    monkeypatch.setattr(again, "begin_batch", made.begin)
    monkeypatch.setattr(again, "drive", made.drive)
    made.sources = simulated.exposures
    return made


def put(watched, number, name=None):
    """Return a function that puts an exposure into the folder."""
    target = watched.folder / (name or f"e{number}_uncal.fits")
    return lambda: shutil.copy(watched.sources[number], target)


def test_exposures_are_calibrated_as_they_arrive(watched):
    watched.events = [put(watched, 0), lambda: None, lambda: None, put(watched, 1), put(watched, 2)]
    assert watched.watch() == 0
    assert [name for batch in watched.batches for name in batch] == [
        "e0_uncal.fits", "e1_uncal.fits", "e2_uncal.fits",
    ]  # fmt: skip
    assert len(watched.batches) >= 2


def test_other_files_are_left_alone(watched):
    watched.events = [put(watched, 0, "e0_uncal.txt"), put(watched, 1)]
    watched.watch()
    assert watched.batches == [["e1_uncal.fits"]]


def test_a_file_that_still_grows_is_waited_for(watched):
    whole = watched.sources[0].read_bytes()
    target = watched.folder / "e0_uncal.fits"
    sizes = []

    def grow(end):
        def write():
            target.write_bytes(whole[:end])
            sizes.append((len(watched.batches), end))

        return write

    watched.events = [grow(2880), grow(5760), grow(len(whole))]
    watched.watch(settle=2.0)
    assert sizes == [(0, 2880), (0, 5760), (0, len(whole))]
    assert watched.batches == [["e0_uncal.fits"]]


def test_a_file_that_stays_damaged_is_calibrated_in_the_end(watched):
    (watched.folder / "e0_uncal.fits").write_bytes(b"SIMPLE")
    watched.states = ["failed"]
    assert watched.watch(settle=2.0, idle=60.0) == 1
    assert watched.batches == [["e0_uncal.fits"]]
    assert watched.now >= 20.0


def test_a_file_that_changes_is_calibrated_again(watched):
    watched.events = [put(watched, 0), *[lambda: None] * 3, put(watched, 1, "e0_uncal.fits")]
    watched.watch()
    assert watched.batches == [["e0_uncal.fits"]] * 2


def test_a_held_ledger_is_waited_for_and_reported_once(watched, capsys):
    watched.held = 3
    put(watched, 0)()
    assert watched.watch() == 0
    assert watched.batches == [["e0_uncal.fits"]]
    assert capsys.readouterr().err.count("a batch is running there") == 1


def test_what_an_interrupted_batch_left_is_calibrated_with_the_next(watched):
    watched.states = ["interrupted", "done"]
    put(watched, 0)()
    put(watched, 1)()
    assert watched.watch() == 0
    assert watched.batches == [["e0_uncal.fits", "e1_uncal.fits"]] * 2


def test_watching_ends_while_nothing_can_be_done(watched):
    watched.states = ["interrupted"] * 99
    put(watched, 0)()
    assert watched.watch(idle=6.0) == 130


def test_the_worst_status_is_that_of_the_command(watched):
    watched.states = ["failed", "done"]
    watched.events = [put(watched, 0), *[lambda: None] * 3, put(watched, 1)]
    assert watched.watch() == 1
    assert len(watched.batches) == 2


def associate(watched, *members):
    """Return a function that puts an association of exposures into the folder."""
    target = watched.folder / "p_asn.json"
    return lambda: write_association(target, ("p", [("science", name) for name in members]))


def test_an_association_waits_for_its_members(watched, capsys):
    watched.events = [associate(watched, "e0_rate.fits"), *[lambda: None] * 3,
                      put(watched, 0, "e0_rate.fits")]  # fmt: skip
    assert watched.watch("support.toys:Toy2") == 0
    assert watched.batches == [["e0_rate.fits", "p_asn.json"]]
    assert capsys.readouterr().err.count("p_asn.json: waits for e0_rate.fits") == 1


def test_watching_that_ends_before_a_member_arrives_is_interrupted(watched):
    associate(watched, "e0_rate.fits", "e1_rate.fits")()
    put(watched, 0, "e0_rate.fits")()
    assert watched.watch("support.toys:Toy2") == 130
    assert watched.batches == []


def test_an_association_that_cannot_be_used_is_a_failure_until_it_is_repaired(watched, capsys):
    bad = associate(watched, "e0_rate.fits", "e0_rate.fits")
    watched.events = [bad, put(watched, 0, "e0_rate.fits")]
    assert watched.watch("support.toys:Toy2") == 1
    assert "p lists e0_rate.fits twice" in capsys.readouterr().err
    assert watched.batches == []
    associate(watched, "e0_rate.fits")()
    assert watched.watch("support.toys:Toy2") == 0
    assert watched.batches == [["e0_rate.fits", "p_asn.json"]]


def test_only_failed_exposures_cannot_be_watched(watched):
    with pytest.raises(RequestError, match="--only-failed: exposures that arrive"):
        watched.watch(only_failed=True)


def test_exposures_in_order_cannot_be_watched(watched):
    with pytest.raises(RequestError, match="accumulate takes exposures in order: use"):
        watched.watch("support.toys:Ordered")


def test_associations_that_the_pipeline_does_not_take_are_left_alone(watched, capsys):
    write_association(watched.folder / "p_asn.json", ("p", [("science", "e0_uncal.fits")]))
    put(watched, 0)()
    assert watched.watch() == 0
    assert "associations" not in capsys.readouterr().err


def test_a_missing_folder_is_an_error(watched, tmp_path):
    watched.folder = tmp_path / "nowhere"
    with pytest.raises(RequestError, match="there is no folder"):
        watched.watch()


def test_one_name_for_all_products_is_an_error(watched):
    with pytest.raises(RequestError, match=r"output_file = x\.fits: "):
        watched.watch(parameters={"": {"output_file": "x.fits"}})
