"""Tests that assert nothing.

A test asserts if it contains an assertion, or calls a helper that does. Helpers are functions of
its module or of `support` whose names say that they check something.
"""

import ast
import functools
from collections.abc import Iterable
from pathlib import Path

from support.repository import functions

EXPECTATIONS = frozenset({"raises", "warns", "deprecated_call", "fail"})
"""Functions of pytest that assert."""
CHECKS = ("assert", "check", "compare", "eventually", "expect", "require", "until")
"""First words of the names of helpers that check something."""


@functools.cache
def _calls(function: ast.AST) -> frozenset[str]:
    """Return the last parts of the names that a function calls; ``assert`` for assertions."""
    found = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            found.add("assert")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found.add(node.func.id)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of_pytest = isinstance(node.func.value, ast.Name) and node.func.value.id == "pytest"
            found.add("assert" if of_pytest and node.func.attr in EXPECTATIONS else node.func.attr)
    return frozenset(found)


def _is_asserting(function: ast.AST, helpers: frozenset[str]) -> bool:
    called = _calls(function)
    return not called.isdisjoint({"assert", "AssertionError", *helpers}) or any(
        name.startswith("assert_") for name in called
    )


def asserting_helpers(
    sources: Iterable[str], known: frozenset[str] = frozenset()
) -> frozenset[str]:
    """Return the names of the functions of modules that check something, and assert.

    Parameters
    ----------
    sources : iterable of str
        Text of the modules.
    known : frozenset of str, optional
        Helpers of other modules.
    """
    named = [
        function
        for source in sources
        for function in functions(source)
        if function.name.strip("_").startswith(CHECKS)
    ]
    found = known
    while True:  # until no helper calls another one that has been found since
        more = found | {f.name for f in named if _is_asserting(f, found)}
        if more == found:
            return found
        found = more


def support_helpers(folder: Path) -> frozenset[str]:
    """Return the names of the asserting helpers in the modules of a folder."""
    return asserting_helpers(path.read_text() for path in sorted(folder.glob("*.py")))


def vacuous_tests(source: str, helpers: frozenset[str]) -> list[str]:
    """Return the names of the tests of a module that assert nothing.

    Parameters
    ----------
    source : str
        Text of the module.
    helpers : frozenset of str
        Asserting helpers of other modules.
    """
    known = asserting_helpers([source], helpers)
    tests = (node for node in functions(source) if node.name.startswith("test_"))
    return [test.name for test in tests if not _is_asserting(test, known)]
