"""Inputs: dtype, size, layout, values, ``requires_grad``, of one input or of all alike."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.fx import Node
from torch.fx.node import map_arg

from fxpect.errors import SpecError
from fxpect.specs import TensorSpec
from fxpect.strategies.draft import Draft, Edit
from fxpect.strategies.signatures import base_name, slots
from fxpect.strategies.trial import Call

FLOATS = (torch.float64, torch.float16, torch.bfloat16)
BIG = ("large", "roots", "close")
TOGETHER = ("special", "roots", "close")  # large values of two inputs overflow by the order in which they are added
INTEGERS = (torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool)


def dtypes(d: Draft) -> Iterator[Edit]:
    """Another dtype for one input (mixed), for all inputs of one dtype, complex included; another float dtype for what
    one call reads, what all calls alike read, or read in one place.
    """
    for dtype in (*FLOATS, *INTEGERS, torch.complex64, torch.float32):
        def change(spec: TensorSpec, dtype=dtype):
            return in_dtype(spec, dtype)

        for i in _tensor_inputs(d):
            yield from _on(d, "dtypes", [i], change, f"{dtype}", f"one input {dtype_class(dtype)}")
        for members in _alike(d):
            yield from _on(d, "dtypes", members, change, f"{dtype}", f"all inputs {dtype_class(dtype)}")
        if dtype in FLOATS:
            for members, which in _of_calls(d):
                yield from _on(d, "dtypes", members, change, f"{dtype}", f"{which} {dtype_class(dtype)}",
                               who=f"{', '.join(d.placeholders[i].name for i in members)}")


def values(d: Draft) -> Iterator[Edit]:
    """Special values: nan, inf, -0.0; the ends of the dtype's range; ties, zeros, negative numbers.

    Floats so large that their sums or products overflow, or that what is added to them is lost: what a graph makes of
    these is held against the truth. Where the dtype of an input has no such values, or other ones, one that has comes
    with them, for that input or all like it.
    """
    tensors = _tensor_inputs(d)
    for kind in ("special", "extreme", "ties", "zeros", "ones", "positive", "integers", *BIG):
        for group in [[i] for i in tensors] + ([tensors] if kind in TOGETHER and len(tensors) > 1 else []):
            def change(spec: TensorSpec, kind=kind):
                # Floats at the end of their range overflow or not by the order of additions: nothing to hold to.
                inexact = _inexact(spec.dtype)
                return spec if kind == "special" and not inexact or kind == "extreme" and inexact or \
                    kind in BIG and not spec.dtype.is_floating_point else spec.replace(values=kind)

            yield from _on(d, "input_values", group, change, kind, f"values {kind}")
    for kind, others in (("special", (torch.float32, torch.complex64, torch.float16)),
                         *((kind, (torch.float16,)) for kind in BIG),
                         ("extreme", (torch.int8, torch.uint8, torch.int32, torch.int64))):
        for dtype in others:
            def convert(spec: TensorSpec, kind=kind, dtype=dtype):
                grad = spec.requires_grad and dtype.is_floating_point
                return spec if spec.dtype == dtype else spec.replace(dtype=dtype, values=kind, requires_grad=grad)

            for group in [[i] for i in tensors] + (_alike(d) if kind != "large" else []):
                yield from _on(d, "input_values", group, convert, f"{kind} {dtype}", f"{kind} {dtype}")
    for members in _alike(d):
        for i in members:
            def halved(spec: TensorSpec, own=d.inputs[i]):
                return spec.replace(dtype=torch.float16, values="large" if spec is own else None) \
                    if spec.dtype.is_floating_point else spec

            yield from _on(d, "input_values", members, halved, f"{torch.float16}, {d.placeholders[i].name} large",
                           f"large {torch.float16}")


def layouts(d: Draft) -> Iterator[Edit]:
    """The same values in another layout: transposed, expanded, strided, channels last, offset."""
    tensors = _tensor_inputs(d)
    for layout in ("transposed", "channels_last", "expanded", "strided", "offset"):
        for group in [[i] for i in tensors] + ([tensors] if len(tensors) > 1 else []):
            yield from _on(d, "layouts", group, lambda spec, layout=layout: spec.replace(layout=layout), layout,
                           f"layout {layout}" if len(group) == 1 else f"all layouts {layout}")


def gradients(d: Draft) -> Iterator[Edit]:
    """``requires_grad`` on one input, on all, or on none."""
    if d.functional:
        return
    floats = [i for i in _tensor_inputs(d) if _inexact(d.inputs[i].dtype) and may_require_grad(d.placeholders[i])]
    for wanted in (True, False):
        for group in [[i] for i in floats] + ([floats] if len(floats) > 1 else []):
            yield from _on(d, "gradients", group, lambda spec, wanted=wanted: spec.replace(requires_grad=wanted),
                           f"requires_grad={wanted}", f"requires_grad={wanted}")


def sizes(d: Draft) -> Iterator[Edit]:
    """Every dim of one size changed alike, with the constants that say it; one dim of one input alone."""
    for old in _present_sizes(d):
        def grown(spec: TensorSpec, old=old, new=0):
            return spec.replace(shape=tuple(new if s == old else s for s in spec.shape),
                                layout=None if isinstance(spec.layout, tuple) else spec.layout) \
                if old in spec.shape else spec

        constants = _constants_of(d, old)
        for new in sorted({0, 1, old + 1, 2 * old, 3, old - 1, old // 2} - {old}):
            label = {0: "zero", 1: "one"}.get(new, "other")
            for said in (False, True) if constants else (False,):
                calls = {node: _resized(node, old, new) for node in constants} if said else None
                yield from _on(d, "sizes", _tensor_inputs(d, dynamic=True),
                               lambda spec, grown=grown, new=new: grown(spec, new=new),
                               f"size {old} -> {new}" + (" and in constants" if said else ""), f"size {label}", calls,
                               who="every")
    for i in _tensor_inputs(d):
        for dim, old in enumerate(d.inputs[i].shape):
            for new in sorted({0, 1, 2, old + 1, 2 * old} - {old}):
                yield from _on(d, "sizes", [i], lambda spec, dim=dim, new=new: spec.replace(
                    shape=(*spec.shape[:dim], new, *spec.shape[dim + 1:]), layout=None),
                    f"dim {dim}: {old} -> {new}", f"one input, size {({0: 'zero', 1: 'one'}).get(new, 'other')}")


def ranks(d: Draft) -> Iterator[Edit]:
    """A dim more or less in one input or in all: batched, unbatched, zero-dim.

    With another of a size that then fits; in two inputs at once, in the same way or one more and one less.
    """
    tensors = _tensor_inputs(d)
    groups = [[i] for i in tensors] + ([tensors] if len(tensors) > 1 else [])
    for group in groups:
        for what, change in (("leading dim added", lambda shape: (2, *shape)),
                             ("leading dim of one added", lambda shape: (1, *shape)),
                             ("trailing dim added", lambda shape: (*shape, 3)),
                             ("leading dim removed", lambda shape: shape[1:]),
                             ("last dim removed", lambda shape: shape[:-1])):
            yield from _on(d, "ranks", group,
                           lambda spec, change=change: spec.replace(shape=change(spec.shape), layout=None), what, what)
    present = sorted({size for value in map(d.tensor, d.tensors()) if value is not None
                      for size in value.shape if isinstance(size, int)})
    for i in tensors:
        for what, trigger, shape in _fitted_shapes(d.inputs[i].shape, present):
            yield from _on(d, "ranks", [i], lambda spec, shape=shape: spec.replace(shape=shape, layout=None), what,
                           trigger)
    for a, b in itertools.permutations(tensors, 2):
        more, less = (2, *d.inputs[a].shape), d.inputs[b].shape[1:]
        pairs = [("a dim more and one less", {a: more, b: less})]
        if a < b and len(tensors) > 2:
            pairs += [("a dim more each", {a: more, b: (2, *d.inputs[b].shape)}),
                      ("a dim less each", {a: d.inputs[a].shape[1:], b: less})]
        for what, shapes in pairs:
            changes = {i: functools.partial(TensorSpec.replace, shape=shape, layout=None)
                       for i, shape in shapes.items()}
            yield from _on(d, "ranks", [a, b], changes, what, f"two inputs: {what}",
                           who=f"{d.placeholders[a].name}, {d.placeholders[b].name}")


def _present_sizes(d: Draft) -> list[int]:
    return sorted({s for spec in d.inputs if isinstance(spec, TensorSpec) for s in spec.shape if isinstance(s, int)})


def _fitted_shapes(shape: tuple[Any, ...], sizes: list[int]) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    """Yield what is done, its trigger and the new shape: a dim more or less, and a size that is another input's."""
    for at in range(1, len(shape)):
        for size in sizes:
            yield f"dim of {size} put in at {at}", "a dim put in", (*shape[:at], size, *shape[at:])
            if size != shape[at]:
                yield (f"leading dim removed, then dim {at - 1} of {size}",
                       "leading dim removed and a size that fits", (*shape[1:at], size, *shape[at + 1:]))


