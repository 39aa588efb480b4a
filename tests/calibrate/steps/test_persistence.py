"""Persistence: agreement with jwst's step, the file of windows, and individual rules."""

import asdf
import numpy as np
import pytest
from support.detector_steps import assert_same, assert_tiling_is_invisible, jwst_result, ramp
from support.step_contract import StepContract

from calbatch.calibrate.products import without_files
from calbatch.calibrate.step import StepError
from calbatch.calibrate.steps._persistence_state import NONE
from calbatch.calibrate.steps.persistence import (
    PersistenceStep,
    WindowRules,
    flag_persistence,
    group_times,
    seconds_since_1970,
)
from calbatch.models import datamodels
from calbatch.models.dq import DO_NOT_USE, PERSISTENCE, SATURATED
from calbatch.models.errors import FileError
from calbatch.models.tiling.plan import Region

START = 60000.25
TIMES = {"start_time": START, "group_time": 10.0, "integration_time": 70.0}
SHAPE = (14, 11)


@pytest.fixture
def rng():
    return np.random.default_rng(21)


def exposure_of(rng, *, later=0.0, table=True, detector="NRCA1", ints=3, groups=6):
    """Return a ramp with some saturated groups, ``later`` seconds after the first exposure."""
    times = {**TIMES, "start_time": START + later / 86400}
    drawn = ramp(rng, ints=ints, groups=groups, shape=SHAPE, detector=detector, exposure=times)
    drawn.groupdq[rng.random(drawn.groupdq.shape) < 0.05] |= np.uint8(SATURATED)
    described = drawn._describe

    def with_times(model):
        if table:
            dtype = [("integration_number", "i4"), *((name, "f8") for name in COLUMNS)]
            rows = np.zeros(ints - 1, dtype)  # the last integration is not listed
            rows["int_start_MJD_UTC"] = START + (later + np.arange(ints - 1) * 65.5) / 86400
            model.int_times = rows
        return described(model)

    drawn._describe = with_times
    return drawn


COLUMNS = [
    f"int_{when}_{scale}" for scale in ("MJD_UTC", "BJD_TDB") for when in ("start", "mid", "end")
]


def on(**parameters):
    return PersistenceStep(**{"skip": False, "persistence_time": 45, **parameters})


@pytest.mark.agreement
@pytest.mark.filterwarnings("ignore::asdf.exceptions.AsdfWarning")
class TestAgreementWithJwst:
    def theirs(self, exposure, **parameters):
        from jwst.persistence import PersistenceStep as JwstStep

        wanted = {"skip": False, "persistence_time": 45, **parameters}
        return jwst_result(JwstStep, exposure.theirs(), **wanted)

    @pytest.mark.parametrize("table", [True, False])
    @pytest.mark.parametrize(
        "parameters",
        [
            {},
            {"persistence_time": 5},
            {"persistence_time": 1000, "persistence_dnu": True},
            {"dn_threshold": 30000.0},
            {"dn_threshold": 14000.5, "persistence_time": 20},
        ],
        ids=str,
    )
    def test_flags(self, rng, table, parameters):
        exposure = exposure_of(rng, table=table)
        ours = on(**parameters).run(exposure.ours())
        theirs = self.theirs(exposure, **parameters)
        assert_same(ours, theirs)
        assert ours.meta.cal_step.persistence == theirs.meta.cal_step.persistence == "COMPLETE"
        assert np.any(np.asarray(ours.groupdq) & PERSISTENCE)

    def test_windows_pass_from_exposure_to_exposure(self, tmp_path, rng):
        """Also to and from files that jwst writes, with another detector in between."""
        chain = [(0, "NRCA1"), (230, "NRCA2"), (260, "NRCA1"), (500, "NRCA1")]
        exposures = [exposure_of(rng, later=later, detector=name) for later, name in chain]
        files = {name: tmp_path / f"{name}.asdf" for name in ("ours", "theirs")}
        how = {"persistence_time": 400, "dn_threshold": 40000.0}
        for exposure in exposures:
            before = {name: str(path) for name, path in files.items()}
            ours, theirs = (
                {**how, "persistence_array_file": before[name], "save_persistence": before[name]}
                for name in ("ours", "theirs")
            )
            assert_same(on(**ours).run(exposure.ours()), self.theirs(exposure, **theirs))
            self.assert_same_files(files["ours"], files["theirs"])
        crossed = exposure_of(rng, later=600)
        ours = on(**how, persistence_array_file=str(files["theirs"])).run(crossed.ours())
        theirs = self.theirs(crossed, **how, persistence_array_file=str(files["ours"]))
        assert_same(ours, theirs)

    @staticmethod
    def assert_same_files(ours, theirs):
        with asdf.open(ours) as found, asdf.open(theirs) as wanted:
            names = {name for name in wanted.keys() if name.startswith("NRC")}  # noqa: SIM118
            assert {name for name in found.keys() if name.startswith("NRC")} == names  # noqa: SIM118
            for name in names:
                for key in ("rows", "cols", "vals"):
                    np.testing.assert_array_equal(found[name][key], wanted[name][key])
                assert found[name]["pers_time"] == wanted[name]["pers_time"]

    @pytest.mark.parametrize("seconds", [None, 0, -3])
    def test_without_a_time_the_step_fails_and_the_pipeline_goes_on(self, rng, seconds):
        exposure = exposure_of(rng)
        ours = on(persistence_time=seconds).run(exposure.ours())
        theirs = self.theirs(exposure, persistence_time=seconds)
        assert_same(ours, theirs)
        assert ours.meta.cal_step.persistence == theirs.meta.cal_step.persistence == "FAILED"

    def test_windows_of_another_length_are_ignored(self, tmp_path, rng):
        path = str(tmp_path / "windows.asdf")
        on(persistence_time=300, save_persistence=path).run(exposure_of(rng).ours())
        later = exposure_of(rng, later=200)
        how = {"persistence_array_file": path, "persistence_time": 301}
        ours = on(**how).run(later.ours())
        assert_same(ours, self.theirs(later, **how))
        assert_same(ours, on(persistence_time=301).run(later.ours()))


