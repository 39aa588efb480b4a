"""Read and write parameter files: ConfigObj ``.cfg``.

A file may hold parameters of the step or pipeline itself, ``name`` and ``class``, and one section
per step: ``[jump]``, or stpipe's form, ``[steps]`` with ``[[jump]]`` below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import configobj

from calbatch.calibrate.errors import ParameterError, convert_errors
from calbatch.calibrate.parameters.cfgtext import NotInFileError, comment, quote, quote_items

if TYPE_CHECKING:
    from calbatch.calibrate.step import Step

_NOT_PARAMETERS = ("name", "class", "config_file")

_ELSEWHERE = "@python "
"""Prefix that stands for a value which exists only in the process where it was set."""


@dataclass(frozen=True)
class Config:
    """The contents of a ``.cfg``.

    Attributes
    ----------
    path : Path
        The file.
    name, cls : str or None
        Its ``name`` and ``class``.
    values : mapping
        Parameters by section ("" for the top level), as text or lists of text.
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
        The files that include this one through ``config_file``.

    Raises
    ------
    ParameterError
        If the file is missing, is not in ConfigObj format, or nests sections too deep.
    """
    with convert_errors(ParameterError, f"{path}: not a parameter file"):
        if not path.is_file():
            raise ParameterError(f"{path}: no such parameter file")
        if path.resolve() in including:
            raise ParameterError(f"{path}: includes itself through config_file")
        return _read(path, (*including, path.resolve()))


def _read(path: Path, including: tuple[Path, ...]) -> Config:
    try:
        text = path.read_bytes().decode("utf-8-sig")  # keeps line breaks
    except (OSError, UnicodeError) as error:
        raise ParameterError(f"{path}: not a parameter file: {_first_line(error)}") from None
    return _parse(text, path, including)


def _parse(text: str, path: Path, including: tuple[Path, ...]) -> Config:
    try:
        # No interpolation: values are literal. Split at newlines only, as in files.
        raw = configobj.ConfigObj(text.split("\n"), interpolation=False, list_values=True)
    except configobj.ConfigObjError as error:
        raise ParameterError(f"{path}: not a parameter file: {_first_line(error)}") from None
    values = {"": _parameters(path, raw)}
    for section in raw.sections:
        below = raw[section]
        steps = {s: below[s] for s in below.sections} if section == "steps" else {section: below}
        for name, entry in steps.items():
            if entry.sections:
                raise ParameterError(f"{path}: section [{name}] must not contain sections")
            values[name] = {**_read_included(path, entry, including), **_parameters(path, entry)}
    return Config(path, _text(path, raw, "name"), _text(path, raw, "class"), values)


def _text(path: Path, section: Any, key: str) -> str | None:
    value = section.get(key)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list):  # the pipelines of a chain
        return ",".join(value)
    raise ParameterError(f"{path}: {key} must be a single string, not {value!r:.100}")


def _parameters(path: Path, section: Any) -> dict[str, Any]:
    parameters = {k: section[k] for k in section.scalars if k not in _NOT_PARAMETERS}
    for name, value in parameters.items():
        if isinstance(value, str) and value.startswith(_ELSEWHERE):
            raise ParameterError(
                f"{path}: {name} was set in Python ({value.removeprefix(_ELSEWHERE)}), and a file "
                "cannot hold it: run the batch again from Python"
            )
    return parameters


def _read_included(path: Path, section: Any, including: tuple[Path, ...]) -> dict[str, Any]:
    """Return the parameters of the file that a section names in ``config_file``."""
    name = _text(path, section, "config_file")
    return {} if not name else dict(read(path.parent / name, including).values[""])


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def format_cfg(step: Step, *, chosen: bool = False) -> str:
    """Return a step or pipeline as the text of a ``.cfg``, with each parameter's help and source.

    Parameters
    ----------
    step : Step
        The configured step or pipeline.
    chosen : bool
        True for the file of a batch: it omits values that the user did not choose (defaults and
        CRDS parameter references), and marks values that exist only in this process, such as a
        model, so that reading the file fails.

    Raises
    ------
    ParameterError
        If a parameter file cannot hold a value unchanged.
    """
    usual = type(step)() if chosen else None
    entries = {"": _entries(step, usual, "", chosen=chosen)}
    for alias, part in step.steps().items():
        section = _entries(part, usual.steps()[alias] if usual else None, alias, chosen=chosen)
        if section or not chosen:
            entries[alias] = section
    lines = [f"name = {quote(step.name)}", f"class = {quote(step.class_path())}"]
    for alias, section in entries.items():
        lines += ["", f"[{alias}]"] if alias else []
        for name, entry in section.items():
            lines += [_comment(step, alias, name), f"{name} = {_as_line(entry)}"]
    text = "\n".join(lines) + "\n"
    _require_same(text, entries)
    return text


Entry = str | list[str]
"""A value as stored in a file."""


def _entries(step: Step, usual: Step | None, alias: str, *, chosen: bool) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    defaults = usual.parameter_values() if usual else {}
    declared = step.parameters()
    for name, (value, source) in step.parameter_values().items():
        parameter = declared[name]
        if name.startswith("override_") and value is None:
            continue
        if usual and (parameter.text(value), source) == (
            parameter.text(defaults[name][0]), defaults[name][1],
        ):  # fmt: skip
            continue
        try:
            entries[name] = _require_holdable(parameter.entry(value))
        except NotInFileError as error:
            if not chosen or _is_text(value):
                place = f"{alias}.{name}" if alias else name
                raise ParameterError(f"{place} = {value!r}: {error}") from None
            entries[name] = _ELSEWHERE + comment(str(error))[2:]
    return entries


def _require_holdable(entry: Entry) -> Entry:
    """Return the entry if a file can hold it, or raise NotInFileError."""
    line = _as_line(entry)
    if line.startswith((f'"{_ELSEWHERE}', f"'{_ELSEWHERE}")):
        raise NotInFileError(f"a parameter file cannot hold text beginning with {_ELSEWHERE!r}")
    return entry


def _is_text(value: Any) -> bool:
    return all(isinstance(v, str) for v in (value if isinstance(value, list) else [value]))


def _as_line(entry: Entry) -> str:
    return quote(entry) if isinstance(entry, str) else quote_items(entry)


def _comment(step: Step, alias: str, name: str) -> str:
    part = step.steps()[alias] if alias else step
    parameter, (_, source) = part.parameters()[name], part.parameter_values()[name]
    unit = f" [{parameter.unit}]" if parameter.unit else ""
    return comment(f"{parameter.help}{unit} ({parameter.describe()}); from {source}")


def _require_same(text: str, entries: Mapping[str, Mapping[str, Entry]]) -> None:
    """Reject values that would not survive a round trip through the text."""
    raw = configobj.ConfigObj(text.split("\n"), interpolation=False, list_values=True)
    for alias, section in entries.items():
        values = raw[alias] if alias else raw
        for name, entry in section.items():
            if values.get(name) != entry or not _encodes(entry):
                place = f"{alias}.{name}" if alias else name
                raise ParameterError(
                    f"{place} = {entry!r}: a parameter file cannot hold this text unchanged"
                )


def _encodes(entry: Entry) -> bool:
    try:
        "".join(entry).encode("utf-8")
    except UnicodeError:  # a lone surrogate, from a file name that is not UTF-8
        return False
    return True
