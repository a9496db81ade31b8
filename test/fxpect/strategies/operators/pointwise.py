"""Pointwise operators: of one tensor, of two that broadcast, with a number, comparisons, activations."""

from __future__ import annotations

import operator

import torch
import torch.nn.functional as F

from fxpect.strategies.operators.building import (
    BOOL,
    COMPLEX,
    FLOATS,
    INTEGERS,
    NUMBERS,
    REAL,
    WIDE,
    Builder,
)
from fxpect.strategies.operators.rows import Arguments, binary, call, row, scalar, unary

aten = torch.ops.aten
DTYPES = (torch.float64, torch.float16, torch.float32, torch.int64, torch.bool, torch.bfloat16, torch.int32)


def _clamp(b: Builder) -> Arguments:
    x, (low, high) = b.tensor(NUMBERS), b.one_of((-1, 1), (0, None), (None, 2), (0.5, 0.25))
    if not b.dtype(x).is_floating_point and isinstance(low, float):
        low, high = 1, 0
    return call(x, low, high)


def _where(b: Builder) -> Arguments:
    mask = b.tensor(BOOL)
    first = b.partner(mask, NUMBERS)
    return call(mask, first, b.partner(mask, (b.dtype(first),)))


def _three(b: Builder) -> Arguments:
    x = b.tensor(FLOATS)
    return call(x, b.partner(x), b.partner(x))


def _lerp(b: Builder) -> Arguments:
    x = b.tensor(WIDE)
    return call(x, b.partner(x), 0.5)


def _scaled(name: str):
    def arguments(b: Builder) -> Arguments:
        x = b.tensor(NUMBERS)
        return call(x, b.partner(x), **({name: 2} if b.one_of(False, True) else {}))

    return arguments


def _cast(b: Builder) -> Arguments:
    x, dtype = b.tensor(REAL), b.pick(DTYPES)
    return call(x, dtype=dtype) if b.functional else call(x, dtype)


def _rounding(b: Builder) -> Arguments:
    x = b.tensor(FLOATS)
    return call(x, b.partner(x), rounding_mode=b.one_of("floor", "trunc"))


def _named(tags: str, words: str, kinds):
    """Rows of operators that torch and ATen call alike, of one tensor."""
    return tuple(row(tags, word, getattr(torch, word), getattr(aten, word).default, unary(kinds))
                 for word in words.split())


def _pairs(tags: str, words: str, kinds, mixed=None, overload="Tensor"):
    """Rows of operators that torch and ATen call alike, of two tensors."""
    return tuple(row(tags, word, getattr(torch, word), getattr(getattr(aten, word), overload), binary(kinds, mixed))
                 for word in words.split())


def _activations(words: str):
    return tuple(row("pointwise activation", word, getattr(F, word), getattr(aten, word).default, unary(FLOATS))
                 for word in words.split())


