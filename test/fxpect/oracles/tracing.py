"""Run a graph node by node, writing down the form of every result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils import _pytree as pytree

from fxpect.oracles.difference import form_difference
from fxpect.oracles.observe import Trace, observe

if TYPE_CHECKING:
    from fxpect.oracles.evidence import Evidence

class TracingRun(torch.fx.Interpreter):
    """An interpreter that keeps the form of every node's tensors, and fills uninitialised memory.

    A graph that reads what ``empty`` left behind then gives something else than its generated code.
    ``poison`` is the number it is filled with.
    """

    def __init__(self, gm: torch.fx.GraphModule, poison: int = 113):
        super().__init__(gm)
        self.extra_traceback = False
        self.poison = poison
        self.trace: dict[str, list[Trace] | None] = {}
        self.current: torch.fx.Node | None = None

    def run_node(self, node: torch.fx.Node) -> Any:
        """Run one node and keep the form of what it gave."""
        self.current = node
        sizes = _sizes(self, node) if _resizes(node) else {}
        result = super().run_node(node)
        if node.op == "output":
            return result
        if isinstance(result, torch.Tensor):
            self.trace[node.name] = [_form(result)]
        elif isinstance(result, (tuple, list)):
            leaves = pytree.tree_leaves(result)
            self.trace[node.name] = [_form(leaf) for leaf in leaves if isinstance(leaf, torch.Tensor)]
        if leaves_memory_unset(node):
            poison(result, self.poison, sizes)
        return result


def leaves_memory_unset(node: torch.fx.Node) -> bool:
    """Whether a node gives memory that nobody wrote yet."""
    return node.op in ("call_function", "call_method") and ("empty" in _name(node) or _resizes(node))


def poison(result: Any, number: int, sizes: dict[int, int] | None = None) -> None:
    """Fill the tensors of a result, in place, with a number that nothing computes.

    ``sizes`` gives, by identity, how many leading elements of a tensor were there before.
    """
    for leaf in pytree.tree_leaves(result):
        if isinstance(leaf, torch.Tensor) and leaf.layout == torch.strided:
            fresh = leaf.detach()
            if sizes and id(leaf) in sizes:
                fresh = fresh.flatten()[sizes[id(leaf)]:] if leaf.is_contiguous() else fresh[:0]
            fresh.fill_(number % 2 == 0 if leaf.dtype == torch.bool else number)


def _name(node: torch.fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")


def _resizes(node: torch.fx.Node) -> bool:
    return "resize" in _name(node)


def _sizes(run: torch.fx.Interpreter, node: torch.fx.Node) -> dict[int, int]:
    values = [run.env[arg] for arg in node.all_input_nodes]
    return {id(value): value.numel() for value in values if isinstance(value, torch.Tensor)}


def _form(tensor: torch.Tensor) -> Trace:
    strided = tensor.layout == torch.strided
    return Trace(tensor.dtype, tuple(tensor.shape), tensor.stride() if strided else None, tensor.device)


def undetermined(evidence: Evidence) -> str | None:
    """Return why the graph before the pass does not compute one thing, None when it does.

    It is run again from the same seed, and node by node with two fillings of uninitialised memory.
    """
    runs = [observe(evidence.before, evidence.args, seed=evidence.seed)]
    if any(leaves_memory_unset(node) for node in evidence.before.graph.nodes):
        runs += [observe(evidence.before, evidence.args, seed=evidence.seed,
                         interpreter=lambda gm, number=number: TracingRun(gm, number)) for number in (77, 114)]
    expected = evidence.expected.values()
    for run in runs:
        for key, value in run.values().items():
            old = expected.get(key)
            if not isinstance(value, torch.Tensor) or not isinstance(old, torch.Tensor):
                continue
            if form_difference(old, value) or evidence.arbiter.judge(key, old, value) is not None:
                return f"the graph before the pass gives two answers: {key[0]} {key[1]} is not determined"
    return None
