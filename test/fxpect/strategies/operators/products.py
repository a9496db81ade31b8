"""Products, convolutions, poolings, normalisations, attention."""

from __future__ import annotations

import operator

import torch
import torch.nn.functional as F

from fxpect.specs import TensorSpec
from fxpect.strategies.operators.building import FLOATS, WIDE, Builder
from fxpect.strategies.operators.rows import Arguments, call, full, row

aten = torch.ops.aten


def _mm(b: Builder) -> Arguments:
    x = b.tensor(FLOATS, (2,))
    return call(x, b.sized((b.dtype(x),), b.shape(x)[1], None))


def _bmm(b: Builder) -> Arguments:
    x = b.tensor(FLOATS, (3,))
    batch, _, inner = b.shape(x)
    return call(x, b.sized((b.dtype(x),), batch, inner, None))


def _matmul(b: Builder) -> Arguments:
    x = b.tensor(WIDE, range(1, 4))
    inner = b.shape(x)[-1]
    return call(x, b.sized((b.dtype(x),), *b.one_of((inner, None), (inner,))))


def _addmm(b: Builder) -> Arguments:
    x, y = _mm(b)[0]
    shape = (b.shape(x)[0], b.shape(y)[1])
    bias = b.sized((b.dtype(x),), *b.one_of(shape, shape[1:], (1, shape[1])))
    return call(bias, x, y, **b.one_of({}, {"beta": 2}, {"alpha": 0.5}))


def _baddbmm(b: Builder) -> Arguments:
    x, y = _bmm(b)[0]
    return call(b.sized((b.dtype(x),), b.shape(x)[0], b.shape(x)[1], b.shape(y)[2]), x, y)


def _linear(b: Builder) -> Arguments:
    x = b.tensor(WIDE, range(1, 4))
    weight = b.sized((b.dtype(x),), None, b.shape(x)[-1])
    bias = (b.sized((b.dtype(x),), b.shape(weight)[0]),) if b.one_of(False, True) else ()
    return call(x, weight, *bias)


def _vectors(b: Builder) -> Arguments:
    x = b.tensor(WIDE, (1,))
    return call(x, b.like(x))


def _mv(b: Builder) -> Arguments:
    x = b.tensor(WIDE, (2,))
    return call(x, b.sized((b.dtype(x),), b.shape(x)[1]))


def _outer(b: Builder) -> Arguments:
    x = b.tensor(WIDE, (1,))
    return call(x, b.sized((b.dtype(x),), None))


def _einsum(b: Builder) -> Arguments:
    x = b.tensor(WIDE, (2,))
    rows, columns = b.shape(x)
    equation, shape = b.one_of(("ij,jk->ik", (columns, None)), ("ij,ij->i", (rows, columns)),
                               ("ij,kj->ik", (None, columns)), ("ij,j->i", (columns,)), ("ij,ik->jk", (rows, None)))
    operands = [x, b.sized((b.dtype(x),), *shape)]
    return call(equation, operands) if b.functional else call(equation, *operands)


def _conv(rank: int, transposed: bool = False):
    """Choose an image, a weight of odd size, perhaps a bias, stride and padding."""
    def arguments(b: Builder) -> Arguments:
        x = b.tensor(WIDE, (rank + 2,), lambda shape: full(shape) and shape[1] <= 4)
        channels, dtype = b.shape(x)[1], (b.dtype(x),)
        size = b.one_of(1, 3)
        weight = b.add_input(TensorSpec((channels, 2, *[size] * rank) if transposed else (2, channels, *[size] * rank),
                                        dtype[0]))
        bias = b.sized(dtype, 2) if b.one_of(False, True) else None
        stride, padding = b.one_of(1, 2), size // 2
        if b.functional:
            return call(x, weight, bias, [stride] * rank, [padding] * rank, [1] * rank, transposed, [0] * rank, 1)
        return call(x, weight, bias, stride, padding)

    return arguments


def _image(b: Builder):
    return b.tensor(WIDE, (4,), lambda shape: full(shape) and min(shape[2:]) >= 2)


def _pool(b: Builder) -> Arguments:
    return call(_image(b), [2, 2], *b.one_of((), ([1, 1],)))


def _adaptive(b: Builder) -> Arguments:
    return call(_image(b), b.one_of([1, 1], [2, 2]))


def _resize(b: Builder) -> Arguments:
    x = _image(b)
    if b.functional:
        return call(x, [2 * size for size in b.shape(x)[2:]])
    return call(x, scale_factor=2, mode=b.one_of("nearest", "bilinear"))


