"""The repository's own rules: sizes, names, mirrored tests; see also test_suite.py, test_pages.py.

`pytest tests/test_repository.py -rP` prints the sizes. Exceptions, with their reasons, are in
`repository.toml` beside this file. Its lists only shrink: an entry that is no longer needed fails a
test, too.
"""

import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import repository
from support.repository import EXCEPTIONS, OTHERS, PAGES, ROOT, SOURCES, TESTS, relative

from calbatch.calibrate.parameters import Override
from calbatch.calibrate.registry import PIPELINES, STEPS, find
from calbatch.calibrate.step import Step

FOLDERS = repository.SOURCE_FOLDERS

MODULE_LINES = 400
FUNCTION_LINES = 60
FOLDER_MODULES = 20
REGISTRIES = {"calibrate/steps", "cluster/cli/commands"}
"""Folders with one module for each thing of a kind, which may hold any number."""
POSITIONAL_ARGUMENTS = 5
KERNELS = ("calibrate/steps/",)
"""Folders whose calls may have more positional arguments: kernels cannot take keywords."""
VARIADIC = ("Table", "TypeVar", "self._change", "stream", "super().redirect_request")
"""Functions that take any number of like arguments, or whose signature is a library's."""
EXCEPTION_LIMITS = {
    "untested": 0,
    "participles": 0,
    "adjectives": 1,
    "docstrings": 0,
    "helpers": 0,
}
SUBCOMMANDS = "cluster/cli/"
"""Folder whose functions are named for the subcommands of `calbatch`."""


# -- sizes -------------------------------------------------------------------------------------


def lengths(path) -> Iterator[tuple[str, int]]:
    """Yield each function of a module and its lines without signature and docstring."""
    for node in repository.functions(path.read_text()):
        yield f"{relative(path)}:{node.lineno} {node.name}", repository.body_lines(node)


def print_sizes(subject, counts):
    """Print the median, the 90th percentile and the maximum; return the first two."""
    tenths = statistics.quantiles(counts, n=10)
    sizes = f"median {tenths[4]:.0f}, p90 {tenths[8]:.0f}, max {max(counts)}"
    print(f"{subject}: {len(counts)}, {sizes}")  # noqa: T201 - shown by -rP
    return tenths[4], tenths[8]


def test_functions_are_short():
    found = [length for path in SOURCES for length in lengths(path)]
    median, ninth = print_sizes("lines per function", [count for _, count in found])
    assert [f"{name}: {count} lines" for name, count in found if count > FUNCTION_LINES] == []
    assert median <= 8
    assert ninth <= 25


def test_modules_are_short():
    found = {relative(p): len(p.read_text().splitlines()) for p in SOURCES}
    print_sizes("lines per module", list(found.values()))
    found |= {relative(p): len(p.read_text().splitlines()) for p in [*TESTS, *OTHERS]}
    assert {name: count for name, count in found.items() if count > MODULE_LINES} == {}


def test_folders_hold_few_modules():
    crowded = repository.crowded_folders(SOURCES, FOLDER_MODULES)
    assert {relative(f): n for f, n in crowded.items() if relative(f) not in REGISTRIES} == {}


def test_long_functions_and_crowded_folders_are_found():
    long = 'def f():\n    """Do it."""\n' + "    f()\n" * (FUNCTION_LINES + 1)
    assert [repository.body_lines(f) for f in repository.functions(long)] == [FUNCTION_LINES + 1]
    paths = [Path("models", "fits", f"{n}.py") for n in ("__init__", *range(FOLDER_MODULES))]
    assert repository.crowded_folders(paths, FOLDER_MODULES) == {}
    assert repository.crowded_folders([*paths, Path("models/fits/more.py")], FOLDER_MODULES)


def test_calls_have_few_positional_arguments():
    crowded = {
        relative(path): repository.crowded_calls(path.read_text(), POSITIONAL_ARGUMENTS, VARIADIC)
        for path in SOURCES
        if not relative(path).startswith(KERNELS)
    }
    assert {path: calls for path, calls in crowded.items() if calls} == {}


def test_calls_with_many_positional_arguments_are_found():
    call = f"Record({'1, ' * POSITIONAL_ARGUMENTS}1)"
    assert repository.crowded_calls(call, POSITIONAL_ARGUMENTS) == ["Record"]
    assert repository.crowded_calls(call, POSITIONAL_ARGUMENTS, ["Record"]) == []
    assert repository.crowded_calls("f(1, a=2, b=3, c=4, d=5, e=6)", POSITIONAL_ARGUMENTS) == []


