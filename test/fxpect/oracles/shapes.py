"""What a graph assumes of its symbolic sizes: read it, test it against real sizes, put it back."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sympy
import torch
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from fxpect.text.propagation import fake_mode_of

# What specialising a symbol or guarding on it writes to. An environment that export froze drops new guards.
_RECORDS = (
    "guards",
    "axioms",
    "replacements",
    "var_to_range",
    "divisible",
    "deferred_runtime_asserts",
    "num_deferred_runtime_asserts",
    "replacements_slocs",
    "var_to_range_sloc",
    "unbacked_renamings",
    "frozen",
)


def shape_env_of(gm: torch.fx.GraphModule) -> ShapeEnv | None:
    """Return the environment that the graph's symbols live in, None for a static graph."""
    mode = fake_mode_of(gm)
    return getattr(mode, "shape_env", None)


class Assumptions:
    """What an environment of symbols assumes, so that what is assumed later can be told and forgotten."""

    def __init__(self, env: ShapeEnv):
        self.env = env
        self.saved = {name: copy.copy(getattr(env, name)) for name in _RECORDS if hasattr(env, name)}

    def learned(self) -> tuple[str, str] | None:
        """Return what was assumed since: its kind ("specialization", "range", "guard") and words, or None."""
        env, saved = self.env, self.saved
        guards = [str(guard.expr) for guard in env.guards[len(saved["guards"]) :]]
        fixed = [
            f"{symbol} = {value}"
            for symbol, value in env.replacements.items()
            if symbol not in saved["replacements"] and not value.free_symbols
        ]
        bounds = [
            f"{symbol} in [{new.lower}, {new.upper}]"
            for symbol, new in env.var_to_range.items()
            if symbol in saved["var_to_range"] and saved["var_to_range"][symbol] != new
        ]
        if not (guards or fixed or bounds):
            return None
        return "specialization" if fixed else "range" if bounds else "guard", "; ".join((*fixed, *bounds, *guards))

    def restore(self) -> None:
        """Forget what was assumed since."""
        for name, old in self.saved.items():
            setattr(self.env, name, old)
        self.env._update_version_counter()
        if hasattr(self.env, "_replacements_version_counter"):  # every size keeps its expression until this one moves
            self.env._replacements_version_counter += 1


@contextlib.contextmanager
def kept_shapes(gm: torch.fx.GraphModule) -> Iterator[Assumptions | None]:
    """Forget, afterwards, whatever is assumed of the graph's symbols meanwhile; None for a static graph.

    Symbols that an operator of another graph made, and nobody took, are forgotten at once: the next operator
    that torch runs on fake tensors would be asked for them.
    """
    env = shape_env_of(gm)
    if env is not None:
        env.pending_fresh_unbacked_symbols.clear()
    if env is None or not env.var_to_range:
        yield None
        return
    assumed = Assumptions(env)
    env.frozen = False
    try:
        yield assumed
    finally:
        assumed.restore()


class Symbols:
    """Gives the symbolic sizes of metadata the values that the placeholders really had."""

    def __init__(self, gm: torch.fx.GraphModule, args: Sequence[Any], meta_key: str):
        self.values: dict[Any, sympy.Integer] = {}
        self.known: dict[Any, int | None] = {}
        for node, arg in zip(gm.graph.find_nodes(op="placeholder"), args, strict=False):
            said = node.meta.get(meta_key)
            if isinstance(said, torch.Tensor) and isinstance(arg, torch.Tensor):
                for size, value in zip((*said.shape, *said.stride()), (*arg.shape, *arg.stride()), strict=False):
                    self._bind(size, value)
            elif isinstance(said, torch.SymInt) and isinstance(arg, int):
                self._bind(said, arg)

    def _bind(self, size: Any, value: int) -> None:
        if isinstance(size, torch.SymInt) and size.node.expr.is_symbol:
            self.values.setdefault(size.node.expr, sympy.Integer(value))

    def number(self, size: Any) -> int | None:
        """Return the number that a size stands for, None when it holds an unknown symbol."""
        if not isinstance(size, torch.SymInt):
            return int(size)
        expression = size.node.expr
        if expression not in self.known:
            value = expression.xreplace(self.values)
            self.known[expression] = int(value) if value.is_number else None
        return self.known[expression]

    def agree(self, said: Any, got: tuple[int, ...]) -> bool:
        """Whether every size that is known is the real one."""
        if not any(isinstance(size, torch.SymInt) for size in said):
            return tuple(said) == tuple(got)
        return len(said) == len(got) and all(self.number(s) in (g, None) for s, g in zip(said, got, strict=True))


def fits_symbols(
    gm: torch.fx.GraphModule, args: Sequence[Any], meta_key: str, allowed: Mapping[Any, Any] | None = None
) -> bool:
    """Whether these arguments have sizes that the graph was captured for: in range, guards true.

    ``allowed`` are the ranges that an exported program promises; they may be wider than those of its graph.
    """
    env = shape_env_of(gm)
    if env is None:
        return True
    values = Symbols(gm, args, meta_key).values
    ranges = {**env.var_to_range, **(allowed or {})}
    if not all(
        ranges[symbol].lower <= value <= ranges[symbol].upper for symbol, value in values.items() if symbol in ranges
    ):
        return False
    return all(guard.expr.xreplace(values) is not sympy.false for guard in env.guards)
