"""Waves of interference: the reference that lists them, and the spline through one."""

import numpy as np
import pytest
import yaml
from scipy.interpolate import interp1d

from calbatch.calibrate.errors import ReferenceFileError, SkipStep
from calbatch.calibrate.simulate.write import write_asdf
from calbatch.calibrate.steps.emicorr.clocks import Clocks
from calbatch.calibrate.steps.emicorr.waves import ReadoutKind, fit_spline, read_interference

TREE = """
frequencies:
  Hz390: {frequency: 390.625, phase_amplitudes: [0, 1, 0, -1]}
  Hz10: {frequency: 10.04, phase_amplitudes: [1, 2, 3]}
subarray_cases:
  FULL_FAST: {rowclocks: 271, frameclocks: 277504, freqs: {FAST: [Hz390, Hz10]}}
  FULL_SLOW: {rowclocks: 2333, frameclocks: 2388992, freqs: {SLOW: {MIRIMAGE: [Hz390]}}}
  SUB64: {rowclocks: 28, frameclocks: 8512, freqs: {FAST: [Hz390]}}
"""


def kind(subarray, readpatt, detector="MIRIMAGE"):
    return ReadoutKind(subarray=subarray, readpatt=readpatt, detector=detector)


@pytest.fixture
def reference(tmp_path):
    """Return a function that writes a reference, changed by a function, and returns its path."""

    def write(change=lambda tree: None):
        tree = yaml.safe_load(TREE)
        change(tree)
        write_asdf(tmp_path / "emicorr.asdf", tree)
        return str(tmp_path / "emicorr.asdf")

    return write


@pytest.mark.parametrize(
    ("subarray", "readpatt", "clocks", "frequencies"),
    [
        ("FULL", "FASTR1", Clocks(271, 277504), [390.625, 10.04]),
        ("FULL", "SLOW", Clocks(2333, 2388992), [390.625]),
        ("SUB64", "FAST", Clocks(28, 8512), [390.625]),
    ],
)
def test_waves_are_listed_by_subarray_and_speed(reference, subarray, readpatt, clocks, frequencies):
    found = read_interference(reference(), kind(subarray, readpatt))
    assert found.clocks == clocks
    assert [wave.frequency for wave in found.waves] == frequencies
    np.testing.assert_array_equal(found.waves[0].samples, [0, 1, 0, -1])


@pytest.mark.parametrize(
    ("subarray", "readpatt", "detector"),
    [
        ("SUB128", "FAST", "MIRIMAGE"),
        ("SUB64", "SLOW", "MIRIMAGE"),
        ("FULL", "SLOW", "MIRIFULONG"),
    ],
)
def test_other_exposures_are_skipped(reference, subarray, readpatt, detector):
    with pytest.raises(SkipStep, match=f"nothing for SUBARRAY {subarray}, READPATT {readpatt}"):
        read_interference(reference(), kind(subarray, readpatt, detector))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["frequencies"].pop("Hz390"), "lacks the frequency Hz390"),
        (lambda t: t["frequencies"]["Hz390"].update(frequency="x"), "frequency is 'x', not a n"),
        (lambda t: t["frequencies"]["Hz390"].update(frequency=0), "it must be between"),
        (lambda t: t["frequencies"]["Hz390"].update(frequency=1e305), "has 1e.305 Hz"),
        (lambda t: t["frequencies"]["Hz390"].update(frequency=float("nan")), "has nan Hz"),
        (lambda t: t["frequencies"]["Hz390"].update(phase_amplitudes=[1]), r"the shape \(1,\)"),
        (lambda t: t["frequencies"]["Hz390"].update(phase_amplitudes="x"), "Hz390 cannot be read"),
        (lambda t: t["frequencies"]["Hz390"].update(phase_amplitudes=["1j", "2"]), "real numbers"),
        (lambda t: t["subarray_cases"]["SUB64"].pop("rowclocks"), "rowclocks is None, not a"),
        *(
            (lambda t, value=value: t["subarray_cases"]["SUB64"].update(rowclocks=value), "samples")
            for value in (0, -28, 1e300, float("inf"), float("nan"), 10**90)
        ),
        (lambda t: t["subarray_cases"]["SUB64"].update(frameclocks=0), "frameclocks is 0, not bet"),
    ],
)
def test_damaged_references_are_errors(reference, change, message):
    with pytest.raises(ReferenceFileError, match=message):
        read_interference(reference(change), kind("SUB64", "FAST"))


@pytest.mark.parametrize("size", [2, 3, 4, 5, 200])
def test_the_spline_is_that_of_scipy(size):
    samples = np.random.default_rng(size).normal(0, 1, size)
    knots = (np.arange(size + 2) - 0.5) / size
    wanted = interp1d(knots, np.concatenate([samples[-1:], samples, samples[:1]]), kind="cubic")
    phases = np.linspace(0, 1, 997)[:-1]
    t = phases * size + 0.5
    part = t.astype(int)
    u = t - part
    found = np.sum(fit_spline(samples)[part] * u[:, None] ** np.arange(4), axis=1)
    np.testing.assert_allclose(found, wanted(phases), atol=1e-10)
