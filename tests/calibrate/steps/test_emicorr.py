"""MIRI's interference is removed as by jwst's step."""

from pathlib import Path

import asdf
import numpy as np
import pytest
from stdatamodels.jwst import datamodels as jwst_models
from support.agreement import assert_close
from support.cases import long
from support.detector_steps import assert_tiling_is_invisible, jwst_references, jwst_result, ramp
from support.step_contract import StepContract

from calbatch.calibrate.errors import ReferenceFileError, StepError
from calbatch.calibrate.products import without_files
from calbatch.calibrate.steps.emicorr import EmiCorrStep

FREQUENCIES = {"Hz390": 390.625, "Hz218": 218.52055}
READ_NOISE = 4.0
AMPLITUDE = 12.0
SAVING = {
    "skip": False,
    "onthefly_corr_freq": [390.625, 218.5],
    "save_intermediate_results": True,
}


def wave(samples: int, rng) -> np.ndarray:
    """Return a period of a signal that is neither even nor odd."""
    phase = (np.arange(samples) + 0.5) / samples
    harmonics = rng.normal(0, 1, (2, 3, 1)) / np.arange(1, 4)[:, None]
    angles = 2 * np.pi * np.arange(1, 4)[:, None] * phase
    return (harmonics[0] * np.cos(angles) + harmonics[1] * np.sin(angles)).sum(axis=0)


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    """Return a reference as jwst writes it, with arrays in binary blocks."""
    rng = np.random.default_rng(8)
    frequencies = {
        name: {"frequency": value, "phase_amplitudes": wave(200 + 50 * i, rng)}
        for i, (name, value) in enumerate(FREQUENCIES.items())
    }
    names = list(FREQUENCIES)
    fast = {"rowclocks": 28, "frameclocks": 8512, "freqs": {"FAST": names}}
    slow = {"rowclocks": 2333, "frameclocks": 2388992, "freqs": {"SLOW": {"MIRIMAGE": names[:1]}}}
    cases = {"SUB64": fast, "FULL_SLOW": slow, "FULL_FAST": fast}
    return write_reference(tmp_path_factory.mktemp("waves") / "emicorr.asdf", frequencies, cases)


def write_reference(path: Path, frequencies, cases) -> Path:
    """Write a reference with jwst's model, and return its path."""
    model = jwst_models.EmiModel()
    model.frequencies, model.subarray_cases = frequencies, cases
    meta = {"description": "test", "author": "test", "pedigree": "DUMMY", "useafter": "2020-01-01"}
    for name, value in meta.items():
        setattr(model.meta, name, value)
    model.save(str(path))
    return path


def exposure(seed=0, *, ints=2, groups=6, shape=(40, 64), frequency=390.625, **changes):
    """Return a ramp with a sine of a frequency, a source, and bad and noisy pixels."""
    rng = np.random.default_rng(seed)
    facts = {"readpatt": "FASTR1", "nsamples": 1, "type": "MIR_IMAGE"} | changes
    made = ramp(
        rng, ints=ints, groups=groups, shape=shape, instrument="MIRI", detector="MIRIMAGE",
        exposure=facts,
    )  # fmt: skip
    rows, reads = shape[0], shape[1] // 4
    frame = rows * 28 + (1024 - rows) * 7
    times = np.arange(rows)[:, None] * 28 + np.arange(reads) * facts["nsamples"]
    starts = np.arange(ints)[:, None] * (groups * frame + 8512) + np.arange(groups) * frame
    period = 1e5 / frequency
    signal = AMPLITUDE * np.sin(2 * np.pi * ((starts[..., None, None] + times) / period + 0.3))
    rate = rng.choice([3.0, 30.0, 3000.0], size=shape, p=[0.6, 0.35, 0.05])
    data = 9000 + rate * np.arange(1, groups + 1)[:, None, None] + np.repeat(signal, 4, axis=-1)
    made.data = np.rint(data + rng.normal(0, READ_NOISE, data.shape)).astype("f4")
    made.pixeldq = np.where(rng.random(shape) < 0.05, rng.integers(0, 4, shape), 0).astype("u4")
    return made


def models(given, subarray="SUB64"):
    """Return our and jwst's model."""
    both = given.ours(), given.theirs()
    for model in both:
        model.meta.subarray.name = subarray
    return both


