"""Copies that a pass made views: the one flaw behind wrong strides, new aliases, and writes that reach too far."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node
from torch.utils import _pytree as pytree

from fxpect.errors import CheckFailure
from fxpect.examples import copy_graph_module
from fxpect.oracles.effects import find_effects
from fxpect.oracles.evidence import ERROR, Evidence, severity_of
from fxpect.oracles.numerics import find_numerics
from fxpect.oracles.observe import Trace
from fxpect.oracles.rounding import base_name

# What one view in the place of a copy can be seen by, the most telling first.
SYMPTOMS = ("effects:input-", "effects:state-", "numerics:values", "numerics:random-values", "crash:graph:", "effects:",
            "numerics:stride", "metadata:stride")


def find_copies_made_views(evidence: Evidence, failures: list[CheckFailure]) -> None:
    """Tell each failure that comes of a copy which the pass made a view so: ``views`` names the operators copied.

    Each value that a node is given after the pass in the place of another is copied, contiguous; where the graph
    then does what the graph before does, the sharing was the flaw. Of several such values the last that does it
    alone is named, as its operator in the graph before ("cat"). Misses: a flaw of this kind next to another one;
    values whose users the pass replaced too.
    """
    shown = [failure for failure in failures if str(failure.cause).startswith(SYMPTOMS)]
    if not shown:
        return
    edges = list(_edges(evidence.before.graph, evidence.after.graph))
    for failure in shown:
        if failure.oracle == "metadata" and not _contiguous(evidence.interpreted.trace[str(failure.node)]):
            above = _above(evidence.after.graph, failure.node)
            failure.views = next(((base_name(old),) for user, _, old, new in edges
                                  if user in above or new.name == failure.node), ())
    rest = [failure for failure in shown if failure.oracle != "metadata"]
    views = _views(evidence, {old.name: base_name(old) for _, _, old, _ in edges}) if rest and edges else ()
    for failure in rest:
        failure.views = views


def _views(evidence: Evidence, names: dict[str, str]) -> tuple[str, ...]:
    """Return the operators among these nodes that must be copied for the graph to hold, none where it does not."""
    kinds = tuple(dict.fromkeys(names.values()))
    for kind in reversed(kinds):
        if _holds(evidence, {name for name in names if names[name] == kind}):
            return (kind,)
    return kinds if len(kinds) > 1 and _holds(evidence, set(names)) else ()


def _contiguous(forms: list[Trace]) -> bool:
    return all(torch.empty(form.shape, device="meta").stride() == form.stride for form in forms)


def _above(graph: Graph, name: str | None) -> set[Node]:
    """Return the node of this name and all that it depends on."""
    above = {node for node in graph.nodes if node.name == name}
    for node in reversed(graph.nodes):
        if node in above:
            above.update(node.all_input_nodes)
    return above


def _edges(before: Graph, after: Graph) -> Iterator[tuple[Node, int, Node, Node]]:
    """Yield (user after the pass, which operand, what it was before, what it is now) where the last two differ."""
    users = {_name(node): node for node in before.nodes}
    for user in after.nodes:
        was = users.get(_name(user))
        if was is None or was.op == "placeholder":
            continue
        old, new = _operands(was), _operands(user)
        if len(old) == len(new):
            for index, (one, other) in enumerate(zip(old, new, strict=True)):
                differs = one.name != other.name or one.target != other.target
                if differs and one.op not in ("placeholder", "get_attr"):
                    yield user, index, one, other


def _name(node: Node) -> str:
    return "output" if node.op == "output" else node.name


def _operands(node: Node) -> list[Node]:
    found: list[Node] = []
    torch.fx.map_arg((node.args, node.kwargs), found.append)
    return found


def _holds(evidence: Evidence, names: set[str]) -> bool:
    """Whether the graph after the pass does what the graph before does once these values are copied."""
    try:
        copied = _with_copies(evidence, names)
    except Exception:  # of a graph that is out of order, or reads an attribute that is not there
        return False
    mended = evidence.at(evidence.args, copied, grads=evidence.grads)
    if mended.expected.error is not None or mended.ran.error is not None:
        return False
    return not any(severity_of(failure) == ERROR
                   for find in (find_numerics, find_effects) for failure in find(mended))


def _with_copies(evidence: Evidence, names: set[str]) -> GraphModule:
    """Return the graph after the pass with a copy of each value that stands for one of these, made where it was."""
    gm = copy_graph_module(evidence.after)
    order = list(gm.graph.nodes)
    place = {node: index for index, node in enumerate(order)}
    earlier: dict[str, set[str]] = {}
    seen: set[str] = set()
    for node in evidence.before.graph.nodes:
        if node.name in names:
            earlier[node.name] = set(seen)
        seen.add(node.name)
    wanted: dict[tuple[str, Node], list[tuple[Node, int]]] = {}
    for user, index, old, new in _edges(evidence.before.graph, gm.graph):
        if old.name in names:
            wanted.setdefault((old.name, new), []).append((user, index))
    for (name, new), users in wanted.items():
        first = min(place[user] for user, _ in users)
        at = max(place[node] for node in order[:first] if node is new or node.name in earlier[name])
        with gm.graph.inserting_after(order[at]):
            copy = gm.graph.call_function(contiguous_copy, (new,))
        for user, index in users:
            operands = _operands(user)
            operands[index] = copy
            given = iter(operands)
            user.args, user.kwargs = torch.fx.map_arg((user.args, user.kwargs), lambda _, given=given: next(given))
    gm.recompile()
    return gm


def contiguous_copy(value: Any) -> Any:
    """Return a value with every tensor of it in memory of its own, contiguous."""
    return pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.clone(memory_format=torch.contiguous_format), value)
