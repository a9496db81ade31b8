"""Run a graph once and write down everything a caller could see of it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils import _pytree as pytree

from fxpect.autocast import autocast_kept
from fxpect.oracles.memory import copy_args
from fxpect.oracles.state import borrowed_state

Key = tuple[str, Any]


class Trace(NamedTuple):
    """The form of one tensor that a node gave when the graph ran; no stride where it is not strided."""

    dtype: torch.dtype
    shape: torch.Size
    stride: tuple[int, ...] | None
    device: torch.device


@dataclasses.dataclass
class Observation:
    """One run of one graph.

    ``outputs`` is what the graph returned, ``leaves`` and ``spec`` the same flattened; ``args`` are the
    arguments after the run, ``initial`` the values they started from; ``state`` maps attribute paths to
    the module's tensors after the run; ``rng`` is the state of the CPU generator after it; ``grads`` maps
    keys of arguments and attributes to gradients (None where there is none), and is None when none were
    asked for. ``error`` is what the run raised, ``grad_error`` what the backward raised; ``trace`` maps
    node names to the tensors of their results where the run was asked to keep them, ``reshaped`` names those
    whose very tensor is reshaped in place later, and ``stopped_at`` is the last node it reached.
    """

    initial: list[Any]
    args: list[Any] = dataclasses.field(default_factory=list)
    outputs: Any = None
    leaves: list[Any] = dataclasses.field(default_factory=list)
    spec: pytree.TreeSpec | None = None
    state: dict[str, torch.Tensor] = dataclasses.field(default_factory=dict)
    rng: torch.Tensor | None = None
    drew: bool = False
    grads: dict[Key, torch.Tensor | None] | None = None
    error: Exception | None = None
    grad_error: Exception | None = None
    trace: dict[str, list[Trace]] = dataclasses.field(default_factory=dict)
    reshaped: set[str] = dataclasses.field(default_factory=set)
    stopped_at: torch.fx.Node | None = None

    def values(self) -> dict[Key, Any]:
        """Return what a caller sees, by ("output", i), ("input", i), ("state", path) and ("grad", key)."""
        seen: dict[Key, Any] = {("output", i): as_tensor(leaf) for i, leaf in enumerate(self.leaves)}
        seen.update((("input", i), arg) for i, arg in enumerate(self.args))
        seen.update((("state", path), tensor) for path, tensor in self.state.items())
        seen.update((("grad", key), grad) for key, grad in (self.grads or {}).items())
        return seen


def as_tensor(leaf: Any) -> Any:
    """Return a Python float as a float64 tensor, to be judged like one; anything else as it is."""
    return torch.tensor(leaf, dtype=torch.float64) if type(leaf) is float else leaf


def observe(
    gm: torch.fx.GraphModule,
    args: Sequence[Any],
    *,
    seed: int | None = 0,
    grads: bool = False,
    interpreter: Callable[[torch.fx.GraphModule], Any] | bool = False,
    copies: Callable[[Sequence[Any]], list[Any]] = copy_args,
    backward: bool = True,
    epilogue: Callable[[Any, list[Any]], Any] | None = None,
) -> Observation:
    """Run ``gm`` on copies of ``args`` and return what a caller could see.

    The arguments, the module's tensors and the global generator are as before when this returns; only for a
    graph that is known to draw nothing may ``seed`` be None, which leaves the generator alone.
    ``grads`` runs with autograd on, and a backward from fixed weights unless ``backward=False``.
    ``interpreter`` runs the graph node by node, with ``torch.fx.Interpreter`` or with what the given function
    makes, which has its ``run``. ``copies`` makes the copies of the arguments and of the module's tensors.
    ``epilogue`` turns outputs and arguments into the outputs that count. An exception is kept, not raised.
    """
    seen = Observation(initial=list(args))
    make = torch.fx.Interpreter if interpreter is True else interpreter
    with borrowed_state(gm, copies) as state, seeded(seed) as fresh, autocast_kept(), \
            torch.set_grad_enabled(grads):
        seen.args = copies(args)
        try:
            seen.outputs = make(gm).run(*seen.args) if make else generated_code(gm)(*seen.args)
            if epilogue is not None:
                seen.outputs = epilogue(seen.outputs, seen.args)
        except Exception as error:
            seen.error = error
            return seen
        seen.leaves, seen.spec = pytree.tree_flatten(seen.outputs)
        seen.state = state
        if fresh is not None:
            seen.rng = torch.default_generator.get_state()
            seen.drew = not torch.equal(seen.rng, fresh)
        if grads and backward:
            seen.grads = _gradients(seen)
    return seen


def generated_code(gm: torch.fx.GraphModule) -> Callable[..., Any]:
    """Return the generated code: ``gm(...)`` would print a traceback for every graph that raises."""
    if hasattr(gm, "real_recompile"):  # a lazy module compiles on its first call, through gm(...)
        gm.real_recompile()
    return gm.forward


@contextlib.contextmanager
def seeded(seed: int | None) -> Iterator[torch.Tensor | None]:
    """Seed the CPU generator for a while; gives its state at the start, and puts the old one back."""
    if seed is None:
        yield None
        return
    generator = torch.default_generator
    saved = generator.get_state()
    start = _start(seed)
    generator.set_state(start)
    try:
        yield start
    finally:
        generator.set_state(saved)


@functools.lru_cache(maxsize=16)
def _start(seed: int) -> torch.Tensor:
    return torch.Generator().manual_seed(seed).get_state()


@functools.lru_cache(maxsize=256)
def weights(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return the fixed cotangent of an output: quarters in [-1.5, 1.5], exact in every float dtype."""
    count = 1
    for size in shape:
        count *= size
    line = torch.arange(count, device=device, dtype=torch.int64)
    return (((line * 7 + 3) % 13 - 6).to(torch.float64) / 4).to(dtype).reshape(tuple(shape))


def _gradients(seen: Observation) -> dict[Key, torch.Tensor | None]:
    wanted: dict[Key, torch.Tensor] = {}
    for i, arg in enumerate(seen.args):
        if isinstance(arg, torch.Tensor) and arg.requires_grad and arg.is_leaf:
            wanted["input", i] = arg
    for path, tensor in seen.state.items():
        if tensor.requires_grad and tensor.is_leaf:
            wanted["state", path] = tensor
    ends = [leaf for leaf in seen.leaves if isinstance(leaf, torch.Tensor) and leaf.requires_grad]
    if not ends or not wanted:
        return dict.fromkeys(wanted)
    try:
        starts = [weights(tuple(end.shape), end.dtype, end.device) for end in ends]
        found = torch.autograd.grad(ends, list(wanted.values()), starts, allow_unused=True)
    except Exception as error:
        seen.grad_error = error
        return {}
    return dict(zip(wanted, found, strict=True))
