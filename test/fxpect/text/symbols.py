"""Name symbolic sizes s0, s1 ... by first appearance, and read such expressions back into a shape environment."""

from __future__ import annotations

import ast
import functools
import operator
import re
from typing import Any

import sympy
import torch
from torch._dynamo.source import ConstantSource
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv
from torch.utils._sympy import functions as torch_sympy
from torch.utils._sympy.value_ranges import ValueRanges

from fxpect.errors import GraphTextError

_PREFIXES = ("s", "u", "zf", "zuf")  # backed and unbacked sizes, backed and unbacked floats
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[-+]?\d+)?")
_NO_BOUND = 2**62  # torch writes "no upper bound" as infinity or as a very large integer
_FUNCTIONS = {name: value for name, value in vars(torch_sympy).items()
              if isinstance(value, type) and issubclass(value, sympy.Basic)
              and value.__module__ == torch_sympy.__name__}
_FUNCTIONS |= {name: getattr(sympy, name) for name in
               "Eq Ne Abs And Or Not Piecewise ceiling floor sqrt log exp sin cos tan".split()}
_GROWING = frozenset({"LShift", "PowByNatural", "FloatPow", "exp"})
_OPERATIONS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Pow: operator.pow,
    ast.Div: operator.truediv, ast.FloorDiv: torch_sympy.FloorDiv, ast.Mod: torch_sympy.Mod,
    ast.BitAnd: sympy.And, ast.BitOr: sympy.Or}
_COMPARISONS = {ast.Lt: sympy.Lt, ast.LtE: sympy.Le, ast.Gt: sympy.Gt, ast.GtE: sympy.Ge, ast.Eq: sympy.Eq,
                ast.NotEq: sympy.Ne}


class SymbolNames:
    """The canonical names of the symbols of one text, given out in the order in which they are met."""

    def __init__(self) -> None:
        self._renamed: dict[Any, Any] = {}
        self._texts: dict[Any, str] = {}
        self._counts: dict[str, int] = {}
        self._ranges: dict[str, tuple[Any, Any]] = {}
        self._by_original: dict[str, str] = {}

    def text(self, value: Any) -> str:
        """Return the expression behind a SymInt, SymFloat or SymBool with canonical symbols."""
        node = value.node
        raw = getattr(node, "_expr", None)
        if raw is None:
            return str(value)
        found = self._texts.get(raw)
        if found is None:
            found = self._texts[raw] = self._rename(node.expr, node.shape_env)
        return found

    def _rename(self, expression: Any, environment: Any) -> str:
        if expression.is_Symbol:
            if expression not in self._renamed:
                self._add(expression, environment)
            return self._renamed[expression].name
        if expression.is_Float:
            return repr(float(expression))
        free = expression.free_symbols
        new = [symbol for symbol in free if symbol not in self._renamed]
        if len(new) > 1:  # the order of creation: the names themselves come from a hash
            places = {symbol: place for place, symbol in enumerate(environment.var_to_range)}
            new.sort(key=lambda symbol: (places.get(symbol, len(places)), symbol.name))
        for symbol in new:
            self._add(symbol, environment)
        return _renamed_text(expression, frozenset((symbol, self._renamed[symbol]) for symbol in free))

    def _add(self, symbol: Any, environment: Any) -> None:
        prefix = symbol.name.rstrip("0123456789")
        prefix = prefix if prefix in _PREFIXES else "s"
        number = self._counts.get(prefix, 0)
        self._counts[prefix] = number + 1
        name = f"{prefix}{number}"
        self._renamed[symbol] = sympy.Symbol(name, **symbol.assumptions0)
        self._by_original[symbol.name] = name
        known = getattr(environment, "var_to_range", {}).get(symbol) if environment is not None else None
        self._ranges[name] = (None, None) if known is None else (_bound(known.lower), _bound(known.upper))

    def name_of(self, original: str) -> str:
        """Return the canonical name of a symbol of the capture, or the same word when it is none."""
        return self._by_original.get(original, original)

    def declarations(self) -> list[str]:
        """Return one line a symbol: ``s0: "2 <= s0 <= 64"``."""
        lines = []
        for name, (low, high) in self._ranges.items():
            left = "" if low is None else f"{low} <= "
            right = "" if high is None else f" <= {high}"
            lines.append(f'{name}: "{left}{name}{right}"')
        return lines


