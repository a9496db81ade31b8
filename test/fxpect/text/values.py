"""Write constant arguments as Python expressions and read them back, without evaluating anything."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from typing import Any

import torch
from torch.fx.immutable_collections import immutable_list

from fxpect.errors import GraphTextError
from fxpect.text.symbols import is_constant
from fxpect.text.targets import resolve_target, target_name

_LAYOUTS = {str(layout): layout for layout in (
    torch.strided, torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc,
    torch._mkldnn,
    torch.jagged)}
_FORMATS = {str(form): form for form in (
    torch.contiguous_format, torch.preserve_format, torch.channels_last, torch.channels_last_3d)}
_QSCHEMES = {str(scheme): scheme for scheme in (
    torch.per_tensor_affine, torch.per_channel_affine, torch.per_tensor_symmetric, torch.per_channel_symmetric)}
_DTYPES = {f"torch.{name}": dtype for name, dtype in sorted(vars(torch).items())
           if isinstance(dtype, torch.dtype) and str(dtype) == f"torch.{name}"}
_TYPES = {"int": int, "float": float, "bool": bool, "complex": complex, "str": str, "tuple": tuple, "list": list,
          "dict": dict, "torch.Tensor": torch.Tensor, "torch.Size": torch.Size, "torch.dtype": torch.dtype,
          "torch.nn.Parameter": torch.nn.Parameter, "torch.SymInt": torch.SymInt}
_TYPE_NAMES = {value: name for name, value in _TYPES.items()}
CONSTANTS: dict[str, Any] = {"math.inf": math.inf, "math.nan": math.nan, "Ellipsis": ...,
                             "NotImplemented": NotImplemented,
                             **_LAYOUTS, **_FORMATS, **_QSCHEMES, **_DTYPES}
_PLAIN = (int, str, bool, type(None), bytes)
_MAX_DEPTH = 60


def float_text(value: float) -> str:
    """Return a float as an expression that keeps inf, nan and the sign of zero."""
    if value != value:
        return "math.nan"
    if value in (math.inf, -math.inf):
        return "math.inf" if value > 0 else "-math.inf"
    return repr(value)


def _scalar_text(value: Any, symbol_text: Callable[[Any], str]) -> str:
    if isinstance(value, (torch.dtype, torch.memory_format, torch.layout)) or type(value) is torch.qscheme:
        return str(value)
    if isinstance(value, torch.device):
        return f'torch.device("{value}")'
    if isinstance(value, complex):
        return f"complex({float_text(value.real)}, {float_text(value.imag)})"
    if isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)):
        text = symbol_text(value)
        return text if is_constant(text) else f'{type(value).__name__}("{text}")'
    if value is ...:
        return "..."
    if value is NotImplemented:
        return "NotImplemented"
    for kind in (bool, int, float, str, bytes):  # a subclass, such as an IntEnum, counts as its plain value
        if isinstance(value, kind):
            return float_text(float(value)) if kind is float else kind.__repr__(value)
    if isinstance(value, type) and value in _TYPE_NAMES:
        return _TYPE_NAMES[value]
    if callable(value) and not isinstance(value, (type, torch.nn.Module, torch.Tensor)):
        return target_name(value)
    owner = value if isinstance(value, type) else type(value)
    return f'opaque("{owner.__module__}.{owner.__qualname__}")'


class _Texts(dict):
    """The function that writes a value, by the type of the value; made on first sight of a type."""

    def __init__(self, names: dict[Any, str], symbol_text: Callable[[Any], str]):
        super().__init__()
        self._symbol_text = symbol_text
        self[torch.fx.Node] = names.__getitem__
        for kind in _PLAIN:
            self[kind] = kind.__repr__
        self[float] = float_text
        self[list] = self[immutable_list] = self._list
        self[tuple] = self._tuple

    def __missing__(self, kind: type) -> Callable[[Any], str]:
        write = self._pick(kind)
        self[kind] = write
        return write

    def _pick(self, kind: type) -> Callable[[Any], str]:
        for base, write in ((torch.fx.Node, self[torch.fx.Node]), (torch.Size, self._size), (list, self._list),
                            (tuple, self._tuple), (dict, self._dict), (slice, self._slice), (range, self._slice)):
            if issubclass(kind, base):
                return write
        return lambda value: _scalar_text(value, self._symbol_text)

    def _list(self, value: Any) -> str:
        return f"[{', '.join([self[type(item)](item) for item in value])}]"

    def _tuple(self, value: Any) -> str:
        return f"({self[type(value[0])](value[0])},)" if len(value) == 1 else f"({self._list(value)[1:-1]})"

    def _size(self, value: Any) -> str:
        return f"torch.Size({self._list(value)})"

    def _dict(self, value: Any) -> str:
        items = [f"{self[type(key)](key)}: {self[type(item)](item)}" for key, item in value.items()]
        return f"{{{', '.join(items)}}}"

    def _slice(self, value: Any) -> str:
        return f"{type(value).__name__}({self._list((value.start, value.stop, value.step))[1:-1]})"


def value_writer(names: dict[Any, str], symbol_text: Callable[[Any], str]) -> dict[type, Callable[[Any], str]]:
    """Return a table from a type to the function that writes such an argument as an expression.

    ``names`` names the nodes (a node without a name is a KeyError), ``symbol_text`` writes a symbolic number.
    """
    return _Texts(names, symbol_text)


def dotted(tree: Any) -> str | None:
    """Return ``a.b.c`` for a chain of attributes on a name, None for anything else."""
    parts: list[str] = []
    while isinstance(tree, ast.Attribute):
        parts.append(tree.attr)
        tree = tree.value
    if not isinstance(tree, ast.Name):
        return None
    parts.append(tree.id)
    return ".".join(reversed(parts))


class ValueReader:
    """Turn expression trees back into arguments; ``names`` maps each defined value to its node."""

    def __init__(self, names: dict[str, Any], symbol: Callable[[str, str, int], Any]):
        self.names, self.symbol = names, symbol

    def read(self, tree: Any, depth: int = 0) -> Any:
        """Return the argument that ``tree`` writes; raises GraphTextError for anything but a constant or a value."""
        kind = type(tree)
        if kind is ast.Constant:
            return tree.value
        if kind is ast.Name and tree.id in self.names:
            return self.names[tree.id]
        if depth > _MAX_DEPTH:
            raise GraphTextError(f"expected at most {_MAX_DEPTH} nested brackets", tree.lineno)
        if kind is ast.List:
            return [self.read(item, depth + 1) for item in tree.elts]
        if kind is ast.Tuple:
            return tuple([self.read(item, depth + 1) for item in tree.elts])
        if kind is ast.UnaryOp and isinstance(tree.op, ast.USub):
            return self._negative(tree, depth)
        if kind is ast.Dict and None not in tree.keys:
            return {self._key(key, depth): self.read(item, depth + 1) for key, item in zip(tree.keys, tree.values)}
        if kind in (ast.Name, ast.Attribute):
            return self._named(tree)
        if kind is ast.Call:
            return self._called(tree, depth)
        raise GraphTextError(f"expected a constant or a value defined above; got {_shown(tree)}", tree.lineno)

    def _key(self, tree: Any, depth: int) -> Any:
        key = self.read(tree, depth + 1)
        try:
            hash(key)
        except TypeError:
            raise GraphTextError(f"expected a key that can be hashed; got {_shown(tree)}", tree.lineno) from None
        return key

    def _negative(self, tree: ast.UnaryOp, depth: int) -> Any:
        value = self.read(tree.operand, depth + 1)
        if type(value) not in (int, float):
            raise GraphTextError(f"expected a number after the minus sign; got {_shown(tree.operand)}", tree.lineno)
        return -value

    def _named(self, tree: Any) -> Any:
        name = dotted(tree)
        if name in CONSTANTS:
            return CONSTANTS[name]
        if name in _TYPES:
            return _TYPES[name]
        if name is None or "." not in name or name.partition(".")[0] in self.names:
            raise GraphTextError(f"expected a value defined above; got {_shown(tree)}", tree.lineno)
        return resolve_target(name, tree.lineno)

    def _called(self, tree: ast.Call, depth: int) -> Any:
        name = dotted(tree.func)
        if tree.keywords or any(isinstance(item, ast.Starred) for item in tree.args):
            raise GraphTextError(f"expected a constant or a value defined above; got {_shown(tree)}", tree.lineno)
        items = [self.read(item, depth + 1) for item in tree.args]
        try:
            if name == "torch.device" and len(items) == 1 and isinstance(items[0], str):
                return torch.device(items[0])
            if name == "torch.Size" and len(items) == 1:
                return torch.Size(items[0])
            if name == "complex" and len(items) == 2:
                return complex(*items)
            if name in ("slice", "range") and len(items) == 3:
                return slice(*items) if name == "slice" else range(*items)
            if name in ("SymInt", "SymFloat", "SymBool") and len(items) == 1 and isinstance(items[0], str):
                return self.symbol(name, items[0], tree.lineno)
        except GraphTextError:
            raise
        except Exception as error:
            raise GraphTextError(f"cannot read {_shown(tree)}: {error}", tree.lineno) from error
        if name == "opaque":
            raise GraphTextError(f"{_shown(tree)} stands for an object that a text cannot hold", tree.lineno)
        raise GraphTextError(f"expected a constant or a value defined above; got {_shown(tree)}", tree.lineno)


def _shown(tree: Any) -> str:
    """Return a short source form for a message, never failing on a tree that is too deep to print."""
    try:
        text = ast.unparse(tree)
    except (RecursionError, ValueError):
        return type(tree).__name__
    return text if len(text) <= 80 else text[:77] + "..."
