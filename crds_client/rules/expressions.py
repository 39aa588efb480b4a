"""The conditions in rules files' headers: ``rmap_relevance``, ``parkey_relevance``, ``rmap_omit``.

They are Python expressions of comparisons, ``and``, ``or``, ``not``, ``in``, conditional
expressions, constants and names of header parameters. A walk over the syntax tree evaluates them;
nothing is executed. Source: PyPI ``crds`` 14.0.3, ``rmap.ReferenceMapping.get_expr``.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Names = Mapping[str, Any]
_Node = Callable[[Names], Any]

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda one, other: one in other,
    ast.NotIn: lambda one, other: one not in other,
}
_MAX_LENGTH = 10_000


class Expression:
    """A condition on a header.

    Parameters
    ----------
    text : str
        The condition as in the rules file.
    parameters : iterable of str
        Names that may be written with dots (``META.EXPOSURE.TYPE``).

    Attributes
    ----------
    names : set of str
        The parameters in the condition, with underscores for dots.

    Raises
    ------
    ValueError
        If the text is not such a condition.
    """

    def __init__(self, text: str, parameters: Iterable[str]) -> None:
        self.text = text
        for name in parameters:
            text = text.replace(name, name.replace(".", "_"))
        if len(text) > _MAX_LENGTH:
            raise ValueError("condition is too long")
        try:
            tree = ast.parse(text, mode="eval").body
            self._evaluate = _compile(tree)
            self.names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        except SyntaxError as error:
            raise ValueError(f"condition {text[:60]!r}: {error.msg}") from None
        except (RecursionError, MemoryError):
            raise ValueError("condition is nested too deeply") from None

    def __call__(self, names: Names) -> bool:
        """Return whether the condition holds.

        Raises
        ------
        ValueError
            If a name is missing or values cannot be compared.
        """
        try:
            return bool(self._evaluate(names))
        except KeyError as error:
            raise ValueError(f"{error.args[0]} is missing") from None
        except TypeError as error:
            raise ValueError(str(error)) from None


def names_of(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return a header with the names in conditions added, which have underscores for dots."""
    return {**header, **{key.replace(".", "_"): value for key, value in header.items()}}


def _compile(node: ast.expr) -> _Node:
    match node:
        case ast.Constant(value=str() | int() | float() | bool() | None as value):
            return lambda _names: value
        case ast.Name(id=name):
            return lambda names: names[name]
        case ast.Tuple(elts=items) | ast.List(elts=items):
            parts = [_compile(item) for item in items]
            return lambda names: tuple(part(names) for part in parts)
        case ast.BoolOp(op=op, values=values):
            return _logical(isinstance(op, ast.And), [_compile(value) for value in values])
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = _compile(operand)
            return lambda names: not inner(names)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            negative = -value
            return lambda _names: negative
        case ast.Compare():
            return _comparison(node)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _choice_of(_compile(test), _compile(body), _compile(orelse))
    raise ValueError(f"condition may not contain {ast.unparse(node)[:60]!r}")


def _logical(conjunction: bool, parts: list[_Node]) -> _Node:
    def evaluate(names: Names) -> Any:
        value: Any = conjunction
        for part in parts:
            value = part(names)
            if bool(value) is not conjunction:
                break
        return value

    return evaluate


def _choice_of(test: _Node, body: _Node, orelse: _Node) -> _Node:
    return lambda names: body(names) if test(names) else orelse(names)


def _comparison(node: ast.Compare) -> _Node:
    operands = [_compile(part) for part in (node.left, *node.comparators)]
    compares = []
    for op in node.ops:
        if type(op) not in _COMPARISONS:
            raise ValueError(f"condition may not contain {ast.unparse(node)[:60]!r}")
        compares.append(_COMPARISONS[type(op)])

    def evaluate(names: Names) -> bool:
        left = operands[0](names)
        for compare, operand in zip(compares, operands[1:], strict=True):
            right = operand(names)
            if not compare(left, right):
                return False
            left = right
        return True

    return evaluate
