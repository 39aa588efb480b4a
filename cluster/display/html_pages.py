"""Pages of HTML that need no other file, with the functions of JavaScript that they share."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files

HELPERS = "@HELPERS@"
"""Mark in a page's script for the shared functions, which are in ``helpers.js``."""


def read_page(package: str, name: str) -> str:
    """Return a page of a package, with the shared functions in its script."""
    helpers = files("calbatch.cluster.display").joinpath("helpers.js").read_text(encoding="utf-8")
    page = files(package).joinpath(name).read_text(encoding="utf-8")
    return page.replace(HELPERS, helpers.strip())


def digest_element(page: str, name: str) -> str:
    """Return the source expression for the only element of a name in a content security policy.

    It is the SHA-256 digest of the element's text, which admits no other text.
    """
    (text,) = re.findall(rf"<{name}>(.*?)</{name}>", page, re.DOTALL)
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
