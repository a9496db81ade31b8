"""Operands and users: repeated, swapped, permuted, missing, additional; extra readers and outputs."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.fx import Node

from fxpect.specs import T, TensorSpec, spec_of
from fxpect.strategies.directions.arguments import assign, tries
from fxpect.strategies.directions.constants import DIM_NAMES
from fxpect.strategies.directions.inputs import dtype_class
from fxpect.strategies.draft import Draft, Edit, Inapplicable, is_static
from fxpect.strategies.signatures import base_name, slots
from fxpect.strategies.trial import Call
from fxpect.text.packing import pack, packing

aten = torch.ops.aten


def extra_users(d: Draft) -> Iterator[Edit]:
    """Another reader of an intermediate or input, right after it or at the end, and returned."""
    for node in d.tensors():
        if not d.may_be_returned(node):
            continue
        kind = kind_of(node)
        yield from _number_first(d, node, kind)
        yield from _sizes_read(d, node, kind)
        if node.op == "get_attr":
            continue
        for reader, function, overload in _readers(d, node):
            call = d.method(function, overload)
            trigger = f"alias of {kind}" if reader == "alias" else f"extra user of {kind}"
            yield from _read_by(node, reader, trigger, *call)
        for index, target, args in _indices(d, node):
            yield from _read_by(node, f"items {index}", f"extra user of {kind}, {index}", "call_function", target, args)


def _read_by(node: Node, reader: str, trigger: str, op: str, target: Any, args: tuple = ()) -> Iterator[Edit]:
    """Yield that a value is read by one more call, right after it or last; a spec among the arguments is an input."""
    for late in (False, True):
        def apply(draft: Draft, late=late):
            source = draft.node(node.name)
            given = [draft.add_input(arg) if isinstance(arg, TensorSpec) else arg for arg in args]
            if given and draft.functional and target is aten.index.Tensor:
                given = [given]
            point = {"before": draft.output} if late else {}
            draft.add_output(draft.insert(source, op, target, (source, *given), **point))

        yield Edit("extra_users", f"{reader}({node.name}) returned too" + (", last" if late else ""), trigger, apply)


def _number_first(d: Draft, node: Node, kind: str) -> Iterator[Edit]:
    """Yield a reader whose first argument is a number, as Python writes 2 * w, and Inductor's decompositions 2 - w."""
    value = d.tensor(node)
    if d.functional and (d.capture not in ("aten", "joint") or value is None or value.dtype == torch.bool):
        return

    def apply(draft: Draft, name=node.name):
        source = draft.node(name)
        target = aten.sub.Tensor if draft.functional else operator.mul
        draft.add_output(draft.insert(source, "call_function", target, (2, source)))

    yield Edit("extra_users", f"2 {'-' if d.functional else '*'} {node.name} returned too",
               f"number-first user of {kind}", apply)


def _sizes_read(d: Draft, node: Node, kind: str) -> Iterator[Edit]:
    """Yield that a size is read, as an item of the shape or by a method, where that is a call: it is a factor."""
    value = d.tensor(node)
    if d.capture != "symbolic" or not is_static(value) or not value.dim() or value.dtype == torch.bool:
        return
    for how in ("shape", "size"):
        def apply(draft: Draft, how=how):
            source = draft.node(node.name)
            if how == "shape":
                shape = draft.insert(source, "call_function", getattr, (source, "shape"))
                size = draft.insert(shape, "call_function", operator.getitem, (shape, 0))
            else:
                size = draft.insert(source, "call_method", "size", (source, 0))
            draft.add_output(draft.insert(size, "call_function", operator.mul, (source, size)))

        yield Edit("extra_users", f"{node.name} times its {how}[0] returned too", f"{how} of {kind} read", apply)


