"""Arrangement: the same calls in another order, in a region of another mode, beside what nothing reads."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch.amp.autocast_mode import _enter_autocast, _exit_autocast
from torch.fx import Node

from fxpect import contracts
from fxpect.specs import T, TensorSpec
from fxpect.strategies.draft import Draft, Edit, is_effect, is_static
from fxpect.strategies.signatures import base_name
from fxpect.strategies.trial import Call

aten = torch.ops.aten


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
                       lambda draft, at=node.name, to=nodes[early].name: _move(draft, at, draft.node(to).append))
        if place[node] + 1 < late:
            yield Edit("order", f"{node.name} right before {nodes[late].name}", f"{base_name(node.target)} late",
                       lambda draft, at=node.name, to=nodes[late].name: _move(draft, at, draft.node(to).prepend))


def regions(d: Draft) -> Iterator[Edit]:
    """Some calls in a row without gradients or under autocast, as Dynamo writes down both regions.

    A call alone, two neighbours, all from a call on, all but the last: then what follows reads it from outside. What
    takes a piece of a value belongs to the call that gives the value. Where nothing asks for gradients, the inputs do.
    And a call that is made a second time, in a region of its own.
    """
    if d.capture != "dynamo" or any(map(contracts.switches_mode, d.graph.nodes)):
        return
    for (first, last), what in _spans(d).items():
        for how, surround in (("without gradients", _without_gradients), ("under autocast", _under_autocast)):
            def apply(draft: Draft, first=first.name, last=last.name, surround=surround):
                surround(draft, draft.node(first), draft.node(last).next)

            yield Edit("regions", f"{what} {how}", f"{base_name(first.target)} {how}", apply)
    for node in d.calls():
        if d.may_be_returned(node) and d.tensor(node) is not None and not is_effect(node):
            def again(draft: Draft, at=node.name):
                call = draft.node(at)
                twin = draft.repeat(call)
                _without_gradients(draft, twin, twin.next)
                draft.add_output(twin)

            yield Edit("regions", f"{node.name} once more, without gradients",
                       f"{base_name(node.target)} once more, without gradients", again)


def signature(d: Draft) -> Iterator[Edit]:
    """Inputs as callers know them: one by a name that Python has too, one with a default; of what is called by name."""
    if d.capture != "symbolic":
        return
    for node in dict.fromkeys((*d.placeholders[:1], *d.placeholders[-1:])):
        if node.target != "input" and all(other.target != "input" for other in d.placeholders):
            yield Edit("signature", f"{node.name} named input", "an input named as a builtin is",
                       lambda draft, at=node.name: setattr(draft.node(at), "target", "input"))
    if d.placeholders and not d.placeholders[-1].args:
        yield Edit("signature", f"{d.placeholders[-1].name} with a default", "an input with a default",
                   lambda draft: setattr(draft.placeholders[-1], "args", (None,)))


def _move(draft: Draft, name: str, put: Callable[[Node], None]) -> None:
    """Put a call elsewhere; where that may be in a region, of autocast say, it is typed anew."""
    node = draft.node(name)
    put(node)
    if any(map(contracts.switches_mode, draft.graph.nodes)):
        draft.touch(node)


def _spans(d: Draft) -> dict[tuple[Node, Node], str]:
    """Return the first and the last call of each region, and its name."""
    groups: list[list[Node]] = []
    for node in d.calls():
        if node.target is operator.getitem and groups and node.args[0] is groups[-1][0]:
            groups[-1].append(node)
        elif d.val(node) is not None:
            groups.append([node])
    spans = {(group[0], group[-1]): f"{group[0].name} alone" for group in groups}
    for group in groups:
        spans.setdefault((group[0], d.calls()[-1]), f"{group[0].name} and what follows")
    for one, other in (*pairwise(groups), *((groups[0], group) for group in groups[-2:-1])):
        spans.setdefault((one[0], other[-1]), f"{one[0].name} to {other[-1].name}")
    return spans


def _without_gradients(draft: Draft, first: Node, end: Node) -> None:
    for enabled, before in ((False, first), (True, end)):
        draft.insert(None, "call_function", torch._C._set_grad_enabled, (enabled,), before=before)
    specs = {i: spec for i, spec in enumerate(draft.inputs) if isinstance(spec, TensorSpec)
             and (spec.dtype.is_floating_point or spec.dtype.is_complex)}
    if draft.promises.inference or any(spec.requires_grad for spec in specs.values()) \
            or any(map(contracts.writes, draft.graph.nodes)):
        return
    for i, spec in specs.items():
        draft.inputs[i] = spec.replace(requires_grad=True)
        draft.touch_inputs()


def _under_autocast(draft: Draft, first: Node, end: Node) -> None:
    enter = draft.insert(None, "call_function", _enter_autocast, ("cpu", torch.bfloat16, True, None), before=first)
    draft.insert(None, "call_function", _exit_autocast, (enter,), before=end)


def unread_inputs(d: Draft) -> Iterator[Edit]:
    """An input or a value more, which nothing reads: dead code, as the captures that are no compilers leave it.

    The input is a tensor like another one, or without dims. Dynamo takes such inputs out.
    """
    if d.capture not in ("aten", "joint"):
        yield from _unread_values(d)
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


def _unread_values(d: Draft) -> Iterator[Edit]:
    """Yield a view and a sum that are read by nothing, of each value."""
    for node in d.tensors():
        if node.op == "get_attr":
            continue
        for what, function, overload, args in (("view", torch.unsqueeze, aten.unsqueeze.default, (0,)),
                                               ("result", torch.abs, aten.abs.default, ())):
            call = Call(*d.method(function, overload), (node, *args))
            try:
                d.trial.value(call)
            except Exception:  # no absolute value of that dtype
                continue

            def apply(draft: Draft, at=node.name, call=call):
                source = draft.node(at)
                draft.keep_dead(draft.insert(source, call.op, call.target, (source, *call.args[1:])))

            yield Edit("unread_inputs", f"an unread {what} of {node.name}", f"an unread {what}", apply)
