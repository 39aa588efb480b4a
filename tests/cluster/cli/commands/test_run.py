"""`calbatch run`: a batch with its summary."""

import pytest
from support.recorded import product, record_batch

from calbatch.cluster.batch import python_api
from calbatch.cluster.batch.result import Result
from calbatch.cluster.cli.commands import run


@pytest.mark.parametrize(
    ("exposure", "state", "status"),
    [
        ({"state": "done", "products": [product("a")]}, "done", 0),
        ({"state": "failed", "reason": "e0: is empty"}, "failed", 1),
        ({}, "cancelled", 130),
    ],
)
def test_the_summary_is_on_standard_output_and_the_status_is_the_batchs(
    tmp_path, monkeypatch, capsys, exposure, state, status
):
    folder, calls = record_batch(tmp_path, [exposure], state), []

    def calibrate(*arguments, console, **options):
        calls.append((arguments, options))
        console.print("progress")
        return Result(folder, 1.0)

    monkeypatch.setattr(python_api, "run", calibrate)
    found = run.main("jump", ["a.fits"], timings=False, workers=3)
    said = capsys.readouterr()
    assert found == status
    assert calls == [(("jump", ["a.fits"]), {"workers": 3})]
    assert said.err == "progress\n"
    assert "peak memory" in said.out
    assert ("resume" in said.out) == (status != 0)


def test_timings_are_shown_when_they_are_asked_for(tmp_path, monkeypatch, capsys):
    folder = record_batch(tmp_path, [{"state": "done", "stages": '{"jump": 1.5}'}])
    monkeypatch.setattr(python_api, "run", lambda *given, **more: Result(folder, 1.0))
    run.main("jump", ["a.fits"], timings=True)
    assert "1.500" in capsys.readouterr().out
    run.main("jump", ["a.fits"], timings=False)
    assert "1.500" not in capsys.readouterr().out
