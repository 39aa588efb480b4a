"""The repository's own rules: sizes, names, mirrored tests, imports; see also test_pages.py.

`pytest tests/test_repository.py -rP` prints the sizes. Exceptions, with their reasons, are in
`repository.toml` beside this file. Its lists only shrink: an entry that is no longer needed fails a
test, too.
"""

import ast
import gc
import os
import re
import statistics
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import groups, repository
from support.failures import drop_leftovers
from support.repository import EXCEPTIONS, PAGES, ROOT, SOURCES, relative

from calbatch.calibrate.parameters import Override
from calbatch.calibrate.registry import PIPELINES, STEPS, find
from calbatch.calibrate.step import Step

FOLDERS = repository.SOURCE_FOLDERS
TESTS = sorted((ROOT / "tests").rglob("*.py"))
OTHERS = [p for folder in ("benchmarks", "docs", ".ci") for p in (ROOT / folder).rglob("*.py")]

MODULE_LINES = 400
FUNCTION_LINES = 60
FOLDER_MODULES = 20
REGISTRIES = {"calibrate/steps", "cluster/cli/commands"}
"""Folders with one module for each thing of a kind, which may hold any number."""
POSITIONAL_ARGUMENTS = 5
KERNELS = ("calibrate/steps/",)
"""Where calls may have more positional arguments: kernels, which cannot take keywords."""
VARIADIC = ("Table", "TypeVar", "self._change", "stream", "super().redirect_request")
"""Functions that take any number of like arguments, or whose signature is a library's."""
EXCEPTION_LIMITS = {"untested": 0, "participles": 0, "adjectives": 1, "docstrings": 0}
SUBCOMMANDS = "cluster/cli/"
"""Where functions are named for the subcommands of `calbatch`."""


