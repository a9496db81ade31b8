"""From a model to a graph: one function, with a name for every kind of graph that passes are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from fxpect.capture import dynamo, exported, given, symbolic, traced
from fxpect.capture.calls import Call, bind
from fxpect.capture.finishing import finish
from fxpect.capture.models import model_name
from fxpect.capture.results import Captured
from fxpect.capture.settings import capturing
from fxpect.errors import CaptureError
from fxpect.examples import Example

_WAYS: dict[str, Callable[[Call], Captured]] = {
    "export": lambda call: exported.export(call, strict=True),
    "export-nonstrict": lambda call: exported.export(call, strict=False),
    "dynamo": dynamo.dynamo,
    "make_fx": traced.make_fx,
    "aten": traced.aten,
    "joint": traced.joint,
    "symbolic": symbolic.symbolic,
}
CAPTURES = tuple(_WAYS)


def capture(model: Any, inputs: Any = (), kwargs: Mapping[str, Any] | None = None, *, capture: str = "export",
            dynamic: bool | None = None, device: Any = None, frozen: bool = False) -> Example:
    """Return the graph that ``model`` becomes under the capture of that name, with its inputs.

    ``model`` is a Module, a callable, an ExportedProgram, a GraphModule or a graph text (both taken
    as they stand), or an Example (returned as it is). ``inputs`` are specs, tensors and constants,
    nested as the model takes them. Named dims are dynamic; with ``dynamic=True`` so is every dim of
    size 2 or more, with ``dynamic=False`` none. The caller's model, tensors and RNG stay untouched.
    ``frozen`` keeps parameters as constants of the graph, as freezing passes need ("make_fx", "aten").
    Raises ``CaptureError`` with the model, the capture and the cause for what cannot be captured.
    """
    if isinstance(model, Example):
        return model
    if capture not in _WAYS:
        raise CaptureError(f"expected a capture among {', '.join(CAPTURES)}; got {capture!r}")
    if frozen and capture not in ("make_fx", "aten"):
        raise CaptureError(f"frozen=True is for the captures make_fx and aten; got {capture!r}")
    if dynamic not in (None, True, False):
        raise CaptureError(f"expected dynamic to be True, False or None; got {dynamic!r}")
    inputs = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    with capturing(model_name(model), capture):
        call, captured = _capture(model, inputs, kwargs, capture, dynamic, device)
        return finish(call, captured, capture, frozen)


def _capture(model: Any, inputs: tuple, kwargs: Mapping[str, Any] | None, name: str, dynamic: bool | None,
             device: Any) -> tuple[Call, Captured]:
    if isinstance(model, (torch.fx.GraphModule, str)):
        return given.take_graph(model, inputs, kwargs, "example_value" if name == "dynamo" else "val", device)
    if isinstance(model, torch.export.ExportedProgram):
        if name.startswith("export"):
            return given.take_program(model, inputs, kwargs, device)
        if not inputs and not kwargs and model.example_inputs is not None:
            inputs, kwargs = model.example_inputs
        model = model.module()
    call = bind(model, inputs, kwargs, dynamic, device)
    return call, _WAYS[name](call)
