"""Read and write the waves of a reference, and fit a spline through one.

Source: jwst 3.0.0 ``emicorr``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.errors import ReferenceFileError, SkipStep
from calbatch.calibrate.steps.emicorr.clocks import Clocks
from calbatch.models.asdf.asdf_blocks import read_arrays, read_numbers
from calbatch.models.asdf.asdf_writer import write_asdf
from calbatch.models.errors import FileError, explain_errors
from calbatch.models.model import DataModel

Float64 = npt.NDArray[np.float64]

MIN_SAMPLES = 2
"""Minimum number of samples in a wave: with the repeated ones at its ends, a cubic needs four."""

LONGEST = 1.0e9
"""Upper bound of a clock, in samples of 10 microseconds: hours for one row or frame."""
FREQUENCIES = 1.0e-3, 1.0e6
"""Lowest and highest frequency in Hz. Beyond them, phases lose all their digits."""


@dataclass(frozen=True)
class Wave:
    """A periodic signal: its frequency (Hz), and its samples (DN) at even intervals of a period."""

    frequency: float
    samples: Float64 = field(repr=False)


@dataclass(frozen=True)
class Interference:
    """The content of a reference for one kind of exposure: clocks, and waves in order."""

    clocks: Clocks
    waves: Sequence[Wave]


@dataclass(frozen=True, kw_only=True)
class ReadoutKind:
    """The header values by which a reference lists clocks and frequencies."""

    subarray: str
    readpatt: str
    detector: str

    @classmethod
    def of(cls, exposure: DataModel) -> "ReadoutKind":
        """Return the header values of an exposure."""
        meta = exposure.meta
        return cls(
            subarray=str(meta.subarray.name),
            readpatt=str(meta.exposure.readpatt).upper(),
            detector=str(meta.instrument.detector),
        )

    @property
    def speed(self) -> str:
        """FAST or SLOW."""
        return "SLOW" if "SLOW" in self.readpatt else "FAST"

    @property
    def case(self) -> str:
        """The subarray's name in a reference: full frames have one for each speed."""
        return f"{self.subarray}_{self.speed}" if "FULL" in self.subarray else self.subarray


def read_interference(path: str, kind: ReadoutKind) -> Interference:
    """Read the waves for a kind of exposure from an ``emicorr`` reference.

    Parameters
    ----------
    path : str
        An ASDF file.
    kind : ReadoutKind
        The kind of exposure.

    Raises
    ------
    SkipStep
        If the reference has no waves for such exposures.
    ReferenceFileError
        If the file is damaged, or lacks the data of a wave.
    """
    try:
        tree = read_arrays(path)
        case, names = _find_case(tree, kind)
        waves = tuple(_read_wave(path, tree, str(name)) for name in names)
        clocks = Clocks(*(_clock(path, case, name) for name in ("rowclocks", "frameclocks")))
    except FileError as error:
        raise ReferenceFileError(str(error)) from error
    return Interference(clocks, waves)


def write_waves(path: Path, kind: ReadoutKind, measured: Interference) -> None:
    """Write measured waves as an ``emicorr`` reference for a kind of exposure.

    Parameters
    ----------
    path : Path
        The ASDF file, which is replaced if it exists.
    kind : ReadoutKind
        The kind of exposure.
    measured : Interference
        The waves, and the clocks by which they were measured.
    """
    names = [repr(wave.frequency) for wave in measured.waves]
    freqs = names if kind.speed == "FAST" else {kind.detector: names}
    case = {
        "rowclocks": measured.clocks.row,
        "frameclocks": measured.clocks.frame,
        "freqs": {kind.speed: freqs},
    }
    meta = {
        "model_type": "EmiModel",
        "reftype": "emicorr",
        "instrument": {"name": "MIRI", "detector": kind.detector},
        "telescope": "JWST",
        "author": "calbatch",
        "description": "Interference measured in an exposure",
        "pedigree": "GROUND",
        "useafter": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
    }
    frequencies = {
        name: {"frequency": wave.frequency, "phase_amplitudes": wave.samples}
        for name, wave in zip(names, measured.waves, strict=True)
    }
    tree = {"meta": meta, "frequencies": frequencies, "subarray_cases": {kind.case: case}}
    write_asdf(path, tree)


