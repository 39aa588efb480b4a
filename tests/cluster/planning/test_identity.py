"""The identity of an exposure."""

import importlib.util
import sys
import threading

import pytest
from support.waiting import eventually

from calbatch.calibrate.numerics import EARLIER_SOURCES, NUMERICS_VERSION
from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.step import Step
from calbatch.calibrate.steps.jump import JumpStep
from calbatch.cluster.planning import identity as identity_module
from calbatch.cluster.planning.identity import (
    InputVersion,
    ReferenceChecksums,
    earlier_settings_digests,
    identity,
    json_digest,
    overrides_of,
    parameters_of,
    settings_digest,
    software,
)
from calbatch.models.datamodels import GainModel

SHA1 = "a9993e364706816aba3e25717850c26c9cd0d89d"  # of abc


def test_digests_depend_on_values_not_on_their_order():
    assert json_digest({"a": 1, "b": 2}) == json_digest({"b": 2, "a": 1})
    assert json_digest({"a": 1}) != json_digest({"a": 2})


@pytest.mark.parametrize(
    "other",
    [
        (InputVersion("/b", 1, 2, "h"), "s", {"gain": ["g", "sum"]}),
        (InputVersion("/a", 9, 2, "h"), "s", {"gain": ["g", "sum"]}),
        (InputVersion("/a", 1, 9, "h"), "s", {"gain": ["g", "sum"]}),
        (InputVersion("/a", 1, 2, "x"), "s", {"gain": ["g", "sum"]}),
        (InputVersion("/a", 1, 2, "h"), "x", {"gain": ["g", "sum"]}),
        (InputVersion("/a", 1, 2, "h"), "s", {"gain": ["x", "sum"]}),
        (InputVersion("/a", 1, 2, "h"), "s", {"gain": ["g", "xxx"]}),
        (InputVersion("/a", 1, 2, "h"), "s", {}),
    ],
)
def test_input_settings_and_references_decide_the_identity(other):
    one = InputVersion("/a", 1, 2, "h"), "s", {"gain": ["g", "sum"]}
    assert identity(*one) == identity(*one)
    assert identity(*one) != identity(*other)


class TestSettings:
    def test_parameter_values_and_date_count(self):
        plain = settings_digest(JumpStep(), None)
        assert settings_digest(JumpStep(), None) == plain
        assert settings_digest(JumpStep(rejection_threshold=5.0), None) != plain
        assert settings_digest(JumpStep(), "2024-01-31T12:00:00") != plain
        assert settings_digest(Detector1Pipeline(), None) != plain

    def test_sources_of_values_and_the_output_folder_do_not_count(self):
        step = JumpStep()
        step.configure({"": {"rejection_threshold": step.rejection_threshold}}, "a.cfg")
        step.output_dir = "/elsewhere"
        assert settings_digest(step, None) == settings_digest(JumpStep(), None)

    def test_steps_of_a_pipeline_count(self):
        pipeline = Detector1Pipeline()
        pipeline.jump.rejection_threshold = 5.0
        assert settings_digest(pipeline, None) != settings_digest(Detector1Pipeline(), None)

    @pytest.mark.parametrize("cls", [JumpStep, Detector1Pipeline])
    def test_the_numerics_version_counts(self, monkeypatch, cls):
        before = settings_digest(cls(), None)
        monkeypatch.setattr(identity_module, "NUMERICS_VERSION", 99)
        assert settings_digest(cls(), None) != before

    def test_a_moved_module_does_not_count(self, monkeypatch):
        before = settings_digest(JumpStep(), None)
        monkeypatch.setattr(JumpStep, "__module__", "calbatch.calibrate.steps.elsewhere")
        assert settings_digest(JumpStep(), None) == before

    def test_digests_of_older_ledgers_differ(self):
        step = JumpStep()
        earlier = earlier_settings_digests(step, None)
        assert len(earlier) == len(EARLIER_SOURCES)
        assert settings_digest(step, None) not in earlier
        assert earlier_settings_digests(JumpStep(rejection_threshold=5.0), None) != earlier

    def test_older_ledgers_are_of_the_first_version(self):
        assert not EARLIER_SOURCES or NUMERICS_VERSION == 1

    def test_the_release_does_not_count(self, monkeypatch):
        before = settings_digest(JumpStep(), None)
        monkeypatch.setattr("calbatch.__version__", "99.0")
        assert settings_digest(JumpStep(), None) == before


SOURCE = """
from calbatch.calibrate.steps.jump import JumpStep

class Mine(JumpStep):
    "A step of a user's own."
"""


class TestUsersCode:
    @staticmethod
    def digest(folder, source, name="users_steps"):
        path = folder / f"{name}.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
            return settings_digest(module.Mine(), None)
        finally:
            del sys.modules[name]

    def test_the_source_file_counts(self, tmp_path):
        before = self.digest(tmp_path, SOURCE)
        assert self.digest(tmp_path, SOURCE) == before
        assert self.digest(tmp_path, SOURCE + "# changed\n") != before

    def test_the_name_of_the_module_counts(self, tmp_path):
        assert self.digest(tmp_path, SOURCE, "a") != self.digest(tmp_path, SOURCE, "b")

    def test_the_numerics_version_counts(self, tmp_path, monkeypatch):
        before = self.digest(tmp_path, SOURCE)
        monkeypatch.setattr(identity_module, "NUMERICS_VERSION", 99)
        assert self.digest(tmp_path, SOURCE) != before

    def test_code_without_a_source_is_always_new(self):
        namespace = {"Step": Step, "__name__": "typed"}
        exec("class Mine(Step): pass", namespace)  # as typed into an interpreter
        mine = namespace["Mine"]
        assert settings_digest(mine(), None) != settings_digest(mine(), None)


