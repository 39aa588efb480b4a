"""`calbatch watch` beside other batches, and what it ends with."""

from types import SimpleNamespace

import pytest
from support.batches import DATE, calbatch, products_in

from calbatch.cluster.cli.commands import again
from calbatch.cluster.folder import state_of
from calbatch.cluster.ledger import HeldLedgerError, Ledger

HOW = ("--scheduler", "sync", "--date", DATE, "--no-fsync", "--settle", "0", "--idle", "0.5")


@pytest.fixture
def folder(simulated, tmp_path, monkeypatch):
    """Return a folder with an exposure, of a user without batches."""
    monkeypatch.setenv("CALBATCH_STATE_DIR", str(tmp_path / "notes"))
    monkeypatch.setattr(again, "EVERY", 0.05)
    made = tmp_path / "in"
    made.mkdir()
    (made / simulated.exposures[0].name).symlink_to(simulated.exposures[0])
    return made


def test_what_arrives_while_another_batch_runs_is_done_after_it(folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    other, refused, begin = Ledger(state_of(out)), [], again.begin

    def begun(*arguments):
        try:
            return begin(*arguments)
        except HeldLedgerError:
            refused.append(arguments)
            if len(refused) == 2:
                other.close()
            raise

    monkeypatch.setattr(again, "begin", begun)
    said = calbatch("watch", "superbias", folder, "-o", out, *HOW)
    assert said.status == 0, said.err
    assert said.err.count("waiting: ") == 1
    assert len(refused) == 2
    assert len(products_in(out)) == 1


def test_the_worst_of_its_batches_is_what_it_ends_with(folder, simulated, tmp_path, monkeypatch):
    results = [1, 130, 0]

    def drive(*arguments, **options):
        if len(results) > 1:
            path = simulated.exposures[len(results) - 1]
            (folder / path.name).symlink_to(path)
        return SimpleNamespace(exit_status=results.pop(0))

    monkeypatch.setattr(again, "drive", drive)
    said = calbatch("watch", "superbias", folder, "-o", tmp_path / "out", *HOW)
    assert said.status == 130, said.err
    assert results == []
