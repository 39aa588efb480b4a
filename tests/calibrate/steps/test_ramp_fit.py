"""The ramp fit step: agreement with jwst, real data, products and errors."""

import io

import asdf
import numpy as np
import pytest
from astropy.io import fits
from support.detector_steps import Exposure, jwst_result, reference_file
from support.fitted_ramps import (
    CHARGELOSS,
    DO_NOT_USE,
    SATURATED,
    assert_near,
    assert_rates_agree,
    draw,
    flag_at_random,
    spoil,
    with_zero_frames,
)
from support.step_contract import StepContract

from calbatch.calibrate.errors import StepError
from calbatch.calibrate.steps.ramp_fit import RampFitStep, require_unsaturated
from calbatch.calibrate.steps.ramp_fit.least_squares import OPTIONAL

FIELDS = ("data", "err", "dq", "var_poisson", "var_rnoise")


@pytest.fixture
def rng():
    return np.random.default_rng(5)


class Given:
    """A random exposure with references in files."""

    def __init__(self, folder, rng, integrations=2, groups=6, instrument="NIRCAM", **facts):
        times = {"nframes": 4, "groupgap": 1, "drop_frames1": 1}
        ramps = flag_at_random(draw(rng, integrations, groups, **times), rng, 0.08)
        self.ramps = ramps = spoil(ramps, rng)
        self.exposure = Exposure(
            ramps.data, ramps.groupdq, ramps.pixeldq,
            instrument=instrument, exposure={**ramps.times, **facts},
        )  # fmt: skip
        self.references = {
            "override_gain": reference_file(folder / "gain.fits", {"SCI": ramps.gain}),
            "override_readnoise": reference_file(folder / "noise.fits", {"SCI": ramps.readnoise}),
        }

    def ours(self, **parameters):
        return RampFitStep(**self.references, **parameters).run(self.model())

    def model(self):
        model = self.exposure.ours()
        model.average_dark_current = self.ramps.dark
        if self.ramps.zero is not None:
            model.zeroframe = self.ramps.zero
        return model

    def theirs(self, **parameters):
        from jwst.ramp_fitting import RampFitStep as JwstStep

        model = self.exposure.theirs()
        model.average_dark_current = self.ramps.dark.copy()
        if self.ramps.zero is not None:
            model.zeroframe = self.ramps.zero.copy()
        with np.errstate(all="ignore"):
            return jwst_result(JwstStep, model, **self.references, **parameters)


WITHOUT_EFFECT = [
    {},
    {"firstgroup": -2, "lastgroup": 99},
    {"firstgroup": 4, "lastgroup": 2},
    {"firstgroup": 5},
    {"lastgroup": 0},
    {"lastgroup": -1},
]
"""Ranges beyond the six groups, or with fewer than two groups: all groups are fitted."""


def arrays(model):
    return {name: np.asarray(getattr(model, name)) for name in FIELDS}


