"""Flat field agrees with jwst's step, also for a real cube of images."""

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from support.detector_steps import (
    PERMUTED,
    assert_same,
    flags,
    jwst_result,
    reference_file,
)
from support.step_contract import StepContract

from calbatch.calibrate.errors import ParameterError, ReferenceFileError
from calbatch.calibrate.step import StepError
from calbatch.calibrate.steps.flat_field import FlatFieldStep, apply_flat
from calbatch.models import datamodels
from calbatch.models.dq import DO_NOT_USE, NO_FLAT_FIELD, UNRELIABLE_FLAT

SHAPE = (12, 20)
FIELDS = ("data", "err", "dq", "var_poisson", "var_rnoise", "var_flat")
STORED = ("data", "err", "dq", "var_poisson", "var_rnoise")


@pytest.fixture
def rng():
    return np.random.default_rng(23)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("flats")


def rates(rng, ints=None, shape=SHAPE):
    """Draw an image or cube: rates, errors, variances and flags, some NaN or negative."""
    full = shape if ints is None else (ints, *shape)
    fields = {
        "data": rng.normal(10, 20, full),
        "var_poisson": rng.uniform(0, 2, full),
        "var_rnoise": rng.uniform(0, 1, full),
    }
    for array in fields.values():
        array[rng.random(full) < 0.02] = np.nan
    fields["var_rnoise"][rng.random(full) < 0.01] = -9
    fields["err"] = np.sqrt(np.abs(fields["var_poisson"] + fields["var_rnoise"]))
    return {n: a.astype("f4") for n, a in fields.items()} | {"dq": flags(rng, full)}


def flat_file(path, rng, shape=SHAPE, **options):
    flat = rng.normal(1, 0.1, shape).astype("f4")
    for value in (np.nan, 0, -1, 1e-5):
        flat[rng.random(shape) < 0.03] = value
    own = np.where(rng.random(shape) < 0.1, NO_FLAT_FIELD, flags(rng, shape))
    arrays = {"SCI": flat, "ERR": rng.uniform(0, 0.1, shape).astype("f4"), "DQ": own.astype("u4")}
    path.unlink(missing_ok=True)
    return reference_file(path, arrays, **options)


def describe(model, shape, origin=(1, 1), kind="NRC_IMAGE", instrument="NIRCAM"):
    model.meta.instrument.name = instrument
    model.meta.exposure.type = kind
    place = model.meta.subarray
    place.xstart, place.ystart = origin
    place.ysize, place.xsize = shape[-2:]
    return model


def ours(fields, **facts):
    fields = dict(fields)
    data = fields.pop("data")
    cls = datamodels.ImageModel if data.ndim == 2 else datamodels.CubeModel
    return describe(cls(data, **fields), data.shape, **facts)


def theirs(fields, **facts):
    from stdatamodels.jwst import datamodels as official

    cls = official.ImageModel if fields["data"].ndim == 2 else official.CubeModel
    return describe(cls(**{n: a.copy() for n, a in fields.items()}), fields["data"].shape, **facts)


def jwst_flat_field(model, **parameters):
    from jwst.flatfield import FlatFieldStep as JwstStep

    for name in ("fflat", "sflat", "dflat"):
        parameters[f"override_{name}"] = "N/A"
    with np.errstate(all="ignore"):
        return jwst_result(JwstStep, model, **parameters)


