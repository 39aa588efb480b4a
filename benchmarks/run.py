"""How fast and how large calbatch is, beside jwst 3.0.0 where that does the same.

    python benchmarks/run.py [--quick] [--only speed,memory,graph,shapes] [--out results.json]

Everything is measured in one run on the same two cores, and shown as tables of medians and ratios.
docs/performance.md says what the tables mean.
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
PACKAGES = ("calbatch", "jwst", "dask", "numba", "numpy", "astropy")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few exposures, each once")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, by commas")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the tables as JSON too")
    parser.add_argument(
        "--cache", type=Path, default=_in_memory() / "calbatch-benchmark",
        help="for inputs, which are kept, and products, which are not",
    )  # fmt: skip
    parser.add_argument("--disk", type=Path, default=Path.cwd(), help="a folder on a disk")
    parser.add_argument("--counts", metavar="N,M", help="exposures in short and long batches")
    parser.add_argument("--jwst-counts", metavar="N,M", help="the same, for jwst")
    parser.add_argument("--repeats", type=int, help="how often each batch is run")
    parser.add_argument("--jwst-repeats", type=int, help="the same, for jwst; 0 leaves it out")
    return parser.parse_args()


def _in_memory() -> Path:
    shared = Path("/dev/shm")
    return shared if shared.is_dir() else Path(tempfile.gettempdir())


def pair(text: str) -> tuple[int, int]:
    """Return two numbers written with a comma between them, the smaller one first."""
    few, many = sorted(int(part) for part in text.split(","))
    return few, many


def settings(given: argparse.Namespace) -> Any:
    from setting import Setting

    repeats = 1 if given.quick else 3
    return Setting(
        cache=given.cache,
        disk=given.disk,
        counts=pair(given.counts or ("2,6" if given.quick else "8,24")),
        jwst_counts=pair(given.jwst_counts or ("2,4" if given.quick else "4,8")),
        repeats=repeats if given.repeats is None else given.repeats,
        jwst_repeats=1 if given.jwst_repeats is None else given.jwst_repeats,
        quick=given.quick,
    )


def about(cores: int) -> dict[str, Any]:
    """Return what the results depend on."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {cores} cores used of {os.cpu_count()}",
        "python": platform.python_version(),
        "load": os.getloadavg(),
        **{name: version(name) for name in PACKAGES},
    }


def main() -> None:
    given = arguments()
    from setting import use_two_cores

    results: dict[str, Any] = {"about": about(use_two_cores())}
    print(*(f"{name}: {value}" for name, value in results["about"].items()), sep="\n")
    setting = settings(given)
    for name in given.only.split(","):
        tables = importlib.import_module(name).measure(setting)
        results[name] = [table.as_json() for table in tables]
        print(*tables, sep="\n", flush=True)
        if given.out:
            given.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
