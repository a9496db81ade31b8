"""Captures by tracing through the dispatcher: make_fx, and AOT's functional graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.fx.experimental.proxy_tensor import make_fx as trace
from torch.utils import _pytree as pytree

from fxpect.capture.calls import Call
from fxpect.capture.fakes import fake_values
from fxpect.capture.results import PENDING, Captured, Inputs, clean_copy, named_state, state_names
from fxpect.errors import CaptureError


class _Stop(Exception):
    """Carries the graph out of AOT, which would go on to compile it."""

    def __init__(self, gm: torch.fx.GraphModule):
        super().__init__()
        self.gm = gm


def make_fx(call: Call) -> Captured:
    """Return the ATen graph without decompositions; parameters and buffers are placeholders."""
    flat = _Flat(call)
    gm = trace(flat.run, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*flat.fakes)
    return Captured(clean_copy(gm, flat.names), flat.inputs())


def aten(call: Call) -> Captured:
    """Return what Inductor's passes see at inference: functional but for copy_ at the end, decomposed."""
    flat = _Flat(call, symbols=True)

    def stop(gm: torch.fx.GraphModule, example_inputs: Any):
        raise _Stop(gm)

    with torch.no_grad():
        gm = _aot(flat, inference_compiler=stop, fw_compiler=stop)
    return flat.captured(gm)


def joint(call: Call) -> Captured:
    """Return AOT's joint graph of forward and backward, as Inductor's joint passes are given it.

    Where nothing requires grad, every floating input does. Tangents become inputs of their own.
    """
    flat = _Flat(call, symbols=True, gradients=True)

    def partition(gm: torch.fx.GraphModule, joint_inputs: Any, **options: Any):
        raise _Stop(gm)

    def no_backward(gm: torch.fx.GraphModule, example_inputs: Any):
        raise CaptureError(f"{call.name}: capture 'joint' found no output that requires grad")

    gm = _aot(flat, partition_fn=partition, fw_compiler=no_backward, inference_compiler=no_backward)
    return flat.captured(gm, keep_names=True)


def _aot(flat: _Flat, **hooks: Callable) -> torch.fx.GraphModule:
    from torch._functorch.aot_autograd import aot_module_simplified
    from torch._inductor.decomposition import select_decomp_table

    module = torch.nn.Module()
    module.forward = flat.run_flat
    try:
        aot_module_simplified(module, flat.fakes, decompositions=select_decomp_table(),
                              keep_inference_input_mutations=True, **hooks)
    except _Stop as stop:
        return stop.gm
    raise CaptureError("AOT compiled the model without showing its graph")


class _Flat:
    """A call as a function of flat tensors: parameters, buffers, then the inputs; all of them fake."""

    def __init__(self, call: Call, *, symbols: bool = False, gradients: bool = False):
        self.call = call
        self.state = named_state(call.model)
        fakes = fake_values(call, list(self.state.values()), gradients=gradients)
        self.places = call.tensor_leaves()
        self.symbols = fakes.symbols() if symbols else []
        self._constants = fakes.leaves
        self.fakes = [*self.symbols, *fakes.state,
                      *(fakes.leaves[place] for place in self.places)]
        self.names = [*(f"s{i}" for i in range(len(self.symbols))), *state_names(call.model),
                      *(call.names[place] for place in self.places)]

    def run(self, *flat: Any) -> Any:
        """Call the model with these tensors in the place of its own and of its inputs."""
        state, inputs = self._split(flat)
        leaves = list(self._constants)
        for place, value in zip(self.places, inputs, strict=True):
            leaves[place] = value
        args, kwargs = self.call.arguments(leaves)
        own = dict(zip(self.state, state, strict=True))
        with self.call.own.reading(own):
            return torch.func.functional_call(self.call.model, own, args, kwargs)

    def run_flat(self, *flat: Any) -> tuple:
        """Call the model and return its outputs as one tuple."""
        return tuple(pytree.tree_leaves(self.run(*flat)))

    def inputs(self) -> Inputs:
        """Return the example's inputs when the placeholders are exactly the flat arguments."""
        inputs = Inputs(self.call)
        for value in self._real():
            inputs.add(value)
        return inputs

    def captured(self, gm: torch.fx.GraphModule, keep_names: bool = False) -> Captured:
        """Return AOT's graph with its inputs, which its placeholders describe in ``meta["desc"]``."""
        real, inputs, names = self._real(), Inputs(self.call), []
        for node in gm.graph.find_nodes(op="placeholder"):
            kind = type(node.meta.get("desc")).__name__
            if kind == "PlainAOTInput":
                place = node.meta["desc"].idx
                names.append(self.names[place])
                inputs.add(real[place])
            elif kind == "TangentAOTInput":
                names.append(node.name)
                inputs.add(PENDING)
            else:
                raise CaptureError(f"{self.call.name}: AOT gives the graph an input of its own ({kind}), "
                                   "as for inputs that overlap and are written to")
        return Captured(clean_copy(gm, None if keep_names else names), inputs)

    def _real(self) -> list[Any]:
        return [*(PENDING for _ in self.symbols), *self.state.values(),
                *(self.call.values[place] for place in self.places)]

    def _split(self, flat: tuple) -> tuple[tuple, tuple]:
        start, middle = len(self.symbols), len(self.symbols) + len(self.state)
        return flat[start:middle], flat[middle:]
