"""Arguments: spelled by keyword or position, defaults said or left out, other values, ``out=``."""

from __future__ import annotations

import functools
import inspect
import math
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.fx import Node

from fxpect.strategies.directions.constants import DIM_NAMES, class_of, other_values, rank_of
from fxpect.strategies.draft import Draft, Edit, Inapplicable, is_static
from fxpect.strategies.signatures import MISSING, Slot, base_name, slots
from fxpect.strategies.trial import Call

NUMPY_NAMES = {"dim": "axis", "keepdim": "keepdims", "input": "x", "other": "x2"}
TINY = 1e-3  # a number up to this is one that keeps a division from being by zero
VARIADIC = frozenset({"view", "reshape", "permute", "expand", "repeat", "flip", "tile"})


def keywords(d: Draft) -> Iterator[Edit]:
    """Positional arguments handed over by keyword, keywords by position, NumPy's names for them."""
    if d.contract.recorded:
        return
    for node in d.calls():
        if node.op == "call_module":
            yield from _module_keywords(d, node)
        if node.op == "call_module" or getattr(node.target, "__module__", "") == "_operator":
            continue
        bound = slots(node)
        given = [s for s in bound if s.index is not None]
        first = 1 if node.op == "call_method" else 0
        for slot in given[first:]:
            yield from _everywhere(d, node, "keywords", f"{base_name(node.target)}.{slot.param.name} as keyword",
                              lambda draft, n, i=slot.index: _to_keywords(draft, n, i),
                              trigger=", ".join(_as_keywords(node, given[given.index(slot):])))
        for slot in bound:
            if slot.keyword and not slot.param.keyword_only:
                yield from _everywhere(d, node, "keywords", f"{base_name(node.target)}.{slot.param.name} by position",
                                  lambda draft, n, name=slot.param.name: _to_position(draft, n, name))
        # Inductor renames those of functions alone.
        if d.contract.recorded or node.op == "call_function" and not d.contract.numpy_names:
            continue
        for slot in bound:
            other = NUMPY_NAMES.get(slot.param.name)
            if slot.given and other:
                yield from _everywhere(d, node, "keywords", f"{base_name(node.target)}.{slot.param.name} as {other}=",
                                  lambda draft, n, name=slot.param.name, to=other: _rename(draft, n, name, to))


def _module_keywords(d: Draft, node: Node) -> Iterator[Edit]:
    module = d.gm.get_submodule(node.target)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [each.name for each in inspect.signature(module.forward).parameters.values() if each.kind in kinds]
    for start in range(min(len(node.args), len(names))):
        def change(draft: Any, n: Any, start=start):
            draft.set_args(n, n.args[:start], {**dict(zip(names[start:], n.args[start:])), **n.kwargs})

        what = f"{type(module).__name__}.{names[start]} as keyword"
        yield from _everywhere(d, node, "keywords", what, change)


def defaults(d: Draft) -> Iterator[Edit]:
    """Defaults spelled out, by keyword and by position; given values left out."""
    if d.contract.recorded:  # values has the default among the others
        return
    for node in d.calls():
        bound = slots(node) if node.op != "call_module" else []
        op = base_name(node.target)
        for slot in bound:
            name, default = slot.param.name, slot.param.default
            if slot.given and default is not MISSING:
                later = [s for s in bound[bound.index(slot) + 1:] if slot.index is not None and s.index is not None]
                yield from _everywhere(d, node, "defaults", f"{op}.{name} left out",
                                  lambda draft, n, name=name: assign(draft, n, name, MISSING),
                                  trigger=", ".join([f"{op}.{name} left out", *_as_keywords(node, later)]))
            if not slot.given and default is not MISSING and default is not None:
                for position in (False,) if slot.param.keyword_only else (False, True):
                    yield from _everywhere(d, node, "defaults", f"{op}.{name}={default!r} spelled out"
                                      + (" by position" if position else ""),
                                      lambda draft, n, name=name, v=default, p=position: assign(draft, n, name, v, p),
                                      trigger=f"{op}.{name} spelled out" + _how(node, slot, position))


