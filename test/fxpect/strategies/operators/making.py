"""Tensors from nothing or from a shape, and random draws."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from fxpect.strategies.operators.building import FLOATS, NUMBERS, REAL, WIDE, Builder
from fxpect.strategies.operators.rows import Arguments, call, row, unary

aten = torch.ops.aten
SHAPES: tuple[list[int], ...] = ([4, 4], [4], [2, 3], [])


def _shape(b: Builder) -> Arguments:
    return call(b.pick(SHAPES), **b.one_of({}, {"dtype": torch.float64}))


def _full(b: Builder) -> Arguments:
    return call(b.pick(SHAPES), b.one_of(2, 0.5, 0))


def _like(b: Builder) -> Arguments:
    return call(b.tensor(REAL), **b.one_of({}, {}, {"dtype": torch.float64}))


def _full_like(b: Builder) -> Arguments:
    return call(b.tensor(NUMBERS), b.one_of(1, 2))


def _new(b: Builder) -> Arguments:
    return call(b.tensor(REAL), b.pick(SHAPES))


def _new_full(b: Builder) -> Arguments:
    return call(b.tensor(NUMBERS), b.pick(SHAPES), b.one_of(1, 2))


def _arange(b: Builder) -> Arguments:
    return b.one_of(call(4), call(4, dtype=torch.float32))


def _arange_from(b: Builder) -> Arguments:
    return call(b.one_of(0, 1), 9, 2)


def _dropout(b: Builder) -> Arguments:
    return call(b.tensor(FLOATS), b.one_of(0.5, 0.0), True)


def _limits(b: Builder) -> Arguments:
    return call(b.one_of(7, 2), b.pick(SHAPES))


ROWS = (
    row("factory", "zeros_like", torch.zeros_like, aten.zeros_like.default, _like),
    row("factory", "ones_like", torch.ones_like, aten.ones_like.default, _like),
    row("factory", "full_like", torch.full_like, aten.full_like.default, _full_like),
    row("factory", "new_zeros", "new_zeros", aten.new_zeros.default, _new),
    row("factory", "new_ones", "new_ones", aten.new_ones.default, _new),
    row("factory", "new_full", "new_full", aten.new_full.default, _new_full),
    row("factory", "zeros", torch.zeros, aten.zeros.default, _shape),
    row("factory", "ones", torch.ones, aten.ones.default, _shape),
    row("factory", "full", torch.full, aten.full.default, _full),
    row("factory", "arange", torch.arange, aten.arange.default, _arange),
    row("factory", "arange from", torch.arange, aten.arange.start_step, _arange_from),
    row("factory", "eye", torch.eye, aten.eye.default, lambda b: call(b.one_of(4, 2))),
    row("factory", "linspace", torch.linspace, aten.linspace.default, lambda b: call(0, 1, b.one_of(4, 5))),
    row("factory", "scalar_tensor", torch.scalar_tensor, aten.scalar_tensor.default, lambda b: call(b.one_of(1, 0.5))),
    row("random", "rand_like", torch.rand_like, aten.rand_like.default, unary(FLOATS)),
    row("random", "randn_like", torch.randn_like, aten.randn_like.default, unary(FLOATS)),
    row("random", "randint_like", torch.randint_like, aten.randint_like.default, unary(FLOATS, 7)),
    row("random", "rand", torch.rand, aten.rand.default, lambda b: call(b.pick(SHAPES))),
    row("random", "randn", torch.randn, aten.randn.default, lambda b: call(b.pick(SHAPES))),
    row("random", "randint", torch.randint, aten.randint.default, _limits),
    row("random", "randperm", torch.randperm, aten.randperm.default, lambda b: call(b.one_of(4, 5))),
    row("random", "bernoulli", torch.bernoulli, aten.bernoulli.p, unary(FLOATS, 0.5)),
    row("random", "dropout", F.dropout, aten.native_dropout.default, _dropout),
    row("random", "normal", torch.normal, aten.normal.Tensor_float, unary(WIDE, 1.0)),
)
