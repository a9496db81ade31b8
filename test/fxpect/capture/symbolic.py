"""The graph of torch.fx.symbolic_trace, which keeps submodules as call_module nodes."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import torch
from torch.fx.passes.shape_prop import _extract_tensor_metadata

from fxpect.capture.calls import Call
from fxpect.capture.fakes import fake_values
from fxpect.capture.results import Captured, Inputs, clean_copy, named_state
from fxpect.text.propagation import propagate


class _FlatTracer(torch.fx.Tracer):
    """Traces a call whose tensors, however nested, are placeholders of their own; the rest is constant."""

    def __init__(self, call: Call, places: list[int]):
        super().__init__()
        self._names = [call.names[place] for place in places]
        forward = call.model.forward

        def run(*own: Any) -> Any:
            leaves = list(call.values)
            for place, value in zip(places, own[len(own) - len(places):], strict=True):
                leaves[place] = value
            args, kwargs = call.arguments(leaves)
            return forward(*args, **kwargs)

        self._run = run

    def create_args_for_root(self, root_fn: Callable, is_module: bool, concrete_args: Any = None) -> tuple:
        """Return the call of the model with one proxy per tensor."""
        return self._run, [self.create_proxy("placeholder", name, (), {}) for name in self._names]


def symbolic(call: Call) -> Captured:
    """Return the symbolically traced graph, with "val" and "tensor_meta" on its nodes.

    Constants are traced in; nested inputs are placeholders of their own. Parameters stay attributes.
    """
    places = call.tensor_leaves()
    tracer = _FlatTracer(call, places)
    is_plain = isinstance(call.own.function, types.FunctionType) and not vars(call.model)["_modules"] \
        and not named_state(call.model)
    graph = tracer.trace(call.own.function if is_plain else call.model)
    names = [call.names[place] for place in places]
    gm = clean_copy(torch.fx.GraphModule(tracer.root, graph), names, type(call.model).__name__)
    gm.train(call.model.training)
    fakes = fake_values(call, ())
    propagate(gm, [fakes.leaves[place] for place in places], meta_key="val", mode=fakes.mode)
    for node in gm.graph.nodes:
        if isinstance(node.meta.get("val"), torch.Tensor):
            node.meta["tensor_meta"] = _extract_tensor_metadata(node.meta["val"])
    inputs = Inputs(call)
    for place in places:
        inputs.add(call.values[place])
    return Captured(gm, inputs)