def values(d: Draft) -> Iterator[Edit]:
    """Constants changed, given or not: dims, sizes, flags, scalars, dtypes, words, lists, indices."""
    for node in d.calls():
        if node.op == "call_module":
            continue
        op = base_name(node.target)
        for slot in slots(node):
            if slot.param.is_tensor and not isinstance(slot.value, (bool, int, float)):
                continue
            for value in other_values(d, node, slot):
                for position in (False, True):
                    if position and (slot.given or slot.param.keyword_only or d.contract.recorded):
                        continue
                    suffix = " by position" if position else ""
                    yield from _everywhere(
                        d, node, "values", f"{op}.{slot.param.name}: {_show(slot.value)} -> {value!r}{suffix}",
                        lambda draft, n, name=slot.param.name, v=value, p=position: assign(draft, n, name, v, p),
                        f"{op}.{slot.param.name} changed{class_of(slot, value)}{_how(node, slot, position)}",
                        rank_of(value))


def together(d: Draft) -> Iterator[Edit]:
    """A constant that calls alike have, such as the sizes of the views of all pieces, changed at all of them.

    The pieces that calls alike take, rotated, with one of them counted from the end. A constant without dims, of a
    number that the narrow dtype of what stands beside it cannot hold.
    """
    yield from _rotated(d)
    yield from _wider_constants(d)
    yield from _changed_alike(d)


def _changed_alike(d: Draft) -> Iterator[Edit]:
    """Yield the edits that change one constant, not a dim, at all calls of one operator that have it."""
    groups: dict[Any, list[tuple[Node, Slot]]] = {}
    for node in d.calls():
        for slot in slots(node) if node.op != "call_module" and node.target is not operator.getitem else []:
            if slot.given and not slot.param.is_tensor and slot.param.name not in DIM_NAMES:
                groups.setdefault((node.target, slot.param.name, repr(slot.value)), []).append((node, slot))
    for (target, name, held), members in groups.items():
        if len(members) < 2:
            continue
        for value in other_values(d, *members[0]):
            if not d.trial.fits(calls=changed_calls((node, name, value) for node, _ in members)):
                continue

            def apply(draft: Draft, names=tuple(node.name for node, _ in members), name=name, value=value):
                for each in names:
                    assign(draft, draft.node(each), name, value)

            op = base_name(target)
            yield Edit("together", f"every {op}.{name}: {held} -> {value!r}",
                       f"every {op}.{name} changed{class_of(members[0][1], value)}", apply, rank_of(value))


def _rotated(d: Draft) -> Iterator[Edit]:
    """Yield the edits that shift what calls alike take of one value by one place."""
    groups: dict[Any, list[tuple[Node, Slot]]] = {}
    for node in d.calls():
        for slot in slots(node) if node.op != "call_module" else []:
            if slot.param.name in ("index", "key") or slot.param.kind == "index":
                if type(slot.value) is int and node.all_input_nodes:
                    groups.setdefault((node.target, slot.param.name, node.all_input_nodes[0]), []).append((node, slot))
    for (target, name, source), members in groups.items():
        values = [slot.value for _, slot in members]
        held = d.val(source)
        dims = [slot.value for slot in slots(members[0][0]) if slot.param.name == "dim"]
        count = len(held) if isinstance(held, (list, tuple)) else held.shape[dims[0]] \
            if isinstance(held, torch.Tensor) and dims and type(dims[0]) is int and held.dim() else None
        if len(values) < 2 or sorted(values) != list(range(len(values))) or not isinstance(count, int):
            continue
        backwards = [count - 1, *range(len(values) - 1)]
        for what, order in (("rotated", [*values[1:], values[0]]), ("last first", backwards),
                            ("last first, counted from the end", [-1, *backwards[1:]])):
            calls = changed_calls((node, name, value) for (node, _), value in zip(members, order))
            if order == values or not d.trial.fits(calls=calls):
                continue

            def apply(draft: Draft, names=tuple(node.name for node, _ in members), name=name, order=tuple(order)):
                for each, value in zip(names, order):
                    assign(draft, draft.node(each), name, value)

            op = base_name(target)
            yield Edit("together", f"every {op} of {source.name}: {order}", f"every {op} {what}", apply)


