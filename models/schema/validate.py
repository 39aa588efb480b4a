"""Validation of metadata against a schema, and the treatment of invalid values.

As in stdatamodels, an invalid value is by default not set, with a `ValidationWarning`. Three
environment variables change that: ``PASS_INVALID_VALUES`` (set the value with a warning),
``STRICT_VALIDATION`` (raise `ValidationError`) and ``VALIDATE_ON_ASSIGNMENT`` (if false, validate
only when the model is saved).
"""

from __future__ import annotations

import difflib
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from typing import Any

import numpy as np

from calbatch.models.errors import UnknownNameError, ValidationError, ValidationWarning, escape_text
from calbatch.models.schema.spec import KeywordSpec, Schema

_TRUE = ("1", "true", "t", "yes", "y")
_FALSE = ("0", "", "false", "f", "no", "n")
_TOO_LARGE = 2**63
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (dict,),
    "null": (),
}
_SHOWN_VALUES = 20  # a longer enumeration is shortened to the values closest to the given one
_SHOWN_NAMES = 5


VARIABLES = ("PASS_INVALID_VALUES", "STRICT_VALIDATION", "VALIDATE_ON_ASSIGNMENT")
"""Environment variables that say what is done with invalid values, as in jwst."""


def is_enabled(name: str, *, default: bool) -> bool:
    """Return whether an environment variable is true."""
    value = os.environ.get(name)
    if value is None:
        return default
    if value.strip().lower() not in _TRUE + _FALSE:
        raise ValidationError(f"environment variable {name}={value!r} is neither true nor false")
    return value.strip().lower() in _TRUE


def validate_value(spec: KeywordSpec, value: Any, *, where: str = "") -> Any:
    """Return a value as plain Python if the schema allows it.

    Parameters
    ----------
    spec : KeywordSpec
        The specification of the value.
    value : Any
        The value; None (not set) is always valid.
    where : str
        The file, for the message.

    Returns
    -------
    Any
        The value with NumPy scalars unpacked, dates as text and, if the type is integer, integral
        floats as integers.

    Raises
    ------
    ValidationError
        If the schema does not allow the value. The message names file, keyword, path, value and
        the allowed values.
    """
    if value is None:
        return None
    value = to_plain(value)
    if spec.type == "integer" and type(value) is float and value.is_integer():
        value = int(value)
    fault = _fault(spec, value)
    if fault is None:
        return value
    raise ValidationError(f"{describe(spec, value, where)}: {fault}")


_NEEDED = {"integer": "a whole number", "number": "a number", "boolean": "T or F"}


def misfit_reason(spec: KeywordSpec, value: Any) -> str | None:
    """Return the reason why a card's value does not fit its specification; None if it does."""
    fault = _fault(spec, value)
    if fault is None:
        return None
    if isinstance(value, str) and spec.type in _NEEDED:
        return f"{spec.keyword} = {value!r} is text; {_NEEDED[spec.type]} is needed"
    return f"{spec.keyword} = {value!r}: {fault}"


def describe(spec: KeywordSpec, value: Any, where: str = "") -> str:
    """Return ``file: KEYWORD (path) = value`` for a message."""
    name = f"{spec.keyword} ({spec.path})" if spec.keyword else spec.path
    shown = repr(value)
    shown = shown if len(shown) <= 200 else shown[:196] + " ..."
    return f"{where}: {name} = {shown}" if where else f"{name} = {shown}"


