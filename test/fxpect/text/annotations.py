"""Write the type of a value as an annotation, ``f32[2, s0](stride=(1, 2))``, and build a fake value from one."""

from __future__ import annotations

import ast
import itertools
import math
import operator
import re
from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from fxpect.errors import GraphTextError
from fxpect.text.symbols import SymbolNames, SymbolTable, is_constant

DTYPE_NAMES: dict[torch.dtype, str] = {
    torch.float64: "f64", torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16", torch.int64: "i64",
    torch.int32: "i32", torch.int16: "i16", torch.int8: "i8", torch.uint8: "u8", torch.bool: "b8",
    torch.complex64: "c64", torch.complex128: "c128"}
for _name, _dtype in sorted(vars(torch).items()):
    if isinstance(_dtype, torch.dtype) and _dtype not in DTYPE_NAMES and str(_dtype) == f"torch.{_name}":
        DTYPE_NAMES[_dtype] = _name
DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}
_QUANTIZED = frozenset({torch.quint8, torch.qint8, torch.qint32})
_SPARSE = frozenset({torch.sparse_coo, torch.sparse_csr, torch.sparse_csc})
_SPARSE_BLOCKS = frozenset({torch.sparse_bsr, torch.sparse_bsc})
MISSING = "?"
MOST_ELEMENTS = 1 << 28  # of an attribute, which is real memory
RESULT, INPUT, ATTRIBUTE = "result", "input", "attribute"

_TENSOR = re.compile(r"(\w+)\[(.*?)\](?:\((.*)\))?$", re.DOTALL)
_SYMBOLIC = re.compile(r"(SymInt|SymFloat|SymBool)\((.*)\)$", re.DOTALL)


class TypeWriter:
    """Write the types of one graph; it remembers each shape, so that a repeated one costs a look-up."""

    def __init__(self, symbols: SymbolNames):
        self.symbols = symbols
        self._known: dict[Any, str] = {}
        self.result = self._result_writer()

    def text(self, value: Any, role: str = RESULT) -> str | None:
        """Return the annotation of a value, None for what has no type to show.

        ``role`` says whether the value is an INPUT or an ATTRIBUTE, which show whether they require a gradient.
        """
        if type(value) is FakeTensor:
            found = self.result(value)
            return found if role is RESULT else _with_flags(found, value, role)
        return self._any(value, role)

    def _result_writer(self) -> Callable[[Any], Any]:
        """Return ``text`` for results as one function that reads as little as it can: it runs once a node."""
        known, look_up, spell, other = self._known, self._known.get, self._spell, self._any

        def write(value: Any) -> str | None:
            if type(value) is not FakeTensor:
                return other(value, RESULT)
            key: tuple
            if not value._has_symbolic_sizes_strides:
                if value.layout is not torch.strided:
                    return spell(value)
                key = (value.shape, value.dtype, value.fake_device)
                found = look_up(key)
                if found is not None and value.is_contiguous():
                    return found
                if not value.is_contiguous():
                    key = (*key, value.stride())
            elif value.layout is not torch.strided:
                return spell(value)
            else:  # a size that is passed on stays the same object, so that its text need not be worked out again
                key = (value.dtype, value.fake_device, *[n if type(n) is int else n.node for n in value.shape],
                       *[n if type(n) is int else n.node for n in value.stride()])
            found = look_up(key)
            if found is None:
                found = known[key] = spell(value)
            return found

        return write

    def _any(self, value: Any, role: str) -> str | None:
        if isinstance(value, torch.Tensor):
            return self._spell(value) if role is RESULT else _with_flags(self._spell(value), value, role)
        if isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)):
            text = self.symbols.text(value)
            return text if is_constant(text) else f"{type(value).__name__}({text})"
        if isinstance(value, (tuple, list)):
            items = [self.text(item, role) or "None" for item in value]
            if isinstance(value, list):
                return f"[{', '.join(items)}]"
            return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"
        return repr(value) if type(value) in (int, float, bool) else None

    def _spell(self, value: torch.Tensor) -> str:
        sizes = [self._size(size) for size in value.shape]
        extras = []
        if value.layout is torch.strided:
            strides = [self._size(size) for size in value.stride()]
            if not self._contiguous(value, sizes, strides):
                extras.append(f"stride=({', '.join(strides)}{',' if len(strides) == 1 else ''})")
        else:
            extras.append(f"layout={value.layout}")
        if value.device.type != "cpu":
            extras.append(f"device='{value.device}'")
        name = DTYPE_NAMES.get(value.dtype, str(value.dtype))
        return f"{name}[{', '.join(sizes)}]" + (f"({', '.join(extras)})" if extras else "")

    def _size(self, size: Any) -> str:
        return str(size) if type(size) is int else self.symbols.text(size)

    def _contiguous(self, value: torch.Tensor, sizes: list[str], strides: list[str]) -> bool:
        """Compare with row-major strides without asking torch, which could add a guard."""
        if all(type(size) is int for size in value.shape) and all(type(step) is int for step in value.stride()):
            expected: Any = 1
            if 0 in value.shape:
                return True
            for size, step in zip(reversed(value.shape), reversed(value.stride())):
                if size != 1 and step != expected:
                    return False
                expected *= size
            return True
        expected = 1
        for size, text, step in zip(reversed(value.shape), reversed(sizes), reversed(strides)):
            if text != "1" and step != self._size(expected):
                return False
            expected = size if type(expected) is int and expected == 1 else expected * size
        return True


def _with_flags(text: str, value: torch.Tensor, role: str) -> str:
    """Add what no later node could tell: that gradients are wanted, and that an attribute is a Parameter."""
    needs = value.requires_grad
    if role == ATTRIBUTE and isinstance(value, torch.nn.Parameter):
        flags = "parameter=True" if needs else "parameter=True, requires_grad=False"
    elif needs:
        flags = "requires_grad=True"
    else:
        return text
    return f"{text[:-1]}, {flags})" if text[-1] == ")" else f"{text}({flags})"


