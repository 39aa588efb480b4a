"""Measure the speed and memory of calbatch, compared with jwst 3.0.0.

    python benchmarks/run.py [--quick] [--only speed,memory,graph,shapes] [--out results.json]
    python benchmarks/run.py --only modes,cliff

Everything is measured in one run on the same two cores; the results are tables of medians and
ratios, which docs/performance.md explains. The sections modes and cliff take hours, and are
measured only if they are named.
"""

import argparse
import importlib
import json
import os
import platform
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

SECTIONS = ("speed", "memory", "graph", "shapes")
LONG = ("modes", "cliff")
"""Sections that are measured only if they are named."""
PACKAGES = ("calbatch", "jwst", "dask", "numba", "numpy", "astropy")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few exposures, no repeats")
    parser.add_argument(
        "--only", default=",".join(SECTIONS),
        help=f"sections, separated by commas; by default without {' and '.join(LONG)}",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the tables as JSON")
    parser.add_argument(
        "--cache", type=Path, default=_in_memory() / "calbatch-benchmark",
        help="folder for inputs, which are kept, and products, which are removed",
    )  # fmt: skip
    parser.add_argument("--disk", type=Path, default=Path.cwd(), help="folder on a disk")
    parser.add_argument(
        "--counts", metavar="N,M", help="number of exposures in short and long batches"
    )
    parser.add_argument("--jwst-counts", metavar="N,M", help="the same for jwst")
    parser.add_argument("--repeats", type=int, help="number of runs of each batch")
    parser.add_argument("--jwst-repeats", type=int, help="the same for jwst; 0 omits jwst")
    return parser.parse_args()


def _in_memory() -> Path:
    shared = Path("/dev/shm")
    return shared if shared.is_dir() else Path(tempfile.gettempdir())


def parse_pair(text: str) -> tuple[int, int]:
    """Return two numbers separated by a comma, the smaller one first."""
    few, many = sorted(int(part) for part in text.split(","))
    return few, many


def make_setting(options: argparse.Namespace) -> Any:
    from setting import Setting

    repeats = 1 if options.quick else 3
    return Setting(
        cache=options.cache,
        disk=options.disk,
        counts=parse_pair(options.counts or ("2,6" if options.quick else "8,24")),
        jwst_counts=parse_pair(options.jwst_counts or ("2,4" if options.quick else "4,8")),
        repeats=repeats if options.repeats is None else options.repeats,
        jwst_repeats=1 if options.jwst_repeats is None else options.jwst_repeats,
        quick=options.quick,
    )


def describe_environment(cores: int) -> dict[str, Any]:
    """Return the properties of the machine and the versions on which results depend."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {cores} cores used of {os.cpu_count()}",
        "python": platform.python_version(),
        "load": os.getloadavg(),
        **{name: version(name) for name in PACKAGES},
    }


def main() -> None:
    options = parse_arguments()
    from setting import use_two_cores

    results: dict[str, Any] = {"about": describe_environment(use_two_cores())}
    print(*(f"{name}: {value}" for name, value in results["about"].items()), sep="\n")
    setting = make_setting(options)
    for name in options.only.split(","):
        tables = importlib.import_module(name).measure(setting)
        results[name] = [table.as_json() for table in tables]
        print(*tables, sep="\n", flush=True)
        if options.out:
            options.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
