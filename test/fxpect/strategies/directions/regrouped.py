"""Regrouping: the same elements in the same order under another factorization of their shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.fx import Node

from fxpect.strategies.directions.members import tensor_lists
from fxpect.strategies.directions.operands import with_put
from fxpect.strategies.draft import Draft, Edit, is_static
from fxpect.strategies.plausible import SHAPING
from fxpect.strategies.signatures import base_name
from fxpect.strategies.trial import Call

aten = torch.ops.aten
MOST_DIMS = 5
Regroup = Callable[[list[int]], list[int]]


def regrouped(d: Draft) -> Iterator[Edit]:
    """The shapes of sibling views regrouped alike: dims merged or exchanged, one cut in two, one of size one put in.

    Siblings are the views that one list of tensors holds, or all of one operator; one alone is regrouped, too. The
    members of a list that are no views, such as the pieces of a split, become such views.
    """
    seen: set[tuple[Node, ...]] = set()
    for where, which, views in _siblings(d):
        if tuple(views) in seen:
            continue
        seen.add(tuple(views))
        for kind, what, shapes in _regroupings([_sizes(d, view) for view in views]):
            yield from _reviewed(d, f"{where}: {what}", f"{which} regrouped, {kind}",
                                 dict(zip(views, shapes, strict=True)))
    for node, place, value in tensor_lists(d):
        members = list(dict.fromkeys(value))
        if not all(isinstance(item, Node) and is_static(d.tensor(item)) for item in members) or \
                any(_is_view(d, item) for item in members):
            continue
        for kind, what, shapes in _regroupings([_sizes(d, item) for item in members]):
            yield from _viewed(d, node, place, kind, what, dict(zip(members, shapes, strict=True)))


# ---------------------------------------------------------------------- helpers


def _siblings(d: Draft) -> Iterator[tuple[str, str, list[Node]]]:
    """Yield the views that stand together, and what they are in words, with and without the name of a value."""
    for node, _, value in tensor_lists(d):
        views = list(dict.fromkeys(item for item in value if isinstance(item, Node) and _is_view(d, item)))
        if views:
            where = f"every view in {base_name(node.target)}"
            yield where, where, views
    for name in sorted(SHAPING):
        views = [node for node in d.calls() if base_name(node.target) == name and _is_view(d, node)]
        if views:
            yield f"every {name}", f"every {name}", views
        for view in views:
            yield view.name, name, [view]


def _is_view(d: Draft, node: Node) -> bool:
    """Whether a call says the whole shape of its result, in numbers."""
    if base_name(node.target) not in SHAPING or not node.args or not is_static(d.tensor(node)):
        return False
    return node.target is not aten.view.dtype and not any(isinstance(arg, torch.dtype) for arg in node.args)


def _sizes(d: Draft, node: Node) -> list[int]:
    value = d.tensor(node)
    assert value is not None
    return [int(size) for size in value.shape]


def _regroupings(shapes: list[list[int]]) -> Iterator[tuple[str, str, list[list[int]]]]:
    """Yield each way to regroup all shapes: its kind, the way itself, and what the shapes become."""
    if not shapes or len({len(shape) for shape in shapes}) > 1:
        return
    rank = len(shapes[0])
    ways: list[tuple[str, str, Regroup]] = [("flat", "flat", lambda shape: [_product(shape)])] if rank != 1 else []
    for i in range(rank):
        if i + 1 < rank:
            ways.append(("merged", f"dims {i} and {i + 1} merged",
                         lambda shape, i=i: [*shape[:i], shape[i] * shape[i + 1], *shape[i + 2:]]))
            ways.append(("exchanged", f"sizes of dims {i} and {i + 1} exchanged",
                         lambda shape, i=i: [*shape[:i], shape[i + 1], shape[i], *shape[i + 2:]]))
        factor = next((n for n in range(2, 8) if all(shape[i] % n == 0 and shape[i] for shape in shapes)), None)
        if factor is not None and rank < MOST_DIMS:
            ways.append(("cut", f"dim {i} cut by {factor}",
                         lambda shape, i=i, n=factor: [*shape[:i], n, shape[i] // n, *shape[i + 1:]]))
            ways.append(("cut", f"dim {i} cut into {factor}",
                         lambda shape, i=i, n=factor: [*shape[:i], shape[i] // n, n, *shape[i + 1:]]))
    if rank < MOST_DIMS:
        ways += [("of size one", f"one put in at {i}", lambda shape, i=i: [*shape[:i], 1, *shape[i:]])
                 for i in range(rank + 1)]
    done = [shapes]
    for kind, what, regroup in ways:
        new = [regroup(shape) for shape in shapes]
        if new not in done:
            done.append(new)
            yield kind, what, new


def _product(shape: list[int]) -> int:
    return torch.Size(shape).numel()


def _reviewed(d: Draft, what: str, trigger: str, shapes: dict[Node, list[int]]) -> Iterator[Edit]:
    """Yield the edit that gives views other shapes, where what follows takes them."""
    calls = {node: Call(node.op, node.target, (node.args[0], shape)) for node, shape in shapes.items()}
    if not d.trial.fits(calls=calls):
        return

    def apply(draft: Draft):
        for node, shape in shapes.items():
            view = draft.node(node.name)
            draft.set_args(view, (view.args[0], shape), {})

    yield Edit("regrouped", what, trigger, apply)


def _viewed(d: Draft, node: Node, place: Any, kind: str, what: str, shapes: dict[Node, list[int]]) -> Iterator[Edit]:
    """Yield the edit that puts a view of another shape on every member of a list."""
    held = node.args[place] if isinstance(place, int) else node.kwargs[place]
    made = type(held)(d.trial.values[item].reshape(shapes[item]) for item in held)
    if not d.trial.fits(calls={node: with_put(node, (place,), made)}):
        return

    def apply(draft: Draft):
        call = draft.node(node.name)
        for item, shape in shapes.items():
            source = draft.node(item.name)
            view = draft.insert(None, *_VIEW[draft.functional], (source, shape), before=call)
            call.replace_input_with(source, view)
        draft.touch(call)

    name = base_name(node.target)
    yield Edit("regrouped", f"every member of {node.name} viewed: {what}", f"every member of {name} viewed, {kind}",
               apply)


_VIEW = {False: ("call_method", "reshape"), True: ("call_function", aten.reshape.default)}
