"""A batch in its ledger: registered, resumed, and held until it is driven."""

import pytest
from support.batches import DATE, quiet_console

from calbatch.cluster.batch import python_api
from calbatch.cluster.batch.arguments import BatchArguments
from calbatch.cluster.batch.registering import begin_batch, resume_batch
from calbatch.cluster.folder import find_registered, state_of
from calbatch.cluster.ledger import HeldLedgerError, Ledger, View

HOW = {"scheduler": "sync", "date": DATE, "fsync": False}


@pytest.fixture(autouse=True)
def _own_registry(tmp_path, monkeypatch):
    monkeypatch.setenv("CALBATCH_STATE_DIR", str(tmp_path / "notes"))


def require_held(state):
    with pytest.raises(HeldLedgerError):
        Ledger(state)


def test_run_holds_the_ledger_from_registration_to_the_end(simulated, tmp_path, monkeypatch):
    drive, out = python_api.drive, tmp_path / "out"

    def try_another_first(*arguments, **options):
        require_held(state_of(out))
        return drive(*arguments, **options)

    monkeypatch.setattr(python_api, "drive", try_another_first)
    result = python_api.run(
        "superbias", simulated.exposures[:1], out, console=quiet_console(), **HOW
    )
    assert result.state == "done"
    with Ledger(state_of(out)):
        pass


def test_a_batch_refused_by_a_held_ledger_is_not_registered(simulated, tmp_path):
    out = tmp_path / "out"
    with Ledger(state_of(out)), pytest.raises(HeldLedgerError):
        python_api.run("superbias", simulated.exposures[:1], out, console=quiet_console(), **HOW)
    assert list(find_registered()) == []
    with View(state_of(out)) as view:
        assert view.batches() == []


def test_a_batch_taken_up_holds_the_ledger_only_if_anything_is_left(simulated, tmp_path):
    folder = begin_batch(
        *python_api.build_order(
            BatchArguments("superbias", simulated.exposures[:1], tmp_path, **HOW)
        )
    ).folder
    with resume_batch(folder, hold=True).hold_ledger() as ledger:
        require_held(folder.state)
        ledger.update_exposure(ledger.batch(folder.name).id, 0, state="done")
    assert resume_batch(folder, failed=True, hold=True).ledger is None
    with View(folder.state) as view:
        assert view.batch(folder.name).state == "done"