def compare(given, *, subarray="SUB64", **parameters):
    """Compare with jwst, and return our result's samples."""
    from jwst.emicorr import EmiCorrStep as JwstStep

    our, their = models(given, subarray)
    ours = EmiCorrStep(skip=False, **parameters).run(our)
    theirs = jwst_result(JwstStep, their, **parameters)
    assert ours.meta.cal_step.emicorr == theirs.meta.cal_step.emicorr == "COMPLETE"
    found = np.asarray(ours.data)
    assert_close(found, theirs.data, READ_NOISE, "emicorr")
    assert np.any(found != given.data)
    return found


@pytest.mark.agreement
class TestAgreementWithJwst:
    @pytest.mark.parametrize("seed", [0, 1, long(2), long(3)])
    @pytest.mark.parametrize("separately", [False, True])
    def test_joint_fit(self, reference, seed, separately):
        compare(
            exposure(seed, ints=1 + seed),
            override_emicorr=reference,
            fit_ints_separately=separately,
        )

    @pytest.mark.parametrize(
        "given", [{"readpatt": "FAST"}, {"groups": 3}, {"groups": 12, "ints": 1}], ids=str
    )
    def test_joint_fit_of_other_readouts(self, reference, given):
        compare(exposure(7, **given), override_emicorr=reference)

    def test_slow_readout_depends_on_the_detector(self, reference):
        given = exposure(3, readpatt="SLOWR1", nsamples=9)
        compare(given, subarray="FULL", override_emicorr=reference)

    @pytest.mark.parametrize(
        "parameters",
        [
            {},
            {"scale_reference": False, "nbins": 40},
            {"nints_to_phase": 1, "nbins": 50},
            {"use_n_cycles": None, "nbins": 60},
        ],
        ids=str,
    )
    def test_sequential_fit(self, reference, parameters):
        given = exposure(5, ints=3, groups=12)
        compare(given, algorithm="sequential", override_emicorr=reference, **parameters)

    @pytest.mark.parametrize("algorithm", ["joint", "sequential"])
    def test_frequencies_without_a_reference(self, algorithm):
        given = exposure(6, ints=2, groups=12)
        compare(given, algorithm=algorithm, onthefly_corr_freq=[390.625, 218.5])

    @pytest.mark.parametrize(
        ("given", "subarray", "detector"),
        [
            ({"readpatt": "FASTGRPAVG"}, "SUB64", "MIRIMAGE"),
            ({"groups": 2}, "SUB64", "MIRIMAGE"),
            ({}, "BRIGHTSKY", "MIRIMAGE"),
            ({"readpatt": "SLOW"}, "SUB64", "MIRIMAGE"),
            ({"readpatt": "SLOW"}, "FULL", "MIRIFULONG"),
        ],
    )
    def test_skipped_exposures(self, reference, given, subarray, detector):
        from jwst.emicorr import EmiCorrStep as JwstStep

        made = exposure(1, **given)
        made.detector = detector
        our, their = models(made, subarray)
        ours = EmiCorrStep(skip=False, override_emicorr=reference)(our)
        theirs = jwst_result(JwstStep, their, override_emicorr=reference)
        assert ours.meta.cal_step.emicorr == theirs.meta.cal_step.emicorr == "SKIPPED"
        recorded = jwst_references(JwstStep, models(made, subarray)[1], override_emicorr=reference)
        assert ours.meta.ref_file.emicorr.name == recorded.get("emicorr")
        np.testing.assert_array_equal(np.asarray(ours.data), made.data)