def test_no_file_is_large():
    pictures = [p for p in (ROOT / "docs").rglob("*") if p.is_file() and "_build" not in p.parts]
    assert [relative(p) for p in [*SOURCES, *TESTS, *pictures] if p.stat().st_size > 200_000] == []


def test_no_file_names_a_place_on_one_machine():
    place = re.compile(r"(?<![\w.])/(?:home|root|work|Users)/\w")
    mine = [p for p in [*SOURCES, *TESTS, *OTHERS, *PAGES] if p != Path(__file__)]
    mine += [ROOT / "pyproject.toml", *(p for p in (ROOT / ".ci").iterdir() if p.is_file())]
    assert [relative(p) for p in mine if place.search(p.read_text())] == []


# -- names -------------------------------------------------------------------------------------


def module_name(path):
    return path.parent.name if path.stem == "__init__" else path.stem


def repeated_names(folder, pairs):
    """Return names that stand for two things in a folder, but for the documented exceptions."""
    found = repository.repeated_places(pairs)
    allowed = EXCEPTIONS["repeated"].get(folder, {})
    assert set(allowed) - set(found) == set(), "repository.toml: no longer repeated, remove them"
    return {name: places for name, places in found.items() if name not in allowed}


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_module_or_class_name_stands_for_two_things(folder):
    sources = [p for p in SOURCES if p.is_relative_to(ROOT / folder)]
    modules = [(module_name(p), relative(p)) for p in sources]
    common = {"errors", "base", "options"}
    classes = [(c, relative(p)) for p in sources for c in repository.classes(p.read_text())]
    pairs = [*(pair for pair in modules if pair[0] not in common), *classes]
    assert repeated_names(folder, pairs) == {}


def test_a_repeated_name_is_found():
    pairs = [
        ("cards", "models/fits/cards.py"),
        ("cards", "models/cards.py"),
        ("Plan", "models/a.py"),
    ]
    assert repository.repeated_places(pairs) == {
        "cards": ["models/fits/cards.py", "models/cards.py"]
    }
    assert repository.classes("class Plan:\n    class Inner: ...") == ["Plan"]


ADVICE = {
    "untested": "add a test of that name",
    "participles": "name it by an imperative, or by the noun that it returns",
    "adjectives": "name it by an imperative, or by the noun that it returns",
    "helpers": "name it by an imperative, or by the noun that it returns",
    "docstrings": "begin with `Return …` or another imperative; begin those of things with a noun",
}


@pytest.mark.parametrize("section", ADVICE)
def test_exceptions_are_known(section):
    """A public module has a test of its name; functions have plain names and docstrings."""
    [listed] = EXCEPTIONS[section].values()
    needed = repository.exceptions(ROOT)[section]
    assert needed - set(listed) == set(), ADVICE[section]
    assert set(listed) - needed == set(), "run: python tests/support/repository.py"


@pytest.mark.parametrize("section", ADVICE)
def test_the_lists_of_exceptions_do_not_grow(section):
    """Lower the limits together with the lists."""
    [listed] = EXCEPTIONS[section].values()
    assert listed == sorted(set(listed))
    assert len(listed) <= EXCEPTION_LIMITS[section]


def test_exceptions_that_are_not_needed_are_removed():
    text = 'modules = [\n    "a.py",\n    "b.py",\n]\n'
    assert repository.shrink(text, {"b.py"}) == 'modules = [\n    "b.py",\n]\n'


def test_docstrings_of_tests_and_scripts_are_clear():
    found = {relative(p): repository.vague_docstrings(p.read_text()) for p in [*TESTS, *OTHERS]}
    assert {path: names for path, names in found.items() if names} == {}, ADVICE["docstrings"]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('def f():\n    """Whether it is."""\ndef g():\n    """Return it."""', ["f"]),
        ('class A:\n    """How it is."""\n    b: int = 1\n    """What it is."""', ["A", "b"]),
        (
            '"""What is shared."""\nA = 1\n"""Where it is."""\nB = 2\n"""A place."""',
            ["A", "module"],
        ),
        ('"""A text."""\nA = """What else is free."""\nprint("Why")', []),
    ],
)
def test_vague_docstrings_are_found(source, found):
    assert repository.vague_docstrings(source) == found


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_functions_with_effects_begin_with_a_verb(path):
    """A function that returns nothing has effects; `IMPERATIVES` lists the verbs in use."""
    is_free = relative(path).startswith(SUBCOMMANDS)
    assert is_free or repository.effects_without_verbs(path.read_text()) == []


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_conditions_begin_with_a_verb(path):
    assert repository.unclear_conditions(path.read_text()) == []


