"""Captures by torch.export, strict and not."""

from __future__ import annotations

import sys
from typing import Any

import torch
import torch._dynamo

from fxpect.capture.calls import Call
from fxpect.capture.results import Captured, Inputs, clean_copy, names_by_identity
from fxpect.specs import ranges


def export(call: Call, strict: bool) -> Captured:
    """Return the graph of ``torch.export.export``, parameters lifted, with the program itself."""
    args, kwargs = call.arguments()
    shapes = _dynamic_shapes(call)
    try:
        program = torch.export.export(call.model, args, kwargs, dynamic_shapes=shapes, strict=strict)
    finally:
        if strict:
            _forget()
    return from_program(program, call)


def _forget() -> None:
    """Drop what dynamo keeps of a strict export: its caches, and a global that holds the model."""
    torch._dynamo.reset()
    kept = vars(sys.modules.get("torch._dynamo.functional_export", torch._dynamo))
    for name in [name for name in kept if name.startswith("__compiled_fn")]:
        del kept[name]


def from_program(program: torch.export.ExportedProgram, call: Call) -> Captured:
    """Return the graph of a program, one input per placeholder; user inputs are the leaves of ``call``."""
    inputs, names = Inputs(call), []
    values, own_names = iter(call.values), names_by_identity(call.model)
    for spec in program.graph_signature.input_specs:
        if spec.kind.name == "USER_INPUT":
            value = next(values)
        else:
            value = program.state_dict.get(spec.target, program.constants.get(spec.target))
        inputs.add(value)
        names.append(own_names.pop(id(value), spec.arg.name))
    return Captured(clean_copy(program.graph_module, names, "ExportedGraph"), inputs, exported=program)


def _dynamic_shapes(call: Call) -> Any:
    names: dict[str, Any] = {}
    for name, dim in ranges(dim for i in call.tensor_leaves() for dim in call.dims(i) if dim).items():
        names[name] = torch.export.Dim(name, min=dim.min, max=dim.max)
    shapes = torch.export.ShapesCollection()
    found = False
    for i in call.tensor_leaves():
        dims = enumerate(zip(call.dims(i), call.free_dims(i), strict=True))
        entry = {place: dim.evaluate(names) if dim else torch.export.Dim.AUTO
                 for place, (dim, free) in dims if dim or free}
        if entry:
            shapes[call.values[i]] = entry
            found = True
    if not found:
        return None
    args, kwargs = call.arguments()
    return shapes.dynamic_shapes(call.model, args, kwargs)
