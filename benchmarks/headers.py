"""Time reading the metadata of one exposure's headers, beside astropy's reading of the same cards.

    python benchmarks/headers.py EXPOSURE.fits

A batch reads the headers of each of its exposures: 100,000 times a few milliseconds.
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


def fastest(work: Callable[[], object]) -> float:
    """Return the least CPU time of some rounds, in milliseconds."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
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

    print(f"{cards} cards in {len(headers)} headers, CPU milliseconds, the least of {ROUNDS}:")
    print(f"  metadata from headers  {fastest(lambda: meta_from_headers(schema, headers)):8.2f}")
    print(f"  layout of the file     {fastest(lambda: read_layout(path)):8.2f}")
    print(f"  a model is opened      {fastest(lambda: datamodels.open(path).meta):8.2f}")
    print(f"  astropy, every card    {fastest(astropy):8.2f}")


if __name__ == "__main__":
    main()
