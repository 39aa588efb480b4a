"""Checks of the pages: the files, tests, words and messages that they name."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from support.repository import SOURCE_FOLDERS, Finding, parse


def quoted_tests(page: str) -> Iterator[tuple[str, str]]:
    """Yield (file, name) of each test that the tables of a page quote; the name may be empty.

    After ``tests/test_a.py::test_b`` a cell may go on with ``, test_c`` of the same file.
    """
    for line in page.splitlines():
        if not (line.startswith("|") and "test_" in line):
            continue
        file = ""
        for word in re.findall(r"[\w/.:]*\btest_[\w.:]+", line):
            path, _, names = word.rpartition("py::") if "py::" in word else (word, "", "")
            if names:
                file = f"{path}py"
            elif word.endswith(".py"):
                file = word
            else:
                names = word
            yield file, names


def missing_tests(page: str, root: Path) -> list[Finding]:
    """Return the quoted tests of a page that do not exist."""
    found = []
    for file, names in quoted_tests(page):
        path = root / file
        if not file.startswith("tests/") or not path.is_file():
            found.append(f"{file or names}: no such file of tests")
            continue
        tree: ast.Module | ast.ClassDef = parse(path.read_text())
        for name in filter(None, names.split("::")):
            inner = [node for node in tree.body if getattr(node, "name", None) == name]
            if not inner:
                found.append(f"{file}::{names}")
                break
            tree = inner[0]
    return found


def named_files(page: str) -> set[str]:
    """Return the files and folders of the repository that a page names in backticks."""
    tops = "|".join((*SOURCE_FOLDERS, "tests", "docs", "benchmarks", "changes", r"\.ci", "src"))
    return set(re.findall(rf"(?<!`)`((?:{tops})/[\w./-]*)`(?!`)", page))


def missing_files(page: str, root: Path) -> list[Finding]:
    """Return the files and folders that a page names and the repository lacks."""
    return sorted(name for name in named_files(page) if not (root / name).exists())


def glossary(page: str) -> dict[str, str]:
    """Return the terms of a glossary with their meanings: the first columns of its tables."""
    rows = (line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| "))
    return {row[0]: row[1] for row in rows if len(row) > 1 and row[0] != "Term"}


def glossary_places(page: str) -> dict[str, str]:
    """Return the file that defines each term of a glossary: the last columns of its tables."""
    return dict(re.findall(r"^\| (.+?) \| .* \| `(.+)` \|$", page, re.MULTILINE))


def identifiers(source: str) -> set[str]:
    """Return the names of a module's functions, classes, parameters and assigned attributes."""
    names = set()
    for node in ast.walk(parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return names


def words_in(name: str) -> list[str]:
    """Return the words of an identifier in lower case: ``RetryQueue`` and ``retry_queue`` alike."""
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_")
    return [part for part in parts if part]


def uses_of(words: Iterable[str], source: str) -> list[str]:
    """Return a module's identifiers that contain one of the words."""
    avoided = set(words)
    return sorted(name for name in identifiers(source) if avoided & set(words_in(name)))


def quoted_messages(page: str) -> list[str]:
    """Return the messages that the tables of a page quote, in a first column headed `message`."""
    found: list[str] = []
    for table in re.findall(r"^\| message \|.*\n((?:\|.*\n)*)", page, re.MULTILINE):
        found += re.findall(r"^\| `(.*?)` \|", table, re.MULTILINE)
    return found


def texts(source: str) -> Iterator[str]:
    """Yield the string constants of a module, those in f-strings included."""
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def missing_messages(page: str, sources: Iterable[str]) -> list[Finding]:
    """Return the quoted messages of a page that no module contains; ``…`` stands for any text."""
    known = {" ".join(text.split()) for source in sources for text in texts(source)}
    return [
        message
        for message in quoted_messages(page)
        if any(
            not any(part in text for text in known) for part in map(str.strip, message.split("…"))
        )
    ]