class TestStep:
    @pytest.mark.parametrize("algorithm", ["joint", "sequential"])
    def test_a_sine_is_removed(self, tmp_path, algorithm):
        """The residuals of straight ramps are left with little but the read noise."""
        path = sine_reference(tmp_path / "sine.asdf")
        given = exposure(2, groups=12)
        our, _ = models(given)
        step = EmiCorrStep(skip=False, override_emicorr=path, algorithm=algorithm)
        before, after = (
            scatter_about_lines(data, given.pixeldq)
            for data in (given.data, np.asarray(step.run(our).data))
        )
        assert before > 2 * READ_NOISE
        assert after == pytest.approx(READ_NOISE * np.sqrt(10 / 12), rel=0.03)

    @pytest.mark.agreement
    @pytest.mark.parametrize(("phase", "is_wrong"), [(0.3, False), (0.0009, True)])
    def test_the_last_trial_is_a_neighbour_of_the_first(self, tmp_path, phase, is_wrong):
        """jwst 3.0.0 fits a parabola through phases 0, 0.002 and 0.998 there, and misses."""
        from jwst.emicorr import EmiCorrStep as JwstStep

        path = sine_reference(tmp_path / "sine.asdf", shift=0.3 - phase)
        given = exposure(2, groups=8)
        our, their = models(given)
        ours = np.asarray(EmiCorrStep(skip=False, override_emicorr=path).run(our).data)
        theirs = jwst_result(JwstStep, their, override_emicorr=path).data
        assert (np.abs(ours - theirs).max() > 0.1 * READ_NOISE) == is_wrong
        found, wanted = (scatter_about_lines(data, given.pixeldq) for data in (ours, theirs))
        assert found == pytest.approx(READ_NOISE * np.sqrt(6 / 8), rel=0.03)
        assert (found < 0.99 * wanted) == is_wrong

    @pytest.mark.parametrize("algorithm", ["joint", "sequential"])
    def test_tiling_is_invisible(self, reference, algorithm):
        our, _ = models(exposure(4, shape=(11, 64)))
        step = EmiCorrStep(
            skip=False, override_emicorr=reference, algorithm=algorithm, onthefly_corr_freq=[]
        )
        assert_tiling_is_invisible(step, our, ("data",))

    def test_interference_without_samples_of_all_phases_stays(self, caplog):
        """jwst 3.0.0 then subtracts the reference's wave, unshifted, if scaling is off."""
        given = exposure(5, groups=12)
        our, _ = models(given)
        result = EmiCorrStep(skip=False, onthefly_corr_freq=[10.039216]).run(our)
        np.testing.assert_array_equal(np.asarray(result.data), given.data)
        assert "the interference of 10.039216 Hz cannot be measured" in caplog.text

    def test_a_deprecated_parameter_names_the_reference(self, reference):
        our, _ = models(exposure(1))
        wanted = EmiCorrStep(skip=False, override_emicorr=reference).run(our)
        step = EmiCorrStep(skip=False, user_supplied_reffile=str(reference))
        assert step.wanted_references() == set()
        np.testing.assert_array_equal(np.asarray(step.run(our).data), np.asarray(wanted.data))

    def test_odd_numbers_of_columns_are_rejected(self, reference):
        our, _ = models(exposure(1, shape=(12, 68)))
        narrow = our.section(0, 12, 0, 66)
        with pytest.raises(StepError, match="66 columns must be a multiple of 4"):
            EmiCorrStep(skip=False, override_emicorr=reference).run(narrow)

    def test_a_reference_of_another_format_is_rejected(self, tmp_path):
        path = tmp_path / "emicorr.asdf"
        path.write_bytes(b"SIMPLE")
        our, _ = models(exposure(1))
        with pytest.raises(ReferenceFileError, match="not an ASDF file"):
            EmiCorrStep(skip=False, override_emicorr=path).run(our)

    def test_saving_has_no_effect_on_the_waves_of_a_reference(self, reference, caplog):
        our, _ = models(exposure(1))
        EmiCorrStep(skip=False, override_emicorr=reference, save_intermediate_results=True).run(our)
        assert "save_intermediate_results has no effect without onthefly_corr_freq" in caplog.text

    def test_saved_waves_need_a_folder(self):
        our, _ = models(exposure(1))
        our.meta.filename = "a_uncal.fits"
        step = EmiCorrStep(output_dir="memory://waves", **SAVING)
        with pytest.raises(StepError, match="save_intermediate_results needs a folder"):
            step.run(our)

    def test_saved_waves_are_in_the_folder_of_the_products(self, tmp_path):
        our, _ = models(exposure(1))
        our.meta.filename = "a_uncal.fits"
        folder = tmp_path / "out"
        EmiCorrStep(output_dir=str(folder), output_file="../b/c_rate.fits", **SAVING).run(our)
        assert [path.name for path in tmp_path.rglob("*.asdf")] == ["c_emi_ref_waves.asdf"]
        assert (folder / "c_emi_ref_waves.asdf").exists()

    def test_trials_save_nothing(self, tmp_path):
        our, _ = models(exposure(1))
        our.meta.filename = "a_uncal.fits"
        step = EmiCorrStep(output_dir=str(tmp_path), **SAVING)
        without_files(step).run(our)
        assert list(tmp_path.iterdir()) == []
        step.run(our)
        assert [path.name for path in tmp_path.iterdir()] == ["a_emi_ref_waves.asdf"]