def _wider_constants(d: Draft) -> Iterator[Edit]:
    """Yield the edits that make a constant the sum of two, of which one without dims does not fit the other's dtype."""
    for node in d.calls():
        value = d.trial.values[node]
        if base_name(node.target) != "full" or not isinstance(value, torch.Tensor) or not value.dim():
            continue
        for number, wide, other, narrow in ((300, torch.int64, 100, torch.int8),
                                            (70000.0, torch.float32, 0.5, torch.float16)):
            if not d.trial.fits({node: torch.full((), number, dtype=wide) + value.new_full(value.shape, other,
                                                                                           dtype=narrow)}):
                continue

            def apply(draft: Draft, name=node.name, number=number, wide=wide, other=other, narrow=narrow):
                old = draft.node(name)
                op, full = draft.method(torch.full, torch.ops.aten.full.default)
                shape, kwargs = old.args[0], {k: v for k, v in old.kwargs.items() if k != "fill_value"}
                first = draft.insert(None, op, full, ([], number), {**kwargs, "dtype": wide}, before=old)
                second = draft.insert(None, op, full, (shape, other), {**kwargs, "dtype": narrow}, before=old)
                op, add = draft.method(torch.add, torch.ops.aten.add.Tensor)
                old.replace_all_uses_with(draft.insert(None, op, add, (first, second), before=old))

            yield Edit("together", f"{node.name}: {number}, {wide}, without dims, added to {other}, {narrow}",
                       "a constant without dims of a wider dtype", apply)


def sequences(d: Draft) -> Iterator[Edit]:
    """A tuple where a list stood, and the reverse; a list handed over as separate arguments."""
    if d.contract.recorded:
        return
    for node in d.calls():
        if node.op == "call_module":
            continue
        for i, value in enumerate(node.args):
            if isinstance(value, (list, tuple)) and node.target is not operator.getitem:
                flipped = "tuple" if isinstance(value, list) else "list"
                yield from _everywhere(d, node, "sequences", f"{base_name(node.target)} argument {i} as {flipped}",
                                  lambda draft, n, i=i: _flip_sequence(draft, n, i))
                if node.op == "call_method" and i == 1 and len(node.args) == 2 and node.target in VARIADIC:
                    yield from _everywhere(d, node, "sequences", f"{base_name(node.target)} list spread",
                                      lambda draft, n: draft.set_args(n, (n.args[0], *n.args[1])))
        if node.op == "call_method" and node.target in VARIADIC and len(node.args) > 2 and \
                all(isinstance(v, int) for v in node.args[1:]):
            yield from _everywhere(d, node, "sequences", f"{base_name(node.target)} list gathered",
                              lambda draft, n: draft.set_args(n, (n.args[0], tuple(n.args[1:]))))


def out_buffer(d: Draft) -> Iterator[Edit]:
    """A result written into a given buffer (``out=``), which is then what others read, or what is returned."""
    if d.functional or d.contract.writes != "anywhere":
        return
    taken: dict[Any, bool] = {}
    for node in d.calls():
        value = d.tensor(node)
        if node.op != "call_function" or not is_static(value) or "out" in node.kwargs or _asks_gradients(d, node):
            continue
        if not _may_have_out(base_name(node.target)) or not _takes_out(d, node, taken):
            continue
        for read in (False, True):
            def apply(draft: Draft, name=node.name, read=read):
                n = draft.node(name)
                like = draft.tensor(n)
                assert like is not None
                from fxpect.specs import spec_of

                buffer = draft.add_input(spec_of(torch.zeros(like.shape, dtype=like.dtype)), "out")
                n.kwargs = {**n.kwargs, "out": buffer}
                if read:
                    n.replace_all_uses_with(buffer, delete_user_cb=lambda user: user is not n)
                draft.touch(n)

            what = f"{base_name(node.target)} out=" + (", buffer read" if read else "")
            yield Edit("out", what, what, apply)


