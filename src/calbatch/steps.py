"""Every step as a class, by its name; each is imported when it is first used.

Steps of other packages, from the entry points ``calbatch.steps``, are found as well.

>>> from calbatch import steps
>>> steps.jump(rejection_threshold=5.0)  # doctest: +SKIP
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from calbatch.calibrate.step import Step
    from calbatch.calibrate.steps.charge_migration import ChargeMigrationStep as charge_migration
    from calbatch.calibrate.steps.clean_flicker_noise import (
        CleanFlickerNoiseStep as clean_flicker_noise,
    )
    from calbatch.calibrate.steps.dark_current import DarkCurrentStep as dark_current
    from calbatch.calibrate.steps.dq_init import DQInitStep as dq_init
    from calbatch.calibrate.steps.emicorr import EmiCorrStep as emicorr
    from calbatch.calibrate.steps.firstframe import FirstFrameStep as firstframe
    from calbatch.calibrate.steps.flat_field import FlatFieldStep as flat_field
    from calbatch.calibrate.steps.gain_scale import GainScaleStep as gain_scale
    from calbatch.calibrate.steps.group_scale import GroupScaleStep as group_scale
    from calbatch.calibrate.steps.guider_cds import GuiderCdsStep as guider_cds
    from calbatch.calibrate.steps.ipc import IPCStep as ipc
    from calbatch.calibrate.steps.jump import JumpStep as jump
    from calbatch.calibrate.steps.lastframe import LastFrameStep as lastframe
    from calbatch.calibrate.steps.linearity import LinearityStep as linearity
    from calbatch.calibrate.steps.persistence import PersistenceStep as persistence
    from calbatch.calibrate.steps.picture_frame import PictureFrameStep as picture_frame
    from calbatch.calibrate.steps.ramp_fit import RampFitStep as ramp_fit
    from calbatch.calibrate.steps.refpix import RefPixStep as refpix
    from calbatch.calibrate.steps.reset import ResetStep as reset
    from calbatch.calibrate.steps.rscd import RSCDStep as rscd
    from calbatch.calibrate.steps.saturation import SaturationStep as saturation
    from calbatch.calibrate.steps.superbias import SuperBiasStep as superbias

__all__ = [
    "charge_migration",
    "clean_flicker_noise",
    "dark_current",
    "dq_init",
    "emicorr",
    "firstframe",
    "flat_field",
    "gain_scale",
    "group_scale",
    "guider_cds",
    "ipc",
    "jump",
    "lastframe",
    "linearity",
    "persistence",
    "picture_frame",
    "ramp_fit",
    "refpix",
    "reset",
    "rscd",
    "saturation",
    "superbias",
]


def __getattr__(name: str) -> "type[Step]":
    """Import the class of a step."""
    from calbatch.calibrate import registry

    if name not in registry.steps():
        raise AttributeError(f"there is no step {name!r}; `calbatch steps` lists them")
    return registry.find(name)


def __dir__() -> list[str]:
    """Return the names of all steps."""
    from calbatch.calibrate import registry

    return sorted(registry.steps())
