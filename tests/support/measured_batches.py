"""Batches with statistics that are written to a ledger without being run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from calbatch.cluster.folder import BatchFolder
from calbatch.cluster.ledger import Ledger, ProductRow
from calbatch.models.statistics.product_statistics import ProductStatistics
from calbatch.models.statistics.quick_look import QuickLook
from support.recorded import record_batch

PIXELS = 10_000
SCRIPT = "<script>alert(1)</script>"


def statistics_of(number: int, **changes: Any) -> ProductStatistics:
    """Return the statistics of an exposure: they scatter by a few percent."""
    rng = np.random.default_rng(number)
    values: dict[str, Any] = {
        "flags": {"dq": {"GOOD": PIXELS - 300, "JUMP_DET": 200 + number % 7, "SATURATED": 100}},
        "values": {"dq": PIXELS},
        "metadata": {"meta.exposure.primary_cosmic_rays": 0.5},
        "samples": 9000,
        "level": 1.0 + 0.02 * rng.normal(),
        "error": 0.1,
        "noise": 0.2 + 0.004 * rng.normal(),
        "quick_look": QuickLook.from_means(rng.normal(size=(96, 96))),
    }
    return ProductStatistics(**{**values, **changes})


def header_of(number: int, detector: str = "NRCA1") -> dict[str, Any]:
    """Return the header of an exposure, as the ledger keeps it."""
    return {
        "meta.instrument.name": "NIRCAM",
        "meta.instrument.detector": detector,
        "meta.instrument.filter": "F200W",
        "meta.exposure.type": "NRC_IMAGE",
        "meta.exposure.start_time": 60000.0 + number / 100,
    }


def record_measured(
    output: Path,
    statistics: Mapping[int, Sequence[ProductStatistics | None]],
    headers: Mapping[int, Mapping[str, Any]] | None = None,
    exposures: Mapping[int, Mapping[str, Any]] | None = None,
    state: str = "done",
) -> BatchFolder:
    """Write a batch to the ledger of a folder, with the statistics of its products.

    Parameters
    ----------
    output : Path
        The output folder.
    statistics : mapping
        By number, those of each product of an exposure.
    headers, exposures : mapping, optional
        By number, the headers, and columns of the exposures, that are not those by default.
    state : str
        The state of the batch.
    """
    rows, kept = [], []
    for number, found in statistics.items():
        columns = {
            "state": "done", "size": 5, "mtime_ns": 7, "cpu": 2.0, "seconds": 3.0, "peak": 2**29,
            "stages": '{"jump": 1.5, "ramp_fit": 0.5}', **(exposures or {}).get(number, {}),
        }  # fmt: skip
        products = [
            ProductRow(f"{output}/e{number}_{suffix}.fits", 5, 7, f"{output}-{number}-{suffix}")
            for suffix, _ in zip(("rate", "rateints"), found, strict=False)
        ]
        kept += [(p.digest, s) for p, s in zip(products, found, strict=True) if s is not None]
        rows.append({**columns, "products": products})
    folder = record_batch(output, rows, state)
    with Ledger(folder.state) as ledger:
        for number, row in enumerate(rows):
            header = (headers or {}).get(number, header_of(number))
            path = str(row.get("path", f"/in/e{number}_uncal.fits"))
            ledger.add_header(path, 5, 7, "digest", header)
        for digest, found_ in kept:
            ledger.add_statistics(digest, found_)
        ledger.commit()
    return folder


def record_outlying(output: Path, count: int = 30, outlier: int = 3, **more: Any) -> BatchFolder:
    """Write a batch in which the noise of one exposure is far too high."""
    found = {number: [statistics_of(number)] for number in range(count)}
    found[outlier] = [replace(found[outlier][0], noise=1.0)]
    return record_measured(output, found, **more)
