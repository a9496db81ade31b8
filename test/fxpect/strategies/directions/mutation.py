"""Mutation: a write before, between or after the pattern's operators; the epilogue's write for functional graphs.

Dynamo gives up on a model that changes the shape of an input in place: only what is computed is reshaped so.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any

import torch
from torch.fx import Node

from fxpect.contracts import equal_sizes, is_tangent, joint_outputs, view_source
from fxpect.specs import Same, T, TensorSpec
from fxpect.strategies.draft import Draft, Edit, Inapplicable, is_static
from fxpect.strategies.signatures import base_name
from fxpect.strategies.trial import Call

aten = torch.ops.aten
# In place, these change the shape of what they are called on.
RESHAPING = frozenset({"t", "transpose", "swapaxes", "swapdims", "squeeze", "unsqueeze"})


def writes(d: Draft) -> Iterator[Edit]:
    """An in-place write to an input or intermediate, at every place after it is made."""
    if d.contract.writes != "anywhere":
        return
    order = [n for n in d.graph.nodes if n.op not in ("placeholder", "get_attr")]
    for node in d.tensors():
        value = d.tensor(node)
        if value is None or _refuses_writes(d, node):
            continue
        for what, op, target, args in _writers(d, value):
            for place in order:
                if node.op != "placeholder" and place <= node:
                    continue
                where = "last" if place.op == "output" else f"before {place.name}"

                def apply(draft: Draft, at=node.name, place=place.name, op=op, target=target, args=args):
                    source = draft.node(at)
                    draft.insert(None, op, target, (source, *args), before=draft.node(place))

                yield Edit("writes", f"{what} on {node.name} {where}", f"{_kind(node)} written to", apply)
                if place.op == "output" and node not in d.returned():
                    def apply_and_return(draft: Draft, at=node.name, op=op, target=target, args=args):
                        source = draft.node(at)
                        draft.insert(None, op, target, (source, *args), before=draft.output)
                        draft.add_output(source)

                    yield Edit("writes", f"{what} on {node.name} last, returned",
                               f"{_kind(node)} written to, and returned", apply_and_return)
        yield from _writes_through_views(d, node, order)
        if node.op == "placeholder":
            yield from _writes_in_front(d, node)
        elif node.op != "get_attr":
            yield from _reshapes(d, node, lambda draft, at=node.name: draft.node(at), node.name, _kind(node))


def _writes_through_views(d: Draft, node: Node, order: list[Node]) -> Iterator[Edit]:
    """Yield writes through a view of a value that is taken for nothing else, which is then no reader to look at."""
    value = d.tensor(node)
    if value is None or not value.dim() or d.functional or node.op == "get_attr":
        return
    for method, args in (("detach", ()), ("select", (0, 0))):
        for place in order:
            if node.op != "placeholder" and place <= node:
                continue

            def apply(draft: Draft, at=node.name, place=place.name, method=method, args=args):
                view = draft.insert(draft.node(at), "call_method", method, (draft.node(at), *args))
                draft.insert(None, "call_method", "zero_", (view,), before=draft.node(place))

            where = "last" if place.op == "output" else f"before {place.name}"
            yield Edit("writes", f"zero_ on {method} of {node.name} {where}",
                       f"{_kind(node)} written to by a view", apply)


def _writes_in_front(d: Draft, node: Node) -> Iterator[Edit]:
    """Yield writes to what is read in the place of an input: a copy of it, or where a view of it is, to the input."""
    value = d.tensor(node)
    if value is None or d.functional or not node.users:
        return
    turned = _may_be_turned(d, node)
    what, op, target, args = next(_writers(d, value))

    def copied(draft: Draft, at=node.name) -> Node:
        """A copy in other strides where there are any."""
        source = _turned(draft, draft.node(at)) if turned else draft.node(at)
        return _read_instead(draft, draft.node(at), draft.insert(source, "call_method", "clone", (source,)))

    readers = _places(d, node)
    for place in (*readers, *(() if d.output in readers else (d.output,))):
        where = "last" if place.op == "output" else f"before {place.name}"
        if place in readers:
            def apply(draft: Draft, place=place.name):
                made = copied(draft)
                draft.insert(None, op, target, (made, *args), before=draft.node(place))

            yield Edit("writes", f"{what} on a copy of {node.name} {where}", "a copy of an input written to", apply)
        if turned and not value.requires_grad:
            def apply_to_input(draft: Draft, at=node.name, place=place.name):
                source = draft.node(at)
                _read_instead(draft, source, _turned(draft, source))
                draft.insert(None, op, target, (source, *args), before=draft.node(place))

            yield Edit("writes", f"{what} on {node.name}, a view of which is read, {where}",
                       "an input written to, read as a view", apply_to_input)

    def plain(draft: Draft, at=node.name) -> Node:
        source = draft.node(at)
        return _read_instead(draft, source, draft.insert(source, "call_method", "clone", (source,)))

    yield from _reshapes(d, node, plain, f"a copy of {node.name}", "a copy of an input")


def _reshapes(d: Draft, node: Node, made: Callable[[Draft], Node], name: str, kind: str) -> Iterator[Edit]:
    """Yield changes of a value's shape in place, before each reader of it or of what shares its memory, or at the end.
    """
    value = d.tensor(node)
    if value is None or d.functional or not value.dim():
        return
    one = next((dim for dim, size in enumerate(value.shape) if isinstance(size, int) and size == 1), None)
    for method, args in (("unsqueeze_", (0,)), ("t_", ()) if value.dim() == 2 else ("transpose_", (0, -1)),
                         ("squeeze_", (one,))):
        if args == (None,) or value.dim() == 1 and method == "transpose_":
            continue
        for place in _places(d, node):
            if not d.trial.takes(Call("call_method", method, (node, *args)), place):
                continue

            def apply(draft: Draft, place=place.name, method=method, args=args):
                source = made(draft)
                draft.insert(None, "call_method", method, (source, *args), before=draft.node(place))

            where = "last" if place.op == "output" else f"before {place.name}"
            yield Edit("writes", f"{method} on {name} {where}", f"{kind} reshaped in place", apply)
    if node not in d.returned():
        def apply_and_return(draft: Draft):
            source = made(draft)
            draft.insert(None, "call_method", "unsqueeze_", (source, 0), before=draft.output)
            draft.add_output(source)

        yield Edit("writes", f"unsqueeze_ on {name} last, returned", f"{kind} reshaped in place, and returned",
                   apply_and_return)


def _places(d: Draft, node: Node) -> list[Node]:
    """Return what reads, after it is made, a value or another view of the same memory, in program order."""
    source = view_source(node)
    return [reader for reader in d.graph.nodes
            if reader > node and any(view_source(read) is source for read in reader.all_input_nodes)]


def _may_be_turned(d: Draft, node: Node) -> bool:
    """Whether an input may be given with its first and last dim exchanged, and a view of it be read in its place."""
    value, i = d.tensor(node), d.placeholders.index(node)
    spec = d.inputs[i]
    if value is None or value.dim() < 2 or not isinstance(spec, TensorSpec) or spec.is_dynamic \
            or spec.layout is not None or isinstance(spec.values, tuple):
        return False
    if any(isinstance(other, Same) and other.index == i for other in d.inputs):
        return False
    return d.trial.fits({node: d.trial.values[node].transpose(0, -1).contiguous().transpose(0, -1)})


def _turned(draft: Draft, node: Node) -> Node:
    """Give an input with its first and last dim exchanged, and return a view of it that is as the input was."""
    i = draft.placeholders.index(node)
    spec = draft.inputs[i]
    first, *rest, last = spec.shape
    draft.inputs[i] = spec.replace(shape=(last, *rest, first))
    draft.touch_inputs()
    dims = list(range(len(spec.shape)))
    dims[0], dims[-1] = dims[-1], dims[0]
    if draft.functional:
        return draft.insert(node, "call_function", aten.permute.default, (node, dims))
    return draft.insert(node, "call_method", "transpose", (node, 0, -1))


def _read_instead(draft: Draft, node: Node, new: Node) -> Node:
    """Let all that reads an input read a value made of it."""
    above = {new, *new.all_input_nodes}
    node.replace_all_uses_with(new, delete_user_cb=lambda user: user not in above)
    return new


def in_place_spelling(d: Draft) -> Iterator[Edit]:
    """An operator in its in-place form, by method, by ``inplace=True`` or by ``operator.iadd``."""
    if d.contract.writes != "anywhere":
        return
    for node in d.calls():
        name = base_name(node.target)
        if node.op == "call_module" or name.endswith("_") or not _takes_its_result(d, node):
            continue
        written = f"{_kind(node.args[0])} written to, by {name} in place"
        if d.functional:
            target = getattr(getattr(aten, name + "_", None), getattr(node.target, "_overloadname", ""), None)
            if target is not None:
                yield Edit("in_place", f"{node.name} as {name}_", written,
                           lambda draft, at=node.name, to=target: _retarget(draft, at, "call_function", to))
            continue
        if hasattr(torch.Tensor, name + "_") and node.args and isinstance(node.args[0], Node):
            yield Edit("in_place", f"{node.name} as {name}_", written,
                       lambda draft, at=node.name, to=name + "_": _retarget(draft, at, "call_method", to))
        augmented = getattr(operator, "i" + name, None)
        if augmented is not None and len(node.args) == 2 and not node.kwargs:
            yield Edit("in_place", f"{node.name} as operator.i{name}", written,
                       lambda draft, at=node.name, to=augmented: _retarget(draft, at, "call_function", to))


def epilogue(d: Draft) -> Iterator[Edit]:
    """A value copied into an input of its type at the end, as functionalization leaves a mutation.

    Into one that is read and into one that is not, such as a running average; in a joint graph into a primal that
    asks for no gradient, which the backward does not read.
    """
    if not d.functional or d.contract.writes == "never":
        return
    kept = {n.args[0] for n in d.calls() if n.target is aten.copy_.default}
    if d.contract.joint:
        _, gradients = joint_outputs(d.graph)
        kept |= {node for node, given in zip_longest(d.placeholders, gradients)
                 if is_tangent(node) or given is not None}
    yield from _advanced(d, kept)
    for source in d.tensors():
        a = d.tensor(source)
        if a is None or source.op == "get_attr" or not d.may_be_returned(source):
            continue
        for target in d.placeholders:
            b = d.tensor(target)
            if target in kept or source is target or b is None or a.dtype != b.dtype or not equal_sizes(a, b):
                continue
            yield Edit("writes", f"{source.name} copied into {target.name} last",
                       f"{_kind(source)} copied into an input",
                       lambda draft, source=source.name, target=target.name:
                       _copy_last(draft, draft.node(source), draft.node(target)))
        if is_static(a):
            spec = T(*a.shape, dtype=a.dtype)
            yield Edit("writes", f"{source.name} copied into a new input last",
                       f"{_kind(source)} copied into an unread input",
                       lambda draft, source=source.name, spec=spec:
                       _copy_last(draft, draft.node(source), draft.add_input(spec)))
            yield from _copied_late(d, source, spec, kept)


def _advanced(d: Draft, kept: set[Any]) -> Iterator[Edit]:
    """Yield that an input is written to at the end, after it or a view of it was read."""
    if d.contract.joint:
        return
    for node in d.placeholders:
        value = d.tensor(node)
        if node in kept or not is_static(value) or value.dtype == torch.bool or not node.users \
                or any(view_source(read) is node for read in d.returned()):
            continue
        for turned in (False, True) if _may_be_turned(d, node) else (False,):
            def apply(draft: Draft, at=node.name, turned=turned):
                source = draft.node(at)
                if turned:
                    _read_instead(draft, source, _turned(draft, source))
                _copy_last(draft, draft.insert(source, "call_function", aten.add.Tensor, (source, 1)), source)

            yield Edit("writes", f"{node.name} advanced last{', a view of it read' if turned else ''}",
                       f"an input advanced{', read as a view' if turned else ''}", apply)


def _copied_late(d: Draft, source: Node, spec: TensorSpec, kept: set[Any]) -> Iterator[Edit]:
    """Yield that an input which a value is made of is written to before the value is copied into another."""
    for read in source.all_input_nodes:
        held = d.tensor(read)
        if read in kept or not is_static(held) or held.dtype == torch.bool:
            continue
        given, like = read.op == "placeholder", T(*held.shape, dtype=held.dtype)

        def apply(draft: Draft, source=source.name, read=read.name, given=given, like=like):
            made, target = draft.node(source), draft.node(read)
            if not given:
                target = draft.add_input(like)
                made.replace_input_with(draft.node(read), target)
                draft.touch(made)
            _copy_last(draft, draft.insert(target, "call_function", aten.add.Tensor, (target, 1)), target)
            _copy_last(draft, made, draft.add_input(spec))

        of = read.name if given else f"an input for {read.name}"
        yield Edit("writes", f"{of} advanced, then {source.name} copied into a new input",
                   f"{_kind(source)} copied after its operand is written to", apply)


def _copy_last(draft: Draft, source: Node, target: Node) -> None:
    draft.insert(None, "call_function", aten.copy_.default, (target, source), before=draft.output)


def _writers(d: Draft, value: torch.Tensor) -> Iterator[tuple[str, str, Any, tuple]]:
    """Yield (wording, op, target, arguments after the tensor) in the dialect of the stage."""
    if d.functional:
        boolean = value.dtype == torch.bool
        yield "logical_not_" if boolean else "add_", "call_function", \
            aten.logical_not_.default if boolean else aten.add_.Tensor, () if boolean else (1,)
        return
    if value.dtype == torch.bool:
        yield "logical_not_", "call_method", "logical_not_", ()
        return
    yield "add_", "call_method", "add_", (1,)
    if d.contract.setitem and value.dim():
        yield "setitem", "call_function", operator.setitem, (0, 1)


def _refuses_writes(d: Draft, node: Node) -> bool:
    """Whether autograd refuses writes: to a leaf that requires grad or a view of it, to one of several views."""
    value = d.tensor(node)
    if node.op == "get_attr" and (d.functional or isinstance(d.trial.values[node], torch.nn.Parameter)):
        return True
    if d.functional or value is None or not value.requires_grad:
        return False
    several = node.target is operator.getitem and isinstance(d.val(node.args[0]), (list, tuple))
    return several or view_source(node).op == "placeholder"


def _takes_its_result(d: Draft, node: Node) -> bool:
    """Whether a call's first operand may hold its result: a tensor of its type that is no leaf with gradient."""
    first = d.tensor(node.args[0]) if node.args else None
    value = d.tensor(node)
    if first is None or value is None or first.requires_grad and not d.functional and node.args[0].op == "placeholder":
        return False
    if base_name(node.target) in RESHAPING and view_source(node.args[0]) is node.args[0] and \
            node.args[0].op == "placeholder":
        return False
    return torch.can_cast(value.dtype, first.dtype) and (
        equal_sizes(first, value) or hasattr(torch.Tensor, base_name(node.target) + "_")
        and base_name(node.target) in RESHAPING)


def _retarget(draft: Draft, at: str, op: str, target: Any) -> None:
    node = draft.node(at)
    node.op, node.target = op, target
    if op == "call_method":  # torch.nn.functional.relu(x, inplace=False) becomes x.relu_()
        node.kwargs = {name: value for name, value in node.kwargs.items() if name != "inplace"}
    draft.touch(node)
    if not node.args:
        raise Inapplicable("no receiver")


def _kind(node: Node) -> str:
    return {"placeholder": "an input", "get_attr": "an attribute"}.get(node.op) or base_name(node.target)
