"""Parameter references: parameters of steps that the observatory keeps in CRDS.

They take precedence over defaults, but not over a ``.cfg``. The header of an exposure selects them.
A pipeline's reference (``pars-detector1pipeline``) takes precedence over those of its steps
(``pars-jumpstep``), as in ``get_config_from_reference`` of PyPI ``stpipe`` 1.1.0.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from calbatch.calibrate.errors import ParameterError, ReferenceFileError, convert_errors
from calbatch.calibrate.parameters import parameters_of
from calbatch.calibrate.pipeline import DEFAULT_SOURCE, Pipeline
from calbatch.calibrate.references import (
    ChosenReference,
    CrdsReferences,
    ResolvedReferences,
    parameter_type,
    read_parameters,
)
from calbatch.calibrate.step import Step

log = logging.getLogger(__name__)

_TRUTHS = ("1", "t", "true", "y", "yes")

_EXECUTION = frozenset(parameters_of(Step)) - {"skip"}
"""Parameters of execution rather than calibration, such as hooks; never read from references."""

Sourced = tuple[Any, str]
"""A value and its source."""


def are_disabled() -> bool:
    """Return whether the environment disables parameter references.

    The variables are ``CALBATCH_NO_PARS`` and, as in stpipe, ``STPIPE_DISABLE_CRDS_STEPPARS``.
    """
    names = ("CALBATCH_NO_PARS", "STPIPE_DISABLE_CRDS_STEPPARS")
    return any(os.environ.get(name, "").strip().lower() in _TRUTHS for name in names)


def parameter_types(step: Step) -> set[str]:
    """Return the types of the parameter references of a step, or of a pipeline and its steps."""
    return {_type_of(part) for part in (step, *step.steps().values())}


def _type_of(step: Step) -> str:
    return parameter_type(type(step).__name__)


def configure(step: Step, chosen: Mapping[str, ChosenReference]) -> Step:
    """Return a step with the parameters of references, except those that the user has set.

    Parameters
    ----------
    step : Step
        Configured by ``.cfg`` and command line; returned itself if nothing changes.
    chosen : mapping
        Parameter reference by type.

    Raises
    ------
    ReferenceFileError
        If a file is not a parameter reference.
    ParameterError
        If it has an invalid value.
    """
    files = {
        kind: reference.path for kind, reference in chosen.items() if reference.path is not None
    }
    if not files:
        return step
    changed = copy.deepcopy(step)
    names = ", ".join(path.name for path in files.values())
    with convert_errors(ParameterError, f"{names}; --no-pars disables parameter references"):
        for alias, values in _sections(changed, files).items():
            part = changed.steps()[alias] if alias else changed
            for name, (value, source) in values.items():
                _suggest(part, name, value, source)
        changed.check()
    return changed


def _sections(step: Step, files: Mapping[str, Path]) -> dict[str, dict[str, Sourced]]:
    """Return values and their sources by section, in the order of precedence."""
    sections: dict[str, dict[str, Sourced]] = {"": {}}
    for alias, part in step.steps().items():
        sections[alias] = dict(_values(part, files.get(_type_of(part))))
    sections[""] = dict(_values(step, files.get(_type_of(step))))
    names = {id(part): section for section, part in step.steps().items()}
    for whole in (step, *step.steps().values()):
        path = files.get(_type_of(whole))
        if path is None:
            continue
        for alias, parameters in read_parameters(path).steps.items():
            inner = whole.steps().get(alias)
            if inner is None:
                log.info("%s: %s has no step %s: ignored", path.name, whole.name, alias)
                continue
            known = _known_parameters(inner, parameters, path.name)
            sections[names[id(inner)]].update({name: (value, path.name) for name, value in known})
    if not isinstance(step, Pipeline):
        sections[""].pop("skip", None)  # a step that is run by itself is not skipped
    return sections


def _values(step: Step, path: Path | None) -> Iterator[tuple[str, Sourced]]:
    if path is not None:
        for name, value in _known_parameters(step, read_parameters(path).parameters, path.name):
            yield name, (value, path.name)


def _known_parameters(
    step: Step, values: Mapping[str, Any], source: str
) -> Iterator[tuple[str, Any]]:
    unknown = []
    for name, value in values.items():
        if name in step.parameters():
            if name not in _EXECUTION and not name.startswith("override_"):
                yield name, value
        elif name not in _STPIPE:
            unknown.append(name)
    if unknown:
        log.info("%s: %s has no %s: ignored", source, step.name, ", ".join(unknown))


_STPIPE = frozenset(
    ["input_dir", "output_ext", "output_use_index", "output_use_model", "search_output_file"]
)
"""Parameters that stpipe writes into every reference, and that are irrelevant here."""


def _suggest(step: Step, name: str, value: Any, source: str) -> None:
    """Set a parameter unless the user has set it."""
    if step.sources.get(name, DEFAULT_SOURCE) != DEFAULT_SOURCE:
        return
    try:
        setattr(step, name, value)
    except ParameterError as error:
        raise ParameterError(
            f"{source}: {error}; --no-pars disables parameter references"
        ) from None
    step.sources[name] = source


def configure_for_exposure(step: Step, header: Mapping[str, Any]) -> Step:
    """Return a step with the parameters that CRDS has for one exposure.

    Without a usable cache, or with parameter references disabled, the step is returned unchanged.

    Parameters
    ----------
    step : Step
        Configured by the user.
    header : mapping
        The exposure's metadata by dotted path.

    Raises
    ------
    ReferenceFileError, ParameterError
        If a chosen reference is unavailable or invalid.
    """
    references = step.references
    if are_disabled() or not isinstance(references, CrdsReferences):
        return step
    try:
        resolved = references.resolve({"": header}, parameter_types(step), optional=True)[""]
    except ReferenceFileError as error:
        log.info("%s: no parameter references: %s", step.name, error)
        return step
    return configure(step, require_found(resolved, step))


def require_found(resolved: ResolvedReferences, step: Step) -> Mapping[str, ChosenReference]:
    """Return the parameter references of an exposure, all of which must be available.

    Parameters
    ----------
    resolved : ResolvedReferences
        The parameter references.
    step : Step
        The step or pipeline that they are for.

    Raises
    ------
    ReferenceFileError
        If a chosen one is unavailable, or the rules cannot be read, because results would silently
        differ.
    """
    if resolved.fault and not step.wanted_references():
        raise ReferenceFileError(
            f"parameter references cannot be chosen: {resolved.fault}; --no-pars disables them"
        )
    resolved.require_rules()
    for kind, reason in resolved.missing.items():
        raise ReferenceFileError(f"{kind}: {reason}; --no-pars disables parameter references")
    return resolved.chosen
