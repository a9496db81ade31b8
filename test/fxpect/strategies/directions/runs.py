"""Runs: members in a row of a list of tensors that come from one source, such as the pieces of one split."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch.fx import Node

from fxpect.specs import TensorSpec, spec_of
from fxpect.strategies.directions.members import tensor_lists
from fxpect.strategies.directions.operands import put, with_put
from fxpect.strategies.draft import Draft, Edit, is_static
from fxpect.strategies.signatures import base_name
from fxpect.strategies.trial import Call

aten = torch.ops.aten
TAKING = frozenset({operator.getitem, aten.select.int, aten.slice.Tensor, torch.select, torch.narrow, "select",
                    "narrow"})


class Twin(NamedTuple):
    """The source of a run made once more of a new input: ``call`` gives the pieces, or None where the input itself is
    what they are taken from.
    """

    source: Node
    call: Node | None
    spec: TensorSpec


def runs(d: Draft) -> Iterator[Edit]:
    """Whole runs of a list in another order: exchanged, woven into each other, one within another, each reversed.

    Beside a run, one more of an equal call on a new input: before, after, within, or woven into it.
    """
    for node, where, value in tensor_lists(d):
        groups = _groups(value)
        if not any(len(group) > 1 for group in groups):
            continue
        name = base_name(node.target)
        for what, order in _orders([list(group) for group in groups]):
            if order == list(range(len(value))) or not _takes(d, node, where, [value[i] for i in order]):
                continue

            def permute(draft: Draft, at=node.name, where=where, order=order):
                call = draft.node(at)
                held = call.args[where] if isinstance(where, int) else call.kwargs[where]
                put(draft, call, (where,), type(held)([held[i] for i in order]))

            yield Edit("runs", f"{node.name} members {order}", f"{name} runs {what}", permute)
        for group in groups:
            if len(group) > 1:
                yield from _doubled(d, node, where, group)


# ---------------------------------------------------------------------- helpers


def _chain(member: Any) -> list[Node]:
    """Return the calls that make a member of a part of something, the first takes the part; none where it is none."""
    calls: list[Node] = []
    while isinstance(member, Node) and member.op in ("call_function", "call_method"):
        calls.insert(0, member)
        if len(member.all_input_nodes) != 1:
            break
        if member.target in TAKING:
            return calls
        member = member.all_input_nodes[0]
    return []


def _source(member: Any) -> Node | None:
    """Return what a member is part of; None where it is part of nothing."""
    chain = _chain(member)
    return chain[0].all_input_nodes[0] if chain else None


def _groups(value: Any) -> list[tuple[int, ...]]:
    """Return the places of each run, in order; a member that is no part of anything is a run by itself."""
    keys = [_source(member) or i for i, member in enumerate(value)]
    return [tuple(i for i, _ in group) for _, group in itertools.groupby(enumerate(keys), key=lambda item: item[1])]


def _orders(groups: list[list[int]]) -> Iterator[tuple[str, list[int]]]:
    """Yield the places of a list in other orders that keep its runs together, or take them apart in a regular way."""
    def flat(parts: Any) -> list[int]:
        return [i for part in parts for i in part]

    for a, b in itertools.combinations(range(len(groups)), 2):
        parts = list(groups)
        parts[a], parts[b] = parts[b], parts[a]
        yield "exchanged", flat(parts)
    for k, (one, other) in enumerate(itertools.pairwise(groups)):
        before, after = groups[:k], groups[k + 2:]
        yield "woven", flat([*before, _woven(one, other), *after])
        for outer, inner in ((one, other), (other, one)):
            if len(outer) > 1:
                half = len(outer) // 2
                yield "within another", flat([*before, outer[:half], inner, outer[half:], *after])
    if len(groups) > 1:
        yield "each reversed", flat(group[::-1] for group in groups)


def _woven(one: list[Any], other: list[Any]) -> list[Any]:
    return [item for pair in itertools.zip_longest(one, other) for item in pair if item is not None]


def _takes(d: Draft, node: Node, where: int | str, members: list[Any]) -> bool:
    held = node.args[where] if isinstance(where, int) else node.kwargs[where]
    return d.trial.fits(calls={node: with_put(node, (where,), type(held)(members))})


def _doubled(d: Draft, node: Node, where: int | str, group: tuple[int, ...]) -> Iterator[Edit]:
    """Yield that members of an equal call on a new input stand beside those of a run."""
    value = node.args[where] if isinstance(where, int) else node.kwargs[where]
    twin = _twin(d, value[group[0]])
    if twin is None:
        return
    try:
        sample = d.sample(twin.spec)
        if twin.call is not None:
            sample = d.trial.value(_on(twin.call, twin.source, sample))
        made = [_made(value[i], twin.call or twin.source, sample, d.trial.value) for i in group]
    except Exception:  # whatever it says: the step would say it again
        return
    first, last = group[0], group[-1] + 1
    for what, order in _places(list(group)):
        # A member of the twin is told by the place of the one that it is like, counted below zero.
        places = [*range(first), *order, *range(last, len(value))]
        if not _takes(d, node, where, [value[i] if i >= 0 else made[~i] for i in places]):
            continue

        def apply(draft: Draft, at=node.name, where=where, twin=twin, places=places, group=group):
            call = draft.node(at)
            held = call.args[where] if isinstance(where, int) else call.kwargs[where]
            source = draft.add_input(twin.spec)
            pieces, like = source, draft.node(twin.source.name)
            if twin.call is not None:
                like = draft.node(twin.call.name)
                pieces = draft.repeat(like)
                pieces.replace_input_with(draft.node(twin.source.name), source)

            def insert(made: Call) -> Node:
                return draft.insert(None, made.op, made.target, made.args, dict(made.kwargs), before=call)

            new = {~place: _made(held[group[place]], like, pieces, insert)
                   for place in sorted({~i for i in places if i < 0})}
            put(draft, call, (where,), type(held)([held[i] if i >= 0 else new[i] for i in places]))

        name = base_name(node.target)
        yield Edit("runs", f"{node.name} run of {(twin.call or twin.source).name}, another {what}",
                   f"{name} run, another {what}", apply)


def _places(group: list[int]) -> Iterator[tuple[str, list[int]]]:
    """Yield where the members of a twin stand among those of a run: they are -1, -2 and so on."""
    twin = [~i for i in range(len(group))]
    half = len(group) // 2
    yield "after it", [*group, *twin]
    yield "before it", [*twin, *group]
    yield "woven into it", _woven(group, twin)
    yield "within it", [*group[:half], *twin, *group[half:]]
    yield "after it, and it again", [*group, *twin, *group]


def _twin(d: Draft, member: Node) -> Twin | None:
    """Return how the source of a member is made once more."""
    source = _source(member)
    if source is None:
        return None
    if isinstance(d.val(source), torch.Tensor):
        return Twin(source, None, spec_of(d.tensor(source))) if is_static(d.tensor(source)) else None
    operands = [operand for operand in source.all_input_nodes if d.tensor(operand) is not None]
    if len(operands) != 1 or not is_static(d.tensor(operands[0])):
        return None
    return Twin(operands[0], source, spec_of(d.tensor(operands[0])))


def _made(member: Node, source: Node, new: Any, call: Callable[[Call], Any]) -> Any:
    """Return a member made of another source; ``call`` makes a call, or inserts it."""
    for made in _chain(member):
        source, new = made, call(_on(made, source, new))
    return new


def _on(call: Node, old: Node, new: Any) -> Call:
    """Return the call with another value where it reads ``old``."""
    return Call(call.op, call.target, *torch.fx.map_arg((call.args, dict(call.kwargs)),
                                                        lambda node: new if node is old else node))
