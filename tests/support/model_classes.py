"""Write the page that shows which model classes of stdatamodels calbatch has.

As a command, this writes the page::

    python tests/support/model_classes.py
"""

from importlib.metadata import version
from pathlib import Path

from stdatamodels.jwst import datamodels as jwst_models
from stdatamodels.jwst.datamodels import _defined_models

from calbatch.models import datamodels

PAGE = Path(__file__).resolve().parents[2] / "docs" / "model_classes.md"
RENAMED = {"JwstDataModel": "DataModel"}
"""Classes with another name in calbatch."""

INTRODUCTION = """\
# Model classes

<!-- Written by tests/support/model_classes.py: do not edit. -->

stdatamodels {version} has {total} model classes for JWST files. calbatch has {ours} of them, under
the same names except for `DataModel`, which is called `JwstDataModel` there. Files of these classes
pass between the two without loss, which tests show in both directions. `OpenWindowsModel`, and
the classes for JSON files (`AssociationModel`, `Extract1dModel` and `MSAOperModel`), exist in
calbatch only.

`datamodels.open` opens a file of another class by the dimensions of its `SCI` array, if it has one,
and saving copies the extensions that no schema names; any other file is refused.

| class | kind | in calbatch |
|---|---|---|
"""


def make_page() -> str:
    """Return the text of the page."""
    rows = [
        (name, issubclass(cls, jwst_models.ReferenceFileModel), _is_ours(name))
        for name, cls in sorted(_defined_models.items())
    ]
    lines = [
        f"| `{name}` | {'reference' if is_reference else 'product'} | {'yes' if ours else 'no'} |\n"
        for name, is_reference, ours in rows
    ]
    counts = {"total": len(rows), "ours": sum(ours for *_, ours in rows)}
    return INTRODUCTION.format(version=version("stdatamodels"), **counts) + "".join(lines)


def _is_ours(name: str) -> bool:
    return RENAMED.get(name, name) in datamodels.__all__


if __name__ == "__main__":
    PAGE.write_text(make_page())
