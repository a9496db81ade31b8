"""An ExportedProgram for a pass that takes one: a copy of the example's own, or one made around its graph."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch._export.verifier import load_verifier
from torch.export import ExportedProgram
from torch.export import graph_signature as signatures
from torch.export.exported_program import ModuleCallEntry, ModuleCallSignature
from torch.utils import _pytree as pytree

from fxpect.errors import CaptureError, PassFormError
from fxpect.examples import Example
from fxpect.execution.fingerprint import structure

_SYMBOLIC = ((torch.SymInt, signatures.SymIntArgument), (torch.SymFloat, signatures.SymFloatArgument),
             (torch.SymBool, signatures.SymBoolArgument))


def program_of(example: Example, pass_name: str) -> ExportedProgram:
    """Return a program that a pass may break, with the example's graph.

    A graph that was edited since the export gets a program whose inputs are all the user's own: parameters
    and buffers too. Raises ``PassFormError`` for a graph that is not from torch.export.
    """
    if not example.capture.startswith("export"):
        raise PassFormError(f"{pass_name} needs an ExportedProgram; a graph captured by {example.capture!r} "
                            "has none. Use capture='export', or fxpect.as_pass(fn, kind=...) if the pass "
                            "takes something else")
    exported = example.exported
    if exported is not None and structure(exported.graph_module) == structure(example.graph_module):
        return copy.deepcopy(exported)
    try:
        return program_around(example.build())
    except Exception as error:
        raise CaptureError(f"{pass_name} needs an ExportedProgram and the graph does not make one: "
                           f"{type(error).__name__}: {error}") from error


def program_around(gm: torch.fx.GraphModule) -> ExportedProgram:
    """Return the program of a flat graph: every placeholder an input of the user, every output the user's."""
    placeholders = gm.graph.find_nodes(op="placeholder")
    results = pytree.tree_leaves(gm.graph.output_node().args[0])
    taken, given = signatures.InputKind.USER_INPUT, signatures.OutputKind.USER_OUTPUT
    signature = signatures.ExportGraphSignature(
        [signatures.InputSpec(taken, _argument(node), None) for node in placeholders],
        [signatures.OutputSpec(given, _argument(value), None) for value in results])
    in_spec = pytree.tree_structure((tuple(range(len(placeholders))), {}))
    out_spec = pytree.tree_structure(tuple(range(len(results))))
    call = ModuleCallSignature([], [], in_spec, out_spec, [node.name for node in placeholders])
    return ExportedProgram(gm, gm.graph, signature, {}, _ranges(placeholders), [ModuleCallEntry("", call)],
                           None, _constants(gm), verifiers=[load_verifier("TRAINING")])


def _argument(value: Any) -> Any:
    """Describe an input or output by the type of its value."""
    if not isinstance(value, torch.fx.Node):
        return signatures.ConstantArgument("", value)
    meta = value.meta.get("val")
    if isinstance(meta, torch.Tensor):
        return signatures.TensorArgument(value.name)
    for kind, argument in _SYMBOLIC:
        if isinstance(meta, kind):
            return argument(value.name)
    return signatures.ConstantArgument(value.name, meta)


def _ranges(placeholders: list[torch.fx.Node]) -> dict[Any, Any]:
    """Return the range of every symbol in the sizes of the inputs."""
    found: dict[Any, Any] = {}
    for node in placeholders:
        meta = node.meta.get("val")
        sizes = list(meta.shape) if isinstance(meta, torch.Tensor) else [meta]
        for size in sizes:
            if isinstance(size, torch.SymInt):
                for symbol in sorted(size.node.expr.free_symbols, key=str):
                    found[symbol] = size.node.shape_env.var_to_range[symbol]
    return found


def _constants(gm: torch.fx.GraphModule) -> dict[str, Any]:
    return {node.target: getattr(gm, node.target) for node in gm.graph.find_nodes(op="get_attr")
            if isinstance(getattr(gm, str(node.target), None), torch.Tensor)}
