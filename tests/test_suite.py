"""The suite's own rules: groups, time and assertions."""

import ast
import gc
import os
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import groups, repository
from support.assertions import support_helpers, vacuous_tests
from support.failures import drop_leftovers
from support.repository import ROOT, TESTS, imports, relative


def test_groups_of_tests_stay_together(request):
    """Tests that share fixtures or services run in one process; see conftest.py."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.skip("there is one process")
    assert "@" in request.node.nodeid


def test_open_resources_of_a_failed_test_warn_in_no_other_test():
    def fail():
        file = Path(os.devnull).open()  # noqa: SIM115 - left open
        raise ValueError(file)

    try:
        fail()
    except ValueError as error:
        sys.last_value = error
    drop_leftovers()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        gc.collect()
    assert not hasattr(sys, "last_value")
    assert found == []


@pytest.mark.parametrize("name", [*groups.FIRST, *groups.SPLIT, *groups.TOGETHER])
def test_long_tests_that_are_listed_exist(name):
    assert (ROOT / "tests" / name).is_file()


CLOCKS = {f"tests/support/{name}.py" for name in ("waiting", "chaos", "damaged", "screenshots")}
"""Helpers that may read clocks: to wait for conditions, to kill at random moments, to find damage
that makes reading many times slower, and to show the rate of a batch."""


def calls(node, *names) -> Iterator[int]:
    """Yield the lines where functions are called below a node, but not in functions within it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and ast.unparse(child.func).rpartition(".")[2] in names:
            yield child.lineno
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield from calls(child, *names)


def test_no_test_reads_clocks():
    """Speed is measured in benchmarks/; tests wait for conditions."""
    others = [p for p in TESTS if relative(p) not in CLOCKS]
    assert [relative(p) for p in others if any(m == "time" for _, m in imports(p))] == []
    timers = {
        relative(p): [*calls(repository.parse(p.read_text()), "Timer", "sleep")] for p in others
    }
    assert {name: at for name, at in timers.items() if at} == {}


def test_no_test_waits_a_fixed_time_or_asserts_times():
    """Only helpers of a test may be slow, such as a step or a server."""
    found = []
    for path in TESTS:
        for node in ast.walk(repository.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found += [f"{relative(path)}:{line} be_slow" for line in calls(node, "be_slow")]
            elif isinstance(node, ast.Assert):
                found += [f"{relative(path)}:{line} now" for line in calls(node, "now")]
    assert found == [], "wait for a condition: support.waiting.eventually"


@pytest.mark.parametrize("script", ["newest", "pinned"])
def test_scripts_name_existing_tests(script):
    named = re.findall(r"\btests/[\w./]+", (ROOT / ".ci" / script).read_text())
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_test_asserts():
    helpers = support_helpers(ROOT / "tests" / "support")
    found = {relative(p): vacuous_tests(p.read_text(), helpers) for p in TESTS}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("body", "is_found"),
    [
        ("run()", True),
        ("check_all()", True),
        ("assert run()", False),
        ("np.testing.assert_array_equal(a, b)", False),
        ("with pytest.raises(ValueError): run()", False),
        ("compare_all()", False),
        ("check_indirectly()", False),
        ("self.contract.require_order()", False),
        ("prepare()", True),
    ],
)
def test_tests_without_assertions_are_found(body, is_found):
    """Helpers count that are known, or that assert and are named for it."""
    module = f"""
def check_all(): run()
def compare_all(): assert run()
def check_indirectly(): compare_all()
def prepare(): assert run()
def test_one():
    {body}
"""
    helpers = frozenset({"require_order"})
    assert vacuous_tests(module, helpers) == ["test_one"] * is_found