class TestBatches:
    """The step as a batch runs it, which gives it the members of its unit."""

    @staticmethod
    def run_in_batch(exposure, folder, received=None, **parameters):
        """Return the result, and the windows that the next exposure receives."""
        model = exposure.ours()
        step = on(persistence_time=400, **parameters)
        step.members = {"science": [model], **({"openwindows": [received]} if received else {})}
        result = step.run_lazily(model)
        ((suffix, left),) = step.products()
        assert suffix == "openwindows"
        path = folder / f"{len(list(folder.iterdir()))}.fits"
        left.save(path)
        return result, datamodels.open(path)

    def test_windows_are_handed_on_as_by_a_file(self, tmp_path, rng):
        path = str(tmp_path / "windows.asdf")
        how = {"dn_threshold": 30000.0}
        with_file = {**how, "persistence_time": 400, "save_persistence": path}
        received = None
        for later in (0, 250):
            exposure = exposure_of(rng, later=later)
            wanted = on(**with_file, persistence_array_file=path).run(exposure.ours())
            found, left = self.run_in_batch(exposure, tmp_path, received, **how)
            np.testing.assert_array_equal(np.asarray(found.groupdq), np.asarray(wanted.groupdq))
            received = left
            with asdf.open(path) as stored:
                own = stored["NRCA1"]
                ends = np.zeros(SHAPE)
                ends[own["rows"], own["cols"]] = own["vals"]
            np.testing.assert_array_equal(np.asarray(left.ends), ends)
            assert left.meta.persistence_time == 400

    def test_results_do_not_depend_on_tiles(self, tmp_path, rng):
        _, left = self.run_in_batch(exposure_of(rng), tmp_path)
        model = exposure_of(rng, later=200).ours()
        names = {"output_dir": str(tmp_path), "output_file": "e.fits"}
        step = on(persistence_time=400, dn_threshold=30000.0, **names)
        step.members = {"openwindows": [left]}
        assert_tiling_is_invisible(step, model)

    def test_windows_of_another_length_are_ignored(self, tmp_path, rng):
        _, left = self.run_in_batch(exposure_of(rng), tmp_path)
        left.meta.persistence_time = 399
        later = exposure_of(rng, later=200)
        found, _ = self.run_in_batch(later, tmp_path, left)
        wanted = on(persistence_time=400).run(later.ours())
        np.testing.assert_array_equal(np.asarray(found.groupdq), np.asarray(wanted.groupdq))

    def test_windows_of_another_frame_are_refused(self, tmp_path, rng):
        _, left = self.run_in_batch(exposure_of(rng), tmp_path)
        step = on(persistence_time=400)
        step.members = {"openwindows": [left.section(0, 5, 0, 11)]}
        with pytest.raises(StepError, match=r"has windows of 5 x 11 pixels, the exposure 14 x 11"):
            step.run_lazily(exposure_of(rng).ours())

    def test_outside_batches_nothing_is_handed_on(self, rng, caplog):
        step = on()
        step.run_lazily(exposure_of(rng).ours())
        assert step.products() == []
        assert "this exposure alone: windows are handed on within a batch" in caplog.text

    def test_nothing_is_said_where_windows_are_handed_on(self, tmp_path, rng, caplog):
        self.run_in_batch(exposure_of(rng), tmp_path)
        step = on(save_persistence=str(tmp_path / "windows.asdf"))
        step.run(exposure_of(rng).ours())
        without_files(step).run_lazily(exposure_of(rng).ours())  # as kernels are compiled
        assert "alone" not in caplog.text


