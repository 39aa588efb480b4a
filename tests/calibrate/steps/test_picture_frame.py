"""The picture frame of NIRSpec's full frames is subtracted as by jwst's step."""

from pathlib import Path

import dask
import numpy as np
import pytest
from astropy.io import fits
from stdatamodels.jwst import datamodels as jwst_models
from support.detector_steps import reference_file
from support.simulated import offline, small_exposure
from support.step_contract import StepContract

from calbatch.calibrate.errors import StepError
from calbatch.calibrate.steps.picture_frame import PictureFrameStep
from calbatch.models.datamodels import RampModel, open_reference
from calbatch.models.dq import DO_NOT_USE, JUMP_DET, SATURATED

SHAPE = (90, 96)
CENTRE = slice(76, 1984)
ON = {"skip": False, "mask_science_regions": False}


@pytest.fixture(scope="module")
def exposure():
    """Return an exposure whose references the draft of the rates uses."""
    return small_exposure("NRS1", shape=SHAPE, ngroups=5, nints=2)


@pytest.fixture(scope="module")
def pattern(tmp_path_factory) -> Path:
    """Return a reference that is bright at the centre."""
    rate = np.random.default_rng(0).normal(0.1, 0.02, SHAPE).astype("f4")
    rate[CENTRE, CENTRE] += 1
    rate[3:6, 20:30] = np.nan
    path = tmp_path_factory.mktemp("pattern") / "pictureframe.fits"
    return reference_file(
        path, {"SCI": rate}, INSTRUME="NIRSPEC", DETECTOR="NRS1", REFTYPE="PICTUREFRAME"
    )


@pytest.fixture
def paths(exposure, tmp_path):
    """Return the path of a ramp with the pattern, sources, and flagged and unusable samples."""
    rng = np.random.default_rng(4)
    data = np.cumsum(rng.normal(9, 4, (2, 5, *SHAPE)), axis=1)
    data[..., CENTRE, CENTRE] += 12 * np.arange(5)[:, None, None]
    data[..., rng.random(SHAPE) < 0.1] += 600 * np.arange(5)[:, None]
    data[rng.random(data.shape) < 0.01] = np.nan
    data[..., 30:33, :] = 0
    model = RampModel(exposure.path)
    model.data = data.astype("f4")
    flags = rng.choice([0, DO_NOT_USE, JUMP_DET, SATURATED], data.shape, p=[0.94, 0.02, 0.02, 0.02])
    model.groupdq = flags.astype("u1")
    model.pixeldq = np.zeros(SHAPE, "u4")
    model.meta.subarray.name = "FULL"
    model.meta.cal_step.superbias = "COMPLETE"
    return model.save(tmp_path / "a_jump.fits")


def run_both(path, exposure, pattern, **parameters):
    """Return our and jwst's result."""
    from jwst.picture_frame import PictureFrameStep as JwstStep

    folder = str(path.parent)
    references = {kind: str(exposure.reference(kind)) for kind in ("gain", "readnoise")}
    ours = PictureFrameStep(
        override_pictureframe=str(pattern), output_dir=folder, **ON, **parameters,
        **{f"override_{kind}": path for kind, path in references.items()},
    ).run(RampModel(path))  # fmt: skip
    with offline(exposure.set):
        step = JwstStep(
            override_pictureframe=str(pattern), output_dir=f"{folder}/jwst", **ON, **parameters
        )
        (path.parent / "jwst").mkdir(exist_ok=True)
        theirs = step.run(jwst_models.RampModel(str(path)))
    return ours, theirs


