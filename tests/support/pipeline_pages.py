"""The generated part of the pages of pipelines: steps in order, references and products.

As a command, this renews the pages in ``docs/pipelines``::

    python tests/support/pipeline_pages.py
"""

import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from calbatch.calibrate.pars import parameter_types
from calbatch.calibrate.pipeline import Pipeline
from calbatch.calibrate.registry import PIPELINES, find

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "pipelines"
BEGIN, END = "<!-- Written by tests/support/pipeline_pages.py: -->\n", "<!-- until here. -->\n"
INSTRUMENTS = {
    "FGS": "FGS", "NIRCAM": "NIRCam", "NIRISS": "NIRISS", "NIRSPEC": "NIRSpec", "MIRI": "MIRI",
}  # fmt: skip


def page_of(pipeline: str) -> Path:
    """Return the page of a pipeline."""
    return FOLDER / f"{pipeline}.md"


def describe_pipeline(pipeline: str) -> str:
    """Return the generated part of a pipeline's page."""
    made = find(pipeline)()
    assert isinstance(made, Pipeline)
    kinds = sorted({kind for step in made.steps().values() for kind in step.reference_file_types})
    facts = {
        "inputs": ", ".join(f"`*_{suffix}.fits`" for suffix in made.takes),
        "products": ", ".join(f"`*_{suffix}.fits`" for suffix in made.suffixes),
        "references": ", ".join(f"`{kind}`" for kind in kinds),
        "parameter references": ", ".join(f"`{kind}`" for kind in sorted(parameter_types(made))),
    }
    lines = [*_order_table(made), "", "| | |", "|---|---|"]
    lines += [f"| {name} | {text} |" for name, text in facts.items()]
    return "".join(f"{line}\n" for line in lines)


def _order_table(pipeline: Pipeline) -> Iterator[str]:
    """Yield the lines of a table with a column for the instruments of each order."""
    orders: dict[tuple[str, ...], list[str]] = {}
    for instrument, name in INSTRUMENTS.items():
        order = tuple(map(_describe_step, pipeline.steps_for(instrument)))
        orders.setdefault(order, []).append(name)
    titles = ["all instruments"] if len(orders) == 1 else list(map(", ".join, orders.values()))
    yield f"| {' | '.join(['', *titles])} |"
    yield "|---" * (len(titles) + 1) + "|"
    for number, row in enumerate(zip_longest(*orders, fillvalue=""), 1):
        yield f"| {' | '.join([str(number), *row])} |"


def _describe_step(step) -> str:
    module = type(step).__module__.rpartition(".")[2]
    alias = "" if step.name == module else f"`{step.name}`: "
    return f"{alias}[{module}](../steps/{module}.md){' (off by default)' if step.skip else ''}"


def generated_part(page: str) -> str:
    """Return the part of a page between the comments; empty without."""
    found = re.search(f"{re.escape(BEGIN)}(.*?){re.escape(END)}", page, re.DOTALL)
    return found[1].strip("\n") + "\n" if found else ""


def renew_pages() -> None:
    """Write the generated parts of all pages."""
    for name in PIPELINES:
        page = page_of(name)
        before, _, rest = page.read_text().partition(BEGIN)
        after = rest.partition(END)[2]
        page.write_text(f"{before}{BEGIN}\n{describe_pipeline(name)}\n{END}{after}")


if __name__ == "__main__":
    renew_pages()
