"""The pages: their examples, and the names that they quote, exist."""

import ast
import pkgutil
import re
import shlex
import tomllib

import click
import pytest
from support import pages
from support.repository import EXCEPTIONS, PAGES, ROOT, SOURCES, relative

from calbatch.cluster.cli.app import cli
from calbatch.cluster.cli.options import ParameterCommand

FRAGMENTS = ("feature", "bugfix", "numerics", "removal", "doc")


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=relative)
def test_examples_import_existing_names(page):
    imported = [
        f"{node.module}.{alias.name}"
        for block in blocks(page, "python")
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom) and node.module.startswith("calbatch")
        for alias in node.names
    ]
    assert [path for path in imported if not is_importable(path)] == []


def is_importable(path):
    """Return whether a dotted path names a module, or a member of one."""
    try:
        return pkgutil.resolve_name(path) is not None
    except (ImportError, AttributeError):
        return False


def test_pages_and_notebooks_install_existing_extras():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    sources = [*PAGES, *ROOT.glob("docs/notebooks/*.ipynb")]
    named = {(relative(path), extra) for path in sources
             for extra in re.findall(r"calbatch\[(\w+)\]", path.read_text())}  # fmt: skip
    assert "slurm" in {extra for _, extra in named}
    assert [each for each in named if each[1] not in project["optional-dependencies"]] == []


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_pages_name_existing_objects(page):
    named = set(re.findall(r"`(calbatch(?:\.\w+)+)[`(]", page.read_text()))
    assert [path for path in sorted(named) if not is_importable(path)] == []


def test_an_object_that_does_not_exist_is_found():
    assert is_importable("calbatch.models.jit.kernel")
    assert not is_importable("calbatch.models.jit.gone")
    assert not is_importable("calbatch.gone.kernel")


def command_lines(text):
    """Yield the words of each `calbatch …` command of a shell block."""
    for line in re.findall(r"^calbatch (.*)", text, re.MULTILINE):
        yield shlex.split(line, comments=True)


def unknown_words(words):
    """Return the subcommand or the options of a command line that do not exist."""
    command, rest = cli, list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        command, rest = command.get_command(None, rest[0]), rest[1:]
        if command is None:
            return words
    known = {name for p in command.params for name in [*p.opts, *p.secondary_opts]} | {"--help"}
    if isinstance(command, ParameterCommand):
        rest = [word for word in rest if "=" not in word and "." not in word]
    options = (word.partition("=")[0] for word in rest if word.startswith("-"))
    return [option for option in options if option not in known]


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "sh")], ids=relative)
def test_examples_use_existing_commands(page):
    lines = [words for block in blocks(page, "sh") for words in command_lines(block)]
    assert [words for words in lines if unknown_words(words)] == []


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_commands_in_the_text_exist(page):
    """A word in capitals, such as COMMAND, stands for any command."""
    found = re.findall(r"`calbatch ((?!COMMAND)[^`|]+)`", page.read_text())
    lines = [shlex.split(words.rstrip("\\ ")) for words in found]
    assert [words for words in lines if unknown_words(words)] == []


@pytest.mark.parametrize(
    ("line", "unknown"),
    [
        ("calbatch vanish", ["vanish"]),
        ("calbatch refs vanish", ["refs", "vanish"]),
        ("calbatch status --vanish  # a comment", ["--vanish"]),
        ("calbatch run detector1 in/ -o out/ --jump.skip --level=1", []),
        ("calbatch run detector1 in/ --vanish", ["--vanish"]),
    ],
)
def test_commands_that_do_not_exist_are_found(line, unknown):
    [words] = command_lines(line)
    assert unknown_words(words) == unknown


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_pages_name_existing_files(page):
    assert pages.missing_files(page.read_text(), ROOT) == []


def test_a_named_file_that_does_not_exist_is_found():
    page = "See `models/errors.py`, `models/gone.py`, `calibrated/`, and `tests/models/`."
    assert pages.missing_files(page, ROOT) == ["models/gone.py"]


