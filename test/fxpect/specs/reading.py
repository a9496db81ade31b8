"""Specs from text and from real tensors; no text is ever evaluated."""

from __future__ import annotations

import ast
import math
from typing import Any

import torch

from fxpect.errors import SpecError
from fxpect.specs.aliases import Same, View
from fxpect.specs.dims import Dim, dim_from_ast
from fxpect.specs.layouts import layout_of
from fxpect.specs.tensors import DTYPE_NAMES, DTYPES, TensorSpec
from fxpect.specs.values import kind_of

_EXTRAS = ("values", "layout", "requires_grad", "seed")
_CALLS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "Same": (Same, ("index",)), "View": (View, ("index", "start", "dim")),
    "Dim": (Dim, ("name", "min", "max"))}
_NUMBERS = {"nan": math.nan, "inf": math.inf}


def parse_spec(text: str) -> TensorSpec | Same | Dim:
    """Read the ``repr`` of a spec back: ``f32[2, B, 8](layout="transposed")``, ``Same(0)``, ``Dim('B')``.

    Raises ``SpecError`` for any other text.
    """
    try:
        return _read(ast.parse(text.strip().replace("[]", "[()]", 1), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError, AttributeError) as error:
        raise SpecError(f"expected a spec such as f32[2, B, 8](values='special'); got {text!r}") from error


def spec_of(value: torch.Tensor) -> TensorSpec:
    """Return the spec that describes a real tensor without its elements.

    The kind of values is inferred (zeros, ones, integers, positive, index:N for integers of 0 and
    more), else the default. Raises ``SpecError`` for what is not a dense tensor of a known dtype.
    """
    if not isinstance(value, torch.Tensor):
        raise SpecError(f"expected a tensor; got {value!r}")
    if value.layout != torch.strided or value.dtype not in DTYPE_NAMES:
        raise SpecError(f"no spec describes a tensor of dtype {value.dtype} and layout {value.layout}")
    requires_grad = value.requires_grad
    if type(value) not in (torch.Tensor, torch.nn.Parameter):
        return TensorSpec(tuple(map(int, value.shape)), value.dtype, None, None, requires_grad)
    shape = tuple(value.shape)
    return TensorSpec(shape, value.dtype, layout_of(value), kind_of(value), requires_grad)


def _read(node: ast.expr) -> TensorSpec | Same | Dim:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLS:
        kind, words = _CALLS[node.func.id]
        positional = dict(zip(words, map(_constant, node.args), strict=False))
        if len(node.args) > len(words):
            raise ValueError("too many arguments")
        return kind(**positional, **_keywords(node))
    extras: dict[str, Any] = {}
    if isinstance(node, ast.Call):
        extras = _keywords(node)
        if node.args or not extras.keys() <= set(_EXTRAS):
            raise ValueError("unknown extra")
        node = node.func
    if not isinstance(node, ast.Subscript) or not isinstance(node.value, ast.Name):
        raise ValueError("no dtype[shape]")
    if node.value.id not in DTYPES:
        raise SpecError(f"expected a dtype among {', '.join(DTYPES)}; got {node.value.id!r}")
    entries = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    return TensorSpec(tuple(map(dim_from_ast, entries)), DTYPES[node.value.id], **extras)


def _keywords(node: ast.Call) -> dict[str, Any]:
    return {str(word.arg): _constant(word.value) for word in node.keywords}


def _constant(node: ast.expr) -> Any:
    """Return the literal that ``node`` spells, with nan and inf by name."""
    if isinstance(node, ast.Name):
        if node.id in _NUMBERS:
            return _NUMBERS[node.id]
        raise ValueError(node.id)
    if isinstance(node, (ast.List, ast.Tuple)):
        parts = [_constant(part) for part in node.elts]
        return parts if isinstance(node, ast.List) else tuple(parts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _constant(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "complex":
        real, imag = map(_constant, node.args)
        return complex(real, imag)
    if isinstance(node, ast.Constant):
        return node.value
    raise ValueError(ast.dump(node))
