"""Parameter files: ConfigObj ``.cfg``, read and written.

A file may hold parameters of the step or pipeline itself, ``name`` and ``class``, and one section a
step: ``[jump]``, or as stpipe writes it ``[steps]`` with ``[[jump]]`` below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import configobj

from calbatch.calibrate.errors import ParameterError, explained

if TYPE_CHECKING:
    from calbatch.calibrate.step import Step

_NOT_PARAMETERS = ("name", "class", "config_file")


@dataclass(frozen=True)
class Config:
    """What a ``.cfg`` says.

    Attributes
    ----------
    path : Path
        The file.
    name, cls : str or None
        Its ``name`` and ``class``.
    values : mapping
        Section ("" for the top) to parameters, as text or lists of text.
    """

    path: Path
    name: str | None = None
    cls: str | None = None
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def read(path: Path, including: tuple[Path, ...] = ()) -> Config:
    """Read a ``.cfg``.

    Parameters
    ----------
    path : Path
        The file.
    including : tuple of Path
        The files that include it by their ``config_file``.

    Raises
    ------
    ParameterError
        When the file is missing, is not in ConfigObj's format, or nests sections too deep.
    """
    with explained(ParameterError, f"{path}: not a parameter file"):
        if not path.is_file():
            raise ParameterError(f"{path}: there is no such parameter file")
        if path.resolve() in including:
            raise ParameterError(f"{path}: includes itself, by a config_file")
        return _read(path, (*including, path.resolve()))


def _read(path: Path, including: tuple[Path, ...]) -> Config:
    try:
        # No interpolation: a value is what it says.
        raw = configobj.ConfigObj(
            str(path), interpolation=False, file_error=True, encoding="utf-8", list_values=True
        )
    except (configobj.ConfigObjError, OSError, UnicodeError) as error:
        raise ParameterError(f"{path}: not a parameter file: {_first_line(error)}") from None
    values = {"": _parameters(raw)}
    for section in raw.sections:
        below = raw[section]
        steps = {s: below[s] for s in below.sections} if section == "steps" else {section: below}
        for name, entry in steps.items():
            if entry.sections:
                raise ParameterError(f"{path}: section [{name}] must not have sections itself")
            values[name] = {**_included(path, entry, including), **_parameters(entry)}
    return Config(path, _text(path, raw, "name"), _text(path, raw, "class"), values)


def _text(path: Path, section: Any, key: str) -> str | None:
    value = section.get(key)
    if value is None or isinstance(value, str):
        return value
    raise ParameterError(f"{path}: {key} must be one text, not {value!r:.100}")


def _parameters(section: Any) -> dict[str, Any]:
    return {k: section[k] for k in section.scalars if k not in _NOT_PARAMETERS}


def _included(path: Path, section: Any, including: tuple[Path, ...]) -> dict[str, Any]:
    """Return the parameters of the file that a section names as its ``config_file``."""
    name = _text(path, section, "config_file")
    return {} if not name else dict(read(path.parent / name, including).values[""])


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def written(step: Step, *, chosen: bool = False) -> str:
    """Return a step or pipeline as a ``.cfg``, with each parameter's help and source.

    Parameters
    ----------
    step : Step
        Configured.
    chosen : bool
        Whether to leave out what nobody chose: defaults, and what CRDS has for an exposure.
    """
    usual = type(step)() if chosen else None
    lines = [f'name = "{step.name}"', f'class = "{class_path(step)}"', *_section(step, usual)]
    for alias, part in step.steps().items():
        section = _section(part, usual.steps()[alias] if usual else None)
        lines += ["", f"[{alias}]", *section] if section or not chosen else []
    return "\n".join(lines) + "\n"


def class_path(step: Step) -> str:
    """Return the import path of a step's class."""
    return f"{type(step).__module__}.{type(step).__qualname__}"


def _section(step: Step, usual: Step | None) -> list[str]:
    lines = []
    defaults = usual.described() if usual else {}
    for name, (value, source) in step.described().items():
        parameter = step.parameters()[name]
        if name.startswith("override_") and value is None:
            continue
        if usual and (parameter.text(value), source) == (
            parameter.text(defaults[name][0]), defaults[name][1],
        ):  # fmt: skip
            continue
        unit = f" [{parameter.unit}]" if parameter.unit else ""
        lines.append(f"# {parameter.help}{unit} ({parameter.describe()}); from {source}")
        lines.append(f"{name} = {_quoted(parameter.text(value))}")
    return lines


def _quoted(text: str) -> str:
    plain = text and not set(text) & set("#'\"\n") and text.strip() == text
    return text if plain else '"' + text.replace('"', "'") + '"'