@pytest.mark.agreement
class TestAgreementWithJwst:
    @settings(max_examples=10, deadline=None)  # each runs jwst
    @given(
        seed=st.integers(0, 2**32),
        ints=st.sampled_from([None, 1, 3]),
        inverse=st.booleans(),
        bits=st.sampled_from([None, PERMUTED]),
        cut=st.booleans(),
    )
    def test_any_flat(self, folder, seed, ints, inverse, bits, cut):
        rng = np.random.default_rng(seed)
        size = ((40, 50), (11, 21)) if cut else (SHAPE, (15, 30))
        path = flat_file(folder / "flat.fits", rng, size[0], origin=size[1], bits=bits)
        fields, place = rates(rng, ints), {"origin": (15, 30)}
        parameters = {"override_flat": path, "inverse": inverse}
        found = FlatFieldStep(**parameters).run(ours(fields, **place))
        wanted = jwst_flat_field(theirs(fields, **place), **parameters)
        assert_same(found, wanted, FIELDS)
        assert found.meta.cal_step.flat_field == wanted.meta.cal_step.flat_field == "COMPLETE"

    def test_user_supplied_flat(self, tmp_path, rng):
        path = flat_file(tmp_path / "flat.fits", rng, DATAMODL="FlatModel")
        fields = rates(rng)
        step = FlatFieldStep(user_supplied_flat=path)
        assert step.wanted_references() == set()
        wanted = jwst_flat_field(theirs(fields), user_supplied_flat=path)
        found = step.run(ours(fields))
        assert_same(found, wanted, FIELDS)
        assert found.meta.ref_file.flat.name == str(path)

    @pytest.mark.parametrize(
        ("kind", "instrument", "status"),
        [("NRS_IMAGE", "NIRSPEC", "COMPLETE"), ("NRS_AUTOFLAT", "NIRSPEC", "SKIPPED")],
    )
    def test_nirspec_images(self, tmp_path, rng, kind, instrument, status):
        path = flat_file(tmp_path / "flat.fits", rng, INSTRUME="NIRSPEC")
        fields, facts = rates(rng), {"kind": kind, "instrument": instrument}
        found = FlatFieldStep(override_flat=path).run(ours(fields, **facts))
        wanted = jwst_flat_field(theirs(fields, **facts), override_flat=path)
        assert_same(found, wanted, STORED)
        assert found.meta.cal_step.flat_field == wanted.meta.cal_step.flat_field == status

    def test_no_flat(self, rng):
        fields = rates(rng)
        found = FlatFieldStep(override_flat="N/A").run(ours(fields))
        wanted = jwst_flat_field(theirs(fields), override_flat="N/A")
        assert_same(found, wanted, STORED)
        assert found.meta.cal_step.flat_field == wanted.meta.cal_step.flat_field == "SKIPPED"


class TestRules:
    def correct_pixel(self, *, flat=2.0, flat_dq=0, dq=0, data=8.0, inverse=False):
        """Return one pixel's data, err, dq, var_poisson, var_rnoise and var_flat."""
        one = np.ones((1, 1), "f4")
        found = apply_flat(
            one * np.float32(data),
            np.full((1, 1), dq, "u4"),
            one,
            one * 3,
            flat=one * np.float32(flat),
            flat_dq=np.full((1, 1), flat_dq, "u4"),
            flat_err=one / 2,
            inverse=inverse,
        )
        return [array.item() for array in found]

    def test_variances_scale_with_the_square(self):
        wanted = [4, np.sqrt(0.25 + 0.75 + 1), 0, 0.25, 0.75, 4**2 / 2**2 * 0.5**2]
        np.testing.assert_allclose(self.correct_pixel(), wanted, rtol=1e-7)

    def test_inverse_multiplies_and_has_no_flat_variance(self):
        assert self.correct_pixel(inverse=True) == [16, 4, 0, 4, 12, 0]

    @pytest.mark.parametrize("flat", [np.nan, 0.0])
    def test_no_flat_is_flagged_and_nan(self, flat):
        data, err, dq, *variances = self.correct_pixel(flat=flat)
        assert dq == NO_FLAT_FIELD | DO_NOT_USE
        assert np.isnan([data, err, *variances]).all()

    @pytest.mark.parametrize("flag", [NO_FLAT_FIELD, DO_NOT_USE])
    def test_flagged_flat_is_not_used(self, flag):
        data, *_ = found = self.correct_pixel(flat_dq=flag)
        assert np.isnan(data)
        assert found[2] == flag | DO_NOT_USE

    def test_unreliable_flat_is_used(self):
        data, _, dq, *_ = self.correct_pixel(flat_dq=UNRELIABLE_FLAT)
        assert (data, dq) == (4, UNRELIABLE_FLAT)

    def test_bad_samples_are_flagged_and_nan(self):
        assert self.correct_pixel(data=np.nan)[2] == DO_NOT_USE
        assert np.isnan(self.correct_pixel(dq=DO_NOT_USE)[0])


