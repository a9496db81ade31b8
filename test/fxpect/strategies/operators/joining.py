"""Joins and splits: tensors put together along a dim, and one taken into pieces."""

from __future__ import annotations

import torch
from torch.fx import Node

from fxpect.strategies.operators.building import ANY, REAL, Builder
from fxpect.strategies.operators.rows import Arguments, call, row

aten = torch.ops.aten


def _alike(b: Builder, first: Node) -> list[Node]:
    """Return two or three tensors of one shape and dtype, the same one twice among the choices."""
    return [first, *(b.like(first) for _ in range(b.one_of(1, 2)))]


def _cat(b: Builder) -> Arguments:
    x = b.tensor(ANY, range(1, 5))
    dim = b.dim(x)
    pattern: list[int | None] = list(b.shape(x))
    pattern[dim] = None
    others = [b.sized((b.dtype(x),), *pattern) for _ in range(b.one_of(1, 2))]
    return call([x, *others], dim)


def _mixed(b: Builder) -> Arguments:
    x = b.tensor(REAL, range(1, 4))
    return call([x, b.like(x, REAL)], 0)


def _stack(b: Builder) -> Arguments:
    x = b.tensor(ANY, range(0, 4))
    return call(_alike(b, x), b.dim(x, 1))


def _plain(b: Builder) -> Arguments:
    return call(_alike(b, b.tensor(ANY, range(1, 4))))


def _split(b: Builder) -> Arguments:
    x = b.tensor(ANY, range(1, 5), lambda shape: max(shape) > 1)
    sizes = b.shape(x)
    dim = sizes.index(max(sizes))
    return call(x, b.one_of(1, 2, sizes[dim]), b.one_of(dim, dim - len(sizes)))


def _sections(b: Builder) -> Arguments:
    x = b.tensor(ANY, range(1, 5), lambda shape: max(shape) > 1)
    sizes = b.shape(x)
    dim = sizes.index(max(sizes))
    size = sizes[dim]
    return call(x, b.one_of([1, size - 1], [size - 1, 1], [0, size], [1, 1, size - 2]), dim)


def _chunk(b: Builder) -> Arguments:
    x = b.tensor(ANY, range(1, 5))
    return call(x, b.one_of(2, 1, 3), b.dim(x))


def _unbind(b: Builder) -> Arguments:
    x = b.tensor(ANY, range(1, 5), lambda shape: 0 < shape[0] <= 4)
    return call(x, b.one_of(0, -len(b.shape(x))))


def _broadcast(b: Builder) -> Arguments:
    x = b.tensor(REAL)
    others = [x, b.partner(x, REAL)]
    return call(others) if b.functional else call(*others)


def _grid(b: Builder) -> Arguments:
    x = b.tensor(REAL, (1,))
    pair = [x, b.sized((b.dtype(x),), None)]
    return call(pair, indexing="ij") if b.functional else call(*pair, indexing=b.one_of("ij", "xy"))


ROWS = (
    row("join", "cat", torch.cat, aten.cat.default, _cat),
    row("join", "concat", torch.concat, None, _cat),
    row("join", "cat mixed", torch.cat, aten.cat.default, _mixed),
    row("join", "stack", torch.stack, aten.stack.default, _stack),
    row("join", "hstack", torch.hstack, aten.hstack.default, _plain),
    row("join", "vstack", torch.vstack, aten.vstack.default, _plain),
    row("join", "dstack", torch.dstack, aten.dstack.default, _plain),
    row("join", "column_stack", torch.column_stack, aten.column_stack.default, _plain),
    row("join", "block_diag", torch.block_diag, None,
        lambda b: call(b.tensor(REAL, (1, 2)), b.tensor(REAL, (1, 2)))),
    row("split", "split", torch.split, aten.split.Tensor, _split),
    row("split", "split method", "split", None, _split),
    row("split", "split sections", torch.split, aten.split_with_sizes.default, _sections),
    row("split", "tensor_split", torch.tensor_split, aten.tensor_split.sections, _chunk),
    row("split", "chunk", torch.chunk, aten.chunk.default, _chunk),
    row("split", "unbind", torch.unbind, aten.unbind.int, _unbind),
    row("split", "unsafe_split", torch.unsafe_split, aten.unsafe_split.Tensor, _split),
    row("split", "hsplit", torch.hsplit, aten.hsplit.int,
        lambda b: call(b.tensor(ANY, range(2, 4), lambda shape: shape[1] % 2 == 0), 2)),
    row("view split", "broadcast_tensors", torch.broadcast_tensors, aten.broadcast_tensors.default, _broadcast),
    row("split", "meshgrid", torch.meshgrid, aten.meshgrid.indexing, _grid),
    row("split", "unbind last", "unbind", None,
        lambda b: call(b.tensor(ANY, range(1, 4), lambda shape: 0 < shape[-1] <= 4), -1)),
)
