"""How far rounding alone moves a graph, part one: a clean run, and what each node gave in it.

``widening`` runs the graph again in float64, ``nudging`` with all numbers moved one ulp, ``arbiter`` judges.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch.utils import _pytree as pytree

# What adds products up, in whatever order its kernel likes.
ACCUMULATING = frozenset(
    "addbmm addmm addmv baddbmm bilinear bmm conv1d conv2d conv3d convolution dot einsum inner linear matmul mm mv "
    "tensordot vdot".split())


def base_name(node: torch.fx.Node) -> str:
    """Return the bare name of what a node calls: "add" for aten.add.Tensor, torch.add, x.add_."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        name = target._schema.name.partition("::")[2]
    elif node.op == "call_module":
        name = type(node.graph.owning_module.get_submodule(target)).__name__.lower()
    elif isinstance(target, str):
        name = target.rpartition(".")[2]
    else:
        name = getattr(target, "__name__", type(target).__name__)
    return name.rstrip("_") if not name.startswith("__") else name.strip("_")


def reads_bits(node: torch.fx.Node) -> bool:
    """Whether a node shows the bits of numbers as numbers of another dtype."""
    return node.op.startswith("call_") and base_name(node) == "view" \
        and any(isinstance(arg, torch.dtype) for arg in node.args)


def tensors_in(value: Any) -> list[torch.Tensor]:
    """Return the tensors of a node's result, nested ones too."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


@dataclasses.dataclass
class CleanNode:
    """What a node gave in the clean run: copies of its result's tensors, the generator's state if it drew.

    The float64 run finds out the rest: ``exact`` says that neither it nor anything before it rounded, ``strayed``
    that it made infinities where the truth fits its dtype, so that it went out of range on the way there,
    ``overflowed`` that it made some where the truth does not fit, ``contested`` that it adds products that overflow
    though their sum does not, or of either sign: whether that gives infinity or NaN is a matter of their order.
    """

    values: list[torch.Tensor]
    generator: torch.Tensor | None = None
    inplace: bool = False
    rounds: bool = False
    exact: bool = True
    strayed: bool = False
    overflowed: bool = False
    contested: bool = False


class CleanRun(torch.fx.Interpreter):
    """Runs a graph as it is and keeps what every node gave."""

    def __init__(self, gm: torch.fx.GraphModule):
        super().__init__(gm)
        self.extra_traceback = False
        self.nodes: dict[torch.fx.Node, CleanNode] = {}

    def run_node(self, node: torch.fx.Node) -> Any:
        """Run one node, and keep copies of its tensors and the state of the generator it drew from."""
        start = torch.default_generator.get_state()
        result = super().run_node(node)
        drew = not torch.equal(start, torch.default_generator.get_state())
        found = tensors_in(result)
        operands = (
            {id(t) for arg in node.all_input_nodes for t in tensors_in(self.env[arg])} if node.op != "output" else set()
        )
        self.nodes[node] = CleanNode(
            [t.detach().clone() for t in found],
            start if drew else None,
            any(id(t) in operands for t in found),
        )
        return result
