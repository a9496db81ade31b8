"""Memory that tensors share: copies that keep the sharing, and which elements overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

EXACT_UP_TO = 1_000_000


def storage_key(tensor: torch.Tensor) -> int:
    """Return a number that tensors sharing memory have in common (and no other one at the same time)."""
    try:
        return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):  # sparse and other tensors without a storage
        return id(tensor)


def copy_args(args: Sequence[Any]) -> list[Any]:
    """Return copies of flat arguments: equal values and strides, the same ones aliasing as before."""
    tensors = {id(arg): arg for arg in args if isinstance(arg, torch.Tensor)}
    users: dict[int, int] = {}
    for tensor in tensors.values():
        key = storage_key(tensor)
        users[key] = users.get(key, 0) + 1
    bases: dict[int, torch.UntypedStorage] = {}
    copied: dict[int, torch.Tensor] = {}
    for ident, tensor in tensors.items():
        plain = tensor.layout != torch.strided or (users[storage_key(tensor)] == 1 and tensor.is_contiguous())
        copy = tensor.detach().clone() if plain else _window_on_copy(tensor, bases)
        copied[ident] = copy.requires_grad_(tensor.requires_grad) if tensor.requires_grad else copy
    return [copied[id(arg)] if isinstance(arg, torch.Tensor) else arg for arg in args]


def _window_on_copy(tensor: torch.Tensor, bases: dict[int, torch.UntypedStorage]) -> torch.Tensor:
    """Return the same window onto a copy of the whole storage."""
    key = storage_key(tensor)
    if key not in bases:
        bases[key] = tensor.untyped_storage().clone()
    window = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return window.set_(bases[key], tensor.storage_offset(), tensor.size(), tensor.stride())


def strides_that_show(tensor: torch.Tensor) -> tuple[tuple[int, int], ...]:
    """Return (dimension, stride) where a stride can be told by a caller: sizes above one, no empty tensor."""
    if tensor.layout != torch.strided or tensor.numel() == 0:
        return ()
    return tuple(
        (i, stride) for i, (size, stride) in enumerate(zip(tensor.shape, tensor.stride(), strict=True)) if size > 1
    )


def overlap(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether some element of ``a`` and some element of ``b`` are the same memory.

    Above a million elements two interleaved windows are taken to overlap.
    """
    if a.numel() == 0 or b.numel() == 0 or storage_key(a) != storage_key(b):
        return False
    if a.layout != torch.strided or b.layout != torch.strided:
        return a is b
    (low_a, high_a), (low_b, high_b) = _extent(a), _extent(b)
    if high_a <= low_b or high_b <= low_a:
        return False
    dense = all(t.numel() * t.itemsize == high - low for t, low, high in ((a, low_a, high_a), (b, low_b, high_b)))
    if dense or max(a.numel(), b.numel()) > EXACT_UP_TO:
        return True
    return bool(torch.isin(_bytes(a), _bytes(b)).any())


def overlaps_itself(tensor: torch.Tensor) -> bool:
    """Whether two elements of a dense tensor are the same memory."""
    return tensor.numel() > 0 and torch.unique(_bytes(tensor)).numel() < tensor.numel() * tensor.itemsize


def same_window(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors (of two runs) sit at the same place of their storages."""
    return (
        a.storage_offset() * a.itemsize == b.storage_offset() * b.itemsize
        and a.shape == b.shape
        and strides_that_show(a) == strides_that_show(b)
    )


def _extent(tensor: torch.Tensor) -> tuple[int, int]:
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    start = tensor.storage_offset() * tensor.itemsize
    return start, start + (reach + 1) * tensor.itemsize


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    """Return the address, within the storage, of every byte of the tensor."""
    offsets = torch.full((1,), tensor.storage_offset(), dtype=torch.int64)
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        if stride:
            offsets = (offsets[:, None] + torch.arange(size) * stride).flatten()
    return (offsets[:, None] * tensor.itemsize + torch.arange(tensor.itemsize)).flatten()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return all memory behind a tensor as one row of its dtype."""
    size = tensor.untyped_storage().nbytes() // tensor.itemsize
    return tensor.detach().as_strided((size,), (1,), 0)
