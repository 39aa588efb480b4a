"""Steps before refpix treat IRS2 exposures, with interleaved reference pixels, as jwst does."""

from dataclasses import replace

import dask
import numpy as np
import pytest
from astropy.io import fits
from jwst.ipc import IPCStep as JwstIPCStep
from jwst.saturation import SaturationStep as JwstSaturationStep
from support.detector_steps import jwst_result, reference_file
from support.interleaved import interleaved_ramp, reference_rows

from calbatch.calibrate import registry
from calbatch.calibrate.errors import ReferenceFileError, StepError
from calbatch.calibrate.steps._interleaving import InterleavedLayout
from calbatch.calibrate.steps._ramps import as_ramp
from calbatch.calibrate.steps.ipc import IPCStep
from calbatch.calibrate.steps.saturation import SaturationStep
from calbatch.models.datamodels import RampModel
from calbatch.models.dq import NO_SAT_CHECK, SATURATED

AFTER_REFPIX = ("linearity", "dark_current", "jump", "ramp_fit")


@pytest.fixture(scope="module")
def eventful():
    """Return raw counts with saturation, jumps that saturate, and the bottom of the range."""
    rng = np.random.default_rng(3)
    placed = interleaved_ramp("NRS2", ngroups=3)
    frame = placed.data.shape[-2:]
    data = np.rint(placed.data + 9000)
    data[rng.random(data.shape, dtype="f4") < 0.0005] = 0
    saturating, jumping = (rng.random(frame, dtype="f4") < 0.002 for _ in range(2))
    for group in range(3):
        data[:, group][..., saturating] += 20000 * group
    data[:, 1][..., jumping] += 25000
    data[:, 2:][..., jumping] += 60000
    return replace(placed, data=data)


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    rng = np.random.default_rng(4)
    folder = tmp_path_factory.mktemp("irs2")
    threshold = rng.uniform(40000, 60000, (2048, 2048)).astype("f4")
    threshold[rng.random(threshold.shape) < 0.01] = np.nan
    flags = np.where(rng.random(threshold.shape) < 0.01, NO_SAT_CHECK, 0).astype("u4")
    bias = rng.normal(9000, 100, (3200, 2048)).astype("f4")
    nirspec = {"INSTRUME": "NIRSPEC"}
    saturation = {"SCI": threshold, "DQ": flags}
    paths = {
        "saturation": reference_file(folder / "saturation.fits", saturation, **nirspec),
        "superbias": reference_file(folder / "superbias.fits", {"SCI": bias}, **nirspec),
    }
    fits.setval(paths["superbias"], "SUBSIZE2", value=2048)
    return {f"override_{kind}": str(path) for kind, path in paths.items()}


@pytest.mark.parametrize(
    ("frames", "parameters"),
    [
        (4, {"n_pix_grow_sat": 3}),
        pytest.param(1, {}, marks=pytest.mark.slow),
        pytest.param(4, {"use_readpatt": False}, marks=pytest.mark.slow),
    ],
)
def test_saturation_agrees_with_jwst(eventful, references, frames, parameters):
    models = [eventful.ours(), eventful.theirs()]
    for model in models:
        model.meta.exposure.nframes = frames
    ours, theirs = models
    wanted = jwst_result(JwstSaturationStep, theirs, **references, **parameters)
    with dask.config.set({"calbatch.tile-rows": 333}):
        result = SaturationStep(**references, **parameters).run(ours)
        for name in ("groupdq", "pixeldq"):
            assert np.array_equal(np.asarray(getattr(result, name)), getattr(wanted, name)), name
    flags = np.asarray(result.groupdq)
    assert np.any(flags & SATURATED)
    assert not np.any(flags[..., reference_rows(), :])


def test_the_second_group_of_a_jump_is_saturated_with_its_neighbours(eventful, references):
    model = eventful.ours()
    model.meta.exposure.nframes = 4
    plain, checked = (
        SaturationStep(**references, use_readpatt=use).run(model) for use in (False, True)
    )
    more = np.asarray(checked.groupdq)[0, 1] & ~np.asarray(plain.groupdq)[0, 1]
    assert np.unique(more).tolist() == [0, SATURATED]


def test_ipc_agrees_with_jwst(eventful, tmp_path):
    kernel = np.array([[0, 0.01, 0.002], [-0.02, 1, -0.01], [0.001, 0.005, 0]], "f4")
    path = reference_file(tmp_path / "ipc.fits", {"SCI": kernel}, INSTRUME="NIRSPEC")
    few = replace(eventful, data=eventful.data[:, :1])
    wanted = jwst_result(JwstIPCStep, few.theirs(), override_ipc=str(path)).data
    with dask.config.set({"calbatch.tile-rows": 333}):
        found = IPCStep(override_ipc=str(path)).run(few.ours()).data.compute(scheduler="sync")
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert np.array_equal(found[..., reference_rows(), :], few.data[..., reference_rows(), :])


def test_a_saturation_reference_of_another_frame_is_rejected(eventful, tmp_path):
    path = reference_file(tmp_path / "s.fits", {"SCI": np.ones((3200, 2048), "f4")})
    with pytest.raises(ReferenceFileError, match=r"s\.fits: must have 2048 rows .* has 3200 rows"):
        SaturationStep(override_saturation=str(path)).run(eventful.ours())


@pytest.mark.parametrize("name", AFTER_REFPIX)
def test_later_steps_need_refpix_first(eventful, name):
    with pytest.raises(StepError, match="3200 rows include the interleaved reference pixels"):
        registry.find(name)().run(eventful.ours())


def test_another_detector_is_rejected(eventful):
    model = eventful.ours()
    model.meta.instrument.detector = "NIS"
    with pytest.raises(
        StepError, match="IRS2 readout needs DETECTOR = NRS1 or NRS2, but it is NIS"
    ):
        SaturationStep().run(model)


def test_zero_frames_are_rejected_unless_the_header_denies_them():
    ramp = RampModel(np.ones((1, 3, 8, 8), "f4"), zeroframe=np.ones((1, 8, 8), "f4"))
    ramp.meta.instrument.name, ramp.meta.exposure.readpatt = "NIRSPEC", "NRSIRS2"
    ramp.meta.cal_step.refpix, ramp.meta.exposure.zero_frame = "COMPLETE", True
    with pytest.raises(StepError, match=r"nor can jwst .*set ZEROFRAM = F"):
        as_ramp(ramp)
    ramp.meta.exposure.zero_frame = False
    assert as_ramp(ramp) is ramp


@pytest.mark.parametrize("reach", range(0, 40, 3))
def test_the_radius_holds_all_neighbours(reach):
    rows = InterleavedLayout(is_turned=False).science_rows
    needed = max((rows[reach:2048] - rows[: 2048 - reach])[: 512 - reach])
    assert InterleavedLayout(is_turned=True).grow_radius(reach) >= needed
