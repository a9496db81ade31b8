"""Kinds of values: the same bytes for the same seed on every machine and every torch.

All randomness is integers from Python's own generator, turned into floats by exact arithmetic or by
one rounding; no torch generator and no vectorised mathematical function has a part in it.
"""

from __future__ import annotations

import functools
import math
import random
import sys
from typing import Any

import torch

from fxpect.errors import SpecError

KINDS = ("normal", "integers", "halves", "positive", "uniform", "zeros", "ones", "special", "extreme", "ties", "large",
         "roots", "close")
# Values of so few elements are kept for the next time.
KEPT_ELEMENTS = 1024
INEXACT = ("normal", "halves", "uniform", "special", "large", "roots", "close")  # kinds that only floats have
_UNIFORM_BITS = {torch.float16: 11, torch.bfloat16: 8}


def default_kind(dtype: torch.dtype) -> str:
    """Return the kind that a spec of ``dtype`` has when it names none."""
    return "normal" if dtype.is_floating_point or dtype.is_complex else "integers"


def check_kind(values: Any, dtype: torch.dtype, shape: tuple) -> Any:
    """Return ``values`` in its one spelling; raises ``SpecError`` where ``dtype`` or ``shape`` forbids it."""
    if values is None or values == default_kind(dtype):
        return None
    if isinstance(values, torch.Tensor):
        values = values.tolist()
    if isinstance(values, (list, tuple)):
        return _check_list(values, dtype, shape)
    if isinstance(values, (bool, int, float, complex)):
        return _check_number(values, dtype)
    if isinstance(values, str) and values.startswith("index:"):
        return _check_index(values, dtype)
    if values not in KINDS:
        raise SpecError(f"expected values among {', '.join(KINDS)}, index:N, a number or a list; "
                        f"got {values!r}")
    inexact = dtype.is_floating_point or dtype.is_complex
    if values in INEXACT and not inexact:
        raise SpecError(f"values={values!r} needs a floating dtype; got {dtype}")
    if values in ("positive", "uniform") and (dtype.is_complex or dtype == torch.bool):
        raise SpecError(f"values={values!r} has no meaning for {dtype}")
    return values


def make_values(kind: Any, dtype: torch.dtype, shape: tuple[int, ...], seed: object) -> torch.Tensor:
    """Return a contiguous tensor of ``shape`` on the CPU; equal arguments give equal bytes."""
    if isinstance(kind, tuple):
        return torch.tensor(_lists(kind), dtype=dtype).reshape(shape)
    if isinstance(kind, (bool, int, float, complex)):
        return torch.full(shape, kind, dtype=dtype)
    if kind in ("zeros", "ones"):
        return torch.full(shape, kind == "ones", dtype=dtype)
    count = math.prod(shape)
    # Under a mode, such as that of fake tensors, what is made is not what it looks like.
    if count <= KEPT_ELEMENTS and not torch._C._len_torch_dispatch_stack() and not torch.is_inference_mode_enabled():
        return _kept(kind, dtype, count, str(seed)).clone().reshape(shape)
    return _drawn(kind, dtype, count, str(seed)).reshape(shape)


def _drawn(kind: str, dtype: torch.dtype, count: int, seed: str) -> torch.Tensor:
    rng = random.Random(f"{kind} {seed}")
    if dtype.is_complex:
        part = torch.float64 if dtype == torch.complex128 else torch.float32
        pair = [_reals(kind, part, count, rng) for _ in range(2)]
        return torch.complex(*pair).to(dtype)
    return _reals(kind, dtype, count, rng)


# A search realizes a few specs thousands of times.
_kept = functools.lru_cache(maxsize=512)(_drawn)


