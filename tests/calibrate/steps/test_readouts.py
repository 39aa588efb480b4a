"""Unsupported exposures: each step rejects the same ones as a pipeline."""

import asdf
import numpy as np
import pytest
from astropy.io import fits
from jwst.ramp_fitting import RampFitStep as JwstRampFitStep
from stdatamodels.jwst import datamodels as jwst_models
from support.agreement import assert_close
from support.detector_steps import ramp

from calbatch.calibrate import registry
from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.step import StepError
from calbatch.calibrate.steps._guide_stars import GUIDE_STARS
from calbatch.calibrate.steps.ramp_fit import RampFitStep
from calbatch.models import datamodels
from calbatch.models.errors import FileError

NOT_ON_RAMPS = ("gain_scale", "flat_field", "guider_cds")
ON_RAMPS = [name for name in registry.STEPS if name not in NOT_ON_RAMPS]
REFUSED = {
    "IRS2": ({"READPATT": "NRSIRS2"}, r"IRS2 readout \(READPATT = NRSIRS2\) is not supported"),
    "multistripe": ({"MSTR_RD1": 1}, "the header lacks MSTR_SK1"),
    "superstripe": ({"SSTR_NST": 4}, "the header lacks MSTR_RD1"),
    **{
        kind: ({"EXP_TYPE": kind}, rf"guide-star exposures \(EXP_TYPE = {kind}\).* guider")
        for kind in GUIDE_STARS
    },
}


def write_ramp(path, **cards):
    """Write a small ramp with some header cards; return its path."""
    exposure = ramp(np.random.default_rng(0), groups=4, shape=(6, 8))
    exposure.ours().save(path, fsync=False)
    with fits.open(path, mode="update") as hdus:
        hdus[0].header.update(cards)
    return path


def with_tree(path, tree):
    """Add an ASDF extension with a tree to a file."""
    with fits.open(path) as hdus:
        kept = fits.HDUList([h.copy() for h in hdus if h.name != "ASDF"])
    content = path.with_suffix(".asdf")
    asdf.AsdfFile(tree).write_to(content)
    data = np.zeros(1, dtype=[("ASDF_METADATA", "u1", (content.stat().st_size,))])
    data["ASDF_METADATA"] = np.frombuffer(content.read_bytes(), "u1")
    kept.append(fits.BinTableHDU(data, name="ASDF"))
    kept.writeto(path, overwrite=True)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a file for each unsupported readout."""
    folder = tmp_path_factory.mktemp("readouts")
    return {
        name: write_ramp(folder / f"{name}.fits", **cards) for name, (cards, _) in REFUSED.items()
    }


@pytest.mark.parametrize("name", [*ON_RAMPS, "detector1", "dark"])
@pytest.mark.parametrize("readout", REFUSED)
def test_every_single_step_rejects_them(files, name, readout):
    if name == "dq_init" and readout in GUIDE_STARS:
        pytest.skip("it flags these exposures, too: tests/calibrate/steps/test_guider_cds.py")
    message = REFUSED[readout][1]
    step = registry.find(name)
    enabled = {"skip": False} if step().skip else {}
    with pytest.raises(StepError, match=rf"{readout}\.fits: .*{message}"):
        step.call(files[readout], **enabled)


def test_the_table_names_every_guide_star_type_of_jwst():
    from jwst.lib.exposure_types import FGS_GUIDE_EXP_TYPES

    assert sorted(GUIDE_STARS) == sorted(kind.upper() for kind in FGS_GUIDE_EXP_TYPES)


def test_a_flight_exposure_of_a_guide_star_is_rejected(real_data):
    path = real_data / "fgs_acq1" / "jw01019001001_gs-acq1_2022117003102_uncal.fits"
    with pytest.raises(StepError, match=r"EXP_TYPE = FGS_ACQ1.* guider"):
        Detector1Pipeline.call(path)


@pytest.mark.parametrize(
    "tree",
    [{}, {"meta": {"exposure": {"read_times": None}}}, {"meta": {"exposure": {"read_times": []}}},
     {"meta": {"read_times": [1.0]}}, {"read_times": [1.0]}],
    ids=str,
)  # fmt: skip
def test_other_trees_in_the_asdf_extension_are_ignored(tmp_path, tree):
    model = datamodels.open(with_tree(write_ramp(tmp_path / "a.fits"), tree))
    assert not model.value_in_asdf("meta.exposure.read_times")


def test_unreadable_read_times_are_rejected(tmp_path):
    path = with_tree(write_ramp(tmp_path / "a.fits"), {"read_times": "x"})
    path.write_bytes(path.read_bytes().replace(b"read_times: x", b"read_times: {"))
    with pytest.raises(FileError, match=r"a\.fits: .*ASDF.*read_times"):
        RampFitStep.call(path)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# -- readouts that are supported ------------------------------------------------------------------


def fit_with_both(exposure, **parameters):
    """Return our rate and jwst's for unit gain and a read noise of 10."""
    shape = exposure.data.shape[-2:]
    step, other = RampFitStep(**parameters), JwstRampFitStep(**parameters)
    for kind, name, value in (("gain", "GainModel", 1), ("readnoise", "ReadnoiseModel", 10)):
        for package, each in ((datamodels, step), (jwst_models, other)):
            model = getattr(package, name)(np.full(shape, value, "f4"))
            model.meta.instrument.name = "NIRCAM"
            model.meta.subarray.xstart = model.meta.subarray.ystart = 1
            model.meta.subarray.ysize, model.meta.subarray.xsize = shape
            setattr(each, f"override_{kind}", model)
    ours, theirs = exposure.ours(), exposure.theirs()
    for model in (ours, theirs):
        model.meta.exposure.frame_time = model.meta.exposure.group_time = 2.0
    return step.run(ours)[0], other.process(theirs)[0]


