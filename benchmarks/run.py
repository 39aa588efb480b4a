"""Measure the speed and memory of calbatch, compared with jwst 3.0.0.

    python benchmarks/run.py [--quick] [--only speed,memory,graph,shapes] [--out results.json]
    python benchmarks/run.py --only start,modes,cliff
    python benchmarks/run.py --only start --check benchmarks/ratios.json

Everything is measured in one run on the same two cores; the results are tables of medians and
ratios, which docs/performance.md explains. The sections start, modes and cliff take long, and are
measured only if they are named. --check compares the ratios to jwst with stored ones, and fails if
calbatch has become slower.
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
LONG = ("start", "modes", "cliff")
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
    parser.add_argument(
        "--check", type=Path, metavar="FILE", help="fail if ratios are worse than those in FILE"
    )
    parser.add_argument("--store", type=Path, metavar="FILE", help="store the ratios in FILE")
    return parser.parse_args()


def _in_memory() -> Path:
    shared = Path("/dev/shm")
    return shared if shared.is_dir() else Path(tempfile.gettempdir())


def parse_pair(text: str) -> tuple[int, int]:
    """Return two numbers separated by a comma, the smaller one first."""
    few, many = sorted(int(part) for part in text.split(","))
    return few, many


def make_setting(options: argparse.Namespace, section: str) -> Any:
    """Return the extent of a section."""
    from setting import Setting
    from start import REPEATS

    repeats = options.repeats
    if repeats is None:
        repeats = 1 if options.quick else REPEATS if section == "start" else 3
    jwst_repeats = options.jwst_repeats
    if jwst_repeats is None:
        jwst_repeats = repeats if section == "start" else 1
    return Setting(
        cache=options.cache,
        disk=options.disk,
        counts=parse_pair(options.counts or ("2,6" if options.quick else "8,24")),
        jwst_counts=parse_pair(options.jwst_counts or ("2,4" if options.quick else "4,8")),
        repeats=repeats,
        jwst_repeats=jwst_repeats,
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
    from ratios import check_ratios, load_ratios, store_ratios
    from setting import use_two_cores

    stored = load_ratios(options.check) if options.check else {}
    results: dict[str, Any] = {"about": describe_environment(use_two_cores())}
    print(*(f"{name}: {value}" for name, value in results["about"].items()), sep="\n")
    for name in options.only.split(","):
        setting = make_setting(options, name)
        tables = importlib.import_module(name).measure(setting)
        results[name] = [table.as_json() for table in tables]
        print(*tables, sep="\n", flush=True)
        if options.out:
            options.out.write_text(json.dumps(results, indent=1))
    if options.check:
        print(check_ratios(results, stored))
    if options.store:
        store_ratios(results, options.store)


if __name__ == "__main__":
    main()
