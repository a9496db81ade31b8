"""Mutation: a write before, between or after the pattern's operators; the epilogue's write for functional graphs."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch.fx import Node

from fxpect.strategies.draft import Draft, Edit, Inapplicable
from fxpect.strategies.signatures import base_name

aten = torch.ops.aten


def writes(d: Draft) -> Iterator[Edit]:
    """An in-place write to an input or intermediate, at every place after it is made."""
    if d.functional:
        return
    order = [n for n in d.graph.nodes if n.op not in ("placeholder", "get_attr")]
    for node in d.tensors():
        value = d.tensor(node)
        if value is None or node.op == "get_attr":
            continue
        for what, op, target, args in _writers(value):
            for place in order:
                if node.op != "placeholder" and place <= node:
                    continue
                where = "last" if place.op == "output" else f"before {place.name}"

                def apply(draft: Draft, at=node.name, place=place.name, op=op, target=target, args=args):
                    source = draft.node(at)
                    draft.insert(None, op, target, (source, *args), before=draft.node(place))

                yield Edit("writes", f"{what} on {node.name} {where}", f"{_kind(node)} written to", apply)
                if place.op == "output" and node not in d.returned():
                    def apply_and_return(draft: Draft, at=node.name, op=op, target=target, args=args):
                        source = draft.node(at)
                        draft.insert(None, op, target, (source, *args), before=draft.output)
                        draft.add_output(source)

                    yield Edit("writes", f"{what} on {node.name} last, returned", f"{_kind(node)} written to and returned",
                               apply_and_return)


def in_place_spelling(d: Draft) -> Iterator[Edit]:
    """An operator in its in-place form, by method, by ``inplace=True`` or by ``operator.iadd``."""
    if d.functional:
        return
    for node in d.calls():
        name = base_name(node.target)
        if node.op == "call_module" or name.endswith("_"):
            continue
        if hasattr(torch.Tensor, name + "_") and node.args and isinstance(node.args[0], Node):
            yield Edit("in_place", f"{node.name} as {name}_", f"{name} in place",
                       lambda draft, at=node.name, to=name + "_": _retarget(draft, at, "call_method", to))
        augmented = getattr(operator, "i" + name, None)
        if augmented is not None and len(node.args) == 2 and not node.kwargs:
            yield Edit("in_place", f"{node.name} as operator.i{name}", f"{name} in place",
                       lambda draft, at=node.name, to=augmented: _retarget(draft, at, "call_function", to))


def epilogue(d: Draft) -> Iterator[Edit]:
    """A value copied into an input of its type at the end, as functionalization leaves a mutation."""
    if not d.functional or d.capture == "joint":
        return
    for source in d.tensors():
        for target in d.placeholders:
            a, b = d.tensor(source), d.tensor(target)
            if source is target or b is None or a is None or (a.shape, a.dtype) != (b.shape, b.dtype):
                continue

            def apply(draft: Draft, source=source.name, target=target.name):
                draft.insert(None, "call_function", aten.copy_.default, (draft.node(target), draft.node(source)),
                             before=draft.output)

            yield Edit("writes", f"{source.name} copied into {target.name} last", f"{_kind(source)} copied into an input",
                       apply)


def _writers(value: torch.Tensor) -> Iterator[tuple[str, str, Any, tuple]]:
    if value.dtype == torch.bool:
        yield "logical_not_", "call_method", "logical_not_", ()
        return
    yield "add_", "call_method", "add_", (1,)
    yield "setitem", "call_function", operator.setitem, (0, 1)


def _retarget(draft: Draft, at: str, op: str, target: Any) -> None:
    node = draft.node(at)
    node.op, node.target = op, target
    draft.touch(node)
    if not node.args:
        raise Inapplicable("no receiver")


def _kind(node: Node) -> str:
    return "an input" if node.op == "placeholder" else base_name(node.target)
