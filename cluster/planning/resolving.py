"""The references of a batch: resolved once per configuration, each file fetched once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from calbatch.calibrate import pars
from calbatch.calibrate.errors import CalibrationError, ReferenceFileError
from calbatch.calibrate.references import ChosenReference, CrdsReferences, Fetch, ResolvedReferences
from calbatch.calibrate.step import Step
from calbatch.cluster.errors import RequestError

Headers = Mapping[int, Mapping[str, Any]]
Fetching = Callable[[CrdsReferences, Sequence[str]], Mapping[str, str]]
"""Fetches files of a client's cache, showing progress; returns reasons of failures by name."""


@dataclass
class Resolution:
    """What the rules say about a batch.

    Attributes
    ----------
    context, context_reason : str
        The CRDS context and why that one; "" where no reference is needed.
    references : dict
        Number of the exposure to its references.
    steps : dict
        Number to the step with the parameters that CRDS has for the exposure, where it has any.
    chosen : dict
        Number to the names of its parameter references, where its step has values of theirs.
    parameters : Counter
        Parameter reference to the number of exposures that it is for.
    errors : dict
        Number to why the exposure cannot be calibrated.
    """

    context: str = ""
    context_reason: str = ""
    references: dict[int, ResolvedReferences] = field(default_factory=dict)
    steps: dict[int, Step] = field(default_factory=dict)
    chosen: dict[int, tuple[str, ...]] = field(default_factory=dict)
    parameters: Counter[str] = field(default_factory=Counter)
    errors: dict[int, CalibrationError] = field(default_factory=dict)


def resolve_references(
    step: Step,
    headers: Headers,
    references: CrdsReferences,
    fetching: Fetching | None = None,
    *,
    use_pars: bool = True,
) -> Resolution:
    """Choose parameters and references of all exposures, and have the files in the cache.

    Parameters
    ----------
    step : Step
        Configured by the user.
    headers : mapping
        Number of the exposure to its metadata.
    references : CrdsReferences
        Chooses them.
    fetching : callable, optional
        How to fetch what is missing; by default without a word.
    use_pars : bool
        Whether parameter references are read.

    Raises
    ------
    RequestError
        When there is no usable cache or context and references are wanted.
    """
    result = Resolution()
    fetch = _bind_references(references, fetching)
    if use_pars and headers and not pars.are_disabled():
        _add_parameters(result, step, headers, references, fetch)
    groups: dict[int, tuple[dict[int, Mapping[str, Any]], set[str]]] = {}
    for number, header in headers.items():
        if number not in result.errors:
            own = result.steps.get(number, step)
            group = groups.setdefault(id(own), ({}, own.wanted_references()))
            group[0][number] = header
    wanting = [group for group in groups.values() if group[1]]
    if wanting:
        try:
            result.references = references.resolve_all(wanting, fetch)
            result.context, result.context_reason = references.context, references.context_reason
        except ReferenceFileError as error:
            raise RequestError(str(error)) from error
    return result


def _bind_references(references: CrdsReferences, fetching: Fetching | None) -> Fetch | None:
    if fetching is None:
        return None
    shown = fetching
    return lambda names: shown(references, names)


def _add_parameters(
    result: Resolution,
    step: Step,
    headers: Headers,
    references: CrdsReferences,
    fetch: Fetch | None,
) -> None:
    """Configure the step for each set of parameter references."""
    try:
        found = references.resolve(headers, pars.parameter_types(step), fetch, optional=True)
    except ReferenceFileError as error:
        if step.wanted_references():
            raise RequestError(str(error)) from error
        return  # no cache, and none is needed
    made: dict[str, Step | CalibrationError] = {}
    for number, one in found.items():
        names = {kind: str(c.path) for kind, c in one.chosen.items() if c.path is not None}
        key = json.dumps([names, sorted(one.missing.items())], sort_keys=True)
        if key not in made:
            made[key] = _configure(step, one)
        own = made[key]
        if isinstance(own, CalibrationError):
            result.errors[number] = own
        elif own is not step:
            result.steps[number] = own
            result.chosen[number] = _names(one.chosen)
            result.parameters.update(_names(one.chosen))


def _configure(step: Step, found: ResolvedReferences) -> Step | CalibrationError:
    try:
        return pars.configure(step, pars.require_found(found))
    except CalibrationError as error:
        return error


def _names(chosen: Mapping[str, ChosenReference]) -> tuple[str, ...]:
    return tuple(sorted(one.path.name for one in chosen.values() if one.path is not None))