# ---------------------------------------------------------------------- helpers


def dtype_class(dtype: torch.dtype) -> str:
    """Return the kind of number, under which equal causes meet."""
    if dtype.is_complex or dtype == torch.bool:
        return "complex" if dtype.is_complex else "bool"
    if not dtype.is_floating_point:
        return "unsigned" if dtype == torch.uint8 else "integer"
    return {torch.float64: "double", torch.float32: "float"}.get(dtype, "half")


def in_dtype(spec: TensorSpec, dtype: torch.dtype) -> TensorSpec:
    """Return the spec with another dtype, and without what that one does not have."""
    grad = spec.requires_grad and dtype.is_floating_point
    kept = dtype.is_floating_point and spec.values != "normal" and not str(spec.values).startswith("index:")
    values = spec.values if kept else None
    return spec.replace(dtype=dtype, requires_grad=grad, values=values)


def _tensor_inputs(d: Draft, dynamic: bool = False) -> list[int]:
    return [i for i, spec in enumerate(d.inputs) if isinstance(spec, TensorSpec) and (dynamic or not spec.is_dynamic)]


def _alike(d: Draft) -> list[list[int]]:
    """Return the groups of several inputs of one dtype."""
    groups: dict[str, list[int]] = {}
    for i in _tensor_inputs(d):
        groups.setdefault(str(d.inputs[i].dtype), []).append(i)
    return [members for _, members in sorted(groups.items()) if len(members) > 1]


