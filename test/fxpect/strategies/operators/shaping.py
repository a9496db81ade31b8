"""Views and copies in another shape: views proper, slices, permutations, repetitions, padding."""

from __future__ import annotations

import operator

import torch
import torch.nn.functional as F

from fxpect.strategies.operators.building import ANY, COMPLEX, FLOATS, NUMBERS, REAL, WIDE, Builder, Unfit
from fxpect.strategies.operators.rows import Arguments, along, call, full, row, unary

aten = torch.ops.aten
END = 2**63 - 1       # how ATen graphs say: up to the end


def _factors(b: Builder, count: int) -> list[int]:
    sizes: list[list[int]] = [[count], [-1] if count else [0]]
    sizes += [[count // k, k] for k in (2, 4, 3) if count and count % k == 0]
    sizes += [[1, count], [count, 1], [2, -1, 2] if count and count % 4 == 0 else [1, count, 1]]
    return b.pick(sizes)


def _view(b: Builder) -> Arguments:
    x = b.tensor(ANY)
    if not b.val(x).is_contiguous():
        return call(x, list(b.shape(x)))
    return call(x, _factors(b, b.val(x).numel()))


def _reshape(b: Builder) -> Arguments:
    x = b.tensor(ANY)
    return call(x, _factors(b, b.val(x).numel()))


def _spread_reshape(b: Builder) -> Arguments:
    x = b.tensor(ANY)
    return call(x, *_factors(b, b.val(x).numel()))


def _order(b: Builder, rank: int) -> list[int]:
    orders = [[*range(rank)][::-1], [*range(1, rank), 0][:rank], [rank - 1, *range(rank - 1)][:rank], [*range(rank)],
              [*range(-rank, 0)][::-1]]
    return b.pick(orders)


def _permute(b: Builder) -> Arguments:
    x = b.tensor(ANY)
    return call(x, _order(b, len(b.shape(x))))


def _two_dims(b: Builder) -> Arguments:
    x = b.tensor(ANY, range(1, 6))
    return call(x, b.dim(x), b.dim(x))


def _unsqueeze(b: Builder) -> Arguments:
    x = b.tensor(ANY, range(0, 5))
    return call(x, b.dim(x, 1))


def _expand(b: Builder) -> Arguments:
    x = b.tensor(ANY, range(0, 4))
    grown = [b.one_of(3, 1, -1) if size == 1 else b.one_of(-1, size) for size in b.shape(x)]
    return call(x, [*b.one_of([], [2]), *grown])


def _flatten(b: Builder) -> Arguments:
    x = b.tensor(ANY, range(1, 6))
    return call(x, *b.one_of((), (1,), (0, -1), (-2,)) if len(b.shape(x)) > 1 else b.one_of((), (0,), (0, -1), (-1,)))


def _unflatten(b: Builder) -> Arguments:
    x = b.tensor(ANY, range(1, 5), lambda shape: shape[-1] % 2 == 0 and shape[-1] > 0)
    return call(x, -1, b.one_of([2, b.shape(x)[-1] // 2], [-1, 2]))


def _select(b: Builder) -> Arguments:
    x = b.tensor(ANY, range(1, 6), full)
    dim = b.dim(x)
    size = b.shape(x)[dim]
    return call(x, dim, b.one_of(0, size - 1, -1, -size))


def _slice(b: Builder) -> Arguments:
    x = b.tensor(ANY, range(1, 6))
    return call(x, b.dim(x), *b.one_of((0, 1), (1, END), (0, -1), (0, END, 2), (-2, None)))


def _getitem(b: Builder) -> Arguments:
    x = b.tensor(ANY, range(1, 6), full)
    index = b.one_of(0, slice(0, 1), slice(None, None, 2), -1, (Ellipsis, 0), slice(1, None), None,
                     (slice(None), None), (Ellipsis, slice(None, -1)))
    return call(x, index)


def _narrow(b: Builder) -> Arguments:
    x = b.tensor(ANY, range(1, 6), full)
    dim = b.dim(x)
    return call(x, dim, *b.one_of((0, 1), (0, b.shape(x)[dim]), (b.shape(x)[dim] - 1, 1)))


def _unfold(b: Builder) -> Arguments:
    x = b.tensor(REAL, range(1, 4), lambda shape: all(size > 1 for size in shape))
    return call(x, b.dim(x), 2, b.one_of(1, 2))


def _diagonal(b: Builder) -> Arguments:
    x = b.tensor(ANY, range(2, 5), full)
    return call(x, b.one_of(0, 1, -1), *b.one_of((0, 1), (-2, -1)))


def _flip(b: Builder) -> Arguments:
    x = b.tensor(ANY)
    return call(x, b.dims(x))


def _roll(b: Builder) -> Arguments:
    x = b.tensor(ANY, range(1, 5))
    return call(x, [b.one_of(1, -1, 3)], [b.dim(x)])


def _repeat(b: Builder) -> Arguments:
    x = b.tensor(ANY, range(0, 4))
    return call(x, [*b.one_of([], [2]), *(b.one_of(1, 2) for _ in b.shape(x))])


def _interleave(b: Builder) -> Arguments:
    x = b.tensor(REAL, range(1, 4))
    return call(x, 2, b.dim(x))


def _pad(b: Builder) -> Arguments:
    x = b.tensor(NUMBERS, range(1, 5), lambda shape: all(size > 1 for size in shape))
    return call(x, b.one_of([1, 1], [0, 2], [-1, 0], [1, 0]), *((0,) if b.functional else ("constant", 0)))


def _reflect(b: Builder) -> Arguments:
    x = b.tensor(WIDE, (2, 3), lambda shape: shape[-1] > 2 and full(shape))
    return call(x, [1, 1], *(() if b.functional else ("reflect",)))


def _triangle(b: Builder) -> Arguments:
    return call(b.tensor(REAL, range(2, 5)), b.one_of(0, 1, -1))


def _shuffle(b: Builder) -> Arguments:
    return call(b.sized(WIDE, None, 4, None, None), 2)


def _strided(b: Builder) -> Arguments:
    x = b.tensor(REAL, range(1, 4), lambda shape: full(shape) and shape[-1] >= 4)
    if not b.val(x).is_contiguous():
        raise Unfit("too little memory behind it")
    return call(x, [2, 2], b.one_of([2, 1], [1, 1], [1, 2]))


ROWS = (
    row("view", "unsqueeze", torch.unsqueeze, aten.unsqueeze.default, _unsqueeze),
    row("view", "transpose", torch.transpose, aten.transpose.int, _two_dims),
    row("view", "permute", torch.permute, aten.permute.default, _permute),
    row("view", "reshape", torch.reshape, aten.reshape.default, _reshape),
    row("view", "reshape method", "reshape", None, _spread_reshape),
    row("view", "view", "view", aten.view.default, _view),
    row("view", "flatten", torch.flatten, aten.flatten.using_ints, _flatten),
    row("view", "unflatten", torch.unflatten, aten.unflatten.int, _unflatten),
    row("view", "squeeze", torch.squeeze, aten.squeeze.default, unary(ANY)),
    row("view", "squeeze dim", torch.squeeze, aten.squeeze.dim, along(ANY)),
    row("view", "expand", "expand", aten.expand.default, _expand),
    row("view", "t", torch.t, aten.t.default, lambda b: call(b.tensor(ANY, range(0, 3)))),
    row("view", "swapaxes", torch.swapaxes, aten.swapaxes.default, _two_dims),
    row("view", "movedim", torch.movedim, aten.movedim.int, _two_dims),
    row("view", "select", torch.select, aten.select.int, _select),
    row("view", "slice", None, aten.slice.Tensor, _slice),
    row("view", "getitem", operator.getitem, None, _getitem),
    row("view", "narrow", torch.narrow, aten.narrow.default, _narrow),
    row("view", "unfold", "unfold", aten.unfold.default, _unfold),
    row("view", "diagonal", torch.diagonal, aten.diagonal.default, _diagonal),
    row("view", "as_strided", torch.as_strided, aten.as_strided.default, _strided),
    row("view", "detach", torch.detach, aten.detach.default, unary(ANY)),
    row("view", "alias", None, aten.alias.default, unary(ANY)),
    row("view", "view_as", "view_as", None, lambda b: (lambda x: call(x, b.like(x)))(b.tensor(REAL))),
    row("view complex", "view_as_real", torch.view_as_real, aten.view_as_real.default, unary(COMPLEX)),
    row("view complex", "real", torch.real, aten.real.default, unary(COMPLEX)),
    row("view complex", "imag", torch.imag, aten.imag.default, unary(COMPLEX)),
    row("copy", "clone", torch.clone, aten.clone.default, unary(ANY)),
    row("copy", "contiguous", "contiguous", aten.contiguous.default, unary(ANY)),
    row("copy", "flip", torch.flip, aten.flip.default, _flip),
    row("copy", "roll", torch.roll, aten.roll.default, _roll),
    row("copy", "repeat", "repeat", aten.repeat.default, _repeat),
    row("copy", "tile", torch.tile, aten.tile.default, _repeat),
    row("copy", "repeat_interleave", torch.repeat_interleave, aten.repeat_interleave.self_int, _interleave),
    row("copy", "rot90", torch.rot90, aten.rot90.default,
        lambda b: call(b.tensor(NUMBERS, range(2, 4)), b.one_of(1, 2, -1), [0, 1])),
    row("copy", "tril", torch.tril, aten.tril.default, _triangle),
    row("copy", "triu", torch.triu, aten.triu.default, _triangle),
    row("copy", "diag", torch.diag, aten.diag.default, lambda b: call(b.tensor(REAL, (1, 2)))),
    row("copy", "diag_embed", torch.diag_embed, aten.diag_embed.default, lambda b: call(b.tensor(REAL, (1, 2)))),
    row("copy", "pad", F.pad, aten.constant_pad_nd.default, _pad),
    row("copy", "reflection pad", F.pad, aten.reflection_pad1d.default, _reflect),
    row("copy", "pixel_shuffle", F.pixel_shuffle, aten.pixel_shuffle.default, _shuffle),
    row("copy", "fill", torch.fill, aten.fill.Scalar, lambda b: call(b.tensor(FLOATS), b.one_of(0, 1))),
)
