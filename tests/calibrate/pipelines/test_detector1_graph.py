"""The graph of detector1 has few tasks, and kernels run no more often than necessary."""

from collections import Counter
from dataclasses import replace
from functools import wraps

import dask
import pytest
from support.simulated import offline, small_exposure

from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.models import saving
from calbatch.models.tiling.plan import KernelCall, OperationNode

ROWS = 32
TILES = (8, 16)
NEEDED = {
    "rows_with_reference": set(),
    "gather_flagged": {"superbias"},
    "unusable_groups": {"dq_init", "saturation"},
}
"""Steps that each region of a reduction, by its kernel, runs again: its fields depend on them."""


@pytest.fixture(scope="module")
def exposure():
    """An exposure whose reference pixels are measured before its tiles run."""
    return small_exposure("NRCA1", shape=(ROWS, 48), ngroups=5)


def products(exposure, folder):
    """Run the pipeline lazily; return the models and locations of its products."""
    pipeline = Detector1Pipeline(save_results=True)
    with offline(exposure.set):
        pipeline.run_lazily(exposure.path)
    return [(model, folder / f"{suffix}.fits") for suffix, model in pipeline.products()]


def saving_graph(pairs, tiles):
    with dask.config.set({"calbatch.tile-rows": ROWS // tiles}):
        graph, _ = saving.build_saving_graph(pairs, fsync=False)
    return graph


def tasks_of(graph):
    """Count tasks after optimization, without aliases."""
    (optimised,) = dask.optimize(graph)
    tasks = dict(optimised.__dask_graph__()).values()
    return sum("Alias" not in type(task).__name__ for task in tasks)


@pytest.mark.parametrize("tiles", TILES)
def test_at_most_three_tasks_per_tile_and_three_per_exposure(exposure, tmp_path, tiles):
    tasks = tasks_of(saving_graph(products(exposure, tmp_path), tiles))
    assert tiles < tasks <= 3 * tiles + 3


def count_calls(call, name, runs):
    """Return a call that appends ``name`` to ``runs`` whenever its kernel runs."""

    @wraps(call.kernel)
    def kernel(*arrays, **arguments):
        runs.append(name)  # atomic
        return call.kernel(*arrays, **arguments)

    return replace(call, kernel=kernel)


def plan_of(pairs):
    """Return the steps with kernels in all products' plans, and the reductions, in order."""
    nodes = dict.fromkeys(n for model, _ in pairs for n in model._content.node.ancestry())
    steps = [n for n in nodes if isinstance(n, OperationNode) and isinstance(n.op, KernelCall)]
    reductions = [r for step in steps for r in step.reductions]
    reductions += [further for r in reductions for further in r.reductions]
    return steps, list(dict.fromkeys(reductions))


def count_runs(steps, reductions):
    """Record every run of a kernel, and every region of a reduction, in the returned list."""
    runs: list[object] = []
    for step in steps:
        step.op = count_calls(step.op, step, runs)
    for reduction in reductions:
        look = reduction.spec
        reduction.spec = replace(look, gather=count_calls(look.gather, reduction, runs))
    return runs


def name_kernel(reduction):
    return reduction.spec.gather.kernel.__name__


def looks_at(step, reductions, runs):
    """Return the number of regions examined by reductions that depend on the step."""
    needing = (r for r in reductions if step.op.label in NEEDED[name_kernel(r)])
    return sum(runs[r] for r in needing)


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_each_kernel_runs_once_per_tile_and_reduction_region(exposure, tmp_path, scheduler):
    pairs = products(exposure, tmp_path)
    steps, reductions = plan_of(pairs)
    noted = count_runs(steps, reductions)
    dask.compute(saving_graph(pairs, TILES[0]), scheduler=scheduler)
    runs = Counter(noted)
    assert [path.is_file() for _, path in pairs] == [True, True]
    expected = {step: TILES[0] + looks_at(step, reductions, runs) for step in steps}
    assert {step: runs[step] for step in steps} == expected
    labels = {step.op.label for step in steps}
    assert {"refpix", "jump", "ramp_fit"} <= labels
    fitted = [step for step in steps if step.op.label in ("jump", "ramp_fit")]
    assert [runs[step] for step in fitted] == [TILES[0]] * len(fitted), "nothing looks at these"


def test_reductions_examine_few_regions(exposure, tmp_path):
    pairs = products(exposure, tmp_path)
    steps, reductions = plan_of(pairs)
    noted = count_runs(steps, reductions)
    dask.compute(saving_graph(pairs, TILES[1]), scheduler="sync")
    runs = Counter(noted)
    by_name = {name_kernel(r): runs[r] for r in reductions}
    assert by_name["unusable_groups"] == 1, "a few good rows settle it"
    assert by_name["rows_with_reference"] == 1
    assert by_name["gather_flagged"] == 2, "the border, bottom and left"


def test_ramps_are_corrected_in_place(exposure, tmp_path):
    """Each tile has a ramp of its own, which only products and later steps read."""
    pairs = products(exposure, tmp_path)
    steps, _ = plan_of(pairs)
    allowed: dict[str, set[bool]] = {}
    for step in steps:
        step.op = note_overwriting(step.op, allowed)
    dask.compute(saving_graph(pairs, TILES[0]), scheduler="sync")
    assert allowed == {
        name: {True} for name in ("superbias", "refpix", "linearity", "dark_current")
    }


def note_overwriting(call, allowed):
    """Return a call that notes under its label whether its kernel may overwrite the ramp."""

    @wraps(call.kernel)
    def kernel(*arrays, **arguments):
        if "overwrite_data" in arguments:
            allowed.setdefault(call.label, set()).add(arguments["overwrite_data"])
        return call.kernel(*arrays, **arguments)

    return replace(call, kernel=kernel)