@pytest.mark.agreement
@pytest.mark.filterwarnings("ignore")  # warnings of jwst, stcal and crds
class TestAgreementWithJwst:
    @pytest.mark.parametrize("n_sigma", [2.0, 0.0])
    def test_ramps_and_products(self, paths, exposure, pattern, n_sigma):
        wanted = {"n_sigma": n_sigma, "save_mask": True, "save_correction": True}
        ours, theirs = run_both(paths, exposure, pattern, **wanted)
        assert ours.meta.cal_step.picture_frame == theirs.meta.cal_step.picture_frame == "COMPLETE"
        found, before = np.asarray(ours.data), fits.getdata(paths)
        np.testing.assert_array_equal(found, theirs.data)
        np.testing.assert_array_equal(found[:, 0], before[:, 0])
        assert np.nanmedian(np.abs(found - before)[:, 1:]) > 1
        for kind in ("mask", "correction"):
            with (
                fits.open(paths.with_name(f"a_pctfrm_{kind}.fits")) as own,
                fits.open(next((paths.parent / "jwst").glob(f"*_pctfrm_{kind}.fits"))) as other,
            ):
                assert own[0].header["DATAMODL"] == other[0].header["DATAMODL"]
                for hdu in other[1:]:
                    if hdu.name != "ASDF" and hdu.data is not None:
                        np.testing.assert_array_equal(own[hdu.name].data, hdu.data)
        if n_sigma:
            mask = fits.getdata(paths.with_name("a_pctfrm_mask.fits"))
            assert 0.7 < mask.mean() < 0.9

    def test_two_groups(self, paths, exposure, pattern):
        with fits.open(paths, mode="update") as hdus:
            for name in ("SCI", "GROUPDQ"):
                hdus[name].data = hdus[name].data[:1, :2]
            hdus[0].header.update(NGROUPS=2, NINTS=1)
        ours, theirs = run_both(paths, exposure, pattern)
        np.testing.assert_array_equal(np.asarray(ours.data), theirs.data)

    def test_other_exposures_are_skipped(self, paths, exposure, pattern):
        fits.setval(paths, "SUBARRAY", value="ALLSLITS")
        ours, theirs = run_both(paths, exposure, pattern)
        assert ours.meta.cal_step.picture_frame == theirs.meta.cal_step.picture_frame == "SKIPPED"
        np.testing.assert_array_equal(np.asarray(ours.data), theirs.data)


class TestStep:
    def own(self, exposure, pattern, **parameters):
        return PictureFrameStep(
            override_pictureframe=str(pattern),
            override_gain=str(exposure.reference("gain")),
            override_readnoise=str(exposure.reference("readnoise")),
            **ON | parameters,
        )

    def test_it_is_off_by_default(self, paths):
        result = PictureFrameStep().run(RampModel(paths))
        assert result.meta.cal_step.picture_frame == "SKIPPED"

    def test_spectra_cannot_be_masked_yet(self, paths, exposure, pattern):
        step = self.own(exposure, pattern, mask_science_regions=True)
        with pytest.raises(StepError, match="mask_science_regions = True is not supported yet"):
            step.run(RampModel(paths))

    def test_without_background_nothing_is_subtracted(self, paths, exposure, pattern, caplog):
        """jwst's status is then SKIPPED; here it is decided before the pixels are known."""
        model = RampModel(paths)
        model.data = np.full(model.shape, np.nan, "f4")
        result = self.own(exposure, pattern).run(model)
        assert np.isnan(np.asarray(result.data)).all()
        assert "no background at the centre or at the edges" in caplog.text

    def test_tiles_do_not_change_results(self, paths, exposure, pattern):
        found = []
        for height in (90, 7, 1):
            with dask.config.set({"calbatch.tile-rows": height}):
                found.append(np.asarray(self.own(exposure, pattern).run(RampModel(paths)).data))
        for other in found[1:]:
            np.testing.assert_array_equal(other, found[0])

    def test_the_reference_has_its_own_model(self, pattern):
        assert type(open_reference("pictureframe", pattern)).__name__ == "PictureFrameModel"


class TestContract(StepContract):
    name = "picture_frame"
    detector = "NRS1"
    parameters = ON

    @pytest.fixture(autouse=True)
    def _pattern(self, pattern):
        self.pattern = pattern

    def inputs(self):
        models = super().inputs()
        for model in models:
            model.meta.subarray.name = "FULL"
        return models

    def references(self):
        return super().references() | {"override_pictureframe": self.small_pattern()}

    def small_pattern(self) -> str:
        path = Path(self.pattern).with_name("small.fits")
        if not path.exists():
            reference_file(path, {"SCI": np.ones((32, 32), "f4")}, INSTRUME="NIRSPEC")
        return str(path)
