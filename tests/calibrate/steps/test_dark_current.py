"""Dark current: agreement with stcal's function and jwst's step, and individual rules."""

import logging
import pickle

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jwst.dark_current import DarkCurrentStep as JwstDarkCurrentStep
from support.detector_steps import (
    FIELDS,
    PERMUTED,
    assert_same,
    assert_tiling_is_invisible,
    flags,
    jwst_result,
    ramp,
    reference_file,
)
from support.step_contract import StepContract

from calbatch.calibrate.errors import ReferenceFileError, StepError
from calbatch.calibrate.steps.dark_current import DarkCurrentStep, subtract_dark
from calbatch.models import datamodels
from calbatch.models.dq import DO_NOT_USE, HOT

SHAPE = (7, 9)
READOUTS = [(1, 0), (4, 1), (4, 0), (1, 1), (8, 12)]


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def dark_ramp(rng, *leading, shape=SHAPE):
    dark = np.cumsum(rng.normal(3, 1, (*leading, *shape)), axis=-3).astype("f4")
    dark[rng.random(dark.shape) < 0.02] = np.nan
    return dark


def dark_file(path, dark, dq, *, nframes=1, groupgap=0, **options):
    arrays = {"SCI": dark, "DQ": dq}
    cards = {"NFRAMES": nframes, "GROUPGAP": groupgap, "NGROUPS": dark.shape[-3], **options}
    path.unlink(missing_ok=True)
    return reference_file(path, arrays, **cards)


def with_readout(rng, nframes=1, groupgap=0, **options):
    facts = {"nframes": nframes, "groupgap": groupgap, **options.pop("exposure", {})}
    return ramp(rng, exposure=facts, **{"shape": SHAPE, **options})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("darks")


@pytest.mark.agreement
class TestAgreementWithJwst:
    @settings(max_examples=25, deadline=None)
    @given(
        seed=st.integers(0, 2**32),
        ints=st.sampled_from([1, 3]),
        groups=st.sampled_from([1, 2, 3, 5, 10]),
        readout=st.sampled_from(READOUTS),
        same=st.booleans(),
        frames=st.integers(2, 60),
        miri=st.sampled_from([None, 1, 2, 4]),
        start=st.sampled_from([None, 1, 4]),
    )
    def test_any_dark(self, folder, seed, ints, groups, readout, same, frames, miri, start):
        from stcal.dark_current.dark_class import DarkData, ScienceData
        from stcal.dark_current.dark_sub import do_correction_data

        nframes, groupgap = readout
        sampled = readout if same else (1, 0)
        # when stcal averages integrations, it omits those that later segments need
        assume(sampled == readout or start != 4 or miri is None or miri <= ints)
        rng = np.random.default_rng(seed)
        dark = dark_ramp(rng, *([miri] if miri else []), frames)
        dq = flags(rng, (miri, 1, *SHAPE) if miri else SHAPE)
        exposure = with_readout(
            rng, nframes, groupgap, ints=ints, groups=groups, exposure={"integration_start": start}
        )
        path = dark_file(folder / "dark.fits", dark, dq, nframes=sampled[0], groupgap=sampled[1])
        ours = DarkCurrentStep(override_dark=path).run(exposure.ours())

        science, reference = ScienceData(exposure.theirs()), DarkData(dims=dark.shape)
        science.exp_nframes, science.exp_groupgap = readout
        science.exp_intstart = start
        reference.data, reference.groupdq = dark.copy(), dq
        reference.exp_nframes, reference.exp_groupgap = sampled
        reference.exp_ngroups = frames
        assert_same(ours, do_correction_data(science, reference)[0])

    @pytest.mark.parametrize("readout", [(1, 0), (4, 1)])
    def test_step(self, tmp_path, rng, readout):
        from jwst.dark_current import DarkCurrentStep as JwstStep

        dark, dq = dark_ramp(rng, 12), flags(rng, SHAPE)
        path = dark_file(tmp_path / "dark.fits", dark, dq, bits=PERMUTED)
        exposure = with_readout(rng, *readout, groups=4)
        ours = DarkCurrentStep(override_dark=path).run(exposure.ours())
        theirs = jwst_result(JwstStep, exposure.theirs(), override_dark=path)
        assert_same(ours, theirs)
        assert ours.meta.cal_step.dark_sub == theirs.meta.cal_step.dark_sub == "COMPLETE"

    def test_miri(self, tmp_path, rng):
        from jwst.dark_current import DarkCurrentStep as JwstStep

        dark, dq = dark_ramp(rng, 2, 6), flags(rng, (2, 1, *SHAPE))
        path = dark_file(tmp_path / "dark.fits", dark, dq, INSTRUME="MIRI")
        miri = {"instrument": "MIRI", "detector": "MIRIMAGE"}
        exposure = with_readout(rng, ints=3, **miri)
        ours = DarkCurrentStep(override_dark=path).run(exposure.ours())
        assert_same(ours, jwst_result(JwstStep, exposure.theirs(), override_dark=path))


