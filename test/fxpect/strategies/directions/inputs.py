"""Inputs: dtype, size, layout, values, ``requires_grad``, of one input or of all alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from fxpect.specs import TensorSpec
from fxpect.strategies.draft import Draft, Edit, Inapplicable
from fxpect.strategies.signatures import base_name

FLOATS = (torch.float64, torch.float16, torch.bfloat16)
INTEGERS = (torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool)


def dtypes(d: Draft) -> Iterator[Edit]:
    """Another dtype for one input (mixed), for all inputs of one dtype, complex included."""
    for dtype in (*FLOATS, *INTEGERS, torch.complex64, torch.float32):
        def change(spec: TensorSpec, dtype=dtype):
            if spec.dtype == dtype:
                raise Inapplicable("that dtype already")
            grad = spec.requires_grad and dtype.is_floating_point
            values = spec.values if dtype.is_floating_point and spec.values != "normal" else None
            return spec.replace(dtype=dtype, requires_grad=grad, values=values)

        for i in _tensor_inputs(d):
            yield _on(d, "dtypes", [i], change, f"{dtype}", f"one input {dtype_class(dtype)}")
        groups = {spec.dtype for spec in d.inputs if isinstance(spec, TensorSpec)}
        for group in sorted(groups, key=str):
            members = [i for i in _tensor_inputs(d) if d.inputs[i].dtype == group]
            if len(members) > 1:
                yield _on(d, "dtypes", members, change, f"{dtype}", f"all inputs {dtype_class(dtype)}")


def values(d: Draft) -> Iterator[Edit]:
    """Special values: nan, inf, -0.0; the ends of the dtype's range; ties, zeros, negative numbers."""
    for kind in ("special", "extreme", "ties", "zeros", "ones", "positive", "integers"):
        for i in _tensor_inputs(d):
            # Floats at the end of their range overflow or not by the order of additions: nothing to hold a pass to.
            inexact = _inexact(d.inputs[i].dtype)
            if d.inputs[i].values == kind or (kind == "special" and not inexact) or (kind == "extreme" and inexact):
                continue
            yield _on(d, "input_values", [i], lambda spec, kind=kind: spec.replace(values=kind), kind, f"values {kind}")
    for dtype in (torch.int8, torch.uint8, torch.int32, torch.int64):
        for i in _tensor_inputs(d):
            yield _on(d, "input_values", [i],
                      lambda spec, dtype=dtype: spec.replace(dtype=dtype, values="extreme", requires_grad=False),
                      f"extreme {dtype}", f"extreme {dtype}")


def layouts(d: Draft) -> Iterator[Edit]:
    """The same values in another layout: transposed, expanded, strided, channels last, offset."""
    for layout in ("transposed", "channels_last", "expanded", "strided", "offset"):
        def change(spec: TensorSpec, layout=layout):
            return spec.replace(layout=layout)

        tensors = _tensor_inputs(d)
        for i in tensors:
            yield _on(d, "layouts", [i], change, layout, f"layout {layout}")
        if len(tensors) > 1:
            yield _on(d, "layouts", tensors, change, layout, f"all layouts {layout}")


def gradients(d: Draft) -> Iterator[Edit]:
    """``requires_grad`` on one input, on all, or on none."""
    if d.functional:
        return
    floats = [i for i in _tensor_inputs(d) if _inexact(d.inputs[i].dtype)]
    for wanted in (True, False):
        for group in [[i] for i in floats] + ([floats] if len(floats) > 1 else []):
            yield _on(d, "gradients", group, lambda spec, wanted=wanted: spec.replace(requires_grad=wanted),
                      f"requires_grad={wanted}", f"requires_grad={wanted}")


