"""`calbatch plan`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain
from typing import Any

import dask
from rich.table import Table

from calbatch.cluster.batch.python_api import build_order
from calbatch.cluster.batch.registering import find_inputs, select_failed
from calbatch.cluster.display.fetch_progress import defer_fetching
from calbatch.cluster.display.progress import megabytes
from calbatch.cluster.exposure.terminal import Console
from calbatch.cluster.folder import state_of
from calbatch.cluster.ledger import LedgerError, View
from calbatch.cluster.planning.forecast import ExposureGroup, Forecast, forecast
from calbatch.cluster.planning.identity import ReferenceChecksums
from calbatch.cluster.planning.inputs import parse_place, total_bytes
from calbatch.cluster.planning.planner import Planner, open_references
from calbatch.cluster.planning.resolving import Resolution
from calbatch.cluster.sites import placement
from calbatch.models.storage.location import Location


def main(
    pipeline: str,
    inputs: Sequence[str],
    *,
    output_dir: str | None,
    **options: Any,
) -> int:
    """Print what running a batch would take; return 1 when some exposures would fail."""
    step, order = build_order(pipeline, inputs, output_dir, **options)
    output = parse_place(step.output_dir or ".")
    step.output_dir = str(output)
    paths = find_inputs(step, order)
    console = Console(soft_wrap=True, markup=False, highlight=False)
    with ExitStack() as stack:
        books = _books(stack, output)
        sums = ReferenceChecksums(books.find_checksum, lambda *kept: None) if books else None
        if order.rerun.only_failed and books:
            paths = select_failed(paths, books, output)
        planner = Planner(
            step,
            open_references(step, order.context),
            date=order.exposure.date,
            use_pars=order.pars,
            fetch=partial(defer_fetching, console=console),
            history=books,
            checksums=sums,
            rerun=order.rerun,
        )
        with dask.config.set(order.exposure.dask_config()):
            found = forecast(chain.from_iterable(planner.plan_blocks(enumerate(paths))))
        if sums:
            sums.close()
    place = placement.choose_place(order.site, len(paths), total_bytes(paths))
    _print(step.name, paths, planner.resolution, found, place, console)
    return 1 if found.errors else 0


def _books(stack: ExitStack, output: Location) -> View | None:
    """Return the ledger of the products' folder, where there is one."""
    try:
        return stack.enter_context(View(state_of(output)))
    except LedgerError:
        return None


def _print(
    name: str,
    paths: Sequence[Location],
    rules: Resolution,
    found: Forecast,
    place: placement.Place,
    console: Console,
) -> None:
    count = len(paths)
    size = megabytes(total_bytes(paths))
    context = f", context {rules.context} ({rules.context_reason})" if rules.context else ""
    console.print(f"{name}: {count} exposure{'s' * (count != 1)}, {size}{context}")
    if found.kept:
        console.print(f"{found.kept} done before and intact: they stay as they are")
    for path, why in found.changed.items():
        console.print(f"done again: {path}: {why}")
    if found.unknown:
        console.print(f"{found.unknown} more to be told of when their references are here")
    for reference, members in sorted(rules.parameters.items()):
        console.print(f"parameters from {reference}: {members} exposure{'s' * (members != 1)}")
    if found.references:
        console.print(_references(found))
    if found.groups:
        console.print(_kinds(found))
        _memory(found, place, console)
    for reason in found.errors.values():
        console.print(f"would fail: {reason}", style="red")


def _references(found: Forecast) -> Table:
    table = Table("type", "reference", "size", "exposures")
    for (name, path), count in sorted(found.references.items(), key=lambda item: item[0][0]):
        size = "" if path is None else megabytes(path.stat().st_size)
        table.add_row(name, "N/A" if path is None else path.name, size, str(count))
    return table


def _kinds(found: Forecast) -> Table:
    table = Table("kind", "exposures", "tiles", "rows", "budget", "products")
    for kind in found.groups:
        budget = kind.budget
        cells = (kind.members, budget.tiles, budget.rows)
        products = megabytes(kind.output_bytes * kind.members)
        table.add_row(kind.title, *map(str, cells), megabytes(budget.bytes), products)
    return table


def _memory(found: Forecast, place: placement.Place, console: Console) -> None:
    dearest = max(found.groups, key=lambda kind: kind.budget.bytes)
    console.print(f"the dearest tile has {_parts(dearest)}")
    if not place.workers:
        return
    local = place.scheduler == "local"
    flying = place.workers if local else min(place.workers, dearest.budget.tiles)
    many = f"{flying} tiles at a time" if flying > 1 else "a tile at a time"
    where = f"in {place.workers} worker processes" if local else "in this process"
    total = megabytes(dearest.budget.bytes * flying)
    kept = _reference_memory(place) if local else 0
    more = f", up to {megabytes(kept)} of references kept between exposures" if kept else ""
    console.print(f"{many}, {where}: {total} of pixels{more}, besides the software")


def _reference_memory(place: placement.Place) -> int:
    """Return how many bytes of references all workers of this machine may keep."""
    from distributed.system import MEMORY_LIMIT

    from calbatch.cluster.sites.local import reference_bytes

    return place.workers * reference_bytes(MEMORY_LIMIT // place.workers, place.grain)


def _parts(kind: ExposureGroup) -> str:
    budget = kind.budget
    rows = budget.rows + 2 * budget.halo
    names = {
        "inputs": "input",
        "references": "references",
        "scratch": "scratch",
        "outputs": "output",
    }
    parts = [f"{megabytes(getattr(budget.row, n) * rows)} of {w}" for n, w in names.items()]
    return f"{', '.join(parts)}: {megabytes(budget.bytes)}"