def is_constant(text: str) -> bool:
    """Say whether the text of a symbolic number is a plain number or a bool."""
    return text in ("True", "False") or _NUMBER.fullmatch(text) is not None


def _bound(value: Any) -> Any:
    """Return a finite bound as a number, None for no bound."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError, AttributeError):
        return None
    return None if abs(number) >= _NO_BOUND else number


@functools.lru_cache(maxsize=4096)
def _renamed_text(expression: Any, names: frozenset[tuple[Any, Any]]) -> str:
    """Return an expression under other names; the text of a product depends on them, so they come first."""
    if isinstance(expression, sympy.core.relational.Relational):  # which xreplace would decide anew
        return str(type(expression)(*[side.xreplace(dict(names)) for side in expression.args], evaluate=False))
    return str(expression.xreplace(dict(names)))


class SymbolTable:
    """The symbols of one parsed text, living in the shape environment of its fake values.

    A backed symbol needs an example size: from ``sizes`` by name, else a multiple of 12 inside its range that differs
    from symbol to symbol.
    """

    def __init__(self, environment: ShapeEnv, sizes: dict[str, int] | None = None) -> None:
        self._environment = environment
        self._sizes = dict(sizes or {})
        self._bounds: dict[str, tuple[int | None, int | None]] = {}
        self._symbols: dict[str, Any] = {}
        self._numbers: dict[tuple[str, str], Any] = {}

    @property
    def used(self) -> bool:
        """Whether the text has a symbol."""
        return bool(self._symbols)

    def declare(self, name: str, text: str, line: int) -> None:
        """Take in one declaration, such as ``2 <= s0 <= 64``."""
        parts = [part.strip() for part in text.split("<=")]
        low = high = None
        try:
            place = parts.index(name)
            if place > 1 or len(parts) - place > 2:
                raise ValueError(text)
            low = int(parts[0]) if place == 1 else None
            high = int(parts[place + 1]) if len(parts) > place + 1 else None
        except ValueError:
            raise GraphTextError(f'expected a range such as "2 <= {name} <= 64"; got {text!r}', line) from None
        if name in self._bounds:
            raise GraphTextError(f"{name} is declared twice", line)
        self._bounds[name] = (low, high)
        self._symbol(name, line)

    def _symbol(self, name: str, line: int | None) -> Any:
        found = self._symbols.get(name)
        if found is not None:
            return found
        prefix = name.rstrip("0123456789")
        if prefix == name or prefix not in _PREFIXES:
            raise GraphTextError(f"expected a symbol such as s0 or u0; got {name}", line)
        low, high = self._bounds.get(name, (2 if prefix == "s" else None, None))
        if prefix in ("u", "zuf"):
            with self._environment.ignore_fresh_unbacked_symbols():  # else torch expects a node that returns it
                create = getattr(self._environment, f"create_unbacked_sym{'int' if prefix == 'u' else 'float'}")
                found = create().node.expr
        else:
            hint = self._sizes.get(name, 0.5 if prefix == "zf" else self._hint(name))
            found = self._environment.create_symbol(
                hint, ConstantSource(f"__{name}"), DimDynamic.DYNAMIC, constraint_dim=None,
                positive=True if low is not None and low >= 0 else None, do_not_specialize_zero_one=True)
        if prefix in ("s", "u"):
            infinity = torch_sympy_infinity()
            self._environment.var_to_range[found] = ValueRanges(
                -infinity if low is None else low, infinity if high is None else high)
        self._symbols[name] = found
        return found

    def _hint(self, name: str) -> int:
        low, high = self._bounds.get(name, (None, None))
        hint = 12 * (int(name.lstrip("szuf")) + 1)
        if high is not None and hint > high:
            hint = high
        return max(hint, low if low is not None else 2)

    def number(self, kind: str, text: str, line: int | None) -> Any:
        """Return the SymInt, SymFloat or SymBool of an expression, or a plain number where nothing is symbolic."""
        found = self._numbers.get((kind, text))
        if found is None:
            found = self._numbers[kind, text] = self._number(kind, text, line)
        return found

    def _number(self, kind: str, text: str, line: int | None) -> Any:
        expression = self.expression(text, line)
        if not getattr(expression, "free_symbols", None):
            try:
                return {"SymInt": int, "SymFloat": float, "SymBool": bool}[kind](expression)
            except (TypeError, ValueError, OverflowError):
                raise GraphTextError(f"expected a {kind}; got {text[:80]!r}", line) from None
        environment = self._environment
        if kind == "SymBool":
            return environment.create_symboolnode(expression)
        hint = self._hint_of(expression)
        if kind == "SymFloat":
            from torch.fx.experimental.sym_node import SymNode

            return torch.SymFloat(SymNode(expression, environment, float, None if hint is None else float(hint)))
        return environment.create_symintnode(expression, hint=None if hint is None else int(hint))

    def _hint_of(self, expression: Any) -> Any:
        values = hints_of(self._environment)
        if any(symbol not in values for symbol in expression.free_symbols):
            return None
        return expression.xreplace(values)

    def expression(self, text: str, line: int | None) -> Any:
        """Return the sympy expression of a text, built from an allow list of functions."""
        try:
            tree = ast.parse(text.strip(), mode="eval").body
            return self._read(tree, line, 0)
        except GraphTextError:
            raise
        except (SyntaxError, ValueError, RecursionError, MemoryError, TypeError, AttributeError) as error:
            raise GraphTextError(f"expected a size expression; got {text[:80]!r}: {type(error).__name__}",
                                 line) from None

    def _read(self, tree: Any, line: int | None, depth: int) -> Any:
        if depth > 50:
            raise GraphTextError("expected a size expression of at most 50 levels", line)
        kind = type(tree)
        if kind is ast.Constant and type(tree.value) in (int, float, bool):
            return sympy.sympify(tree.value)
        if kind is ast.Name:
            return self._symbol(tree.id, line) if tree.id != "oo" else sympy.oo
        if kind is ast.BinOp and type(tree.op) in _OPERATIONS:
            left, right = self._read(tree.left, line, depth + 1), self._read(tree.right, line, depth + 1)
            if isinstance(tree.op, ast.Pow):
                _check_exponent(right, line)
            return _OPERATIONS[type(tree.op)](left, right)
        if kind is ast.UnaryOp and isinstance(tree.op, (ast.USub, ast.Invert)):
            value = self._read(tree.operand, line, depth + 1)
            return -value if isinstance(tree.op, ast.USub) else sympy.Not(value)
        if kind is ast.Compare and len(tree.ops) == 1 and type(tree.ops[0]) in _COMPARISONS:
            left, right = self._read(tree.left, line, depth + 1), self._read(tree.comparators[0], line, depth + 1)
            compare = _COMPARISONS[type(tree.ops[0])]
            found = compare(left, right)
            # A range that became known after the comparison was made does not decide it.
            known = not found.free_symbols and (left.free_symbols or right.free_symbols)
            return compare(left, right, evaluate=False) if known else found
        if kind is ast.Call and isinstance(tree.func, ast.Name) and tree.func.id in _FUNCTIONS and not tree.keywords:
            arguments = [self._read(item, line, depth + 1) for item in tree.args]
            if tree.func.id in _GROWING and arguments:
                _check_exponent(arguments[-1], line)
            return _FUNCTIONS[tree.func.id](*arguments)
        raise GraphTextError(f"expected a size expression; got {type(tree).__name__}", line)


def _check_exponent(value: Any, line: int | None) -> None:
    """Refuse a power that would fill the memory with digits."""
    if value.is_number and abs(value) > 64:
        raise GraphTextError(f"expected an exponent of at most 64; got {str(value)[:20]}", line)


@functools.lru_cache(maxsize=1)
def torch_sympy_infinity() -> Any:
    """Return torch's own integer infinity."""
    from torch.utils._sympy.numbers import int_oo

    return int_oo


def hints_of(environment: Any) -> dict[Any, Any]:
    """Return the example size of each backed symbol; torch renamed the table."""
    for name in ("backed_var_to_val", "var_to_val"):
        found = getattr(environment, name, None)
        if found is not None:
            return found
    return {}