def sizes(d: Draft) -> Iterator[Edit]:
    """Every dim of one size changed alike, with the constants that say it; one dim of one input alone."""
    present = sorted({s for spec in d.inputs if isinstance(spec, TensorSpec) for s in spec.shape if isinstance(s, int)})
    for old in present:
        for new in sorted({0, 1, old + 1, 2 * old, 3, old - 1, old // 2} - {old}):
            if new < 0:
                continue
            label = {0: "zero", 1: "one"}.get(new, "other")
            for constants in (False, True):
                def apply(draft: Draft, old=old, new=new, constants=constants):
                    for i, spec in enumerate(draft.inputs):
                        if isinstance(spec, TensorSpec) and old in spec.shape:
                            layout = None if isinstance(spec.layout, tuple) else spec.layout
                            draft.inputs[i] = spec.replace(shape=tuple(new if s == old else s for s in spec.shape),
                                                           layout=layout)
                    if constants and not _resize_constants(draft, old, new):
                        raise Inapplicable("no constant says this size")
                    draft.touch_inputs()

                yield Edit("sizes", f"every size {old} -> {new}" + (" and in constants" if constants else ""),
                           f"size {label}", apply)
    for i in _tensor_inputs(d):
        for dim, old in enumerate(d.inputs[i].shape):
            for new in (0, 1, 2, old + 1 if isinstance(old, int) else 3, 2 * old if isinstance(old, int) else 4):
                if new != old:
                    yield _on(d, "sizes", [i], lambda spec, dim=dim, new=new: spec.replace(
                        shape=(*spec.shape[:dim], new, *spec.shape[dim + 1:]), layout=None),
                        f"dim {dim}: {old} -> {new}", f"one input, size {({0: 'zero', 1: 'one'}).get(new, 'other')}")


def ranks(d: Draft) -> Iterator[Edit]:
    """A dim more or less in one input or in all: batched, unbatched, zero-dim."""
    tensors = _tensor_inputs(d)
    groups = [[i] for i in tensors] + ([tensors] if len(tensors) > 1 else [])
    for group in groups:
        for what, change in (("leading dim added", lambda shape: (2, *shape)),
                             ("leading dim of one added", lambda shape: (1, *shape)),
                             ("trailing dim added", lambda shape: (*shape, 3)),
                             ("leading dim removed", lambda shape: shape[1:]),
                             ("last dim removed", lambda shape: shape[:-1])):
            yield _on(d, "ranks", group,
                      lambda spec, change=change: spec.replace(shape=change(spec.shape), layout=None), what, what)


# ---------------------------------------------------------------------- helpers


def dtype_class(dtype: torch.dtype) -> str:
    """Return the kind of number, under which equal causes meet."""
    if dtype.is_complex or dtype == torch.bool:
        return "complex" if dtype.is_complex else "bool"
    if not dtype.is_floating_point:
        return "unsigned" if dtype == torch.uint8 else "integer"
    return {torch.float64: "double", torch.float32: "float"}.get(dtype, "half")


def _tensor_inputs(d: Draft) -> list[int]:
    return [i for i, spec in enumerate(d.inputs) if isinstance(spec, TensorSpec) and not spec.is_dynamic]


def _inexact(dtype: torch.dtype) -> bool:
    return dtype.is_floating_point or dtype.is_complex


def _on(d: Draft, direction: str, group: list[int], change: Callable[[TensorSpec], TensorSpec], what: str,
        trigger: str) -> Edit:
    names = [n.name for n in d.placeholders]
    who = names[group[0]] if len(group) == 1 else f"{len(group)} inputs"

    def apply(draft: Draft):
        changed = False
        for i in group:
            try:
                new = change(draft.inputs[i])
            except Inapplicable:
                continue
            except Exception as error:  # a spec that no tensor can meet
                raise Inapplicable(str(error)) from error
            changed = changed or new != draft.inputs[i]
            draft.inputs[i] = new
        if not changed:
            raise Inapplicable("nothing to change")
        draft.touch_inputs()

    return Edit(direction, f"{who}: {what}", trigger, apply)


def _resize_constants(draft: Draft, old: int, new: int) -> bool:
    found = False

    def swap(value):
        nonlocal found
        if type(value) is int and value == old:
            found = True
            return new
        if isinstance(value, (list, tuple)):
            return type(value)([swap(v) for v in value])
        return value

    for node in draft.calls():
        if base_name(node.target) != "getitem" and node.op != "call_module":
            node.args = tuple(swap(v) for v in node.args)
            node.kwargs = {k: swap(v) for k, v in node.kwargs.items()}
    return found
