"""Compare every kind of exposure with jwst, step by step, and write docs/agreement.md.

    python benchmarks/agreement.py [--full] [--missing] [--seconds N] [TEXT...]

Only kinds whose names contain every TEXT are compared. Those with full frames, which take jwst
minutes, are compared with ``--full`` only. ``--missing`` leaves out kinds that have a result.
Earlier results are kept in ``tests/agreement/table.json``.
"""

import argparse
import logging
import math
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support import jwst_schemas
from support.agreement_kinds import Kind, all_kinds
from support.agreement_page import PAGE, read_rows, render_page, write_rows
from support.agreement_rows import Row, compare_kind


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", nargs="*", help="texts that the names of kinds contain")
    parser.add_argument("--full", action="store_true", help="also compare full frames")
    parser.add_argument("--missing", action="store_true", help="only kinds without a result")
    parser.add_argument("--seconds", type=float, default=math.inf, help="start no kind after this")
    return parser.parse_args()


def choose_kinds(options: argparse.Namespace, rows: dict[str, Row]) -> list[Kind]:
    """Return the kinds that the arguments ask for."""
    return [
        kind
        for kind in all_kinds()
        if all(text in kind.name for text in options.text)
        and (options.full or not kind.is_costly)
        and not (options.missing and kind.name in rows)
    ]


def main() -> None:
    options, began = parse_arguments(), time.monotonic()
    warnings.simplefilter("ignore")  # deprecations of jwst and its dependencies
    logging.disable(logging.CRITICAL)  # jwst logs every parameter of every step
    jwst_schemas.share()
    for kind in choose_kinds(options, read_rows()):
        if time.monotonic() - began > options.seconds:
            break
        row = compare_kind(kind)
        rows = {**read_rows(), kind.name: row}  # another process may have stored rows
        write_rows(rows)
        PAGE.write_text(render_page(rows))
        passed = time.monotonic() - began
        print(f"{passed:6.0f} s  {kind.name}: {row.outcome}  {row.why}", flush=True)
    PAGE.write_text(render_page(read_rows()))  # also if no kind was chosen


if __name__ == "__main__":
    main()