def equations(d: Draft) -> Iterator[Edit]:
    """An einsum equation with a subscript renamed into another, outputs permuted, summed or implicit."""
    for node in d.calls():
        for i, text in enumerate(node.args):
            if base_name(node.target) != "einsum" or not isinstance(text, str):
                continue
            for new, what in _equation_variants(text):
                if not tries(d, node, lambda draft, n, i=i, new=new: draft.set_args(n, _with(n.args, i, new))):
                    continue
                yield Edit("equations", f"einsum {text!r} -> {new!r}", f"einsum {what}",
                           lambda draft, name=node.name, i=i, new=new:
                           draft.set_args(draft.node(name), _with(draft.node(name).args, i, new)))


# ---------------------------------------------------------------------- helpers


def _as_keywords(node: Node, given: list[Slot]) -> list[str]:
    """Return the parts of a trigger for arguments that become keywords: one alone may be what matters."""
    return [f"{base_name(node.target)}.{slot.param.name} as keyword" for slot in given]


def _how(node: Node, slot: Slot, position: bool) -> str:
    """Return the part of a trigger that says how a value that was not given is given now."""
    if slot.given or slot.param.keyword_only:
        return ""
    return ", by position" if position else f", {_as_keywords(node, [slot])[0]}"


def _everywhere(d: Draft, node: Node, direction: str, what: str, change: Any, trigger: str | None = None,
                rank: int = 0) -> Iterator[Edit]:
    """Yield the edit at all calls of this target that take it, for fusions need their members alike; if it fits."""
    alike = [n for n in d.calls() if n.target == node.target and n.op == node.op]
    if not tries(d, node, change, *alike):
        return
    twins = [n.name for n in alike]

    def apply(draft: Draft):
        change(draft, draft.node(node.name))
        for name in twins:
            if name != node.name:
                try:
                    change(draft, draft.node(name))
                except Inapplicable:
                    continue

    yield Edit(direction, what + (f" ({len(twins)} calls)" if len(twins) > 1 else ""), trigger or what, apply, rank)


class _Change:
    """A call, in the place of a node and of its draft, for a change of arguments that is only tried."""

    def __init__(self, node: Node):
        self.op, self.target, self.name = node.op, node.target, node.name
        self.args, self.kwargs = node.args, node.kwargs

    def set_args(self, node: Any, args: Any, kwargs: Any = None) -> None:
        self.args, self.kwargs = tuple(args), self.kwargs if kwargs is None else kwargs


def changed_calls(changes: Iterable[tuple[Node, str, Any]]) -> dict[Node, Call]:
    """Return the calls after parameters were given other values: for each a call, the parameter and its value."""
    calls: dict[Node, _Change] = {}
    for node, param, value in changes:
        call = calls.setdefault(node, _Change(node))
        assign(call, call, param, value)
    return {node: Call(c.op, c.target, c.args, c.kwargs) for node, c in calls.items()}


def tries(d: Draft, node: Node, change: Callable[[Any, Any], None], *others: Node) -> bool:
    """Return whether the graph runs after a change of one call's arguments, given as ``change(draft, node)``.

    ``others`` are changed with it where they can be.
    """
    calls = {}
    for each in (node, *others):
        call = _Change(each)
        try:
            change(call, call)
        except Inapplicable:
            if each is node:
                return False
            continue
        calls[each] = Call(call.op, call.target, call.args, call.kwargs)
    return d.trial.fits(calls=calls)


