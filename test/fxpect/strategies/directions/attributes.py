"""Attributes: parameters and constants of the graph in another layout, shape or dtype, with other values, tied."""

from __future__ import annotations

import copy
import functools
import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.fx import Node

from fxpect.examples import copy_tensor
from fxpect.specs import TensorSpec
from fxpect.strategies.directions.inputs import dtype_class
from fxpect.strategies.draft import Draft, Edit, is_static
from fxpect.strategies.trial import Call, attribute_at

aten = torch.ops.aten

# What passes call the modules and attributes that they make, which those of a model may be called already.
MADE_NAMES = ("submod_0", "submod_1", "fused_0")
CHANGES: tuple[tuple[str, Callable[[torch.Tensor], torch.Tensor]], ...] = (
    ("zero", torch.zeros_like),
    ("one", torch.ones_like),
    ("tiny", lambda value: value * 1e-6),
    ("negative", lambda value: -value.abs() - 1),
    ("not finite", lambda value: torch.where(torch.arange(value.numel()).view(value.shape) % 3 == 0, torch.inf, value)),
    ("transposed", lambda value: value.transpose(0, -1).contiguous().transpose(0, -1)),
    ("strided", lambda value: torch.stack([value, value], -1).select(-1, 0)),
    ("expanded", lambda value: value[:1].expand(value.shape)),
)


def attributes(d: Draft) -> Iterator[Edit]:
    """A parameter or constant of the graph with other values or strides, or one in the place of two.

    Of another shape, wherever it still fits, for one or for all that are read alike; by a name that passes give. One
    returned as it is, or as a view, or in pieces: a caller may write to it.
    """
    holders = [node for node in d.graph.find_nodes(op="get_attr") if d.tensor(node) is not None]
    yield from _reshaped(d, holders)
    for node in holders:
        yield from _returned(d, node)
    for node in holders[:1]:
        for name in MADE_NAMES:
            if not hasattr(d.gm, name):
                yield Edit("attributes", f"{node.target} named {name}", f"an attribute named {name}",
                           lambda draft, at=node.name, name=name: _rename(draft, at, name))
    for node in holders:
        for what, change in CHANGES:
            value = d.trial.values[node]
            try:
                new = _like(value, change(value))
            except (RuntimeError, IndexError):
                continue
            if not (torch.equal(new, value) and new.stride() == value.stride()) and d.trial.fits({node: new}):
                yield Edit("attributes", f"{node.target} {what}", f"an attribute {what}",
                           lambda draft, at=node.name, change=change: _change(draft, at, change))
        for other in holders:
            if other is not node and d.trial.fits({other: d.trial.values[node]}):
                yield Edit("attributes", f"{node.target} also in the place of {other.target}", "one attribute for two",
                           lambda draft, at=other.name, to=node.name: _tie(draft, draft.node(at), draft.node(to)))


def _reshaped(d: Draft, holders: list[Node]) -> Iterator[Edit]:
    """Yield the edits to another shape: a dim of one more, one for all, none, one dim of one, a row, a column."""
    groups: dict[Any, list[Node]] = {}
    for node in holders:
        read = sorted((str(user.target), [i for i, arg in enumerate(user.args) if arg is node]) for user in node.users)
        groups.setdefault((d.trial.values[node].shape, repr(read)), []).append(node)
    for group in [[node] for node in holders] + [group for group in groups.values() if len(group) > 1]:
        value = d.trial.values[group[0]]
        for shape in _shapes(value):
            if not d.trial.fits({node: _shaped(d.trial.values[node], shape) for node in group}):
                continue

            def apply(draft: Draft, names=tuple(node.name for node in group), shape=shape):
                for name in names:
                    _change(draft, name, functools.partial(_shaped, shape=shape))

            who = group[0].target if len(group) == 1 else f"{len(group)} attributes"
            what = "without dims" if not shape else f"with {len(shape) - value.dim()} dims more" \
                if len(shape) > value.dim() else f"with {value.dim() - len(shape)} dims less" \
                if len(shape) < value.dim() else "with a size of one"
            yield Edit("attributes", f"{who} of shape {list(shape)}", ("an attribute " if len(group) == 1 else
                       "attributes alike ") + what, apply)


def _returned(d: Draft, node: Node) -> Iterator[Edit]:
    """Yield that an attribute is returned too: itself, transposed, a row of it, all pieces of a split of it."""
    value = d.tensor(node)
    if not is_static(value) or node in d.returned():
        return
    views: list[tuple[str, Any, tuple]] = [("whole", None, ())]
    if value.dim() > 1:
        views.append(("transposed", d.method(torch.transpose, aten.transpose.int), (0, 1)))
    if value.dim() and value.shape[0] > 1:
        views += [("in pieces", d.method(torch.split, aten.split.Tensor), (1,)),
                  ("in one piece", d.method(torch.split, aten.split.Tensor), (int(value.shape[0]),)),
                  ("in a row", d.method(torch.select, aten.select.int), (0, 0))]
    for what, call, args in views:
        def apply(draft: Draft, call=call, args=args, what=what):
            held = draft.node(node.name)
            made = [held]
            if call is not None:
                op, target = call
                made = [draft.insert(held, op, target, (held, *args))]
            if "piece" in what:
                pieces = made[0]
                made = [draft.insert(pieces, "call_function", operator.getitem, (pieces, i))
                        for i in range(len(value.split(*args)))]
            for each in made:
                draft.add_output(each)

        yield Edit("attributes", f"{node.target} returned too, {what}", f"an attribute returned, {what}", apply)


