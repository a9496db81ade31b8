"""Change a module in place into another, and back: what lets a pass run on the caller's own module."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch._subclasses import FakeTensor
from torch.fx import GraphModule

from fxpect.execution.answers import set_graph
from fxpect.execution.fingerprint import Fingerprint

_STORES = ("_parameters", "_buffers", "_modules")


def adopt(gm: GraphModule, other: GraphModule) -> None:
    """Make ``gm`` what ``other`` is: its attributes, submodules, metadata and graph, which moves over."""
    if other is gm:
        return
    for store in _STORES:
        mine, theirs = getattr(gm, store), getattr(other, store)
        mine.clear()
        mine.update(theirs)
    for key, value in vars(other).items():
        if not key.startswith("_"):
            vars(gm)[key] = value
    set_graph(gm, other.graph)


class Backup:
    """A module's graphs, attributes and tensor values; ``restore`` puts back what no longer is the same.

    A graph that did change comes back as a copy: the caller's Node objects no longer belong to it.
    """

    def __init__(self, gm: GraphModule):
        self.gm = gm
        self.fingerprint = Fingerprint(gm)
        self.attributes = [(part, dict(vars(part)), {store: dict(getattr(part, store)) for store in _STORES})
                           for part in gm.modules()]
        self.graphs = [(part, part.graph, _names(part), copy.deepcopy(part.graph)) for part in gm.modules()
                       if isinstance(part, GraphModule)]
        self.tensors = [(tensor, tensor._version, tensor.detach().clone())
                        for tensor in (*gm.parameters(), *gm.buffers()) if _has_values(tensor)]

    def restore(self) -> None:
        """Put everything back; cheap when nothing changed."""
        changed = self.fingerprint.differs(self.gm)
        for part, plain, stores in self.attributes:
            _put(vars(part), plain)
            for store, content in stores.items():
                _put(plain[store], content)
        for tensor, version, values in self.tensors:
            if tensor._version != version:
                tensor.detach().copy_(values)
        for part, graph, names, pristine in self.graphs:
            set_graph(part, graph)
            if changed or names != _names(part):
                set_graph(part, copy.deepcopy(pristine))


def _names(gm: GraphModule) -> list[str]:
    return [node.name for node in gm.graph.nodes]


def _put(target: dict[str, Any], content: dict[str, Any]) -> None:
    same = len(target) == len(content) and all(target.get(key, target) is content[key] for key in content)
    if not same:
        target.clear()
        target.update(content)


def _has_values(tensor: torch.Tensor) -> bool:
    return not (tensor.is_meta or tensor.is_inference() or isinstance(tensor, FakeTensor))
