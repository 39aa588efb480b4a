"""Statistics gathered while models are saved: of the file's pixels, in any tiling."""

import dask
import numpy as np
import pytest
from astropy.io import fits

from calbatch.models import datamodels, dq
from calbatch.models.saving import build_saving_graph, save_result

SHAPE = (70, 64)


def image():
    rng = np.random.default_rng(2)
    model = datamodels.ImageModel(rng.normal(5, 1, SHAPE).astype("f4"))
    model.dq = np.where(rng.random(SHAPE) < 0.2, dq.JUMP_DET, 0).astype(np.uint32)
    model.err = np.full(SHAPE, 0.5, "f4")
    return model


def save(model, path, rows, **options):
    with dask.config.set({"calbatch.tile-rows": rows, "scheduler": "sync"}):
        graph, _ = build_saving_graph([(model, path)], date="2024-01-31T12:00:00", **options)
        return save_result(dask.compute(graph)[0])


def test_statistics_are_those_of_the_file(tmp_path):
    path = tmp_path / "a.fits"
    result = save(image(), path, 16, with_statistics=True)
    found = result.statistics[str(path)]
    flags = fits.getdata(path, "DQ")
    jumps = int(np.count_nonzero(flags == dq.JUMP_DET))
    assert found.flags == {"dq": {"GOOD": flags.size - jumps, "JUMP_DET": jumps}}
    assert found.values == {"dq": flags.size}
    assert found.error == 0.5
    assert found.level == pytest.approx(float(np.median(fits.getdata(path, "SCI"))), abs=0.05)
    assert found.quick_look.levels().shape == SHAPE
    assert "statistics" in result.seconds


def test_statistics_and_files_do_not_depend_on_the_tiling(tmp_path):
    name = str(tmp_path / "a.fits")
    found, contents = [], []
    for rows in (7, 70):
        found.append(save(image(), tmp_path / "a.fits", rows, with_statistics=True).statistics)
        contents.append((tmp_path / "a.fits").read_bytes())
    assert found[0][name] == found[1][name]
    save(image(), tmp_path / "a.fits", 16)
    assert contents == [(tmp_path / "a.fits").read_bytes()] * 2  # nor on whether there are any


def test_no_statistics_are_gathered_unless_wanted(tmp_path):
    result = save(image(), tmp_path / "a.fits", 16)
    assert result.statistics == {}
    assert "statistics" not in result.seconds


def test_a_ramp_has_flags_of_pixels_and_groups(tmp_path):
    ramp = datamodels.RampModel((2, 3, 8, 8))
    ramp.groupdq = np.full((2, 3, 8, 8), dq.SATURATED, np.uint8)
    ramp.pixeldq = np.zeros((8, 8), np.uint32)
    found = save(ramp, tmp_path / "a.fits", 4, with_statistics=True)
    flags = found.statistics[str(tmp_path / "a.fits")].flags
    assert flags == {"pixeldq": {"GOOD": 64}, "groupdq": {"SATURATED": 384}}


def test_a_file_of_tables_has_no_statistics(tmp_path):
    model = datamodels.open(image())
    empty = type(model)()
    result = save(empty, tmp_path / "a.fits", 4, with_statistics=True) if empty.shape else None
    assert result is None or list(result.statistics) == [str(tmp_path / "a.fits")]