def outputs(d: Draft) -> Iterator[Edit]:
    """An intermediate or an input returned as well, an output dropped, doubled, moved, or alone."""
    try:
        returned = d.output_list()
    except Inapplicable:
        return
    for node in d.graph.nodes:
        if node.op in ("output", "get_attr") or d.val(node) is None:
            continue
        if not isinstance(d.val(node), torch.Tensor) or not d.may_be_returned(node):
            continue
        what = "returned twice" if node in returned else "returned too"
        yield Edit("outputs", f"{node.name} {what}", f"{kind_of(node)} {what}",
                   lambda draft, name=node.name: draft.add_output(draft.node(name)))
        if node not in returned:
            yield Edit("outputs", f"{node.name} returned first", f"{kind_of(node)} returned first",
                       lambda draft, name=node.name: _set_outputs(draft, [draft.node(name), *draft.output_list()]))
    if d.capture in ("export", "export-nonstrict", "make_fx", "symbolic"):
        for value in (None, 1):
            yield Edit("outputs", f"{value} returned too", "a constant returned too",
                       lambda draft, value=value: _set_outputs(draft, [*draft.output_list(), value]))
    if d.capture == "symbolic":
        for what, build in (("in a dict", lambda values: {f"value_{i}": value for i, value in enumerate(values)}),
                            ("in a list", list), ("in a tuple of tuples", lambda values: ((values[0],), *values[1:]))):
            yield Edit("outputs", f"outputs {what}", f"outputs {what}",
                       lambda draft, build=build: _set_structure(draft, build(draft.output_list())))
        if packing(d.graph) is None:
            yield Edit("outputs", "outputs packed in a dict by the generated code", "outputs packed", _pack)
    if len(returned) > 1:
        yield Edit("outputs", "outputs reversed", "outputs reversed",
                   lambda draft: _set_outputs(draft, draft.output_list()[::-1]))
        for i in range(len(returned)):
            yield Edit("outputs", f"output {i} dropped", "output dropped",
                       lambda draft, i=i: _set_outputs(draft, _without(draft.output_list(), i)))


def operands(d: Draft) -> Iterator[Edit]:
    """A tensor operand replaced by another value of the graph or a view of one, swapped, or given twice."""
    everything = [n for n in d.tensors()]
    for node in d.calls():
        op = base_name(node.target)
        sites = list(_tensor_sites(d, node))
        for path, operand in sites:
            for other in everything:
                if other is operand or other >= node or not d.trial.fits(calls={node: with_put(node, path, other)}):
                    continue
                repeated = any(o is other for _, o in sites)
                what = "repeated operand" if repeated else f"{kind_of(other)} as operand"
                yield Edit("operands", f"{node.name}{_dotted(path)}: {operand.name} -> {other.name}",
                           f"{op} {what}", _replacing(node.name, path, other.name))
        for i, (first, a) in enumerate(sites):
            for second, b in sites[i + 1:]:
                if a is not b and d.trial.fits(calls={node: with_put(node, first, b, second, a)}):
                    def swap(draft: Draft, name=node.name, first=first, second=second, a=a.name, b=b.name):
                        put(draft, draft.node(name), first, draft.node(b), second, draft.node(a))

                    yield Edit("operands", f"{node.name}: {a.name} and {b.name} swapped", f"{op} operands swapped",
                               swap)
    yield from _views_of_another(d)


def _views_of_another(d: Draft) -> Iterator[Edit]:
    """Yield that one operand of a call is a view of another: its first items, its last, or one row for all."""
    for node in d.calls():
        sites = list(_tensor_sites(d, node))
        for path, operand in sites:
            for source in dict.fromkeys(other for _, other in sites if other is not operand):
                for what, calls in _views_like(d, d.tensor(operand), d.tensor(source)):
                    view = d.trial.values[source]
                    for target, *args in calls:
                        view = target(view, *args)
                    if not d.trial.fits(calls={node: with_put(node, path, view)}):
                        continue

                    def apply(draft: Draft, at=node.name, path=path, source=source.name, calls=calls):
                        call, view = draft.node(at), draft.node(source)
                        for target, *args in calls:
                            view = draft.insert(None, "call_function", target, (view, *args), before=call)
                        put(draft, call, path, view)

                    yield Edit("operands", f"{node.name}{_dotted(path)}: {operand.name} -> {what} of {source.name}",
                               f"{base_name(node.target)} operand is a view of another", apply)


def _views_like(d: Draft, like: torch.Tensor | None, source: torch.Tensor | None) -> Iterator[tuple[str, list]]:
    """Yield views of ``source`` that may stand for ``like``: what they are, and the calls that make them."""
    if not is_static(like) or not is_static(source) or not source.dim() or not source.shape[0]:
        return
    select, narrow = (aten.select.int, aten.slice.Tensor) if d.functional else (torch.select, torch.narrow)
    yield "a row", [(select, 0, 0)]
    if like.dim() != source.dim() or like.shape == source.shape or \
            any(small > large for small, large in zip(like.shape, source.shape)):
        return
    for what, last in (("the first items", False), ("the last items", True)):
        yield what, [(narrow, dim, start := (large - small) * last, start + small if d.functional else small)
                     for dim, (small, large) in enumerate(zip(like.shape, source.shape)) if small != large]


