"""What a graph assumes of its symbolic sizes: read it, and put it back."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from fxpect.text.propagation import fake_mode_of

# What specialising a symbol or guarding on it writes to.
_RECORDS = ("guards", "axioms", "replacements", "var_to_range", "divisible", "deferred_runtime_asserts",
            "num_deferred_runtime_asserts", "replacements_slocs", "var_to_range_sloc", "unbacked_renamings")


def shape_env_of(gm: torch.fx.GraphModule) -> ShapeEnv | None:
    """Return the environment that the graph's symbols live in, None for a static graph."""
    mode = fake_mode_of(gm)
    return getattr(mode, "shape_env", None)


@contextlib.contextmanager
def kept_shapes(gm: torch.fx.GraphModule) -> Iterator[ShapeEnv | None]:
    """Forget, afterwards, whatever was guarded on or specialised in the graph's environment meanwhile."""
    env = shape_env_of(gm)
    if env is None:
        yield None
        return
    saved = {name: copy.copy(getattr(env, name)) for name in _RECORDS if hasattr(env, name)}
    try:
        yield env
    finally:
        changed = any(_differs(getattr(env, name), old) for name, old in saved.items())
        for name, old in saved.items():
            setattr(env, name, old)
        if changed:
            env._update_version_counter()


def _differs(new: Any, old: Any) -> bool:
    return len(new) != len(old) if hasattr(new, "__len__") else new != old
