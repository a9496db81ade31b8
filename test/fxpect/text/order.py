"""Put the nodes of a graph in one canonical order that depends neither on names nor on the given order.

Nodes with an effect keep their order and cut the graph into stretches; a pure node never leaves its stretch. Inside,
the nodes are taken from the end: after a node come its arguments, the last first, each once all that use it are
placed. So every value stands as close as it can before the first line that needs it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from torch.fx import Graph, Node

from fxpect.text.effects import DEPENDS, decide, function_kind, method_kind, module_has_effect
from fxpect.text.targets import target_name

_NEVER = 1 << 60


@dataclass
class Scan:
    """What one look at each node of a graph tells; ``body`` is in program order, without inputs and output."""

    inputs: list[Node] = field(default_factory=list)
    body: list[Node] = field(default_factory=list)
    outputs: list[Node] = field(default_factory=list)
    effects: list[Node] = field(default_factory=list)
    sinks: list[Node] = field(default_factory=list)
    functions: dict[int, Any] = field(default_factory=dict)
    methods: set[str] = field(default_factory=set)


def scan(graph: Graph) -> Scan:
    """Look at each node once: its role, whether it has an effect, which callables occur."""
    found = Scan()
    body, effects, sinks, functions, methods = found.body, found.effects, found.sinks, found.functions, found.methods
    kinds: dict[int, int] = {}
    for node in graph.nodes:
        op = node.op
        if op == "call_function":
            target = node.target
            kind = kinds.get(id(target))
            if kind is None:
                functions[id(target)] = target
                kind = kinds[id(target)] = function_kind(target)
            effect: Any = kind and (kind != DEPENDS or decide(node))
        elif op == "call_method":
            methods.add(node.target)
            effect = method_kind(node.target)
        elif op == "placeholder":
            found.inputs.append(node)
            continue
        elif op == "output":
            found.outputs.append(node)
            continue
        else:
            effect = op == "call_module" and module_has_effect(node)
        body.append(node)
        if effect:
            effects.append(node)
        elif not node.users:
            sinks.append(node)
    return found


def canonical_order(found: Scan) -> list[Node]:
    """Return the body of a scanned graph in canonical order."""
    left: dict[Node, int] = dict.fromkeys(found.inputs, _NEVER)
    dead = _dead_nodes(found, left) if found.sinks else set()
    if found.effects:
        stretches = _cut_order(found, left, dead)
    else:
        stretches = [_plain_order(found, left)]
    if dead:
        _add_dead(found, dead, stretches)
    if len(stretches) == 1:
        return stretches[0]
    return [node for nodes in stretches for node in nodes]


def _plain_order(found: Scan, left: dict[Node, int]) -> list[Node]:
    """Order a graph without effects: one stretch, walked back from the output."""
    order: list[Node] = []
    stack: list[Node] = list(found.outputs)
    while stack:
        node = stack.pop()
        order.append(node)
        for source in node._input_nodes:
            count = left.get(source)
            if count is None:
                count = len(source.users)
            if count == 1:
                stack.append(source)
            else:
                left[source] = count - 1
    order.reverse()
    del order[len(order) - len(found.outputs):]
    return order


def _stretch_of(found: Scan) -> dict[Node, int]:
    """Return for each pure node the number of effects before it; an attribute is no read and may stand anywhere."""
    effects = set(found.effects)
    stretch: dict[Node, int] = {}
    count = 0
    for node in found.body:
        if node in effects:
            count += 1
        elif node.op != "get_attr":
            stretch[node] = count
    return stretch


def _cut_order(found: Scan, left: dict[Node, int], dead: set[Node]) -> list[list[Node]]:
    """Order each stretch from its end: first the effect that closes it, then what that needs, then what waits."""
    stretch = _stretch_of(found)
    ends = [[node] for node in found.effects] + [found.outputs]
    effects = set(found.effects)
    waiting: list[list[Node]] = [[] for _ in ends]
    stretches: list[list[Node]] = []
    for index in range(len(ends) - 1, -1, -1):
        order: list[Node] = []
        stack = waiting[index]
        stack.extend(ends[index])
        while stack:
            node = stack.pop()
            order.append(node)
            for source in node._input_nodes:
                count = left.get(source)
                if count is None:
                    count = len(source.users)
                if count != 1:
                    left[source] = count - 1
                elif source not in effects:
                    place = stretch.get(source, index)
                    (stack if place == index else waiting[place]).append(source)
        order.reverse()
        stretches.append([node for node in order if node.op != "output"])
    stretches.reverse()
    return stretches


def _dead_nodes(found: Scan, left: dict[Node, int]) -> set[Node]:
    """Return the pure nodes that nothing live uses, and set the live users of what they use in ``left``."""
    effects = set(found.effects)
    dead: set[Node] = set()
    for node in reversed(found.body):
        if node not in effects and all(user in dead for user in node.users):
            dead.add(node)
    for node in dead:
        for source in node._input_nodes:
            if source not in dead and source not in left:
                left[source] = sum(user not in dead for user in source.users)
    return dead


def _add_dead(found: Scan, dead: set[Node], stretches: list[list[Node]]) -> None:
    """Put the dead nodes at the end of their stretch, told apart by what they compute."""
    known = {node: f"in{place}" for place, node in enumerate(found.inputs)}
    known.update((node, f"v{place:08}") for place, node in enumerate(node for nodes in stretches for node in nodes))
    stretch = _stretch_of(found)
    colours = _colours([node for node in found.body if node in dead], found.sinks, known)
    last = len(stretches) - 1
    placed: list[list[Node]] = [[] for _ in stretches]
    done: set[Node] = set()
    for sink in sorted(found.sinks, key=lambda node: (_target(node), _spelled(node.args, colours), colours[node])):
        stack = [sink]
        while stack:
            node = stack[-1]
            wanted = [source for source in node._input_nodes if source in dead and source not in done]
            if wanted and node not in done:
                stack.extend(reversed(wanted))
                continue
            stack.pop()
            if node not in done:
                done.add(node)
                placed[min([stretch.get(node, last), *(stretch.get(user, last) for user in node.users)])].append(node)
    for index, nodes in enumerate(placed):
        end = len(stretches[index]) - (1 if index < last else 0)
        stretches[index][end:end] = nodes


def _colours(dead: list[Node], sinks: list[Node], known: dict[Node, str]) -> dict[Node, str]:
    """Return a digest for each dead node of what it computes, free of names.

    Where that does not tell the ends apart, who else uses the values comes in.
    """
    for node in dead:
        known[node] = _digest(node, known)
    for _ in range(3):
        if len({known[node] for node in sinks}) == len(sinks):
            break
        below = {node: _hash([known[node], *sorted(known[user] for user in node.users)]) for node in dead}
        for node in dead:
            known[node] = _hash([below[node], *(below.get(source, known[source]) for source in node._input_nodes)])
    return known


def _hash(parts: list[str]) -> str:
    return hashlib.blake2b("|".join(parts).encode(), digest_size=16).hexdigest()


def _target(node: Node) -> str:
    return node.target if isinstance(node.target, str) else target_name(node.target)


def _digest(node: Node, known: dict[Node, str]) -> str:
    return _hash([node.op, _target(node), *[_spelled(item, known) for item in node.args], _spelled(node.kwargs, known)])


def _spelled(value: Any, known: dict[Node, str]) -> str:
    if isinstance(value, Node):
        return known.get(value, "later")
    if isinstance(value, (list, tuple)):
        return f"{'[' if isinstance(value, list) else '('}{','.join(_spelled(item, known) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_spelled(item, known)}' for key, item in value.items())}}}"
    if isinstance(value, (int, float, str, bool, complex, type(None))):
        return f"{type(value).__name__}{value!r}"
    return type(value).__name__
