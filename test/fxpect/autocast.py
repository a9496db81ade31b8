"""Autocast as a graph leaves it: one that raises in a region of it leaves it on, and its nesting too deep."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

_DEVICES = ("cpu", "cuda")


@contextlib.contextmanager
def autocast_kept() -> Iterator[None]:
    """Put autocast back as it was: on or off and its dtype for each device, its cache, how deep it is nested."""
    saved = [(device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)) for device in _DEVICES]
    cache, depth = torch.is_autocast_cache_enabled(), autocast_depth()
    try:
        yield
    finally:
        for device, enabled, dtype in saved:
            torch.set_autocast_enabled(device, enabled)
            torch.set_autocast_dtype(device, dtype)
        torch.set_autocast_cache_enabled(cache)
        leave_autocast(depth)


def autocast_depth() -> int:
    """Return how many regions of autocast are open."""
    depth = torch.autocast_increment_nesting() - 1
    torch.autocast_decrement_nesting()
    return depth


def leave_autocast(depth: int) -> None:
    """Close regions of autocast until so many are open; with the last one the cache of casts is emptied."""
    while autocast_depth() > depth:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
