"""A batch's step from its ``batch.cfg``, which must say the same as the ledger."""

from dataclasses import replace

import pytest
from support.batches import DATE, calbatch

from calbatch.cluster.batch.arguments import BatchArguments
from calbatch.cluster.batch.python_api import build_order
from calbatch.cluster.batch.reconfiguring import reconfigure
from calbatch.cluster.batch.registering import begin_batch
from calbatch.cluster.errors import RequestError
from calbatch.cluster.ledger import DamagedLedgerError, View
from calbatch.cluster.planning.identity import settings_digest

PARAMETERS = {
    "save_calibrated_ramp": True,
    "jump": {"rejection_threshold": 5.25, "maximum_cores": "none"},
    "ramp_fit": {"suffix": "fit"},
}


@pytest.fixture
def begun(simulated, tmp_path):
    """Return a batch that has been registered and not driven."""
    inputs = simulated.exposures[:1]
    how = {"scheduler": "sync", "date": DATE, "parameters": PARAMETERS}
    return begin_batch(
        *build_order(BatchArguments("calwebb_detector1", inputs, tmp_path / "out", **how))
    )


def reconfigure_batch(folder):
    with View(folder.state) as view:
        return reconfigure(folder, view.batch(folder.name))


def test_a_whole_file_gives_the_parameters_of_the_batch(begun):
    found = settings_digest(reconfigure_batch(begun.folder), DATE)
    assert found == settings_digest(begun.step, DATE)


def test_a_file_cut_anywhere_is_refused_or_lacks_nothing(begun):
    whole = begun.folder.config.read_text()
    wanted = settings_digest(begun.step, DATE)
    ends = {0, *(i + 1 for i, letter in enumerate(whole) if letter == "\n")}
    ends |= {whole.index("5.25") + 1, whole.index("5.25") + 3}
    refused = 0
    for end in sorted(ends):
        begun.folder.config.write_text(whole[:end])
        try:
            assert settings_digest(reconfigure_batch(begun.folder), DATE) == wanted
        except RequestError:
            refused += 1
    assert refused == len(ends) - 1


def test_resume_refuses_a_cut_file_and_calibrates_nothing(begun):
    config = begun.folder.config
    lines = config.read_text().splitlines(keepends=True)
    [cut] = [n for n, line in enumerate(lines) if line.startswith("[ramp_fit]")]
    config.write_text("".join(lines[:cut]))
    said = calbatch("resume", begun.folder.name)
    assert said.status == 2
    assert "ramp_fit.suffix is None, but the batch was started with fit" in said.err
    assert "`calbatch run`" in said.err
    assert not list(begun.folder.output.glob("*.fits"))


def test_a_default_of_a_later_release_is_no_change(begun):
    with View(begun.folder.state) as view:
        row = view.batch(begun.folder.name)
    row.parameters["jump"]["flag_4_neighbors"][0] = "of an earlier release"
    assert reconfigure(begun.folder, row).jump.rejection_threshold == 5.25


@pytest.mark.parametrize("parameters", [None, [], {"": ["x"]}, {"jump": {"skip": ["False"]}}])
def test_undecodable_parameters_are_damage_of_the_ledger(begun, parameters):
    with View(begun.folder.state) as view:
        row = replace(view.batch(begun.folder.name), parameters=parameters)
    with pytest.raises(DamagedLedgerError, match="calbatch rebuild"):
        reconfigure(begun.folder, row)
