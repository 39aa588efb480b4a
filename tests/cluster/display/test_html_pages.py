"""Pages of HTML that share functions, and their content security policies."""

import base64
import hashlib
import re

import pytest

from calbatch.cluster.display.html_pages import HELPERS, digest_element, read_page

PAGES = {
    "report.html": "calbatch.cluster.reporting",
    "page.html": "calbatch.cluster.sites.page",
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_each_shared_function_once(name):
    page = read_page(PAGES[name], name)
    assert HELPERS not in page
    defined = re.findall(r"^(?:async )?function (\w+)", page, re.MULTILINE)
    assert {"make", "fill", "format", "duration", "bytes"} < set(defined)
    assert len(defined) == len(set(defined))


def test_the_digest_is_that_of_the_text():
    digest = base64.b64encode(hashlib.sha256(b" let a = 1;\n").digest()).decode()
    page = "<script type='other'>b</script><script> let a = 1;\n</script>"
    assert digest_element(page, "script") == f"'sha256-{digest}'"


def test_a_page_with_two_such_elements_has_no_digest():
    with pytest.raises(ValueError):  # noqa: PT011  the words are Python's
        digest_element("<style>a</style><style>b</style>", "style")
