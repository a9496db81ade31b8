"""Process-wide state that one test must not hand to the next: noticed, named, and put back."""

from __future__ import annotations

import contextvars
import copy
import functools
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack, _pop_mode

from fxpect.autocast import autocast_depth, leave_autocast

_CONFIGS = ("torch._dynamo.config", "torch._inductor.config", "torch._functorch.config")
# What dynamo's own TestCase sets, and what makes a graph or a counter depend on the tests before: caches.
_PINS = {
    "torch._dynamo.config": {
        "nested_graph_breaks": True,
        "suppress_errors": False,
        "raise_on_ctx_manager_usage": True,
        "log_compilation_metrics": False,
        "canonicalize_output_graph_node_order": False,
    },
    "torch._inductor.config": {"fx_graph_cache": False, "fx_graph_remote_cache": False},
    "torch._functorch.config": {"enable_autograd_cache": False, "enable_remote_autograd_cache": False},
}
_MISSING = object()
_Setting = tuple[str, Callable[[], Any], Callable[[Any], Any]]


def pin_configuration() -> None:
    """Give the configuration of dynamo, Inductor and AOT autograd the values that every test sees.

    Call it inside a context of its own (``contextvars.copy_context().run``), with which the values go away
    again. Imports dynamo.
    """
    import torch._dynamo  # noqa: F401  (brings the three configurations)

    for name, pins in _PINS.items():
        config = sys.modules[name]
        for key, value in pins.items():
            if hasattr(config, key):
                setattr(config, key, value)


def reset_dynamo() -> None:
    """Make dynamo forget what it compiled and counted; nothing to do where it was never imported."""
    dynamo = sys.modules.get("torch._dynamo")
    if dynamo is not None and hasattr(dynamo, "reset"):
        dynamo.reset()
        dynamo.utils.counters.clear()


def seed_everything(seed: int = 0) -> None:
    """Seed the generators of torch, Python and NumPy (where it is loaded)."""
    torch.default_generator.manual_seed(seed)  # torch.manual_seed writes a stack down for each kind of device
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed)


class Randomness:
    """The states of the random generators, to put back later; drawing numbers is no leak."""

    def __init__(self) -> None:
        numpy = sys.modules.get("numpy")
        self._numpy = numpy.random.get_state() if numpy is not None else None
        self._torch, self._python = torch.get_rng_state(), random.getstate()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None

    def restore(self) -> None:
        """Put the generators back."""
        torch.set_rng_state(self._torch)
        random.setstate(self._python)
        if self._numpy is not None:
            sys.modules["numpy"].random.set_state(self._numpy)
        if self._cuda is not None:
            torch.cuda.set_rng_state_all(self._cuda)


class Snapshot:
    """Settings, modes and configuration at one moment.

    ``restore`` puts all of them back and returns what had to be, one line each: ``"grad mode: True became
    False"``. Random generators are ``Randomness``.
    """

    def __init__(self) -> None:
        self._settings = [(name, get(), get, put) for name, get, put in _settings()]
        self._modes = [(name, list(stack()), stack, pop) for name, stack, pop in _mode_stacks()]
        self._context = contextvars.copy_context()
        self._mutable = {
            (config, key): (value, copy.deepcopy(value)) for config, key, value in _mutable_overrides(self._context)
        }
        self._plain = {config: config.get_config_copy() for config in _plain_configs()}

    def restore(self) -> list[str]:
        """Put everything back; returns what had changed."""
        leaks = []
        for name, old, stack, pop in self._modes:  # first, since a mode sees every call that follows
            left = [mode for mode in stack() if not any(mode is one for one in old)]
            if left:
                leaks.append(f"{name}: {', '.join(type(mode).__name__ for mode in left)} left on the stack")
                for _ in left:
                    pop()
        for name, old, get, put in self._settings:
            new = get()
            if new != old:
                leaks.append(f"{name}: {_short(old)} became {_short(new)}")
                put(old)
        return [*leaks, *self._restore_configs()]

    def _restore_configs(self) -> list[str]:
        leaks = []
        now = contextvars.copy_context()
        for config, key in sorted(_changed(self._context, now), key=lambda pair: (pair[0].__name__, pair[1])):
            old, new = self._context.copy().run(_read, config, key), _read(config, key)
            if old is not new and not _equal(old, new):
                leaks.append(f"{config.__name__}.{key}: {_short(old)} became {_short(new)}")
                setattr(config, key, old)
        for (config, key), (value, kept) in self._mutable.items():
            if not _equal(value, kept):
                leaks.append(f"{config.__name__}.{key}: {_short(kept)} became {_short(value)}")
                _refill(value, copy.deepcopy(kept))
        for config, old_values in self._plain.items():
            for key, new in config.get_config_copy().items():
                if key in old_values and not _equal(old_values[key], new):
                    leaks.append(f"{config.__name__}.{key}: {_short(old_values[key])} became {_short(new)}")
            config.load_config(old_values)
        return leaks


