"""The pages: their commands and code run as they stand, and steps and pipelines are described."""

import re
import runpy
import shlex
import subprocess
import sys

import pytest
from support import pipeline_pages
from support.doc_blocks import REASONS, RUN, read_blocks
from support.doc_pages import DONE
from support.doc_server import doc_server
from support.repository import PAGES, ROOT, relative

from calbatch.calibrate.registry import PIPELINES, STEPS, find
from calbatch.models import dq
from calbatch.models.schema.spec import load_schema

EXECUTED = [p for p in PAGES if any(b.is_executed for b in read_blocks(p.read_text()))]


@pytest.mark.ci
@pytest.mark.services
@pytest.mark.parametrize("page", EXECUTED, ids=relative)
def test_blocks_of_pages_run(page, tmp_path):
    output = doc_server().run_page(page, tmp_path / "work")
    assert output.rstrip().endswith(DONE), output


def test_blocks_that_do_not_run_have_a_known_reason():
    blocks = {page: list(read_blocks(page.read_text())) for page in PAGES}
    reasons = {
        f"{relative(page)}:{block.line}": block.comments_of("not run")
        for page, found in blocks.items()
        for block in found
        if block.language in RUN and not block.is_executed
    }
    assert {place: why for place, why in reasons.items() if not set(why) <= set(REASONS)} == {}
    assert set(REASONS) == {reason for why in reasons.values() for reason in why}
    assert len(reasons) < sum(block.is_executed for found in blocks.values() for block in found) / 4


def benchmarks():
    """Yield the words of each command of a page that measures something."""
    for page in PAGES:
        for block in read_blocks(page.read_text()):
            if block.language == "sh":
                found = re.findall(r"python (benchmarks/.*)", block.text)
                yield from (shlex.split(line, comments=True) for line in found)


OPTIONS = sorted(
    {(words[0], word) for words in benchmarks() for word in words[1:] if word.startswith("--")}
)


@pytest.mark.ci
@pytest.mark.parametrize("script", sorted({script for script, _ in OPTIONS}))
def test_benchmarks_have_the_options_that_pages_name(script):
    command = [sys.executable, ROOT / script, "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"--[a-z-]+", shown))
    assert [option for name, option in OPTIONS if name == script and option not in known] == []


def test_commands_are_in_blocks_that_are_executed():
    others = [
        f"{relative(page)}:{block.line}"
        for page in PAGES
        for block in read_blocks(page.read_text())
        if block.language not in RUN
        and re.search(r"^[$ ]*calbatch [a-z]", block.text, re.MULTILINE)
    ]
    assert others == []


PAGE = """
<!-- first: make b -->
<!-- file: c.py -->
```python
a
```

Some text.
<!-- not run: needs another host -->
```sh
d
```
"""


def test_comments_belong_to_the_next_block():
    python, shell = read_blocks(PAGE)
    assert (python.language, python.line, python.text) == ("python", 5, "a\n")
    assert python.comments_of("first") == ["make b"]
    assert python.comments_of("file") == ["c.py"]
    assert (python.is_executed, shell.is_executed) == (True, False)


def test_a_comment_without_a_block_is_found():
    with pytest.raises(ValueError, match="line 2: a block must follow"):
        list(read_blocks("<!-- not run: installs packages -->\nText.\n"))


def test_the_help_of_every_command_is_on_a_page():
    pytest.importorskip("sphinx", reason="the site is built with the extra dev")
    conf = runpy.run_path(str(ROOT / "docs" / "conf.py"))
    texts = dict(conf["help_texts"]())
    assert {"calbatch", "calbatch run", "calbatch refs sync"} < set(texts)
    assert "Usage: calbatch refs verify [OPTIONS] [NAME]..." in texts["calbatch refs verify"]
    assert "-h, --help" in texts["calbatch refs verify"]


# -- steps and pipelines -----------------------------------------------------------------------


def headings(page):
    return re.findall(r"^## (.*)", page, re.MULTILINE)


def rows(page):
    """Return the first two cells of the rows of all tables, by the first."""
    return dict(re.findall(r"^\| ([\w ]+?) \| (.*) \|$", page, re.MULTILINE))


@pytest.mark.parametrize("name", STEPS)
def test_pages_of_steps_have_formula_references_flags_and_agreement(name):
    page = (ROOT / "docs" / "steps" / f"{name}.md").read_text()
    wanted = ["What it does", "References and flags", "Against jwst"]
    assert [heading for heading in headings(page) if heading in wanted] == wanted
    step, facts = find(name), rows(page)
    assert sorted(re.findall(r"`(\w+)`", facts["references"])) == sorted(step.reference_file_types)
    keywords = load_schema("core.schema.yaml").keywords
    assert facts["status keyword"] == keywords[f"meta.cal_step.{step.cal_step}"].keyword
    flags = re.findall(
        r"\b[A-Z]+(?:_[A-Z]+)+\b|SATURATED|CHARGELOSS|PERSISTENCE",
        f"{facts['flags that it sets']}; {facts['flags that it uses']}",
    )
    assert [flag for flag in flags if flag not in dq.PIXEL] == []


@pytest.mark.parametrize("name", PIPELINES)
def test_pages_of_pipelines_describe_them_as_they_are(name):
    page = pipeline_pages.page_of(name).read_text()
    assert headings(page) == [
        "Steps", "Refused exposures", "Products", "Parameters", "Agreement with jwst",
    ]  # fmt: skip
    assert f"calbatch run {name} " in page
    assert pipeline_pages.generated_part(page) == pipeline_pages.describe_pipeline(name)
