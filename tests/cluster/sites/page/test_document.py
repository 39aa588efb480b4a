"""The page's document and its content security policy."""

import re

from calbatch.cluster.sites.page.document import load_page


def test_the_policy_admits_one_script_and_one_style():
    html, policy = load_page()
    assert html.startswith("<!DOCTYPE html>")
    assert len(re.findall(r"'sha256-[A-Za-z0-9+/]{43}='", policy)) == 2
