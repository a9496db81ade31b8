"""Two values side by side: what differs first, cheapest question first."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from fxpect.oracles.memory import strides_that_show

_PLAIN = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclasses.dataclass(frozen=True)
class Difference:
    """What differs (a short stable word), and both sides in words; ``index`` is that of the first element."""

    kind: str
    expected: str
    got: str
    index: tuple[int, ...] | None = None
    count: int = 0
    total: int = 0

    def __str__(self) -> str:
        where = ""
        if self.index is not None:
            where = f" at index {list(self.index)} ({self.count} of {self.total} elements)"
        return f"{self.kind}: expected {self.expected}; got {self.got}{where}"


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors of one dtype and shape hold the same bits: NaN is itself, -0.0 is not 0.0.

    Tensors on the meta device hold none.
    """
    if a.is_meta or b.is_meta:
        return a.is_meta and b.is_meta
    if a.dtype in _PLAIN and b.dtype is a.dtype and a.layout is b.layout is torch.strided and not a.is_neg() \
            and not b.is_neg():
        bits = _BITS[a.itemsize]
        a, b = (tensor.detach() if tensor.requires_grad else tensor for tensor in (a, b))
        return torch.equal(a.view(bits), b.view(bits))
    if a.is_quantized:
        return torch.equal(a, b)
    if a.layout != torch.strided:
        a, b = a.to_dense(), b.to_dense()
    a, b = a.detach().resolve_conj().resolve_neg(), b.detach().resolve_conj().resolve_neg()
    if a.is_complex():
        a, b = torch.view_as_real(a), torch.view_as_real(b)
    if a.is_floating_point():
        bits = _BITS[a.itemsize]
        a, b = a.view(bits), b.view(bits)
    return torch.equal(a, b)


def roughly_equal(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-3) -> bool:
    """Whether two runs of one graph agree: the same bits, or, for floats, all but the last few of them."""
    if same_bits(a, b):
        return True
    if not (a.is_floating_point() or a.is_complex()) or a.is_quantized:
        return False
    if a.layout != torch.strided:
        a, b = a.to_dense(), b.to_dense()
    wide = torch.complex128 if a.is_complex() else torch.float64
    a, b = a.detach().to(wide), b.detach().to(wide)
    scale = a[torch.isfinite(a)].abs().max().item() if bool(torch.isfinite(a).any()) else 0.0
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance * scale, equal_nan=True)


def form_difference(before: Any, after: Any, *, strides: bool = True) -> Difference | None:
    """Return how two values differ in anything but numbers: type, dtype, device, layout, shape, stride."""
    if not isinstance(before, torch.Tensor) or not isinstance(after, torch.Tensor):
        return _constant_difference(before, after)
    if before.dtype != after.dtype:
        return Difference("dtype", str(before.dtype), str(after.dtype))
    if before.shape != after.shape:
        return Difference("shape", str(list(before.shape)), str(list(after.shape)))
    if before.device != after.device:
        return Difference("device", str(before.device), str(after.device))
    if before.layout != after.layout:
        return Difference("layout", str(before.layout), str(after.layout))
    if not strides or before.layout != torch.strided or before.stride() == after.stride():
        return None
    if strides_that_show(before) != strides_that_show(after):
        return Difference("stride", str(before.stride()), str(after.stride()))
    return None


def _constant_difference(before: Any, after: Any) -> Difference | None:
    if type(before) is not type(after):
        return Difference("type", describe(before), describe(after))
    same = before is after or before == after or (before != before and after != after)
    return None if same else Difference("constant", repr(before), repr(after))


def element_difference(kind: str, where: torch.Tensor, before: torch.Tensor, after: torch.Tensor) -> Difference:
    """Return the difference whose elements ``where`` marks, named by the first of them."""
    index = tuple(int(i) for i in where.nonzero()[0])
    return Difference(kind, _number(before[index]), _number(after[index]), index, int(where.sum()), where.numel())


def _number(element: torch.Tensor) -> str:
    return repr(element.detach().item())


def describe(value: Any) -> str:
    """Return a value in a few words: a tensor by its dtype and shape, anything else by its repr."""
    if isinstance(value, torch.Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor {list(value.shape)}"
    return f"{type(value).__name__} {value!r}"


def words(tensor: torch.Tensor, limit: int = 6) -> str:
    """Return the first elements of a tensor as text."""
    shown = tensor.detach().flatten()[:limit].tolist()
    return f"{shown[:-1] + ['...'] if tensor.numel() > limit else shown}".replace("'...'", "...")
