"""Tell quickly whether a graph changed: its structure, its types and the attributes it uses.

Node names do not count, the order of the nodes does. Far cheaper than two texts: nothing is printed.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from fxpect.text.packing import packing

_MISSING = object()
_ATOMS = {type(None), bool, int, str, torch.dtype, torch.device, torch.layout, torch.memory_format}


class Fingerprint:
    """A snapshot to compare a module with itself later, or with the module that a pass made of it.

    It holds on to the objects it compares by identity, so that an address is never used twice. What it
    misses: attributes that no node refers to, and metadata other than the type of the value.
    """

    def __init__(self, gm: GraphModule):
        self.structure = structure(gm)
        self.types = [_type_entry(node) for node in gm.graph.nodes]
        self.attributes = {node.target: _Attribute(_lookup(gm, node.target)) for node in gm.graph.nodes
                           if node.op in ("get_attr", "call_module")}

    def differs(self, gm: GraphModule) -> bool:
        """Whether ``gm`` is not what this snapshot was taken of."""
        if self.structure != structure(gm):
            return True
        for old, node in zip(self.types, gm.graph.nodes, strict=True):
            new = _type_entry(node)
            if old is not new and _describe(old) != _describe(new):
                return True
        return any(old.differs(_lookup(gm, target)) for target, old in self.attributes.items())


def structure(gm: GraphModule) -> list[Any]:
    """Return op, target and arguments of every node in order, nodes by position, and how outputs are packed.

    It is there to compare with ==.
    """
    index = {node: i for i, node in enumerate(gm.graph.nodes)}
    nodes = [(node.op, node.target, _freeze(node.args, index), _freeze(node.kwargs, index)) for node in index]
    return [packing(gm.graph), *nodes]


def _freeze(value: Any, index: dict[Node, int]) -> Any:
    """Return a stand-in that is equal only for equal arguments: 1, 1.0 and True differ, nan equals nan."""
    kind = type(value)
    if kind is Node:
        return index.get(value) if value in index else (Node, value.name)
    if kind in _ATOMS:
        return (kind, value)
    if isinstance(value, (tuple, list)):
        return (kind, [_freeze(item, index) for item in value])
    if isinstance(value, dict):
        return [(key, _freeze(item, index)) for key, item in value.items()]
    if kind is slice:
        return (slice, [_freeze(item, index) for item in (value.start, value.stop, value.step)])
    if kind is float:
        return (float, repr(value))
    if kind is complex:
        return (complex, repr(value), math.copysign(1, value.real), math.copysign(1, value.imag))
    if isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)):
        # A symbolic size must not be compared: that would add a guard.
        return (kind, str(value))
    return _Identity(value)


class _Identity:
    """Equal to a stand-in for the very same object; keeps it alive, so that no address is used twice."""

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and other.value is self.value

    __hash__ = None  # type: ignore[assignment]


def _type_entry(node: Node) -> Any:
    meta = node.meta
    return meta["val"] if "val" in meta else meta.get("example_value")


def _describe(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        stride = str(tuple(value.stride())) if value.layout is torch.strided else ""
        return (str(tuple(value.shape)), stride, value.dtype, value.device, value.layout, value.requires_grad)
    if isinstance(value, (tuple, list, dict)):
        leaves, spec = pytree.tree_flatten(value)
        return (str(spec), *map(_describe, leaves))
    return (type(value), str(value))


def _lookup(gm: torch.nn.Module, path: Any) -> Any:
    return functools.reduce(lambda owner, name: getattr(owner, name, _MISSING), str(path).split("."), gm)


class _Attribute:
    """One attribute that the graph refers to: a tensor, a submodule, a nested graph or a plain object."""

    def __init__(self, value: Any):
        self.value = value
        self.versions = [(tensor, _version(tensor)) for tensor in _tensors(value)]
        self.parts = _parts(value)

    def differs(self, value: Any) -> bool:
        new = _Attribute(value)
        if self.parts != new.parts or len(self.versions) != len(new.versions):
            return True
        if not isinstance(value, (torch.Tensor, torch.nn.Module)) and value is not self.value:
            return True
        return any(_tensor_differs(*old, *now) for old, now in zip(self.versions, new.versions, strict=True))


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, torch.nn.Module):
        return [*value.parameters(), *value.buffers()]
    return []


def _parts(value: Any) -> Any:
    """Return what makes a module behave as it does, its tensors apart."""
    if not isinstance(value, torch.nn.Module):
        return type(value)
    return tuple((name, part.training, structure(part)) if isinstance(part, GraphModule) else
                 (name, part.training, type(part), part.extra_repr()) for name, part in value.named_modules())


def _version(tensor: torch.Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _tensor_differs(old: torch.Tensor, old_version: int, new: torch.Tensor, new_version: int) -> bool:
    if old is new:
        return old_version != new_version
    if _describe(old) != _describe(new):
        return True
    if isinstance(old, torch._subclasses.FakeTensor) or old.is_meta:
        return False
    return not torch.equal(old, new)