def kind_of(tensor: torch.Tensor) -> str | None:
    """Return a kind that makes values like those of ``tensor``: the narrowest of a few."""
    if tensor.numel() == 0 or tensor.is_complex() or tensor.device.type == "meta":
        return None
    values = tensor.detach().cpu()
    if values.dtype == torch.bool:
        return "ones" if values.all() else "zeros" if not values.any() else None
    if not values.dtype.is_floating_point:
        return _integer_kind(values.to(torch.int64))
    values = values.to(torch.float64)
    if not torch.isfinite(values).all():
        return "special"
    for kind, holds in (("zeros", (values == 0).all()), ("ones", (values == 1).all()),
                        ("integers", (values == values.round()).all() and values.abs().max() <= 8)):
        if holds:
            return kind
    return "positive" if (values > 0).all() else None


def _integer_kind(values: torch.Tensor) -> str | None:
    low, high = int(values.min()), int(values.max())
    if low == high and low in (0, 1):
        return "ones" if low else "zeros"
    return f"index:{high + 1}" if low >= 0 else None


def _check_list(values: list | tuple, dtype: torch.dtype, shape: tuple) -> tuple:
    if any(type(size) is not int for size in shape):
        raise SpecError("a list of values needs a fixed shape; got a named dim")
    try:
        if tuple(torch.tensor(_lists(values), dtype=dtype).shape) != shape and math.prod(shape):
            raise ValueError("another shape")
        if not math.prod(shape) and _leaves(values):
            raise ValueError("values for an empty shape")
        return _tuples(values, dtype)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise SpecError(f"expected values of the shape {list(shape)} and dtype {dtype}; "
                        f"got {values!r} ({error})") from error


def _check_number(value: Any, dtype: torch.dtype) -> Any:
    if dtype == torch.bool:
        fits = value in (0, 1)
        value = bool(value) if fits else value
    elif dtype.is_complex:
        fits, value = True, complex(value)
    elif isinstance(value, complex):
        fits = False
    elif dtype.is_floating_point:
        fits, value = True, float(value)
    else:
        limits = torch.iinfo(dtype)
        fits = math.isfinite(value) and value == int(value) and limits.min <= value <= limits.max
        value = int(value) if fits else value
    if not fits:
        raise SpecError(f"values={value!r} is no value of {dtype}")
    if isinstance(value, float) and value != value:
        return math.nan
    return value


def _check_index(values: str, dtype: torch.dtype) -> str:
    digits = values.removeprefix("index:").strip()
    if dtype.is_floating_point or dtype.is_complex or dtype == torch.bool:
        raise SpecError(f"values={values!r} needs an integer dtype; got {dtype}")
    most = torch.iinfo(dtype).max + 1
    if not digits.isdecimal() or not 1 <= int(digits) <= most:
        raise SpecError(f"expected index:N with N from 1 to {most} for {dtype}; got {values!r}")
    return f"index:{int(digits)}"


def _reals(kind: str, dtype: torch.dtype, count: int, rng: random.Random) -> torch.Tensor:
    if kind == "extreme":
        return _pick(_extremes(dtype), count, rng).to(dtype)
    if kind.startswith("index:"):
        return _below(int(kind.removeprefix("index:")), count, rng).to(dtype)
    if kind == "special":
        return _special(dtype, count, rng)
    if kind in ("large", "roots", "close"):
        return _big(kind, dtype, count, rng)
    return _finite(kind, dtype, count, rng).to(dtype)


def _finite(kind: str, dtype: torch.dtype, count: int, rng: random.Random) -> torch.Tensor:
    signed = dtype.is_signed
    if kind == "normal":            # the sum of four even integers, scaled: near normal, within 3.47
        sums = _words(torch.int16, 4 * count, rng).view(count, 4).sum(1, dtype=torch.float64)
        return sums.mul_(math.sqrt(3) / 65536)
    if kind == "integers":
        return _below(2, count, rng) if dtype == torch.bool else _below(9, count, rng) - (4 if signed else 0)
    if kind == "halves":
        return (_below(17, count, rng) - 8).to(torch.float64) / 2
    if kind == "positive":
        return (_below(1024, count, rng) + 128).to(torch.float64) / 256 if dtype.is_floating_point \
            else _below(8, count, rng) + 1
    if kind == "uniform":
        bits = _UNIFORM_BITS.get(dtype, 16)
        return _below(2 ** bits, count, rng).to(torch.float64) / 2 ** bits
    return _below(3, count, rng) - 1 if signed and dtype != torch.bool else _below(2, count, rng)


