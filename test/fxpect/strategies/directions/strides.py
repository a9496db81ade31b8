"""Strides: a value laid out in another order of dims, or with elements that share memory."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch.fx import Node

from fxpect.contracts import is_copy
from fxpect.strategies.directions.operands import kind_of
from fxpect.strategies.draft import Draft, Edit, is_static
from fxpect.strategies.trial import Call

aten = torch.ops.aten


def restrided(d: Draft) -> Iterator[Edit]:
    """A value laid out in another order of dims, the values and the sizes being the same.

    Or of the same sizes, with elements that share memory: each row the first, or rows that overlap. And a result whose
    strides follow those of an operand, read by a view that needs them.
    """
    other_order = _in_other_order(d)
    for node in d.tensors():
        value = d.tensor(node)
        if value is None or not node.users or not value.dim() or node.op == "get_attr" or \
                any(is_copy(user) and user.args[0] is node for user in node.users):  # what is written to stays itself
            continue
        ways = [("in other strides", other_order)] if value.dim() > 1 else []
        if is_static(value) and value.numel() > 1:
            ways += _sharing_memory(d, [*value.shape])
        for what, calls in ways:
            if d.trial.fits({node: _chained(d, d.trial.values[node], calls)}):
                def apply(draft: Draft, at=node.name, calls=calls):
                    _insert_chain(draft, draft.node(at), calls)

                trigger = f"{kind_of(node)} {what}" if calls is other_order else f"elements share memory, {what}"
                yield Edit("inserted", f"{node.name} {what}", trigger, apply)
        if node.op != "placeholder" and d.may_be_returned(node):
            yield from _viewed_as_laid_out(d, node, other_order)


# ---------------------------------------------------------------------- helpers


def _in_other_order(d: Draft) -> list[Call]:
    """Return the calls, without what they are called on, that lay a value out in another order of dims."""
    turn = Call(*d.method(torch.transpose, aten.transpose.int), (0, -1))
    return [turn, _contiguous(d), turn]


def _contiguous(d: Draft) -> Call:
    return Call(*d.method(torch.clone, aten.clone.default), (), {"memory_format": torch.contiguous_format})


def _sharing_memory(d: Draft, shape: list[int]) -> list[tuple[str, list[Call]]]:
    """Return calls that make another value of a shape, in which elements share memory."""
    row = Call(*d.method(torch.narrow, aten.slice.Tensor), (0, 0, 1))
    all_rows = Call("call_function", aten.expand.default, (shape,)) if d.functional else \
        Call("call_method", "expand", tuple(shape))
    overlap = Call(*d.method(torch.as_strided, aten.as_strided.default), (shape, [1] * len(shape)))
    return [("of one row repeated", [row, all_rows]),
            *([("of overlapping rows", [_contiguous(d), overlap])] if len(shape) > 1 else [])]


def _viewed_as_laid_out(d: Draft, node: Node, calls: list[Call]) -> Iterator[Edit]:
    """Yield that an operand is laid out in another order, and the result, which follows it, viewed as it lies.

    Where the result follows the first operand, as a sum does, the second is the first.
    """
    flat = Call("call_function", aten.view.default, ([-1],)) if d.functional else Call("call_method", "view", (-1,))
    for i, source in enumerate(node.args[:2]):
        like = d.tensor(source)
        if like is None or like.dim() < 2 or not all(d.tensor(arg) is not None for arg in node.args[:i]):
            continue
        args = (source, *node.args[:i], *node.args[i + 1:])
        try:
            operand = _chained(d, d.trial.values[source], calls)
            value = d.trial.value(Call(node.op, node.target, args, node.kwargs), {source: operand})
        except Exception:  # such as a view that asks for the strides that were
            continue
        order = sorted(range(value.dim()), key=lambda dim: -value.stride(dim))
        if value.is_contiguous() or not value.permute(order).is_contiguous() or not d.trial.fits({node: value}):
            continue
        seen = [Call(*d.method(torch.permute, aten.permute.default), (order,)), flat]

        def apply(draft: Draft, at=node.name, i=i, seen=seen):
            call = draft.node(at)
            source = call.args[i]
            draft.set_args(call, (source, *call.args[:i], *call.args[i + 1:]))
            _insert_chain(draft, source, calls, {call})
            for each in seen:
                call = draft.insert(call, each.op, each.target, (call, *each.args))
            draft.add_output(call)

        yield Edit("inserted", f"{node.name} of {source.name} in other strides, viewed flat",
                   f"{kind_of(node)} viewed in the strides of an operand", apply)


def _chained(d: Draft, value: torch.Tensor, calls: list[Call]) -> torch.Tensor:
    """Return what calls give, each on what the one before gives."""
    return functools.reduce(lambda held, call: d.trial.value(call._replace(args=(held, *call.args))), calls, value)


def _insert_chain(draft: Draft, source: Node, calls: list[Call], readers: set[Node] | None = None) -> None:
    """Put calls one after another behind a value, for these readers or for all."""
    made, users = source, set(source.users) if readers is None else readers
    for call in calls:
        made = draft.insert(made, call.op, call.target, (made, *call.args), dict(call.kwargs))
    source.replace_all_uses_with(made, delete_user_cb=lambda user: user in users)
