"""Write the attributes and submodules that a graph uses, and build them back without running a name from the text."""

from __future__ import annotations

import functools
import inspect
import keyword
import re
import struct
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

from fxpect.errors import GraphTextError
from fxpect.text.annotations import ATTRIBUTE, MOST_ELEMENTS
from fxpect.text.effects import attribute_of

SIGNATURE = "fxpect_signature"
_SHOWN_ELEMENTS = 16
_NOTHING: Any = object()
_COUNTER = re.compile(r"_\d+$")


def attribute_text(path: str) -> str:
    """Return ``self.a.b``, or ``self["a.0.b"]`` where a part of the path is no identifier."""
    if all(part.isidentifier() and part not in keyword.kwlist for part in path.split(".")):
        return f"self.{path}"
    return f'self["{path}"]'


def used_attributes(module: Any, body: list[Node]) -> dict[str, tuple[str, str, Any]]:
    """Return each attribute path that ``body`` uses, in order: its path, how the text spells it, and the object."""
    found: dict[str, tuple[str, str, Any]] = {}
    graphs: set[str] = set()
    for node in body:
        if node.op not in ("get_attr", "call_module") or node.target in found:
            continue
        value = attribute_of(module, node.target)
        text = attribute_text(node.target)
        if isinstance(value, GraphModule):
            base = _COUNTER.sub("", node.target.rpartition(".")[2])
            base = base if base.isidentifier() and not keyword.iskeyword(base) else "graph"
            name, number = base, 0
            while name in graphs:
                number += 1
                name = f"{base}_{number}"
            graphs.add(name)
            text = f"self.{name}"
        found[node.target] = (node.target, text, value)
    return found


def declare(attributes: dict[str, tuple[str, str, Any]], type_text: Callable[..., str | None],
            constant: Callable[[Any], str]) -> tuple[list[str], list[tuple[str, GraphModule]]]:
    """Return the declaration lines, and the nested graphs with their names."""
    lines: list[str] = []
    nested: list[tuple[str, GraphModule]] = []
    first: dict[int, str] = {}
    for _, text, value in attributes.values():
        if isinstance(value, GraphModule):
            nested.append((text.removeprefix("self."), value))
        elif isinstance(value, (torch.Tensor, torch.nn.Module)) and id(value) in first:
            lines.append(f"{text} = {first[id(value)]}")
        elif isinstance(value, torch.Tensor):
            lines.append(f'{text}: "{type_text(value, ATTRIBUTE)}"{_contents(value, constant)}')
        elif isinstance(value, torch.nn.Module):
            lines.append(f"{text} = {_constructor(value, constant)}")
        else:
            lines.append(f"{text} = {constant(value)}")
        first.setdefault(id(value), text)
    return lines, nested


def _contents(value: torch.Tensor, constant: Callable[[Any], str]) -> str:
    """Return `` = [...]`` for a small constant tensor; the numbers of a parameter are no part of a graph."""
    if isinstance(value, torch.nn.Parameter) or type(value) is not torch.Tensor or value.is_meta:
        return ""
    if value.layout is not torch.strided or value.is_quantized or value.numel() > _SHOWN_ELEMENTS:
        return ""
    numbers = value.detach().cpu().tolist()
    return f" = {constant(_shortest(numbers) if value.dtype is torch.float32 else numbers)}"


def _shortest(number: Any) -> Any:
    """Return the number with the fewest digits that is the same in 32 bits."""
    if isinstance(number, list):
        return [_shortest(item) for item in number]
    packed = struct.pack("f", number)
    short = (float(f"{number:.{digits}g}") for digits in (6, 7, 8))
    return next((value for value in short if struct.pack("f", value) == packed), number)


def _constructor(module: torch.nn.Module, constant: Callable[[Any], str]) -> str:
    """Return the call that builds a torch.nn module like this one, or ``opaque(...)``."""
    kind: Any = type(module)
    name_of_kind = kind.__name__
    unknown = f'opaque("{kind.__module__}.{kind.__qualname__}")'
    if _MODULES.get(name_of_kind) is not kind:
        return unknown
    arguments = []
    for name, parameter in _parameters(kind):
        value = _argument(module, name)
        if value is _NOTHING:
            if parameter.default is parameter.empty:
                return unknown
            continue
        if parameter.default is parameter.empty:
            arguments.append(constant(value))
        elif value != parameter.default and not _same_sizes(value, parameter.default):
            arguments.append(f"{name}={constant(value)}")
    held = module.parameters() if module._modules else module._parameters.values()
    dtypes = {tensor.dtype for tensor in held if tensor is not None}
    if len(dtypes) == 1 and torch.float32 not in dtypes:
        arguments.append(f"dtype={dtypes.pop()}")
    return f"torch.nn.{name_of_kind}({', '.join(arguments)})" + ("" if module.training else ".eval()")


