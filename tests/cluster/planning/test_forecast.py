"""Forecasts of the needs of a batch."""

import shutil
from pathlib import Path

import pytest
from support.batches import copy_changed

from calbatch.calibrate.step import Step
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
