"""The operations of a chain that must run to compute some of the fields at its end."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from calbatch.models.tiling.plan import (
    KernelCall,
    Operation,
    OperationNode,
    PlanNode,
    Reduction,
    ReplaceField,
    ValueSlot,
)


class RequiredOperation(NamedTuple):
    """An operation that has to run, and the reductions whose values it takes."""

    op: Operation
    reductions: tuple[Reduction, ...]


def required_operations(names: Iterable[str], tip: PlanNode) -> list[RequiredOperation]:
    """Return the operations that some fields depend on.

    Parameters
    ----------
    names : iterable of str
        The fields required at the end of the chain.
    tip : PlanNode
        The end of a chain of operations that can be evaluated on any region.

    Returns
    -------
    list of RequiredOperation
        In the order in which they run.
    """
    wanted, required = set(names), list[RequiredOperation]()
    nodes = [node for node in tip.ancestry() if isinstance(node, OperationNode)]
    for i, node in enumerate(nodes):
        op = node.op
        if isinstance(op, ReplaceField):
            outputs, inputs = {op.name}, tuple[str, ...]()
        elif isinstance(op, KernelCall):
            op = _cheapest_call(op, wanted)
            outputs, inputs = set(op.outputs), op.inputs
        else:  # its inputs are unknown, so everything before it has to run
            required += [RequiredOperation(n.op, n.reductions) for n in nodes[i:]]
            break
        if outputs & wanted:
            wanted = (wanted - outputs) | set(inputs)
            required.append(RequiredOperation(op, _reductions_used(op, node.reductions)))
    return required[::-1]


def _cheapest_call(call: KernelCall, wanted: set[str]) -> KernelCall:
    """Return the alternative call that returns the one wanted output, or the call itself."""
    outputs = wanted & call.outputs.keys()
    return call.alone.get(outputs.pop(), call) if len(outputs) == 1 else call


def _reductions_used(op: Operation, reductions: Sequence[Reduction]) -> tuple[Reduction, ...]:
    arguments = op.arguments.values() if isinstance(op, KernelCall) else ()
    keys = {value.key for value in arguments if isinstance(value, ValueSlot)}
    return tuple(r for r in reductions if r.key in keys)
