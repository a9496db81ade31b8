"""Named dynamic dims: a size that is an arithmetic expression over names, each name with a range."""

from __future__ import annotations

import ast
import keyword
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from fxpect.errors import SpecError

_OPERATIONS = {ast.Add: lambda a, b: a + b, ast.Sub: lambda a, b: a - b, ast.Mult: lambda a, b: a * b,
               ast.FloorDiv: lambda a, b: a // b, ast.Mod: lambda a, b: a % b}
_PRIMES = (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61)


class Dim:
    """A dynamic dim called ``name`` that takes every size from ``min`` to ``max``, both included.

    ``name`` is an identifier, or an expression over identifiers such as "2*B" or "B+1", which takes
    no range of its own. Raises ``SpecError`` for anything else, and for a range without a size of at
    least 2 (torch fixes the sizes 0 and 1 while it traces).
    """

    __slots__ = ("name", "min", "max", "names")
    name: str
    min: int
    max: int | None
    names: tuple[str, ...]

    def __init__(self, name: str, min: int = 0, max: int | None = None):
        tree = _parse_size(name)
        for attribute, value in (("name", ast.unparse(tree).replace(" ", "")), ("min", min), ("max", max),
                                 ("names", tuple(dict.fromkeys(_names(tree))))):
            object.__setattr__(self, attribute, value)
        if not self.names:
            raise SpecError(f"Dim({name!r}): expected a name or an expression over names; got a constant")
        if self.is_derived and (min, max) != (0, None):
            raise SpecError(f"Dim({name!r}): give the range to the names, not to the expression over them")
        for bound in (min,) if max is None else (min, max):
            if not isinstance(bound, int) or isinstance(bound, bool) or bound < 0:
                raise SpecError(f"Dim({name!r}): expected bounds that are sizes; got {bound!r}")
        if max is not None and max < _lowest(min):
            raise SpecError(f"Dim({name!r}): expected a range with a size of at least 2; got {min} to {max}; "
                            "write the number itself for a fixed size")

    @property
    def is_derived(self) -> bool:
        """Whether the name is an expression rather than one identifier."""
        return not self.name.isidentifier()

    def size(self, sizes: Mapping[str, int]) -> int:
        """Return the size under ``sizes``; raises ``SpecError`` for a missing name or a size out of range."""
        missing = [name for name in self.names if name not in sizes]
        if missing:
            raise SpecError(f"dim {self.name}: no size given for {', '.join(missing)}; got {dict(sizes)}")
        value = self.evaluate(sizes)
        if not self.allows(value):
            upper = "" if self.max is None else f" to {self.max}"
            raise SpecError(f"dim {self.name}: expected a size from {self.min}{upper}; got {value}")
        return value

    def evaluate(self, sizes: Mapping[str, Any]) -> Any:
        """Return the value of the expression, for numbers or whatever else computes like numbers."""
        try:
            return _evaluate(_parse_size(self.name), sizes)
        except ZeroDivisionError as error:
            raise SpecError(f"dim {self.name}: division by zero for {dict(sizes)}") from error

    def allows(self, size: int) -> bool:
        """Return whether ``size`` is in the range."""
        return size >= self.min and (self.max is None or size <= self.max)

    def __setattr__(self, attribute: str, value: object) -> None:
        raise AttributeError("a Dim does not change; make another")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dim) and self.__reduce__() == other.__reduce__()

    def __hash__(self) -> int:
        return hash((self.name, self.min, self.max))

    def __reduce__(self):
        return Dim, (self.name, self.min, self.max)

    def __repr__(self) -> str:
        return f"Dim({', '.join([repr(self.name), *self._bounds()])})"

    def __str__(self) -> str:
        bounds = self._bounds()
        return f"{self.name}({', '.join(bounds)})" if bounds else self.name

    def _bounds(self) -> list[str]:
        return [f"{word}={value}" for word, value, default in
                (("min", self.min, 0), ("max", self.max, None)) if value != default]


def dim_from_ast(node: ast.AST) -> int | Dim:
    """Return the dim that a parsed shape entry means: ``8``, ``B``, ``2*B`` or ``B(min=1, max=16)``."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
        bounds: dict[str, Any] = {word.arg: word.value.value for word in node.keywords
                                  if word.arg in ("min", "max") and isinstance(word.value, ast.Constant)}
        if len(bounds) == len(node.keywords):
            return Dim(node.func.id, **bounds)
    return Dim(ast.unparse(node))


def ranges(dims: Iterable[Dim]) -> dict[str, Dim]:
    """Return name -> the range that all of ``dims`` allow, in order of first appearance.

    Raises ``SpecError`` when two of them contradict each other.
    """
    merged: dict[str, Dim] = {}
    for dim in dims:
        for name in dim.names:
            one = Dim(name) if dim.is_derived else dim
            known = merged.get(name, one)
            tops = [top for top in (known.max, one.max) if top is not None]
            merged[name] = Dim(name, max(known.min, one.min), min(tops) if tops else None)
    return merged


def default_sizes(dims: Iterable[Dim], given: Mapping[str, int] | None = None) -> dict[str, int]:
    """Return a size for every name of ``dims``: ``given`` first, else small, prime, and one of its own.

    Sizes of 2 and more, all different, so that no two names are taken for one. The choice depends on
    the names alone. Raises ``SpecError`` where a given size is out of range.
    """
    dims = list(dims)
    allowed = ranges(dims)
    sizes = {name: dim.size(given) for name, dim in allowed.items() if given and name in given}
    for name, dim in allowed.items():
        if name in sizes:
            continue
        start = zlib.crc32(name.encode()) % 5
        candidates = [*_PRIMES[start:], *_PRIMES[:start], *range(_lowest(dim.min), _lowest(dim.min) + 200)]
        legal = [size for size in candidates if size >= 2 and dim.allows(size)]
        sizes[name] = next((size for size in legal if size not in sizes.values()), legal[0])
    for dim in dims:
        if dim.size(sizes) < 0:
            raise SpecError(f"dim {dim.name}: negative for {sizes}")
    return sizes


def _lowest(minimum: int) -> int:
    return minimum if minimum > 2 else 2


def _parse_size(name: object) -> ast.expr:
    try:
        if not isinstance(name, str):
            raise SyntaxError
        tree = ast.parse(name.strip(), mode="eval").body
        _evaluate(tree, None)
    except SyntaxError as error:
        raise SpecError(f"expected a dim's name or an expression such as '2*B'; got {name!r}") from error
    return tree


def _names(tree: ast.expr) -> list[str]:
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return [node.id for node in sorted(found, key=lambda node: node.col_offset)]


def _evaluate(node: ast.expr, sizes: Mapping[str, Any] | None) -> Any:
    """Return the value under ``sizes``; with None only check the form, raising ``SyntaxError``."""
    if isinstance(node, ast.Name) and not keyword.iskeyword(node.id):
        return 1 if sizes is None else sizes[node.id]
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        left, right = _evaluate(node.left, sizes), _evaluate(node.right, sizes)
        return 1 if sizes is None else _OPERATIONS[type(node.op)](left, right)
    raise SyntaxError
