"""What of a chain of operations has to run, where only some fields are wanted of its end."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from calbatch.models.tiling.plan import Call, Node, Op, Put, Reduction, Slot, Step


class Needed(NamedTuple):
    """An operation that has to run, and the reductions whose values it takes."""

    op: Op
    reductions: tuple[Reduction, ...]


def needed_for(names: Iterable[str], tip: Node) -> list[Needed]:
    """Return the operations that some fields depend on.

    Parameters
    ----------
    names : iterable of str
        The fields that are wanted in the end.
    tip : Node
        The end of a chain of operations that are known on any region.

    Returns
    -------
    list of Needed
        The first to run first.
    """
    wanted, kept = set(names), list[Needed]()
    steps = [node for node in tip.ancestry() if isinstance(node, Step)]
    for i, step in enumerate(steps):
        op = step.op
        if isinstance(op, Put):
            made, inputs = {op.name}, tuple[str, ...]()
        elif isinstance(op, Call):
            op = _smallest(op, wanted)
            made, inputs = set(op.outputs), op.inputs
        else:  # who knows what it reads
            kept += [Needed(s.op, s.reductions) for s in steps[i:]]
            break
        if made & wanted:
            wanted = (wanted - made) | set(inputs)
            kept.append(Needed(op, _used(op, step.reductions)))
    return kept[::-1]


def _smallest(call: Call, wanted: set[str]) -> Call:
    """Return the call that gives just what is wanted, where there is one."""
    made = wanted & call.outputs.keys()
    return call.alone.get(made.pop(), call) if len(made) == 1 else call


def _used(op: Op, reductions: Sequence[Reduction]) -> tuple[Reduction, ...]:
    arguments = op.arguments.values() if isinstance(op, Call) else ()
    keys = {value.key for value in arguments if isinstance(value, Slot)}
    return tuple(r for r in reductions if r.key in keys)
