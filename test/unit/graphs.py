"""Random graphs for property tests: drawn as recipes, built in any legal order under any names, and edited."""

from __future__ import annotations

import math
import operator
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Graph, GraphModule, Node

from fxpect.text.propagation import propagate

SHAPE = (2, 3)
CONSTANTS = (0.0, -0.0, 1, True, 1.0, 2.5, -1, 1e-30, math.inf)
ATEN = torch.ops.aten


@dataclass(frozen=True)
class Step:
    """One choice: which operation, which earlier values, which constant."""

    operation: str
    first: int
    second: int
    constant: Any


# Each takes (graph, a, b, constant) and returns the node whose value has SHAPE again; "!" marks an effect.
OPERATIONS: dict[str, Callable[[Graph, Node, Node, Any], Node]] = {
    "add": lambda g, a, b, c: g.call_function(operator.add, (a, b)),
    "alpha": lambda g, a, b, c: g.call_function(torch.add, (a, b), {"alpha": 2}),
    "sub": lambda g, a, b, c: g.call_function(ATEN.sub.Tensor, (a, b)),
    "scale": lambda g, a, b, c: g.call_function(ATEN.mul.Scalar, (a, c)),
    "times": lambda g, a, b, c: g.call_function(torch.mul, (a, c)),
    "relu": lambda g, a, b, c: g.call_method("relu", (a,)),
    "gelu": lambda g, a, b, c: g.call_function(F.gelu, (a,), {"approximate": "tanh"}),
    "stack": lambda g, a, b, c: g.call_method("sum", (g.call_function(torch.stack, ([a, b],)), 0)),
    "where": lambda g, a, b, c: g.call_function(torch.where, (g.call_function(operator.gt, (a, b)), a, b)),
    "reshape": lambda g, a, b, c: g.call_method("reshape", (g.call_method("t", (a,)), 2, 3)),
    "split": lambda g, a, b, c: g.call_function(
        torch.cat, ((lambda s: [g.call_function(operator.getitem, (s, 1)), g.call_function(operator.getitem, (s, 0))])(
            g.call_function(torch.split, (a, [1, 1]))),)),
    "index": lambda g, a, b, c: g.call_function(
        torch.add, (a, g.call_function(operator.getitem, (b, (slice(None, None, None), slice(0, 1, None)))))),
    "weight": lambda g, a, b, c: g.call_function(F.linear, (a, g.get_attr("weight"))),
    "full": lambda g, a, b, c: g.call_function(torch.full, (list(SHAPE), float(c)), {"dtype": torch.float32}),
    "dtype": lambda g, a, b, c: g.call_method("to", (g.call_function(ATEN._to_copy.default, (a,),
                                                                     {"dtype": torch.float64}), torch.float32)),
    "add_!": lambda g, a, b, c: g.call_method("add_", (g.call_method("clone", (a,)), b)),
    "write!": lambda g, a, b, c: _written(g, g.call_method("clone", (a,)), b),
    "dropout!": lambda g, a, b, c: g.call_function(F.dropout, (a, 0.5), {"training": True}),
}


def _written(graph: Graph, target: Node, value: Node) -> Node:
    graph.call_function(operator.setitem, (target, 0, graph.call_function(operator.getitem, (value, 1))))
    return target


recipes = st.lists(
    st.builds(Step, st.sampled_from(sorted(OPERATIONS)), st.integers(0, 30), st.integers(0, 30),
              st.sampled_from(CONSTANTS)), min_size=1, max_size=12)