ROWS = (
    *_named("pointwise", "neg", NUMBERS),
    *_named("pointwise activation", "relu", NUMBERS),
    row("pointwise", "mul", torch.mul, aten.mul.Tensor, binary(NUMBERS)),
    row("pointwise", "add", torch.add, aten.add.Tensor, _scaled("alpha")),
    row("pointwise", "sub", torch.sub, aten.sub.Tensor, _scaled("alpha")),
    row("pointwise", "add mixed", torch.add, aten.add.Tensor, binary(NUMBERS, NUMBERS)),
    row("pointwise", "mul mixed", torch.mul, aten.mul.Tensor, binary(REAL, REAL)),
    row("pointwise", "div", torch.div, aten.div.Tensor, binary(FLOATS)),
    row("pointwise", "div rounded", torch.div, aten.div.Tensor_mode, _rounding),
    *_named("pointwise", "abs sign", NUMBERS),
    *_named("pointwise", "exp tanh sigmoid sqrt rsqrt reciprocal sin cos tan log log2 log10 log1p exp2 expm1 erf erfc "
            "floor ceil round trunc frac atan asin acos sinh cosh asinh erfinv lgamma digamma", FLOATS),
    *_named("pointwise", "square positive", NUMBERS),
    *_named("pointwise complex", "sgn angle conj_physical", COMPLEX),
    *_named("pointwise compare", "isnan isinf isfinite signbit", FLOATS),
    *_named("pointwise", "logical_not", REAL),
    *_named("pointwise", "bitwise_not", (*INTEGERS, *BOOL)),
    *_activations("gelu silu elu selu celu leaky_relu softplus mish hardtanh relu6 softshrink"),
    # Graph texts cannot name the torch-level spelling of these two.
    row("pointwise activation", "hardswish", None, aten.hardswish.default, unary(FLOATS)),
    row("pointwise activation", "hardsigmoid", None, aten.hardsigmoid.default, unary(FLOATS)),
    row("pointwise activation", "logsigmoid", F.logsigmoid, aten.log_sigmoid.default, unary(FLOATS)),
    row("pointwise activation", "hardshrink", F.hardshrink, aten.hardshrink.default, unary(FLOATS)),
    row("pointwise activation", "threshold", F.threshold, aten.threshold.default, unary(FLOATS, 0.5, 2)),
    row("pointwise activation", "glu", F.glu, aten.glu.default,
        lambda b: call(b.tensor(FLOATS, range(1, 4), lambda shape: shape[-1] % 2 == 0), -1)),
    row("pointwise", "nan_to_num", torch.nan_to_num, aten.nan_to_num.default, unary(FLOATS)),
    row("pointwise", "clamp", torch.clamp, aten.clamp.default, _clamp),
    row("pointwise", "clamp_min", torch.clamp_min, aten.clamp_min.default, scalar(NUMBERS, 0, 1)),
    row("pointwise", "add number", torch.add, aten.add.Tensor, scalar(NUMBERS, 1, 0, 2)),
    row("pointwise", "add float", operator.add, aten.add.Tensor, scalar(REAL, 0.5, 1.0)),
    row("pointwise", "mul number", operator.mul, aten.mul.Tensor, scalar(NUMBERS, 2, 1, 0)),
    row("pointwise", "sub number", operator.sub, aten.sub.Tensor, scalar(NUMBERS, 1, 0)),
    row("pointwise", "div number", operator.truediv, aten.div.Tensor, scalar(NUMBERS, 2, 0.5)),
    row("pointwise", "rsub", torch.rsub, aten.rsub.Scalar, scalar(NUMBERS, 1, 2)),
    row("pointwise", "pow number", torch.pow, aten.pow.Tensor_Scalar, scalar(FLOATS, 2, 3, 0.5, -1)),
    row("pointwise", "pow", torch.pow, aten.pow.Tensor_Tensor, binary(FLOATS)),
    row("pointwise", "pow base", torch.pow, aten.pow.Scalar, lambda b: call(2, b.tensor(FLOATS))),
    row("pointwise", "fmod number", torch.fmod, aten.fmod.Scalar, scalar(NUMBERS, 3, 2)),
    row("pointwise", "remainder number", torch.remainder, aten.remainder.Scalar, scalar(NUMBERS, 3, 2)),
    row("pointwise", "bitwise_and number", torch.bitwise_and, aten.bitwise_and.Scalar, scalar(INTEGERS, 3, 1)),
    *_pairs("pointwise", "maximum minimum", NUMBERS, overload="default"),
    *_pairs("pointwise", "fmax fmin", NUMBERS, overload="default"),
    *_pairs("pointwise", "atan2 hypot logaddexp logaddexp2 nextafter", WIDE, overload="default"),
    *_pairs("pointwise", "fmod remainder xlogy copysign", FLOATS),
    row("pointwise", "floor_divide", torch.floor_divide, aten.floor_divide.default, binary(FLOATS)),
    *_pairs("pointwise", "logical_and logical_or logical_xor", REAL, REAL, "default"),
    *_pairs("pointwise", "bitwise_and bitwise_or bitwise_xor", (*INTEGERS, *BOOL)),
    *_pairs("pointwise compare", "eq ne lt le gt ge", REAL, REAL),
    row("pointwise compare", "eq number", torch.eq, aten.eq.Scalar, scalar(NUMBERS, 0, 1)),
    row("pointwise compare", "gt number", operator.gt, aten.gt.Scalar, scalar(NUMBERS, 0, 1)),
    row("pointwise compare", "isclose", torch.isclose, aten.isclose.default, binary(WIDE)),
    row("pointwise", "where", torch.where, aten.where.self, _where),
    row("pointwise", "addcmul", torch.addcmul, aten.addcmul.default, _three),
    row("pointwise", "addcdiv", torch.addcdiv, aten.addcdiv.default, _three),
    row("pointwise", "lerp", torch.lerp, aten.lerp.Scalar, _lerp),
    row("pointwise complex", "complex", torch.complex, aten.complex.default,
        lambda b: (lambda x: call(x, b.like(x)))(b.tensor(WIDE))),
    row("pointwise complex", "abs complex", torch.abs, aten.abs.default, unary(COMPLEX)),
    row("pointwise complex", "mul complex", torch.mul, aten.mul.Tensor, binary((*WIDE, *COMPLEX), COMPLEX)),
    row("cast", "to dtype", "to", aten._to_copy.default, _cast),
    row("cast", "float", "float", None, unary(REAL)),
    row("cast", "double", "double", None, unary(REAL)),
    row("cast", "half", "half", None, unary(FLOATS)),
    row("cast", "long", "long", None, unary((*INTEGERS, *BOOL))),
    row("cast", "bool", "bool", None, unary(REAL)),
    row("cast", "type_as", "type_as", aten.type_as.default, lambda b: call(b.tensor(NUMBERS), b.tensor(FLOATS))),
)
