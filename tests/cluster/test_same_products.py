"""Products of steps that decide about whole frames: the same on every scheduler, with any tiles."""

import pytest
from support.batches import DATE, checksums, quiet_console
from support.cases import long
from support.simulated import small_exposure

from calbatch import cluster
from calbatch.calibrate.simulate import Noise

EVENTS = {"cosmic_rays": 1000.0, "hot": 0.01, "showers": 50.0}
CLEANING = {"skip": False, "save_mask": True, "save_background": True, "save_noise": True}
MODES = {
    "MIRI": (
        {"exposure_type": "MIR_IMAGE", "noise": Noise(**EVENTS, interference=10.0, rscd=0.02)},
        {"emicorr": {"skip": False}, "jump": {"find_showers": True}},
    ),
    "NIRCAM": (
        {"exposure_type": "NRC_IMAGE", "zero_frame": True, "noise": Noise(**EVENTS, snowballs=100)},
        {
            "jump": {"expand_large_events": True, "edge_size": 5},
            "ramp_fit": {"suppress_one_group": False, "save_opt": True},
        },
    ),
}
"""Fields of the exposure, and parameters by step, by instrument."""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "how",
    [
        {"scheduler": "threads", "workers": 3, "tile_rows": 13},
        {"scheduler": "local", "workers": 2, "grain": "tile", "tile_rows": 9},
        long({"scheduler": "local", "workers": 1, "grain": "exposure", "tile_rows": 5}),
    ],
    ids=lambda how: " ".join(map(str, how.values())),
)
def test_products_do_not_depend_on_how_they_are_made(mode, how, tmp_path, monkeypatch):
    fields, parameters = MODES[mode]
    exposure = small_exposure(mode, shape=(48, 48), nints=2, ngroups=14, **fields)
    for name, value in exposure.set.environment().items():
        monkeypatch.setenv(name, value)
    further = {
        "charge_migration": {"skip": False, "signal_threshold": 15000.0},
        "clean_flicker_noise": CLEANING,
        "persistence": {"skip": False, "persistence_time": 60},
    }
    for out, options in (("whole", {"scheduler": "sync"}), ("other", how)):
        result = cluster.run(
            "detector1", exposure.path, tmp_path / out, parameters=parameters | further,
            save_steps="jump", date=DATE, fsync=False, console=quiet_console(), **options,
        )  # fmt: skip
        assert result.exit_status == 0
    assert len(checksums(tmp_path / "whole")) >= 6
    assert checksums(tmp_path / "whole") == checksums(tmp_path / "other")