@pytest.mark.agreement
class TestAgreementWithJwst:
    @pytest.mark.parametrize(
        "parameters",
        [
            {},
            {"suppress_one_group": False},
            {"firstgroup": 1},
            {"lastgroup": 3},
            {"firstgroup": 2, "lastgroup": 4},
            {"firstgroup": -2, "lastgroup": 99},
            {"firstgroup": 4, "lastgroup": 2},
            {"firstgroup": 5},
            {"lastgroup": 0},
            {"lastgroup": -1},
        ],
        ids=str,
    )
    def test_parameters(self, tmp_path, rng, parameters):
        given = Given(tmp_path, rng)
        ours = given.ours(**parameters)
        self.compare(ours, given.theirs(**parameters))
        found, default = (arrays(model[0])["data"] for model in (ours, given.ours()))
        as_by_default = np.array_equal(found, default, equal_nan=True)
        assert as_by_default == (parameters in WITHOUT_EFFECT)

    def test_one_group(self, tmp_path, rng):
        given = Given(tmp_path, rng, groups=1)
        rate, rateints = given.ours()
        self.compare((rate, rateints), given.theirs())
        found = arrays(rateints)["data"]
        known = arrays(rateints)["var_rnoise"] > 0  # where the noise is too large, the rate is 0
        good = np.isfinite(found) & known & (given.ramps.groupdq[:, 0] == 0)
        assert np.any(good)
        counts, time = given.ramps.data[:, 0], 10.73676 * (4 + 1) / 2  # the mean of four frames
        np.testing.assert_allclose(found[good], counts[good] / time, rtol=1e-6)

    def test_miri(self, tmp_path, rng):
        given = Given(tmp_path, rng, instrument="MIRI")
        given.ramps.groupdq[:, [0, -1]] |= np.uint8(DO_NOT_USE)
        rate, rateints = given.ours()
        self.compare((rate, rateints), given.theirs())
        given.ramps.data[:, [0, -1]] = 1e5
        np.testing.assert_array_equal(rate.data, given.ours()[0].data)

    @pytest.mark.parametrize(
        ("kind", "lamp", "wanted"),
        [
            ("NRS_IFU", "NONE", "IFUImageModel"),
            ("NRS_LAMP", "IFU", "IFUImageModel"),
            ("NRS_LAMP", "FIXEDSLIT", "ImageModel"),
        ],
    )
    def test_integral_field_units(self, tmp_path, rng, kind, lamp, wanted):
        given = Given(tmp_path, rng, instrument="NIRSPEC", type=kind)
        model, theirs = given.model(), given.exposure.theirs()
        model.meta.instrument.lamp_mode = theirs.meta.instrument.lamp_mode = lamp
        from jwst.ramp_fitting import RampFitStep as JwstStep

        with np.errstate(all="ignore"):
            rate, _ = jwst_result(JwstStep, theirs, **given.references)
        ours, rateints = RampFitStep(**given.references).run(model)
        assert type(ours).__name__ == type(rate).__name__ == wanted
        assert type(rateints).__name__ == "CubeModel"

    def compare(self, ours, theirs):
        for found, wanted in zip(ours, theirs, strict=True):
            assert_rates_agree(arrays(found), arrays(wanted))
            for path in ("cal_step.ramp_fit", "bunit_data", "bunit_err", "exposure.gain_factor"):
                assert found[f"meta.{path}"] == wanted[f"meta.{path}"]

    def test_gain_factor_comes_from_the_gain_reference(self, tmp_path, rng):
        given = Given(tmp_path, rng)
        fits.setval(given.references["override_gain"], "GAINFACT", value=2.5)
        found = [model.meta.exposure.gain_factor for model in given.ours()]
        assert found == [m.meta.exposure.gain_factor for m in given.theirs()] == [2.5, 2.5]

    def test_optional_results(self, tmp_path, rng):
        from stdatamodels.jwst import datamodels as jwst_models

        given = Given(tmp_path, rng)
        ours, theirs = tmp_path / "ours", tmp_path / "theirs"
        ours.mkdir()
        theirs.mkdir()
        given.ours(save_opt=True, opt_name="other", output_dir=str(ours))
        given.theirs(save_opt=True, opt_name="other", output_dir=str(theirs))
        (ours,), (theirs,) = ours.iterdir(), theirs.iterdir()
        assert ours.name == theirs.name == "other_fitopt.fits"
        with jwst_models.open(ours) as found, jwst_models.open(theirs) as wanted:
            assert isinstance(found, jwst_models.RampFitOutputModel)
            assert found.meta.cal_step.ramp_fit is wanted.meta.cal_step.ramp_fit is None
            for name in OPTIONAL:
                # intercepts are sums of samples, whose float32 rounding is 1e-4 DN
                assert_near(getattr(found, name), getattr(wanted, name), 1e-4, name)

    @pytest.mark.parametrize("groups", [3, 4, 8])
    @pytest.mark.parametrize("zero_frame", [True, False])
    def test_likely(self, tmp_path, rng, groups, zero_frame):
        given = Given(tmp_path, rng, groups=groups)
        if zero_frame:
            given.ramps = with_zero_frames(given.ramps, rng)
        self.compare(given.ours(algorithm="LIKELY"), given.theirs(algorithm="LIKELY"))

    @pytest.mark.parametrize("groups", [3, 5])
    @pytest.mark.parametrize("zero_frame", [True, False])
    def test_listed_read_times_require_likely(self, tmp_path, rng, groups, zero_frame):
        times = [[10.0, 20.0], [30.0], [50.0, 60.0, 70.0], [90.0], [100.0, 125.0]][:groups]
        given = Given(tmp_path, rng, groups=groups, read_times=times)
        if zero_frame:
            given.ramps = with_zero_frames(given.ramps, rng)
        self.compare(given.ours(), given.theirs())

    def test_chi_squared_is_a_product(self, tmp_path, rng):
        given = Given(tmp_path, rng)
        how = {"algorithm": "LIKELY", "save_opt": True, "opt_name": "other"}
        for run, folder in ((given.ours, "ours"), (given.theirs, "theirs")):
            (tmp_path / folder).mkdir()
            run(**how, output_dir=str(tmp_path / folder))
        (ours,), (theirs,) = (list((tmp_path / f).iterdir()) for f in ("ours", "theirs"))
        assert ours.name == theirs.name == "other_likely_chisq.fits"
        with fits.open(ours) as found, fits.open(theirs) as wanted:
            assert [hdu.name for hdu in found] == [hdu.name for hdu in wanted]
            assert "S_RAMP" not in found[0].header
            assert "S_RAMP" not in wanted[0].header
            # one for each difference of groups
            assert_near(found["SCI"].data.astype("f4"), wanted["SCI"].data.astype("f4"), 1e-3, "")

    def test_real_ramps(self, real_data):
        folder = real_data / "nirspec_sub512"
        step = RampFitStep(
            override_gain=folder / "gain_syn.fits", override_readnoise=folder / "readnoise_syn.fits"
        )
        found = step.run(folder / "nrs1_sub512_syn_jump.fits")
        for model, product in zip(found, ("rate", "rateints"), strict=True):
            with fits.open(folder / f"nrs1_sub512_syn_{product}.fits") as hdus:
                names = ("SCI", "ERR", "DQ", "VAR_POISSON", "VAR_RNOISE")
                wanted = {
                    field: hdus[name].data.astype(hdus[name].data.dtype.newbyteorder("="))
                    for field, name in zip(FIELDS, names, strict=True)
                }
            assert_rates_agree(arrays(model), wanted)


