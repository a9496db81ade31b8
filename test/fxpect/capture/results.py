"""From a traced graph to an Example: a clean copy of the graph, and one input per placeholder."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from fxpect.capture.calls import Call, clone, identifier
from fxpect.specs import Same, TensorSpec, View
from fxpect.text.effects import attribute_of

# Metadata that holds real tensors of the model, or AOTAutograd's values of a call, which are another's after an edit.
_NOT_KEPT = ("grapharg", "eager_input_vals")
PENDING = object()                 # an input that the metadata of its placeholder describes


class Inputs:
    """Tells which input of the example each placeholder takes, from the real value that it is given.

    ``specs`` has one entry per placeholder; ``leaves`` says which leaf of the call it is, ``state``
    whether it is a tensor of the model.
    """

    def __init__(self, call: Call):
        self._call = call
        self._leaf = {id(value): i for i, value in reversed(list(enumerate(call.values)))
                      if isinstance(value, torch.Tensor)}
        self._memo: dict[int, Any] = {}
        self._taken: dict[int, int] = {}
        self.specs: list[Any] = []
        self.leaves: list[int | None] = []
        self.state: list[bool] = []

    def add(self, value: Any) -> None:
        """Append the input of a placeholder whose real value is ``value``."""
        leaf = self._leaf.get(id(value)) if isinstance(value, torch.Tensor) else None
        self.leaves.append(leaf)
        self.state.append(isinstance(value, torch.Tensor) and leaf is None)
        if not isinstance(value, torch.Tensor):
            self.specs.append(value)
        elif id(value) in self._taken:
            self.specs.append(Same(self._taken[id(value)]))
        else:
            self._taken[id(value)] = len(self.specs)
            self.specs.append(self._tensor(value, leaf))

    def _tensor(self, value: torch.Tensor, leaf: int | None) -> Any:
        if leaf is None:
            return clone(value, self._memo)
        spec = self._call.specs[leaf]
        if isinstance(spec, View):
            base = self._taken.get(id(self._call.values[spec.index]))
            return clone(value, self._memo) if base is None else View(base, spec.start, spec.dim)
        if isinstance(spec, TensorSpec) and self._call.dynamic is False:
            return spec.with_sizes(self._call.sizes)
        return spec


@dataclasses.dataclass
class Captured:
    """A graph of our own with the inputs of its placeholders."""

    graph_module: torch.fx.GraphModule
    inputs: Inputs
    exported: torch.export.ExportedProgram | None = None


def named_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the model's parameters and buffers by name, a tied one once."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def state_names(model: torch.nn.Module) -> list[str]:
    """Return the placeholder names of ``named_state``: ``p_`` or ``b_`` and the attribute path."""
    return [*(identifier(f"p_{name}") for name, _ in model.named_parameters()),
            *(identifier(f"b_{name}") for name, _ in model.named_buffers())]


def names_by_identity(model: torch.nn.Module) -> dict[int, str]:
    """Return ``state_names`` by the identity of the tensors: a strict export's own may hold an address."""
    return dict(zip(map(id, named_state(model).values()), state_names(model), strict=True))


def clean_copy(gm: torch.fx.GraphModule, names: Sequence[str] | None = None,
               class_name: str = "Captured") -> torch.fx.GraphModule:
    """Return a copy of a traced graph that holds on to nothing of the tracer or the model.

    ``names`` renames the placeholders, in order. Attributes are cloned; tensors that shared storage
    share it again.
    """
    graph = torch.fx.Graph(tracer_cls=getattr(gm.graph, "_tracer_cls", None))
    mapping: dict[torch.fx.Node, torch.fx.Node] = {}
    wanted = iter(names or ())
    for node in gm.graph.nodes:
        if node.op == "placeholder" and (name := next(wanted, None)):
            new = graph.placeholder(name)
            new.target = new.name
        else:
            new = graph.node_copy(node, mapping.__getitem__)
        new.meta = {key: value for key, value in node.meta.items() if key not in _NOT_KEPT}
        mapping[node] = new
    attributes: dict[str, Any] = {}
    memo: dict[int, Any] = {}
    for node in gm.graph.nodes:
        if node.op in ("get_attr", "call_module") and node.target not in attributes:
            attributes[node.target] = _own_attribute(gm, node.target, memo)
    result = torch.fx.GraphModule(attributes, graph, class_name)
    result.training = gm.training
    return result


def _own_attribute(gm: torch.nn.Module, path: str, memo: dict[int, Any]) -> Any:
    value = attribute_of(gm, path)
    if isinstance(value, torch.fx.GraphModule):
        if id(value) not in memo:
            memo[id(value)] = clean_copy(value, class_name=type(value).__name__)
        return memo[id(value)]
    if isinstance(value, torch.Tensor) and not isinstance(value, torch.nn.Parameter):
        return clone(value, memo)
    return copy.deepcopy(value, memo)