def everything(d: Draft) -> Iterator[Edit]:
    """All that is float, inputs and parameters alike, in another float dtype."""
    holders = [node for node in d.graph.find_nodes(op="get_attr") if d.tensor(node) is not None]
    modules = [node for node in d.calls() if node.op == "call_module"]
    if not holders and not modules:
        return
    inputs = {i: spec for i, spec in enumerate(d.inputs) if isinstance(spec, TensorSpec) and not spec.is_dynamic
              and spec.dtype.is_floating_point}
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        specs = {i: spec.replace(dtype=dtype) for i, spec in inputs.items()}
        values = {d.placeholders[i]: d.sample(spec) for i, spec in specs.items()}
        values.update({node: _cast(d.trial.values[node], dtype) for node in holders})
        calls = {node: Call("call_function", _module_in(d.gm.get_submodule(node.target), dtype), node.args, node.kwargs)
                 for node in modules}
        if d.trial.fits(values, calls):
            def apply(draft: Draft, specs=specs, dtype=dtype):
                for i, spec in specs.items():
                    draft.inputs[i] = spec
                for node in draft.graph.find_nodes(op="get_attr"):
                    if draft.tensor(node) is not None:
                        _change(draft, node.name, lambda value: _cast(value, dtype))
                renamed = {node.target: "" for node in draft.calls() if node.op == "call_module"}
                for target in renamed:
                    renamed[target] = own_attribute(draft, target, _module_in(draft.gm.get_submodule(target), dtype))
                for node in draft.calls():
                    if node.op == "call_module":
                        node.target = renamed[node.target]
                        draft.touch(node)
                draft.touch_inputs()

            yield Edit("attributes", f"inputs and parameters {dtype}", f"everything {dtype_class(dtype)}", apply)


# ---------------------------------------------------------------------- helpers


def _change(draft: Draft, at: str, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    node = draft.node(at)
    value = attribute_at(draft.gm, node.target)
    new = change(value.detach()).detach()
    if isinstance(value, nn.Parameter):
        new = nn.Parameter(new, value.requires_grad)
    _retarget(draft, at, own_attribute(draft, node.target, new))


def _rename(draft: Draft, at: str, name: str) -> None:
    old = draft.node(at).target
    setattr(draft.gm, name, attribute_at(draft.gm, old))
    _retarget(draft, at, name)
    if old in (*draft.gm._parameters, *draft.gm._buffers) and \
            not any(node.target == old for node in draft.graph.find_nodes(op="get_attr")):
        delattr(draft.gm, old)  # else it is one more name of the same tensor


def _tie(draft: Draft, node: Node, to: Node) -> None:
    """Read an attribute in the place of another: in a graph of the dispatcher's by one node, as AOTAutograd does."""
    if not draft.functional:
        _retarget(draft, node.name, to.target)
        return
    if node < to:
        node.prepend(to)
    node.replace_all_uses_with(to)
    draft.touch(to)


def _retarget(draft: Draft, at: str, to: str) -> None:
    node: Node = draft.node(at)
    node.target = to
    draft.touch(node)


def _shapes(value: torch.Tensor) -> list[tuple[int, ...]]:
    """Return other shapes that a constant may have where it is broadcast."""
    own = tuple(value.shape)
    found = [(1, *own), (*own, 1), (1,), (), *((*own[:i], 1, *own[i + 1:]) for i in range(len(own)))]
    found += [shape for size in own if size > 1 for shape in ((size,), (1, size), (size, 1))]
    return [shape for shape in dict.fromkeys(found) if shape != own and value.numel()]


def _shaped(value: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Return as many of the first values as a shape has."""
    return value.detach().reshape(-1)[:math.prod(shape)].reshape(shape).clone()


def _like(value: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """Return the new value; raises ``RuntimeError`` where it has another shape."""
    if new.shape != value.shape:
        raise RuntimeError("another shape")
    return new.detach()


def _cast(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return value.to(dtype) if value.dtype.is_floating_point else value


def _module_in(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    return copy.deepcopy(module).to(dtype)


def own_attribute(draft: Draft, path: str, value: Any) -> str:
    """Store an attribute under a free name beside ``path`` and return that name."""
    name = next(f"{path.replace('.', '_')}_{i}" for i in range(1, 1000)
                if not hasattr(draft.gm, f"{path.replace('.', '_')}_{i}"))
    setattr(draft.gm, name, copy_tensor(value) if isinstance(value, torch.Tensor) else value)
    return name
