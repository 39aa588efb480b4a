"""The details of one exposure for the page of its batch: tries, log, products and times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from calbatch.cluster.display.monitor import describe_failed, shorten
from calbatch.cluster.exposure.messages import escape_lines
from calbatch.cluster.ledger import View
from calbatch.cluster.ledger.records import AttemptRow

MOST_TRIES = 10
"""Number of tries that are described: the latest."""

MOST_IMAGES = 6
"""Number of products whose quick-looks are shown: the latest."""

LONGEST_LOG = 20_000
"""Characters of the end of a try's log that are shown."""

DetailsCallback = Callable[[int], Mapping[str, Any]]
"""A function that returns the details of the exposure with a number."""


def describe_exposure(view: View, batch: str, number: int) -> Mapping[str, Any]:
    """Return the details of an exposure as values for JSON, with texts that are safe to show.

    Parameters
    ----------
    view : View
        The ledger.
    batch : str
        Name of the batch.
    number : int
        The exposure's position in the batch.

    Raises
    ------
    LedgerError
        If there is no such exposure.
    """
    batch_id = view.batch(batch).id
    row = view.exposure(batch_id, number)
    texts = describe_failed(number, row.path, row.reason)
    return {
        "number": number,
        "path": texts.path,
        "state": row.state,
        "reason": texts.reason,
        "note": shorten(row.note),
        "steps": {shorten(name): seconds for name, seconds in row.stages.items()},
        "products": [shorten(product.path) for product in view.products(row.id)],
        "images": _draw_images(view, batch_id, number),
        "tries": _describe_tries(view.attempts(row.id)[-MOST_TRIES:]),
    }


def _draw_images(view: View, batch: int, number: int) -> Sequence[Mapping[str, str]]:
    """Return the name of each product that has a quick-look, and its image as PNG in base 64."""
    from calbatch.cluster.display.quick_look_images import (
        draw_quick_looks,  # NumPy is slow to import
    )

    looks = view.quick_looks(batch, MOST_IMAGES, number=number)
    return [{"name": shorten(name), "png": png} for name, png in draw_quick_looks(looks)][::-1]


def _describe_tries(attempts: Sequence[AttemptRow]) -> list[Mapping[str, Any]]:
    return [
        {
            "number": attempt.number,
            "result": attempt.result,
            "worker": shorten(attempt.worker),
            "seconds": attempt.seconds,
            "memory": attempt.peak,
            "log": escape_lines(attempt.log[-LONGEST_LOG:]),
        }
        for attempt in attempts
    ]
