"""One row of the operator table, and the ways to choose arguments that many rows share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch

from fxpect.strategies.operators.building import FLOATS, REAL, Builder

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Operator:
    """An operator as random programs call it.

    ``function`` is its torch-level spelling, a callable or the name of a method; ``overload`` the one of ATen
    graphs; None where that dialect has none. ``arguments`` chooses operands among the values of a builder.
    """

    name: str
    function: Any
    overload: Any
    arguments: Callable[[Builder], Arguments]
    tags: frozenset[str]

    def target(self, functional: bool) -> tuple[str, Any]:
        """Return (op, target) of a node that calls it, target None where the dialect has no such operator."""
        if functional:
            return "call_function", self.overload
        return ("call_method" if isinstance(self.function, str) else "call_function"), self.function


def row(tags: str, name: str, function: Any, overload: Any, arguments: Callable[[Builder], Arguments]) -> Operator:
    """Return a row; ``tags`` are words."""
    return Operator(name, function, overload, arguments, frozenset(tags.split()))


def call(*args: Any, **kwargs: Any) -> Arguments:
    """Return the arguments of a call as a pair."""
    return args, kwargs


def unary(kinds: Sequence[torch.dtype] = FLOATS, *rest: Any) -> Callable[[Builder], Arguments]:
    """Choose one tensor; ``rest`` are further arguments as they are."""
    return lambda b: call(b.tensor(kinds), *rest)


def binary(kinds: Sequence[torch.dtype] = FLOATS, mixed: Sequence[torch.dtype] | None = None) \
        -> Callable[[Builder], Arguments]:
    """Choose two tensors that broadcast, of one dtype, or the second of ``mixed``."""
    def arguments(b: Builder) -> Arguments:
        first = b.tensor(kinds)
        return call(first, b.partner(first, mixed))

    return arguments


def scalar(kinds: Sequence[torch.dtype], *numbers: Any) -> Callable[[Builder], Arguments]:
    """Choose a tensor and one of the numbers."""
    return lambda b: call(b.tensor(kinds), b.pick(numbers))


def along(kinds: Sequence[torch.dtype] = REAL, *rest: Any, nonempty: bool = False) -> Callable[[Builder], Arguments]:
    """Choose a tensor and one of its dims."""
    def arguments(b: Builder) -> Arguments:
        first = b.tensor(kinds, fits=full if nonempty else None)
        return call(first, b.dim(first), *rest)

    return arguments


def full(shape: tuple[int, ...]) -> bool:
    """Return whether a tensor of this shape has elements."""
    return 0 not in shape
