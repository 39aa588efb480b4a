"""`calbatch demo`: it calibrates, compares, and fails when the numbers are not right."""

import os

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner
from rich.console import Console
from support.batches import products_in

from calbatch.calibrate.simulate import RateScore, RayScore
from calbatch.cluster.cli.app import cli
from calbatch.cluster.cli.commands import demo
from calbatch.cluster.errors import RequestError


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Return one demonstration of a single exposure: its folder, status and words."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "EXPOSURES", 1)
        patch.setenv("CRDS_PATH", str(folder / "nowhere"))
        patch.setenv("CRDS_CONTEXT", "jwst_9999.pmap")
        before = dict(os.environ)
        options = ["demo", "-o", str(folder / "demo")]
        result = CliRunner().invoke(cli, options, catch_exceptions=False)
        assert dict(os.environ) == before
    return folder, result


def test_it_ends_well(shown):
    _, result = shown
    assert result.exit_code == 0
    assert result.output.count("\nyes ") == 4
    assert "NO" not in result.output.split()


def test_the_named_files_exist(shown):
    folder, result = shown
    for name in ("exposures", "truth", "crds", "calibrated"):
        assert f"  {name}/" in result.output
        assert (folder / "demo" / name).is_dir()
    products = [p.name for p in products_in(folder / "demo" / "calibrated")]
    stem = "jw01234001001_02101_00001_nrca1"
    assert products == [f"{stem}_{s}.fits" for s in ("ramp", "rate", "rateints")]
    header = fits.getheader(folder / "demo" / "calibrated" / products[1])
    assert header["CRDS_CTX"] == "jwst_0001.pmap"  # the set's, not the environment's


def test_it_ends_with_what_to_type_for_other_exposures(shown):
    _, result = shown
    commands = [line.split()[1] for line in result.output.splitlines()[-3:]]
    assert commands == ["doctor", "plan", "run"]


def test_it_draws_a_small_picture(shown):
    pillow = pytest.importorskip("PIL.Image")  # matplotlib stands on it
    folder, result = shown
    assert "  picture.png  a picture" in result.output
    picture = folder / "demo" / "picture.png"
    assert picture.stat().st_size < 200_000
    with pillow.open(picture) as image:
        colours = np.asarray(image.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) > 30


def test_it_writes_into_no_other_folder(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RequestError, match="contains other files"):
        demo.main(str(tmp_path))


GOOD = demo.Score("a", RateScore(1000, 0.02, 1.01), RayScore(40, 0.97, 0.0001))
WRONG = {
    "mean": demo.Score("a", RateScore(1000, -0.3, 1.0), GOOD.rays),
    "scatter": demo.Score("a", RateScore(1000, 0.0, 1.2), GOOD.rays),
    "missed rays": demo.Score("a", GOOD.rate, RayScore(400, 0.9, 0.0001)),
    "false flags": demo.Score("a", GOOD.rate, RayScore(40, 1.0, 0.01)),
    "no value": demo.Score("a", RateScore(0, float("nan"), float("nan")), GOOD.rays),
}


@pytest.mark.parametrize("name", WRONG)
def test_any_number_out_of_bounds_is_reported(name, capsys):
    assert demo.verdict([GOOD, GOOD], Console())
    assert "NO" not in capsys.readouterr().out.split()
    assert not demo.verdict([GOOD, WRONG[name]], Console())
    assert "NO" in capsys.readouterr().out.split()


def test_rays_are_counted_over_all_exposures():
    few = demo.Score("b", GOOD.rate, RayScore(2, 0.5, 0.0))
    many = demo.Score("a", GOOD.rate, RayScore(98, 1.0, 0.0))
    assert demo.verdict([many, few], Console(quiet=True))