def test_parameters_are_texts_with_their_sources():
    step = JumpStep()
    step.configure({"": {"rejection_threshold": 5}}, "a.cfg")
    values = parameters_of(step)
    assert list(values) == [""]
    assert values[""]["rejection_threshold"] == ["5.0", "a.cfg"]
    assert set(parameters_of(Detector1Pipeline())) >= {"", "jump", "ramp_fit"}


def test_overrides_are_paths_na_or_models(tmp_path):
    step = JumpStep(override_gain="N/A", override_readnoise=str(tmp_path / "r.fits"))
    assert overrides_of(step) == {
        "jump.override_gain": "N/A",
        "jump.override_readnoise": str(tmp_path / "r.fits"),
    }
    assert overrides_of(JumpStep()) == {}
    in_memory = JumpStep(override_gain=GainModel((4, 4)))
    assert overrides_of(in_memory) == {"jump.override_gain": "<GainModel in memory>"}


def test_other_files_that_steps_read_count_like_overrides():
    pipeline = Detector1Pipeline()
    pipeline.dq_init.user_supplied_dq = "/a/dq.fits"
    pipeline.clean_flicker_noise.user_mask = "/a/mask.fits"
    pipeline.emicorr.user_supplied_reffile = "/a/emi.asdf"
    assert overrides_of(pipeline) == {
        "dq_init.user_supplied_dq": "/a/dq.fits",
        "clean_flicker_noise.user_mask": "/a/mask.fits",
        "emicorr.user_supplied_reffile": "/a/emi.asdf",
    }


def test_software_names_python_and_packages():
    found = software()
    assert {"python", "machine", "calbatch", "numpy", "numba", "dask"} <= set(found)
    assert "unknown" not in found.values()


def test_the_version_of_a_package_without_metadata_is_unknown(monkeypatch):
    monkeypatch.setattr(identity_module, "_REPORTED", ("numpy", "calbatch-that-is-not-installed"))
    assert software()["calbatch-that-is-not-installed"] == "unknown"


class TestReferenceChecksums:
    @pytest.fixture
    def recorded(self):
        return {}

    @pytest.fixture
    def sums(self, recorded):
        def find(path, size, mtime_ns):
            return recorded.get((path, size, mtime_ns))

        def record(path, size, mtime_ns, value):
            recorded[path, size, mtime_ns] = value

        made = ReferenceChecksums(find, record)
        yield made
        made.close()

    def test_a_file_is_read_once_and_recorded(self, tmp_path, sums, recorded):
        path = tmp_path / "gain.fits"
        path.write_bytes(b"abc")
        found = sums.wait_for({"gain": str(path), "other": str(path)})
        assert found.body == {"gain": [str(path), SHA1], "other": [str(path), SHA1]}
        assert found.names == {"gain": ["gain.fits", SHA1], "other": ["gain.fits", SHA1]}
        assert found.key == json_digest(found.body)
        assert list(recorded.values()) == [SHA1]
        assert sums.schedule(str(path)) is sums.schedule(str(path))

    def test_a_recorded_checksum_is_not_computed_again(self, tmp_path, sums, recorded):
        path = tmp_path / "gain.fits"
        path.write_bytes(b"abc")
        status = path.stat()
        recorded[str(path), status.st_size, status.st_mtime_ns] = "known"
        assert sums.wait_for({"gain": str(path)}).body == {"gain": [str(path), "known"]}

    def test_values_that_are_not_files_stand_for_themselves(self, sums):
        values = {"gain": "N/A", "dark": "<DarkModel in memory>"}
        assert sums.wait_for(values).body == {kind: [v, v] for kind, v in values.items()}

    def test_an_unreadable_file_is_no_error_here(self, tmp_path, sums):
        (_, found) = sums.wait_for({"gain": str(tmp_path / "absent")}).body["gain"]
        assert found.startswith("unreadable: ")

    def test_files_are_looked_up_once_for_all_exposures_that_use_them(self, tmp_path, sums):
        path = tmp_path / "gain.fits"
        path.write_bytes(b"abc")
        first = sums.wait_for({"gain": str(path)})
        path.unlink()
        assert sums.wait_for({"gain": str(path)}) is first
        assert sums.wait_for({"dark": str(path)}).body == {"dark": [str(path), SHA1]}

    def test_closing_cancels_checksums_that_have_not_started(self, tmp_path):
        started, go_on = threading.Event(), threading.Event()

        def find(path, size, mtime_ns):
            started.set()
            go_on.wait(10)
            return "known"

        sums = ReferenceChecksums(find, lambda *_: None)
        paths = [tmp_path / name for name in "ab"]
        for path in paths:
            path.write_bytes(b"")
        futures = [sums.schedule(str(path)) for path in paths]
        started.wait(10)
        closing = threading.Thread(target=sums.close)
        closing.start()
        eventually(futures[1].cancelled)
        go_on.set()
        closing.join()
        assert futures[0].result() == "known"