def test_groups_of_tests_stay_together(request):
    """Tests that share fixtures or services run in one process; see conftest.py."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.skip("there is one process")
    assert "@" in request.node.nodeid


def test_what_a_failed_test_leaves_open_warns_in_no_other_test():
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


# -- names -------------------------------------------------------------------------------------


def module_name(path):
    return path.parent.name if path.stem == "__init__" else path.stem


def repeated_names(folder, pairs):
    """Return names that stand for two things in a folder, but for the documented exceptions."""
    found = repository.repeated(pairs)
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
    assert repository.repeated(pairs) == {"cards": ["models/fits/cards.py", "models/cards.py"]}
    assert repository.classes("class Plan:\n    class Inner: ...") == ["Plan"]


ADVICE = {
    "untested": "add a test of that name",
    "participles": "name it by an imperative, or by the noun that it returns",
    "adjectives": "name it by an imperative, or by the noun that it returns",
    "docstrings": "begin with `Return …`, or with what the function does",
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


def test_vague_docstrings_are_found():
    source = 'def f():\n    """Whether it is."""\ndef g():\n    """Return it."""'
    assert repository.vague_docstrings(source) == ["f"]


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


@pytest.mark.parametrize("name", [*groups.FIRST, *groups.SPLIT])
def test_long_tests_that_are_listed_exist(name):
    assert (ROOT / "tests" / name).is_file()


@pytest.mark.parametrize("name", STEPS)
def test_each_step_has_a_test(name):
    assert (ROOT / "tests" / "calibrate" / "steps" / f"test_{name}.py").is_file()


@pytest.mark.parametrize("name", {**STEPS, **PIPELINES})
def test_a_page_describes_every_parameter(name):
    page = ROOT / "docs" / "steps" / f"{name if name in STEPS else 'index'}.md"
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


# -- equations ---------------------------------------------------------------------------------

# text is searched, since every process collects the tests, and parsing all modules takes seconds
KERNEL_MODULES = [p for p in SOURCES if re.search(r"^@(inner_)?kernel$", p.read_text(), re.M)]


def test_every_module_with_kernels_is_checked():
    assert [p for p in SOURCES if repository.kernels(p.read_text())] == KERNEL_MODULES


@pytest.mark.parametrize("path", KERNEL_MODULES, ids=relative)
def test_kernels_name_their_source(path):
    """Equations are cited by the numbers that they have on the page that the module names."""
    text = path.read_text()
    pages = repository.equation_pages(text)
    assert pages or re.search("Source: |Knuth|FITS", text), "name the page of the equations"
    numbered = {n for page in pages for n in repository.equations((ROOT / page).read_text())}
    assert repository.cited_equations(text) - numbered == set()


def test_each_equation_of_a_page_stands_beside_the_code():
    cited = set().union(*(repository.cited_equations(p.read_text()) for p in SOURCES))
    numbers = [n for page in PAGES for n in repository.equations(page.read_text())]
    assert sorted(set(numbers)) == sorted(numbers), "a number stands for two equations"
    assert set(numbers) - cited == set()


def test_equations_are_found():
    page = "- a = b (X1)\n\nAs in (X1), or\n\n- c > d (X2)\n"
    assert repository.equations(page) == ["X1", "X2"]
    source = '"""Equations: docs/steps/x.md."""\nf()  # (X1), and (X10; a paper)\n'
    assert repository.cited_equations(source) == {"X1", "X10"}
    assert repository.equation_pages(source) == {"docs/steps/x.md"}
    assert repository.kernels("@kernel\ndef f(): ...\ndef g(): ...") == ["f"]


# -- commits -----------------------------------------------------------------------------------


def check_subject(text, tmp_path):
    message = tmp_path / "message"
    message.write_text(text)
    command = [sys.executable, ROOT / ".ci" / "subjects.py", message]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "subject",
    [
        "models: refuse a negative shape",
        "docs: say where products are laid out; mend links\n\nA body.",
        "Merge branch 'topic'",
        "fixup! models: refuse a negative shape",
    ],
)
def test_commit_subjects_name_an_area_and_an_imperative(subject, tmp_path):
    done = check_subject(subject, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        ("refuse a negative shape", "area"),
        ("cluster, crds: check states", "area"),
        ("Models: refuse a negative shape", "area"),
        ("models: Refuse a negative shape", "lower case"),
        ("models: refused a negative shape", "imperative"),
        ("models: refusing a negative shape", "imperative"),
        ("models: refuse a negative shape.", "full stop"),
        (f"models: refuse {'a' * 72}", "72"),
        ("models: refuse it\nno empty line", "empty line"),
        ("", "area"),
    ],
)
def test_other_commit_subjects_are_refused(subject, reason, tmp_path):
    done = check_subject(subject, tmp_path)
    assert done.returncode == 1
    assert reason in done.stderr


# -- tests and time ----------------------------------------------------------------------------

CLOCKS = {f"tests/support/{name}.py" for name in ("waiting", "chaos", "damaged")}
"""Helpers that may read clocks: to wait for conditions, to kill at random moments, and to find
damage that makes reading many times slower."""


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


# -- releases ----------------------------------------------------------------------------------


def test_constraints_satisfy_the_requirements():
    """On every supported Python; `python .ci/constraints.py` renews the file."""
    command = [sys.executable, ROOT / ".ci" / "constraints.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# -- imports -----------------------------------------------------------------------------------


def imports(path) -> Iterator[tuple[int, str]]:
    """Yield (level, module) of each import statement."""
    for node in ast.walk(repository.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or ""


def test_the_design_page_names_every_layer():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    page = (ROOT / "docs" / "design.md").read_text()
    for contract in contracts["contracts"]:
        folder = contract.get("containers", [""])[0].removeprefix("calbatch").strip(".")
        if folder in FOLDERS:
            row = re.search(rf"^\| `{folder}/` \|.*$", page, re.MULTILINE).group()
            layers = set(re.findall(r"\w+", " ".join(contract["layers"]))) - {"__main__"}
            assert layers - set(re.findall(r"`(\w+)`", row)) == set()


def test_modules_are_imported_as_calbatch():
    found = [(relative(p), *i) for p in [*SOURCES, *TESTS, *OTHERS] for i in imports(p)]
    bare = [(p, m) for p, level, m in found if level or m.partition(".")[0] in FOLDERS]
    assert bare == [], "import calbatch.models, … instead"


def test_one_module_makes_graphs():
    machinery = ("dask.highlevelgraph", "dask.blockwise", "dask.delayed", "dask.core")
    users = {relative(p) for p in SOURCES for _, m in imports(p) if m.startswith(machinery)}
    assert users == {"models/tiling/blocks.py", "models/tiling/graphs.py"}


def test_one_module_calls_fsspec():
    users = {relative(p) for p in SOURCES for _, m in imports(p) if m.startswith("fsspec")}
    assert users == {"models/storage/stores.py"}


def test_no_file_names_a_place_on_somebodys_machine():
    place = re.compile(r"(?<![\w.])/(?:home|root|work|Users)/\w")
    mine = [p for p in [*SOURCES, *TESTS, *OTHERS, *PAGES] if p != Path(__file__)]
    mine += [ROOT / "pyproject.toml", *(p for p in (ROOT / ".ci").iterdir() if p.is_file())]
    assert [relative(p) for p in mine if place.search(p.read_text())] == []