class TestRules:
    def subtracted_levels(self, folder, dark, *, nframes=1, groupgap=0, ints=1, groups=3, **facts):
        """Return the level subtracted from each group of a ramp of zeros."""
        dark = np.array(dark, "f4")
        dq = np.zeros((len(dark), 1, *SHAPE) if dark.ndim == 2 else SHAPE, "u4")
        dark = np.broadcast_to(dark[..., None, None], (*dark.shape, *SHAPE)).copy()
        path = dark_file(folder / "dark.fits", dark, dq)
        rng = np.random.default_rng(0)
        exposure = with_readout(rng, nframes, groupgap, ints=ints, groups=groups, exposure=facts)
        exposure.data[:] = 0
        result = DarkCurrentStep(override_dark=path).run(exposure.ours())
        return -np.asarray(result.data)[..., 0, 0]

    def test_groups_use_the_dark_of_their_frames(self, folder):
        found = self.subtracted_levels(folder, range(20), nframes=4, groupgap=1, groups=3)
        assert found.tolist() == [[1.5, 6.5, 11.5]]

    def test_nan_counts_as_zero(self, folder):
        assert self.subtracted_levels(folder, [1, np.nan, 3]).tolist() == [[1, 0, 3]]
        assert self.subtracted_levels(folder, [1, np.nan], nframes=2, groups=1).tolist() == [[0.5]]

    def test_short_dark_is_extrapolated_from_its_last_two_frames(self, folder, caplog):
        with caplog.at_level(logging.WARNING):
            found = self.subtracted_levels(folder, [0, 1, 3], groups=5)
        assert found.tolist() == [[0, 1, 3, 5, 7]]
        assert "dark.fits: has 3 frames, but the exposure needs 5: extrapolated" in caplog.text

    def test_later_integrations_use_the_last_dark(self, folder):
        dark = [[1, 1, 1], [2, 2, 2]]
        assert self.subtracted_levels(folder, dark, ints=3)[:, 0].tolist() == [1, 2, 2]

    def test_later_segments_use_the_last_dark(self, folder):
        found = self.subtracted_levels(folder, [[1, 1, 1], [2, 2, 2]], ints=2, integration_start=5)
        assert found[:, 0].tolist() == [2, 2]

    def test_averaged_dark_of_a_later_segment(self, folder):
        # stcal subtracts nothing here: it averages only as many darks as there are integrations
        dark = [[1] * 8, [2] * 8]
        found = self.subtracted_levels(folder, dark, nframes=2, groupgap=0, integration_start=5)
        assert found.tolist() == [[2, 2, 2]]

    def test_flags_of_all_integrations_are_combined(self):
        dark_dq = np.array([DO_NOT_USE, HOT], "u4").reshape(2, 1, 1, 1)
        _, pixeldq = subtract_dark(
            np.zeros((1, 1, 1, 1), "f4"),
            np.zeros((1, 1), "u4"),
            levels=np.zeros((1, 1, 1), "f4"),
            dark_dq=dark_dq,
            integration=(0,),
        )
        assert pixeldq == DO_NOT_USE | HOT


class TestRefusals:
    def run(self, tmp_path, rng, dark=None, **options):
        dark = dark_ramp(rng, 10) if dark is None else dark
        path = dark_file(tmp_path / "dark.fits", dark, flags(rng, SHAPE), **options)
        return DarkCurrentStep(override_dark=path).run(with_readout(rng, 4, 1).ours())

    @pytest.mark.parametrize("readout", [(8, 1), (4, 2), (2, 0), (4, 0)])
    def test_dark_that_cannot_be_resampled_to_the_exposure(self, tmp_path, rng, readout):
        wanted = r"dark\.fits: averages . frames and skips ., but the exposure averages 4 and skips"
        with pytest.raises(ReferenceFileError, match=wanted):
            self.run(tmp_path, rng, nframes=readout[0], groupgap=readout[1])

    def test_one_frame_cannot_be_extrapolated(self, tmp_path, rng):
        with pytest.raises(ReferenceFileError, match="has one group"):
            self.run(tmp_path, rng, dark_ramp(rng, 1))

    def test_dark_without_its_sampling(self, tmp_path, rng):
        with pytest.raises(StepError, match=r"dark\.fits: the header lacks NFRAMES"):
            self.run(tmp_path, rng, nframes=None)


