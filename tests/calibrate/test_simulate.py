"""The public names of the simulator."""

import calbatch.calibrate.simulate


def test_the_public_names_exist_and_are_documented():
    for name in set(calbatch.calibrate.simulate.__all__) - {"PRESETS"}:
        assert getattr(calbatch.calibrate.simulate, name).__doc__
    assert "demo" in calbatch.calibrate.simulate.PRESETS
