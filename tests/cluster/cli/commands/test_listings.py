"""`calbatch steps`, `pipelines`, `sites`, `params` and `inspect`."""

import json

import dask
import numpy as np
import pytest
from support.batches import calbatch

from calbatch.calibrate.parameters import cfg
from calbatch.calibrate.registry import PIPELINES, STEPS, find
from calbatch.cluster.cli.commands import listings
from calbatch.cluster.planning.step_configuration import configure_step
from calbatch.models import datamodels


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def parameters(capsys, pipeline, values=None, **options):
    how = {"config": None, "as_cfg": False, "exposure": None, "context": None} | options
    listings.params(pipeline, values or {}, **how)
    return capsys.readouterr().out


def cells(text):
    """Return the cells of a table by their first, without the heading."""
    lines = [line for line in text.splitlines() if line.startswith("│")]
    rows = ([cell.strip() for cell in line.strip("│").split("│")] for line in lines)
    return {first: rest for first, *rest in rows}


@pytest.mark.parametrize(
    ("command", "names"), [(listings.steps, STEPS), (listings.pipelines, PIPELINES)]
)
def test_each_is_listed_with_the_first_line_of_its_docstring(capsys, command, names):
    command()
    found = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert {name: text.strip() for name, text in found.items()} == {
        name: find(name).__doc__.strip().splitlines()[0] for name in names
    }


def records(*arguments):
    """Return the records that a command prints as JSON."""
    said = calbatch(*arguments, "--json")
    assert said.status == 0, said.err
    return [json.loads(line) for line in said.out.splitlines()]


@pytest.mark.parametrize(("command", "names"), [("steps", STEPS), ("pipelines", PIPELINES)])
def test_each_is_listed_for_programs(command, names):
    found = records(command)
    assert {each["name"]: each["class"] for each in found} == names
    assert all(each["description"] for each in found)


def test_sites_are_listed_for_programs_without_their_secrets():
    site = {"kind": "cluster", "path": "a.B", "arguments": {"password": "secret", "n": 1}}
    with dask.config.set({"calbatch.sites": {"big": site}}):
        local, big = records("sites")
    assert (local["site"], local["options"]) == ("local", {"workers": None})
    assert (big["kind"], big["options"]["path"]) == ("cluster", "a.B")
    assert sorted(big["given"]) == ["arguments", "path"]
    assert "secret" not in json.dumps(big)


def test_parameters_are_listed_for_programs():
    found = {each["parameter"]: each for each in records("params", "jump", "--skip=True")}
    assert found["skip"]["value"] is True
    assert found["skip"]["from"] == "the command line"
    assert found["rejection_threshold"]["value"] == find("jump")().rejection_threshold
    said = calbatch("params", "jump", "--json", "--as-cfg")
    assert (said.status, said.out) == (2, "")


def test_a_piped_table_is_never_cut(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    step, lines = find("jump")(), parameters(capsys, "jump").splitlines()
    for name, parameter in step.parameters().items():
        [line] = [line for line in lines if f"│ {name} " in line]
        assert parameter.help in line


def test_configured_sites_are_listed(capsys):
    with dask.config.set({"calbatch.sites": {"big": {"kind": "slurm", "jobs": 20}}}):
        listings.sites()
    said = capsys.readouterr().out
    assert {"local", "big", "slurm"} <= set(said.split())


def test_parameters_are_shown_with_their_sources(capsys):
    found = cells(parameters(capsys, "jump", {"": {"rejection_threshold": "5"}}))
    assert found["rejection_threshold"][0] == "5.0"
    assert found["skip"][0] == "False"
    assert found["skip"][1] != found["rejection_threshold"][1]


def test_a_pipeline_shows_the_parameters_of_its_steps(capsys):
    found = cells(parameters(capsys, "detector1", {"jump": {"rejection_threshold": "5"}}))
    assert found["jump.rejection_threshold"][0] == "5.0"
    assert "save_calibrated_ramp" in found
    assert {name.partition(".")[0] for name in found} >= set(find("detector1")().steps())


def test_a_configuration_file_can_be_written_and_read(capsys, tmp_path):
    text = parameters(capsys, "jump", {"": {"rejection_threshold": "5"}}, as_cfg=True)
    file = tmp_path / "jump.cfg"
    file.write_text(text)
    assert configure_step("jump", config=str(file)).rejection_threshold == 5.0
    assert text == cfg.format_cfg(
        configure_step("jump", parameters={"": {"rejection_threshold": "5"}})
    )
    assert cells(parameters(capsys, "jump", config=str(file)))["rejection_threshold"][0] == "5.0"


def test_a_file_is_described_by_its_model(capsys, simulated):
    listings.inspect(str(simulated.exposures[0]), meta=False)
    assert capsys.readouterr().out.startswith(f"{datamodels.open(simulated.exposures[0])!r}\n")


def test_a_table_is_described_by_column_and_a_list_by_item(capsys, tmp_path):
    spectra = datamodels.MultiSpecModel()
    fields = spectra.schema.lists["spec"].item.fields
    names = [column.name for column in fields["spec_table"].columns]
    for number, rows in enumerate([3, 4]):
        table = np.ones(rows, [(name, "f8") for name in names])
        spectra.spec.add(name=f"S{number}", spec_table=table)
    spectra.spec[0].column_units("spec_table")["FLUX"] = "Jy"
    path = spectra.save(tmp_path / "spectra.fits", fsync=False)
    listings.inspect(str(path), meta=False)
    lines = capsys.readouterr().out.splitlines()
    assert "spec[0] S0: spec_table (3,)" in lines
    assert "spec[1] S1: spec_table (4,)" in lines
    columns = [line for line in lines if line.startswith("spec[0].spec_table: ")]
    assert len(columns) == len(names)
    assert "spec[0].spec_table: FLUX: float64, in Jy" in columns
    assert "spec[0].spec_table: DQ: uint32" in columns


def test_the_metadata_of_a_file_have_their_keywords(capsys, simulated):
    listings.inspect(str(simulated.exposures[0]), meta=True)
    lines = capsys.readouterr().out.splitlines()
    assert "meta.instrument.name (INSTRUME) = 'NIRCAM'" in lines
    assert "meta.exposure.ngroups (NGROUPS) = 5" in lines
