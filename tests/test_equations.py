"""The equations of kernels: numbered on a page, and cited beside the code."""

import re

import pytest
from support import equations
from support.repository import PAGES, ROOT, SOURCES, relative

# Text is searched, since every process collects the tests, and parsing all modules takes seconds.
KERNEL_MODULES = [
    p for p in SOURCES if re.search(r"^@(inner_)?(view_)?kernel$", p.read_text(), re.M)
]


def test_every_module_with_kernels_is_checked():
    assert [p for p in SOURCES if equations.kernels(p.read_text())] == KERNEL_MODULES


@pytest.mark.parametrize("path", KERNEL_MODULES, ids=relative)
def test_kernels_name_their_source(path):
    """Equations are cited by the numbers that they have on the page that the module names."""
    text = path.read_text()
    pages = equations.equation_pages(text)
    assert pages or re.search("Source: |Knuth|FITS", text), "name the page of the equations"
    numbered = {n for page in pages for n in equations.equations((ROOT / page).read_text())}
    assert equations.cited_equations(text) - numbered == set()


def test_each_equation_of_a_page_stands_beside_the_code():
    cited = set().union(*(equations.cited_equations(p.read_text()) for p in SOURCES))
    numbers = [n for page in PAGES for n in equations.equations(page.read_text())]
    assert sorted(set(numbers)) == sorted(numbers), "a number stands for two equations"
    assert set(numbers) - cited == set()


def test_equations_are_found():
    page = "- a = b (X1)\n\nAs in (X1), or\n\n- c > d (X2)\n"
    assert equations.equations(page) == ["X1", "X2"]
    source = '"""Equations: docs/steps/x.md."""\nf()  # (X1), and (X10; a paper)\n'
    assert equations.cited_equations(source) == {"X1", "X10"}
    assert equations.equation_pages(source) == {"docs/steps/x.md"}
    assert equations.kernels("@kernel\ndef f(): ...\ndef g(): ...") == ["f"]
