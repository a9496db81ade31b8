"""A copy of the caller's model that a capture may use up: parameters, buffers and closures its own."""

from __future__ import annotations

import copy
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch

from fxpect.errors import CaptureError


def model_name(model: Any) -> str:
    """Return what messages call the model."""
    if isinstance(model, torch.nn.Module):
        return type(model).__name__
    return getattr(model, "__qualname__", None) or getattr(model, "__name__", None) or type(model).__name__


def first_line(error: BaseException) -> str:
    """Return the type of an error and the first line of its message, with the first point of a list there."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = " ".join(lines[:2] if len(lines) > 1 and lines[1].startswith("- ") else lines[:1])
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def own_model(model: Any) -> tuple[torch.nn.Module, Callable | None]:
    """Return a module that computes what ``model`` does and shares no state with it.

    The second result is the plain function, where the model is one. Modules and tensors that it
    closes over, or reads from its globals, become its own too, as submodules and attributes under
    their names. Raises ``CaptureError`` for what cannot be copied.
    """
    if not callable(model):
        raise CaptureError("expected a Module, a callable, an ExportedProgram, a GraphModule or a graph "
                           f"text; got {model!r}")
    try:
        if isinstance(model, torch.nn.Module):
            return copy.deepcopy(model), None
        if isinstance(model, types.FunctionType):
            function, state = _own_function(model)
        else:
            function = copy.deepcopy(model)
            owner = getattr(function, "__self__", None)
            state = {"owner": owner} if isinstance(owner, torch.nn.Module) else {}
    except Exception as error:
        raise CaptureError(f"{model_name(model)}: the model cannot be copied: {first_line(error)}") from error
    module = torch.nn.Module()
    for name, value in state.items():
        setattr(module, name, value)
    module.forward = function
    return module, function


def _own_function(function: types.FunctionType) -> tuple[types.FunctionType, dict[str, Any]]:
    code = function.__code__
    cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
    memo: dict[int, Any] = {}
    closed = {name: copy.deepcopy(cell.cell_contents, memo)
              for name, cell in cells.items() if _is_state(cell)}
    read = {name: copy.deepcopy(function.__globals__[name], memo) for name in dict.fromkeys(_names(code))
            if _holds_state(function.__globals__.get(name))}
    if not closed and not read:
        return function, {}
    closure = tuple(types.CellType(closed[name]) if name in closed else cell for name, cell in cells.items())
    own = types.FunctionType(code, {**function.__globals__, **read}, function.__name__,
                             function.__defaults__, closure or None)
    own.__kwdefaults__, own.__qualname__ = function.__kwdefaults__, function.__qualname__
    own.__dict__.update(function.__dict__)
    return own, {name: value for name, value in {**read, **closed}.items()
                 if isinstance(value, (torch.nn.Module, torch.Tensor)) and not hasattr(torch.nn.Module, name)}


def _is_state(cell: types.CellType) -> bool:
    try:
        return _holds_state(cell.cell_contents)
    except ValueError:                      # an empty cell
        return False


def _holds_state(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_holds_state, value))
    if isinstance(value, dict):
        return type(value) is dict and any(map(_holds_state, value.values()))
    return isinstance(value, (torch.nn.Module, torch.Tensor))


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)
