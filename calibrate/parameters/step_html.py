"""Steps and pipelines as HTML, for notebooks: their parameters, with the changed ones marked."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from calbatch.calibrate.parameters import parameters_of
from calbatch.calibrate.parameters.configurable import Configurable, changed_values
from calbatch.models.markup import Markup, escape, make_details, make_display, make_table, wrap


def step_as_html(
    step: Configurable, parts: Mapping[str, Configurable], common: Collection[str]
) -> str:
    """Return a step, or a pipeline with its steps, as HTML.

    Parameters
    ----------
    step : Configurable
        The step or pipeline.
    parts : mapping
        The steps of a pipeline by alias, in order; none for a single step.
    common : collection of str
        Parameters that all steps have, which are shown only if they have been changed.
    """
    sections = [wrap("div", wrap("strong", step.name), f": {_first_line(step)}")]
    sections += _parameters(step, common)
    sections += [_part(alias, part, common) for alias, part in parts.items()]
    return make_display(*sections)


def _first_line(step: Configurable) -> str:
    return (type(step).__doc__ or "").strip().partition("\n")[0]


def _part(alias: str, part: Configurable, common: Collection[str]) -> Markup:
    changed = ", ".join(f"{name}={value}" for name, value in changed_values(part))
    summary = f"{alias} ({changed})" if changed else alias
    return make_details(summary, wrap("div", _first_line(part)), *_parameters(part, common))


def _parameters(step: Configurable, common: Collection[str]) -> list[Markup]:
    """Return the table of a step's parameters; nothing if there are none to show."""
    rows = list(_rows(step, common))
    return [make_table(rows, ("parameter", "value", "meaning"))] if rows else []


def _rows(step: Configurable, common: Collection[str]) -> Iterator[tuple[str, Markup, str]]:
    changed = dict(changed_values(step))
    for name, parameter in parameters_of(type(step)).items():
        is_override = name.startswith("override_")
        if name not in changed and (is_override or name in common):
            continue
        value = escape(changed.get(name, repr(getattr(step, name))))
        unit = f" [{parameter.unit}]" if parameter.unit else ""
        yield name, wrap("strong", value) if name in changed else value, f"{parameter.help}{unit}"
