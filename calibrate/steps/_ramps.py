"""What the steps that correct ramps ask of an exposure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from calbatch.calibrate.errors import StepError
from calbatch.calibrate.numbers import number, required
from calbatch.models.base import DataModel
from calbatch.models.datamodels import RampModel
from calbatch.models.jit import for_kernel


def as_ramp(exposure: DataModel) -> RampModel:
    """Return an exposure as a ramp, its DQ arrays zero where it has none yet.

    Raises
    ------
    StepError
        For an exposure that is no ramp, or of a readout that is not supported yet.
    """
    if exposure.shape is None or len(exposure.shape) != 4:
        raise StepError(
            f"{exposure.path}: must be a ramp, (integrations, groups, rows, columns), "
            f"its shape is {exposure.shape}"
        )
    refuse_readouts(exposure)
    return exposure if isinstance(exposure, RampModel) else RampModel(exposure)


def refuse_readouts(exposure: DataModel) -> None:
    """Refuse, by name, readouts that the steps would get wrong.

    Raises
    ------
    StepError
        For IRS2, multistripe and superstripe readouts, zero frames and explicit read times.
    """
    meta = exposure.meta
    found = {
        f"IRS2 readout (READPATT = {meta.exposure.readpatt})": (
            "IRS2" in str(meta.exposure.readpatt)
            or (meta.instrument.name == "NIRSPEC" and max(exposure.shape, default=0) > 2048)
        ),
        "a separate zero frame (ZEROFRAM = T)": bool(number(exposure, "meta.exposure.zero_frame")),
        "multistripe readout": number(exposure, "meta.subarray.multistripe_reads1") is not None,
        "superstripe readout": bool(number(exposure, "meta.subarray.num_superstripe")),
        "explicit read times": bool(meta.exposure.read_times),
    }
    for what, present in found.items():
        if present:
            raise StepError(f"{exposure.path}: {what} is not supported yet")


@dataclass(frozen=True)
class Readout:
    """How groups sample a ramp: how many, of how many averaged frames, how many skipped between."""

    groups: int
    frames: int
    gap: int

    @classmethod
    def of(cls, model: DataModel) -> Readout:
        """Return the readout of an exposure or of a dark.

        Raises
        ------
        StepError
            When the header lacks a number, or has something else in its place.
        """
        shape: Any = model.shape
        return cls(shape[-3], frames_of(model), int(required(model, "meta.exposure.groupgap")))


def frames_of(model: DataModel) -> int:
    """Return how many frames a group averages."""
    return int(required(model, "meta.exposure.nframes"))


def for_kernels(*arrays: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """Yield arrays as kernels are compiled for; see `calbatch.models.jit.for_kernel`."""
    return map(for_kernel, arrays)