class TestContract(StepContract):
    name = "ramp_fit"


class TestLikelyContract(StepContract):
    name = "ramp_fit"
    parameters = {"algorithm": "LIKELY"}


class TestOptionalContract(StepContract):
    name = "ramp_fit"
    parameters = {"save_opt": True}
    test_nothing_is_computed_early = None  # segments are counted to size the file

    def results(self):
        made = []
        for model in self.inputs():
            step = self.step()
            made += [*step.run_lazily(model), *(product for _, product in step.products())]
        assert len(made) == 3
        return made


class TestProducts:
    def test_saved_together(self, tmp_path, rng):
        given = Given(tmp_path, rng)
        RampFitStep(
            **given.references, save_results=True, save_opt=True,
            output_dir=str(tmp_path / "out"), output_file="one_uncal.fits",
        ).run(given.model())  # fmt: skip
        names = sorted(p.name for p in (tmp_path / "out").iterdir())
        assert names == ["one_fitopt.fits", "one_rate.fits", "one_rateints.fits"]
        with fits.open(tmp_path / "out" / "one_rateints.fits") as hdus:
            assert hdus["SCI"].data.shape == given.ramps.data[:, 0].shape
            assert hdus["SCI"].header["BUNIT"] == "DN/s"

    def test_tables_are_copied_to_the_integrations(self, tmp_path, rng):
        given = Given(tmp_path, rng)
        model = given.model()
        columns = model.schema.fields["int_times"].columns
        model.int_times = np.zeros(2, [(c.name, c.dtype) for c in columns])
        rate, rateints = RampFitStep(**given.references).run(model)
        assert rateints.int_times.shape == (2,)
        assert "int_times" not in rate.schema.fields

    def test_input_is_unchanged(self, tmp_path, rng):
        given = Given(tmp_path, rng)
        model = given.model()
        RampFitStep(**given.references, firstgroup=1, lastgroup=4).run(model)[0].data.compute()
        np.testing.assert_array_equal(np.asarray(model.groupdq), given.ramps.groupdq)


