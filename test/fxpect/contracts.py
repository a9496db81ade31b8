"""Contracts: what a stage promises of the graphs that it hands to a pass, and how a graph breaks the promise."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch._ops import HigherOrderOperator, OpOverload
from torch.amp.autocast_mode import _enter_autocast, _exit_autocast
from torch.fx import Graph, GraphModule, Node

from fxpect.specs import Same
from fxpect.text.effects import EFFECT, attribute_of, function_kind, is_training, module_has_effect

aten = torch.ops.aten
WRITES = ("anywhere", "epilogue", "never")
# How AOTAutograd marks the nodes of a joint graph: torch/_functorch/partitioners.py, torch 2.13.0.
SIDE, FORWARD, BACKWARD, EPILOGUE = "partitioner_tag", "is_forward", "is_backward", "must_be_in_forward"
_MODE_SWITCHES = (torch._C._set_grad_enabled, _enter_autocast, _exit_autocast)


@dataclasses.dataclass(frozen=True)
class Contract:
    """What holds of every graph that reaches a pass of one stage; ``CONTRACTS`` has one for each capture.

    ``writes``: "anywhere"; "epilogue", which is ``copy_`` into an input, once for each input, of a value of its
    type, after all that computes or reads it, and read by the outputs alone; "never".
    ``setitem``: ``operator.setitem`` may be called.
    ``recorded``: calls are operator overloads, spelled as the dispatcher hands them to a tracer: what may be
    positional is, defaults at the end are left out, numbers and lists have the schema's types.
    ``aliases``: two inputs may be one tensor, or views of one storage. ``numpy_names``: ``axis=`` for ``dim=`` and
    its like. ``modules``: submodules may be called. ``inference``: nothing is in training mode and no
    gradient is asked for. ``joint``: the inputs are primals, then tangents; the outputs those of the forward, which
    no tangent reaches and of which at least each tangent has one, then a gradient (or None) for every primal.
    """

    writes: str = "anywhere"
    setitem: bool = True
    recorded: bool = False
    aliases: bool = True
    numpy_names: bool = True
    modules: bool = False
    inference: bool = False
    joint: bool = False

    def __post_init__(self) -> None:
        if self.writes not in WRITES:
            raise ValueError(f"writes={self.writes!r} is not one of {', '.join(WRITES)}")

    def breach(self, gm: GraphModule, inputs: Sequence[Any] = (), meta_key: str = "val") -> str:
        """Return in words how the graph, or what it is given, breaks the contract; "" when it keeps it."""
        return next((words for _, words in self._breaches(gm, inputs, meta_key) if words), "")

    def fitted(self, gm: GraphModule, inputs: Sequence[Any] = (), meta_key: str = "val") -> Contract:
        """Return the contract without what an innocent graph does itself: its capture let it through."""
        broken = {field: _FREE[field] for field, words in self._breaches(gm, inputs, meta_key) if words}
        return dataclasses.replace(self, **broken) if broken else self

    def loosened(self) -> Contract:
        """Return the contract that promises nothing, for a search outside of it."""
        return dataclasses.replace(self, **{**_FREE, "modules": self.modules})

    def _breaches(self, gm: GraphModule, inputs: Sequence[Any], meta_key: str) -> Iterable[tuple[str, str]]:
        if self.writes != "anywhere":
            yield "writes", _writes_breach(gm.graph, self.writes == "epilogue", meta_key)
        if not self.setitem:
            yield "setitem", next((f"{node.name} assigns to items" for node in gm.graph.nodes
                                   if node.target is operator.setitem), "")
        if self.recorded:
            yield "recorded", next((f"{node.name} calls no operator overload" for node in gm.graph.nodes
                                    if _is_call(node) and not _is_dispatched(node)), "")
        if not self.modules:
            yield "modules", next((f"{node.name} calls a module" for node in gm.graph.nodes
                                   if node.op == "call_module"), "")
        if self.inference:
            yield "inference", next((f"{node.name} is in training mode" for node in gm.graph.nodes
                                     if trains(node) or _calls_training(node)), "")
        if not self.aliases:
            yield "aliases", next(("two inputs are one tensor" for value in inputs if isinstance(value, Same)), "")
        if self.joint:
            yield "joint", _joint_breach(gm.graph)


_FREE: dict[str, Any] = {"writes": "anywhere", "setitem": True, "recorded": False, "aliases": True, "numpy_names": True,
                         "modules": True, "inference": False, "joint": False}

DYNAMO = Contract()
"""Dynamo writes down the Python calls of the model as they are: functions and methods, keywords and NumPy's
names, ``out=``, writes anywhere, inputs that share storage. It inlines modules.

Source: torch/_dynamo/output_graph.py and variables/builder.py, torch 2.13.0; tried on 2.13.0 and 2.15.0.
"""

SYMBOLIC = Contract(modules=True, setitem=False)
"""``torch.fx.symbolic_trace`` writes down Python calls as well, and keeps the calls of ``torch.nn`` modules. It refuses
item assignment, and so does every pass that traces its argument once more.