def to_plain(value: Any) -> Any:
    """Return a value as plain Python types."""
    if type(value) in (str, int, float, bool):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {name: to_plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return value


def _fault(spec: KeywordSpec, value: Any) -> str | None:
    if spec.type is not None and not _is_type(value, spec.type):
        article = "an" if spec.type[0] in "aeiou" else "a"
        return f"must be {article} {spec.type}, not {type(value).__name__}"
    if spec.enum is not None and value not in spec.enum:
        return f"must be {_describe_allowed(spec.enum, value)}"
    if isinstance(value, str):
        if spec.pattern is not None and not re.search(spec.pattern, value):
            return f"must match {spec.pattern!r}"
    elif _is_type(value, "number"):
        if isinstance(value, int) and not -_TOO_LARGE <= value < _TOO_LARGE:
            return "must fit into 64 bits"
        if spec.minimum is not None and value < spec.minimum:
            return f"must be at least {spec.minimum}"
        if spec.maximum is not None and value > spec.maximum:
            return f"must be at most {spec.maximum}"
    if value == [] and spec.others.keys() <= {"items"}:
        return None
    return _other_fault(spec, value) if spec.others else None


def _is_type(value: Any, name: str) -> bool:
    # A bool is an int in Python, but not in JSON schema.
    if isinstance(value, bool) and name != "boolean":
        return False
    return isinstance(value, _TYPES[name])


def _describe_allowed(values: tuple[Any, ...], value: Any) -> str:
    if len(values) <= _SHOWN_VALUES:
        return "one of " + ", ".join(str(v) for v in values)
    near = difflib.get_close_matches(str(value), [str(v) for v in values], n=5, cutoff=0.4)
    hint = f"nearest {', '.join(near)}" if near else f"such as {', '.join(map(str, values[:5]))}"
    return f"one of {len(values)} values, {hint}"


def _other_fault(spec: KeywordSpec, value: Any) -> str | None:
    # jsonschema is slow to import, and few schemas need it.
    from jsonschema import Draft202012Validator

    errors = Draft202012Validator(_forbid_other_names(spec.others)).iter_errors(value)
    messages = [error.message.partition("\n")[0] for error in errors]
    return messages[0] if messages else None


def _forbid_other_names(rule: Any) -> Any:
    """Return a JSON schema whose objects have only the listed properties."""
    if isinstance(rule, list):
        return [_forbid_other_names(each) for each in rule]
    if not isinstance(rule, Mapping):
        return rule
    closed = {key: _forbid_other_names(below) for key, below in rule.items()}
    if isinstance(rule.get("properties"), Mapping) and "patternProperties" not in rule:
        closed.setdefault("additionalProperties", False)
    return closed


def check_assignment(schema: Schema, path: str, value: Any, *, where: str = "") -> tuple[bool, Any]:
    """Return whether an assignment is accepted, and the value to set.

    Parameters
    ----------
    schema : Schema
        The model's schema.
    path : str
        Dotted path of the assignment: a leaf, or a branch with a mapping as its value.
    value : Any
        The new value.
    where : str
        The model's file, for the message.

    Returns
    -------
    accepted : bool
        True if the value is to be set.
    value : Any
        The value to set, as plain Python.

    Raises
    ------
    ValidationError
        If the value is invalid and ``STRICT_VALIDATION`` is set.
    UnknownNameError
        If the schema does not have the path, so that no file would contain the value, unless
        ``PASS_INVALID_VALUES`` is set.
    """
    if not is_enabled("VALIDATE_ON_ASSIGNMENT", default=True):
        return True, to_plain(value)
    try:
        return True, _validate_path(schema, path, value, where)
    except UnknownNameError as error:
        if not is_enabled("PASS_INVALID_VALUES", default=False):
            raise
        return warn_or_raise(error), to_plain(value)
    except ValidationError as error:
        return warn_or_raise(error), to_plain(value)


def warn_or_raise(error: ValidationError) -> bool:
    """Raise an error or warn, depending on the environment; return whether to set the value."""
    if is_enabled("STRICT_VALIDATION", default=False):
        raise error
    warnings.warn(escape_text(str(error)), ValidationWarning, stacklevel=4)
    return is_enabled("PASS_INVALID_VALUES", default=False)


def _validate_path(schema: Schema, path: str, value: Any, where: str) -> Any:
    spec = schema.keywords.get(path)
    if spec is not None:
        return validate_value(spec, value, where=where)
    if not schema.has_branch(path):
        if _is_unknown(schema, path):
            raise UnknownNameError(_unknown(schema, path, where))
        return to_plain(value)
    if not isinstance(value, Mapping):
        start = f"{where}: {path}" if where else path
        raise ValidationError(f"{start} = {value!r}: must be a mapping, because it has children")
    return {name: _validate_path(schema, f"{path}.{name}", v, where) for name, v in value.items()}


def _is_unknown(schema: Schema, path: str) -> bool:
    """Return whether a path is neither in the schema nor inside one of its values."""
    parents = path.split(".")[:-1]
    above = [".".join(parents[:n]) for n in range(1, len(parents) + 1)]
    return bool(above) and above[0] in schema.branches and not any(map(schema.keywords.get, above))


def _unknown(schema: Schema, path: str, where: str) -> str:
    parent, _, name = path.rpartition(".")
    while not schema.has_branch(parent):  # a mapping was assigned further up
        parent, _, name = parent.rpartition(".")
    near = difflib.get_close_matches(name, schema.children(parent), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    start = f"{where}: " if where else ""
    return (
        f"{start}{parent} has no {name!r} in schema {schema.name!r}{hint} Use a header "
        "card instead, model.set_card(keyword, value), or add the name to a schema of your own"
    )


def require_part(schema: Schema, part: str, where: str) -> None:
    """Raise an error if a schema has no HDU, branch or value of a name.

    Raises
    ------
    ValidationError
        With the nearest valid name.
    """
    if part.upper() in schema.by_hdu or schema.has_branch(part) or part in schema.keywords:
        return
    names = [*schema.by_hdu, *schema.branches, *schema.keywords]
    near = difflib.get_close_matches(part, names, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValidationError(f"{where}: schema {schema.name!r} has no {part!r}{hint}")


def warn_of_unknown_names(schema: Schema, paths: Iterable[str], where: str) -> None:
    """Warn once about metadata that are left out because no schema names them.

    Raises
    ------
    ValidationError
        Instead of the warning, under ``STRICT_VALIDATION``.
    """
    unknown = [path for path in paths if path not in schema.keywords]
    if unknown:
        names = ", ".join(unknown[:_SHOWN_NAMES])
        more = f" and {len(unknown) - _SHOWN_NAMES} more" if len(unknown) > _SHOWN_NAMES else ""
        reason = f"schema {schema.name!r} does not name {names}{more}: left out"
        warn_or_raise(ValidationError(f"{where}: {reason}"))


def validate_tree(schema: Schema, data: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Return all metadata that are valid, as saving does.

    Parameters
    ----------
    schema : Schema
        The model's schema.
    data : mapping
        Nested metadata, ``{"meta": {...}}``.
    where : str
        The file, for the messages.

    Returns
    -------
    dict
        A copy without the invalid values (with them, under ``PASS_INVALID_VALUES``).

    Raises
    ------
    ValidationError
        For the first invalid value, if ``STRICT_VALIDATION`` is set; for missing required values,
        unless ``PASS_INVALID_VALUES`` is set.

    Warns
    -----
    ValidationWarning
        For each invalid value, and for each name that is not in the schema.
    """
    valid = _validate_branch(schema, data, "", where)
    missing = [describe(spec, None, where) for spec in _missing_keywords(schema, valid)]
    if missing:
        error = ValidationError("; ".join(f"{text}: is required" for text in missing))
        if not is_enabled("PASS_INVALID_VALUES", default=False):
            raise error
        warn_or_raise(error)
    return valid


def _validate_branch(
    schema: Schema, data: Mapping[str, Any], path: str, where: str
) -> dict[str, Any]:
    valid: dict[str, Any] = {}
    for name, value in data.items():
        place = f"{path}.{name}" if path else name
        if isinstance(value, Mapping) and place not in schema.keywords:
            valid[name] = _validate_branch(schema, value, place, where)
            continue
        try:
            valid[name] = _validate_path(schema, place, value, where)
        except ValidationError as error:
            if warn_or_raise(error):
                valid[name] = to_plain(value)
    return valid


def _missing_keywords(schema: Schema, data: Mapping[str, Any]) -> Iterator[KeywordSpec]:
    for spec in schema.keywords.values():
        if spec.required:
            value: Any = data
            for part in spec.parts:
                value = value.get(part) if isinstance(value, Mapping) else None
            if value is None:
                yield spec


#: From a dotted path and a value: whether the assignment is accepted, and the value to set.
AssignmentCheck = Callable[[str, Any], tuple[bool, Any]]
