"""Fake tensors for a call, with one symbol per named dim."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch._dynamo.source import ConstantSource
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.utils._sympy.numbers import int_oo
from torch.utils._sympy.value_ranges import ValueRanges

from fxpect.capture.calls import Call
from fxpect.specs import Dim


@dataclasses.dataclass
class Fakes:
    """The leaves of a call and the tensors of its model as fakes of one fresh mode."""

    mode: FakeTensorMode
    leaves: list[Any]
    state: list[torch.Tensor]

    def symbols(self) -> list[torch.SymInt]:
        """Return one symbolic int per symbol, in order of first appearance."""
        found: dict[Any, torch.SymInt] = {}
        for leaf in self.leaves:
            for size in symbolic_sizes(leaf):
                if size.node.expr.is_Symbol:
                    found.setdefault(size.node.expr, size)
        return list(found.values())


def fake_values(call: Call, state: Iterable[torch.Tensor], *, gradients: bool = False) -> Fakes:
    """Return fakes for the leaves of ``call`` and for the ``state`` tensors, which are static.

    A dim with a name, and with ``dynamic=True`` any dim of size 2 or more, becomes a symbol; equal
    sizes become one symbol, and ``default_sizes`` gives every name a size of its own. The state
    requires grad with ``gradients`` alone; where then nothing does, every floating leaf does.
    """
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    leaves = [_fake(mode, call, i) if isinstance(value, torch.Tensor) else value
              for i, value in enumerate(call.values)]
    _relate(call, leaves)
    fakes = Fakes(mode, leaves, [mode.from_tensor(tensor.detach(), static_shapes=True) for tensor in state])
    if gradients:
        for fake, tensor in zip(fakes.state, state, strict=True):
            fake.requires_grad_(tensor.requires_grad)
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        if not any(tensor.requires_grad for tensor in [*tensors, *fakes.state]):
            for tensor in tensors:
                tensor.requires_grad_(tensor.is_floating_point())
    return fakes


def symbolic_sizes(value: Any) -> Iterator[torch.SymInt]:
    """Yield the symbolic sizes of a fake tensor, or the symbolic int itself."""
    if isinstance(value, torch.SymInt):
        yield value
    elif isinstance(value, torch.Tensor):
        yield from (size for size in value.shape if isinstance(size, torch.SymInt))


def raw(size: torch.SymInt) -> Any:
    """Return the expression of a symbolic int as it was created, before any replacement."""
    return size.node._expr


def narrow(size: torch.SymInt, dim: Dim) -> None:
    """Tell the shape environment the range that ``dim`` declares for a symbolic size."""
    known = size.node.shape_env.var_to_range
    if raw(size) in known and not dim.is_derived and (dim.min > 2 or dim.max is not None):
        known[raw(size)] &= ValueRanges(max(dim.min, 2), int_oo if dim.max is None else dim.max)


def _fake(mode: FakeTensorMode, call: Call, leaf: int) -> torch.Tensor:
    value, named = call.values[leaf], call.dims(leaf)
    opened = [dim is not None or free for dim, free in zip(named, call.free_dims(leaf), strict=True)]
    if not any(opened):
        return mode.from_tensor(value, static_shapes=True)
    context = StatelessSymbolicContext(
        dynamic_sizes=[DimDynamic.DUCK if is_open else DimDynamic.STATIC for is_open in opened],
        constraint_sizes=[None] * len(opened))
    fake = mode.from_tensor(value, symbolic_context=context, source=ConstantSource(call.names[leaf]))
    for dim, size in zip(named, fake.shape, strict=True):
        if dim is not None and isinstance(size, torch.SymInt):
            narrow(size, dim)
    return fake


def _relate(call: Call, leaves: list[Any]) -> None:
    """Make a dim such as 2*B that very multiple of B in the shape environment."""
    sizes = [(dim, size) for i in call.tensor_leaves()
             for dim, size in zip(call.dims(i), leaves[i].shape, strict=True) if dim is not None]
    plain = {dim.name: size for dim, size in sizes if not dim.is_derived}
    for dim, size in sizes:
        if dim.is_derived and plain.keys() >= set(dim.names):
            bool(size == dim.evaluate(plain))
