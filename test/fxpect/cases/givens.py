"""The text of a drawn value or a constant input, and back: what lets a stored case hold its own input."""

from __future__ import annotations

import ast
import math
import re
from typing import Any

import torch
from torch.utils import _pytree as pytree

from fxpect.errors import FxpectError, SpecError
from fxpect.specs import Dim, Same, TensorSpec, parse_spec, realize, spec_of

_NAMED = {"nan": math.nan, "inf": math.inf}
_NO_DIMS = re.compile(r"(?<=[a-z0-9]\d)\[\]")  # f32[], which Python cannot parse
_TORCH = (torch.dtype, torch.memory_format, torch.layout)


def value_text(value: Any) -> str:
    """Return a value as text that ``read_value`` reads back.

    Specs, numbers, strings, None, torch's dtypes, layouts and memory formats, what ``inputs`` draws, and lists,
    tuples and dicts of them; a real tensor as its spec. Raises ``FxpectError`` for anything else.
    """
    if isinstance(value, (TensorSpec, Same, Dim)):
        return repr(value)
    if isinstance(value, torch.Tensor):
        return repr(spec_of(value))
    if isinstance(value, _TORCH) or value is None or isinstance(value, (bool, str)) or type(value) in (int, float):
        return repr(value)
    if is_drawn_inputs(value):
        return f"inputs({', '.join(map(value_text, value.specs))})"
    if type(value) is tuple:
        inner = ", ".join(map(value_text, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if type(value) is list:
        return f"[{', '.join(map(value_text, value))}]"
    if type(value) is dict:
        return "{" + ", ".join(f"{value_text(key)}: {value_text(item)}" for key, item in value.items()) + "}"
    if type(value) is complex:
        return f"complex({value.real!r}, {value.imag!r})"
    raise FxpectError(
        f"expected specs, numbers, strings, dtypes, and lists, tuples or dicts of them; got {value!r} "
        f"({type(value).__name__}), which no stored case can hold"
    )


def read_value(text: str) -> Any:
    """Read what ``value_text`` wrote; nothing is evaluated. Raises ``FxpectError`` for another text."""
    try:
        return _read(ast.parse(_NO_DIMS.sub("[()]", text.strip()), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, AttributeError, SpecError) as error:
        raise FxpectError(f"expected a spec or a constant; got {text!r}") from error


def _read(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Tuple):
        return tuple(map(_read, node.elts))
    if isinstance(node, ast.List):
        return list(map(_read, node.elts))
    if isinstance(node, ast.Dict):
        return {_read(key): _read(value) for key, value in zip(node.keys, node.values, strict=True) if key is not None}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_read(node.operand)
    if isinstance(node, ast.Name):
        return _NAMED[node.id] if node.id in _NAMED else _unknown(node)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "torch":
        found = getattr(torch, node.attr)
        return found if isinstance(found, _TORCH) else _unknown(node)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "complex":
        return complex(*map(_read, node.args))
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "inputs"
        and not node.keywords
    ):
        return _drawn_inputs(tuple(map(_read, node.args)))
    return parse_spec(ast.unparse(node))


def is_drawn_inputs(value: Any) -> bool:
    """Say whether a value is what the strategy ``inputs`` draws: tensors with the specs that make them again."""
    return isinstance(value, tuple) and hasattr(value, "specs")


def _drawn_inputs(specs: tuple[Any, ...]) -> Any:
    from fxpect.strategies.inputs import DrawnInputs

    leaves, tree = pytree.tree_flatten(specs)
    return DrawnInputs(pytree.tree_unflatten(realize(leaves, {}), tree), specs)


def _unknown(node: ast.expr) -> Any:
    raise ValueError(ast.unparse(node))
