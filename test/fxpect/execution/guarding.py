"""Put process-wide state back after a pass ran: random numbers, modes, defaults, configuration."""

from __future__ import annotations

import contextvars
import random
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")

_CONFIGS = ("torch._inductor.config", "torch._dynamo.config", "torch._functorch.config")


def run_guarded(call: Callable[[], Result]) -> tuple[Result, tuple[str, ...]]:
    """Call and return its result, and the names of the settings it had changed; all are put back.

    Restored, also when ``call`` raises: the generators of torch and Python, grad mode, the default dtype,
    autocast, deterministic mode, and the configuration of Inductor, dynamo and AOT autograd. Not restored:
    NumPy's global generator (reading it costs more than many a pass), and an element changed inside a list
    or dict that already was in a configuration.
    """
    before = [(name, get(), put) for name, get, put in _settings()]
    old_configs = _plain_configs()
    leaks: list[str] = []
    try:
        # torch keeps its configuration in context variables: what is set in a copy is gone with it.
        result = contextvars.copy_context().run(call)
    finally:
        after = {name: get() for name, get, _ in _settings()}
        for name, old, put in before:
            if not _same(old, after[name]):
                leaks.append(name)
                put(old)
        for config, values in old_configs:
            config.load_config(values)
    return result, tuple(leaks)


def _settings() -> list[tuple[str, Callable[[], Any], Callable[[Any], Any]]]:
    settings: list[tuple[str, Callable[[], Any], Callable[[Any], Any]]] = [
        ("grad mode", torch.is_grad_enabled, torch.set_grad_enabled),
        ("default dtype", torch.get_default_dtype, torch.set_default_dtype),
        ("deterministic mode", torch.are_deterministic_algorithms_enabled,
         torch.use_deterministic_algorithms),
        ("autocast cache", torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
        ("torch random state", torch.get_rng_state, torch.set_rng_state),
        ("python random state", random.getstate, random.setstate),
    ]
    for device in ("cpu", "cuda") if torch.cuda.is_initialized() else ("cpu",):
        settings.append((f"{device} autocast", *_autocast(device)))
    if torch.cuda.is_initialized():
        settings.append(("cuda random state", torch.cuda.get_rng_state, torch.cuda.set_rng_state))
    return settings


def _autocast(device: str) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    def get() -> tuple[bool, torch.dtype]:
        return torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)

    def put(old: tuple[bool, torch.dtype]) -> None:
        torch.set_autocast_enabled(device, old[0])
        torch.set_autocast_dtype(device, old[1])

    return get, put


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, torch.Tensor):
        return torch.equal(old, new)
    return bool(old == new)


def _plain_configs() -> list[tuple[Any, dict[str, Any]]]:
    """Copy the configurations of a torch that does not keep them in context variables (before 2.12)."""
    found = []
    for name in _CONFIGS:
        config: Any = sys.modules.get(name)
        entry = next(iter(getattr(config, "_config", {}).values()), None)
        if entry is not None and not isinstance(entry.user_override, contextvars.ContextVar):
            found.append((config, config.get_config_copy()))
    return found