class TestStep:
    def test_image_without_variances_keeps_its_error(self, tmp_path, rng):
        # jwst 3.0.0 fails on these
        path = flat_file(tmp_path / "flat.fits", rng)
        fields = rates(rng)
        whole = FlatFieldStep(override_flat=path).run(ours(fields))
        variance = fields.pop("var_poisson") + fields.pop("var_rnoise")
        fields["err"] = np.sqrt(np.where(variance < 0, np.nan, variance))
        alone = FlatFieldStep(override_flat=path).run(ours(fields))
        for name in ("data", "dq", "var_flat"):
            np.testing.assert_array_equal(
                np.asarray(getattr(alone, name)), np.asarray(getattr(whole, name))
            )
        # squaring the error and taking the root in single precision changes a few last bits
        np.testing.assert_allclose(np.asarray(alone.err), np.asarray(whole.err), rtol=1e-6)
        assert not alone.has("var_poisson")

    @pytest.mark.parametrize("kind", ["NRS_FIXEDSLIT", "NRS_IFU", "NRS_MSASPEC", "NRS_BRIGHTOBJ"])
    def test_nirspec_spectra_are_unsupported(self, rng, kind):
        model = ours(rates(rng), kind=kind, instrument="NIRSPEC")
        with pytest.raises(StepError, match=f"NIRSpec spectra \\({kind}\\) are not supported yet"):
            FlatFieldStep(override_flat="N/A").run(model)

    def test_interpolated_flats_are_unsupported(self, rng):
        step = FlatFieldStep(override_flat="N/A", save_interpolated_flat=True)
        with pytest.raises(ParameterError, match="save_interpolated_flat is not supported yet"):
            step.run(ours(rates(rng)))

    def test_smaller_flat_is_rejected(self, tmp_path, rng):
        path = flat_file(tmp_path / "flat.fits", rng, (10, 18))
        with pytest.raises(ReferenceFileError, match=r"flat\.fits: does not cover"):
            FlatFieldStep(override_flat=path).run(ours(rates(rng)))

    def test_ramp_is_rejected(self):
        ramp = datamodels.RampModel(np.zeros((1, 2, *SHAPE), "f4"))
        with pytest.raises(StepError, match="must be an image or a cube"):
            FlatFieldStep(override_flat="N/A").run(ramp)


def test_kernel_does_not_modify_its_inputs(rng):
    fields, flat = rates(rng), rng.normal(1, 0.1, SHAPE).astype("f4")
    inputs = [fields[n] for n in ("data", "dq", "var_poisson", "var_rnoise")]
    flat_dq = flags(rng, SHAPE)
    for array in (*inputs, flat, flat_dq):
        array.flags.writeable = False
    found = apply_flat(*inputs, flat=flat, flat_dq=flat_dq, flat_err=flat, inverse=False)
    assert [a.dtype.name for a in found] == ["float32"] * 2 + ["uint32"] + ["float32"] * 3


def test_real_cube(real_data, tmp_path):
    """The quotient of the two files is the flat, the same for all integrations."""
    folder = real_data / "miri_lrs"
    rateints = folder / "ERS_NGTS10_2022_new_drift_041_rateints.fits"
    calints = folder / "ERS_NGTS10_2022_new_drift_041_calints.fits"
    with fits.open(rateints) as before, fits.open(calints) as after:
        rate, rate_dq = before["SCI"].data[0].astype("f8"), before["DQ"].data[0]
        wanted = {h.name: h.data for h in after if h.is_image and h.data is not None}
    flat = rate / wanted["SCI"][0]
    error = flat * np.sqrt(wanted["VAR_FLAT"][0].astype("f8")) / np.abs(wanted["SCI"][0])
    arrays = {
        "SCI": flat.astype("f4"),
        "ERR": error.astype("f4"),
        "DQ": wanted["DQ"][0] & ~rate_dq,
    }
    path = reference_file(tmp_path / "flat.fits", arrays, INSTRUME="MIRI", origin=(1, 529))
    result = FlatFieldStep(override_flat=path).run(rateints)
    np.testing.assert_array_equal(np.asarray(result.dq), wanted["DQ"])
    unusable = (wanted["DQ"] & DO_NOT_USE) != 0
    for name, hdu in zip(FIELDS, ("SCI", *map(str.upper, FIELDS[1:])), strict=True):
        if name != "dq":
            found = np.asarray(getattr(result, name))
            # this version of jwst did not set unusable pixels to NaN
            np.testing.assert_array_equal(np.isnan(found), unusable)
            # flat and error are quotients in single precision
            np.testing.assert_allclose(found[~unusable], wanted[hdu][~unusable], rtol=2e-6)


class TestContract(StepContract):
    name = "flat_field"
    input_kind = "rates"