Source: torch/fx/_symbolic_trace.py (``Tracer.is_leaf_module``), torch 2.13.0.
"""

ATEN = Contract(writes="epilogue", recorded=True, aliases=False, numpy_names=False)
"""AOTAutograd makes the graph functional: every write becomes a value, and what was written to an input is copied
into it once, after all that computes; views of computed values, made anew for the outputs, may follow. An output that
is a mutated input is its ``copy_``. Inputs that share storage and are written to become one input; the others are told
apart. The dispatcher records calls: see ``fxpect.strategies.signatures.recorded``.

Source: torch/_functorch/_aot_autograd/functional_utils.py and graph_capture.py (``keep_inference_input_mutations``);
arguments: ``parseIValuesToPyArgsKwargs`` in torch/csrc/autograd/python_variable.cpp, torch 2.13.0.
"""

JOINT = dataclasses.replace(ATEN, joint=True)
"""As ``ATEN``: inputs that need no gradient get the epilogue's ``copy_``, others return their new value. Forward and
backward are one graph, which the partitioners cut by its order of inputs and outputs.

Source: torch/_functorch/_aot_autograd/graph_capture.py and torch/_functorch/partitioners.py (``default_partition``),
torch 2.13.0.
"""

TRACED = ATEN
"""``make_fx`` and ``torch.export.export`` record dispatcher calls, as ``ATEN``, but make nothing functional: they
keep the model's own in-place calls where they stand. Passes over these graphs are written for functional ones (export
calls it so after ``run_decompositions``), so only the epilogue's write is put in; where the innocent model itself
writes, ``fitted`` lets writes stand anywhere.

Source: tried on torch 2.13.0 and 2.15.0: ``x.add_(1)`` gives ``aten.add_.Tensor``, with ``strict`` or not.
"""

CONTRACTS: dict[str, Contract] = {
    "dynamo": DYNAMO, "symbolic": SYMBOLIC, "aten": ATEN, "joint": JOINT, "make_fx": TRACED, "export": TRACED,
    "export-nonstrict": TRACED}


def contract_of(capture: str) -> Contract:
    """Return the contract of a capture."""
    return CONTRACTS[capture]


def writes(node: Any) -> bool:
    """Whether a call, a node or what is like one, may write to a tensor that it is given, or change its metadata."""
    if node.op == "call_method":
        return _is_in_place_name(node.target)
    if node.op == "call_module":
        return _module_writes(attribute_of(node.graph.owning_module, node.target))
    if node.op != "call_function":
        return False
    if isinstance(node.target, OpOverload):
        return node.target._schema.is_mutable
    return _function_writes(node.target) or node.kwargs.get("out") is not None or node.kwargs.get("inplace") is True


def switches_mode(node: Node) -> bool:
    """Whether a call begins or ends a region of another mode: without gradients, or of autocast."""
    return node.op == "call_function" and node.target in _MODE_SWITCHES


def trains(node: Node) -> bool:
    """Whether a call is in training mode: a module that is and where it matters, or a flag of the call's own."""
    if node.op == "call_module":
        module = attribute_of(node.graph.owning_module, node.target)
        return getattr(module, "training", False) and module_has_effect(node)
    return is_training(node)


def _calls_training(node: Node) -> bool:
    """Whether a call is of a module in training mode, also where that makes no difference."""
    return node.op == "call_module" and getattr(attribute_of(node.graph.owning_module, node.target), "training", False)


def is_copy(node: Node) -> bool:
    """Whether a call is ``copy_``."""
    return node.target is aten.copy_.default or node.op == "call_method" and node.target == "copy_"


# ---------------------------------------------------------------------- helpers


def _writes_breach(graph: Graph, epilogue: bool, meta_key: str) -> str:
    """Return the first write, or read after a write, that a functional graph does not have."""
    written: dict[Node, Node] = {}
    for node in graph.nodes:
        if node.op in ("placeholder", "get_attr"):
            continue
        if node.op == "output":
            read = next((n for n in node.all_input_nodes if view_source(n) in written and not is_copy(n)), None)
            return f"{read.name} is returned after it is written to" if read is not None else ""
        if writes(node) and node.target is not aten.detach_.default:  # export detaches its constants so
            if not (epilogue and is_copy(node)):
                return f"{node.name} writes"
            words = _copy_breach(node, written, meta_key)
            if words:
                return words
            written[node.args[0]] = node
        elif written:
            if not _is_view(node):
                return f"{node.name} computes after the write to an input"
            if any(view_source(source) in written for source in node.all_input_nodes):
                return f"{node.name} reads an input that is written to"
    return ""


def _copy_breach(node: Node, written: dict[Node, Node], meta_key: str) -> str:
    if len(node.args) < 2:
        return f"{node.name} copies nothing"
    target, source = node.args[:2]
    if not isinstance(target, Node) or target.op != "placeholder" or is_tangent(target):
        return f"{node.name} writes to no input"
    if target in written:
        return f"{node.name} writes to {target.name} again"
    if not isinstance(source, Node) or source is target or view_source(source) in written:
        return f"{node.name} reads an input that is written to"
    if any(user.op != "output" for user in node.users):
        return f"{node.name} is read"
    held, new = target.meta.get(meta_key), source.meta.get(meta_key)
    if isinstance(held, torch.Tensor) and isinstance(new, torch.Tensor) and \
            (held.dtype != new.dtype or held.dim() != new.dim() or not equal_sizes(held, new)):
        return f"{node.name} copies a value of another type"
    return ""