def _special(dtype: torch.dtype, count: int, rng: random.Random) -> torch.Tensor:
    """Return normal values, a third of them odd, and one of each odd value at least where there is room."""
    odd = torch.tensor([math.nan, math.inf, -math.inf, -0.0], dtype=dtype)
    chosen = _below(12, count, rng)
    values = torch.where(chosen < 4, odd[chosen.clamp(max=3)], _finite("normal", dtype, count, rng).to(dtype))
    places = rng.sample(range(count), min(4, count))
    values[places] = odd[:len(places)]
    return values


def _big(kind: str, dtype: torch.dtype, count: int, rng: random.Random) -> torch.Tensor:
    """Return finite values of which two together leave the range of the dtype, or its digits.

    "large": normal values, and two side by side whose difference overflows; no third, since more of them overflow or
    not by the order in which they are added. "roots": of either sign, the product of any two overflows, their sum does
    not. "close": positive, with differences that are few units in the last place.
    """
    limits = torch.finfo(dtype)
    if kind == "close":  # where the unit in the last place is a quarter: 3e6 in float32, 384 in half
        return (_finite("halves", dtype, count, rng) + 0.375 / limits.eps).to(dtype)
    if kind == "large":
        values = _finite("normal", dtype, count, rng).to(dtype)
        place = 2 * rng.randrange(max(1, count // 2))
        values[place:place + 2] = torch.tensor([0.6, -0.7], dtype=torch.float64)[:count - place] * limits.max
        return values
    share = (_below(128, count, rng) + 1).to(torch.float64) / 1024
    signs = (_below(2, count, rng) * 2 - 1).to(torch.float64)
    return (signs * math.sqrt(limits.max) * (1.0625 + share)).to(dtype)


def _extremes(dtype: torch.dtype) -> torch.Tensor:
    if dtype == torch.bool:
        return torch.tensor([False, True])
    if not dtype.is_floating_point:
        limits = torch.iinfo(dtype)
        odd = {limits.max, limits.min, limits.max - 1, limits.min + 1, 0, 1, max(limits.min, -1)}
        return torch.tensor(sorted(odd), dtype=dtype)
    limits = torch.finfo(dtype)
    below = limits.max * (1 - limits.eps / 2)
    tiny = [limits.tiny, -limits.tiny, limits.smallest_normal * limits.eps, 1 + limits.eps, 0.0, -0.0]
    return torch.tensor([limits.max, limits.min, below, -below, *tiny], dtype=torch.float64).to(dtype)


def _below(n: int, count: int, rng: random.Random) -> torch.Tensor:
    """Return ``count`` integers in [0, n), as int64."""
    words = _words(torch.int32 if n < 2 ** 31 else torch.int64, count, rng)
    return words.remainder(n).to(torch.int64)


def _words(dtype: torch.dtype, count: int, rng: random.Random) -> torch.Tensor:
    """Return ``count`` integers that take every value of ``dtype``; low bytes come first on every machine."""
    if not count:
        return torch.empty(0, dtype=dtype)
    data = bytearray(rng.randbytes(dtype.itemsize * count))
    if sys.byteorder == "big":
        data.reverse()
    return torch.frombuffer(data, dtype=dtype)


def _pick(table: torch.Tensor, count: int, rng: random.Random) -> torch.Tensor:
    return table[_below(table.numel(), count, rng)]


def _lists(values: Any) -> Any:
    return [_lists(value) for value in values] if isinstance(values, (list, tuple)) else values


def _leaves(values: Any) -> list:
    nested = isinstance(values, (list, tuple))
    return [leaf for value in values for leaf in _leaves(value)] if nested else [values]


def _tuples(values: Any, dtype: torch.dtype) -> Any:
    if isinstance(values, (list, tuple)):
        return tuple(_tuples(value, dtype) for value in values)
    return _check_number(values, dtype)
