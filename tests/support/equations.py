"""Kernels, and the equations that they cite."""

import ast
import re

from support.repository import functions


def kernels(source: str) -> list[str]:
    """Return the names of the compiled functions of a module."""
    compiled = {"kernel", "inner_kernel", "view_kernel", "inner_view_kernel"}
    return [
        node.name
        for node in functions(source)
        if compiled & {ast.unparse(decorator) for decorator in node.decorator_list}
    ]


def equations(page: str) -> list[str]:
    """Return the numbers of a page's equations, which are items of lists that end with them."""
    return re.findall(r"^ *- .*\(([A-Z]\d+)\)$", page, re.MULTILINE)


def cited_equations(source: str) -> set[str]:
    """Return the numbers of the equations that a module cites: ``(F1)``, ``(F1; a paper)``."""
    return set(re.findall(r"\(([A-Z]\d{1,2})(?:\)|; |\sof\s)", source))


def equation_pages(source: str) -> set[str]:
    """Return the pages of the documentation that a module names."""
    return set(re.findall(r"docs/[\w/]+\.md", source))