def is_tangent(node: Node) -> bool:
    """Whether an input of a joint graph is the gradient of an output."""
    return node.op == "placeholder" and node.name.startswith("tangents")


def joint_outputs(graph: Graph) -> tuple[list[Any], list[Any]]:
    """Return the outputs of the forward, and a gradient or None for each primal."""
    primals = sum(not is_tangent(node) for node in graph.find_nodes(op="placeholder"))
    outputs = graph.output_node().args[0]
    outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
    return outputs[:len(outputs) - primals], outputs[len(outputs) - primals:]


def _joint_breach(graph: Graph) -> str:
    inputs = graph.find_nodes(op="placeholder")
    tangents = [node for node in inputs if is_tangent(node)]
    if inputs[len(inputs) - len(tangents):] != tangents:
        return "an input follows the tangents"
    forward, gradients = joint_outputs(graph)
    if len(forward) < max(1, len(tangents)):
        return "outputs are missing"
    if not all(isinstance(node, Node) for node in forward):
        return "the forward returns what is no value of the graph"
    reached = set(tangents)
    for node in graph.nodes:
        if not reached.isdisjoint(node.all_input_nodes):
            reached.add(node)
    late = next((node.name for node in forward if node in reached), None)
    if late is not None:
        return f"{late}, an output of the forward, hangs on a tangent"
    late = next((node.name for node in forward if node.meta.get(SIDE) == BACKWARD), None)
    if late is not None:
        return f"{late}, an output of the forward, is computed by the backward"
    wanted = {node for node, gradient in zip(inputs, gradients) if gradient is not None}
    return next((f"{node.name} {words}" for node in filter(is_copy, graph.nodes)
                 if (words := _joint_copy_breach(node, reached, wanted))), "")


def _joint_copy_breach(node: Node, reached: set[Node], wanted: set[Node]) -> str:
    target, source = node.args[:2]
    if target in wanted:
        return f"writes to {target}, which asks for a gradient"
    if source in reached or isinstance(source, Node) and source.meta.get(SIDE) == BACKWARD:
        return "copies what the backward computes"
    if any(user in reached or user.meta.get(SIDE) == BACKWARD for user in _readers(target)):
        return f"writes to {target}, which the backward reads"
    return ""


def _readers(node: Any) -> set[Node]:
    """Return what reads a node, or a view of it."""
    found: set[Node] = set()
    for user in node.users if isinstance(node, Node) else ():
        found |= {user} | (_readers(user) if _is_view(user) else set())
    return found


def equal_sizes(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether the sizes are the same as they are written; one that is data cannot be compared."""
    return [str(size) for size in a.shape] == [str(size) for size in b.shape]


def view_source(node: Node) -> Node:
    """Return what a chain of views starts from."""
    while node.op in ("call_function", "call_method") and _is_view(node) and node.all_input_nodes:
        node = node.all_input_nodes[0]
    return node


def _is_view(node: Node) -> bool:
    if node.target is operator.getitem:
        return True
    if isinstance(node.target, OpOverload):
        return _overload_is_view(node.target)
    return _name_is_view(node.target if isinstance(node.target, str) else getattr(node.target, "__name__", ""))


@functools.cache
def _overload_is_view(target: OpOverload) -> bool:
    return any(value.alias_info is not None and not value.alias_info.is_write for value in target._schema.returns)


@functools.cache
def _name_is_view(name: str) -> bool:
    return any(value.alias_info is not None and not value.alias_info.is_write
               for schema in torch._C._jit_get_schemas_for_operator(f"aten::{name}") for value in schema.returns)


def _is_call(node: Node) -> bool:
    return node.op in ("call_function", "call_method", "call_module")


def _is_dispatched(node: Node) -> bool:
    """Whether a tracer of dispatcher calls writes such a call: an overload, a body's caller, arithmetic of sizes."""
    if node.op != "call_function":
        return False
    target = node.target
    if isinstance(target, (OpOverload, HigherOrderOperator)):
        return True
    home, name = getattr(target, "__module__", "") or "", getattr(target, "__name__", "")
    return home in ("_operator", "math", "builtins") or not home.startswith("torch") or name.startswith("sym_") \
        or home.startswith(("torch.fx", "torch._sym", "torch.utils._sympy"))


def _is_in_place_name(name: str) -> bool:
    if name.startswith("__"):
        return name == "__setitem__" or name.startswith("__i") and name not in ("__invert__", "__index__", "__int__")
    return name.endswith("_")


@functools.cache
def _function_writes(target: Any) -> bool:
    if getattr(target, "__module__", "") == "_operator":
        return function_kind(target) == EFFECT
    return _is_in_place_name(getattr(target, "__name__", ""))


def _module_writes(module: Any) -> bool:
    return isinstance(module, torch.nn.Module) and any(vars(part).get("inplace") for part in module.modules())