@pytest.mark.parametrize("page", [p for p in PAGES if "| tests/" in p.read_text()], ids=relative)
def test_pages_quote_existing_tests(page):
    assert pages.missing_tests(page.read_text(), ROOT) == []


@pytest.mark.parametrize(
    ("cell", "missing"),
    [
        ("tests/test_services.py::test_gone", "tests/test_services.py::test_gone"),
        ("tests/test_services.py::TestGone::test_a", "tests/test_services.py::TestGone::test_a"),
        ("tests/test_services.py, test_gone", "tests/test_services.py::test_gone"),
        ("tests/test_gone.py", "tests/test_gone.py: no such file of tests"),
        ("test_services.py", "test_services.py: no such file of tests"),
    ],
)
def test_a_quoted_test_that_does_not_exist_is_found(cell, missing):
    assert pages.missing_tests(f"| a fault | its outcome | {cell} |", ROOT) == [missing]


@pytest.mark.parametrize("page", [p for p in PAGES if "| message |" in p.read_text()], ids=relative)
def test_pages_quote_existing_messages(page):
    sources = (path.read_text() for path in SOURCES)
    assert pages.missing_messages(page.read_text(), sources) == []


def test_a_quoted_message_that_does_not_exist_is_found():
    page = "| message | what to do |\n|---|---|\n| `no … left: …` | wait |\n| `gone` | stop |\n"
    assert pages.missing_messages(page, ['f"no {room} left: {path}"']) == ["gone"]


def test_change_fragments_are_of_a_known_kind():
    fragments = {p.name for p in (ROOT / "changes").iterdir()} - {"README.md"}
    kinds = "|".join(FRAGMENTS)
    assert [n for n in fragments if not re.fullmatch(rf"(\+\w+|\d+)\.({kinds})\.md", n)] == []


def test_the_commands_of_the_readme_install_tested_releases():
    readme = (ROOT / "README.md").read_text()
    installs = re.findall(r"pip install.*", "\n".join(blocks(ROOT / "README.md", "sh")))
    assert len(re.findall(r"<!-- \w+ -->", readme)) == len(installs) == 2
    assert all(command.startswith("pip install -c constraints.txt ") for command in installs)


# -- the glossary ------------------------------------------------------------------------------

TERMS = {
    "attempt", "batch", "context", "DQ", "exposure", "frame", "grain", "group", "halo", "identity",
    "integration", "kernel", "ledger", "pipeline", "plan", "product", "ramp", "receipt",
    "reference", "site", "stamp", "step", "tile",
}  # fmt: skip
GLOSSARY = ROOT / "docs" / "glossary.md"


def test_the_glossary_defines_the_terms_of_the_project():
    defined = pages.glossary(GLOSSARY.read_text())
    assert TERMS - set(defined) == set()
    sections = map(pages.glossary, GLOSSARY.read_text().split("## "))
    assert [s for s in map(list, sections) if s != sorted(s, key=str.lower)] == []
    assert [term for term, meaning in defined.items() if len(meaning) < 20] == []


def test_files_that_the_glossary_names_contain_its_terms():
    places = pages.glossary_places(GLOSSARY.read_text())
    texts = {term: (ROOT / place).read_text() for term, place in places.items()}
    assert [term for term, text in texts.items() if not re.search(term, text, re.IGNORECASE)] == []


def test_code_uses_the_terms_of_the_glossary():
    """Words that have a better one in the glossary appear in no identifier."""
    avoided = EXCEPTIONS["words"]
    used = {relative(p): pages.uses_of(avoided, p.read_text()) for p in SOURCES}
    assert {path: names for path, names in used.items() if names} == {}


def test_an_avoided_word_is_found():
    source = "class TheBooks:\n    def note_try(self, wish): self.try_count = 0"
    assert pages.uses_of(["books", "try"], source) == ["TheBooks", "note_try", "try_count"]
    assert pages.uses_of(["book"], source) == []
