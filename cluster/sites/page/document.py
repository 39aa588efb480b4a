"""The page's document, which needs no other file, with its content security policy."""

from __future__ import annotations

from calbatch.cluster.display.html_pages import digest_element, read_page


def load_page() -> tuple[str, str]:
    """Return the page and its content security policy, which admits the page's own code only."""
    html = read_page(__package__, "page.html")
    script, style = (digest_element(html, name) for name in ("script", "style"))
    policy = (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return html, policy
