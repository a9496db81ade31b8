"""A test case: one graph, the inputs it is given, and how it came about."""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
from typing import Any

import torch
from torch.fx._lazy_graph_module import _make_graph_module, _use_lazy_graph_module

from fxpect.contracts import Contract, contract_of
from fxpect.specs import Dim, TensorSpec, realize, spec_of
from fxpect.text.naming import source_word
from fxpect.text.parser import parse_graph
from fxpect.text.printer import graph_text


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
    """One graph with its inputs, standing in the place of a model and its inputs in every verb.

    ``graph_module`` stays pristine: a pass is only ever given ``build()``. ``inputs`` has one entry
    per placeholder, in order: a ``TensorSpec``, ``Same(i)`` (the very tensor of input i), a ``Dim``
    (that size as an int), a real tensor, or any other constant. ``sizes`` gives each named dim the
    value it was captured with. ``edits`` names the steps from the innocent model, oldest first, ``triggers``
    the same steps without the numbers in them, ``path`` the steps as objects; ``outside`` says that they left
    the contract. ``contract`` is what the graphs of the pass's stage promise; None means that of the capture.
    """

    graph_module: torch.fx.GraphModule
    inputs: tuple[Any, ...]
    capture: str = "export"
    sizes: dict[str, int] = dataclasses.field(default_factory=dict)
    edits: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()
    exported: torch.export.ExportedProgram | None = None
    outside: bool = False
    path: tuple[Any, ...] = ()
    contract: Contract | None = None

    @classmethod
    def from_text(cls, text: str, *inputs: Any, capture: str = "export", **fields: Any) -> Example:
        """Return the example that a stored text and its input specs describe."""
        meta_key = "example_value" if capture == "dynamo" else "val"
        return cls(parse_graph(text, meta_key=meta_key, sizes=fields.get("sizes")), inputs, capture, **fields)

    @functools.cached_property
    def text(self) -> str:
        """The canonical text of the graph."""
        return graph_text(self.graph_module)

    @functools.cached_property
    def key(self) -> str:
        """Ten hex digits that name the text, the inputs and the capture."""
        recipe = "\n".join([self.text, *map(repr, self.portable().inputs), self.capture])
        return hashlib.sha256(recipe.encode()).hexdigest()[:10]

    @functools.cached_property
    def promises(self) -> Contract:
        """The contract that examples made from this one keep: its own, without what an innocent graph breaks itself."""
        contract = self.contract or contract_of(self.capture)
        return contract if self.outside else contract.fitted(self.graph_module, self.inputs, self.meta_key)

    @property
    def meta_key(self) -> str:
        """The metadata entry that passes of this stage read: "example_value" or "val"."""
        return "example_value" if self.capture == "dynamo" else "val"

    @property
    def is_dynamic(self) -> bool:
        """Whether a size of an input is open."""
        return any(spec.is_dynamic if isinstance(spec, TensorSpec) else isinstance(spec, Dim) for spec in self.inputs)

    @property
    def placeholders(self) -> list[torch.fx.Node]:
        """The graph's placeholders, one per input."""
        return self.graph_module.graph.find_nodes(op="placeholder")

    def build(self) -> torch.fx.GraphModule:
        """Return a fresh module: metadata copied, parameters, buffers and submodules its own."""
        return copy_graph_module(self.graph_module)

    def realize(self, *, sizes: dict[str, int] | None = None, seed: int = 0,
                device: torch.device | str | None = None) -> list[Any]:
        """Return fresh arguments, one per placeholder; equal calls return equal values.

        ``sizes`` overrides named dims. Raises ``SpecError`` when ``Same(i)`` does not point backwards.
        """
        inputs = [copy_tensor(spec) if isinstance(spec, torch.Tensor) else spec for spec in self.inputs]
        return realize(inputs, {**self.sizes, **(sizes or {})}, seed=seed, device=device)

    def portable(self) -> Example:
        """Return the same example with every real tensor described by a spec."""
        if not any(isinstance(spec, torch.Tensor) for spec in self.inputs):
            return self
        return self.replace(inputs=tuple(spec_of(spec) if isinstance(spec, torch.Tensor) else spec
                                         for spec in self.inputs))

    def replace(self, **fields: Any) -> Example:
        """Return a copy with these fields changed."""
        return dataclasses.replace(self, **fields)

    def __repr__(self) -> str:
        edits = f" after {', '.join(self.edits)}" if self.edits else ""
        names = [node.target for node in self.placeholders]
        inputs = ", ".join(f"{n}={short(v)}" for n, v in zip(names, self.inputs, strict=False))
        return f"Example[{self.capture}]({inputs}){edits}\n{self.text}"


def short(value: Any) -> str:
    """Return a short name for an input: a real tensor is shown as its spec."""
    return repr(spec_of(value) if isinstance(value, torch.Tensor) else value)


def inputs_text(example: Example) -> str:
    """Return the inputs as one line, under the names that the text has: ``x=f32[2, 8], y=f32[2, 2]``."""
    return ", ".join(f"{value.name if isinstance(value, Dim) else source_word(str(node.target))}={short(value)}"
                     for node, value in zip(example.placeholders, example.inputs, strict=False))


def copy_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Return a leaf with the same values, strides and ``requires_grad``, in storage of its own."""
    detached = tensor.detach()
    if any(stride == 0 for stride in detached.stride()) or not detached.is_contiguous():
        extent = 1 + sum((n - 1) * s for n, s in zip(detached.size(), detached.stride(), strict=True))
        base = detached.as_strided((max(extent, 0),) if detached.numel() else (0,), (1,)).clone()
        clone = base.as_strided(detached.size(), detached.stride())
    else:
        clone = detached.clone()
    return clone.requires_grad_(tensor.requires_grad)


def copy_graph_module(gm: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """Return a copy that shares nothing a pass could write to: graph, metadata dicts, attributes."""
    graph = torch.fx.Graph(tracer_cls=getattr(gm.graph, "_tracer_cls", None))
    mapping: dict[torch.fx.Node, torch.fx.Node] = {}
    graph.graph_copy(gm.graph, mapping)
    old_output = gm.graph.find_nodes(op="output")[0]  # a pass may leave calls behind it
    new_output = graph.output(torch.fx.map_arg(old_output.args[0], mapping.__getitem__))
    new_output.meta = dict(old_output.meta)
    graph._codegen = copy.copy(gm.graph._codegen)
    memo: dict[int, Any] = {}
    attributes = {}
    for node in gm.graph.nodes:
        if node.op in ("get_attr", "call_module") and node.target not in attributes:
            attributes[node.target] = _copy_attribute(_attribute(gm, node.target), memo)
    # Code is generated when it is first run or read, as for the graphs that dynamo hands to Inductor.
    with _use_lazy_graph_module(True):
        clone = _make_graph_module(attributes, graph, gm.__class__.__name__)
    clone.training = gm.training
    clone.meta = dict(getattr(gm, "meta", {}))
    return clone


def _attribute(gm: torch.nn.Module, path: str) -> Any:
    return functools.reduce(getattr, path.split("."), gm)


def _copy_attribute(value: Any, memo: dict[int, Any]) -> Any:
    if id(value) not in memo:
        if isinstance(value, torch.fx.GraphModule):
            memo[id(value)] = copy_graph_module(value)
        elif isinstance(value, torch.nn.Parameter):
            memo[id(value)] = torch.nn.Parameter(copy_tensor(value), value.requires_grad)
        elif isinstance(value, torch.Tensor):
            memo[id(value)] = copy_tensor(value)
        else:
            return copy.deepcopy(value, memo)
    return memo[id(value)]
