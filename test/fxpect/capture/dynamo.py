"""The graph that dynamo hands to a backend of torch.compile."""

from __future__ import annotations

import re
from typing import Any

import torch
import torch._dynamo

from fxpect.capture.calls import Call
from fxpect.capture.results import Captured, Inputs, clean_copy
from fxpect.errors import CaptureError
from fxpect.specs import View
from fxpect.text.propagation import fake_mode_of


class _Stop(Exception):
    """Ends the call once the graph and its arguments are known, before anything runs."""


def dynamo(call: Call) -> Captured:
    """Return the torch-level graph, whole (``fullgraph``), with the placeholders that dynamo lifted.

    Raises ``CaptureError`` for a model without any tensor operation, which dynamo does not hand over.
    """
    graphs: list[torch.fx.GraphModule] = []
    arguments: list[tuple] = []

    def backend(gm: torch.fx.GraphModule, example_inputs: list[Any]):
        graphs.append(clean_copy(gm))

        def stop(*args: Any):
            arguments.append(args)
            raise _Stop

        return stop

    for i in call.tensor_leaves():
        for place, (dim, free) in enumerate(zip(call.dims(i), call.free_dims(i), strict=True)):
            if dim or free:
                torch._dynamo.maybe_mark_dynamic(call.values[i], place)
    args, kwargs = call.arguments()
    torch._dynamo.reset()
    try:
        torch.compile(call.own.function or call.model, backend=backend, fullgraph=True)(*args, **kwargs)
    except _Stop:
        pass
    finally:
        torch._dynamo.reset()
    if not graphs:
        raise CaptureError(f"{call.name}: capture 'dynamo' found no tensor operation to hand to a backend")
    _name_alike(graphs[0])
    mode = fake_mode_of(graphs[0])
    if mode is not None:
        mode.allow_non_fake_inputs = True  # as of a graph that is read from its text: a pass does the same to both
    values = list(arguments[0])
    _bases_first(graphs[0], values, call)
    inputs = Inputs(call)
    for value in values:
        inputs.add(value)
    return Captured(graphs[0], inputs)


def _name_alike(gm: torch.fx.GraphModule) -> None:
    """Name parameters and buffers alike whether or not the model writes to its own attributes."""
    for node in gm.graph.find_nodes(op="placeholder"):
        detour = re.compile("_dict_(?=(modules|parameters|buffers)_)")
        if detour.search(node.name):
            node.target = detour.sub("_", str(node.target))
            node._rename(detour.sub("_", node.name))


def _bases_first(gm: torch.fx.GraphModule, values: list[Any], call: Call) -> None:
    """Move each placeholder that is a view of another input behind it: dynamo orders them by first use."""
    nodes = gm.graph.find_nodes(op="placeholder")
    for value, spec in zip(call.values, call.specs, strict=True):
        if isinstance(spec, View):
            base = next((i for i, v in enumerate(values) if v is call.values[spec.index]), -1)
            place = next((i for i, v in enumerate(values) if v is value), base)
            if place < base:
                nodes[base].append(nodes[place])
                for order in (nodes, values):
                    order.insert(base, order.pop(place))
    gm.recompile()
