"""`calbatch plan`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import dask
from rich.table import Table

from calbatch.calibrate.step import Step
from calbatch.cluster.batch.arguments import BatchArguments
from calbatch.cluster.batch.liveness import find_driven
from calbatch.cluster.batch.order import Order
from calbatch.cluster.batch.python_api import build_order
from calbatch.cluster.batch.registering import find_inputs, select_failed
from calbatch.cluster.cli.commands._plan_measuring import explain_unmeasured, measure_examples
from calbatch.cluster.cli.commands._plan_records import describe_estimate, describe_needs
from calbatch.cluster.display.fetch_progress import defer_fetching
from calbatch.cluster.display.plain_lines import print_json_lines
from calbatch.cluster.display.quantities import describe_about, megabytes
from calbatch.cluster.driver.deaths import has_killed
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.terminal import Console, print_text
from calbatch.cluster.folder import find_registered, state_of
from calbatch.cluster.ledger import DamagedLedgerError, LedgerError, View
from calbatch.cluster.planning.dependencies import Dependencies
from calbatch.cluster.planning.experience import Estimate, estimate, find_experience
from calbatch.cluster.planning.forecast import ExposureGroup, Forecast, forecast
from calbatch.cluster.planning.identity import ReferenceChecksums
from calbatch.cluster.planning.inputs import parse_place, total_bytes
from calbatch.cluster.planning.planner import Planner, open_references
from calbatch.cluster.planning.resolving import Resolution
from calbatch.cluster.planning.unit_collection import collect_units
from calbatch.cluster.planning.unit_graph import UnitGraph
from calbatch.cluster.sites import placement
from calbatch.models.errors import format_count
from calbatch.models.storage.location import Location, Url
from calbatch.models.storage.memory import shared_memory_limit


def main(
    pipeline: str,
    inputs: Sequence[str],
    *,
    output_dir: str | None,
    measure: bool = False,
    as_json: bool = False,
    **options: Any,
) -> int:
    """Print the plan of a batch; return 1 if some exposures would fail."""
    arguments = BatchArguments(pipeline, inputs, output_dir, **options)
    step, order = build_order(arguments)
    output = parse_place(step.output_dir or ".")
    step.output_dir = str(output)
    graph = collect_units(step, find_inputs(step, order), output)
    console = Console(soft_wrap=True, stderr=as_json)
    with ExitStack() as stack:
        ledger = _open_ledger(stack, output)
        sums = ReferenceChecksums(ledger.find_checksum, lambda *kept: None) if ledger else None
        if order.rerun.only_failed and ledger:
            graph = select_failed(graph, ledger, output)
        place = _choose_place(step, order, graph, ledger, output)
        dependencies = Dependencies(graph.units)
        free = [(n, path) for n, path in enumerate(graph.paths) if not dependencies.is_held(n)]
        planner = _make_planner(
            step, order, dependencies=dependencies, ledger=ledger, sums=sums, console=console
        )
        with placement.configure_memory(place), dask.config.set(order.exposure.dask_config()):
            needs = forecast(chain.from_iterable(planner.plan_blocks(free)))
        if sums:
            sums.close()
        experience = [] if measure else find_experience(ledger, _find_others(), step.name)
    paths = [path for _, path in free]
    if measure:
        experience, failures = measure_examples(step, order, needs)
        needs.errors |= failures
        if not experience:
            print_text(console, explain_unmeasured(needs, failures))
    expected = estimate(needs.groups, experience)
    workers, rules = _count_workers(place, needs), planner.resolution
    if as_json:
        summary = {
            "pipeline": step.name,
            "exposures": len(paths),
            "bytes": total_bytes(paths),
            "context": rules.context,
            "waiting": len(graph.paths) - len(free),
        }
        numbers = describe_estimate(expected, workers)
        record = {**summary, **describe_needs(needs), **numbers, "free": _find_free(output)}
        print_json_lines([record])
    else:
        _print(console, step.name, paths, rules=rules, needs=needs)
        if needs.groups:
            _print_needs(console, needs, expected, place, _find_free(output), measure=measure)
        for reason in needs.errors.values():
            console.print(f"would fail: {reason}", style="red")
        _print_graph(console, graph, len(free))
    return 1 if needs.errors else 0


def _choose_place(
    step: Step, order: Order, graph: UnitGraph, ledger: View | None, output: Location
) -> placement.Place:
    """Return the place where `run` would calibrate units now, if no other batch were running."""
    is_proven, is_killer = True, False
    if ledger is not None:
        is_proven = not ledger.has_open_ends(graph.paths)
        is_killer = has_killed(ledger, output, graph.paths, find_driven(ledger, output))
    return order.choose_place(
        step, len(graph.paths), graph.paths, is_proven=is_proven, has_killed=is_killer
    )


def _make_planner(
    step: Step,
    order: Order,
    *,
    dependencies: Dependencies,
    ledger: View | None,
    sums: ReferenceChecksums | None,
    console: Console,
) -> Planner:
    """Return a planner that fetches only rules, and prints the references that would be fetched."""
    return Planner(
        step,
        open_references(step, order.context),
        date=order.exposure.date,
        use_pars=order.pars,
        fetch=partial(defer_fetching, console=console),
        history=ledger,
        checksums=sums,
        rerun=order.rerun,
        dependencies=dependencies,
    )


def _find_others() -> Iterator[Path]:
    """Yield the folders of the ledgers of this user's batches, the latest ones first."""
    with suppress(RequestError):  # experience is a help, not a need
        yield from (folder.state for folder in reversed(list(find_registered())))


