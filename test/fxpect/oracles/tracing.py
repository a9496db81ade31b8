"""Run a graph node by node, writing down the form of every result."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from fxpect.oracles.difference import form_difference, roughly_equal
from fxpect.oracles.observe import Trace
from fxpect.text.propagation import RESHAPING_INPLACE

if TYPE_CHECKING:
    from fxpect.oracles.evidence import Evidence


class TracingRun:
    """Runs a graph as ``fx.Interpreter`` does, keeps each node's form, fills uninitialised memory.

    A graph that reads what ``empty`` left behind then gives something else than its generated code.
    ``poison`` is the number it is filled with. ``reshaped`` names the nodes whose very tensor a later node reshapes.
    A loop of its own: it runs for every example that is judged.
    """

    def __init__(self, gm: torch.fx.GraphModule, poison: int = 113):
        self.module, self.poison = gm, poison
        self.trace: dict[str, list[Trace]] = {}
        self.current: torch.fx.Node | None = None
        self.reshaped: set[str] = set()

    def run(self, *args: Any) -> Any:
        """Run the graph and return its output; ``current`` is the node at which it raised."""
        env: dict[torch.fx.Node, Any] = {}
        waiting = iter(args)
        for node in self.module.graph.nodes:
            self.current = node
            if node.op == "placeholder":
                value = next(waiting, *node.args)
            else:
                given, named = map_arg((node.args, node.kwargs), env.__getitem__)
                if node.op == "output":
                    return _plain(given[0])
                value = self._call(node, given, named)
                if node.target in RESHAPING_INPLACE:
                    self.reshaped.update(early.name for early, result in env.items() if _holds(result, given[0]))
            env[node] = value
            if isinstance(value, torch.Tensor):
                stride = value.stride() if value.layout is torch.strided else None
                self.trace[node.name] = [Trace(value.dtype, value.shape, stride, value.device)]
            elif isinstance(value, (tuple, list)):
                leaves = pytree.tree_leaves(value)
                self.trace[node.name] = [_form(leaf) for leaf in leaves if isinstance(leaf, torch.Tensor)]
        raise RuntimeError("the graph has no output node")

    def _call(self, node: torch.fx.Node, args: tuple, kwargs: dict[str, Any]) -> Any:
        if node.op == "get_attr":
            return functools.reduce(getattr, node.target.split("."), self.module)
        memory = _memory(node.target)
        sizes = _sizes((args, kwargs)) if memory == "resize" else None
        if node.op == "call_function":
            value = node.target(*args, **kwargs)
        elif node.op == "call_method":
            value = getattr(args[0], node.target)(*args[1:], **kwargs)
        else:
            return self.module.get_submodule(node.target)(*args, **kwargs)
        if memory:
            poison(value, self.poison, sizes)
        return value


def _holds(result: Any, tensor: Any) -> bool:
    """Whether a node gave this very tensor, by itself or among others."""
    return result is tensor or isinstance(result, (tuple, list)) and any(_holds(item, tensor) for item in result)


def leaves_memory_unset(node: torch.fx.Node) -> bool:
    """Whether a node gives memory that nobody wrote yet."""
    return node.op in ("call_function", "call_method") and bool(_memory(node.target))


@functools.lru_cache(maxsize=4096)
def _memory(target: Any) -> str:
    """Return "empty" or "resize" for a target that gives memory nobody wrote yet, else nothing."""
    name = target if isinstance(target, str) else getattr(target, "__name__", "")
    return next((word for word in ("empty", "resize") if word in name), "")


def poison(result: Any, number: int, sizes: dict[int, int] | None = None) -> None:
    """Fill the tensors of a result, in place, with a number that nothing computes.

    ``sizes`` gives, by identity, how many leading elements of a tensor were there before.
    """
    for leaf in pytree.tree_leaves(result):
        if isinstance(leaf, torch.Tensor) and leaf.layout == torch.strided:
            fresh = leaf.detach()
            if sizes and id(leaf) in sizes:
                fresh = fresh.flatten()[sizes[id(leaf)] :] if leaf.is_contiguous() else fresh[:0]
            fresh.fill_(number % 2 == 0 if leaf.dtype == torch.bool else number)


def _plain(value: Any) -> Any:
    """Return an output with the lists and dicts that generated code makes, not the graph's immutable ones."""
    if isinstance(value, tuple):
        items = [_plain(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def _sizes(operands: Any) -> dict[int, int]:
    return {id(leaf): leaf.numel() for leaf in pytree.tree_leaves(operands) if isinstance(leaf, torch.Tensor)}


def _form(tensor: torch.Tensor) -> Trace:
    strided = tensor.layout == torch.strided
    return Trace(tensor.dtype, tensor.shape, tensor.stride() if strided else None, tensor.device)


def undetermined(evidence: Evidence) -> str | None:
    """Return why the graph before the pass does not compute one thing, None when it does.

    It is run again from the same seed, and node by node with two fillings of uninitialised memory.
    """
    runs = [evidence.observe_before()]
    if any(leaves_memory_unset(node) for node in evidence.before.graph.nodes):
        runs += [
            evidence.observe_before(interpreter=functools.partial(TracingRun, poison=number)) for number in (77, 114)
        ]
    expected = evidence.expected.values()
    for run in runs:
        for key, value in run.values().items():
            old = expected.get(key)
            if not isinstance(value, torch.Tensor) or not isinstance(old, torch.Tensor):
                continue
            if form_difference(old, value, strides=False) or not roughly_equal(old, value):
                return f"the graph before the pass gives two answers: {key[0]} {key[1]} is not determined"
    return None
