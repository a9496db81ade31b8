"""What the correct passes ask about a graph before they touch it."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch.fx import Graph, Node

aten = torch.ops.aten

# Operators that always return memory of their own and whose result is decided by their operands.
FRESH = frozenset(
    {
        aten.abs.default,
        aten.add.Tensor,
        aten.cat.default,
        aten.clone.default,
        aten.cumsum.default,
        aten.div.Tensor,
        aten.exp.default,
        aten.flip.default,
        aten.full.default,
        aten.linear.default,
        aten.mm.default,
        aten.mul.Tensor,
        aten.neg.default,
        aten.relu.default,
        aten.sigmoid.default,
        aten.sin.default,
        aten.sub.Tensor,
        aten.sum.default,
        aten.tanh.default,
    }
)
# At torch level: pure whatever they are given, as long as neither out= nor inplace= is.
PURE_FUNCTIONS = frozenset(
    {
        torch.add,
        torch.cat,
        torch.clone,
        torch.div,
        torch.exp,
        torch.functional.einsum,
        torch.matmul,
        torch.mul,
        torch.narrow,
        torch.neg,
        torch.relu,
        torch.sin,
        torch.sub,
        torch.sum,
        torch.tanh,
        F.linear,
        operator.add,
        operator.getitem,
        operator.mul,
        operator.sub,
        operator.truediv,
    }
)
PURE_METHODS = frozenset(
    {"add", "clone", "contiguous", "exp", "mul", "narrow", "neg", "relu", "sin", "split", "sub", "sum", "tanh", "view"}
)


def value(node: Any) -> Any:
    """Return the fake value of a node; None for anything else."""
    if not isinstance(node, Node):
        return None
    return node.meta["val"] if "val" in node.meta else node.meta.get("example_value")


def tensor(node: Any) -> torch.Tensor | None:
    """Return the fake tensor of a node; None where it is not one."""
    found = value(node)
    return found if isinstance(found, torch.Tensor) else None


def rank(node: Node) -> int:
    """Return the number of dims, at least one: a zero-dim tensor takes dim 0 and -1."""
    found = tensor(node)
    assert found is not None
    return max(found.dim(), 1)


def form(node: Any) -> tuple | None:
    """Return dtype, device, sizes, strides and offset, to compare with ==; sizes as text, which adds no guard."""
    found = tensor(node)
    if found is None or found.layout != torch.strided:
        return None
    return (
        found.dtype,
        found.device,
        str(tuple(found.shape)),
        str(found.stride()),
        str(found.storage_offset()),
        found.is_conj(),
        found.is_neg(),
    )


def static(node: Any) -> bool:
    """Whether every size of a tensor is a plain number."""
    found = tensor(node)
    return found is not None and all(type(size) is int for size in found.shape)


def argument(node: Node, name: str, default: Any = None) -> Any:
    """Return what an ATen call gives for a parameter of its schema, by position or by keyword."""
    if name in node.kwargs:
        return node.kwargs[name]
    names = [a.name for a in node.target._schema.arguments if not a.kwarg_only]
    place = names.index(name) if name in names else len(node.args)
    return node.args[place] if place < len(node.args) else default


def calls(graph: Graph, *targets: Any) -> Iterator[Node]:
    """Yield the calls of these functions, in program order; the graph may change meanwhile."""
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target in targets:
            yield node


def is_call(node: Any, *targets: Any) -> bool:
    """Whether a node calls one of these functions."""
    return isinstance(node, Node) and node.op == "call_function" and node.target in targets


def draws(node: Node) -> bool:
    """Whether a call may take random numbers."""
    tags = getattr(node.target, "tags", ())
    return torch.Tag.nondeterministic_seeded in tags


def writes(graph: Graph) -> bool:
    """Whether anything in the graph may write to a tensor, or does what nothing is known of."""
    return any(may_write(node) for node in graph.nodes)


def may_write(node: Node) -> bool:
    """Whether one node may write: ATen by its schema, torch level unless it is known to be pure."""
    if node.op in ("placeholder", "get_attr", "output"):
        return False
    if isinstance(node.target, torch._ops.OpOverload):
        return node.target._schema.is_mutable
    if node.op == "call_function" and isinstance(
        value(node), (int, float, torch.SymInt, torch.SymFloat, torch.SymBool)
    ):
        return False
    if "out" in node.kwargs or "inplace" in node.kwargs:
        return True
    known = PURE_METHODS if node.op == "call_method" else PURE_FUNCTIONS if node.op == "call_function" else ()
    return node.target not in known


def shown(node: Node) -> bool:
    """Whether the memory of a node may be seen from outside: it is returned, or something that may be a view of it."""
    return any(user.op == "output" or (user.target not in FRESH and shown(user)) for user in node.users)


def may_stand_for(source: Any, node: Node) -> bool:
    """Whether ``source`` may be read in the place of ``node``, which has its values, and nobody could tell."""
    return (
        isinstance(source, Node)
        and form(source) is not None
        and form(source) == form(node)
        and not shown(node)
        and not writes(node.graph)
    )


def replace(node: Node, source: Node) -> None:
    """Let every reader of ``node`` read ``source``, and take ``node`` out."""
    node.replace_all_uses_with(source)
    node.graph.erase_node(node)


def emit(before: Node, target: Any, args: tuple, kwargs: dict[str, Any] | None = None) -> Node:
    """Put a call in front of a node, typed by running it on fake values; raises what that raises."""
    kwargs = kwargs or {}
    key = "val" if any("val" in node.meta for node in before.graph.nodes) else "example_value"
    mode = next(found.fake_mode for found in map(tensor, before.graph.nodes) if found is not None)
    with mode:
        made = target(*torch.fx.map_arg(args, value), **torch.fx.map_arg(kwargs, value))
    with before.graph.inserting_before(before):
        node = before.graph.call_function(target, args, kwargs)
    node.meta[key] = made
    return node


def drop(*nodes: Node) -> None:
    """Take out nodes that nothing reads, the last one first."""
    for node in reversed(nodes):
        node.graph.erase_node(node)


def drop_unread(*nodes: Node) -> None:
    """Take out those of these nodes that nothing reads any more, readers before what they read."""
    for node in nodes:
        if not node.users and node in node.graph.nodes and node.op != "placeholder":
            node.graph.erase_node(node)