def _open_ledger(stack: ExitStack, output: Location) -> View | None:
    """Return the ledger of the output folder, if there is one.

    Raises
    ------
    DamagedLedgerError
        If it is damaged: `run` would refuse it, too.
    """
    try:
        return stack.enter_context(View(state_of(output)))
    except DamagedLedgerError:
        raise
    except LedgerError:
        return None


def _print(
    console: Console,
    name: str,
    paths: Sequence[Location],
    *,
    rules: Resolution,
    needs: Forecast,
) -> None:
    count = format_count(len(paths), "exposure")
    size = megabytes(total_bytes(paths))
    context = f", context {rules.context} ({rules.context_reason})" if rules.context else ""
    console.print(f"{name}: {count}, {size}{context}")
    if needs.kept:
        console.print(f"{format_count(needs.kept, 'exposure')} already done, with intact products")
    for path, reason_to_repeat in needs.changed.items():
        console.print(f"done again: {path}: {reason_to_repeat}")
    if needs.unknown:
        count = format_count(needs.unknown, "more exposure")
        console.print(f"{count} can be planned once the references are fetched")
    for reference, members in sorted(rules.parameters.items()):
        console.print(f"parameters from {reference}: {format_count(members, 'exposure')}")
    if needs.references:
        console.print(_references(needs))
    if needs.groups:
        console.print(_kinds(needs))


def _print_needs(
    console: Console,
    needs: Forecast,
    expected: Estimate | None,
    place: placement.Place,
    free: int | None,
    *,
    measure: bool,
) -> None:
    """Print time, memory and disk space in words, then the memory by its parts."""
    workers = _count_workers(place, needs)
    console.print(_describe_time(expected, workers, measure=measure))
    if expected is not None and expected.peak:
        processes = workers if place.scheduler == "local" else min(workers, 1)
        console.print(_describe_memory(expected.peak, processes))
    console.print(_describe_disk(needs, free))
    _print_memory(needs, place, console)


def _count_workers(place: placement.Place, needs: Forecast) -> int:
    """Return the number of workers that exposures keep busy; 0 if the site decides."""
    count = sum(group.members for group in needs.groups)
    return min(place.workers, count) if place.grain == "exposure" else place.workers


def _describe_time(expected: Estimate | None, workers: int, *, measure: bool) -> str:
    """Return the time that exposures took before, and thus these will take, in words."""
    if expected is None and measure:
        return "time: unknown"
    if expected is None:
        return (
            "time: unknown until an exposure of this pipeline has been calibrated; --measure "
            "calibrates one of each kind now"
        )
    how = (
        f"with {format_count(workers, 'worker')}"
        if workers
        else "of work, divided by the number of workers"
    )
    before = format_count(expected.measured, "exposure")
    scaled = ", in proportion to their sizes" if expected.is_scaled else ""
    time = describe_about(expected.work / max(workers, 1))
    return f"time: {time} {how}, judging by {before} calibrated before{scaled}"


