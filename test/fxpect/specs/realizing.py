"""Values for a whole list of inputs, aliases included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from fxpect.errors import SpecError
from fxpect.specs.aliases import Same
from fxpect.specs.dims import Dim
from fxpect.specs.tensors import TensorSpec


def dims_of(spec: Any) -> tuple[Dim, ...]:
    """Return the named dims of an input."""
    if isinstance(spec, TensorSpec):
        return spec.dims
    return (spec,) if isinstance(spec, Dim) else ()


def realize(specs: Sequence[Any], sizes: Mapping[str, int], *, seed: int = 0,
            device: torch.device | str | None = None) -> list[Any]:
    """Return one value per spec, each from a seed of its own; real tensors and constants stay.

    ``sizes`` gives every named dim its size. Raises ``SpecError`` for an alias without a tensor before it.
    """
    values: list[Any] = []
    for i, spec in enumerate(specs):
        if isinstance(spec, TensorSpec):
            value: Any = spec.example(sizes, seed=1000 * seed + i, device=device or "cpu")
        elif isinstance(spec, Same):
            if spec.index >= i or not isinstance(values[spec.index], torch.Tensor):
                raise SpecError(f"input {i}: expected {spec!r} to name a tensor among the inputs before it")
            value = spec.alias(values[spec.index])
        elif isinstance(spec, Dim):
            value = spec.size(sizes)
        elif isinstance(spec, torch.Tensor) and device is not None:
            value = spec.detach().to(device).requires_grad_(spec.requires_grad)
        else:
            value = spec
        values.append(value)
    return values