def test_names_without_verbs_are_found():
    source = "def rows(x) -> None: ...\ndef add_rows(x) -> None: ...\ndef size(x) -> int: ..."
    assert repository.effects_without_verbs(source) == ["rows"]
    source = "def in_range(x) -> bool: ...\ndef is_near(x) -> bool: ...\ndef near(x): ..."
    assert repository.unclear_conditions(source) == ["in_range"]
    assert repository.bare_adjectives(source) == ["near"]
    assert repository.bare_adjectives("class A:\n @property\n def alone(self): ...") == []


@pytest.mark.parametrize("name", ["told", "_kept", "brought_along", "decided", "taken_up"])
def test_bare_participles_are_recognized(name):
    assert repository.bare_participles(f"def {name}(): ...") == [name]


def test_unclear_helpers_are_found():
    source = "def made(): ...\n@pytest.fixture\ndef begun(): ...\ndef make(): ..."
    assert repository.unclear_helpers(source) == ["made"]


@pytest.mark.parametrize(
    "name", ["read_header", "set_card", "run", "put", "sorted_names", "proceed", "open_file"]
)
def test_imperatives_and_nouns_are_no_bare_participles(name):
    assert repository.bare_participles(f"def {name}(): ...") == []
    assert repository.bare_participles("class A:\n @property\n def closed(self): ...") == []


# -- tests mirror the code ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "test"),
    [
        ("models/fits/cards.py", "tests/models/fits/test_cards.py"),
        ("calibrate/steps/jump/__init__.py", "tests/calibrate/steps/test_jump.py"),
        ("calibrate/steps/_ramps.py", None),
    ],
)
def test_a_module_has_its_test_in_the_folder_of_its_name(module, test):
    assert repository.mirrored_test(Path(module)) == (test and Path(test))


# -- one name for each step --------------------------------------------------------------------


def names_in(folder, pattern):
    found = [p for p in (ROOT / folder).glob(pattern) if not p.name.startswith("_")]
    packages = [p.parent for p in (ROOT / folder).glob("*/__init__.py")]
    return {p.stem for p in [*found, *(packages if pattern == "*.py" else [])]}


def test_each_step_is_in_the_table():
    assert names_in("calibrate/steps", "*.py") == set(STEPS)
    assert names_in("calibrate/pipelines", "*.py") == set(PIPELINES)


@pytest.mark.parametrize("name", {**STEPS, **PIPELINES})
def test_a_step_is_in_the_module_of_its_name(name):
    kind = "steps" if name in STEPS else "pipelines"
    assert find(name).__module__ == f"calbatch.calibrate.{kind}.{name}"


def test_each_step_has_a_page():
    assert names_in("docs/steps", "*.md") == {"index", *STEPS}


@pytest.mark.parametrize("name", STEPS)
def test_each_step_has_a_test(name):
    assert (ROOT / "tests" / "calibrate" / "steps" / f"test_{name}.py").is_file()


@pytest.mark.parametrize("name", {**STEPS, **PIPELINES})
def test_a_page_describes_every_parameter(name):
    page = ROOT / "docs" / ("steps" if name in STEPS else "pipelines") / f"{name}.md"
    own = {
        parameter
        for parameter, declared in find(name).parameters().items()
        if parameter not in Step.parameters() and not isinstance(declared, Override)
    }
    described = set(re.findall(r"`(\w+)`", page.read_text() if page.is_file() else ""))
    assert own - described == set(), f"{relative(page)} does not describe them"


def test_the_index_describes_every_common_parameter():
    text = (ROOT / "docs" / "steps" / "index.md").read_text()
    assert set(Step.parameters()) - set(re.findall(r"`(\w+)`", text)) == set()


# -- releases ----------------------------------------------------------------------------------


def test_constraints_satisfy_the_requirements():
    """On every supported Python; `python .ci/constraints.py` renews the file."""
    command = [sys.executable, ROOT / ".ci" / "constraints.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
