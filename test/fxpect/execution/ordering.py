"""Put the nodes of a graph in an order where every value is defined before it is used."""

from __future__ import annotations

from torch.fx import Graph, Node


def sort_nodes(graph: Graph) -> list[str]:
    """Sort topologically, keeping the order wherever it is right already; return the names that moved.

    Only uses are looked at: a mutation is no use, so a node that reads before a write may end up behind it
    if a pass put it in front of something it needs. Raises ``ValueError`` for a cycle.
    """
    outputs = [node for node in graph.nodes if node.op == "output"]
    stack = [node for node in reversed(graph.nodes) if node.op != "output"]
    waiting: dict[Node, list[Node]] = {}
    waited: set[Node] = set()
    done: set[Node] = set()
    moved: list[str] = []
    last: Node | None = None
    while stack:
        node = stack.pop()
        lacking = next((used for used in node.all_input_nodes if used not in done), None)
        if lacking is not None:
            waiting.setdefault(lacking, []).append(node)
            waited.add(node)
            continue
        if node in waited and last is not None:
            last.append(node)
            moved.append(node.name)
        done.add(node)
        last = node
        stack.extend(reversed(waiting.pop(node, ())))
    if waiting or any(used not in done for node in outputs for used in node.all_input_nodes):
        stuck = [node.name for node in graph.nodes if node not in done and node.op != "output"] or ["output"]
        raise ValueError(f"{', '.join(stuck[:5])} wait for each other or for an erased node")
    for node in outputs:
        if last is not None and node.next.op != "root":
            last.append(node)
            moved.append(node.name)
    return moved
