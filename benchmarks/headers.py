"""Time reading the metadata in the headers of an exposure, and the same cards with astropy.

    python benchmarks/headers.py EXPOSURE.fits

A batch reads the headers of all its exposures, at a few milliseconds each.
"""

import sys
import time
from collections.abc import Callable

from astropy.io import fits

from calbatch.models import datamodels
from calbatch.models.fits.headers import meta_from_headers
from calbatch.models.fits.layout import read_layout
from calbatch.models.schema.spec import load_schema

ROUNDS = 50


def shortest_time(action: Callable[[], object]) -> float:
    """Return the shortest CPU time of several rounds in milliseconds."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return min(times) * 1e3


def main() -> None:
    path = sys.argv[1]
    schema = load_schema("level1b")
    with fits.open(path) as hdus:
        headers = [(h.name, h.ver, h.header.tostring(padding=False)) for h in hdus]
        cards = sum(len(hdu.header) for hdu in hdus)

    def astropy() -> None:
        with fits.open(path) as hdus:
            _ = [list(hdu.header.items()) for hdu in hdus]

    print(f"{cards} cards in {len(headers)} headers, CPU milliseconds, shortest of {ROUNDS}:")
    print(
        f"  metadata from headers  {shortest_time(lambda: meta_from_headers(schema, headers)):8.2f}"
    )
    print(f"  layout of the file     {shortest_time(lambda: read_layout(path)):8.2f}")
    print(f"  opening a model        {shortest_time(lambda: datamodels.open(path).meta):8.2f}")
    print(f"  astropy, all cards     {shortest_time(astropy):8.2f}")


if __name__ == "__main__":
    main()