class TypeReader:
    """Build fake values from annotations; all of one text share a fake mode."""

    def __init__(self, mode: Any, symbols: SymbolTable):
        self.mode, self.symbols = mode, symbols

    def value(self, text: str, line: int | None) -> Any:
        """Return the fake tensor, symbolic number, constant, tuple or list that ``text`` describes."""
        text = text.strip()
        if text == "None":
            return None
        if text.startswith(("(", "[")):
            return self._sequence(text, line)
        symbolic = _SYMBOLIC.match(text)
        if symbolic:
            return self.symbols.number(symbolic[1], symbolic[2], line)
        if _TENSOR.match(text):
            return self.tensor(text, line)
        try:
            constant = ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            constant = None
        if type(constant) not in (int, float, bool):
            raise GraphTextError(f'expected a type such as "f32[2, 8]"; got {text[:80]!r}', line)
        return constant

    def _sequence(self, text: str, line: int | None) -> Any:
        if not text.endswith(")" if text[0] == "(" else "]"):
            raise GraphTextError(f"expected a closing bracket in the type {text[:80]!r}", line)
        items = [self.value(item, line) for item in split_items(text[1:-1])]
        return tuple(items) if text[0] == "(" else items

    def tensor(self, text: str, line: int | None, real: bool = False) -> torch.Tensor:
        """Return the tensor that ``text`` describes, fake unless ``real``."""
        dtype, sizes, extras = self._parts(text, line)
        strides = extras.get("stride")
        device = torch.device(extras.get("device", "cpu"))
        try:
            if real:
                if math.prod(sizes) > MOST_ELEMENTS:
                    raise GraphTextError(f"expected at most {MOST_ELEMENTS} elements; got {text[:80]!r}", line)
                made = _make(dtype, sizes, strides, device, extras.get("layout"))
            elif extras.get("layout") is None and dtype not in _QUANTIZED:
                made = FakeTensor(self.mode, _make(dtype, sizes, strides, torch.device("meta"), None), device)
            else:
                with self.mode:
                    made = _make(dtype, sizes, strides, device, extras.get("layout"))
            parameter = extras.get("parameter", False)
            needs = extras.get("requires_grad", bool(parameter))
            if parameter:
                return torch.nn.Parameter(made, requires_grad=needs)
            return made.requires_grad_(True) if needs else made
        except GraphTextError:
            raise
        except Exception as error:
            raise GraphTextError(f"cannot build a tensor of type {text[:80]!r}: {error}", line) from error

    def _parts(self, text: str, line: int | None) -> tuple[torch.dtype, list[Any], dict[str, Any]]:
        found = _TENSOR.match(text)
        if found is None or found[1] not in DTYPES:
            raise GraphTextError(f'expected a tensor type such as "f32[2, 8]"; got {text[:80]!r}', line)
        sizes = [self._size(item, line) for item in split_items(found[2])]
        extras: dict[str, Any] = {}
        for item in split_items(found[3] or ""):
            key, _, word = (part.strip() for part in item.partition("="))
            extras[key] = self._extra(key, word, line)
        return DTYPES[found[1]], sizes, extras

    def _size(self, text: str, line: int | None) -> Any:
        if text.isdecimal() and len(text) > 18:
            raise GraphTextError(f"expected a size that fits 64 bits; got {text[:20]}...", line)
        return int(text) if text.isdecimal() else self.symbols.number("SymInt", text, line)

    def _extra(self, key: str, word: str, line: int | None) -> Any:
        if key == "stride" and word.startswith("(") and word.endswith(")"):
            return [self._size(item, line) for item in split_items(word[1:-1])]
        if key == "device" and re.fullmatch(r"'[a-z]+(:\d+)?'", word):
            return word[1:-1]
        if key in ("parameter", "requires_grad") and word in ("True", "False"):
            return word == "True"
        if key == "layout" and isinstance(getattr(torch, word.removeprefix("torch."), None), torch.layout):
            return getattr(torch, word.removeprefix("torch."))
        known = "stride, device, layout, parameter or requires_grad"
        raise GraphTextError(f"expected {known}; got {key}={word[:40]}", line)


def _make(dtype: torch.dtype, sizes: list[Any], strides: list[Any] | None, device: torch.device,
          layout: Any) -> torch.Tensor:
    if layout in _SPARSE:
        return torch.empty(sizes, dtype=dtype, device=device, layout=layout)
    if layout in _SPARSE_BLOCKS:  # of a size that no type tells
        return torch.zeros(sizes, dtype=dtype, device=device).to_sparse(layout=layout, blocksize=(1, 1))
    if layout is not None:
        raise GraphTextError(f"cannot build a tensor of layout {layout}")
    if dtype in _QUANTIZED:
        return torch._empty_affine_quantized(sizes, scale=1.0, zero_point=0, dtype=dtype, device=device)
    if strides is None:
        if all(type(size) is int for size in sizes):
            return torch.empty(sizes, dtype=dtype, device=device)
        # torch would write Max(1, size) for a size that may be 0, which is another text.
        strides = list(itertools.accumulate(reversed(sizes[1:]), operator.mul, initial=1))[::-1]
    return torch.empty_strided(sizes, strides, dtype=dtype, device=device)


def split_items(text: str) -> list[str]:
    """Split at the commas that are outside every bracket."""
    items, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        if letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        elif letter == "," and depth == 0:
            items.append(text[start:place].strip())
            start = place + 1
    last = text[start:].strip()
    return [*items, last] if last else items