class TestRules:
    @staticmethod
    def flag_groups(groupdq, *, data=0.0, threshold=None, seconds=25, times=None):
        """Return the flags of one pixel's groups, which end every 10 s."""
        groupdq = np.array(groupdq, "u1").reshape(1, -1, 1, 1)
        counts = np.broadcast_to(np.asarray(data, "f4").reshape(1, -1, 1, 1), groupdq.shape)
        times = 10.0 * np.arange(1, groupdq.shape[1] + 1) if times is None else times
        rules = WindowRules(
            seconds=seconds, threshold=threshold, flags=PERSISTENCE, times=np.array([times])
        )
        region = Region((0, 1), (0, 1))
        return flag_persistence(counts, groupdq, windows=NONE, rules=rules, region=region).ravel()

    def test_a_window_lasts_until_its_time_is_over(self):
        found = self.flag_groups([0, SATURATED, SATURATED, 0, 0, 0])
        # It opens in the second group, at 20 s, and ends at 45 s.
        assert (found & PERSISTENCE != 0).tolist() == [False, True, True, True, False, False]

    def test_a_pixel_saturated_once_extends_its_window(self):
        found = self.flag_groups([0, SATURATED, 0, 0, 0, 0])
        assert (found & PERSISTENCE != 0).tolist() == [False, True, True, True, True, True]

    def test_a_threshold_opens_a_window_but_does_not_extend_it(self):
        found = self.flag_groups([0] * 6, data=[0, 9, 9, 0, 0, 0], threshold=5.0)
        assert (found & PERSISTENCE != 0).tolist() == [False, True, True, True, False, False]

    def test_the_epoch_is_1970(self):
        assert seconds_since_1970(40587.5) == 43200