def _of_calls(d: Draft) -> Iterator[tuple[list[int], str]]:
    """Yield each group of several float inputs, not all of them, that calls read, and which calls in words."""
    places = {node: i for i, node in enumerate(d.placeholders) if i in _tensor_inputs(d)
              and d.inputs[i].dtype.is_floating_point}
    seen = [sorted(places.values())]
    calls = [node for node in d.calls() if node.op != "call_module"]
    for node in calls:
        alike = [other for other in calls if other.target == node.target and len(other.args) == len(node.args)]
        groups = [(node.all_input_nodes, "inputs of one call")]
        if len(alike) > 1:
            groups.append(([read for each in alike for read in each.all_input_nodes], "inputs of all calls alike"))
            groups += [(list(column), "one input of all calls alike") for column in zip(*(each.args for each in alike))]
        for read, which in groups:
            members = sorted({places[one] for one in read if isinstance(one, Node) and one in places})
            if len(members) > 1 and members not in seen:
                seen.append(members)
                yield members, which


def may_require_grad(holder: Node) -> bool:
    """Whether no call takes an input as a running statistic, which may not require grad."""
    return not any(slot.value is holder and slot.param.name.startswith("running_")
                   for user in holder.users if user.op == "call_function" for slot in slots(user))


def _inexact(dtype: torch.dtype) -> bool:
    return dtype.is_floating_point or dtype.is_complex


def _on(d: Draft, direction: str, group: list[int],
        change: Callable[[TensorSpec], TensorSpec] | Mapping[int, Callable[[TensorSpec], TensorSpec]], what: str,
        trigger: str, calls: dict[Node, Call] | None = None, who: str = "") -> Iterator[Edit]:
    """Yield the edit that changes the specs of a group of inputs, where that says something new and fits.

    ``calls`` are calls that change with them.
    """
    holders = d.placeholders
    new: dict[int, TensorSpec] = {}
    for i in group:
        with contextlib.suppress(SpecError):  # a spec that no tensor can meet
            changed = (change[i] if isinstance(change, Mapping) else change)(d.inputs[i])
            if changed != d.inputs[i]:
                new[i] = changed
    if not new or not d.trial.fits({holders[i]: d.sample(spec) for i, spec in new.items()}, calls):
        return
    if not who:
        who = holders[group[0]].name if len(group) == 1 else f"{len(group)} inputs"

    def apply(draft: Draft):
        for i, spec in new.items():
            draft.inputs[i] = spec
        for node, call in (calls or {}).items():
            draft.set_args(draft.node(node.name), map_arg(call.args, lambda n: draft.node(n.name)),
                           map_arg(dict(call.kwargs), lambda n: draft.node(n.name)))
        draft.touch_inputs()

    yield Edit(direction, f"{who} {what}" if who == "every" else f"{who}: {what}", trigger, apply)


def _constants_of(d: Draft, size: int) -> list[Node]:
    """Return the calls that say a size."""
    return [node for node in d.calls() if base_name(node.target) != "getitem" and node.op != "call_module"
            and _resized(node, size, size + 1) != Call(node.op, node.target, node.args, node.kwargs)]


def _resized(node: Node, old: int, new: int) -> Call:
    """Return a call with another number where it says a size."""
    def swap(value: Any) -> Any:
        if type(value) is int and value == old:
            return new
        return type(value)([swap(v) for v in value]) if isinstance(value, (list, tuple)) else value

    return Call(node.op, node.target, tuple(map(swap, node.args)), {k: swap(v) for k, v in node.kwargs.items()})
