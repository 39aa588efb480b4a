"""Time series: segments of an exposure, and many integrations in bounded memory."""

import tracemalloc

import dask
import numpy as np
import pytest
from astropy.io import fits
from jwst.pipeline import Detector1Pipeline as JwstDetector1
from support.agreement import assert_close
from support.simulated import offline, small_exposure

from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.simulate import Noise
from calbatch.models.budget import tile_budget
from calbatch.models.saving import save

# Deprecation warnings of jwst and its dependencies are not under test here.
pytestmark = [pytest.mark.agreement, pytest.mark.filterwarnings("ignore")]

NUMBERS = ("NINTS", "INTSTART", "INTEND", "EXSEGNUM", "EXSEGTOT")


@pytest.fixture(scope="module")
def exposure():
    return small_exposure(
        "NRS1", exposure_type="NRS_BRIGHTOBJ", shape=(24, 32), nints=5, ngroups=4,
        noise=Noise(cosmic_rays=1000.0, bad_references=0.02),
    )  # fmt: skip


def cut_segment(exposure, number, ints, path):
    """Write some integrations as a file of its own, one of two, and return its path."""
    with fits.open(exposure.path, memmap=False) as hdus:
        hdus["SCI"].data = hdus["SCI"].data[ints]
        hdus["INT_TIMES"].data = hdus["INT_TIMES"].data[ints]
        facts = (5, ints.start + 1, ints.stop, number, 2)
        hdus[0].header.update(dict(zip(NUMBERS, facts, strict=True)))
        hdus.writeto(path)
    return path


def calibrate(pipeline, path, folder):
    """Return the arrays and the header of the rates of each integration."""
    pipeline.call(str(path), save_results=True, output_dir=str(folder))
    with fits.open(next(folder.glob(f"{path.stem.removesuffix('_uncal')}*_rateints.fits"))) as hdus:
        return {h.name: np.array(h.data) for h in hdus[1:] if h.name != "ASDF"}, hdus[0].header


def test_a_segment_agrees_with_jwst(exposure, tmp_path):
    folders = [tmp_path / name for name in ("ours", "theirs")]
    for folder in folders:
        folder.mkdir()
    path = cut_segment(exposure, 2, slice(2, 5), tmp_path / "a-seg002_uncal.fits")
    with offline(exposure.set):
        ours, header = calibrate(Detector1Pipeline, path, folders[0])
        theirs, wanted = calibrate(JwstDetector1, path, folders[1])
    for facts in (header, wanted):
        assert [facts[name] for name in NUMBERS] == [5, 3, 5, 2, 2]
    assert ours.keys() == theirs.keys()
    for name in ("SCI", "ERR", "DQ"):
        assert_close(ours[name], theirs[name], np.nan_to_num(theirs["ERR"]), name)
    assert ours["INT_TIMES"].tolist() == theirs["INT_TIMES"].tolist()
    raw = np.array(fits.getdata(exposure.path, "INT_TIMES"))
    assert ours["INT_TIMES"].tolist() == raw[2:5].tolist()


@pytest.mark.ci
def test_memory_for_many_integrations_agrees_with_plan(exposure, tmp_path):
    path = tmp_path / "long_uncal.fits"
    with fits.open(exposure.path, memmap=False) as hdus:
        hdus["SCI"].data = np.tile(hdus["SCI"].data, (100, 1, 1, 1))
        hdus[0].header.update(NINTS=500, INTEND=500)
        del hdus["INT_TIMES"]
        hdus.writeto(path)
    with offline(exposure.set), dask.config.set({"calbatch.tile-bytes": 4 << 20}):
        pipeline = Detector1Pipeline()
        pipeline.save_results = True
        pipeline.run_lazily(path)
        products = [(model, tmp_path / f"{name}.fits") for name, model in pipeline.products()]
        budget = tile_budget([model for model, _ in products])
        save(products, scheduler="sync")  # compiles
        tracemalloc.start()
        save(products, scheduler="sync")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    stated = budget.bytes + budget.kept + budget.decisions + budget.reductions
    assert budget.tiles > 3
    assert budget.row.total * 24 > 1.5 * peak  # the whole frame at once would take more
    assert peak < stated + (2 << 20)  # headers, graphs and the values of reductions