def _layer_norm(b: Builder) -> Arguments:
    x = b.tensor(WIDE, range(1, 5), full)
    size, dtype = b.shape(x)[-1], (b.dtype(x),)
    weight = b.sized(dtype, size) if b.one_of(False, True) else None
    bias = b.sized(dtype, size) if weight is not None else None
    return call(x, [size], weight, bias, 1e-5)


def _rms_norm(b: Builder) -> Arguments:
    x = b.tensor(WIDE, range(1, 5), full)
    return call(x, [b.shape(x)[-1]])


def _group_norm(b: Builder) -> Arguments:
    x = b.tensor(WIDE, range(2, 5), lambda shape: full(shape) and shape[1] % 2 == 0 and shape[0] * shape[1] > 2)
    return call(x, b.one_of(1, 2))


def _batch_norm(b: Builder) -> Arguments:
    x = b.tensor(WIDE, range(2, 5), full)
    channels, dtype = b.shape(x)[1], b.dtype(x)
    mean, weight = b.sized((dtype,), channels), b.sized((dtype,), channels)
    variance = b.add_input(TensorSpec((channels,), dtype, values="positive"))
    if b.functional:
        return call(x, weight, None, mean, variance, 0.1, 1e-5)
    return call(x, mean, variance, weight)


def _attention(b: Builder) -> Arguments:
    q = b.tensor(WIDE, (3, 4), full)
    return call(q, b.like(q), b.like(q), **({} if b.functional else b.one_of({}, {"is_causal": True})))


def _pairs(b: Builder) -> Arguments:
    x = b.tensor(WIDE, (2,), full)
    return call(x, b.sized((b.dtype(x),), None, b.shape(x)[1]))


def _kron(b: Builder) -> Arguments:
    x = b.tensor(WIDE, (1, 2))
    return call(x, b.sized((b.dtype(x),), *b.one_of((2,), (2, 2))))


ROWS = (
    row("matmul", "mm", torch.mm, aten.mm.default, _mm),
    row("matmul", "bmm", torch.bmm, aten.bmm.default, _bmm),
    row("matmul", "matmul", torch.matmul, aten.matmul.default, _matmul),
    row("matmul", "operator matmul", operator.matmul, None, _matmul),
    row("matmul", "addmm", torch.addmm, aten.addmm.default, _addmm),
    row("matmul", "baddbmm", torch.baddbmm, aten.baddbmm.default, _baddbmm),
    row("matmul", "linear", F.linear, aten.linear.default, _linear),
    row("matmul", "dot", torch.dot, aten.dot.default, _vectors),
    row("matmul", "vdot", torch.vdot, aten.vdot.default, _vectors),
    row("matmul", "mv", torch.mv, aten.mv.default, _mv),
    row("matmul", "outer", torch.outer, aten.outer.default, _outer),
    row("matmul", "einsum", torch.einsum, aten.einsum.default, _einsum),
    row("matmul", "kron", torch.kron, aten.kron.default, _kron),
    row("matmul", "cdist", torch.cdist, aten._cdist_forward.default,
        lambda b: call(*_pairs(b)[0], *((2.0, None) if b.functional else ()))),
    row("conv", "conv1d", F.conv1d, aten.convolution.default, _conv(1)),
    row("conv", "conv2d", F.conv2d, aten.convolution.default, _conv(2)),
    row("conv", "conv_transpose2d", F.conv_transpose2d, aten.convolution.default, _conv(2, transposed=True)),
    row("conv pool", "avg_pool2d", F.avg_pool2d, aten.avg_pool2d.default, _pool),
    row("conv pool", "max_pool2d", F.max_pool2d, aten.max_pool2d_with_indices.default, _pool),
    row("conv pool", "adaptive_avg_pool2d", F.adaptive_avg_pool2d, aten._adaptive_avg_pool2d.default, _adaptive),
    row("conv pool", "interpolate", F.interpolate, aten.upsample_nearest2d.default, _resize),
    row("norm", "layer_norm", F.layer_norm, aten.native_layer_norm.default, _layer_norm),
    row("norm", "rms_norm", F.rms_norm, aten.rms_norm.default, _rms_norm),
    row("norm", "group_norm", F.group_norm, aten.group_norm.default, _group_norm),
    row("norm", "batch_norm", F.batch_norm, aten._native_batch_norm_legit_no_training.default, _batch_norm),
    row("matmul attention", "scaled_dot_product_attention", F.scaled_dot_product_attention,
        aten.scaled_dot_product_attention.default, _attention),
    row("matmul complex", "fft", torch.fft.fft, aten.fft_fft.default,
        lambda b: call(b.tensor(WIDE, range(1, 4), full))),
)
