"""Put the nodes of a graph in one canonical order that depends neither on names nor on the given order.

Nodes with an effect keep their order and cut the graph into stretches; a pure node never leaves its stretch. Inside,
nodes come in the order in which a walk from the effects and the output reaches them, arguments first.
"""

from __future__ import annotations

import hashlib
from typing import Any

from torch.fx import Graph, Node

from fxpect.text.effects import has_effect
from fxpect.text.targets import target_name


def canonical_order(graph: Graph) -> list[Node]:
    """Return the nodes that are neither placeholder nor output, in canonical order."""
    roots: list[Node] = []
    stretch: dict[Node, int] = {}
    floating: list[Node] = []
    count = 0
    inner = 0
    for node in graph.nodes:
        op = node.op
        if op == "placeholder":
            continue
        inner += 1
        stretch[node] = count
        if op == "get_attr":
            floating.append(node)
        elif op == "output":
            roots.append(node)
        elif has_effect(node):
            roots.append(node)
            count += 1
    if count:
        for node in reversed(floating):
            users = [stretch[user] for user in node.users if user in stretch]
            stretch[node] = min(users, default=count)
    stretches: list[list[Node]] = [[] for _ in range(count + 1)]
    done: set[Node] = set()
    for root in roots:
        _walk(root, stretch, stretches, done)
    if len(done) != inner:
        _add_dead(graph, stretch, stretches, done)
    ordered = [node for nodes in stretches for node in nodes]
    return [node for node in ordered if node.op != "output"] if roots else ordered


def _walk(root: Node, stretch: dict[Node, int], stretches: list[list[Node]], done: set[Node]) -> None:
    """Append what ``root`` needs and then ``root``, arguments from left to right, each node to its own stretch."""
    if root in done:
        return
    stack = [(root, iter(root.all_input_nodes))]
    entered = {root}
    while stack:
        node, inputs = stack[-1]
        for source in inputs:
            if source in stretch and source not in done and source not in entered:
                entered.add(source)
                stack.append((source, iter(source.all_input_nodes)))
                break
        else:
            stack.pop()
            done.add(node)
            stretches[stretch[node]].append(node)


def _add_dead(graph: Graph, stretch: dict[Node, int], stretches: list[list[Node]], done: set[Node]) -> None:
    """Place the pure nodes that nothing live uses, told apart by what they compute.

    They come at the end of their stretch, but before the effect that closes it.
    """
    dead = [node for node in graph.nodes if node in stretch and node not in done]
    colours = _colours(graph, dead)
    ends = {index: nodes.pop() for index, nodes in enumerate(stretches[:-1])}
    output = stretches[-1].pop() if stretches[-1] and stretches[-1][-1].op == "output" else None
    for root in sorted((node for node in dead if not node.users), key=colours.__getitem__):
        _walk(root, stretch, stretches, done)
    for index, node in ends.items():
        stretches[index].append(node)
    if output is not None:
        stretches[-1].append(output)


def _colours(graph: Graph, dead: list[Node]) -> dict[Node, str]:
    """Return a digest for each dead node of what it computes and who uses it, free of names."""
    members = set(dead)
    fixed = {node: f"in{index}" for index, node in enumerate(node for node in graph.nodes if node.op == "placeholder")}
    known = dict(fixed)
    for node in graph.nodes:
        if node not in known:
            known[node] = _digest(node, known)
    for _ in range(3):
        down = {node: hashlib.sha256("|".join(
            [known[node], *sorted(known[user] for user in node.users if user in members)]).encode()).hexdigest()
            for node in dead}
        for node in dead:
            known[node] = hashlib.sha256("|".join(
                [down[node], *(down.get(source, known[source]) for source in node.all_input_nodes)]).encode()).hexdigest()
    return known


def _digest(node: Node, known: dict[Node, str]) -> str:
    target = node.target if isinstance(node.target, str) else target_name(node.target)
    text = f"{node.op} {target} {_spelled(node.args, known)} {_spelled(node.kwargs, known)}"
    return hashlib.sha256(text.encode()).hexdigest()


def _spelled(value: Any, known: dict[Node, str]) -> str:
    if isinstance(value, Node):
        return known.get(value, "later")
    if isinstance(value, (list, tuple)):
        return f"{'[' if isinstance(value, list) else '('}{','.join(_spelled(item, known) for item in value)}]"
    if isinstance(value, dict):
        return "{%s}" % ",".join(f"{key}:{_spelled(item, known)}" for key, item in value.items())
    if isinstance(value, (int, float, str, bool, complex, type(None))):
        return f"{type(value).__name__}{value!r}"
    return type(value).__name__
