"""`calbatch report`: the summary, and files for people and programs."""

import json

import pytest
from support.batches import calbatch
from support.measured_batches import record_outlying
from support.recorded import product, record_batch

from calbatch.cluster.cli.commands import report_batch


@pytest.fixture
def folder(tmp_path):
    return record_outlying(tmp_path / "out", count=9)


@pytest.mark.parametrize(("state", "status"), [("done", 0), ("failed", 1), ("interrupted", 130)])
def test_without_a_file_the_summary_is_printed(tmp_path, capsys, state, status):
    exposures = [{"state": "done", "products": [product("a")], "stages": '{"jump": 1.5}'}]
    folder = record_batch(tmp_path, exposures, state)
    assert report_batch.main(folder.name, timings=True) == status
    said = capsys.readouterr().out
    assert "1.500" in said
    assert f"products are in {tmp_path}" in said


def test_a_page_is_written_to_a_file(folder, tmp_path):
    done = calbatch("report", str(folder.output), "-o", str(tmp_path / "report.html"))
    assert done.status == 0
    assert done.out == ""
    assert "report.html: " in done.err
    page = (tmp_path / "report.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert folder.name in page


def test_reports_for_programs_are_printed(folder):
    found = json.loads(calbatch("report", str(folder.output), "--json").out)
    assert found["batch"] == folder.name
    lines = calbatch("report", str(folder.output), "--csv").out.splitlines()
    assert len(lines) == 10


def test_reports_for_programs_are_written_to_a_file(folder, tmp_path):
    target = tmp_path / "report.csv"
    assert calbatch("report", str(folder.output), "--csv", "-o", str(target)).status == 0
    assert len(target.read_text().splitlines()) == 10


def test_a_file_that_cannot_be_written_is_an_error(folder, tmp_path):
    done = calbatch("report", str(folder.output), "-o", str(tmp_path / "missing" / "a.html"))
    assert done.status == 2
    assert "a.html: the report cannot be written" in done.err
    assert "give another file with -o" in done.err
