"""Rules files (``.pmap``, ``.imap``, ``.rmap``), parsed as literals and never executed.

A rules file looks like Python: ``header = {...}``, an optional ``comment``, and
``selector = {...}`` or ``selector = Match({...})`` with nested selectors. Nothing else is accepted.
Source of the format: PyPI ``crds`` 14.0.3, ``mapping_verifier`` and ``rmap``.
"""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass
from typing import Any

from calbatch.crds_client.errors import MappingError

SELECTORS = frozenset(
    {
        "Bracket",
        "ClosestTime",
        "GeometricallyNearest",
        "Match",
        "SelectVersion",
        "UseAfter",
        "VersionAfter",
    }
)

_MAX_LENGTH = 32_000_000
"""Characters; the largest HST rules file has two million."""

_SECTIONS = ("header", "comment", "selector")


@dataclass(frozen=True, slots=True)
class SelectorSource:
    """A selector as written.

    Attributes
    ----------
    kind : str
        One of `SELECTORS`.
    choices : dict
        Choice by key: a str, a tuple or dict of str, or a nested `SelectorSource`.
    lines : dict
        Line number by key, for messages.
    line : int
        Line at which the selector begins.
    """

    kind: str
    choices: dict[Any, Any]
    lines: dict[Any, int]
    line: int


@dataclass(frozen=True, slots=True)
class MappingSource:
    """A rules file as written: name, header, and selector (a dict in ``.pmap`` and ``.imap``)."""

    name: str
    header: dict[str, Any]
    selector: dict[str, Any] | SelectorSource

    def fault(self, message: str, line: int = 1) -> MappingError:
        """Return an error that starts with the file and line of the fault."""
        return MappingError(f"{self.name}:{line}: {message}")


def parse_mapping(text: str, name: str) -> MappingSource:
    """Parse a rules file.

    Parameters
    ----------
    text : str
        Content of the file.
    name : str
        Name of the file, for messages.

    Raises
    ------
    MappingError
        If it contains anything but literals and selectors; the message starts with file and line.
    """
    reader = _Reader(name)
    sections = reader.sections(_tree(text, name))
    header, selector = sections.get("header"), sections.get("selector")
    if not isinstance(header, dict):
        raise MappingError(f"{name}:1: no header = {{...}}")
    if not isinstance(selector, dict | SelectorSource):
        raise MappingError(f"{name}:1: no selector = {{...}} or selector = Match({{...}})")
    return MappingSource(name, header, selector)


def _tree(text: str, name: str) -> ast.Module:
    if len(text) > _MAX_LENGTH:
        raise MappingError(f"{name}:1: {len(text)} characters are too many for a rules file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # regular expressions in strings without r"..."
            return ast.parse(text)
    except SyntaxError as error:
        raise MappingError(f"{name}:{error.lineno or 1}: {error.msg}") from None
    except ValueError as error:
        raise MappingError(f"{name}:1: {error}") from None
    except (RecursionError, MemoryError):
        raise MappingError(f"{name}:1: nested too deeply") from None


class _Reader:
    """Converts a syntax tree to plain values; anything else is an error with its line."""

    def __init__(self, name: str) -> None:
        self.name = name

    def fault(self, node: ast.AST, message: str) -> MappingError:
        return MappingError(f"{self.name}:{getattr(node, 'lineno', 1)}: {message}")

    def sections(self, tree: ast.Module) -> dict[str, Any]:
        sections: dict[str, Any] = {}
        for statement in tree.body:
            if _is_docstring(statement):
                continue
            section = self._section(statement)
            if section in sections:
                raise self.fault(statement, f"{section} is given twice")
            assert isinstance(statement, ast.Assign)
            try:
                sections[section] = self.value(statement.value)
            except RecursionError:
                raise self.fault(statement, "nested too deeply") from None
        return sections

    def _section(self, statement: ast.stmt) -> str:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target = statement.targets[0]
            if isinstance(target, ast.Name) and target.id in _SECTIONS:
                return target.id
        raise self.fault(statement, "only header, comment and selector may be set in a rules file")

    def value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=str() | int() | float() | bool() | None as value):
                return value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return -value
            case ast.Tuple(elts=items):
                return tuple(self.value(item) for item in items)
            case ast.List(elts=items):
                return [self.value(item) for item in items]
            case ast.Dict():
                return self._dict(node)[0]
            case ast.Call():
                return self._selector(node)
        raise self.fault(node, f"{ast.unparse(node)[:60]!r} is neither a literal nor a selector")

    def _dict(self, node: ast.Dict) -> tuple[dict[Any, Any], dict[Any, int]]:
        values, lines = {}, {}
        for key_node, value_node in zip(node.keys, node.values, strict=True):
            if key_node is None:
                raise self.fault(node, "** is not a literal")
            key = self.value(key_node)
            try:
                lines[key] = key_node.lineno
            except TypeError:
                raise self.fault(key_node, f"{key!r} cannot be a key") from None
            values[key] = self.value(value_node)  # as in Python, the last of equal keys wins
        return values, lines

    def _selector(self, node: ast.Call) -> SelectorSource:
        if not isinstance(node.func, ast.Name) or node.func.id not in SELECTORS:
            raise self.fault(
                node, f"{ast.unparse(node.func)[:60]!r} is not one of {sorted(SELECTORS)}"
            )
        if node.keywords or len(node.args) != 1 or not isinstance(node.args[0], ast.Dict):
            raise self.fault(node, f"{node.func.id} takes one dictionary")
        choices, lines = self._dict(node.args[0])
        return SelectorSource(node.func.id, choices, lines, node.lineno)


def _is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
