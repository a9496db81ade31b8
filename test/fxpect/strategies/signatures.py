"""What an operator accepts: the parameters of a call, from its schema or its Python signature."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import operator
from typing import Any

import torch
from torch.fx import Node

MISSING = inspect.Parameter.empty


@dataclasses.dataclass(frozen=True)
class Param:
    """One parameter: ``kind`` is the schema's type without alias marks, such as "int[]" or "Tensor?".

    ``length`` is that of a list in whose place one number may stand, as in "int[2]"; None for others.
    """

    name: str
    kind: str
    default: Any = MISSING
    keyword_only: bool = False
    length: int | None = None

    @property
    def is_tensor(self) -> bool:
        """Whether a tensor, or a list of tensors, is expected."""
        return self.kind.startswith("Tensor")


@dataclasses.dataclass(frozen=True)
class Slot:
    """A parameter bound to one call: where its value stands, or ``index`` and ``keyword`` None when left out."""

    param: Param
    value: Any = MISSING
    index: int | None = None
    keyword: str | None = None

    @property
    def given(self) -> bool:
        """Whether the call spells the value out."""
        return self.value is not MISSING


def slots(node: Node) -> list[Slot]:
    """Return every parameter of the call with its value; empty when no signature fits the call.

    An ATen overload takes a number where its schema says Tensor, as ``aten.mul.Tensor(x, 2)`` is recorded.
    """
    numbers = isinstance(node.target, torch._ops.OpOverload)
    for params in signatures(node.op, node.target):
        bound = _bind(node, params, numbers)
        if bound is not None:
            return bound
    return []


@functools.lru_cache(maxsize=4096)
def signatures(op: str, target: Any) -> tuple[tuple[Param, ...], ...]:
    """Return the candidate parameter lists of a target, the likeliest first."""
    if op == "call_function" and isinstance(target, torch._ops.OpOverload):
        return (_from_schema(target._schema, "self"),)
    if op == "call_function" and target is operator.getitem:
        return ((Param("input", "any"), Param("index", "index")),)
    name = target if op == "call_method" else getattr(target, "__name__", "")
    found = [] if op == "call_method" else _from_python(target)
    if op in ("call_function", "call_method") and name:
        receiver = "self" if op == "call_method" else "input"
        for schema in torch._C._jit_get_schemas_for_operator(f"aten::{name.rstrip('_')}"):
            if not schema.overload_name.endswith("out") and "Tensor" in str(schema):
                found.append(_from_schema(schema, receiver))
    return tuple(found)


def recorded(target: torch._ops.OpOverload, args: Any, kwargs: Any) -> tuple[tuple, dict[str, Any]] | None:
    """Return the arguments of a call as the dispatcher hands them to a tracer; None where they do not fit the schema.

    What may be positional is, defaults at the end are left out, keyword-only arguments stand in the schema's
    order; sequences are lists, one number for a list of known length is that list, and bool, int and float
    become the schema's type, except where it takes any number: 1 and 1.0 stay apart there.

    Source: ``parseIValuesToPyArgsKwargs`` and ``PythonArgParser`` of torch 2.13.0; held to make_fx by a test.
    """
    params = signatures("call_function", target)[0]
    left = dict(kwargs)
    positional: list[Any] = []
    needed = 0
    named = {}
    for i, param in enumerate(params):
        name = target._schema.arguments[i].name
        if not param.keyword_only and i < len(args):
            value = args[i]
        else:
            value = left.pop(name, param.default)
        if value is MISSING:
            return None
        value = _converted(param, value)
        plain = param.default is not MISSING and _is_default(value, param.default)
        if param.keyword_only:
            if not plain:
                named[name] = value
            continue
        positional.append(value)
        if not plain:
            needed = len(positional)
    if left or len(args) > len(positional):
        return None
    return tuple(positional[:needed]), named


def _converted(param: Param, value: Any) -> Any:
    kind = param.kind.rstrip("?")
    if kind.endswith("[]"):
        if isinstance(value, (list, tuple)):
            return [_number(kind[:-2], item) for item in value]
        if param.length and isinstance(value, (int, float, Node)) and not kind.startswith("Tensor"):
            return [_number(kind[:-2], value)] * param.length
    return _number(kind, value)


def _number(kind: str, value: Any) -> Any:
    if isinstance(value, (bool, int)):
        number = {"int": int, "float": float, "bool": bool}.get(kind)
        return value if number is None else number(value)
    return value


def _is_default(value: Any, default: Any) -> bool:
    if isinstance(default, int) and isinstance(value, torch.memory_format):
        return _MEMORY_FORMATS.get(value) == default
    if isinstance(default, (list, tuple)) and isinstance(value, (list, tuple)):
        return len(default) == len(value) and all(map(_is_default, value, default))
    return type(value) is type(default) and value == default


# How a schema writes a default of that type.
_MEMORY_FORMATS = {torch.contiguous_format: 0, torch.preserve_format: 1, torch.channels_last: 2,
                   torch.channels_last_3d: 3}


def base_name(target: Any) -> str:
    """Return the operator's plain name: "cat" for torch.cat, Tensor.cat or aten.cat.default."""
    if isinstance(target, torch._ops.OpOverload):
        return target._schema.name.split("::")[-1]
    return target if isinstance(target, str) else getattr(target, "__name__", str(target))


