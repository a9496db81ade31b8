"""Specs as the Python that makes them, for a test to paste."""

from __future__ import annotations

from typing import Any

import torch

from fxpect.specs.dims import Dim
from fxpect.specs.reading import spec_of
from fxpect.specs.tensors import DTYPE_NAMES, TensorSpec


def spec_call(spec: Any) -> str:
    """Return the Python expression that makes an input: ``T(2, "B", 8, dtype="f16")``."""
    if isinstance(spec, torch.Tensor):
        spec = spec_of(spec)
    if not isinstance(spec, TensorSpec):
        return repr(spec)
    parts = [_size(size) for size in spec.shape]
    if spec.dtype is not torch.float32:
        parts.append(f'dtype="{DTYPE_NAMES[spec.dtype]}"')
    if spec.layout is not None:
        parts.append(f"layout={_quoted(spec.layout)}")
    if spec.values is not None:
        parts.append(f"values={_quoted(spec.values)}")
    if spec.requires_grad:
        parts.append("requires_grad=True")
    if spec.seed is not None:
        parts.append(f"seed={spec.seed}")
    return f"T({', '.join(parts)})"


def _size(size: int | Dim) -> str:
    if isinstance(size, Dim):
        return repr(size) if (size.min, size.max) != (0, None) else f'"{size.name}"'
    return str(size)


def _quoted(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_quoted, value)) + "]"
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return f'float("{value}")'
    return repr(value)