@pytest.mark.agreement
class TestAverageDarkCurrent:
    @pytest.mark.parametrize("given", [None, 0.25, 0.0])
    @pytest.mark.parametrize("image", [None, 0.0, 0.5])
    @pytest.mark.parametrize("number", [None, 0.125])
    @pytest.mark.parametrize("earlier", [False, True])
    def test_precedence(self, tmp_path, rng, given, image, number, earlier):
        arrays = {"SCI": dark_ramp(rng, 10), "DQ": np.zeros(SHAPE, "u4")}
        if image is not None:
            arrays["AVDRKCUR"] = np.full(SHAPE, image, "f4") * rng.uniform(1, 2, SHAPE).astype("f4")
        cards = {"NFRAMES": 1, "GROUPGAP": 0} | ({} if number is None else {"AVDRKCUR": number})
        dark = reference_file(tmp_path / "dark.fits", arrays, **cards)
        exposure = with_readout(rng)
        models = exposure.ours(), exposure.theirs()
        for model in models if earlier else ():
            model.average_dark_current = np.full(SHAPE, 3, "f4")
        parameters = {"override_dark": dark, "average_dark_current": given}
        ours = DarkCurrentStep(**parameters).run(models[0])
        theirs = jwst_result(JwstDarkCurrentStep, models[1], **parameters)
        assert ours.has("average_dark_current") == theirs.hasattr("average_dark_current")
        assert_same(ours, theirs)
        if ours.has("average_dark_current"):
            found = np.asarray(ours.average_dark_current)
            np.testing.assert_array_equal(found, theirs.average_dark_current)

    def test_the_written_ramp_has_jwsts_average_dark_current(self, tmp_path, rng):
        """Zero, regardless of the value that an earlier run of the step stored in the exposure."""
        dark = reference_file(
            tmp_path / "dark.fits",
            {"SCI": dark_ramp(rng, 10), "DQ": np.zeros(SHAPE, "u4")},
            NFRAMES=1, GROUPGAP=0,
        )  # fmt: skip
        exposure = with_readout(rng)
        ours, theirs = exposure.ours(), exposure.theirs()
        for model in (ours, theirs):
            model.average_dark_current = np.full(SHAPE, 3, "f4")
        DarkCurrentStep(override_dark=dark).run(ours).save(tmp_path / "ours.fits", fsync=False)
        step = JwstDarkCurrentStep()
        step.override_dark = str(dark)
        step.process(theirs).save(str(tmp_path / "theirs.fits"))
        with (
            fits.open(tmp_path / "ours.fits") as found,
            fits.open(tmp_path / "theirs.fits") as wanted,
        ):
            assert {h.name for h in found} == {h.name for h in wanted}
            np.testing.assert_array_equal(found["AVDRKCUR"].data, wanted["AVDRKCUR"].data)


@pytest.mark.agreement
class TestDarkOutput:
    @pytest.mark.parametrize(
        ("readout", "frames", "options"),
        [
            ((4, 1), 24, {}),
            ((4, 1), 12, {}),
            ((1, 0), 8, {}),
            ((1, 0), 2, {}),
            ((4, 1), 7, {"nframes": 4, "groupgap": 1}),
            ((1, 0), 6, {"miri": 2}),
            ((4, 1), 24, {"miri": 2}),
        ],
        ids=str,
    )
    def test_the_dark_is_saved_as_by_jwst(self, tmp_path, rng, readout, frames, options):
        options = dict(options)
        miri = options.pop("miri", None)
        dark = dark_ramp(rng, *([miri] if miri else []), frames)
        dq = flags(rng, (miri, 1, *SHAPE) if miri else SHAPE)
        instrument = {"INSTRUME": "MIRI"} if miri else {}
        path = dark_file(tmp_path / "dark.fits", dark, dq, bits=PERMUTED, **options, **instrument)
        place = {"instrument": "MIRI", "detector": "MIRIMAGE"} if miri else {}
        exposure = with_readout(rng, *readout, groups=4, ints=2, **place)
        for name in ("ours", "theirs"):
            (tmp_path / name).mkdir()
        DarkCurrentStep(
            override_dark=path, dark_output="used.fits", output_dir=str(tmp_path / "ours")
        ).run(exposure.ours())
        jwst_result(
            JwstDarkCurrentStep, exposure.theirs(), override_dark=path,
            dark_output="used.fits", output_dir=str(tmp_path / "theirs"),
        )  # fmt: skip
        (ours,), (theirs,) = (list((tmp_path / n).iterdir()) for n in ("ours", "theirs"))
        assert ours.name == theirs.name == "used.fits"
        with fits.open(ours) as found, fits.open(theirs) as wanted:
            # Every file that calbatch writes has an ASDF extension.
            assert {hdu.name for hdu in found} - {"ASDF"} == {hdu.name for hdu in wanted}
            for name in ("SCI", "DQ"):
                np.testing.assert_array_equal(found[name].data, wanted[name].data)
            for keyword in ("NFRAMES", "NGROUPS", "GROUPGAP", "INSTRUME", "DATAMODL"):
                assert found[0].header.get(keyword) == wanted[0].header.get(keyword), keyword


