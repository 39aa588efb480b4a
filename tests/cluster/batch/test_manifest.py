"""A batch is done only once its manifest has been written."""

import json

from support.batches import DATE, quiet_console

from calbatch.cluster import run
from calbatch.cluster.batch import session
from calbatch.cluster.ledger import View


def test_a_batch_is_done_only_once_its_manifest_is_written(simulated, tmp_path, monkeypatch):
    states, write = [], session.write_manifest

    def write_and_note_state(folder, *arguments):
        write(folder, *arguments)
        with View(folder.state) as view:
            states.append(view.batch(folder.name).state)

    monkeypatch.setattr(session, "write_manifest", write_and_note_state)
    result = run(
        "superbias", simulated.exposures[:1], tmp_path, scheduler="sync", date=DATE, fsync=False,
        console=quiet_console(),
    )  # fmt: skip
    assert states == ["running"]
    assert result.batch.state == "done"
    manifest = json.loads(result.folder.manifest.read_text())
    assert manifest["state"] == "done"
    assert [entry["state"] for entry in manifest["exposures"]] == ["done"]
