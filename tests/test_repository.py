"""The repository's own rules: sizes, names, pages, imports. `pytest -rP` shows the sizes."""

import ast
import importlib
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.repository import missing_tests

from calbatch.calibrate.parameters import Override
from calbatch.calibrate.registry import PIPELINES, STEPS, find
from calbatch.calibrate.step import Step
from calbatch.cluster.cli.app import cli

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("models", "crds_client", "calibrate", "cluster")
SOURCES = sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
OTHERS = [p for folder in ("benchmarks", "docs", ".ci") for p in (ROOT / folder).rglob("*.py")]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

MODULE_LINES = 400
FUNCTION_LINES = 60
FRAGMENTS = ("feature", "bugfix", "numerics", "removal", "doc")


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


def named(path):
    return str(path.relative_to(ROOT))


def test_groups_of_tests_stay_together(request):
    """What shares fixtures, or services, runs in one process; see conftest.py."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.skip("there is one process")
    assert "@" in request.node.nodeid


# -- sizes -------------------------------------------------------------------------------------


def lengths(path) -> Iterator[tuple[str, int]]:
    """Yield each function of a module and its lines without signature and docstring."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            count = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            yield f"{named(path)}:{node.lineno} {node.name}", count


def told(what, counts):
    tenths = statistics.quantiles(counts, n=10)
    sizes = f"median {tenths[4]:.0f}, p90 {tenths[8]:.0f}, max {max(counts)}"
    print(f"{what}: {len(counts)}, {sizes}")  # noqa: T201 - what -rP shows
    return tenths[4], tenths[8]


def test_functions_are_short():
    found = [length for path in SOURCES for length in lengths(path)]
    median, ninth = told("lines a function", [count for _, count in found])
    assert [f"{name}: {count} lines" for name, count in found if count > FUNCTION_LINES] == []
    assert median <= 8
    assert ninth <= 25


def test_modules_are_short():
    found = {named(p): len(p.read_text().splitlines()) for p in SOURCES}
    told("lines a module", list(found.values()))
    assert {name: count for name, count in found.items() if count > MODULE_LINES} == {}


def test_no_file_is_large():
    pictures = [p for p in (ROOT / "docs").rglob("*") if p.is_file() and "_build" not in p.parts]
    assert [named(p) for p in [*SOURCES, *TESTS, *pictures] if p.stat().st_size > 200_000] == []


# -- one name for each step --------------------------------------------------------------------


def names_in(folder, pattern):
    found = [p for p in (ROOT / folder).glob(pattern) if not p.name.startswith("_")]
    packages = [p.parent for p in (ROOT / folder).glob("*/__init__.py")]
    return {p.stem for p in [*found, *(packages if pattern == "*.py" else [])]}


def test_each_step_is_in_the_table():
    assert names_in("calibrate/steps", "*.py") == set(STEPS)
    assert names_in("calibrate/pipelines", "*.py") == set(PIPELINES)


@pytest.mark.parametrize("name", {**STEPS, **PIPELINES})
def test_a_step_lies_in_the_module_of_its_name(name):
    kind = "steps" if name in STEPS else "pipelines"
    assert find(name).__module__ == f"calbatch.calibrate.{kind}.{name}"


def test_each_step_has_a_page():
    assert names_in("docs/steps", "*.md") == {"index", *STEPS}


@pytest.mark.parametrize("name", STEPS)
def test_each_step_has_a_test(name):
    assert (ROOT / "tests" / "calibrate" / "steps" / f"test_{name}.py").is_file()


@pytest.mark.parametrize("name", {**STEPS, **PIPELINES})
def test_a_page_tells_every_parameter(name):
    page = ROOT / "docs" / "steps" / f"{name if name in STEPS else 'index'}.md"
    own = {
        parameter
        for parameter, declared in find(name).parameters().items()
        if parameter not in Step.parameters() and not isinstance(declared, Override)
    }
    told_of = set(re.findall(r"`(\w+)`", page.read_text() if page.is_file() else ""))
    assert own - told_of == set(), f"{named(page)} does not say what they do"


def test_the_index_tells_every_common_parameter():
    text = (ROOT / "docs" / "steps" / "index.md").read_text()
    assert set(Step.parameters()) - set(re.findall(r"`(\w+)`", text)) == set()


# -- pages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=named)
def test_examples_import_what_there_is(page):
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("calbatch"):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    if not hasattr(module, alias.name):
                        importlib.import_module(f"{node.module}.{alias.name}")


def test_examples_use_commands_that_there_are():
    shell = [block for page in PAGES for block in blocks(page, "sh")]
    used = {name for b in shell for name in re.findall(r"^calbatch ([a-z]+)", b, re.MULTILINE)}
    assert {"run", "params"} <= used <= set(cli.commands)


