"""Write the attributes and submodules that a graph uses, and build them back without running a name from the text."""

from __future__ import annotations

import functools
import keyword
import re
import struct
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

from fxpect.errors import GraphTextError, SpecError
from fxpect.specs.values import check_kind, default_kind, kind_of, make_values
from fxpect.text.annotations import ATTRIBUTE
from fxpect.text.constructors import Kind, built_tensors, constructor
from fxpect.text.effects import attribute_of

SIGNATURE = "fxpect_signature"
_SHOWN_ELEMENTS = 16
_SMALL = "index:4"  # the integers of an attribute of which a text says nothing: they may be used to index
_COUNTER = re.compile(r"(_\d+)+$")
# What torch fills the state of a new norm with; its text is silent about state that is still so.
_NEW_NORM = {"running_mean": 0, "running_var": 1, "num_batches_tracked": 0, "weight": 1, "bias": 0}
_COUNTABLE = frozenset({torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.bool, torch.uint8,
                        torch.int8, torch.int16, torch.int32, torch.int64})


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
    for path, text, value in _owners_first(attributes):
        if isinstance(value, GraphModule):
            nested.append((text.removeprefix("self."), value))
        elif isinstance(value, (torch.Tensor, torch.nn.Module)) and id(value) in first:
            lines.append(f"{text} = {first[id(value)]}")
        elif isinstance(value, torch.Tensor):
            lines.append(f'{text}: "{type_text(value, ATTRIBUTE)}"{_contents(value, constant)}')
        elif isinstance(value, torch.nn.Module):
            made = constructor(value, constant)
            lines.append(f"{text} = {made}")
            for inner, tensor in _told(value, made) if made.startswith("torch.nn.") else ():
                if f"{path}.{inner}" not in attributes:
                    lines.append(f'{attribute_text(f"{path}.{inner}")}: "{type_text(tensor, ATTRIBUTE)}"'
                                 f"{_learned(inner, tensor, constant)}")
        else:
            lines.append(f"{text} = {constant(value)}")
        first.setdefault(id(value), text)
    return lines, nested


def _owners_first(attributes: dict[str, tuple[str, str, Any]]) -> Iterator[tuple[str, str, Any]]:
    """Yield the attributes in order, but a module before the attributes of its own that are read beside it."""
    seen: set[str] = set()
    for path in attributes:
        parts = path.split(".")
        for count in range(1, len(parts) + 1):
            owner = ".".join(parts[:count])
            if owner in attributes and owner not in seen:
                seen.add(owner)
                yield attributes[owner]


def _told(module: torch.nn.Module, made: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield, under its name, each tensor in a module of which a text says more than the call that builds the module.

    It is of another kind than the call makes, or the state of a norm that is no longer new, or another buffer.
    Parameters begin with random numbers, which a text leaves out.
    """
    known = built_tensors(made)
    for prefix, inner in module.named_modules():
        for name, tensor in (*inner._parameters.items(), *inner._buffers.items()):
            if tensor is not None:
                path = f"{prefix}.{name}" if prefix else name
                if known.get(path) != Kind.of(tensor) or _has_content(inner, name, tensor):
                    yield path, tensor


def _has_content(module: torch.nn.Module, name: str, tensor: torch.Tensor) -> bool:
    if "Norm" not in type(module).__name__:
        return name in module._buffers
    return _is_plain(tensor) and name in _NEW_NORM and not bool((tensor.detach() == _NEW_NORM[name]).all())


def _learned(name: str, value: torch.Tensor, constant: Callable[[Any], str]) -> str:
    """Return what a text tells of state that a norm has learned: its kind, for the numbers are those of a run."""
    name = name.rpartition(".")[2]
    if name == "running_var" and bool((value > 0).all()):
        return ' = "positive"'
    return "" if name == "running_mean" else _contents(value, constant)


def _is_plain(value: torch.Tensor) -> bool:
    """Say whether there are elements to be read: neither fake nor quantized, on the CPU or another real device."""
    plain = type(value) in (torch.Tensor, torch.nn.Parameter) and not value.is_meta
    return plain and value.layout is torch.strided and not value.is_quantized


def _contents(value: torch.Tensor, constant: Callable[[Any], str]) -> str:
    """Return `` = [...]`` for a small constant tensor, `` = 1.0`` or `` = "positive"`` for a large one.

    The kind is one of ``fxpect.specs.values``. The numbers of a parameter are no part of a graph.
    """
    if isinstance(value, torch.nn.Parameter) or not _is_plain(value):
        return ""
    numbers = value.detach().cpu()
    if numbers.numel() <= _SHOWN_ELEMENTS:
        return f" = {constant(numbers_of(numbers))}"
    if numbers.dtype not in _COUNTABLE:
        return ""
    first = numbers.flatten()[:1]
    if torch.equal(numbers, first.expand_as(numbers)):
        same_sign = torch.equal(torch.signbit(numbers), torch.signbit(first).expand_as(numbers))
        return f" = {constant(numbers_of(first)[0])}" if same_sign else ""
    kind = kind_of(numbers)
    if kind is None and not numbers.dtype.is_floating_point and numbers.dtype is not torch.bool:
        kind = "integers"
    return "" if kind in (None, "special", "zeros", _SMALL) else f' = "{kind}"'


def numbers_of(tensor: torch.Tensor) -> Any:
    """Return the elements of a tensor as nested lists of numbers, each with no more digits than it needs."""
    return _shortest(tensor.tolist()) if tensor.dtype is torch.float32 else tensor.tolist()


def _shortest(number: Any) -> Any:
    """Return the number with the fewest digits that is the same in 32 bits."""
    if isinstance(number, list):
        return [_shortest(item) for item in number]
    packed = struct.pack("f", number)
    short = (float(f"{number:.{digits}g}") for digits in (6, 7, 8, 9))
    return next((value for value in short if struct.pack("f", value) == packed), number)


def fill(value: torch.Tensor, numbers: Any, path: str, line: int) -> None:
    """Write into a real tensor what a text says of it: its numbers, one number, or a kind of ``fxpect.specs.values``.

    Where it says nothing (None), and for a kind, the elements depend on ``path``, the dtype and the shape alone.
    Raises GraphTextError where the numbers do not fit the type.
    """
    if numbers is None and value.layout is not torch.strided:
        return  # without elements
    if numbers is None and value.is_quantized:
        value.copy_(torch.zeros(value.shape))
        return
    dtype, shape = value.dtype, tuple(value.shape)
    try:
        if numbers is None or isinstance(numbers, (str, bool, int, float, complex)):
            inexact = dtype.is_floating_point or dtype.is_complex or dtype is torch.bool
            kind = _SMALL if numbers is None and not inexact else check_kind(numbers, dtype, shape)
            kind = default_kind(dtype) if kind is None else kind
            made = make_values(kind, dtype, shape, path)
            if str(kind).startswith("index:") and made.numel():
                made.view(-1)[-1] = int(kind[6:]) - 1  # so that its text names the same kind again
        else:
            made = torch.tensor(numbers, dtype=dtype).reshape(shape)
        with torch.no_grad():
            value.copy_(made)
    except (SpecError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise GraphTextError(f"these numbers do not fit the type: {error}", line) from None


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
        setattr(module, last, value)  # not register_parameter: recurrent modules keep a list of their parameters
    elif isinstance(value, torch.Tensor):
        module._parameters.pop(last, None)
        module.register_buffer(last, value)
    else:
        setattr(module, last, value)
