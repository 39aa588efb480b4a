"""Striped exposures go through detector1 as through jwst 3.0.0, after each step and at the end."""

import dask
import numpy as np
import pytest
from astropy.io import fits
from jwst.pipeline import Detector1Pipeline as JwstDetector1
from jwst.refpix import RefPixStep as JwstRefPixStep
from stdatamodels.jwst import datamodels as jwst_models
from support.agreement import assert_agreement
from support.agreement_kinds import STRIPED
from support.detector_steps import jwst_result
from support.headers import differences
from support.simulated import offline, small_exposure
from support.striped import raw_model

from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.simulate import Noise
from calbatch.calibrate.steps.dq_init import DQInitStep
from calbatch.calibrate.steps.refpix import RefPixStep
from calbatch.models import datamodels
from calbatch.models.dq import DO_NOT_USE, REFERENCE_PIXEL

pytestmark = [pytest.mark.agreement, pytest.mark.filterwarnings("ignore")]

NOISE = Noise(cosmic_rays=1000.0, hot=0.01, bad_references=0.02)
EXPOSURES = {
    "multistripe": STRIPED["dhs"],
    "superstripes of rows": {**STRIPED["rows"], "zero_frame": True},
    "superstripes of columns": {**STRIPED["soss"], "detector": "NIS", "zero_frame": True},
}


def simulate_named(name):
    fields = dict(EXPOSURES[name])
    size = fields.pop("shape")
    return small_exposure(nints=2, ngroups=4, noise=NOISE, size=size, **fields)


@pytest.mark.parametrize(
    "name",
    [
        "multistripe",
        "superstripes of columns",
        pytest.param("superstripes of rows", marks=pytest.mark.slow),
    ],
)
def test_every_step(name):
    exposure = simulate_named(name)
    with offline(exposure.set):
        found = assert_agreement(exposure.path, read_noise=5.0)
    rate = found["rate"].fields["data"]
    truth = exposure.truth
    assert rate.shape == truth.rate.shape
    assert truth.good.mean() > 0.6  # the others are mostly reference pixels
    error = found["rate"].fields["err"][truth.good]
    off = (rate - truth.rate)[truth.good] / error
    assert abs(np.nanmedian(off)) < 0.3  # of the error: flat-field and pedestal noise remain


ALLOWED = {
    "DATE", "CALBATCH", "CAL_VCS", "CRDS_VER", "CHECKSUM", "DATASUM", "XPOSURE", "TELAPSE",
}  # fmt: skip
"""Keywords that differ for any exposure; tests/agreement/test_products.py gives the reasons."""


def products(pipeline, path, folder):
    pipeline.call(str(path), save_results=True, output_dir=str(folder))
    return {p.stem.rpartition("_")[2]: p for p in sorted(folder.glob("*_rate*.fits"))}


@pytest.mark.slow
def test_headers_and_times_of_products(tmp_path):
    exposure = simulate_named("superstripes of columns")
    with offline(exposure.set):
        ours, theirs = (
            products(pipeline, exposure.path, _make_folder(tmp_path / name))
            for name, pipeline in (("ours", Detector1Pipeline), ("theirs", JwstDetector1))
        )
    for kind in ("rate", "rateints"):
        with fits.open(ours[kind]) as found, fits.open(theirs[kind]) as wanted:
            header = found[0].header
            assert not [k for k in header if k.startswith(("MSTR_", "SSTR_"))]
            assert (header["NINTS"], header["SUBSTRT1"], header["SUBSIZE1"]) == (2, 1, 2048)
            assert {key for _, key, *_ in differences(found, wanted)} <= ALLOWED
    with fits.open(ours["rateints"]) as found, fits.open(theirs["rateints"]) as wanted:
        for name in ("INT_TIMES", "INT_TIMES_STRIPE"):
            assert found[name].data.tolist() == wanted[name].data.tolist()
        assert found["INT_TIMES_STRIPE"].data["stripe_number"].tolist() == [1, 2, 3, 1, 2, 3]


def _make_folder(folder):
    folder.mkdir()
    return folder


@pytest.mark.parametrize("mode", ["repeated", "stripes alone", "one place"])
def test_refpix_of_other_patterns(mode):
    """Compare only refpix for patterns whose references are not simulated."""
    raw = raw_model(mode)
    shape = np.asarray(raw.data).shape
    flags = np.zeros((raw.meta.subarray.num_superstripe or 1, *shape[-2:]), "u4")
    flags[..., -4:] |= np.uint32(REFERENCE_PIXEL)
    flags[:, -2:, 1::3] |= np.uint32(REFERENCE_PIXEL)
    # As in jwst, only the flags of the first stripe matter.
    flags[1:][np.random.default_rng(0).random(flags[1:].shape) < 0.2] |= DO_NOT_USE
    striped = bool(raw.meta.subarray.num_superstripe)
    cls, other = (
        (datamodels.SuperstripeRampModel, jwst_models.SuperstripeRampModel)
        if striped
        else (datamodels.RampModel, jwst_models.RampModel)
    )
    flags = flags if striped else flags[0]
    arrays = {"data": np.asarray(raw.data, "f4"), "pixeldq": flags}
    ours, theirs = cls(**arrays), other(**arrays)
    ours.update(raw)
    for path, value in raw.to_flat_dict().items():
        if path.startswith(("meta.subarray.", "meta.exposure.", "meta.instrument.")):
            theirs[path] = value
    found, wanted = RefPixStep().run(ours), jwst_result(JwstRefPixStep, theirs)
    for name in ("groupdq", "pixeldq"):
        assert np.array_equal(np.asarray(getattr(found, name)), getattr(wanted, name))
    np.testing.assert_allclose(np.asarray(found.data), wanted.data, rtol=1e-5, atol=5e-3)
    times = wanted.meta.exposure.read_times
    np.testing.assert_allclose(found.meta.exposure.read_times or [], np.array(times or []))


@pytest.mark.parametrize(
    ("name", "low"),
    [
        ("superstripes of columns", 5),
        pytest.param("superstripes of rows", 700, marks=pytest.mark.slow),
    ],
)
def test_tiles_do_not_matter(name, low):
    exposure = simulate_named(name)
    found = []
    for height in (low, 3000):
        with dask.config.set({"calbatch.tile-rows": height}), offline(exposure.set):
            pipeline = Detector1Pipeline()
            pipeline.configure({"saturation": {"n_pix_grow_sat": 2}}, "test")
            rates = pipeline.run_lazily(exposure.path)
            fields = [getattr(rate, name) for rate in rates for name in ("data", "err", "dq")]
            found.append(dask.compute(*fields, scheduler="sync"))
    for tiled, whole in zip(*found, strict=True):
        np.testing.assert_array_equal(tiled, whole)


def test_a_step_by_itself_returns_the_layout_of_files(tmp_path):
    exposure = simulate_named("superstripes of columns")
    with offline(exposure.set):
        result = DQInitStep(output_dir=str(tmp_path), save_results=True).run(exposure.path)
    assert np.asarray(result.pixeldq).shape == (3, 12, 684)
    (saved,) = tmp_path.glob("*.fits")
    header = fits.getheader(saved)
    assert header["DATAMODL"] == "SuperstripeRampModel"
    with jwst_models.open(str(saved)) as model:
        assert model.pixeldq.shape == (3, 12, 684)
        assert np.array_equal(model.groupdq, np.asarray(result.groupdq))
