"""References that only MIRI has describe the effects that the simulator adds to its exposures."""

import numpy as np
import pytest

from calbatch.calibrate.simulate import SimulationSpec
from calbatch.calibrate.simulate.maps import make_maps
from calbatch.calibrate.simulate.miri_references import EXCLUDED_GROUPS, make_miri_references
from calbatch.calibrate.simulate.ramp import reset_factor
from calbatch.calibrate.simulate.readout_plan import plan_readout
from calbatch.calibrate.simulate.reference_parts import Setting


@pytest.fixture(scope="module")
def setting():
    spec = SimulationSpec("MIRIMAGE", subarray="SUB64", ngroups=3)
    readout = plan_readout(spec)
    maps = make_maps(readout.detector, readout.full_frame, spec.noise, 1)
    return Setting(spec, readout, maps, 1)


@pytest.fixture(scope="module")
def references(setting):
    return {reference.kind: reference for reference in make_miri_references(setting)}


def test_there_is_one_of_each_kind(references):
    assert list(references) == ["reset", "rscd", "emicorr"]
    assert {reference.instrument for reference in references.values()} == {"MIRI"}
    assert [reference.suffix for reference in references.values()] == [".fits", ".fits", ".asdf"]


def test_the_reset_anomaly_is_that_of_the_exposures(setting, references):
    data = references["reset"].extensions[0].data
    reset = setting.maps.cut(setting.readout.frame).reset
    for integration, group in np.ndindex(*data.shape[:2]):
        wanted = reset * np.float32(reset_factor(integration, group))
        np.testing.assert_array_equal(data[integration, group], wanted)


def test_groups_to_exclude_are_listed_for_every_pattern(references):
    [table] = references["rscd"].extensions
    assert set(table.data["subarray"]) == {b"SUB64"}
    assert {b"FAST", b"FASTR1", b"SLOWR1"} <= set(table.data["readpatt"])
    numbers = {tuple(row) for row in table.data[["group_skip1", "group_skip"]].tolist()}
    assert numbers == {EXCLUDED_GROUPS}


def test_interference_has_waves_for_the_subarray(references):
    tree = references["emicorr"].tree
    waves = tree["frequencies"]
    case = tree["subarray_cases"]["SUB64"]
    assert set(case["freqs"]["FAST"]) <= set(waves)
    assert all(wave["frequency"] > 0 for wave in waves.values())
