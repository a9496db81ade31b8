"""Writes: in-place methods, augmented assignments, item assignment, ``out=``; for graphs that may mutate."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch.fx import Node

from fxpect.strategies.operators.building import BOOL, FLOATS, NUMBERS, REAL, Builder, Unfit
from fxpect.strategies.operators.rows import Arguments, call, full, row


def _target(b: Builder, kinds: Sequence[torch.dtype], ranks: Sequence[int] = range(6)) -> Node:
    """Return a tensor that may be written to; raises ``Unfit`` for one whose elements share their places."""
    x = b.tensor(kinds, ranks, full)
    if b.shares_places(x):
        raise Unfit("elements share a place")
    return x


def _writer(kinds: Sequence[torch.dtype], *rest):
    return lambda b: call(_target(b, kinds), *rest)


def _apart(b: Builder, x: Node, other: Node) -> Node:
    """Return ``other`` where it is ``x`` itself or lies in other memory."""
    if other is not x and b.overlapping(x, other):
        raise Unfit("overlapping memory")
    return other


def _with_like(kinds: Sequence[torch.dtype]):
    def arguments(b: Builder) -> Arguments:
        x = _target(b, kinds)
        return call(x, _apart(b, x, b.like(x)))

    return arguments


def _item(b: Builder) -> Arguments:
    x = _target(b, REAL, range(1, 5))
    return call(x, b.one_of(0, slice(0, 1), -1, (Ellipsis, 0)), b.one_of(1, 0))


def _mask(b: Builder) -> Arguments:
    x = _target(b, NUMBERS)
    return call(x, b.like(x, BOOL), b.one_of(0, 1))


def _out(b: Builder) -> Arguments:
    x = b.tensor(FLOATS, fits=full)
    y, buffer = b.like(x), b.like(x)
    if b.shares_places(buffer):
        raise Unfit("elements share a place")
    for operand in (x, y):
        _apart(b, buffer, operand)
    return call(x, y, out=buffer)


def _exp_out(b: Builder) -> Arguments:
    x = b.tensor(FLOATS, fits=full)
    buffer = b.like(x)
    if b.shares_places(buffer):
        raise Unfit("elements share a place")
    _apart(b, buffer, x)
    return call(x, out=buffer)


def _inplace(b: Builder) -> Arguments:
    return call(_target(b, FLOATS), inplace=True)


ROWS = (
    row("inplace", "add_", "add_", None, _with_like(NUMBERS)),
    row("inplace", "add_ number", "add_", None, _writer(NUMBERS, 1)),
    row("inplace", "mul_", "mul_", None, _with_like(NUMBERS)),
    row("inplace", "sub_", "sub_", None, _with_like(NUMBERS)),
    row("inplace", "div_", "div_", None, _writer(FLOATS, 2)),
    row("inplace", "iadd", operator.iadd, None, _with_like(NUMBERS)),
    row("inplace", "imul", operator.imul, None, _writer(NUMBERS, 2)),
    row("inplace", "copy_", "copy_", None, _with_like(REAL)),
    row("inplace", "fill_", "fill_", None, _writer(REAL, 1)),
    row("inplace", "zero_", "zero_", None, _writer(REAL)),
    row("inplace", "neg_", "neg_", None, _writer(NUMBERS)),
    row("inplace", "relu_", torch.relu_, None, _writer(FLOATS)),
    row("inplace", "tanh_", "tanh_", None, _writer(FLOATS)),
    row("inplace", "sigmoid_", "sigmoid_", None, _writer(FLOATS)),
    row("inplace", "clamp_", "clamp_", None, _writer(NUMBERS, 0, 1)),
    row("inplace", "logical_not_", "logical_not_", None, _writer(BOOL)),
    row("inplace", "masked_fill_", "masked_fill_", None, _mask),
    row("inplace", "setitem", operator.setitem, None, _item),
    row("inplace activation", "relu inplace", F.relu, None, _inplace),
    row("inplace activation", "silu inplace", F.silu, None, _inplace),
    row("inplace activation", "hardtanh inplace", F.hardtanh, None, _inplace),
    row("inplace", "add out", torch.add, None, _out),
    row("inplace", "mul out", torch.mul, None, _out),
    row("inplace", "exp out", torch.exp, None, _exp_out),
    row("inplace random", "uniform_", "uniform_", None, _writer(FLOATS)),
    row("inplace random", "bernoulli_", "bernoulli_", None, _writer(FLOATS, 0.5)),
)
