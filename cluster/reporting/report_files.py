"""Files of a report: a page for a browser, and JSON and CSV for programs."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from calbatch.cluster.display.html_pages import digest_element, read_page
from calbatch.cluster.display.quick_look_images import choose_format, draw_png
from calbatch.cluster.reporting.batch_report import BatchReport
from calbatch.cluster.reporting.entries import LABELS, METRICS, ExposureEntry

_COLUMNS = ("number", "exposure", "state", "reason", *LABELS, "time", "tries", "seconds", "memory")

BLOCK = 200
"""Number of images in an element of the page: opening it parses no more than it shows."""

_FORMULA = ("=", "+", "-", "@", "\t")
"""Beginnings of a text that a spreadsheet would compute."""


def make_json(report: BatchReport) -> str:
    """Return a report as one JSON object."""
    return json.dumps(report.describe(), allow_nan=False) + "\n"


def make_csv(report: BatchReport) -> str:
    """Return the exposures of a report as CSV: their metrics, and z-scores of these."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [metric.name for metric in METRICS]
    writer.writerow([*_COLUMNS, *names, *(f"z_{name}" for name in names), "products"])
    for each in report.describe()["exposures"]:
        cells = [each[name] for name in _COLUMNS]
        cells += [each["metrics"].get(name) for name in names]
        cells += [each["scores"].get(name) for name in names]
        cells.append(" ".join(product["path"] for product in each["products"]))
        writer.writerow(map(_make_cell, cells))
    return text.getvalue()


def _make_cell(value: Any) -> Any:
    """Return the value of a cell; a text that looks like a formula begins with an apostrophe."""
    is_formula = isinstance(value, str) and value.startswith(_FORMULA)
    return f"'{value}" if is_formula else value


def make_page(report: BatchReport) -> str:
    """Return a report as a page of HTML that needs no other file.

    Texts are in it as JSON only, and its scripts show them as text. Its policy lets a browser run
    and load nothing else.
    """
    contents = report.describe()
    images = _draw_images(report, contents)
    page = read_page("calbatch.cluster.reporting", "report.html")
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src {digest_element(page, 'style')}; script-src {digest_element(page, 'script')}"
    )
    blocks = (images[start : start + BLOCK] for start in range(0, len(images), BLOCK))
    scripts = (
        f'<script type="application/json" id="pictures-{n}">{_embed(block)}</script>'
        for n, block in enumerate(blocks)
    )
    parts = {"POLICY": policy, "CONTENTS": _embed(contents), "IMAGES": "\n".join(scripts)}
    return re.sub(r"@([A-Z]+)@", lambda match: parts[match[1]], page)


def _embed(values: Any) -> str:
    """Return values as JSON that can neither end its element nor begin a comment."""
    text = json.dumps(values, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _draw_images(report: BatchReport, contents: dict[str, Any]) -> list[str]:
    """Return the images of all products; those products get the positions of their images."""
    looks = list(_find_looks(report.entries, contents))
    form = choose_format(len(looks))
    contents["images"] = {
        "wanted": len(looks),
        "size": form.size if form else 0,
        "block": BLOCK,
    }
    images: list[str] = []
    if form is None:
        return images
    for look, product in looks:
        with suppress(ValueError):  # a damaged one is missing
            images.append(draw_png(look, form))
            product["image"] = len(images) - 1
            product["range"] = [look.low, look.high]
    return images


def _find_looks(entries: Any, contents: dict[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield each quick-look with the description of its product."""
    entry: ExposureEntry
    for entry, described in zip(entries, contents["exposures"], strict=True):
        for product, values in zip(entry.products, described["products"], strict=True):
            look = product.statistics.quick_look if product.statistics else None
            if look is not None:
                yield look, values


def write_file(path: Path, text: str) -> None:
    """Write a file under another name, and rename it when it is complete.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    part = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.part")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(part, flags, 0o666)  # less what the user's umask denies
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