def single_site(d: Draft) -> Iterator[Edit]:
    """The same changes of constants at one call alone, where several calls have the same target.

    There a number is also nearly that of the others, or tiny and several times the others'.
    """
    for node in d.calls():
        if node.op == "call_module" or sum(n.target == node.target for n in d.calls()) < 2:
            continue
        op = base_name(node.target)
        for slot in slots(node):
            if slot.param.is_tensor and not isinstance(slot.value, (bool, int, float)):
                continue
            nearly = [slot.value * 1.001] if type(slot.value) is float and math.isfinite(slot.value) else []
            if nearly and 0 < slot.value <= TINY:
                yield from _tiny(d, node, slot)
            for value in (*other_values(d, node, slot), *(value for value in nearly if value)):
                if not tries(d, node, lambda draft, n, p=slot.param.name, v=value: assign(draft, n, p, v)):
                    continue
                yield Edit("values", f"{node.name}.{slot.param.name}: {_show(slot.value)} -> {value!r}",
                           f"{op}.{slot.param.name} changed{class_of(slot, value)}, at one call",
                           lambda draft, name=node.name, p=slot.param.name, v=value:
                           assign(draft, draft.node(name), p, v), rank_of(value))


def _tiny(d: Draft, node: Node, slot: Slot) -> Iterator[Edit]:
    """Yield the edit to a number next to nothing at all calls of a target, five times as much at one of them."""
    twins = [n.name for n in d.calls() if n.target == node.target and n.op == node.op]
    name = slot.param.name
    if not tries(d, node, lambda draft, n: assign(draft, n, name, 5e-9)):
        return

    def apply(draft: Draft):
        for twin in twins:
            assign(draft, draft.node(twin), name, 5e-9 if twin == node.name else 1e-9)

    yield Edit("values", f"{node.name}.{name}: {slot.value!r} -> 5e-09, elsewhere 1e-09",
               f"{base_name(node.target)}.{name} tiny, not equal", apply)


@functools.lru_cache(maxsize=1024)
def _may_have_out(name: str) -> bool:
    schemas = torch._C._jit_get_schemas_for_operator(f"aten::{name}")
    return any(schema.overload_name.endswith("out") for schema in schemas)


def _asks_gradients(d: Draft, node: Node) -> bool:
    """Whether a result or an operand requires grad, which ``out=`` refuses."""
    return any(value is not None and value.requires_grad for value in map(d.tensor, (node, *node.all_input_nodes)))


