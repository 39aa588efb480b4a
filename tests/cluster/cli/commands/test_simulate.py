"""`calbatch simulate`: its files, its output, and folders that it refuses."""

import errno
import json
import os

import pytest
from astropy.io import fits
from click.testing import CliRunner

from calbatch.calibrate.simulate import PRESETS, SimulationSpec
from calbatch.cluster.cli.app import cli
from calbatch.cluster.cli.commands.simulate import RECORD_NAME
from calbatch.cluster.errors import RequestError

TINY = (
    SimulationSpec("NIS", "GENERIC", shape=(16, 24), corner=(1, 1), ngroups=3, nints=2,
                   full_references=False),
    SimulationSpec("MIRIMAGE", "GENERIC", shape=(16, 24), corner=(9, 9), ngroups=3,
                   full_references=False),
)  # fmt: skip


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(PRESETS, "tiny", TINY)


def simulate(folder, *options, preset="tiny"):
    arguments = ["simulate", str(folder), "--preset", preset, "--exposures", "1", *options]
    return CliRunner().invoke(cli, arguments, catch_exceptions=False).output


def test_it_lists_its_files_and_the_command_to_calibrate_them(tmp_path):
    said = simulate(tmp_path / "set")
    assert "2 raw exposures" in said
    assert "1 of NIRISS NIS, 24 x 16 pixels, 2 integrations of 3 groups" in said
    assert f"export CRDS_PATH={tmp_path}/set/crds CRDS_CONTEXT=jwst_0001.pmap" in said
    assert f"calbatch run detector1 {tmp_path}/set/exposures -o {tmp_path}/set/calibrated" in said
    raw = sorted((tmp_path / "set" / "exposures").glob("*_uncal.fits"))
    assert [fits.getheader(path)["INSTRUME"] for path in raw] == ["NIRISS", "MIRI"]
    assert (tmp_path / "set" / "crds" / "mappings" / "jwst" / "jwst_0001.pmap").is_file()


def test_names_with_blanks_are_quoted(tmp_path):
    assert f"CRDS_PATH='{tmp_path}/my set/crds'" in simulate(tmp_path / "my set")


def test_the_same_again_is_the_same(tmp_path):
    simulate(tmp_path / "set")
    before = {p: p.read_bytes() for p in (tmp_path / "set").rglob("*") if p.is_file()}
    simulate(tmp_path / "set")
    assert {p: p.read_bytes() for p in (tmp_path / "set").rglob("*") if p.is_file()} == before


def test_another_seed_gives_other_pixels(tmp_path):
    simulate(tmp_path / "a"), simulate(tmp_path / "b", "--seed", "1")
    raw = [next((tmp_path / name / "exposures").glob("*nis_uncal.fits")) for name in "ab"]
    assert (fits.getdata(raw[0]) != fits.getdata(raw[1])).any()


def test_it_does_not_mix_sets(tmp_path):
    simulate(tmp_path / "set")
    with pytest.raises(RequestError, match="made differently"):
        simulate(tmp_path / "set", "--seed", "1")
    assert json.loads((tmp_path / "set" / RECORD_NAME).read_text())["seed"] == 0


def test_it_does_not_touch_others_folders(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RequestError, match="contains other files"):
        simulate(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_file_in_the_way_is_reported(tmp_path):
    (tmp_path / "set").write_text("mine")
    with pytest.raises(RequestError, match=f"cannot write to .*set: {os.strerror(errno.EEXIST)}"):
        simulate(tmp_path / "set")


def test_an_unknown_preset_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(RequestError, match=r"no preset 'huge': choose one of demo, "):
        simulate(tmp_path / "set", preset="huge")
    assert not (tmp_path / "set").exists()
