"""Checks of the repository itself: sizes, names, mirrored tests.

Each check returns its findings, so that a test can compare them with an empty list, and can run the
check on broken input. As a command, this removes entries from `repository.toml` that are no longer
needed::

    python tests/support/repository.py
"""

import ast
import functools
import itertools
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

Finding = str
SOURCE_FOLDERS = ("models", "crds_client", "calibrate", "cluster")
parse = functools.cache(ast.parse)


def sources(root: Path) -> list[Path]:
    """Return the modules of the package."""
    return sorted(path for folder in SOURCE_FOLDERS for path in (root / folder).rglob("*.py"))


ROOT = Path(__file__).resolve().parents[2]
SOURCES = sources(ROOT)
TESTS = sorted((ROOT / "tests").rglob("*.py"))
OTHERS = [p for folder in ("benchmarks", "docs", ".ci") for p in (ROOT / folder).rglob("*.py")]
"""Other modules of the repository."""
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXCEPTIONS = tomllib.loads((ROOT / "tests" / "repository.toml").read_text())


def relative(path: Path) -> str:
    """Return a path within the repository as text."""
    return str(path.relative_to(ROOT))


# -- sizes -------------------------------------------------------------------------------------


def functions(source: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function and method of a module."""
    for node in ast.walk(parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return a function's number of lines without signature and docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def crowded_folders(paths: Iterable[Path], limit: int) -> dict[Path, int]:
    """Return the folders with more modules than `limit`, ``__init__`` not counted."""
    counts: dict[Path, int] = defaultdict(int)
    for path in paths:
        counts[path.parent] += path.stem != "__init__"
    return {folder: count for folder, count in counts.items() if count > limit}


def crowded_calls(source: str, limit: int, variadic: Iterable[str] = ()) -> list[str]:
    """Return the calls with more than `limit` positional arguments, but those to `variadic`."""
    free = set(variadic)
    calls = (n for n in ast.walk(parse(source)) if isinstance(n, ast.Call) and len(n.args) > limit)
    return [name for name in (ast.unparse(call.func) for call in calls) if name not in free]


# -- names -------------------------------------------------------------------------------------


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


IRREGULAR = _words(
    "begun bent bought bound bred brought built caught chosen come cut dealt done drawn driven fed "
    "fallen felt forgotten fought found frozen given gone got grown held heard hidden hit hurt "
    "kept known laid led left lent let lit lost made meant met mistaken paid put risen run said "
    "seen sent set shaken shown shut sold sought spent split stood stuck sworn swept taken taught "
    "thought thrown told torn understood woken won worn woven written"
)
"""Irregular past participles."""
VERBS = _words("come cut hit hurt let put run set shut split")
"""Participles that are also a verb's imperative."""
NO_PARTICIPLES = _words("bed embed exceed feed need proceed red seed shed speed succeed")
PARTICLES = _words(
    "again along apart aside as at away back before beside by down for from in into of off on out "
    "over there to together twice under up with within"
)


def is_participle(word: str) -> bool:
    """Return whether a word is a past participle, and not an imperative as well."""
    regular = word.endswith("ed") and word not in NO_PARTICIPLES
    return word not in VERBS and (regular or word in IRREGULAR)


def is_bare_participle(name: str) -> bool:
    """Return whether a name is a participle alone, or begins with one and a particle."""
    first, *rest = name.strip("_").split("_")
    return is_participle(first) and (not rest or rest[0] in PARTICLES)


def _is_property(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    decorators = {ast.unparse(node).rpartition(".")[2] for node in function.decorator_list}
    return bool(decorators & {"property", "cached_property", "setter"})


def bare_participles(source: str) -> list[str]:
    """Return the names of the functions, properties excepted, that are bare participles."""
    callables = (node.name for node in functions(source) if not _is_property(node))
    return sorted(name for name in callables if is_bare_participle(name))


ADJECTIVES = _words(
    "above absent affordable alive alone anything bare between branching comparable conditional "
    "every finite foreign listening missing natural near numerical possible present "
    "relational relevant several single storable swapping temporary topological unusable "
    "unwritable usable writing wrong"
)
"""Adjectives, gerunds and the like, which name neither an action nor a result."""
QUALIFIERS = ADJECTIVES | _words("all any in mostly no not on only some true within")
"""First words of conditions that lack ``is_`` or ``are_``."""

IMPERATIVES = _words(
    "abandon abort add admit adopt allow announce append apply ask assign attempt begin calibrate "
    "call cancel cast change check choose claim clean clear close combine compare compile "
    "complete compute conclude configure connect continue convert copy count create decode defer "
    "digitise dilute discard drain draw drive drop emit end enter escape evaluate exchange expect "
    "extend fence fetch fill find finish fit flag flip flush follow forget grow handle hold "
    "inherit initialize insert install introduce invert join keep kill launch leave limit "
    "linearize load locate log look make mark measure merge migrate multiply note obtain omit "
    "open pass pause pick place plan predict prepare print prune publish put reach read receive "
    "record refresh refuse release remove rename reopen replace request requeue require reserve "
    "resolve restart restore retire retry revoke roll run saturate save say scale search secure "
    "send serve set settle setup share show shut sort split spread start stop submit subtract "
    "suggest sum suspect swap sync take teardown track transition translate update upload use "
    "validate verify visit wait warm warn watch weigh withdraw write"
)
"""Verbs that begin the names of functions with effects; others are added as they are needed."""
FREE = _words("get ipython main progress wrapper")
"""Established names of functions with effects; callbacks are ``on_…``, some kernels ``to_…``.

``get`` answers a request for a web page, ``_ipython_display_`` one of IPython's; ``progress`` shows
the progress, as in dask.
"""


def bare_adjectives(source: str) -> list[str]:
    """Return the names of the functions, properties excepted, that are bare adjectives."""
    callables = (node.name for node in functions(source) if not _is_property(node))
    return sorted(name for name in callables if name.strip("_") in ADJECTIVES)


def _is_fixture(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any("fixture" in ast.unparse(node) for node in function.decorator_list)


def unclear_helpers(source: str) -> list[str]:
    """Return the names of helpers of tests and scripts that are bare participles or adjectives.

    Fixtures are free: their names stand for values.
    """
    found = (node.name for node in functions(source) if not _is_property(node))
    fixtures = {node.name for node in functions(source) if _is_fixture(node)}
    unclear = (n for n in found if is_bare_participle(n) or n.strip("_") in ADJECTIVES)
    return sorted(set(unclear) - fixtures)


def unclear_conditions(source: str) -> list[str]:
    """Return the names of the functions that return a truth value, but name no condition."""
    found = (node.name for node in functions(source) if _returns(node, "bool"))
    return sorted(name for name in found if name.strip("_").split("_")[0] in QUALIFIERS)


def effects_without_verbs(source: str) -> list[str]:
    """Return the names of the functions that return nothing and do not begin with a verb."""
    allowed = IMPERATIVES | FREE | {"on", "to"}
    found = (node.name for node in functions(source) if _returns(node, "None"))
    plain = (name for name in found if not name.startswith("__"))
    return sorted(name for name in plain if name.strip("_").split("_")[0] not in allowed)


def _returns(function: ast.FunctionDef | ast.AsyncFunctionDef, kind: str) -> bool:
    result = function.returns
    return not _is_property(function) and result is not None and ast.unparse(result) == kind


VAGUE = _words("give have how what whatever when where whether which who whoever whose why")
"""First words of docstrings that name neither the thing nor its action."""


def docstrings(source: str) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of the docstrings of a module, its classes, functions and attributes."""
    for node in ast.walk(parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield getattr(node, "name", "module"), ast.get_docstring(node) or ""
        if isinstance(node, (ast.Module, ast.ClassDef)):
            for assigned, text in itertools.pairwise(node.body):
                if isinstance(assigned, (ast.Assign, ast.AnnAssign)) and _is_text(text):
                    target = getattr(assigned, "target", None) or assigned.targets[0]
                    yield ast.unparse(target), text.value.value


def _is_text(node: ast.stmt) -> bool:
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def vague_docstrings(source: str) -> list[str]:
    """Return the names of everything whose docstring begins with a vague word."""
    firsts = ((name, text.split(maxsplit=1)[:1]) for name, text in docstrings(source))
    return sorted(name for name, first in firsts if first and first[0].lower() in VAGUE)


def classes(source: str) -> list[str]:
    """Return the names of a module's own classes."""
    return [node.name for node in parse(source).body if isinstance(node, ast.ClassDef)]


def repeated_places(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the names that stand in several places, from (name, place) pairs."""
    places: dict[str, list[str]] = defaultdict(list)
    for name, place in pairs:
        places[name].append(place)
    return {name: where for name, where in sorted(places.items()) if len(where) > 1}


# -- imports -----------------------------------------------------------------------------------


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (level, module) of each import statement of a module."""
    for node in ast.walk(parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or ""


# -- tests -------------------------------------------------------------------------------------


def only_imports(source: str) -> bool:
    """Return whether a module holds nothing but a docstring, imports and ``__all__``."""
    passive = (ast.Import, ast.ImportFrom, ast.Expr)
    rest = [node for node in parse(source).body if not isinstance(node, passive)]
    return all(ast.unparse(node).startswith("__all__ = ") for node in rest)


def mirrored_test(module: Path) -> Path | None:
    """Return the path of the test of a module's name; None for private parts and empty packages.

    Both paths are relative to the repository. A package is tested as its folder is named.
    """
    if any(part.startswith("_") and part != "__init__.py" for part in module.parts):
        return None
    if module.stem == "__init__":
        module = module.parent
    return Path("tests", module.parent, f"test_{module.stem}.py")


# -- exceptions --------------------------------------------------------------------------------


@functools.cache
def exceptions(root: Path) -> dict[str, set[str]]:
    """Return the entries that `repository.toml` has to list, by section."""
    found: dict[str, set[str]] = {
        name: set() for name in ("untested", "participles", "adjectives", "docstrings", "helpers")
    }
    for path in sources(root):
        text, module = path.read_text(), path.relative_to(root)
        found["participles"] |= {f"{module}:{name}" for name in bare_participles(text)}
        found["adjectives"] |= {f"{module}:{name}" for name in bare_adjectives(text)}
        found["docstrings"] |= {f"{module}:{name}" for name in vague_docstrings(text)}
        test = mirrored_test(module)
        plain = path.stem == "__init__" and only_imports(text)
        if test is not None and not plain and not (root / test).is_file():
            found["untested"].add(str(module))
    for path in [*TESTS, *OTHERS]:
        found["helpers"] |= {f"{relative(path)}:{n}" for n in unclear_helpers(path.read_text())}
    return found


def shrink(text: str, needed: set[str]) -> str:
    """Return the text of `repository.toml` without entries that are not needed."""
    entries = re.compile(r'    "(.*)",\n')
    return entries.sub(lambda match: match[0] if match[1] in needed else "", text)


def main() -> None:
    """Remove entries from `repository.toml` that are no longer needed; print how many remain."""
    file = ROOT / "tests" / "repository.toml"
    found = exceptions(ROOT)
    file.write_text(shrink(file.read_text(), set().union(*found.values())))
    print({section: len(names) for section, names in found.items()})  # noqa: T201 - its output


if __name__ == "__main__":
    main()