def _takes_out(d: Draft, node: Node, taken: dict[Any, bool]) -> bool:
    """Whether a torch function has ``out=`` in the form of this call: tried on tensors without data."""
    form = (node.target, len(node.args), tuple(node.kwargs))
    if form not in taken:
        def bare(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                return torch.empty(tuple(map(int, value.shape)), dtype=value.dtype, device="meta")
            return type(value)(map(bare, value)) if isinstance(value, (list, tuple)) else value

        try:
            args, kwargs = torch.fx.map_arg((node.args, node.kwargs), lambda n: bare(d.val(n)))
            node.target(*args, **kwargs, out=bare(d.val(node)))
            taken[form] = True
        except Exception:  # whatever it says: the step would say it again
            taken[form] = False
    return taken[form]


def assign(draft: Any, node: Any, name: str, value: Any, by_position: bool = False) -> None:
    """Give a parameter another value where it stands, or leave it out when ``value`` is MISSING."""
    bound = slots(node)
    slot = next((s for s in bound if s.param.name == name), None)
    if slot is None:
        raise Inapplicable(f"{node.name} has no parameter {name}")
    args, kwargs = list(node.args), dict(node.kwargs)
    spread = bound and len(args) > sum(s.index is not None for s in bound)
    if spread:
        args = [args[0], tuple(args[1:])]
    if slot.keyword:
        kwargs.pop(slot.keyword)
        if value is not MISSING:
            kwargs[slot.keyword] = value
    elif slot.index is not None:
        if value is not MISSING:
            args[slot.index] = value
        else:
            for later in bound:
                if later.index is not None and later.index > slot.index:
                    kwargs[later.param.name] = later.value
            args = args[:slot.index]
    elif value is not MISSING:
        if by_position:
            if slot.param.keyword_only:
                raise Inapplicable("keyword only")
            for earlier in bound:
                if earlier is slot:
                    break
                if earlier.index is None:
                    filler = kwargs.pop(earlier.keyword) if earlier.keyword else earlier.param.default
                    if filler is MISSING:
                        raise Inapplicable("no value before it")
                    args.append(filler)
            args.append(value)
        else:
            kwargs[name] = value
    elif value is MISSING:
        raise Inapplicable("left out already")
    draft.set_args(node, args, kwargs)


def _to_keywords(draft: Draft, node: Node, start: int) -> None:
    bound = [s for s in slots(node) if s.index is not None]
    if start >= len(bound) or len(node.args) != len(bound):
        raise Inapplicable("not that many positional arguments")
    kwargs = {s.param.name: s.value for s in bound[start:]}
    draft.set_args(node, node.args[:start], {**kwargs, **node.kwargs})


def _to_position(draft: Draft, node: Node, name: str) -> None:
    slot = next((s for s in slots(node) if s.param.name == name and s.keyword), None)
    if slot is None:
        raise Inapplicable("not a keyword here")
    value = node.kwargs[slot.keyword]
    node.kwargs = {k: v for k, v in node.kwargs.items() if k != slot.keyword}
    assign(draft, node, name, value, by_position=True)


def _rename(draft: Draft, node: Node, name: str, to: str) -> None:
    slot = next((s for s in slots(node) if s.param.name == name and s.given), None)
    if slot is None or slot.keyword == to:
        raise Inapplicable("not there")
    if slot.index is not None:
        _to_keywords(draft, node, slot.index)
    draft.set_args(node, node.args, {(to if k == name else k): v for k, v in node.kwargs.items()})


def _flip_sequence(draft: Draft, node: Node, i: int) -> None:
    if i >= len(node.args) or not isinstance(node.args[i], (list, tuple)):
        raise Inapplicable("no sequence there")
    value = node.args[i]
    draft.set_args(node, _with(node.args, i, tuple(value) if isinstance(value, list) else list(value)))


def _with(items: Any, i: int, value: Any) -> tuple:
    return (*items[:i], value, *items[i + 1:])


def _show(value: Any) -> str:
    return "default" if value is MISSING else repr(value)


def _equation_variants(text: str) -> Iterator[tuple[str, str]]:
    text = text.replace(" ", "")
    letters = sorted({c for c in text if c.isalpha()})
    for a in letters:
        for b in letters:
            if a != b:
                yield text.replace(a, b), "subscript repeated everywhere"
                for i, c in enumerate(text):
                    if c == a:
                        yield text[:i] + b + text[i + 1:], "subscript replaced"
                swapped = text.translate(str.maketrans(a + b, b + a))
                if "->" in text:
                    left = text.split("->")[0]
                    yield left + "->" + swapped.split("->")[1], "output permuted"
    if "->" in text:
        left, right = text.split("->")
        yield left, "implicit output"
        for i in range(len(right)):
            yield f"{left}->{right[:i]}{right[i + 1:]}", "output summed"
        parts = left.split(",")
        if len(parts) == 2:
            yield f"{parts[1]},{parts[0]}->{right}", "operands swapped"
        yield left.replace(",", ", ") + " -> " + right, "blanks"
        yield text.upper(), "capitals"
        yield "..." + left.replace(",", ",...") + "->..." + right, "ellipsis"
