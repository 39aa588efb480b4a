"""Time opening files of several model classes, and the same with stdatamodels.

    python benchmarks/opening.py
    python benchmarks/opening.py EXPOSURE_rate.fits

Opens the given files, or else a raw exposure, an image, a table of 200,000 rows, and a
`MultiSlitModel` of 200 slits with all of their arrays, which stdatamodels opens in a minute. Prints
the CPU time of each in the median, and the memory of the opened model.
"""

import argparse
import gc
import statistics
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tables import Table

from calbatch.calibrate.simulate import SimulationSpec, simulate
from calbatch.models import datamodels

ROUNDS, SECONDS = 9, 10.0
ROWS, SHAPE, SLIT = 200_000, (2048, 2048), (20, 50)
PLANES = ("data", "dq", "err", "var_poisson", "var_rnoise", "var_flat")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--slits", type=int, default=200)
    return parser.parse_args()


def fill_arrays(item: Any) -> None:
    """Fill all arrays of a slit."""
    for name, spec in item.schema.fields.items():
        setattr(item, name, np.ones(SLIT, spec.dtype or "f4"))


def make_files(folder: Path, slits: int) -> list[Path]:
    """Return a raw exposure, an image with its metadata, a table, and a list of slits."""
    (raw,) = simulate(folder, spec=SimulationSpec(shape=(256, 256)), exposures=1).exposures
    image = datamodels.ImageModel()
    image.update(datamodels.open(raw))
    for name in PLANES:
        setattr(image, name, np.ones(SHAPE, image.schema.fields[name].dtype))
    spectrum = datamodels.SpecModel()
    columns = spectrum.schema.fields["spec_table"].columns
    spectrum.spec_table = np.ones(ROWS, [(column.name, "f8") for column in columns])
    listed = datamodels.MultiSlitModel()
    listed.update(datamodels.open(raw))
    for number in range(slits):
        fill_arrays(listed.slits.add(name=f"S{number}", source_id=number))
    made = {"image": image, "table": spectrum, "slits": listed}
    saved = [m.save(folder / f"{name}.fits", fsync=False) for name, m in made.items()]
    return [raw, *saved]


def median_time(open_file: Callable[[], Any]) -> float:
    """Return the median CPU time of several rounds in milliseconds; of one if it takes long."""
    times: list[float] = []
    while len(times) < ROUNDS and sum(times) < SECONDS:
        gc.collect()
        start = time.process_time()
        model = open_file()
        times.append(time.process_time() - start)
        if hasattr(model, "close"):
            model.close()
    return statistics.median(times) * 1e3


def memory_of(path: Path) -> tuple[float, float]:
    """Return the memory of an opened model, and the most while it was opened, in megabytes."""
    gc.collect()
    tracemalloc.start()
    model = datamodels.open(path)
    gc.collect()
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del model
    return held / 1e6, most / 1e6


def main() -> None:
    from stdatamodels.jwst import datamodels as jwst_models

    warnings.simplefilter("ignore")  # of stdatamodels and its dependencies
    options = parse_arguments()
    table = Table(
        "Opening files",
        ["file", "class", "MB", "calbatch [ms]", "stdatamodels [ms]", "ratio", "held [MB]",
         "most [MB]"],
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for path in options.files or make_files(Path(folder), options.slits):
            kind = type(datamodels.open(path)).__name__
            ours = median_time(lambda at=path: datamodels.open(at))
            theirs = median_time(lambda at=path: jwst_models.open(at))
            size = path.stat().st_size / 1e6
            table.rows.append(
                [path.name, kind, size, ours, theirs, ours / theirs, *memory_of(path)]
            )
    print(table)


if __name__ == "__main__":
    main()