def _describe_memory(peak: int, processes: int) -> str:
    """Return the memory that processes needed before, in words."""
    each = "" if processes else " for each worker"
    return f"memory: about {megabytes(peak * max(processes, 1))}{each}, as before"


def _find_free(output: Location) -> int | None:
    """Return the bytes that are free on the disk of the output folder; None for a URL."""
    if isinstance(output, Url):
        return None
    existing = next(each for each in (output, *output.parents) if each.exists())
    return shutil.disk_usage(existing).free


def _describe_disk(needs: Forecast, free: int | None) -> str:
    """Return the size of all products, and the space that there is, in words."""
    size = needs.output_bytes
    text = f"disk: about {megabytes(size)} of products"
    if free is None:
        return text
    return f"{text}; {megabytes(free)} are free{'' if size < free else ', which is NOT enough'}"


def _print_graph(console: Console, graph: UnitGraph, free: int) -> None:
    """Print the number of units that wait for others, which cannot be planned yet."""
    count = len(graph.paths) - free
    if count:
        verb = "unit waits" if count == 1 else "units wait"
        depth = f"at most {graph.depth} units in sequence"
        console.print(f"{count} more {verb} for products of others, {depth}")


def _references(needs: Forecast) -> Table:
    table = Table("type", "reference", "size", "exposures")
    for (name, path), count in sorted(needs.references.items(), key=lambda item: item[0][0]):
        size = "" if path is None else megabytes(path.stat().st_size)
        table.add_row(name, "N/A" if path is None else path.name, size, str(count))
    return table


def _kinds(needs: Forecast) -> Table:
    table = Table("kind", "exposures", "tiles", "rows", "budget", "products")
    for kind in needs.groups:
        budget = kind.budget
        cells = (kind.members, budget.tiles, budget.rows)
        products = megabytes(kind.output_bytes * kind.members)
        table.add_row(kind.title, *map(str, cells), megabytes(budget.bytes), products)
    return table


def _print_memory(needs: Forecast, place: placement.Place, console: Console) -> None:
    largest = max(needs.groups, key=lambda kind: kind.budget.bytes)
    console.print(f"the largest tile takes {_parts(largest)}")
    if not place.workers:
        return
    local = place.scheduler == "local"
    tiles = place.workers if local else min(place.workers, largest.budget.tiles)
    count = f"{format_count(tiles, 'tile')} at a time"
    where = "in this process"
    if local:
        where = f"in {format_count(place.workers, 'worker process', 'worker processes')}"
    total = megabytes(largest.budget.bytes * tiles)
    waiting = max(kind.budget.waiting for kind in needs.groups)
    if waiting:
        processes = place.workers if local else 1
        console.print(
            f"{megabytes(waiting * processes)} more for tiles and flags that are kept until "
            "decisions about the whole frame, such as snowballs, have been made"
        )
    values = max(kind.budget.reductions for kind in needs.groups)
    if values:
        console.print(
            f"{megabytes(values * (place.workers if local else 1))} more for values of the whole "
            "frame, such as the signal of reference pixels"
        )
    reference_bytes = _reference_memory(needs, place) if local else 0
    more = (
        f", up to {megabytes(reference_bytes)} of references kept between exposures"
        if reference_bytes
        else ""
    )
    console.print(f"{count}, {where}: {total} of pixels{more}, in addition to the software")


def _reference_memory(needs: Forecast, place: placement.Place) -> int:
    """Return the bytes of references that all workers of this machine may keep together."""
    from calbatch.cluster.sites.local import reference_bytes

    with placement.configure_memory(place):
        limit = reference_bytes(shared_memory_limit() // place.workers, place.grain)
    return place.workers * max(kind.budget.limit_references(limit) for kind in needs.groups)


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
