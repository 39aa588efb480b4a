"""Choosing parameters and references for many exposures, fetching each reference once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from calbatch.calibrate import pars
from calbatch.calibrate.compilation import Compilation
from calbatch.calibrate.errors import CalibrationError, ReferenceFileError
from calbatch.calibrate.references import (
    ChosenReference,
    CrdsReferences,
    Fetch,
    Foresee,
    ResolvedReferences,
)
from calbatch.calibrate.step import Step
from calbatch.cluster.errors import RequestError
from calbatch.models.storage.location import Location

Headers = Mapping[int, Mapping[str, Any]]
NO_PATHS: Mapping[int, Location] = {}
INSTRUMENT = "meta.instrument.name"
FetchFunction = Callable[[CrdsReferences, Sequence[str]], Mapping[str, str]]
"""Fetches files into the cache, showing progress; returns the reasons for failures by name."""


@dataclass(kw_only=True)
class Resolution:
    """The parameters and references that CRDS rules select for some exposures.

    Attributes
    ----------
    context, context_reason : str
        The CRDS context and why it was chosen; "" if no references are needed.
    references : dict
        References of each exposure, by its number.
    steps : dict
        Step with the parameters that CRDS has for an exposure, by its number, if it has any.
    chosen : dict
        Names of the parameter references of those exposures, by their numbers.
    parameters : Counter
        Number of exposures that use each parameter reference.
    errors : dict
        Reasons why exposures cannot be calibrated, by their numbers.
    """

    context: str = ""
    context_reason: str = ""
    references: dict[int, ResolvedReferences] = field(default_factory=dict)
    steps: dict[int, Step] = field(default_factory=dict)
    chosen: dict[int, tuple[str, ...]] = field(default_factory=dict)
    parameters: Counter[str] = field(default_factory=Counter)
    errors: dict[int, CalibrationError] = field(default_factory=dict)


class _Group(NamedTuple):
    """Exposures of one instrument and configured step, and the types of references they need."""

    headers: dict[int, Mapping[str, Any]]
    types: set[str]


def resolve_references(
    step: Step,
    headers: Headers,
    references: CrdsReferences,
    fetch_function: FetchFunction | None = None,
    *,
    use_pars: bool = True,
    compilation: Compilation | None = None,
    new: Mapping[int, Location] = NO_PATHS,
) -> Resolution:
    """Choose the parameters and references of all exposures, and fetch missing files.

    Parameters
    ----------
    step : Step
        The step as configured by the user.
    headers : mapping
        Metadata of each exposure, by its number.
    references : CrdsReferences
        Chooses references.
    fetch_function : callable, optional
        Fetches missing files; by default, without showing progress.
    use_pars : bool
        True to apply parameter references.
    compilation : Compilation, optional
        Begins to compile kernels before missing files are fetched.
    new : mapping
        Paths of the exposures that have not been calibrated before, by number.

    Raises
    ------
    RequestError
        If references are needed and there is no usable cache or context.
    """
    result = Resolution()
    fetch = _bind_references(references, fetch_function)
    if use_pars and headers and not pars.are_disabled():
        _add_parameters(result, step, headers, references, fetch)
    groups: dict[tuple[int, str | None], _Group] = {}
    for number, header in headers.items():
        if number not in result.errors:
            configured = result.steps.get(number, step)
            instrument = header.get(INSTRUMENT)
            key = (id(configured), instrument)
            if key not in groups:
                groups[key] = _Group({}, configured.wanted_references(instrument))
            groups[key].headers[number] = header
    needed = [group for group in groups.values() if group.types]
    if needed:
        try:
            result.references = references.resolve_all(
                needed, fetch, foresee=_begin_for(new, compilation, step, result.steps)
            )
            result.context, result.context_reason = references.context, references.context_reason
        except ReferenceFileError as error:
            raise RequestError(str(error)) from error
    return result


def _bind_references(
    references: CrdsReferences, fetch_function: FetchFunction | None
) -> Fetch | None:
    if fetch_function is None:
        return None
    return partial(fetch_function, references)


def _begin_for(
    new: Mapping[int, Location],
    compilation: Compilation | None,
    step: Step,
    steps: Mapping[int, Step],
) -> Foresee | None:
    """Return a function that begins to compile for new exposures whose references are complete."""
    if compilation is None or not new:
        return None

    def begin(found: Mapping[int, ResolvedReferences], is_fetching: bool) -> None:
        for number, path in new.items():
            if number in found and found[number].is_complete:
                configured = steps.get(number, step)
                compilation.begin(configured, path, found[number], is_fetching=is_fetching)

    return begin


def _add_parameters(
    result: Resolution,
    step: Step,
    headers: Headers,
    references: CrdsReferences,
    fetch: Fetch | None,
) -> None:
    """Configure the step for each distinct set of parameter references."""
    is_needed = bool(step.wanted_references())
    try:
        references.context  # noqa: B018 - opens the cache
    except ReferenceFileError as error:
        if is_needed:
            raise RequestError(str(error)) from error
        return  # there is no cache, but none is needed
    try:
        found = references.resolve(headers, pars.parameter_types(step), fetch, optional=True)
    except ReferenceFileError as error:  # without the parameters, results would silently differ
        advice = "" if is_needed else "; --no-pars disables parameter references"
        raise RequestError(f"{error}{advice}") from error
    steps: dict[str, Step | CalibrationError] = {}
    for number, resolved in found.items():
        names = {kind: str(c.path) for kind, c in resolved.chosen.items() if c.path is not None}
        faults = [sorted(resolved.missing.items()), resolved.fault]
        key = json.dumps([names, faults], sort_keys=True)
        if key not in steps:
            steps[key] = _configure(step, resolved)
        configured = steps[key]
        if isinstance(configured, CalibrationError):
            result.errors[number] = configured
        elif configured is not step:
            result.steps[number] = configured
            result.chosen[number] = _names(resolved.chosen)
            result.parameters.update(_names(resolved.chosen))


def _configure(step: Step, found: ResolvedReferences) -> Step | CalibrationError:
    try:
        return pars.configure(step, pars.require_found(found, step))
    except CalibrationError as error:
        return error


def _names(chosen: Mapping[str, ChosenReference]) -> tuple[str, ...]:
    return tuple(
        sorted(reference.path.name for reference in chosen.values() if reference.path is not None)
    )
