"""Rewriting: which operators a pass took out of a graph and which it put in, however often."""

from __future__ import annotations

import re
from collections import Counter

from torch.fx import GraphModule, Node

from fxpect.execution import Execution
from fxpect.strategies.signatures import base_name

_DIMS = re.compile(r"(?<=[A-Za-z])[123]d\b")


def of_any_dims(text: str) -> str:
    """Return a text in which an operator of one, two or three dims has one name: "conv" for conv1d and conv2d."""
    return _DIMS.sub("", text)


def rewritten(execution: Execution | None) -> frozenset[str]:
    """Return what a pass rewrote, such as {"-cat", "-split"}; nothing where it raised.

    It tells rewrites apart, not their places: two cases in which a pass did the same thing have the same answer,
    whatever else stands in their graphs.
    """
    if execution is None:
        return frozenset()
    before, after = _operators(execution.before.graph_module), _operators(execution.after)
    return frozenset(f"-{name}" for name in before - after) | frozenset(f"+{name}" for name in after - before)


def _operators(gm: GraphModule) -> Counter[str]:
    return Counter(of_any_dims(_name(gm, node)) for node in gm.graph.nodes if node.op.startswith("call"))


def _name(gm: GraphModule, node: Node) -> str:
    """Return the operator; a module with the one that it reads, of which a pass may change the parameters alone."""
    if node.op != "call_module":
        return base_name(node.target)
    read = [_kind(gm, source) for source in node.all_input_nodes if source.op == "call_module"]
    return " of ".join([_kind(gm, node), *read[:1]])


def _kind(gm: GraphModule, node: Node) -> str:
    return type(gm.get_submodule(str(node.target))).__name__
