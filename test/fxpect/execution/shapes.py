"""Shape propagation that leaves no trace: on fake tensors, or on copies where shapes depend on data."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch._guards import detect_fake_mode
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.fx import GraphModule
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.fx.passes.shape_prop import ShapeProp
from torch.utils import _pytree as pytree

from fxpect.errors import FxpectError
from fxpect.examples import copy_graph_module, copy_tensor


def propagate_shapes(gm: GraphModule, inp: Any) -> tuple[Any, ...]:
    """Write ``tensor_meta`` and ``type`` on every node, as torch's helper does, and return the fake inputs.

    Neither the inputs nor the module's buffers nor a random state is touched. Raises ``FxpectError`` when
    the inputs do not fit the graph.
    """
    args = all_arguments(gm, inp)
    mode = detect_fake_mode(args) or FakeTensorMode(
        shape_env=ShapeEnv(), static_shapes=True, allow_non_fake_inputs=True)
    fakes = pytree.tree_map_only(torch.Tensor, lambda tensor: _fake(mode, tensor), args)
    try:
        with _quiet():
            ShapeProp(gm, fake_mode=mode).propagate(*fakes)
    except Exception as error:
        _propagate_on_copies(gm, args, error)
    return fakes


def all_arguments(gm: GraphModule, inp: Any) -> tuple[Any, ...]:
    """Return one argument per placeholder.

    A bare tensor is one argument. Where there are fewer arguments than placeholders, the missing ones are the
    first: the parameters and buffers that an export lifts, described by their own metadata.
    """
    args = tuple(inp) if isinstance(inp, (list, tuple)) else (inp,)
    if hasattr(gm.graph._codegen, "pytree_info"):
        return args
    placeholders = gm.graph.find_nodes(op="placeholder")
    wanted = f"{len(placeholders)} inputs, one per placeholder ({', '.join(n.name for n in placeholders)})"
    optional = sum(bool(node.args) for node in placeholders)
    missing = len(placeholders) - len(args)
    if missing < 0:
        raise FxpectError(f"expected {wanted}; got {len(args)}")
    if missing <= optional:
        return args
    lifted = [node.meta.get("val") for node in placeholders[:missing]]
    if any(value is None for value in lifted):
        raise FxpectError(f"expected {wanted}; got {len(args)}, and the first {missing} carry no metadata "
                          "that could stand in")
    return (*lifted, *args)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what torch prints and logs about a failure that is reported by its exception."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    was, logger.disabled = logger.disabled, True
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.disabled = was


def _fake(mode: FakeTensorMode, tensor: torch.Tensor) -> torch.Tensor:
    if isinstance(tensor, FakeTensor):
        return tensor
    return mode.from_tensor(tensor, static_shapes=True)


def _propagate_on_copies(gm: GraphModule, args: tuple[Any, ...], reason: Exception) -> None:
    """Run for real, on copies of everything, what cannot run on fake tensors."""
    leaves: Sequence[Any] = pytree.tree_leaves(args)
    if any(isinstance(leaf, FakeTensor) for leaf in leaves):
        raise _unfit(reason) from reason
    copied = copy_graph_module(gm)
    try:
        with _quiet(), torch.no_grad():
            ShapeProp(copied).propagate(*pytree.tree_map_only(torch.Tensor, copy_tensor, args))
    except Exception as error:
        raise _unfit(error) from error
    for node, twin in zip(gm.graph.nodes, copied.graph.nodes, strict=True):
        node.meta.update({key: twin.meta[key] for key in ("tensor_meta", "type") if key in twin.meta})


def _unfit(error: Exception) -> FxpectError:
    root = error.__cause__ or error
    return FxpectError(f"expected inputs that the graph runs on; got {type(root).__name__}: {root}")