def one_input(d: Draft) -> Iterator[Edit]:
    """The same tensor in the place of two inputs, everywhere."""
    holders = [n for n in d.placeholders if d.tensor(n) is not None]
    for a in holders:
        for b in holders:
            if a is not b and b.users and d.trial.fits({b: d.trial.values[a]}):
                def apply(draft: Draft, a=a.name, b=b.name):
                    drop = draft.node(b)
                    users = sorted(drop.users)
                    drop.replace_all_uses_with(draft.node(a))
                    draft.touch(users[0])

                yield Edit("one_input", f"{a.name} also in the place of {b.name}", "one tensor for two inputs", apply)


def operand_lists(d: Draft) -> Iterator[Edit]:
    """A list of tensors reversed, rotated, with one missing, doubled, or with an additional value."""
    for node in d.calls():
        op = base_name(node.target)
        for i, value in enumerate(node.args):
            if not isinstance(value, (list, tuple)) or not any(isinstance(v, Node) for v in value):
                continue
            n = len(value)
            orders: list[tuple[str, list[int]]] = [("reversed", list(range(n))[::-1]), ("rotated", [*range(1, n), 0])]
            orders += [("one missing", [j for j in range(n) if j != k]) for k in range(n)]
            orders += [("one doubled", [*range(n), k]) for k in range(n)]
            orders += [("one doubled", [*range(k + 1), *range(k, n)]) for k in range(n - 1)]
            orders += [("swapped", [*range(k), k + 1, k, *range(k + 2, n)]) for k in range(n - 1)]
            orders += [("one repeated", [k if j == m else j for j in range(n)])
                       for k in range(n) for m in range(n) if k != m]
            orders += [("only one", [k]) for k in range(n)]
            for what, order in orders:
                new = type(value)([value[j] for j in order])
                if not d.trial.fits(calls={node: with_put(node, (i,), new)}):
                    continue

                def permute(draft: Draft, name=node.name, i=i, order=order):
                    call = draft.node(name)
                    items = [call.args[i][j] for j in order]
                    draft.set_args(call, (*call.args[:i], type(call.args[i])(items), *call.args[i + 1:]))

                yield Edit("operand_lists", f"{node.name} operands {order}", f"{op} operands {what}", permute)
            for other in d.tensors():
                if other < node:
                    for k in (0, n // 2, n):
                        new = type(value)([*value[:k], other, *value[k:]])
                        if not d.trial.fits(calls={node: with_put(node, (i,), new)}):
                            continue

                        def add(draft: Draft, name=node.name, i=i, k=k, other=other.name):
                            call = draft.node(name)
                            items = [*call.args[i][:k], draft.node(other), *call.args[i][k:]]
                            draft.set_args(call, (*call.args[:i], type(call.args[i])(items), *call.args[i + 1:]))

                        yield Edit("operand_lists", f"{node.name} operands with {other.name} at {k}",
                                   f"{op} additional operand", add)


def fresh_operands(d: Draft) -> Iterator[Edit]:
    """An operand replaced by a new input: same type, other dtype, broadcast, zero-dim; or by a number."""
    for node in d.calls():
        op = base_name(node.target)
        for path, operand in _tensor_sites(d, node):
            like = d.tensor(operand)
            if not is_static(like):
                continue
            for what, spec in _fresh_specs(like):
                if not d.trial.fits(calls={node: with_put(node, path, d.sample(spec))}):
                    continue

                def apply(draft: Draft, name=node.name, path=path, spec=spec):
                    new = draft.add_input(spec)
                    put(draft, draft.node(name), path, new)

                yield Edit("fresh_operands", f"{node.name}{_dotted(path)}: {operand.name} -> {spec!r}",
                           f"{op} operand {what}", apply)
            # The dispatcher records a number for a tensor only beside a tensor.
            beside = not d.functional or len(list(_tensor_sites(d, node))) > 1
            if len(path) == 1 and (path[0] != 0 or node.op == "call_function") and beside:
                for number in (2, 0.5, 0, 1):
                    if not d.trial.fits(calls={node: with_put(node, path, number)}):
                        continue
                    yield Edit("fresh_operands", f"{node.name}{_dotted(path)}: {operand.name} -> {number}",
                               f"{op} operand is a number", _replacing(node.name, path, number))


def tensors_for_numbers(d: Draft) -> Iterator[Edit]:
    """A number replaced by a tensor: without dims, like the result, like its last dim; by a size of an input."""
    for node in d.calls():
        if node.op == "call_module" or d.tensor(node) is None:
            continue
        result, op = d.tensor(node), base_name(node.target)
        assert result is not None
        for slot in slots(node):
            if type(slot.value) not in (int, float) or slot.param.name in DIM_NAMES or slot.param.kind == "index":
                continue  # what tells dims or pieces apart is fixed by tracing
            for size in _sizes_before(d, node):
                if _takes(d, node, slot.param.name, size):
                    yield Edit("tensors_for_numbers", f"{node.name}.{slot.param.name}: {slot.value} -> {size.name}",
                               f"{op}.{slot.param.name} is a symbolic size",
                               lambda draft, n=node.name, p=slot.param.name, v=size.name:
                               assign(draft, draft.node(n), p, draft.node(v)))
            if d.functional and not slot.param.is_tensor or not is_static(result):
                continue
            for shape in dict.fromkeys(((), tuple(result.shape), tuple(result.shape[-1:]))):
                spec = T(*shape, dtype=result.dtype)
                if not _takes(d, node, slot.param.name, d.sample(spec)):
                    continue

                def apply(draft: Draft, n=node.name, p=slot.param.name, spec=spec):
                    assign(draft, draft.node(n), p, draft.add_input(spec))

                yield Edit("tensors_for_numbers", f"{node.name}.{slot.param.name}: {slot.value} -> {spec!r}",
                           f"{op}.{slot.param.name} is a tensor", apply)


def _takes(d: Draft, node: Node, param: str, value: Any) -> bool:
    """Whether the graph runs with another value for a parameter of one call."""
    return tries(d, node, lambda draft, call: assign(draft, call, param, value))


def _sizes_before(d: Draft, node: Node) -> Iterator[Node]:
    """Yield the symbolic sizes that stand before a call."""
    for other in d.graph.nodes:
        if other is node:
            return
        if isinstance(d.val(other), torch.SymInt):
            yield other


def absent_operands(d: Draft) -> Iterator[Edit]:
    """An optional tensor (a bias, a weight, a mask) left out or added."""
    for node in d.calls():
        if node.op == "call_module":
            continue
        for slot in slots(node):
            if not slot.param.kind.startswith("Tensor") or slot.param.kind.endswith("[]"):
                continue
            name = f"{base_name(node.target)}.{slot.param.name}"
            optional = slot.param.kind.endswith("?")
            if (isinstance(slot.value, Node) and slot.param.default is None or optional and slot.given) and \
                    _takes(d, node, slot.param.name, None):
                yield Edit("absent_operands", f"{name} = None", f"{name} = None",
                           lambda draft, n=node.name, p=slot.param.name: assign(draft, draft.node(n), p, None))
            if not isinstance(slot.value, Node) and (slot.param.kind == "Tensor?" or slot.param.default is None):
                result = d.tensor(node)
                shapes = [] if result is None else [result.shape[-1:], result.shape, result.shape[1:2]]
                for shape in {str(shape): tuple(shape) for shape in shapes}.values():
                    if result is not None and all(isinstance(s, int) for s in shape):
                        values = "positive" if slot.param.name == "running_var" else None
                        spec = T(*shape, dtype=result.dtype, values=values)
                        if not _takes(d, node, slot.param.name, d.sample(spec)):
                            continue

                        def apply(draft: Draft, n=node.name, p=slot.param.name, spec=spec):
                            new = draft.add_input(spec, p)
                            assign(draft, draft.node(n), p, new)

                        yield Edit("absent_operands", f"{name} = {list(shape)}", f"{name} given", apply)


# ---------------------------------------------------------------------- helpers


def _readers(d: Draft, node: Node) -> Iterator[tuple[str, Any, Any]]:
    value = d.tensor(node)
    assert value is not None
    if value.dtype.is_floating_point or value.dtype in (torch.int64, torch.int32):
        yield "neg", torch.neg, aten.neg.default
        yield "relu", torch.relu, aten.relu.default
    else:
        yield "clone", torch.clone, aten.clone.default
    if value.dtype != torch.bool:
        yield "sum", torch.sum, aten.sum.default
    yield "alias", torch.detach, aten.alias.default


def _indices(d: Draft, node: Node) -> Iterator[tuple[str, Any, tuple]]:
    """Yield ways to take items of a value: what kind of index it is, what is called, and with what."""
    value = d.tensor(node)
    if not is_static(value) or not value.dim() or not value.shape[0]:
        return
    some = T(2, dtype=torch.int64, values=f"index:{value.shape[0]}")
    if d.functional:
        yield "by a tensor", aten.index.Tensor, (some,)
        yield "from the end", aten.slice.Tensor, (0, -1, 2**63 - 1)
        yield "by a step", aten.slice.Tensor, (0, 0, 2**63 - 1, 2)
        return
    yield "by a tensor", operator.getitem, (some,)
    yield "by a list", operator.getitem, ([0, -1],)
    yield "from the end", operator.getitem, (slice(-1, None),)
    yield "by a step", operator.getitem, (slice(None, None, 2),)
    yield "by None", operator.getitem, (None,)


def _fresh_specs(like: torch.Tensor) -> Iterator[tuple[str, Any]]:
    base = spec_of(like)
    shape = tuple(int(s) for s in like.shape)
    yield "is a new input", base
    for dtype in (torch.float64, torch.float16, torch.int64, torch.bool):
        if dtype != like.dtype:
            yield f"of dtype {dtype_class(dtype)}", T(*shape, dtype=dtype)
    yield "zero-dim", T(dtype=like.dtype)
    if shape:
        yield "broadcast", T(*([1] * len(shape)), dtype=like.dtype)
        yield "broadcast", T(1, *shape[1:], dtype=like.dtype)
        yield "broadcast", T(*shape[:-1], 1, dtype=like.dtype)
        yield "of lower rank", T(*shape[1:], dtype=like.dtype)
        if len(shape) > 2:
            yield "of lower rank", T(shape[-1], dtype=like.dtype)
        yield "one larger", T(*shape[:-1], shape[-1] + 1, dtype=like.dtype)
        yield "one larger", T(shape[0] + 1, *shape[1:], dtype=like.dtype)
        yield "empty", T(0, *shape[1:], dtype=like.dtype)
        yield "empty", T(*shape[:-1], 0, dtype=like.dtype)
        yield "empty vector", T(0, dtype=like.dtype)
    yield "of higher rank", T(2, *shape, dtype=like.dtype)


def kind_of(node: Node) -> str:
    """Return what a value is in a trigger: an input, an attribute, or the name of an operator."""
    return {"placeholder": "an input", "get_attr": "an attribute"}.get(node.op) or base_name(node.target)


def _tensor_sites(d: Draft, node: Node) -> Iterator[tuple[tuple, Node]]:
    for i, value in [*enumerate(node.args), *node.kwargs.items()]:
        if isinstance(value, Node) and d.tensor(value) is not None:
            yield (i,), value
        elif isinstance(value, (list, tuple)):
            for j, item in enumerate(value):
                if isinstance(item, Node) and d.tensor(item) is not None:
                    yield (i, j), item


def with_put(node: Node, *sites: Any) -> Call:
    """Return the call with other values at some sites, each a path and the value there."""
    args, kwargs = list(node.args), dict(node.kwargs)
    for path, value in zip(sites[::2], sites[1::2], strict=True):
        holder: Any = args if isinstance(path[0], int) else kwargs
        old = holder[path[0]]
        holder[path[0]] = value if len(path) == 1 else type(old)([*old[:path[1]], value, *old[path[1] + 1:]])
    return Call(node.op, node.target, tuple(args), kwargs)


def put(draft: Draft, node: Node, *sites: Any) -> None:
    """Put other values at some sites of a call, each a path and the value there."""
    call = with_put(node, *sites)
    draft.set_args(node, call.args, dict(call.kwargs))


def _replacing(name: str, path: tuple, value: Any) -> Callable[[Draft], None]:
    return lambda draft: put(draft, draft.node(name), path, draft.node(value) if isinstance(value, str) else value)


def _dotted(path: tuple) -> str:
    return "".join(f"[{part}]" for part in path)


def _without(items: list, i: int) -> list:
    return [*items[:i], *items[i + 1:]]


def _set_structure(draft: Draft, value: Any) -> None:
    draft.output.args = (value,)
    draft.touch(draft.output)


def _pack(draft: Draft) -> None:
    values = draft.output_list()
    draft.graph.erase_node(draft.output)
    pack(draft.graph, {f"value_{i}": value for i, value in enumerate(values)})


def _set_outputs(draft: Draft, values: list) -> None:
    draft.output.args = (tuple(values),)
    draft.touch(draft.output)