def _from_schema(schema: Any, receiver: str) -> tuple[Param, ...]:
    params = []
    for i, arg in enumerate(schema.arguments):
        name = receiver if i == 0 and arg.name == "self" else arg.name
        default = arg.default_value if arg.has_default_value() else MISSING
        params.append(Param(name, _kind(str(getattr(arg, "real_type", arg.type))), default, arg.kwarg_only, arg.N))
    return tuple(params)


def _kind(text: str) -> str:
    """Normalise a JIT type: "List[int]" becomes "int[]", "Optional[Tensor]" becomes "Tensor?"."""
    for prefix, suffix in (("Optional[", "?"), ("List[", "[]")):
        if text.startswith(prefix):
            return _kind(text[len(prefix):-1]) + suffix
    return {"SymInt": "int", "number": "Scalar"}.get(text, text)


def _from_python(target: Any) -> list[tuple[Param, ...]]:
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return []
    params = []
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            return []
        note = parameter.annotation if isinstance(parameter.annotation, str) else str(parameter.annotation)
        kind = "Tensor" if "Tensor" in note else _kind_of_value(parameter.default)
        params.append(Param(parameter.name, kind, parameter.default, parameter.kind == parameter.KEYWORD_ONLY))
    return [tuple(params)]


def _kind_of_value(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    for cls, kind in ((int, "int"), (float, "float"), (str, "str"), (torch.dtype, "ScalarType")):
        if isinstance(value, cls):
            return kind
    return "int[]" if isinstance(value, (list, tuple)) else "any"


def _bind(node: Node, params: tuple[Param, ...], numbers: bool = False) -> list[Slot] | None:
    positional = [p for p in params if not p.keyword_only]
    args = node.args
    if len(args) > len(positional):
        if not (len(positional) > 1 and positional[1].kind == "int[]" and _all_ints(args[1:])):
            return None
        # x.view(2, 3) hands the list over as separate arguments.
        args = (args[0], tuple(args[1:]))
    aliases = {"dim": "axis", "keepdim": "keepdims", "input": "x", "other": "x2"}
    remaining = dict(node.kwargs)
    bound = []
    for i, param in enumerate(params):
        if not param.keyword_only and i < len(args):
            if not _fits(param.kind, args[i], numbers):
                return None
            bound.append(Slot(param, args[i], index=i))
            continue
        key = param.name if param.name in remaining else aliases.get(param.name)
        if key in remaining:
            bound.append(Slot(param, remaining.pop(key), keyword=key))
        elif param.default is MISSING and not (node.op == "call_function" and not bound):
            return None
        else:
            bound.append(Slot(param))
    remaining.pop("out", None)
    return None if remaining else bound


def _all_ints(values: Any) -> bool:
    return all(isinstance(v, int) or _is_number_node(v) for v in values)


def _is_number_node(value: Any) -> bool:
    return isinstance(value, Node) and not isinstance(_value_of(value), (torch.Tensor, list, tuple, type(None)))


def _value_of(node: Node) -> Any:
    return node.meta.get("example_value", node.meta.get("val"))


def _fits(kind: str, value: Any, numbers: bool) -> bool:
    """Whether a positional value can be meant for a parameter of this kind, with ``numbers`` a number for a tensor."""
    if kind == "any" or (kind.endswith("?") and value is None):
        return True
    if isinstance(value, Node):
        seen = _value_of(value)
        if isinstance(seen, torch.Tensor):
            return kind.startswith("Tensor") and not kind.endswith("[]") or kind == "Scalar"
        return seen is None or not kind.startswith("Tensor") or isinstance(seen, (list, tuple))
    if isinstance(value, (list, tuple)):
        wants_tensors = any(isinstance(v, Node) and isinstance(_value_of(v), torch.Tensor) for v in value)
        return "[]" in kind and (kind.startswith("Tensor") == wants_tensors or not value) or kind == "index"
    if isinstance(value, (bool, int, float)):
        return numbers and kind == "Tensor" or kind.startswith(("int[", "float[")) or \
            kind.rstrip("?") in {"int", "float", "bool", "Scalar", "any", "ScalarType", "index"}
    if isinstance(value, str):
        return kind.startswith("str")
    return not kind.startswith("Tensor") or kind.startswith("Tensor?")
