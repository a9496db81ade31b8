"""The tensors that a module owns: listed, lent to a run, and put back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from fxpect.oracles.memory import copy_args


def slots(module: torch.nn.Module) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield (path, dictionary, key) for every tensor that is an attribute of the module or below it."""
    seen: set[int] = set()
    stack: list[tuple[str, torch.nn.Module]] = [("", module)]
    while stack:
        prefix, owner = stack.pop()
        if id(owner) in seen:
            continue
        seen.add(id(owner))
        for where in (owner._parameters, owner._buffers, owner.__dict__):
            for key, value in where.items():
                if isinstance(value, torch.Tensor):
                    yield prefix + key, where, key
        stack.extend((f"{prefix}{name}.", child) for name, child in owner._modules.items() if child is not None)


def state_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the module's tensors by path: parameters, buffers and plain attributes."""
    return {path: where[key] for path, where, key in slots(module)}


@contextlib.contextmanager
def borrowed_state(
    module: torch.nn.Module, copies: Callable[[Sequence[Any]], list[Any]] = copy_args
) -> Iterator[dict[str, torch.Tensor]]:
    """Put copies in the place of the module's tensors for a while; gives the copies by path.

    What a run writes reaches the copies alone, and what it returns may alias them.
    """
    held = [(path, where, key, where[key]) for path, where, key in slots(module)]
    lent: dict[str, torch.Tensor] = {}
    if held:
        parts = {id(tensor): tensor for _, _, _, tensor in held}
        made = dict(zip(parts, map(_like, parts.values(), copies(list(parts.values()))), strict=True))
        for path, where, key, tensor in held:
            where[key] = lent[path] = made[id(tensor)]
    try:
        yield lent
    finally:
        for _, where, key, tensor in held:
            where[key] = tensor


def _like(tensor: torch.Tensor, copy: torch.Tensor) -> torch.Tensor:
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(copy.detach(), tensor.requires_grad)
    return copy