def assert_same_rates(ours, theirs):
    error = np.nan_to_num(theirs.err)
    for name in ("data", "err", "dq"):
        found, wanted = np.asarray(getattr(ours, name)), getattr(theirs, name)
        assert_close(found, wanted, error, name)


def test_an_irs2_ramp_without_its_interleaved_pixels_is_fitted_as_in_jwst(rng):
    exposure = ramp(rng, exposure={"readpatt": "NRSIRS2RAPID"})
    plain = exposure.ours()
    exposure._describe = _refpix_complete(exposure._describe)
    assert_same_rates(*fit_with_both(exposure))
    with pytest.raises(StepError, match="IRS2"):
        RampFitStep().run(plain)


def _refpix_complete(described):
    def after_refpix(model):
        described(model).meta.cal_step.refpix = "COMPLETE"
        return model

    return after_refpix


def test_many_integrations_are_not_mistaken_for_irs2(rng):
    exposure = ramp(rng, ints=2049, groups=1, shape=(1, 4), instrument="NIRSPEC", detector="NRS1")
    result = registry.find("dq_init")(override_mask="N/A").run(exposure.ours())
    assert result.meta.cal_step.dq_init == "SKIPPED"


def test_likely_with_fewer_than_four_groups_uses_ols_as_in_jwst(rng):
    assert_same_rates(*fit_with_both(ramp(rng, groups=3), algorithm="LIKELY"))


@pytest.mark.parametrize("suppress", [True, False])
@pytest.mark.parametrize("denied", [True, False])
def test_a_zero_frame_is_fitted_only_where_it_matters(rng, caplog, suppress, denied):
    exposure = ramp(rng, groups=3, exposure={"zero_frame": not denied})
    exposure.groupdq[..., 2, 3:5] = 1
    described = exposure._describe

    def with_zero_frame(model):
        model.zeroframe = np.full((1, 12, 20), 7, "f4")
        return described(model)

    plain, _ = fit_with_both(exposure, suppress_one_group=suppress)
    exposure._describe = with_zero_frame
    ours, theirs = fit_with_both(exposure, suppress_one_group=suppress)
    assert_same_rates(ours, theirs)
    same = np.array_equal(np.asarray(ours.data), np.asarray(plain.data), equal_nan=True)
    assert same == suppress
    assert ("ZEROFRAM is not T" in caplog.text) == (denied and not suppress)