def _find_case(tree: Mapping[str, Any], kind: ReadoutKind) -> tuple[Mapping[str, Any], list[Any]]:
    """Return a subarray's entry and the names of its frequencies."""
    case = _branch(tree, "subarray_cases", kind.case)
    of_speed = _branch(case, "freqs").get(kind.speed)
    names = of_speed.get(kind.detector) if isinstance(of_speed, Mapping) else of_speed
    if not isinstance(names, list) or not names:
        raise SkipStep(
            f"its emicorr reference has nothing for SUBARRAY {kind.subarray}, READPATT "
            f"{kind.readpatt}, DETECTOR {kind.detector}"
        )
    return case, names


def _branch(tree: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """Return a branch of the tree; an empty one if there is none."""
    for name in names:
        below = tree.get(name)
        tree = below if isinstance(below, Mapping) else {}
    return tree


def _number(path: str, entry: Mapping[str, Any], name: str) -> float:
    value = entry.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise FileError(path, f"its {name} is {value!r:.60}, not a number")
    return value


def _clock(path: str, entry: Mapping[str, Any], name: str) -> float:
    value = _number(path, entry, name)
    if not 0 < value <= LONGEST:  # phases would be NaN, and kernels use them as indices
        raise FileError(path, f"its {name} is {value!r:.60}, not between 0 and {LONGEST:g} samples")
    return value


def _read_wave(path: str, tree: Mapping[str, Any], name: str) -> Wave:
    entry = _branch(tree, "frequencies", name)
    if not entry:
        raise FileError(path, f"lacks the frequency {name}, which its subarray lists")
    frequency = _number(path, entry, "frequency")
    with explain_errors(path, f"the phase_amplitudes of {name} cannot be read"):
        samples = read_numbers(entry.get("phase_amplitudes"))
    if samples.dtype.kind not in "iuf":
        raise FileError(path, f"the phase_amplitudes of {name} are not an array of real numbers")
    lowest, highest = FREQUENCIES
    if not lowest <= frequency <= highest or samples.ndim != 1 or samples.size < MIN_SAMPLES:
        raise FileError(
            path,
            f"the frequency {name:.60} has {frequency!r:.60} Hz and amplitudes of the shape "
            f"{samples.shape}; it must be between {lowest:g} and {highest:g} Hz, and there must be "
            f"{MIN_SAMPLES} amplitudes or more",
        )
    return Wave(frequency, samples.astype(np.float64))


def fit_spline(samples: Float64) -> Float64:
    """Return the cubics between the samples of a wave.

    The samples are at the middles of n equal parts of the period. One sample is added at each end,
    which repeats the one at the other end. Cubic m is for phases p (in periods) with
    ``t = p n + 1/2`` from m to m + 1: ``c[0] + u (c[1] + u (c[2] + u c[3]))`` with ``u = t - m``.
    The spline is not forced to be periodic; its third derivative is continuous at the second and
    the last but one sample ("not a knot").

    Parameters
    ----------
    samples : ndarray
        Samples of the wave, (n,).

    Returns
    -------
    ndarray
        float64, (n + 1, 4): the coefficients c.
    """
    values = np.concatenate([samples[-1:], samples, samples[:1]]).astype(np.float64)
    second = _second_derivatives(values)
    f, m = values[:-1], second[:-1]
    rise, bend = np.diff(values), np.diff(second)
    return np.stack([f, rise - m / 2 - bend / 6, m / 2, bend / 6], axis=1)


def _second_derivatives(values: Float64) -> Float64:
    """Return the second derivatives of the spline at its knots, which are 1 apart.

    ``M[j - 1] + 4 M[j] + M[j + 1] = 6 (f[j - 1] - 2 f[j] + f[j + 1])`` inside. At the ends,
    ``M[0] = 2 M[1] - M[2]`` reduces this to ``M[1] = f[0] - 2 f[1] + f[2]``.
    """
    differences = np.diff(values, n=2)
    second = np.zeros_like(values)
    second[1], second[-2] = differences[0], differences[-1]
    inner = 6 * differences[1:-1]
    if inner.size:
        inner[0] -= second[1]
        inner[-1] -= second[-2]
        second[2:-2] = _solve_tridiagonal(inner)
    second[0] = 2 * second[1] - second[2]
    second[-1] = 2 * second[-2] - second[-3]
    return second


def _solve_tridiagonal(right: Float64) -> Float64:
    """Return the solution x of ``x[j - 1] + 4 x[j] + x[j + 1] = right[j]``."""
    size = right.size
    factors, x = np.zeros(size), right.copy()
    for j in range(size):
        pivot = 4.0 - (factors[j - 1] if j else 0.0)
        factors[j] = 1.0 / pivot
        x[j] = (x[j] - (x[j - 1] if j else 0.0)) / pivot
    for j in range(size - 2, -1, -1):
        x[j] -= factors[j] * x[j + 1]
    return x
