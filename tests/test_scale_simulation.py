"""The simulation of long batches agrees with its costs where these alone decide."""

import importlib.util
import sys

import pytest
from support.repository import ROOT

PLENTY = 1e15
"""Bytes per second that nothing has to wait for."""


@pytest.fixture(scope="module")
def module():
    folder = ROOT / "benchmarks"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        spec = importlib.util.spec_from_file_location("simulated", folder / "scale_simulation.py")
        loaded = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, "simulated", loaded)
        spec.loader.exec_module(loaded)
        yield loaded


@pytest.mark.parametrize("workers", [1, 4, 10])
def test_workers_that_wait_for_nothing_share_the_calibrations(module, workers):
    costs = module.Costs(driver=0.0)
    seconds = module.Simulation(100, workers, PLENTY, costs).run()
    assert seconds == pytest.approx(costs.start + -(-100 // workers) * costs.calibration, rel=1e-3)


def test_a_slow_driver_decides(module):
    costs = module.Costs(driver=1.0)
    seconds = module.Simulation(100, 8, PLENTY, costs).run()
    assert seconds == pytest.approx(costs.start + 100 * costs.driver, rel=0.02)


def test_a_slow_file_system_decides(module):
    costs = module.Costs(calibration=0.001, driver=0.0)
    seconds = module.Simulation(100, 8, 1e8, costs).run()
    moved = 8 * costs.references + 100 * (costs.read + costs.written)
    assert seconds == pytest.approx(costs.start + moved / 1e8, rel=0.02)


def test_the_table_names_the_bottleneck(module):
    table = module.make_table(300, module.Costs())
    found = {(row[0], row[1]): row[-1] for row in table.rows}
    assert found["0.2", "64"] == "file system"
    assert found["20", "1"] == "workers"
    table = module.make_table(300, module.Costs(driver=1.0))
    assert {row[-1] for row in table.rows if row[0] == "20"} == {"driver"}