class TestStep:
    def test_it_is_skipped_by_default(self, rng):
        exposure = exposure_of(rng)
        result = PersistenceStep().run(exposure.ours())
        assert result.meta.cal_step.persistence == "SKIPPED"
        np.testing.assert_array_equal(np.asarray(result.groupdq), exposure.groupdq)

    def test_flags_include_do_not_use_if_wanted(self, rng):
        exposure = exposure_of(rng)
        plain, both = (
            np.asarray(on(persistence_dnu=dnu).run(exposure.ours()).groupdq)
            for dnu in (False, True)
        )
        within = plain & PERSISTENCE != 0
        np.testing.assert_array_equal(both, np.where(within, plain | DO_NOT_USE, plain))

    def test_results_do_not_depend_on_tiles(self, tmp_path, rng):
        path = str(tmp_path / "windows.asdf")
        on(persistence_time=300, save_persistence=path).run(exposure_of(rng).ours())
        step = on(persistence_time=300, persistence_array_file=path, dn_threshold=30000.0)
        assert_tiling_is_invisible(step, exposure_of(rng, later=200).ours())

    def test_an_exposure_that_is_repeated_does_not_receive_its_own_windows(self, tmp_path, rng):
        path = str(tmp_path / "windows.asdf")
        how = {"persistence_time": 300, "persistence_array_file": path, "save_persistence": path}
        models = []
        for name, later in (("a_ramp.fits", 0), ("b_ramp.fits", 200)):
            models.append(exposure_of(rng, later=later).ours())
            models[-1].meta.filename = name
            result = on(**how).run(models[-1])
        with asdf.open(path) as file:
            after = file["NRCA1"]["vals"][:].tolist()
        assert_same(on(**how).run(models[-1]), result)
        with asdf.open(path) as file:
            assert file["NRCA1"]["vals"][:].tolist() == after

    def test_windows_of_the_exposure_itself_are_warned_of(self, tmp_path, rng, caplog):
        """A file of jwst, which does not keep the windows before."""
        path, model = tmp_path / "windows.asdf", exposure_of(rng).ours()
        model.meta.filename = "a_ramp.fits"
        on(persistence_time=300, save_persistence=str(path)).run(model)
        with asdf.open(path, lazy_load=False, memmap=False) as file:
            own = {k: v for k, v in file["NRCA1"].items() if k != "before"}
            asdf.AsdfFile({"NRCA1": own}).write_to(tmp_path / "theirs.asdf")
        for name, warns in (("windows", False), ("theirs", True)):
            caplog.clear()
            given = str(tmp_path / f"{name}.asdf")
            on(persistence_time=300, persistence_array_file=given).run(model)
            assert ("whose own windows are used" in caplog.text) == warns

    def test_a_batch_publishes_the_file_out_of_its_staging_folder(self, tmp_path, rng):
        path, staging = tmp_path / "windows.asdf", tmp_path / "staging"
        step = on(persistence_time=300, save_persistence=str(path))
        step.staging = staging
        with pytest.raises(FileNotFoundError):  # as of an attempt that has been abandoned
            step.run(exposure_of(rng).ours())
        assert not path.exists()
        staging.mkdir()
        step.run(exposure_of(rng).ours())
        assert path.exists()
        assert list(staging.iterdir()) == []

    def test_the_suffix_of_the_file_becomes_asdf(self, tmp_path, rng):
        on(save_persistence=str(tmp_path / "windows.txt")).run(exposure_of(rng).ours())
        assert [path.name for path in tmp_path.iterdir()] == ["windows.asdf"]

    def test_times_need_the_start_of_the_exposure(self, rng):
        model = exposure_of(rng, table=False).ours()
        model.meta.exposure.start_time = None
        with pytest.raises(StepError, match="the header lacks EXPSTART"):
            on().run(model)

    def test_listed_integrations_need_no_start(self, rng):
        model = exposure_of(rng, ints=3).ours()
        times = group_times(model)
        assert times[1, 0] - times[0, 0] == pytest.approx(65.5, abs=1e-4)  # of 1.6e9 s
        # The third is not listed: it begins two integration times after the exposure.
        assert times[2, 0] - times[0, 0] == pytest.approx(140, abs=1e-4)


class TestFile:
    def test_damage_is_reported(self, tmp_path, rng):
        path = tmp_path / "windows.asdf"
        path.write_text("nothing")
        with pytest.raises(FileError, match=r"windows\.asdf"):
            on(persistence_array_file=str(path)).run(exposure_of(rng).ours())

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"rows": np.array([14])}, "not within 14 rows and 11 columns"),
            ({"cols": np.array([-1])}, "not within 14 rows and 11 columns"),
            ({"vals": None}, "NRCA1 lacks one of"),
        ],
    )
    def test_contents_that_do_not_fit_are_refused(self, tmp_path, rng, changes, message):
        stored = {"rows": np.array([1]), "cols": np.array([1]), "vals": np.array([1.0])}
        tree = {**stored, "pers_time": 45, **changes}
        path = tmp_path / "windows.asdf"
        asdf.AsdfFile({"NRCA1": {k: v for k, v in tree.items() if v is not None}}).write_to(path)
        with pytest.raises(StepError, match=rf"windows\.asdf: .*{message}"):
            on(persistence_array_file=str(path)).run(exposure_of(rng).ours())


class TestContract(StepContract):
    name = "persistence"
    parameters = {"skip": False, "persistence_time": 500, "dn_threshold": 300.0}
