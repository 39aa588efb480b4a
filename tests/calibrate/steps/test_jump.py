"""Jumps: agreement with jwst's step, and the step itself."""

import pickle
from typing import ClassVar

import dask
import numpy as np
import pytest
from astropy.io import fits
from support.detector_steps import (
    assert_tiling_is_invisible,
    jwst_result,
)
from support.jumps import DEFAULTS, Ramps, calm, stormy
from support.step_contract import StepContract

from calbatch.calibrate.errors import ParameterError, StepError
from calbatch.calibrate.step import log_once
from calbatch.calibrate.steps import jump
from calbatch.calibrate.steps.jump import JumpStep
from calbatch.models.dq import DO_NOT_USE, JUMP_DET

SHAPE = (12, 20)
FLAGS = ("groupdq", "pixeldq")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # stcal computes with NaN and infinities
class TestAgreementWithJwst:
    def compare(self, folder, observed, found, **parameters):
        from jwst.jump import JumpStep as JwstStep

        ours = JumpStep(**found, **parameters).run(observed.ours())
        theirs = jwst_result(JwstStep, observed.theirs(), **found, **parameters)
        for name in FLAGS:
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)
        np.testing.assert_array_equal(ours.data, observed.data)
        assert ours.meta.cal_step.jump == theirs.meta.cal_step.jump
        facts = theirs.meta.exposure
        with fits.open(ours.save(folder / "ours.fits")) as saved:
            header = saved[0].header
            assert header.get("PRIMECRS") == facts.primary_cosmic_rays
            assert header.get("EXTNCRS") == facts.extended_emission_events
        return ours

    @pytest.mark.parametrize(
        ("ints", "groups", "parameters"),
        [
            (1, 3, {}),
            (1, 5, {}),
            (1, 12, {}),
            (3, 4, {}),
            (3, 10, {"flag_4_neighbors": False}),
            (1, 10, {"min_diffs_single_pass": 4, "rejection_threshold": 5.0}),
            (2, 5, {"after_jump_flag_dn1": 20.0, "after_jump_flag_time1": 25.0}),
            (1, 12, {"after_jump_flag_dn2": 300.0, "after_jump_flag_time2": 80.0}),
            (12, 5, {"minimum_sigclip_groups": 10}),
            (12, 5, {"minimum_sigclip_groups": 30, "only_use_ints": False}),
            (1, 4, {"minimum_groups": 9}),
            (
                *(1, 4),
                {
                    "three_group_rejection_threshold": 3.0,
                    "four_group_rejection_threshold": 3.5,
                    "max_jump_to_flag_neighbors": 50.0,
                    "min_jump_to_flag_neighbors": 4.0,
                },
            ),
        ],
    )
    def test_step(self, tmp_path, ints, groups, parameters):
        ramps = stormy(ints, groups, SHAPE, seed=groups)
        found = ramps.references(tmp_path)
        result = self.compare(tmp_path, ramps.as_exposure(), found, **parameters)
        assert result.meta.cal_step.jump == "COMPLETE"

    @pytest.mark.parametrize("dropped", [[], [0], [0, 4], [0, 1, 4]])
    def test_groups_unusable_over_the_frame(self, tmp_path, dropped):
        ramps = stormy(2, 5, SHAPE, seed=8)
        ramps.groupdq[...] &= 0xFF - DO_NOT_USE
        ramps.groupdq[1, dropped] |= np.uint8(DO_NOT_USE)
        found = self.compare(tmp_path, ramps.as_exposure(), ramps.references(tmp_path))
        assert not np.any(np.asarray(found.groupdq)[1, dropped] & JUMP_DET)
        new = np.asarray(found.groupdq) & ~ramps.groupdq & JUMP_DET
        assert np.any(new) == (len(dropped) < 3)  # one difference is too few to search

    def test_listed_read_times_do_not_matter(self, tmp_path):
        from jwst.jump import JumpStep as JwstStep

        ramps = stormy(1, 5, SHAPE, seed=12)
        times = [[40.0 * n**2 + 2.7 * k for k in range(4)] for n in range(5)]
        parameters = {"after_jump_flag_dn1": 20.0, "after_jump_flag_time1": 25.0}
        parameters |= ramps.references(tmp_path)
        listed = ramps.as_exposure(read_times=times)
        wanted = jwst_result(JwstStep, listed.theirs(), **parameters).groupdq
        for observed in (listed, ramps.as_exposure()):
            found = JumpStep(**parameters).run(observed.ours()).groupdq
            np.testing.assert_array_equal(found, wanted)
        assert np.any(wanted & JUMP_DET)

    def test_all_groups_unusable(self, tmp_path):
        ramps = stormy(1, 4, SHAPE, seed=9)
        ramps.groupdq[...] |= np.uint8(DO_NOT_USE)
        found = self.compare(tmp_path, ramps.as_exposure(), ramps.references(tmp_path))
        np.testing.assert_array_equal(found.groupdq, ramps.groupdq & (0xFF - JUMP_DET))

    def test_subarray_of_larger_references(self, tmp_path):
        ramps = stormy(1, 5, (30, 40))
        cut = Ramps(*(getattr(ramps, n)[..., 8:20, 15:35] for n in vars(ramps)))
        after = {"after_jump_flag_dn1": 50.0, "after_jump_flag_time1": 25.0}
        observed = cut.as_exposure(origin=(16, 9))
        found = self.compare(tmp_path, observed, ramps.references(tmp_path), **after)
        own = tmp_path / "own"
        own.mkdir()
        same = self.compare(tmp_path, cut.as_exposure(), cut.references(own), **after)
        assert np.any(np.asarray(found.groupdq) & ~cut.groupdq & JUMP_DET)
        np.testing.assert_array_equal(found.pixeldq, same.pixeldq)


