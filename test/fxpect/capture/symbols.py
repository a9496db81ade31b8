"""Names for the symbols of a captured graph, and what the capture assumed about them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import sympy
import torch

from fxpect.capture.calls import Call
from fxpect.capture.fakes import narrow, raw, symbolic_sizes
from fxpect.errors import CaptureError, SpecError
from fxpect.specs import Dim, TensorSpec, ranges

_TRIED = (2, 3, 4, 5, 6, 7, 8, 9, 11, 16, 23)


class SymbolNames:
    """Knows which dim's name each symbol of a graph stands for; a dim without a name gets s0, s1, ...

    ``values`` are the fake values of the placeholders, ``leaves`` which leaf of ``call`` each one is.
    """

    def __init__(self, call: Call, values: list[Any], leaves: list[int | None]):
        self._call = call
        self.sizes = dict(call.sizes)
        self._dims: dict[sympy.Symbol, Dim] = {}
        self.env: Any = None
        self._free = (name for i in itertools.count() if (name := f"s{i}") not in call.sizes)
        for value, leaf in zip(values, leaves, strict=True):
            if leaf is not None and isinstance(value, torch.Tensor):
                for size, dim in zip(value.shape, call.dims(leaf), strict=True):
                    if dim is not None and isinstance(size, torch.SymInt) and raw(size).is_Symbol:
                        self._dims.setdefault(raw(size), dim)
                        narrow(size, dim)
        for size in itertools.chain.from_iterable(map(symbolic_sizes, values)):
            self.env = size.node.shape_env
            if raw(size) not in self._dims:
                for symbol in sorted(size.node.expr.free_symbols - self._dims.keys(), key=str):
                    self._add_free(symbol)

    def dim(self, size: int | torch.SymInt) -> int | Dim:
        """Return the spec entry for a size; a size that no expression over names gives stays its hint."""
        if isinstance(size, int):
            return size
        if raw(size) in self._dims:
            return self._dims[raw(size)]
        expression = size.node.expr
        names = {symbol: sympy.Symbol(self._dims[symbol].name) for symbol in expression.free_symbols
                 if symbol in self._dims and not self._dims[symbol].is_derived}
        if len(names) == len(expression.free_symbols):
            try:
                dim = Dim(str(expression.xreplace(names)))
                if dim.size(self.sizes) == hint(size):
                    return dim
            except SpecError:
                pass
        return hint(size)

    def check(self, capture: str) -> None:
        """Raise ``CaptureError`` where the traced graph does not hold for all sizes that the specs allow."""
        dims = list(self._dims.values())
        if self.env is None or self._call.dynamic:
            return
        allowed = ranges(dims)
        for sizes in _assignments(allowed):
            values = {symbol: sympy.Integer(dim.size(sizes)) for symbol, dim in self._dims.items()}
            for guard in self.env.guards:
                if guard.expr.xreplace(values) == sympy.false:
                    shown = ", ".join(f"{name}={size}" for name, size in sizes.items())
                    raise CaptureError(
                        f"{self._call.name}: capture {capture!r} holds only where {self._spell(guard.expr)}, "
                        f"which fails for {shown}; give the dim a range, a fixed size, or dynamic=False")

    def _spell(self, expression: Any) -> str:
        return str(expression.xreplace({s: sympy.Symbol(d.name) for s, d in self._dims.items()}))

    def _add_free(self, symbol: sympy.Symbol) -> None:
        known = self.env.var_to_range[symbol]
        if not known.lower.is_Integer:  # a number that is no size: a Python int or float that was left open
            return
        high = int(known.upper) if known.upper.is_Integer else None
        values = self.env.backed_var_to_val if hasattr(self.env, "backed_var_to_val") else self.env.var_to_val
        if symbol in values and (high is None or high >= 2):
            name = next(self._free)
            self._dims[symbol] = Dim(name, max(2, int(known.lower)), high)
            self.sizes[name] = int(values[symbol])


def hint(size: int | torch.SymInt) -> int:
    """Return the size with which a symbolic size was traced; 2 for an unbacked one, which was traced with none."""
    if isinstance(size, int):
        return size
    return 2 if size.node.hint is None else int(size.node.hint)


def _assignments(allowed: dict[str, Dim]) -> list[dict[str, int]]:
    """Return a few ways to give every name a legal size of 2 or more, all alike and all different."""
    legal = {name: [n for n in (*_TRIED, dim.max or 2, max(dim.min, 2)) if n >= 2 and dim.allows(n)]
             for name, dim in allowed.items()}
    return [{name: sizes[(turn + step * place) % len(sizes)]
             for place, (name, sizes) in enumerate(legal.items())}
            for turn in range(len(_TRIED)) for step in (0, 3)]


def holds_for(example: Any, sizes: Mapping[str, int]) -> bool:
    """Return whether the graph of ``example`` claims to be right for these sizes of its named dims.

    It does where the ranges of its symbols and the guards of its trace hold; a pass may rely on both.
    A name left out has the size of the capture.
    """
    values: dict[sympy.Symbol, sympy.Integer] = {}
    sizes = {**example.sizes, **sizes}
    env = None
    for node, spec in zip(example.placeholders, example.inputs, strict=True):
        value = node.meta.get(example.meta_key)
        known = spec.shape if isinstance(spec, TensorSpec) else (spec,)
        traced = value.shape if isinstance(value, torch.Tensor) else (value,)
        for size, dim in zip(traced, known, strict=False):
            if isinstance(size, torch.SymInt) and raw(size).is_Symbol and isinstance(dim, (int, Dim)):
                env = size.node.shape_env
                values[raw(size)] = sympy.Integer(dim if isinstance(dim, int) else dim.evaluate(sizes))
    if env is None:
        return True
    known_ranges = env.var_to_range
    return all(size in known_ranges[symbol] for symbol, size in values.items() if symbol in known_ranges) \
        and not any(guard.expr.xreplace(values) == sympy.false for guard in env.guards)