@functools.cache
def _parameters(kind: Any) -> list[tuple[str, inspect.Parameter]]:
    """Return the arguments that a text shows: all but self, those for a device and a dtype, and the starred."""
    found = inspect.signature(kind.__init__).parameters.items()
    return [(name, parameter) for name, parameter in found if name not in ("self", "device", "dtype")
            and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)]


def _argument(module: torch.nn.Module, name: str) -> Any:
    """Return a constructor argument from the attribute of the same name; a tensor there means "yes"."""
    value = vars(module).get(name, _NOTHING)  # quicker than getattr, which looks through parameters and modules
    if value is _NOTHING:
        value = module._parameters.get(name, _NOTHING)
    if value is _NOTHING:
        value = getattr(module, name, _NOTHING)
    return value is not None if name == "bias" and not isinstance(value, bool) and value is not _NOTHING else value


def _same_sizes(value: Any, default: Any) -> bool:
    """Say whether ``value`` is the tuple that torch makes of a single default number."""
    return isinstance(value, tuple) and type(default) is int and all(item == default for item in value)


def _buildable_modules() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in torch.nn.modules.__all__:
        kind = getattr(torch.nn, name, None)
        is_module = isinstance(kind, type) and issubclass(kind, torch.nn.Module)
        if is_module and kind.__module__.startswith("torch.nn.modules"):
            if name not in ("Module", "Container", "Sequential", "ModuleList", "ModuleDict", "ParameterList",
                            "ParameterDict"):
                found[name] = kind
    return found


_MODULES = _buildable_modules()


def build_module(name: str, args: list[Any], kwargs: dict[str, Any], line: int) -> torch.nn.Module:
    """Return a torch.nn module made from constants; its parameters come from a seed of their own.

    Raises GraphTextError for a class that is not in torch.nn, or when torch refuses the arguments.
    """
    kind = _MODULES.get(name.removeprefix("torch.nn."))
    if kind is None or not name.startswith("torch.nn."):
        raise GraphTextError(f"expected a module of torch.nn; got {name}", line)
    try:
        with torch.device("meta"):  # how large it would be, without the memory
            sizes = [tensor.numel() for tensor in kind(*args, **kwargs).parameters()]
        if sum(sizes) > MOST_ELEMENTS:
            raise GraphTextError(f"expected at most {MOST_ELEMENTS} parameters; {name} has {sum(sizes)}", line)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return kind(*args, **kwargs)
    except GraphTextError:
        raise
    except Exception as error:
        raise GraphTextError(f"cannot build {name}: {error}", line) from error


def fill_deterministic(value: torch.Tensor) -> None:
    """Write numbers that depend on the shape and dtype alone into a real tensor."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        if value.is_floating_point() or value.is_complex():
            value.copy_(torch.randn(value.shape, generator=generator))
        elif value.dtype is torch.bool:
            value.copy_(torch.randint(0, 2, value.shape, generator=generator))
        elif not value.is_quantized:
            value.copy_(torch.randint(0, 4, value.shape, generator=generator))


@functools.cache
def _own_names() -> frozenset[str]:
    """Return the attributes that every GraphModule has of its own."""
    return frozenset(dir(GraphModule({}, Graph()))) | frozenset(vars(torch.nn.Module()))


def place(module: torch.nn.Module, path: str, value: Any, line: int) -> None:
    """Set ``path`` on ``module``, making plain modules on the way; refuses names that a module needs itself."""
    *parents, last = path.split(".")
    for part in [*parents, last]:
        if part.startswith("__") or part in _own_names():
            raise GraphTextError(f"expected the name of an attribute; got {path}", line)
    for part in parents:
        inner = module._modules.get(part)
        if inner is None:
            inner = torch.nn.Module()
            module.add_module(part, inner)
        module = inner
    if isinstance(value, torch.nn.Module):
        module.add_module(last, value)
    elif isinstance(value, torch.nn.Parameter):
        module.register_parameter(last, value)
    elif isinstance(value, torch.Tensor):
        module.register_buffer(last, value)
    else:
        setattr(module, last, value)