class TestStep:
    @pytest.fixture
    def ramps(self):
        return stormy(2, 6, SHAPE, seed=3)

    @pytest.mark.parametrize(
        "parameters",
        [
            {},
            {"min_diffs_single_pass": 3},
            {"minimum_sigclip_groups": 2},
            {"after_jump_flag_dn1": 10.0, "after_jump_flag_time1": 30.0},
        ],
    )
    def test_results_do_not_depend_on_tile_height(self, tmp_path, ramps, parameters):
        step = JumpStep(**ramps.references(tmp_path), **parameters)
        assert_tiling_is_invisible(step, ramps.as_exposure().ours(), FLAGS)

    def test_neighbours_across_tiles(self, tmp_path):
        ramps = calm(1, 6, SHAPE)
        ramps.data[0, 3:, 4:6, 7] += 500
        step = JumpStep(**ramps.references(tmp_path))
        with dask.config.set({"calbatch.tile-rows": 5}):
            found = np.asarray(step.run(ramps.as_exposure().ours()).groupdq)
        assert np.all(found[0, 3, [3, 6], 7] & JUMP_DET)
        assert_tiling_is_invisible(step, ramps.as_exposure().ours(), FLAGS)

    def test_an_unusable_tile_does_not_decide_for_the_frame(self, tmp_path, ramps):
        ramps.groupdq[:, 1:5, :5] |= np.uint8(DO_NOT_USE)
        step = JumpStep(**ramps.references(tmp_path))
        assert_tiling_is_invisible(step, ramps.as_exposure().ours(), FLAGS)

    @pytest.mark.parametrize("rows", [1, 5, 12])
    def test_rates_do_not_depend_on_tiles(self, tmp_path, ramps, rows):
        with dask.config.set({"calbatch.tile-rows": rows}):
            result = JumpStep(**ramps.references(tmp_path)).run(ramps.as_exposure().ours())
            header = fits.getheader(result.save(tmp_path / "out.fits"))
        jumps = ramps.find_jumps(DEFAULTS._replace(frames=4.0))[2][:, 0].sum()
        groups = 12 - int(jump.unusable_groups(ramps.groupdq).sum())
        assert header["PRIMECRS"] == pytest.approx(1000 * jumps / (10.7 * (groups - 2) * 240))

    @pytest.mark.parametrize("groups", [1, 2])
    def test_few_groups_are_skipped(self, tmp_path, groups):
        ramps = stormy(2, groups, SHAPE)
        result = JumpStep(**ramps.references(tmp_path)).run(ramps.as_exposure().ours())
        assert result.meta.cal_step.jump == "SKIPPED"
        np.testing.assert_array_equal(result.groupdq, ramps.groupdq)

    @pytest.mark.parametrize("name", ["nframes", "group_time"])
    def test_missing_keywords_are_named(self, ramps, name):
        observed = ramps.as_exposure(**{name: None})
        keyword = {"nframes": "NFRAMES", "group_time": "TGROUP"}[name]
        with pytest.raises(StepError, match=f"the header lacks {keyword}"):
            JumpStep().run(observed.ours())

    def test_parameters_have_bounds(self):
        with pytest.raises(ParameterError, match="rejection_threshold"):
            JumpStep(rejection_threshold=-1)

    def test_parameters_without_effect_are_reported_once(self, tmp_path, ramps, caplog):
        log_once.cache_clear()
        caplog.set_level("INFO")
        for _ in range(2):
            step = JumpStep(maximum_cores="half", minimum_groups=5, **ramps.references(tmp_path))
            step.run(ramps.as_exposure().ours())
            (tmp_path / "gain.fits").unlink()
            (tmp_path / "readnoise.fits").unlink()
        assert caplog.text.count("maximum_cores has no effect") == 1
        assert caplog.text.count("minimum_groups has no effect") == 1

    def test_jwsts_parameters_have_jwsts_defaults(self):
        from jwst.jump import JumpStep as JwstStep

        theirs = JwstStep()
        ours = JumpStep.parameters()
        names = [n for n in vars(theirs) if n in ours and n != "suffix"]
        names = [n for n in names if not n.startswith(("override_", "output_", "name"))]
        assert len(names) > 30
        own = JumpStep()
        for name in set(names) - {"skip", "save_results", "pre_hooks", "post_hooks"}:
            assert getattr(own, name) == getattr(theirs, name), name

    def test_objects_sent_to_workers_pickle(self, tmp_path, ramps):
        result = JumpStep(**ramps.references(tmp_path)).run(ramps.as_exposure().ours())
        (deferred,) = result._content.deferred
        counts = {"jump": np.array([[3, 12, 1], [4, 12, 1]])}
        again = pickle.loads(pickle.dumps(deferred))
        assert again.function(counts) == deferred.function(counts)
        assert pickle.loads(pickle.dumps((DEFAULTS, jump.find_jumps))) == (
            DEFAULTS,
            jump.find_jumps,
        )


def test_real_exposure(real_data, tmp_path):
    folder = real_data / "nirspec_sub512"
    step = JumpStep(
        override_gain=folder / "gain_syn.fits", override_readnoise=folder / "readnoise_syn.fits"
    )
    result = step.run(folder / "nrs1_sub512_syn_dark_current.fits")
    with fits.open(folder / "nrs1_sub512_syn_jump.fits") as wanted:
        for name in FLAGS:
            np.testing.assert_array_equal(getattr(result, name), wanted[name.upper()].data)
        rate = wanted[0].header["PRIMECRS"]
    assert fits.getheader(result.save(tmp_path / "out.fits"))["PRIMECRS"] == rate


class TestContract(StepContract):
    name = "jump"


class TestContractWithLargeEvents(StepContract):
    name = "jump"
    parameters: ClassVar[dict] = {"expand_large_events": True, "find_showers": True}
