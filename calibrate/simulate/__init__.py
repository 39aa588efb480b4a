"""Simulated raw exposures with their truth and a complete CRDS cache: see ``docs/simulate.md``."""

from calbatch.calibrate.simulate.compare import (
    BurstScore,
    RateScore,
    RayScore,
    score_bursts,
    score_rate,
    score_rays,
)
from calbatch.calibrate.simulate.simulated import SimulatedSet, simulate
from calbatch.calibrate.simulate.spec import PRESETS, Noise, SimulationSpec, Sky
from calbatch.calibrate.simulate.truth import Truth, read_truth

__all__ = [
    "PRESETS",
    "BurstScore",
    "Noise",
    "RateScore",
    "RayScore",
    "SimulatedSet",
    "SimulationSpec",
    "Sky",
    "Truth",
    "read_truth",
    "score_bursts",
    "score_rate",
    "score_rays",
    "simulate",
]
