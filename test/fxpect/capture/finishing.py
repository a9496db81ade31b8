"""The last step of every capture: inputs named, assumptions checked, metadata complete."""

from __future__ import annotations

from typing import Any

import torch

from fxpect.capture.calls import Call
from fxpect.capture.results import PENDING, Captured
from fxpect.capture.symbols import SymbolNames, hint
from fxpect.errors import CaptureError
from fxpect.examples import Example
from fxpect.specs import Dim, TensorSpec, spec_of
from fxpect.specs.layouts import layout_of
from fxpect.text.effects import attribute_of
from fxpect.text.propagation import propagate


def finish(call: Call, captured: Captured, capture: str, frozen: bool) -> Example:
    """Return the example; raises ``CaptureError`` where the graph does not hold for every declared size."""
    gm, inputs = captured.graph_module, captured.inputs
    meta_key = "example_value" if capture == "dynamo" else "val"
    placeholders = gm.graph.find_nodes(op="placeholder")
    if len(placeholders) != len(inputs.specs):
        raise CaptureError(f"{call.name}: {len(placeholders)} placeholders for {len(inputs.specs)} inputs")
    values = [node.meta.get(meta_key) for node in placeholders]
    names = SymbolNames(call, values, inputs.leaves)
    names.check(capture)
    specs = [_input(spec, value, leaf, names) for spec, value, leaf in
             zip(inputs.specs, values, inputs.leaves, strict=True)]
    if frozen:
        specs = _freeze(gm, placeholders, specs, inputs.state)
    if any(_untyped(gm, node, meta_key) for node in gm.graph.nodes):
        propagate(gm, meta_key=meta_key, only_missing=True)
    return Example(gm, tuple(specs), capture, names.sizes, exported=captured.exported)


def _input(spec: Any, value: Any, leaf: int | None, names: SymbolNames) -> Any:
    """Return the input for a placeholder, from its metadata where the call does not say it.

    A real tensor with a dim that ``dynamic=True`` left open becomes its spec: another size, other values.
    """
    if isinstance(value, torch.SymInt):
        unbacked = value.node.hint is None and isinstance(spec, int)
        return spec if unbacked else names.dim(value)
    if spec is PENDING:
        if not isinstance(value, torch.Tensor):
            return value
        return described(value, names)
    if isinstance(spec, (TensorSpec, torch.Tensor)) and isinstance(value, torch.Tensor):
        shape = tuple(map(names.dim, value.shape))
        if isinstance(spec, torch.Tensor) and any(isinstance(size, Dim) for size in shape):
            spec = spec_of(spec)
            spec = spec.replace(layout=None if isinstance(spec.layout, tuple) else spec.layout)
        if isinstance(spec, TensorSpec) and shape != spec.shape:
            return spec.replace(shape=shape)
    return spec


def _untyped(gm: torch.fx.GraphModule, node: torch.fx.Node, meta_key: str) -> bool:
    if meta_key in node.meta or node.op == "output":
        return False
    return node.op != "get_attr" or isinstance(attribute_of(gm, str(node.target)), torch.Tensor)


def described(value: torch.Tensor, names: SymbolNames) -> TensorSpec:
    """Return the spec of a fake tensor, its symbols by name and its layout by what its strides say."""
    shape = tuple(map(names.dim, value.shape))
    plain = torch.empty_strided([hint(size) for size in value.shape], [hint(step) for step in value.stride()],
                                dtype=value.dtype, device="meta")
    layout = layout_of(plain) if plain.numel() else None
    if isinstance(layout, tuple) and not all(isinstance(size, int) for size in shape):
        layout = None
    return TensorSpec(shape, value.dtype, layout, None, value.requires_grad and value.is_leaf)


def _freeze(gm: torch.fx.GraphModule, placeholders: list[torch.fx.Node], specs: list[Any],
            state: list[bool]) -> list[Any]:
    """Turn the placeholders of parameters and buffers that the graph does not write into attributes."""
    kept = []
    for node, spec, is_state in zip(placeholders, specs, state, strict=True):
        if not is_state or not isinstance(spec, torch.Tensor) or any(map(_writes, node.users)):
            kept.append(spec)
            continue
        name = f"_frozen_param{len(list(gm.buffers()))}"
        gm.register_buffer(name, spec.detach())
        with gm.graph.inserting_after(placeholders[-1]):
            constant = gm.graph.get_attr(name)
        constant.meta = dict(node.meta)
        node.replace_all_uses_with(constant)
        gm.graph.erase_node(node)
    gm.recompile()
    return kept


def _writes(user: torch.fx.Node) -> bool:
    return bool(getattr(getattr(user.target, "_schema", None), "is_mutable", False))
