"""A copy of the caller's model that a capture may use up: parameters, buffers and closures its own."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
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


@dataclasses.dataclass
class OwnModel:
    """A model that shares no state with the caller's: a module, and the plain function where it is one.

    ``places`` says where a function reads each tensor that it closes over, or takes from its globals.
    """

    module: torch.nn.Module
    function: Callable | None = None
    places: dict[str, types.CellType | dict[str, Any]] = dataclasses.field(default_factory=dict)

    @contextlib.contextmanager
    def reading(self, state: Mapping[str, Any]) -> Iterator[None]:
        """Let the function read the tensors of ``state`` in the place of its own."""
        own = {name: getattr(self.module, name) for name in self.places}
        try:
            self._place(state)
            yield
        finally:
            self._place(own)

    def _place(self, state: Mapping[str, Any]) -> None:
        for name, place in self.places.items():
            if isinstance(place, dict):
                place[name] = state[name]
            else:
                place.cell_contents = state[name]


def own_model(model: Any) -> OwnModel:
    """Return a copy of ``model``.

    Modules and tensors that a function closes over, or reads from its globals, become its own too, as
    submodules and buffers under their names. Raises ``CaptureError`` for what cannot be copied.
    """
    if not callable(model):
        raise CaptureError("expected a Module, a callable, an ExportedProgram, a GraphModule or a graph "
                           f"text; got {model!r}")
    try:
        if isinstance(model, torch.nn.Module):
            return OwnModel(copy.deepcopy(model))
        if isinstance(model, types.FunctionType):
            return _own_function(model)
        return _own_callable(copy.deepcopy(model))
    except Exception as error:
        raise CaptureError(f"{model_name(model)}: the model cannot be copied: {first_line(error)}") from error


def _own_callable(function: Any) -> OwnModel:
    """Return a method, a builtin, a partial or an object with ``__call__`` as a model."""
    if not isinstance(function, types.MethodType) and isinstance(function.__call__, types.MethodType):
        function = function.__call__
    owner = getattr(function, "__self__", None)
    if isinstance(function, types.MethodType):
        return _module(function, {"owner": owner} if isinstance(owner, torch.nn.Module) else {})

    def forward(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    with contextlib.suppress(TypeError, ValueError):        # a builtin has none
        forward.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return _module(forward, {})


def _module(function: Callable, state: Mapping[str, Any]) -> OwnModel:
    module = torch.nn.Module()
    for name, value in state.items():
        if isinstance(value, torch.nn.Module) or isinstance(value, torch.nn.Parameter):
            setattr(module, name, value)
        else:
            module.register_buffer(name, value)
    module.forward = function
    return OwnModel(module, function)


def _own_function(function: types.FunctionType) -> OwnModel:
    code = function.__code__
    cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
    memo: dict[int, Any] = {}
    closed = {name: copy.deepcopy(cell.cell_contents, memo)
              for name, cell in cells.items() if _is_state(cell)}
    read = {name: copy.deepcopy(function.__globals__[name], memo) for name in dict.fromkeys(_names(code))
            if _holds_state(function.__globals__.get(name))}
    if not closed and not read:
        return _module(function, {})
    cells |= {name: types.CellType(value) for name, value in closed.items()}
    own = types.FunctionType(code, {**function.__globals__, **read}, function.__name__,
                             function.__defaults__, tuple(cells.values()) or None)
    own.__kwdefaults__, own.__qualname__ = function.__kwdefaults__, function.__qualname__
    own.__dict__.update(function.__dict__)
    state = {name: value for name, value in {**read, **closed}.items()
             if isinstance(value, (torch.nn.Module, torch.Tensor)) and not hasattr(torch.nn.Module(), name)}
    model = _module(own, state)
    model.places = {name: cells[name] if name in closed else own.__globals__
                    for name, value in state.items() if isinstance(value, torch.Tensor)}
    return model


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
