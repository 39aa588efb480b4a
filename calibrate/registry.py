"""Find steps and pipelines by name, and import them on use."""

from __future__ import annotations

import importlib
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from calbatch.calibrate.errors import ParameterError
from calbatch.calibrate.parameters import nearest

if TYPE_CHECKING:
    from calbatch.calibrate.step import Step

STEPS = {
    "group_scale": "calbatch.calibrate.steps.group_scale:GroupScaleStep",
    "dq_init": "calbatch.calibrate.steps.dq_init:DQInitStep",
    "emicorr": "calbatch.calibrate.steps.emicorr:EmiCorrStep",
    "saturation": "calbatch.calibrate.steps.saturation:SaturationStep",
    "ipc": "calbatch.calibrate.steps.ipc:IPCStep",
    "superbias": "calbatch.calibrate.steps.superbias:SuperBiasStep",
    "refpix": "calbatch.calibrate.steps.refpix:RefPixStep",
    "firstframe": "calbatch.calibrate.steps.firstframe:FirstFrameStep",
    "lastframe": "calbatch.calibrate.steps.lastframe:LastFrameStep",
    "reset": "calbatch.calibrate.steps.reset:ResetStep",
    "linearity": "calbatch.calibrate.steps.linearity:LinearityStep",
    "rscd": "calbatch.calibrate.steps.rscd:RSCDStep",
    "dark_current": "calbatch.calibrate.steps.dark_current:DarkCurrentStep",
    "charge_migration": "calbatch.calibrate.steps.charge_migration:ChargeMigrationStep",
    "jump": "calbatch.calibrate.steps.jump:JumpStep",
    "picture_frame": "calbatch.calibrate.steps.picture_frame:PictureFrameStep",
    "clean_flicker_noise": "calbatch.calibrate.steps.clean_flicker_noise:CleanFlickerNoiseStep",
    "persistence": "calbatch.calibrate.steps.persistence:PersistenceStep",
    "ramp_fit": "calbatch.calibrate.steps.ramp_fit:RampFitStep",
    "gain_scale": "calbatch.calibrate.steps.gain_scale:GainScaleStep",
    "guider_cds": "calbatch.calibrate.steps.guider_cds:GuiderCdsStep",
    "flat_field": "calbatch.calibrate.steps.flat_field:FlatFieldStep",
}
"""The steps included in calbatch; `docs/steps` has a page for each."""

PIPELINES = {
    "dark": "calbatch.calibrate.pipelines.dark:DarkPipeline",
    "detector1": "calbatch.calibrate.pipelines.detector1:Detector1Pipeline",
    "guider": "calbatch.calibrate.pipelines.guider:GuiderPipeline",
    "simple": "calbatch.calibrate.pipelines.simple:SimplePipeline",
}
"""The pipelines included in calbatch."""


@cache
def steps() -> dict[str, str]:
    """Return ``module:Class`` of all steps by name, including those of other packages."""
    return {**_find_entry_points("calbatch.steps"), **STEPS}


@cache
def pipelines() -> dict[str, str]:
    """Return ``module:Class`` of all pipelines by name, including those of other packages."""
    return {**_find_entry_points("calbatch.pipelines"), **PIPELINES}


def _find_entry_points(group: str) -> dict[str, str]:
    return {entry.name: entry.value for entry in entry_points(group=group)}


def is_built_in(step: Step) -> bool:
    """Return whether a step, or a pipeline with all of its steps, is one of calbatch's."""
    parts = (step, *step.steps().values())
    return all(type(part).__module__.startswith("calbatch.") for part in parts)


def find(name: str) -> type[Step]:
    """Return the class of a step or pipeline.

    Parameters
    ----------
    name : str
        A registered name, jwst's ``calwebb_<name>``, or an import path: ``module:Class`` or
        ``module.Class``; several of them, separated by commas, for a chain.

    Raises
    ------
    ParameterError
        If there is no such class; the message suggests the closest name.
    """
    if "," in name:
        from calbatch.calibrate.chain import make_chain

        return make_chain(tuple(find(part.strip()) for part in name.split(",")))
    classes = {**steps(), **pipelines()}
    target = classes.get(name) or classes.get(name.removeprefix("calwebb_"))
    if target is None and not ("." in name or ":" in name):
        raise ParameterError(f"no step or pipeline {name!r}{nearest(name, classes)}")
    return _import_class(target or name)


def _import_class(path: str) -> type[Step]:
    from calbatch.calibrate.step import Step

    module, colon, name = path.partition(":")
    if not colon:
        module, _, name = path.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ParameterError(f"{path!r} cannot be imported: {error}") from error
    if not (isinstance(cls, type) and issubclass(cls, Step)):
        raise ParameterError(f"{path!r} is not a step or pipeline")
    return cls


def is_cfg(name: str) -> bool:
    """Return whether a name is that of a parameter file."""
    return Path(name).suffix == ".cfg"
