"""Arrangement: the same calls in another order, in a region of another mode, beside inputs that nothing reads."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.amp.autocast_mode import _enter_autocast, _exit_autocast
from torch.fx import Node

from fxpect import contracts
from fxpect.specs import T
from fxpect.strategies.draft import Draft, Edit, is_effect, is_static
from fxpect.strategies.signatures import base_name


def order(d: Draft) -> Iterator[Edit]:
    """A call as early as its operands allow, or as late as its readers do: another order of the same graph."""
    if any(map(contracts.writes, d.graph.nodes)):
        return
    nodes = list(d.graph.nodes)
    place = {node: i for i, node in enumerate(nodes)}
    first = next((i for i, node in enumerate(nodes) if node.op != "placeholder"), 0)
    for node in d.calls():
        if is_effect(node) or node.op == "call_module" or contracts.trains(node) or not node.users:
            continue
        early = max([first - 1, *(place[read] for read in node.all_input_nodes)])
        late = min(place[user] for user in node.users)
        if early + 1 < place[node]:
            yield Edit("order", f"{node.name} right after {nodes[early].name}", f"{base_name(node.target)} early",
                       lambda draft, at=node.name, to=nodes[early].name: draft.node(to).append(draft.node(at)))
        if place[node] + 1 < late:
            yield Edit("order", f"{node.name} right before {nodes[late].name}", f"{base_name(node.target)} late",
                       lambda draft, at=node.name, to=nodes[late].name: draft.node(to).prepend(draft.node(at)))


def regions(d: Draft) -> Iterator[Edit]:
    """A call, or all from it on, without gradients or under autocast, as Dynamo writes down both regions."""
    if d.capture != "dynamo" or any(map(contracts.switches_mode, d.graph.nodes)):
        return
    for node in d.calls():
        if d.val(node) is None:
            continue
        for last, what in ((node.name, "alone"), (d.calls()[-1].name, "and what follows")):
            for how, surround in (("without gradients", _without_gradients), ("under autocast", _under_autocast)):
                def apply(draft: Draft, first=node.name, last=last, surround=surround):
                    surround(draft, draft.node(first), draft.node(last).next)

                yield Edit("regions", f"{node.name} {what} {how}", f"{base_name(node.target)} {how}", apply)


def _without_gradients(draft: Draft, first: Node, end: Node) -> None:
    for enabled, before in ((False, first), (True, end)):
        draft.insert(None, "call_function", torch._C._set_grad_enabled, (enabled,), before=before)


def _under_autocast(draft: Draft, first: Node, end: Node) -> None:
    enter = draft.insert(None, "call_function", _enter_autocast, ("cpu", torch.bfloat16, True, None), before=first)
    draft.insert(None, "call_function", _exit_autocast, (enter,), before=end)


def unread_inputs(d: Draft) -> Iterator[Edit]:
    """An input more, which nothing reads: a tensor like another one, or without dims. Dynamo takes such inputs out."""
    if d.capture == "dynamo":
        return
    for node in d.placeholders:
        like = d.tensor(node)
        if is_static(like):
            for shape in dict.fromkeys((tuple(like.shape), ())):
                spec = T(*shape, dtype=like.dtype)

                def apply(draft: Draft, spec=spec):
                    draft.add_input(spec)

                yield Edit("unread_inputs", f"an unread input like {node.name}" if shape else "an unread number",
                           "an unread input", apply)
            return
