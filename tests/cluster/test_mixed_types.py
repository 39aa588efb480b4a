"""Batches of science and guide-star exposures: each pipeline calibrates its own."""

import re

import pytest
from support.batches import products_in, quiet_console

from calbatch.calibrate.simulate import PRESETS, SimulationSpec, simulate
from calbatch.cluster import run

SCIENCE = SimulationSpec(
    "NRCA1", "GENERIC", shape=(32, 32), corner=(1, 1), ngroups=3, full_references=False
)
TRACK = next(s for s in PRESETS["guide-stars"] if s.exposure_type == "FGS_TRACK")


@pytest.mark.parametrize(
    ("pipeline", "suffixes", "refused", "message"),
    [
        ("guider", ["guider1_cal"], "nrca1", "calibrate only guide stars .* detector1"),
        ("detector1", ["nrca1_rate", "nrca1_rateints"], "guider1", "calbatch run guider"),
    ],
)
def test_the_others_are_named(tmp_path, monkeypatch, pipeline, suffixes, refused, message):
    mixed = simulate(tmp_path / "set", spec=[SCIENCE, TRACK], exposures=1)
    for name, value in mixed.environment().items():
        monkeypatch.setenv(name, value)
    result = run(
        pipeline, mixed.exposures, tmp_path / "out", scheduler="sync", console=quiet_console()
    )
    written = [path.name for path in products_in(tmp_path / "out")]
    assert [name.partition("00001_")[2] for name in written] == [f"{s}.fits" for s in suffixes]
    (failed,) = result.failed
    assert failed.path.name.endswith(f"{refused}_uncal.fits")
    assert re.search(message, failed.error)


def test_every_type_of_guide_star_in_one_batch(tmp_path, monkeypatch):
    made = simulate(tmp_path / "set", spec="guide-stars", exposures=1)
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    result = run(
        "guider", made.exposures, tmp_path / "out", scheduler="sync", console=quiet_console()
    )
    assert result.failed == []
    wanted = [path.name.replace("_uncal", "_cal") for path in made.exposures]
    assert [path.name for path in products_in(tmp_path / "out")] == sorted(wanted)
