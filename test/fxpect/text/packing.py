"""Packing: outputs that the generated code of a graph, not the graph, puts into a structure.

``torch.fx.symbolic_trace`` with ``concrete_args``, ``torch._dynamo.export`` and ``ExportedProgram.module`` make such
graphs: the output node has a flat list, the graph's ``CodeGen`` a ``TreeSpec``, and a pass that makes a new graph and
forgets the latter returns the list.
"""

from __future__ import annotations

import ast
from typing import Any

import torch
from torch.fx import Graph, Node
from torch.utils import _pytree as pytree

PACK = "pytree"


def packing(graph: Graph) -> pytree.TreeSpec | None:
    """Return the structure that the generated code gives the outputs, None where it returns them as they stand."""
    info = getattr(graph._codegen, "pytree_info", None)
    spec = None if info is None else info.out_spec
    return None if spec is None or spec == pytree.tree_structure((0,) * spec.num_leaves) else spec


def packed(value: Any, spec: pytree.TreeSpec) -> Any:
    """Return what an output node returns in its structure, as a caller gets it; as it stands where it does not fit."""
    leaves = [value] if isinstance(value, Node) else list(value or ())
    return value if len(leaves) != spec.num_leaves else pytree.tree_unflatten(leaves, spec)


def pack(graph: Graph, value: Any) -> None:
    """Let a graph without an output return this structure of its nodes, by its generated code."""
    leaves, spec = pytree.tree_flatten(value)
    graph.output(leaves)
    graph.set_codegen(packing_code(inputs_of(graph), spec))


def inputs_of(graph: Graph) -> list[str]:
    """Return the names of the inputs."""
    return [str(node.target) for node in graph.find_nodes(op="placeholder")]


def packing_code(inputs: list[str], spec: pytree.TreeSpec) -> torch.fx.graph.CodeGen:
    """Return the generator of code that takes these inputs one by one and returns this structure."""
    info = torch.fx.graph._PyTreeInfo(inputs, pytree.tree_structure([0] * len(inputs)), spec)
    return torch.fx.graph._PyTreeCodeGen(info)


def packed_value(tree: ast.expr | None) -> ast.expr | None:
    """Return what stands in the brackets of ``pytree(...)``, None for any other expression."""
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id == PACK:
        return tree.args[0] if len(tree.args) == 1 and not tree.keywords else None
    return None
