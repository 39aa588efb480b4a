"""HTML as a browser's reader sees it: elements, attributes and text."""

from html.parser import HTMLParser

INLINE = {"a", "b", "strong"}
"""Elements within a line."""


class ReadHtml(HTMLParser):
    """The elements, attributes and text of some HTML; each element's text is on a line.

    Parameters
    ----------
    html : str
        The HTML.
    """

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.text = [], {}, "\n"
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        """Remember an element."""
        self.tags.append(tag)
        self.attributes |= dict(attributes)

    def handle_endtag(self, tag):
        """End a line."""
        if tag not in INLINE and not self.text.endswith("\n"):
            self.text += "\n"

    def handle_data(self, data):
        """Remember text."""
        self.text += data


def read_html(html):
    """Return the elements, attributes and text of some HTML."""
    return ReadHtml(html)
