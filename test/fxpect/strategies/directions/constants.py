"""What an argument may be instead: numbers, dims, dtypes, words, lists and indices, the ordinary ones first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch.fx import Node

from fxpect.strategies.draft import Draft
from fxpect.strategies.plausible import plausible
from fxpect.strategies.signatures import MISSING, Slot, signatures

DIM_NAMES = frozenset({"dim", "dim0", "dim1", "axis", "start_dim", "end_dim", "dims", "source", "destination"})
NUMBERS = frozenset({"value", "fill_value", "alpha", "beta", "other", "exponent", "min", "max", "threshold", "p"})
BEYOND = (300, 1e5)  # numbers that integers of 8 bits, or half, cannot hold
DTYPES = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.bool, torch.float32)
WORDS = {"rounding_mode": ("floor", "trunc"), "reduction": ("none", "sum", "mean"), "approximate": ("tanh", "none"),
         "padding": ("same", "valid"), "mode": ("nearest", "bilinear"), "reduce": ("sum", "mean", "amax"),
         "indexing": ("ij", "xy"), "padding_mode": ("zeros", "reflect", "border")}


def class_of(slot: Slot, value: Any) -> str:
    """Name the kind of change, leaving the numbers out: ", negative"; "" for an ordinary number."""
    if isinstance(value, bool) or value is None or isinstance(value, (str, torch.dtype)):
        return f", = {value}"
    if isinstance(value, int) and slot.param.name in DIM_NAMES:
        return ", negative" if value < 0 else ", other dim"
    if isinstance(value, complex):
        return ", complex"
    if value in BEYOND or type(value) is int and abs(value) >= 2**31:
        return ", large"
    if isinstance(value, float) and not math.isfinite(value):
        return ", not finite"
    if isinstance(value, (list, tuple)):
        flat = [v for v in value if isinstance(v, int)]
        if not value:
            return ", empty list"
        return ", list" + (" with zero" if 0 in flat else "") + (" with negative" if any(v < 0 for v in flat) else "")
    return ", slice" if isinstance(value, slice) else ""


def rank_of(value: Any) -> int:
    """Return how odd a constant is: 2 for inf and nan, 1 for None, -0.0 and lists with 0 or less, 0 for others."""
    if isinstance(value, float):
        return 2 if not math.isfinite(value) else int(value == 0 and math.copysign(1, value) < 0)
    if isinstance(value, (list, tuple)):
        return max(map(rank_of, value), default=0)
    return int(value is None or isinstance(value, complex) or type(value) is int and abs(value) >= 2**31)


def other_values(d: Draft, node: Node, slot: Slot) -> Iterator[Any]:
    """Yield the values that may stand in the place of the present one, the default among them, ordinary ones first."""
    found = list(candidates(d, node, slot))
    if d.contract.recorded and slot.given and slot.param.default is not MISSING:
        if not any(_same(slot.param.default, other) for other in (slot.value, *found)):
            found.insert(0, slot.param.default)
    yield from sorted((value for value in found if plausible(node, slot, value, d.val, DIM_NAMES)), key=rank_of)


def candidates(d: Draft, node: Node, slot: Slot) -> Iterator[Any]:
    """Yield values of the kind that an argument takes, but for the present one."""
    value = slot.value if slot.given else slot.param.default
    if value is MISSING:
        return
    kind, name = slot.param.kind.rstrip("?"), slot.param.name
    seen: list[Any] = [value]

    def fresh(candidates: Any) -> Iterator[Any]:
        for c in candidates:
            if not any(type(c) is type(s) and _same(c, s) for s in seen):
                seen.append(c)
                yield c

    rank = max((t.dim() for t in map(d.tensor, node.all_input_nodes) if t is not None), default=1)
    if isinstance(value, bool) or kind == "bool":
        yield from fresh([not value] if isinstance(value, bool) else [True, False])
    elif kind == "index" or isinstance(value, slice):
        yield from fresh(_indices(d, node, value))
    elif isinstance(value, (list, tuple)) and all(isinstance(v, int) for v in value) or kind.startswith("int["):
        yield from fresh(_lists(value, rank))
    elif name in DIM_NAMES and kind == "int":
        yield from fresh(range(-rank, rank))
        if type(value) is int and _takes_dims(node, name):
            yield from fresh([(value,), [value], *((value, other) for other in range(rank) if other != value % rank),
                              (value - rank,)])
        if slot.param.kind.endswith("?"):
            yield from fresh([None])
    elif kind == "int" and isinstance(value, (int, type(None))):
        whole = value or 0
        yield from fresh([whole + 1, whole - 1, 0, 1, 2, -1, 2 * whole, 3])
    elif kind in ("float", "Scalar") or isinstance(value, float):
        v = value if isinstance(value, (int, float)) else 1
        yield from fresh([2, 0, -v, 0.5, v * 2, v + 1, float(v), 1, 3.0, *_beyond(d, node), True, 2**31, 1j, -0.0,
                          math.inf, math.nan])
    elif kind == "ScalarType" or isinstance(value, torch.dtype):
        yield from fresh([*DTYPES, None])
    elif kind == "str" and name in WORDS or name in WORDS:
        yield from fresh([*WORDS[name], None])
    elif kind in ("Tensor",) and isinstance(value, (bool, int, float)):
        yield from fresh([0, 1, 2, -1, 0.5, float(value), -value, *_beyond(d, node), True, 2**31, 1j, math.inf])
    elif kind == "MemoryFormat":
        yield from fresh([torch.contiguous_format, torch.channels_last, torch.preserve_format])
    elif isinstance(value, (int, float)):
        whole = isinstance(value, int) and name not in NUMBERS
        yield from fresh([2, 0, -value, 1, -1, value + 1] if whole else
                         [2, 0, -value, 0.5, 1, -1, float(value), math.inf])


def _takes_dims(node: Node, name: str) -> bool:
    """Whether a call takes several dims where it is given one, as squeeze does."""
    return any(param.name == name and param.kind.startswith("int[")
               for params in signatures(node.op, node.target) for param in params)


def _beyond(d: Draft, node: Node) -> Iterator[int | float]:
    """Yield numbers that a narrow dtype among the operands cannot hold."""
    dtypes = {value.dtype for value in map(d.tensor, node.all_input_nodes) if value is not None}
    if torch.float16 in dtypes:
        yield BEYOND[1]
    if not dtypes.isdisjoint((torch.int8, torch.uint8)):
        yield BEYOND[0]


def _same(a: Any, b: Any) -> bool:
    return repr(a) == repr(b)


def _indices(d: Draft, node: Node, value: Any) -> Iterator[Any]:
    if isinstance(value, int):
        yield from (value + 1, value - 1, 0, -1)
        source = d.val(node.args[0]) if node.args and isinstance(node.args[0], Node) else None
        if isinstance(source, (list, tuple)):
            yield value - len(source)
            yield from range(len(source))
        elif isinstance(source, torch.Tensor):
            yield from (slice(None, 1), slice(1, None), slice(None, None, 2), (Ellipsis, 0), None)
    elif isinstance(value, slice):
        yield from (slice(None), slice(None, None, 2), slice(1, None), slice(None, -1), slice(0, 0), 0, -1)
    elif isinstance(value, tuple):
        for i, part in enumerate(value):
            if isinstance(part, (int, slice)):
                for new in _indices(d, node, part):
                    if not isinstance(new, tuple):
                        yield (*value[:i], new, *value[i + 1:])


def _lists(value: Any, rank: int) -> Iterator[Any]:
    if isinstance(value, int):
        yield from ([value], value + 1, 0, 2, (value, value + 1), value - rank, -1, [value - rank], [0, value], [])
        return
    if not isinstance(value, (list, tuple, type(None))):
        return
    items = list(value) if value is not None else [0]
    build = type(value) if isinstance(value, tuple) else list
    if items:
        yield build([])
    if len(items) > 1:
        yield build(items[1:])
        yield build(reversed(items))
        yield build([*items[1:], items[0]])
        for i in range(len(items) - 1):
            yield build([*items[:i], items[i + 1], items[i], *items[i + 2:]])
    for i, item in enumerate(items):
        if not isinstance(item, int):
            continue
        for new in (item - rank if 0 <= item < rank else item + rank, -1, item + 1, item - 1, 0, 1, 2 * item):
            yield build([*items[:i], new, *items[i + 1:]])
        if item > 1:
            yield build([*items[:i], 1, item - 1, *items[i + 1:]])
        for j, other in enumerate(items):
            if i != j and isinstance(other, int) and other > 1:
                moved = list(items)
                moved[i], moved[j] = item + 1, other - 1
                yield build(moved)
        yield build([*items[:i], 0, *items[i:]])
        yield build([*items[:i], *items[i + 1:]])
    yield build([*items, 0])
    yield build([*items, 1])
    if len(items) > 1 and all(isinstance(item, int) for item in items):
        yield build([sum(items)])
        yield build(sorted(items, reverse=True))
