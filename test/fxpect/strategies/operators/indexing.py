"""Indexing: gathers, scatters, masks, embeddings; every index comes from a spec that keeps it in range."""

from __future__ import annotations

import operator

import torch
import torch.nn.functional as F

from fxpect.specs import TensorSpec
from fxpect.strategies.operators.building import BOOL, NUMBERS, REAL, WIDE, Builder
from fxpect.strategies.operators.rows import Arguments, call, full, row

aten = torch.ops.aten


def _index_select(b: Builder) -> Arguments:
    x = b.tensor(REAL, range(1, 4), full)
    dim = b.dim(x)
    return call(x, dim, b.indices(b.shape(x)[dim], b.one_of(2, 3)))


def _gather(b: Builder) -> Arguments:
    x = b.tensor(REAL, range(1, 4), full)
    dim = b.dim(x)
    return call(x, dim, b.indices(b.shape(x)[dim], *b.shape(x)))


def _take_along(b: Builder) -> Arguments:
    (x, dim, index), _ = _gather(b)
    return call(x, index, dim)


def _index(b: Builder) -> Arguments:
    x = b.tensor(REAL, range(1, 4), full)
    index = b.indices(b.shape(x)[0], b.one_of(3, 2))
    return call(x, [index] if b.functional else index)


def _embedding(b: Builder) -> Arguments:
    weight = b.tensor(WIDE, (2,), full)
    index = b.indices(b.shape(weight)[0], *b.one_of((3,), (2, 3)))
    return call(weight, index) if b.functional else call(index, weight)


def _masked_fill(b: Builder) -> Arguments:
    x = b.tensor(NUMBERS)
    return call(x, b.partner(x, BOOL), b.one_of(0, 1))


def _scatter(b: Builder) -> Arguments:
    (x, dim, index), _ = _gather(b)
    return call(x, dim, index, b.like(x))


def _scatter_number(b: Builder) -> Arguments:
    (x, dim, index), _ = _gather(b)
    return call(x, dim, index, 1)


def _index_add(b: Builder) -> Arguments:
    x = b.tensor(WIDE, range(1, 4), full)
    index = b.indices(b.shape(x)[0], 2)
    return call(x, 0, index, b.sized((b.dtype(x),), 2, *b.shape(x)[1:]))


def _index_fill(b: Builder) -> Arguments:
    x = b.tensor(REAL, range(1, 4), full)
    return call(x, 0, b.indices(b.shape(x)[0], 2), 1)


def _index_put(b: Builder) -> Arguments:
    x = b.tensor(WIDE, range(1, 4), full)
    index = b.indices(b.shape(x)[0], 2)
    values = b.sized((b.dtype(x),), 2, *b.shape(x)[1:])
    return call(x, [index] if b.functional else (index,), values, b.one_of(False, True))


def _bins(b: Builder) -> Arguments:
    x = b.tensor(WIDE)
    return call(x, b.add_input(TensorSpec((3,), b.dtype(x), values=[-0.5, 0, 1.5])))


def _select_scatter(b: Builder) -> Arguments:
    x = b.tensor(REAL, range(1, 4), full)
    return call(x, b.sized((b.dtype(x),), *b.shape(x)[1:]), 0, b.one_of(0, -1))


def _slice_scatter(b: Builder) -> Arguments:
    x = b.tensor(REAL, range(1, 4), full)
    return call(x, b.sized((b.dtype(x),), 1, *b.shape(x)[1:]), 0, 0, 1)


def _one_hot(b: Builder) -> Arguments:
    return call(b.indices(4, *b.one_of((3,), (2, 3))), 4)


ROWS = (
    row("index", "index_select", torch.index_select, aten.index_select.default, _index_select),
    row("index", "gather", torch.gather, aten.gather.default, _gather),
    row("index", "take_along_dim", torch.take_along_dim, aten.take_along_dim.default, _take_along),
    row("index", "index", operator.getitem, aten.index.Tensor, _index),
    row("index", "embedding", F.embedding, aten.embedding.default, _embedding),
    row("index", "one_hot", F.one_hot, None, _one_hot),
    row("index", "take", torch.take, aten.take.default,
        lambda b: (lambda x: call(x, b.indices(b.val(x).numel(), 3)))(b.tensor(REAL, fits=full))),
    row("index", "masked_fill", torch.masked_fill, aten.masked_fill.Scalar, _masked_fill),
    row("index", "scatter", torch.scatter, aten.scatter.src, _scatter),
    row("index", "scatter number", torch.scatter, aten.scatter.value, _scatter_number),
    row("index", "scatter_add", torch.scatter_add, aten.scatter_add.default, _scatter),
    row("index", "index_add", torch.index_add, aten.index_add.default, _index_add),
    row("index", "index_fill", torch.index_fill, aten.index_fill.int_Scalar, _index_fill),
    row("index", "index_put", torch.index_put, aten.index_put.default, _index_put),
    row("index", "select_scatter", torch.select_scatter, aten.select_scatter.default, _select_scatter),
    row("index", "slice_scatter", torch.slice_scatter, aten.slice_scatter.default, _slice_scatter),
    row("index", "bucketize", torch.bucketize, aten.bucketize.Tensor, _bins),
)