def _refill(value: Any, kept: Any) -> None:
    """Give a container its old contents back in place: the saved context holds this very object."""
    if isinstance(value, list):
        value[:] = kept
    else:  # a dict or a set
        value.clear()
        value.update(kept)


def _settings() -> list[_Setting]:
    settings: list[_Setting] = [
        ("grad mode", torch.is_grad_enabled, torch.set_grad_enabled),
        ("default dtype", torch.get_default_dtype, torch.set_default_dtype),
        ("default device", torch.get_default_device, _set_device),
        ("deterministic algorithms", torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
        ("fill of uninitialized memory", _get_fill, _set_fill),
        ("number of threads", torch.get_num_threads, torch.set_num_threads),
        ("float32 matmul precision", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        ("anomaly mode", torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
        ("saved tensor hooks", torch._C._autograd._saved_tensors_hooks_is_enabled, _enable_hooks),
        ("autocast cache", torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
        ("autocast depth", autocast_depth, leave_autocast),
    ]
    for device in ("cpu", "cuda") if torch.cuda.is_initialized() else ("cpu",):
        settings.append(
            (
                f"{device} autocast",
                functools.partial(torch.is_autocast_enabled, device),
                functools.partial(torch.set_autocast_enabled, device),
            )
        )
        settings.append(
            (
                f"{device} autocast dtype",
                functools.partial(torch.get_autocast_dtype, device),
                functools.partial(torch.set_autocast_dtype, device),
            )
        )
    return settings


def _set_device(device: torch.device) -> None:
    # No default device reads as "cpu"; setting "cpu" itself would leave a function mode behind.
    torch.set_default_device(None if device == torch.device("cpu") else device)


def _get_fill() -> bool:
    return torch.utils.deterministic.fill_uninitialized_memory


def _set_fill(value: bool) -> None:
    torch.utils.deterministic.fill_uninitialized_memory = value


def _enable_hooks(enabled: bool) -> None:
    if enabled:
        torch._C._autograd._saved_tensors_hooks_enable()


def _function_modes() -> list[Any]:
    # The mode of the default device lies at the bottom and is a setting of its own.
    return [mode for mode in _get_current_function_mode_stack() if not isinstance(mode, DeviceContext)]


def _mode_stacks() -> list[tuple[str, Callable[[], list[Any]], Callable[[], Any]]]:
    return [
        ("function modes", _function_modes, torch._C._pop_torch_function_stack),
        ("dispatch modes", _get_current_dispatch_mode_stack, _pop_mode),
    ]


def _configs() -> Iterator[Any]:
    for name in _CONFIGS:
        config = sys.modules.get(name)
        if config is not None and getattr(config, "_config", None):
            yield config


def _keeps_contexts(config: Any) -> bool:
    """Whether the values are in context variables, as they are from torch 2.12 on."""
    return isinstance(next(iter(config._config.values())).user_override, contextvars.ContextVar)


def _plain_configs() -> list[Any]:
    return [config for config in _configs() if not _keeps_contexts(config)]


@functools.cache
def _variables(name: str) -> dict[contextvars.ContextVar[Any], str]:
    """Return the context variable of every entry of a configuration, with its name."""
    return {entry.user_override: key for key, entry in sys.modules[name]._config.items()}


def _changed(old: contextvars.Context, new: contextvars.Context) -> Iterator[tuple[Any, str]]:
    """Yield the entries of the configurations whose context variable differs."""
    names = [(config, _variables(config.__name__)) for config in _configs() if _keeps_contexts(config)]
    for variable in {*old, *new}:
        if old.get(variable, _MISSING) is not new.get(variable, _MISSING):
            for config, keys in names:
                if variable in keys:
                    yield config, keys[variable]


def _mutable_overrides(context: contextvars.Context) -> Iterator[tuple[Any, str, Any]]:
    names = [(config, _variables(config.__name__)) for config in _configs() if _keeps_contexts(config)]
    for variable, value in context.items():
        if isinstance(value, (list, dict, set)):
            for config, keys in names:
                if variable in keys:
                    yield config, keys[variable], value


def _read(config: Any, key: str) -> Any:
    return getattr(config, key)


def _equal(old: Any, new: Any) -> bool:
    try:
        return bool(old == new)
    except Exception:
        return old is new


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
