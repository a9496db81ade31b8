"""Whether a changed constant can type: told from the types on record, so that few steps are taken in vain."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.fx import Node

from fxpect.strategies.signatures import MISSING, Slot, base_name, slots

PERMUTING = frozenset({"permute", "permute_copy"})
SHAPING = frozenset({"view", "reshape", "view_copy", "_unsafe_view"})
EXPANDING = frozenset({"expand", "expand_copy"})
SPLITTING = frozenset({"split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "split_copy", "chunk",
                       "unsafe_chunk", "tensor_split", "unbind"})
STACKING = frozenset({"stack", "unsqueeze", "unsqueeze_copy"})
POSITIVE = frozenset({"kernel_size", "stride", "dilation", "groups", "chunks", "step", "sections", "upscale_factor"})
NOT_NEGATIVE = frozenset({"padding", "output_padding", "split_size", "split_sizes", "split_size_or_sections", "length",
                          "repeats"})


def plausible(node: Node, slot: Slot, value: Any, load: Callable[[Any], Any], dims: frozenset[str]) -> bool:
    """Return False where the call, or a read of one of its pieces, cannot take ``value`` for the parameter of ``slot``.

    ``load`` gives the recorded value of a node; ``dims`` names the parameters that are dims. True says little.
    """
    name, kind = slot.param.name, slot.param.kind
    if value is None:
        return kind.endswith("?") or slot.param.default is None or name == "index"
    if not _in_range(name, value):
        return False
    source = _operand(node, load)
    rank = source.dim() if isinstance(source, torch.Tensor) else None
    if node.target is operator.getitem:
        return not isinstance(source, (list, tuple)) or isinstance(value, int) and -len(source) <= value < len(source)
    if rank is None:
        return True
    op = base_name(node.target)
    if op in SHAPING and isinstance(value, torch.dtype):
        return _rereads(source, value)
    if name in dims:
        if not _dims_fit(op, value, rank):
            return False
    elif op in SHAPING and isinstance(value, (list, tuple)):
        return _shape_fits(value, source)
    elif op in EXPANDING and isinstance(value, (list, tuple)):
        return _expands(value, source)
    return op not in SPLITTING or _pieces_fit(node, op, {**_given(node), name: value}, source)


def pieces_read(node: Node) -> int:
    """Return how many pieces of a result the readers need at least."""
    read = [user.args[1] for user in node.users if user.target is operator.getitem]
    return max((i + 1 if i >= 0 else -i for i in read if isinstance(i, int)), default=0)


# ---------------------------------------------------------------------- helpers


def _operand(node: Node, load: Callable[[Any], Any]) -> Any:
    """Return what is recorded of the first operand, the first tensor of a list of them."""
    names = (name for name in ("input", "self", "tensors") if name in node.kwargs)
    first = node.args[0] if node.args else node.kwargs.get(next(names, ""))
    if isinstance(first, (list, tuple)):
        first = next((item for item in first if isinstance(item, Node)), None)
    return load(first) if isinstance(first, Node) else None


def _given(node: Node) -> dict[str, Any]:
    return {slot.param.name: slot.value if slot.given else slot.param.default for slot in slots(node)}


def _in_range(name: str, value: Any) -> bool:
    items = value if isinstance(value, (list, tuple)) else (value,)
    least = 1 if name in POSITIVE else 0 if name in NOT_NEGATIVE else None
    return least is None or not any(type(item) is int and item < least for item in items)


def _dims_fit(op: str, value: Any, rank: int) -> bool:
    room = max(rank, 1) + (op in STACKING)
    items = value if isinstance(value, (list, tuple)) else [value]
    if not all(type(item) is int for item in items):
        return True
    places = [item % room for item in items if -room <= item < room]
    if len(places) != len(items) or len(set(places)) != len(places):
        return False
    return op not in PERMUTING or len(places) == rank


def _shape_fits(value: Sequence[Any], source: torch.Tensor) -> bool:
    if not all(type(size) is int for size in (*value, *source.shape)):
        return True
    total, free = math.prod(source.shape), [size for size in value if size < 0]
    known = math.prod(size for size in value if size >= 0)
    if free:
        return free == [-1] and (known > 0 and total % known == 0)
    return known == total


def _rereads(source: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether the elements of the last dim fill whole elements of another dtype."""
    if dtype.itemsize <= source.dtype.itemsize:
        return True
    return bool(source.dim()) and source.shape[-1] * source.dtype.itemsize % dtype.itemsize == 0


def _expands(value: Sequence[Any], source: torch.Tensor) -> bool:
    extra = len(value) - source.dim()
    if extra < 0 or not all(type(size) is int for size in value):
        return extra >= 0
    return all(size >= 0 for size in value[:extra]) and all(
        new in (-1, old) or old == 1 and new >= 0 for new, old in zip(value[extra:], source.shape))


def _pieces_fit(node: Node, op: str, given: dict[str, Any], source: torch.Tensor) -> bool:
    """Whether the pieces of a split are legal, and as many as its readers take."""
    dim = next((given[k] for k in ("dim", "axis") if type(given.get(k)) is int), 0)
    if not -source.dim() <= dim < source.dim():
        return False
    size = source.shape[dim]
    how = next((given[k] for k in ("split_size", "split_sizes", "split_size_or_sections", "chunks", "sections",
                                   "indices_or_sections", "indices") if given.get(k, MISSING) is not MISSING), None)
    if not isinstance(size, int):
        return True
    if op == "unbind":
        return size >= pieces_read(node)
    if isinstance(how, (list, tuple)):
        if not all(type(item) is int for item in how):
            return True
        if op == "tensor_split":
            return len(how) + 1 >= pieces_read(node)
        return sum(how) == size and len(how) >= pieces_read(node)
    if type(how) is not int:
        return True
    if op == "tensor_split":
        return how >= pieces_read(node)
    if how == 0:
        return size == 0 and pieces_read(node) <= 1
    length = how if "chunk" not in op else -(-size // how) or 1
    return max(-(-size // length), 1) >= pieces_read(node)
