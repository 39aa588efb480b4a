"""The nodes of plans that share tiles: forks of branches, and tiles that wait for a decision."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from calbatch.models.tiling.plan import AssignNode, OperationNode, PlanNode, Reduction


@dataclass(frozen=True)
class Branches:
    """The nodes of some plans, and the uses of their tiles.

    Attributes
    ----------
    order : list of PlanNode
        Every node, each before its parent.
    halo : dict
        The halo that each node's tiles need.
    users : dict
        The number of nodes and decisions that use each node's tiles.
    waiting : frozenset of PlanNode
        The nodes whose tiles are kept until a decision has been made.
    """

    order: list[PlanNode]
    halo: dict[PlanNode, int]
    users: dict[PlanNode, int]
    waiting: frozenset[PlanNode]

    def is_shared(self, node: PlanNode) -> bool:
        """Return whether a node's tiles are computed once, for several branches or for dask."""
        return isinstance(node, AssignNode) or self.users.get(node, 0) > 1


def find_branches(tips: Iterable[PlanNode], more: Iterable[Reduction] = ()) -> Branches:
    """Return the nodes of plans, and of ``more`` reductions, that are computed together."""
    tips = list(tips)
    decisions = [r for r in find_reductions(tips, more) if r.spec.is_decision]
    order = _topological_order([*tips, *(d.parent for d in decisions)])
    halo = dict.fromkeys(order, 0)
    users: dict[PlanNode, int] = {}
    for decision in decisions:
        users[decision.parent] = users.get(decision.parent, 0) + 1
        halo[decision.parent] = max(halo[decision.parent], decision.spec.gather.radius)
    for node in order:
        if node.parent is not None:
            needed = halo[node] + node.op.radius if isinstance(node, OperationNode) else 0
            halo[node.parent] = max(halo[node.parent], needed)
            users[node.parent] = users.get(node.parent, 0) + 1
    waiting = {node for d in decisions if users[node := _branching_node(d.parent, users)] > 1}
    return Branches(order, halo, users, frozenset(waiting))


def find_decisions(tips: Iterable[PlanNode]) -> list[Reduction]:
    """Return the decisions whose values the operations of plans take, directly or not."""
    return [reduction for reduction in find_reductions(tips) if reduction.spec.is_decision]


def find_reductions(tips: Iterable[PlanNode], more: Iterable[Reduction] = ()) -> list[Reduction]:
    """Return all reductions on which plans and ``more`` reductions depend, and the latter.

    Parameters
    ----------
    tips : iterable of PlanNode
        The last nodes of the plans.
    more : iterable of Reduction, optional
        Reductions that are computed together with the plans.
    """
    found = dict.fromkeys(_with_taken(more))
    seen: set[PlanNode] = set()
    pending = [*tips, *(reduction.parent for reduction in found)]
    while pending:
        for node in pending.pop().ancestry():
            if node in seen:
                break
            seen.add(node)
            for reduction in _reductions_of(node):
                pending.append(reduction.parent)
                found[reduction] = None
    return list(found)


def depends_on_decision(reduction: Reduction) -> bool:
    """Return whether a reduction is a decision, or depends on the value of one."""
    return (
        reduction.spec.is_decision
        or any(depends_on_decision(r) for r in reduction.reductions)
        or bool(find_decisions([reduction.parent]))
    )


def _reductions_of(node: PlanNode) -> Iterator[Reduction]:
    """Yield the reductions of a node, and those whose values they take in turn."""
    if isinstance(node, OperationNode):
        yield from _with_taken(node.reductions)


def _with_taken(reductions: Iterable[Reduction]) -> Iterator[Reduction]:
    """Yield reductions, and those whose values they take in turn."""
    pending = list(reductions)
    while pending:
        reduction = pending.pop()
        pending.extend(reduction.reductions)
        yield reduction


def _branching_node(node: PlanNode, users: dict[PlanNode, int]) -> PlanNode:
    """Return the nearest node at or before a decision's whose tiles have another use as well."""
    while users[node] == 1 and isinstance(node, OperationNode) and node.parent is not None:
        node = node.parent
    return node


def _topological_order(tips: Iterable[PlanNode]) -> list[PlanNode]:
    """Return every node of the plans, each before its parent."""
    order: list[PlanNode] = []
    seen: set[PlanNode] = set()
    for tip in tips:
        fresh = []
        for node in tip.ancestry():
            if node in seen:
                break
            fresh.append(node)
        seen.update(fresh)
        order = fresh + order  # nodes shared with an earlier tip come after these
    return order
