"""`calbatch rebuild`: its report on the new ledger."""

import pytest
from support.recorded import record_batch

from calbatch.cluster.batch.manifest import write_manifest
from calbatch.cluster.cli.commands import rebuild
from calbatch.cluster.errors import RequestError
from calbatch.cluster.ledger import View
from calbatch.cluster.ledger.store import NAME


@pytest.fixture
def folder(tmp_path):
    made = record_batch(tmp_path, [{"state": "failed", "reason": "is empty"}, {}], "interrupted")
    write_manifest(made, "interrupted")
    return made


def test_an_intact_ledger_stays(folder, capsys):
    assert rebuild.main(str(folder.output)) == 0
    assert "the ledger is intact" in capsys.readouterr().out


def test_each_batch_and_the_damaged_ledger_are_named(folder, capsys):
    other = record_batch(folder.output, [{}], "interrupted")
    (folder.state / NAME).write_bytes(b"no database")
    assert rebuild.main(str(folder.output)) == 0
    first, second, last = capsys.readouterr().out.splitlines()
    known, unknown = (first, second) if folder.name < other.name else (second, first)
    assert known == f"{folder.name}: 0 of 2 exposures done"
    assert unknown.startswith(f"{other.name}: ")
    [aside] = folder.state.glob("ledger.damaged-*")
    assert last.endswith(str(aside))
    with View(folder.state) as view:
        assert [batch.name for batch in view.batches()] == [folder.name]


def test_a_folder_without_batches_is_an_error(tmp_path):
    with pytest.raises(RequestError, match="there are no batches"):
        rebuild.main(str(tmp_path))
