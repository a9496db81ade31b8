"""Literals: a number, dim or dtype that calls and inputs have alike, changed as one variable of their source would."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch.fx import Node

from fxpect.specs import TensorSpec
from fxpect.strategies.directions.arguments import assign, changed_calls
from fxpect.strategies.directions.constants import DIM_NAMES, DTYPES
from fxpect.strategies.directions.inputs import dtype_class, in_dtype
from fxpect.strategies.draft import Draft, Edit
from fxpect.strategies.plausible import PERMUTING, SHAPING, SPLITTING
from fxpect.strategies.signatures import base_name, slots


class Place(NamedTuple):
    """Where a literal stands: the argument of a call, as a whole or in a list, and what the argument is."""

    node: Node
    param: str
    value: Any

    def __str__(self) -> str:
        return f"{base_name(self.node.target)}.{self.param}"


def literals(d: Draft) -> Iterator[Edit]:
    """One number, dim or dtype changed at all calls that say it, whichever operators these are.

    Sizes in a list keep what the list makes up: the sum of a split, the product of a shape. A dtype changes in the
    inputs that have it as well. Two dtypes, or two dims and the sizes of the inputs there, stand each in the place of
    the other.
    """
    found = _places(d)
    rank = max((value.dim() for value in map(d.tensor, d.tensors()) if value is not None), default=0)
    for (kind, old), places in found.items():
        if kind == "dtype" or len(places) < 2:
            continue
        for new in range(-rank, rank) if kind == "dim" else _numbers(old):
            if new == old or kind == "number" and _is_one_argument(places):  # that is "together"
                continue
            changes = [(place, _replaced(place, old, new)) for place in places]
            yield from _offered(d, f"every {kind} {old} -> {new}", _trigger(kind, old, new, places), changes)
    yield from _dtypes(d, {old: places for (kind, old), places in found.items() if kind == "dtype"})
    yield from _turned(d, [place for (kind, _), places in found.items() if kind == "dim" for place in places], rank)


# ---------------------------------------------------------------------- helpers


def _places(d: Draft) -> dict[tuple[str, Any], list[Place]]:
    """Return where each literal stands, by its kind and value."""
    found: dict[tuple[str, Any], list[Place]] = {}
    for node in d.calls():
        if node.op == "call_module" or node.target is operator.getitem or d.is_number(node):
            continue
        for slot in slots(node):
            items = slot.value if isinstance(slot.value, (list, tuple)) else [slot.value]
            kind = "dim" if slot.param.name in DIM_NAMES or base_name(node.target) in PERMUTING else "number"
            for item in dict.fromkeys(item for item in items if type(item) in (int, float, torch.dtype)):
                key = "dtype" if isinstance(item, torch.dtype) else kind, item
                found.setdefault(key, []).append(Place(node, slot.param.name, slot.value))
    return found


def _dtypes(d: Draft, found: dict[torch.dtype, list[Place]]) -> Iterator[Edit]:
    for old, places in found.items():
        for new in DTYPES:
            if new == old:
                continue
            changes = [(place, new) for place in places]
            if len(places) > 1 and not _is_one_argument(places):
                yield from _offered(d, f"every {old} -> {new}", f"every dtype {dtype_class(new)}", changes)
            yield from _offered(d, f"every {old} -> {new}, in inputs too", f"every dtype {dtype_class(new)}, in inputs",
                                changes, _converting({old: new}))
        for new, others in found.items():
            if list(found).index(old) < list(found).index(new):
                yield from _swapped(d, (old, places), (new, others))
    given = {spec.dtype for spec in d.inputs if isinstance(spec, TensorSpec)}
    for old, places in found.items():
        for new in sorted(given - set(found), key=str):
            yield from _swapped(d, (old, places), (new, []))


def _swapped(d: Draft, first: tuple[torch.dtype, list[Place]], second: tuple[torch.dtype, list[Place]]
             ) -> Iterator[Edit]:
    """Yield that two dtypes stand each in the place of the other, in the calls, and in the inputs too."""
    (one, here), (other, there) = first, second
    changes = [*((place, other) for place in here), *((place, one) for place in there)]
    if there:
        yield from _offered(d, f"{one} and {other} swapped", "two dtypes swapped", changes)
    yield from _offered(d, f"{one} and {other} swapped, in inputs too", "two dtypes swapped, in inputs", changes,
                        _converting({one: other, other: one}))


def _turned(d: Draft, places: list[Place], rank: int) -> Iterator[Edit]:
    """Yield that two dims stand each in the place of the other, in the calls and in the shapes of the inputs."""
    for one, other in itertools.combinations(range(rank), 2):
        exchanged = {one: other, other: one}
        changes = [(place, type(place.value)(exchanged.get(item, item) for item in place.value)
                    if isinstance(place.value, (list, tuple)) else exchanged.get(place.value, place.value))
                   for place in places]

        def turned(spec: TensorSpec, one=one, other=other) -> TensorSpec:
            shape = list(spec.shape)
            if len(shape) > other:
                shape[one], shape[other] = shape[other], shape[one]
            return spec.replace(shape=tuple(shape), layout=None) if tuple(shape) != spec.shape else spec

        if any(value != place.value for place, value in changes):
            yield from _offered(d, f"dims {one} and {other} swapped, in inputs too", "two dims swapped, in inputs",
                                changes, turned)


def _offered(d: Draft, what: str, trigger: str, changes: list[tuple[Place, Any]],
             change: Callable[[TensorSpec], TensorSpec] | None = None) -> Iterator[Edit]:
    """Yield the edit that gives arguments other values, and inputs other specs, where it says something and fits."""
    if any(value is None for _, value in changes):
        return
    given = [(i, spec) for i, spec in enumerate(d.inputs) if isinstance(spec, TensorSpec) and not spec.is_dynamic]
    specs = {i: new for i, spec in given if change is not None and (new := change(spec)) is not spec}
    if change is not None and not specs:
        return
    calls = changed_calls((place.node, place.param, value) for place, value in changes)
    if not d.trial.fits({d.placeholders[i]: d.sample(spec) for i, spec in specs.items()}, calls):
        return

    def apply(draft: Draft):
        for place, value in changes:
            assign(draft, draft.node(place.node.name), place.param, value)
        if specs:
            for i, spec in specs.items():
                draft.inputs[i] = spec
            draft.touch_inputs()

    yield Edit("literals", what, trigger, apply)


def _converting(dtypes: dict[torch.dtype, torch.dtype]) -> Callable[[TensorSpec], TensorSpec]:
    """Return what gives a spec another dtype, where its own is among those."""
    def change(spec: TensorSpec) -> TensorSpec:
        dtype = dtypes.get(spec.dtype, spec.dtype)
        return spec if dtype == spec.dtype else in_dtype(spec, dtype)

    return change


def _is_one_argument(places: list[Place]) -> bool:
    return len({(place.node.target, place.param) for place in places}) == 1 and \
        not isinstance(places[0].value, (list, tuple))


def _numbers(old: int | float) -> list[int | float]:
    if isinstance(old, int):
        return list(dict.fromkeys((old + 1, 2 * old, old - 1, 1, 0, 3, -1)))
    return list(dict.fromkeys((2 * old, -old, old + 1, 0.0, 0.5))) if math.isfinite(old) else [0.0, 0.5]


def _replaced(place: Place, old: Any, new: Any) -> Any:
    """Return the argument with another literal in it; None where a list cannot make up what it did."""
    if not isinstance(place.value, (list, tuple)):
        return new
    op = base_name(place.node.target)
    back = {new % len(place.value): old} if op in PERMUTING else {}  # it names each dim once
    items = [new if type(item) is type(old) and item == old else back.get(item, item) for item in place.value]
    whole: Callable[[Any], int] | None = sum if op in SPLITTING else math.prod if op in SHAPING else None
    if whole is None or not all(type(item) is int and item >= 0 for item in place.value):
        return type(place.value)(items)
    total, rest = whole(place.value), [i for i, item in enumerate(place.value) if item != old]
    if whole(items) != total:
        if not rest:
            return None
        others = whole([*items[:rest[-1]], *items[rest[-1] + 1:]])
        if others > total or whole is math.prod and (others <= 0 or total % others):
            return None
        items[rest[-1]] = total - others if whole is sum else total // others
    return type(place.value)(items)


def _trigger(kind: str, old: Any, new: Any, places: list[Place]) -> str:
    if kind == "dim":
        return f"every dim {'negative' if new < 0 <= old else 'positive' if old < 0 <= new else 'other'}"
    return f"one number of {' and '.join(sorted({str(place) for place in places}))} changed"
