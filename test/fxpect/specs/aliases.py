"""Inputs that are other inputs: the very same tensor, or a view that overlaps it."""

from __future__ import annotations

import dataclasses

import torch

from fxpect.errors import SpecError


@dataclasses.dataclass(frozen=True)
class Same:
    """This input is the very tensor of input ``index``, which stands before it (counted over all leaves)."""

    index: int

    def __post_init__(self):
        if type(self.index) is not int or self.index < 0:
            raise SpecError(f"expected the place of an earlier input; got Same({self.index!r})")

    def __repr__(self) -> str:
        return f"Same({self.index})"

    def alias(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return ``tensor`` itself."""
        return tensor


@dataclasses.dataclass(frozen=True)
class View(Same):
    """This input is a view of input ``index``: its elements from ``start`` on, along ``dim``.

    ``View(0)`` is another tensor object with all the elements; ``View(0, start=1)`` overlaps in part.
    """

    start: int = 0
    dim: int = 0

    def __post_init__(self):
        super().__post_init__()
        if type(self.start) is not int or self.start < 0 or type(self.dim) is not int or self.dim < 0:
            raise SpecError(f"expected start and dim of 0 or more; got {self!r}")

    def __repr__(self) -> str:
        extras = [f", {word}={value}" for word, value in (("start", self.start), ("dim", self.dim)) if value]
        return f"View({self.index}{''.join(extras)})"

    def alias(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the view of ``tensor``; raises ``SpecError`` where it has no such part."""
        if self.dim >= max(tensor.dim(), 1) or (tensor.dim() and self.start > tensor.shape[self.dim]):
            raise SpecError(f"{self!r}: input {self.index} has the shape {list(tensor.shape)}")
        base = tensor.detach()
        part = base.narrow(self.dim, self.start, base.shape[self.dim] - self.start) if base.dim() else base
        return part.requires_grad_(tensor.requires_grad)
