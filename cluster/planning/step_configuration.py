"""Configuring the requested step or pipeline, with checks before anything runs."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from calbatch.calibrate import registry
from calbatch.calibrate.errors import CalibrationError, ParameterError
from calbatch.calibrate.parameters import InputFile, Override, cfg
from calbatch.calibrate.pipeline import Pipeline
from calbatch.calibrate.step import Step
from calbatch.cluster.errors import RequestError
from calbatch.models import datamodels
from calbatch.models.classes.reference_types import REFERENCES
from calbatch.models.errors import ModelError

Values = Mapping[str, Mapping[str, Any]]


def configure_step(
    pipeline: str | Path | Step | type[Step],
    *,
    config: str | Path | None = None,
    parameters: Values | None = None,
    save_steps: Sequence[str] = (),
    source: str = "the command line",
) -> Step:
    """Return a step or pipeline with all its parameters set and checked.

    Values are taken, in order of increasing precedence, from the step's defaults, the pipeline's
    defaults, the ``.cfg`` and ``parameters``.

    Parameters
    ----------
    pipeline : str, path, Step or class
        A name, an import path, or a ``.cfg`` that names a ``class`` or ``name``; in Python also a
        class, or an instance, whose parameters are kept.
    config : path, optional
        A ``.cfg``, if ``pipeline`` is not one.
    parameters : mapping, optional
        Parameters by section, "" for the pipeline's own.
    save_steps : sequence of str
        Steps of a pipeline whose results are saved as well.
    source : str
        Origin of ``parameters``, recorded with their values.

    Raises
    ------
    RequestError
        If a step, parameter or value is unknown or invalid.
    """
    try:
        step, files = _instantiate(pipeline, config)
        for file in files:
            step.configure(file.values, str(file.path))
        step.configure(parameters or {}, source)
        _save_intermediate(step, save_steps)
        if not isinstance(step, Pipeline) and "skip" not in step.sources:
            step.skip = False  # a step requested by itself is meant to run
            step.sources.pop("skip", None)  # the user did not set it
        _resolve_overrides(step)
        step.check()
    except CalibrationError as error:
        raise RequestError(str(error)) from error
    return step


def _instantiate(
    pipeline: str | Path | Step | type[Step], config: str | Path | None
) -> tuple[Step, list[cfg.Config]]:
    files = [cfg.read(Path(config))] if config is not None else []
    if isinstance(pipeline, Step):
        return copy.deepcopy(pipeline), files
    if isinstance(pipeline, type):
        return pipeline(), files
    if not registry.is_cfg(str(pipeline)):
        return registry.find(str(pipeline))(), files
    contents = cfg.read(Path(pipeline))
    target = contents.cls or contents.name or Path(pipeline).stem
    return registry.find(target)(), [contents, *files]


def _save_intermediate(step: Step, aliases: Sequence[str]) -> None:
    if not aliases:
        return
    if not isinstance(step, Pipeline):
        raise ParameterError(
            f"{step.name} is a single step: it has no intermediate results to save"
        )
    step.keep(list(aliases))


def _resolve_overrides(step: Step) -> None:
    """Check the overrides of references, and make the paths of files to be read absolute."""
    for name, parameter in step.parameters().items():
        value = getattr(step, name)
        if isinstance(parameter, Override) and isinstance(value, (str, os.PathLike)):
            source = step.sources[name]
            path = _check_override(step, name, os.fspath(value), parameter.reference_type)
            step.configure({"": {name: path}}, source)
        elif isinstance(parameter, InputFile) and value is not None:
            path = str(Path(value).expanduser().absolute())
            step.configure({"": {name: path}}, step.sources[name])
    for part in step.steps().values():
        _resolve_overrides(part)


def _check_override(step: Step, name: str, value: str, reference_type: str) -> str:
    if value.upper() == "N/A":
        return "N/A"
    path = Path(value).expanduser().absolute()
    if not path.is_file():
        raise ParameterError(f"{step.name}.{name}: there is no file {value}")
    if reference_type in REFERENCES:
        try:
            datamodels.open_reference(reference_type, path)
        except ModelError as error:
            raise ParameterError(f"{step.name}.{name}: {error}") from None
    return str(path)


def input_pattern(step: Step) -> str:
    """Return the glob pattern of a step's input files in a folder."""
    return f"*_{step.takes[0]}.fits" if step.takes else "*.fits"