@pytest.mark.parametrize("page", [p for p in PAGES if "| tests/" in p.read_text()], ids=named)
def test_pages_quote_tests_that_exist(page):
    assert missing_tests(page.read_text(), ROOT) == []


@pytest.mark.parametrize(
    ("cell", "missing"),
    [
        ("tests/test_repository.py::test_gone", ["tests/test_repository.py::test_gone"]),
        (
            "tests/test_repository.py::TestGone::test_a",
            ["tests/test_repository.py::TestGone::test_a"],
        ),
        (
            "tests/test_repository.py::test_no_file_is_large, test_gone",
            ["tests/test_repository.py::test_gone"],
        ),
        ("tests/test_gone.py", ["tests/test_gone.py: no such file of tests"]),
        ("test_repository.py", ["test_repository.py: no such file of tests"]),
    ],
)
def test_a_quoted_test_that_does_not_exist_is_found(cell, missing):
    assert missing_tests(f"| a fault | its outcome | {cell} |", ROOT) == missing


def test_change_fragments_are_of_a_known_kind():
    fragments = {p.name for p in (ROOT / "changes").iterdir()} - {"README.md"}
    kinds = "|".join(FRAGMENTS)
    assert [n for n in fragments if not re.fullmatch(rf"(\+\w+|\d+)\.({kinds})\.md", n)] == []


# -- tests and time ----------------------------------------------------------------------------

CLOCKS = {f"tests/support/{name}.py" for name in ("waiting", "chaos", "damaged")}
"""Where clocks may be looked at: to wait for conditions, to kill at random moments, and to find
damage over which reading takes many times as long."""


def calls(node, *names) -> Iterator[int]:
    """Yield the lines where functions are called below a node, but not in functions within it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and ast.unparse(child.func).rpartition(".")[2] in names:
            yield child.lineno
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield from calls(child, *names)


def test_no_test_looks_at_clocks():
    """What is fast is measured in benchmarks/; what has to happen is waited for."""
    others = [p for p in TESTS if named(p) not in CLOCKS]
    assert [named(p) for p in others if any(m == "time" for _, m in imports(p))] == []
    timers = {named(p): [*calls(ast.parse(p.read_text()), "Timer", "sleep")] for p in others}
    assert {name: at for name, at in timers.items() if at} == {}


def test_no_test_waits_a_fixed_time_or_asserts_times():
    """Only what a test has others do may be slow, such as a step or a server."""
    found = []
    for path in TESTS:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found += [f"{named(path)}:{line} be_slow" for line in calls(node, "be_slow")]
            elif isinstance(node, ast.Assert):
                found += [f"{named(path)}:{line} now" for line in calls(node, "now")]
    assert found == [], "wait for a condition: support.waiting.eventually"


# -- releases ----------------------------------------------------------------------------------


def test_constraints_grant_what_is_asked_for():
    """On every Python that the file is made for; `python .ci/constraints.py` makes it anew."""
    command = [sys.executable, ROOT / ".ci" / "constraints.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_commands_of_the_readme_install_tested_releases():
    readme = (ROOT / "README.md").read_text()
    installs = re.findall(r"pip install.*", "\n".join(blocks(ROOT / "README.md", "sh")))
    assert len(re.findall(r"<!-- \w+ -->", readme)) == len(installs) == 2
    assert all(command.startswith("pip install -c constraints.txt ") for command in installs)


# -- imports -----------------------------------------------------------------------------------


def imports(path) -> Iterator[tuple[int, str]]:
    """Yield (level, module) of each import statement."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or ""


def test_ours_is_imported_as_calbatch():
    found = [(named(p), *imported) for p in [*SOURCES, *TESTS, *OTHERS] for imported in imports(p)]
    bare = [(p, m) for p, level, m in found if level or m.partition(".")[0] in FOLDERS]
    assert bare == [], "import calbatch.models, … instead"


def test_only_tiles_makes_graphs():
    machinery = ("dask.highlevelgraph", "dask.blockwise", "dask.delayed", "dask.core")
    users = {named(p) for p in SOURCES for _, m in imports(p) if m.startswith(machinery)}
    assert users == {"models/tiling/graphs.py"}


def test_no_file_names_a_place_on_somebodys_machine():
    place = re.compile(r"(?<![\w.])/(?:home|root|work|Users)/\w")
    mine = [p for p in [*SOURCES, *TESTS, *OTHERS, *PAGES] if p != Path(__file__)]
    mine += [ROOT / "pyproject.toml", *(p for p in (ROOT / ".ci").iterdir() if p.is_file())]
    assert [named(p) for p in mine if place.search(p.read_text())] == []