@pytest.mark.agreement
class TestSavedWaves:
    @pytest.mark.parametrize(
        ("given", "subarray", "case"),
        [
            ({}, "SUB64", "SUB64"),
            ({"readpatt": "SLOWR1", "nsamples": 9}, "FULL", "FULL_SLOW"),
        ],
    )
    def test_they_are_those_of_jwst(self, tmp_path, given, subarray, case):
        from jwst.emicorr import EmiCorrStep as JwstStep

        our, their = models(exposure(6, groups=12, **given), subarray)
        our.meta.filename = "ours_uncal.fits"
        theirs = jwst_result(JwstStep, their, output_dir=str(tmp_path), **SAVING)
        wanted = read_tree(next(tmp_path.iterdir()))
        ours = EmiCorrStep(output_dir=str(tmp_path), **SAVING).run(our)
        assert_close(np.asarray(ours.data), theirs.data, READ_NOISE, "emicorr")
        found = read_tree(tmp_path / "ours_emi_ref_waves.asdf")
        assert found["frequencies"].keys() == wanted["frequencies"].keys()
        for name, entry in found["frequencies"].items():
            other = wanted["frequencies"][name]
            assert entry["frequency"] == other["frequency"]
            # the sums of the clipped means are rounded differently
            np.testing.assert_allclose(
                entry["phase_amplitudes"], other["phase_amplitudes"], atol=1e-3 * READ_NOISE
            )
        for name in ("rowclocks", "frameclocks"):
            clocks = found["subarray_cases"][case][name]
            assert clocks == wanted["subarray_cases"][subarray][name]

    @pytest.mark.parametrize("given", [{}, {"readpatt": "SLOWR1", "nsamples": 9}], ids=str)
    def test_they_are_a_reference_for_both(self, tmp_path, given):
        """jwst's own file lists FASTR1 or FULL, names under which it looks nothing up."""
        made = exposure(6, groups=12, **given)
        our, _ = models(made, "FULL")
        our.meta.filename = "a_uncal.fits"
        EmiCorrStep(output_dir=str(tmp_path), **SAVING).run(our)
        path = tmp_path / "a_emi_ref_waves.asdf"
        with jwst_models.open(str(path)) as model:
            assert isinstance(model, jwst_models.EmiModel)
        compare(made, subarray="FULL", algorithm="sequential", override_emicorr=path)


def read_tree(path: Path) -> dict:
    """Return the tree of an ASDF file, with its arrays."""
    with asdf.open(path, memmap=False, lazy_load=False) as file:
        return dict(file.tree)


def sine_reference(path: Path, shift: float = 0.0) -> Path:
    """Write a reference with a sine of 390.625 Hz."""
    phase = (np.arange(500) + 0.5) / 500
    samples = np.sin(2 * np.pi * (phase + shift))
    fast = {"rowclocks": 28, "frameclocks": 8512, "freqs": {"FAST": ["Hz390"]}}
    frequencies = {"Hz390": {"frequency": 390.625, "phase_amplitudes": samples}}
    return write_reference(path, frequencies, {"SUB64": fast})


def scatter_about_lines(data, pixeldq):
    """Return the standard deviation of the ramps without flags about straight lines."""
    groups = data.shape[1]
    design = np.stack([np.ones(groups), np.arange(groups)], axis=1)
    samples = np.moveaxis(data[..., pixeldq == 0].astype("f8"), 1, 0).reshape(groups, -1)
    lines = design @ np.linalg.lstsq(design, samples, rcond=None)[0]
    return np.sqrt(((samples - lines) ** 2).mean())


class TestContract(StepContract):
    name = "emicorr"
    detector = "MIRIMAGE"
    parameters = {"skip": False}
