"""Values of an ASDF tree whose tag gives them a meaning beyond plain data.

Source: ASDF standard 1.6.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CORE = "tag:stsci.edu:asdf/core/"
"""Start of the tags of ASDF itself."""

ARRAY = f"{CORE}ndarray-"
"""Start of the tag of an array."""

_WORDS_OF_TRANSFORMS = ("/transform/", "/jwst_pipeline/", ":jwst_pipeline/", "gwcs/")


class TaggedText(str):
    """Text with a tag, such as a unit.

    Parameters
    ----------
    text : str
        The text.
    tag : str
        The tag in full.
    """

    tag: str

    def __new__(cls, text: str, tag: str) -> TaggedText:
        """Return the text with its tag."""
        made = super().__new__(cls, text)
        made.tag = tag
        return made

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]  # with its tag
        return str(self), self.tag


@dataclass(frozen=True)
class TaggedValue:
    """A mapping or sequence with a tag, of which nothing has been made yet.

    Attributes
    ----------
    tag : str
        The tag in full.
    value : dict or list
        The data below it, in which arrays are `calbatch.models.asdf.asdf_file.StoredArray`.
    """

    tag: str
    value: Any

    @property
    def kind(self) -> str:
        """The tag's last part without version, such as ``polynomial``."""
        return self.tag.rpartition("/")[2].rpartition("-")[0]

    @property
    def is_transform(self) -> bool:
        """True for the tag of a transform of coordinates, or of a part of a WCS."""
        return any(word in self.tag for word in _WORDS_OF_TRANSFORMS)


def is_plain_tag(tag: str) -> bool:
    """Return whether a tag says nothing that plain data do not."""
    if tag.startswith(CORE):
        return not tag.startswith((ARRAY, f"{CORE}complex-", f"{CORE}integer-"))
    return tag.startswith("tag:yaml.org,2002:") or not tag.startswith(("tag:", "asdf://"))