class TestRefusals:
    @pytest.mark.parametrize(
        ("times", "message"),
        [
            ([[1.0], [2.0]], "the times of the reads of 6 groups, but has 2 entries"),
            ([[1.0]] * 5 + [[]], "the times of the reads of 6 groups"),
            ([[1.0], [2.0], [np.nan], [4.0], [5.0], [6.0]], "must be finite, and increase"),
            ([[1.0], [2.0], [4.0], [3.0], [5.0], [6.0]], "must be finite, and increase"),
            ([[1.0, 1.0], [2.0], [3.0], [4.0], [5.0], [6.0]], "must be finite, and increase"),
        ],
    )
    def test_unusable_read_times(self, tmp_path, rng, times, message):
        with pytest.raises(StepError, match=message):
            Given(tmp_path, rng, read_times=times).ours()

    @pytest.mark.parametrize("times", [5.0, "1 2 3", ["a"] * 6, {"a": 1}], ids=str)
    def test_read_times_of_another_type_in_a_file(self, tmp_path, rng, times):
        given = Given(tmp_path, rng)
        path = given.model().save(tmp_path / "a_ramp.fits")
        content = io.BytesIO()
        asdf.AsdfFile({"meta": {"exposure": {"read_times": times}}}).write_to(content)
        row = np.frombuffer(content.getvalue(), np.uint8)
        column = fits.Column("ASDF_METADATA", f"{row.size}B", array=row[np.newaxis])
        with fits.open(path, "append") as hdus:
            hdus.append(fits.BinTableHDU.from_columns([column], name="ASDF"))
        with pytest.raises(StepError, match=f"{path}: read_times must be lists of numbers"):
            RampFitStep(**given.references).run(path)

    @pytest.mark.parametrize(
        ("fact", "keyword"),
        [("group_time", "TGROUP"), ("frame_time", "TFRAME"), ("nframes", "NFRAMES")],
    )
    @pytest.mark.parametrize("value", [None, 0])
    def test_no_times(self, tmp_path, rng, fact, keyword, value):
        wrong = "lacks {}" if value is None else "{} must be (positive|at least 1), is 0"
        with pytest.raises(StepError, match=wrong.format(keyword)):
            Given(tmp_path, rng, **{fact: value}).ours()

    def test_all_ramps_saturated_from_the_start(self, tmp_path, rng):
        given = Given(tmp_path, rng)
        given.ramps.groupdq[:, 0] |= np.uint8(SATURATED)
        assert given.theirs() == (None, None)
        rate, _ = given.ours()
        with pytest.raises(StepError, match="every ramp is saturated in its first group"):
            rate.save(tmp_path / "rate.fits")
        assert not list(tmp_path.glob("*rate*"))

    def test_one_unsaturated_ramp_is_enough(self):
        assert require_unsaturated({"unsaturated": np.array([0, 1])}, where="") == {}


def test_maximum_cores_is_reported_once_as_without_effect(tmp_path, rng, caplog):
    caplog.set_level("INFO")
    given = Given(tmp_path, rng)
    for _ in range(2):
        given.ours(maximum_cores="half")
    assert caplog.text.count("maximum_cores has no effect") == 1


def test_charge_loss_flags_do_not_change_other_pixels(tmp_path, rng):
    given = Given(tmp_path, rng)
    given.ramps.groupdq[...] &= np.uint8(~CHARGELOSS & 0xFF)
    before = arrays(given.ours()[0])
    given.ramps.groupdq[0, -1, 2, 3] |= np.uint8(CHARGELOSS | DO_NOT_USE)
    after = arrays(given.ours()[0])
    for name, array in after.items():
        changed = np.argwhere(~((array == before[name]) | (array != array)))
        assert changed.tolist() in ([], [[2, 3]]), name
