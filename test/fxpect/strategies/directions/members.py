"""Members of a list of tensors, as cat, stack and foreach take one: where each comes from, and how wide it is."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch.fx import Node

from fxpect.specs import T, TensorSpec, spec_of
from fxpect.strategies.directions.operands import put, with_put
from fxpect.strategies.draft import Draft, Edit, is_static
from fxpect.strategies.signatures import base_name, slots

aten = torch.ops.aten


class Origin(NamedTuple):
    """How members are made: a new input, a call on it, and which results of that are taken; ``what`` is the kind."""

    what: str
    spec: TensorSpec
    call: tuple[Any, ...] = ()
    taken: tuple[int, ...] = ()

    def __str__(self) -> str:
        shown = f" {[*self.taken]}" if self.taken else "".join(f" {arg}" for arg in self.call[1:])
        return f"{self.what}{shown} of {self.spec!r}"


def members(d: Draft) -> Iterator[Edit]:
    """A member added to a list of tensors, or exchanged, that has nothing to do with the others.

    A new input as wide as its neighbour, wider or empty; an item, a slice or a result of a call on one, counted from
    zero or as if it were the next of the others. Two pieces of one other split, in a row or apart. What its neighbour's
    call gives of a new input.
    """
    for node, where, value in tensor_lists(d):
        n = len(value)
        added, exchanged = "added at", "in the place of"
        for how, k in dict.fromkeys(((added, n // 2), (added, n), (exchanged, n - 1), (exchanged, 0), (added, 0))):
            neighbour = value[min(k, n - 1)]
            like = d.tensor(neighbour)
            if is_static(like):
                for origin in (*_origins(d, like, _joined(node, like), k), *_alike(d, neighbour)):
                    yield from _offered(d, node, where, origin, how, k)


def tensor_lists(d: Draft) -> Iterator[tuple[Node, int | str, Any]]:
    """Yield each list of tensors that a call takes, with the call and the place or keyword of the list."""
    for node in d.calls():
        for where, value in [*enumerate(node.args), *node.kwargs.items()]:
            if isinstance(value, (list, tuple)) and any(isinstance(item, Node) for item in value):
                yield node, where, value


# ---------------------------------------------------------------------- helpers


def _offered(d: Draft, node: Node, where: int | str, origin: Origin, how: str, k: int) -> Iterator[Edit]:
    """Yield that what an origin makes is added at a place of a list, or stands there in the place of a member."""
    rest = k if how == "added at" else k + 1

    def called(target: Any, source: Any, *args: Any) -> Any:
        return getattr(source, target)(*args) if isinstance(target, str) else target(source, *args)

    try:
        made = _made(origin, d.sample(origin.spec), called)
    except Exception:  # of another dtype than the call takes
        return

    def joined(call: Node, new: list) -> Any:
        held = call.args[where] if isinstance(where, int) else call.kwargs[where]
        apart = held[rest:rest + 1] if origin.what.endswith("apart") else ()
        return type(held)([*held[:k], *new[:1], *apart, *new[1:], *held[rest + len(apart):]])

    if not d.trial.fits(calls={node: with_put(node, (where,), joined(node, made))}):
        return

    def apply(draft: Draft, name=node.name):
        call = draft.node(name)

        def insert(target: Any, *args: Any) -> Node:
            kind = "call_method" if isinstance(target, str) else "call_function"
            return draft.insert(None, kind, target, args, before=call)

        new = _made(origin, draft.add_input(origin.spec), insert)
        put(draft, call, (where,), joined(call, new))

    trigger = f"{base_name(node.target)} member is {origin.what}"
    yield Edit("members", f"{node.name}: {origin} {how} {k}", trigger, apply)


def _made(origin: Origin, source: Any, call: Callable[..., Any]) -> list:
    """Return the members that an origin makes of its input; ``call`` calls a function, or inserts the call."""
    if origin.call:
        source = call(origin.call[0], source, *origin.call[1:])
    return [call(operator.getitem, source, i) for i in origin.taken] or [source]


def _origins(d: Draft, like: torch.Tensor, dim: int, place: int) -> Iterator[Origin]:
    """Yield ways to make a tensor of the type of ``like``, which is joined along ``dim``, and of other widths."""
    sizes = [int(size) for size in like.shape]

    def spec(shape: list[int]) -> TensorSpec:
        return T(*shape, dtype=like.dtype)

    def wide(along: int, size: int) -> TensorSpec:
        return spec([*sizes[:along], size, *sizes[along + 1:]])

    yield Origin("a new input", spec(sizes))
    for index in dict.fromkeys((0, place)):
        items, unbind = spec([index + 2, *sizes]), aten.unbind.int if d.functional else torch.unbind
        yield Origin("an item", items, (aten.select.int, 0, index) if d.functional else (operator.getitem, index))
        yield Origin("a piece of another unbind", items, (unbind, 0), (index,))
    if not sizes:
        return
    width = sizes[dim]
    split, topk, maximum = (aten.split_with_sizes.default, aten.topk.default, aten.max.dim) if d.functional else \
        (torch.split, torch.topk, torch.max)
    for index in dict.fromkeys((0, place)):
        start, stop = index * width, (index + 1) * width
        cut = (aten.slice.Tensor, dim, start, stop) if d.functional else \
            (operator.getitem, (*[slice(None)] * dim, slice(start, stop)))
        yield Origin("a slice", wide(dim, stop + 1), cut)
        yield Origin("a piece of another split", wide(dim, stop + width), (split, [width] * (index + 2), dim), (index,))
    for along in [other for other in range(len(sizes)) if other != dim][:1]:
        yield Origin("a piece of another split, of another dim", wide(along, 2 * sizes[along]),
                     (split, [sizes[along]] * 2, along), (0,))
    yield Origin("a result of another call, topk", wide(dim, width + 1), (topk, width, dim), (0,))
    yield Origin("a result of another call, max", spec([*sizes[:dim], 2, *sizes[dim:]]), (maximum, dim), (0,))
    two = wide(dim, 2 * width), (split, [width] * 2, dim), (0, 1)
    yield Origin("a piece of another split, two in a row", *two)
    yield Origin("a piece of another split, two apart", *two)
    yield Origin("wider", wide(dim, width + 2))
    yield Origin("empty", wide(dim, 0))
    yield Origin("an empty vector", spec([0]))


def _alike(d: Draft, node: Any) -> Iterator[Origin]:
    """Yield that the call which makes a member is made of a new input too, where it takes no other tensor."""
    if node.op in ("call_function", "call_method") and not node.kwargs and node.args and len(node.all_input_nodes) == 1:
        source, *rest = node.args
        like = d.tensor(source) if isinstance(source, Node) else None
        if is_static(like) and node.target is not operator.getitem and not any(isinstance(arg, Node) for arg in rest):
            yield Origin(f"the {base_name(node.target)} of another input", spec_of(like), (node.target, *rest))


def _joined(node: Node, like: torch.Tensor) -> int:
    """Return the dim that a call works along, as one of its member's."""
    dim = next((slot.value if slot.given else slot.param.default for slot in slots(node)
                if slot.param.name in ("dim", "axis")), 0)
    if not isinstance(dim, int) or not like.dim():
        return 0
    return min(dim, like.dim() - 1) if dim >= 0 else max(dim + like.dim(), 0)
