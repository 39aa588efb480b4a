"""Forecasts of the needs of a batch."""

import shutil
from pathlib import Path

import pytest
from support.batches import copy_changed, quiet_console

from calbatch.calibrate.step import Step
from calbatch.cluster import run
from calbatch.cluster.display.fetch_progress import TO_BE_FETCHED
from calbatch.cluster.ledger import ProductRow
from calbatch.cluster.planning.forecast import Forecast, forecast
from calbatch.cluster.planning.planner import Planner, open_references
from calbatch.cluster.planning.step_configuration import configure_step


class Failing(Step):
    """A step that cannot even be planned."""

    def process(self, exposure):
        raise KeyError("surprise")


def plan(paths, pipeline="dq_init", **parameters):
    step = configure_step(pipeline, parameters={"": parameters})
    planner = Planner(step, open_references(step), use_pars=False)
    return planner.plan_block(list(enumerate(paths)))


@pytest.fixture
def raw(simulated, tmp_path):
    return Path(shutil.copy(simulated.exposures[0], tmp_path / "a_uncal.fits"))


def test_like_exposures_form_a_group(simulated):
    found = forecast(plan(simulated.exposures))
    (group,) = found.groups
    assert group.members == len(simulated.exposures)
    assert group.title.startswith("NRCA1 ")
    assert group.title.endswith(", 2 x 5 x 48 x 64")
    assert group.budget.bytes > 0
    pixels = 2 * 5 * 48 * 64
    assert group.output_bytes >= 4 * pixels
    (((kind, file), count),) = found.references.items()
    assert (kind, count) == ("mask", len(simulated.exposures))
    assert file.is_file()


def test_files_that_a_step_itself_writes_are_left_out(raw, tmp_path):
    state = tmp_path / "windows.asdf"
    parameters = {"skip": False, "persistence_time": 100, "save_persistence": str(state)}
    found = forecast(plan([raw], "persistence", **parameters))
    assert (len(found.groups), found.errors) == (1, {})
    assert not state.exists()


def test_other_modes_form_other_groups(raw, tmp_path):
    other = copy_changed(raw, tmp_path / "b_uncal.fits", READPATT="BRIGHT1")
    found = forecast(plan([raw, other, raw]))
    assert sorted(group.members for group in found.groups) == [1, 2]


def test_exposures_that_cannot_be_opened_are_errors(raw, tmp_path):
    bad = tmp_path / "b_uncal.fits"
    bad.write_bytes(b"not FITS")
    found = forecast(plan([raw, bad]))
    assert len(found.groups) == 1
    assert list(found.errors) == [bad]
    assert found.errors[bad].startswith(f"{bad}: ")


def test_exposures_that_the_pipeline_refuses_are_errors(raw):
    found = forecast(plan([raw], Failing))
    assert found.groups == []
    assert found.errors[raw].startswith(f"{raw}: KeyError: 'surprise'")


def test_each_of_several_exposures_is_named(raw, tmp_path):
    other = copy_changed(raw, tmp_path / "b_uncal.fits")
    found = forecast(plan([raw, other], Failing))
    assert [reason.partition(": KeyError")[0] for reason in found.errors.values()] == [
        str(raw), str(other),
    ]  # fmt: skip


ODD_CARDS = {
    "NFRAMES": "1", "GROUPGAP": -1, "TGROUP": "10.7", "TFRAME": None, "NOUTPUTS": "4",
    "DRPFRMS1": "0", "ZEROFRAM": "F", "SUBSTRT1": "1", "SLOWAXIS": None, "FRMDIVSR": "1",
    "GAINFACT": "2", "INTSTART": "1",
}  # fmt: skip


def test_a_number_that_a_step_refuses_is_seen_among_like_exposures(raw, tmp_path):
    odd = [
        copy_changed(raw, tmp_path / f"{keyword}_uncal.fits", **{keyword: value})
        for keyword, value in ODD_CARDS.items()
    ]
    exposures = [raw, *odd, copy_changed(raw, tmp_path / "z_uncal.fits")]
    found = forecast(plan(exposures, "detector1", output_dir=str(tmp_path / "out")))
    result = run(
        "detector1", exposures, tmp_path / "out", scheduler="sync", console=quiet_console(),
        fsync=False, pars=False,
    )  # fmt: skip
    assert found.errors == {outcome.path: outcome.error for outcome in result.failed}
    assert odd[0] in found.errors
    (group,) = found.groups  # those that a step accepts need the same as the others
    assert group.members == len(exposures) - len(found.errors)


def test_exposures_with_intact_products_are_counted(raw):
    (planned,) = plan([raw])
    planned.earlier_products = [ProductRow("/a.fits", 1, 2, "d")]
    planned.rerun_reason = "its header has changed"
    found = forecast([planned])
    assert (found.kept, found.groups) == (1, [])
    assert found.changed == {raw: "its header has changed"}


def test_exposures_whose_references_must_be_fetched_are_unknown(raw):
    (planned,) = plan([raw])
    planned.references.missing["dark"] = f"dark.fits {TO_BE_FETCHED}"
    found = forecast([planned])
    assert (found.unknown, found.groups) == (1, [])


def test_overridden_references_are_not_counted(raw):
    found = forecast(plan([raw], override_mask="N/A"))
    assert found.references == {}
    assert len(found.groups) == 1


def test_hooks_run_no_commands(raw, tmp_path):
    marker = tmp_path / "marker"
    forecast(plan([raw], pre_hooks=[f"touch {marker} {{0}}"]))
    assert not marker.exists()


def test_nothing_to_do_needs_nothing():
    assert forecast([]) == Forecast()
