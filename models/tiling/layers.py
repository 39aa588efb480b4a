"""Tasks of a graph as plain objects: the functions to call, and the results that they take.

`calbatch.models.tiling.graphs` turns plans into such tasks. They can be run in the calling thread,
one after another; `calbatch.models.tiling.blocks` hands them to dask where threads or workers share
them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple
from uuid import uuid4


class ResultOf(NamedTuple):
    """The result of one task of a layer."""

    layer: Layer
    position: int


class Task(NamedTuple):
    """A call of a function with results of other tasks."""

    function: Callable[..., Any]
    inputs: tuple[ResultOf, ...] = ()


class Layer:
    """Tasks of one kind: one for each tile, or a single one for a value of the whole frame.

    Parameters
    ----------
    label : str
        The beginning of its name, which dashboards show.
    tasks : sequence of Task
        The tasks. Each function is called with the results of its ``inputs`` and, if the layer has
        values, with these as the argument ``values``.
    values : mapping, optional
        Layers of single tasks, whose results all tasks take, by key.

    Attributes
    ----------
    name : str
        A name that no other layer has.
    graph : Any
        The layer and those before it as a graph of dask's, once something needs it.
    requires_dask : bool
        True if it follows from a layer whose tasks are known to dask only.
    """

    def __init__(
        self, label: str, tasks: Sequence[Task], values: Mapping[str, Layer] | None = None
    ) -> None:
        self.name = f"{label}-{uuid4().hex}"
        self.count, self.tasks, self.values = len(tasks), tasks, values or {}
        self.graph: Any = None
        self.requires_dask: bool = any(layer.requires_dask for layer in self.dependencies())

    @classmethod
    def of_dask(cls, name: str, count: int, graph: Any) -> Layer:
        """Return a layer whose tasks are known to dask only."""
        layer = cls("", ())
        layer.name, layer.count, layer.graph, layer.requires_dask = name, count, graph, True
        return layer

    def results(self) -> list[ResultOf]:
        """Return the result of each task."""
        return [ResultOf(self, i) for i in range(self.count)]

    def dependencies(self) -> list[Layer]:
        """Return the layers whose results its tasks take."""
        inputs = (result.layer for task in self.tasks for result in task.inputs)
        return list(dict.fromkeys((*self.values.values(), *inputs)))

    def map(self, label: str, function: Callable[..., Any], **options: Any) -> Layer:
        """Return a layer that calls a function with each result; options are those of a layer."""
        return Layer(label, [Task(function, (result,)) for result in self.results()], **options)


def call_function(
    function: Callable[..., Any], keys: Sequence[str], inputs: Sequence[Any], values: Sequence[Any]
) -> Any:
    """Return the result of a task, whose layer's values are given in the order of their keys."""
    named = {"values": dict(zip(keys, values, strict=True))} if keys else {}
    return function(*inputs, **named)


def run_tasks(wanted: Sequence[ResultOf]) -> list[Any]:
    """Run the tasks that lead to some results in this thread, and return these.

    A result goes at once through all tasks that need nothing else, so that a tile is done with
    before the next one is begun. Each result is dropped after its last use.
    """
    order = _order_tasks(wanted)
    uses = Counter((*wanted, *chain.from_iterable(order.values())))
    users: dict[ResultOf, list[ResultOf]] = {}
    for result, needs in order.items():
        for each in needs:
            users.setdefault(each, []).append(result)
    missing = {result: len(needs) for result, needs in order.items()}
    ready = [result for result in reversed(order) if not missing[result]]
    found: dict[ResultOf, Any] = {}
    while ready:
        result = ready.pop()
        found[result] = _run(result, found)
        for each in order[result]:
            uses[each] -= 1
            if not uses[each]:
                del found[each]
        for user in reversed(users.get(result, ())):
            missing[user] -= 1
            if not missing[user]:
                ready.append(user)
    return [found[each] for each in wanted]


def _run(result: ResultOf, found: Mapping[ResultOf, Any]) -> Any:
    """Run a task whose inputs have been found."""
    layer, task = result.layer, result.layer.tasks[result.position]
    inputs = [found[each] for each in task.inputs]
    values = [found[each] for each in _values_of(layer)]
    return call_function(task.function, tuple(layer.values), inputs, values)


def _order_tasks(wanted: Sequence[ResultOf]) -> dict[ResultOf, Sequence[ResultOf]]:
    """Return what each task needs, values before tiles; the task itself comes after these."""
    order: dict[ResultOf, Sequence[ResultOf]] = {}
    opened: dict[ResultOf, Sequence[ResultOf]] = {}
    stack = list(reversed(wanted))
    while stack:
        result = stack[-1]
        if result in order:
            stack.pop()
        elif result in opened:
            order[stack.pop()] = opened[result]
        else:
            inputs = result.layer.tasks[result.position].inputs
            needs = list(dict.fromkeys((*_values_of(result.layer), *inputs)))
            opened[result] = needs
            stack.extend(reversed(needs))
    return order


def _values_of(layer: Layer) -> list[ResultOf]:
    return [ResultOf(value, 0) for value in layer.values.values()]