def build(recipe: list[Step], inputs: int = 2, typed: bool = True) -> GraphModule:
    """Return the graph of a recipe; its outputs are the last value and one in the middle, the rest may be dead."""
    root = torch.nn.Module()
    root.register_parameter("weight", torch.nn.Parameter(torch.eye(3) * 0.5))
    graph = Graph(root)
    values = [graph.placeholder(f"in_{'abc'[place]}") for place in range(inputs)]
    mode = FakeTensorMode()
    if typed:
        for node in values:
            with mode:
                node.meta["val"] = torch.empty(SHAPE)
    for step in recipe:
        first, second = values[step.first % len(values)], values[step.second % len(values)]
        values.append(OPERATIONS[step.operation](graph, first, second, step.constant))
    graph.output((values[-1], values[len(values) // 2]))
    module = GraphModule(root, graph)
    if typed:
        propagate(module, meta_key="val", mode=mode)
    return module


def is_effect(node: Node) -> bool:
    """Say which nodes of these graphs must stay in place."""
    return node.target in ("add_", operator.setitem, F.dropout)


def rearranged(module: GraphModule, seed: int) -> GraphModule:
    """Return the same computation under other names and in another legal order."""
    chooser = random.Random(seed)
    graph = Graph(module)
    copies: dict[Node, Node] = {}
    inner = [node for node in module.graph.nodes if node.op not in ("placeholder", "output")]
    for node in module.graph.nodes:
        if node.op == "placeholder":
            copies[node] = _copy(graph, node, copies, f"p{chooser.randrange(10**6)}")
    for stretch in _stretches(inner):
        while stretch:
            ready = [node for node in stretch if all(source in copies for source in node.all_input_nodes)
                     and (not is_effect(node) or len(stretch) == 1)]
            node = chooser.choice(ready)
            stretch.remove(node)
            copies[node] = _copy(graph, node, copies, f"n{chooser.randrange(10**6)}")
    graph.output(torch.fx.node.map_arg(module.graph.output_node().args[0], copies.__getitem__))
    return GraphModule(module, graph)


def _stretches(nodes: list[Node]) -> list[list[Node]]:
    """Cut after each effect, so that the effect is the last of its stretch."""
    stretches: list[list[Node]] = [[]]
    for node in nodes:
        stretches[-1].append(node)
        if is_effect(node):
            stretches.append([])
    return stretches


def _copy(graph: Graph, node: Node, copies: dict[Node, Node], name: str) -> Node:
    copy = graph.node_copy(node, copies.__getitem__)
    copy._rename(name)
    return copy


def edits(module: GraphModule) -> list[tuple[str, Callable[[], None]]]:
    """Return named edits of this graph, each of which changes what it means or how it says it."""
    found: list[tuple[str, Callable[[], None]]] = []
    alike = _digests(module)
    for node in module.graph.nodes:
        if node.op in ("placeholder", "output", "get_attr"):
            continue
        for place, argument in enumerate(node.args):
            for change in _other_constants(argument):
                found.append((f"{node} {argument!r} to {change!r}", _setter(node, place, change)))
            if isinstance(argument, list):
                found.append((f"{node} list to tuple", _setter(node, place, tuple(argument))))
        if len(node.args) > 1 and all(isinstance(item, Node) for item in node.args[:2]):
            one, other = node.args[:2]
            if alike[one] != alike[other]:
                found.append((f"{node} operands", _args_setter(node, (other, one, *node.args[2:]))))
        for key in node.kwargs:
            found.append((f"{node} without {key}", _kwargs_setter(node, key)))
        if node.target is ATEN.mul.Scalar:
            found.append((f"{node} overload", _target_setter(node, ATEN.mul.Tensor)))
        if node.target is operator.add:
            found.append((f"{node} spelling", _target_setter(node, torch.add)))
    return found


def _other_constants(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value, int(value), float(value)]
    if isinstance(value, int):
        return [value + 1, float(value), *([bool(value)] if value in (0, 1) else [])]
    if isinstance(value, float):
        return [-value, value + 1] if math.isfinite(value) else [-value, math.nan]
    return []


def _setter(node: Node, place: int, value: Any) -> Callable[[], None]:
    return lambda: node.update_arg(place, value)


def _args_setter(node: Node, args: tuple) -> Callable[[], None]:
    return lambda: setattr(node, "args", args)


def _kwargs_setter(node: Node, key: str) -> Callable[[], None]:
    return lambda: setattr(node, "kwargs", {name: value for name, value in node.kwargs.items() if name != key})


def _target_setter(node: Node, target: Any) -> Callable[[], None]:
    return lambda: setattr(node, "target", target)


def _digests(module: GraphModule) -> dict[Node, int]:
    """Number the nodes by what they compute, as a plain recursion: equal numbers, equal expressions."""
    numbers: dict[Any, int] = {}
    known: dict[Node, int] = {}
    for place, node in enumerate(module.graph.nodes):
        unique = place if node.op == "placeholder" or is_effect(node) else None
        key = (node.op, str(node.target), repr(torch.fx.node.map_arg((node.args, dict(node.kwargs)),
                                                                     known.__getitem__)),
               unique)
        known[node] = numbers.setdefault(key, len(numbers))
    return known


def same(one: Any, other: Any) -> bool:
    """Say whether two results are equal bit for bit, with NaN equal to NaN."""
    if isinstance(one, torch.Tensor):
        return (isinstance(other, torch.Tensor) and one.dtype == other.dtype and one.shape == other.shape
                and torch.allclose(one, other, rtol=0, atol=0, equal_nan=True))
    if isinstance(one, (tuple, list)):
        return type(one) is type(other) and len(one) == len(other) and all(same(*pair) for pair in zip(one, other))
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and (one == other or one != one and other != other)