class TestStep:
    @pytest.mark.parametrize("readout", [(1, 0), (4, 1)])
    @pytest.mark.parametrize("frames", [3, 30])
    def test_results_do_not_depend_on_tiles(self, tmp_path, rng, readout, frames):
        path = dark_file(tmp_path / "dark.fits", dark_ramp(rng, frames), flags(rng, SHAPE))
        step = DarkCurrentStep(override_dark=path)
        assert_tiling_is_invisible(step, with_readout(rng, *readout, ints=2).ours())

    @pytest.mark.parametrize("readout", [(1, 0), (4, 1)])
    def test_dark_of_a_larger_frame_is_cut(self, tmp_path, rng, readout):
        # jwst 3.0.0 requires a dark of the exposure's size
        dark, dq = dark_ramp(rng, 30, shape=(20, 30)), flags(rng, (20, 30))
        exposure = with_readout(rng, *readout, origin=(15, 24))
        rows, cols = slice(4, 4 + SHAPE[0]), slice(5, 5 + SHAPE[1])
        whole = dark_file(tmp_path / "whole.fits", dark, dq, origin=(10, 20))
        part = dark_file(
            tmp_path / "part.fits", dark[:, rows, cols], dq[rows, cols], origin=(15, 24)
        )
        results = [DarkCurrentStep(override_dark=p).run(exposure.ours()) for p in (whole, part)]
        assert_same(*results)

    def test_averaging_pickles(self, tmp_path, rng):
        path = dark_file(tmp_path / "dark.fits", dark_ramp(rng, 7), flags(rng, SHAPE))
        result = DarkCurrentStep(override_dark=path).run(with_readout(rng, 4, 1).ours())
        assert_same(pickle.loads(pickle.dumps(result)), result)

    def test_no_dark_skips(self, rng):
        result = DarkCurrentStep(override_dark="N/A").run(with_readout(rng).ours())
        assert result.meta.cal_step.dark_sub == "SKIPPED"


def test_kernel_does_not_modify_its_inputs(rng):
    exposure, levels = with_readout(rng), dark_ramp(rng, 5)
    dark_dq = flags(rng, SHAPE)
    inputs = [exposure.data, exposure.pixeldq, levels, dark_dq]
    before = [array.copy() for array in inputs]
    for array in inputs:
        array.flags.writeable = False
    subtract_dark(*inputs[:2], levels=levels, dark_dq=dark_dq, integration=(0,))
    for array, copy in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_real_product(real_data):
    folder = real_data / "nirspec_sub512"
    step = DarkCurrentStep(override_dark=folder / "dark_0046_repacked.fits")
    result = step.run(datamodels.open(folder / "nrs1_sub512_syn_linearity.fits"))
    with fits.open(folder / "nrs1_sub512_syn_dark_current.fits") as wanted:
        for name, hdu in zip(FIELDS, ("SCI", "GROUPDQ", "PIXELDQ"), strict=True):
            np.testing.assert_array_equal(np.asarray(getattr(result, name)), wanted[hdu].data)


def test_real_dark_with_its_own_flag_bits(real_data):
    folder = real_data / "nirspec_sub512"
    model = datamodels.open(folder / "nrs1_sub512_syn_linearity.fits")
    step = DarkCurrentStep(override_dark=folder / "jwst_nirspec_dark_0046.fits")
    result = step.run(model)
    with fits.open(folder / "jwst_nirspec_dark_0046.fits") as dark:
        level, own, table = dark["SCI"].data, dark["DQ"].data, dark["DQ_DEF"].data
    wanted = np.asarray(model.data) - np.where(np.isnan(level), 0, level)[:8]
    np.testing.assert_array_equal(np.asarray(result.data), wanted.astype("f4"))
    hot = {r["Name"].strip(): int(r["Value"]) for r in table}["HOT"]
    was_hot, is_hot = ((np.asarray(m.pixeldq) & HOT) != 0 for m in (model, result))
    np.testing.assert_array_equal(is_hot, was_hot | ((own & hot) != 0))


class TestContract(StepContract):
    name = "dark_current"
