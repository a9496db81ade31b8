"""Graphs that exist already: an ExportedProgram, a GraphModule, a graph text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fxpect.capture.calls import Call, bind, stand_in
from fxpect.capture.exported import from_program
from fxpect.capture.fakes import fake_values
from fxpect.capture.results import PENDING, Captured, Inputs
from fxpect.errors import CaptureError
from fxpect.examples import copy_graph_module
from fxpect.text.parser import parse_graph
from fxpect.text.propagation import fake_mode_of, propagate


def take_program(program: torch.export.ExportedProgram, inputs: tuple, kwargs: Mapping[str, Any] | None,
                 device: Any) -> tuple[Call, Captured]:
    """Return the program's own graph; without inputs it takes those that it was exported with."""
    if not inputs and not kwargs and program.example_inputs is not None:
        inputs, kwargs = program.example_inputs
    call = bind(stand_in, inputs, kwargs, None, device)
    call.name = "ExportedProgram"
    expected = sum(spec.kind.name == "USER_INPUT" for spec in program.graph_signature.input_specs)
    if len(call.values) != expected:
        raise CaptureError(f"the program takes {expected} inputs; got {len(call.values)}")
    return call, from_program(program, call)


def take_graph(graph: torch.fx.GraphModule | str, inputs: tuple, kwargs: Mapping[str, Any] | None,
               meta_key: str, device: Any) -> tuple[Call, Captured]:
    """Return a copy of a graph, or the graph that a text describes, as it stands, with metadata everywhere.

    Without inputs the metadata of the placeholders describes them.
    """
    gm = parse_graph(graph, meta_key=meta_key) if isinstance(graph, str) else copy_graph_module(graph)
    call = bind(stand_in, inputs, kwargs, None, device)
    call.name = "the graph text" if isinstance(graph, str) else type(graph).__name__
    placeholders = gm.graph.find_nodes(op="placeholder")
    if call.values and len(call.values) != len(placeholders):
        raise CaptureError(f"{call.name} has {len(placeholders)} placeholders; got {len(call.values)} inputs")
    given = Inputs(call)
    for value in call.values or [PENDING] * len(placeholders):
        given.add(value)
    untyped = [node.name for node in placeholders if meta_key not in node.meta]
    if untyped and not call.values:
        raise CaptureError(f"{call.name}: give the inputs; nothing describes {', '.join(untyped)}")
    if untyped:
        fakes = fake_values(call, ())
        propagate(gm, fakes.leaves, meta_key=meta_key, mode=fakes.mode)
    else:
        propagate(gm, meta_key=meta_key, mode=fake_mode_of(gm), only_missing=True)
    return call, Captured(gm, given)
