"""Structure: an operator inserted, removed, exchanged or swapped with its neighbour; a second pattern."""

from __future__ import annotations

import copy
import functools
import operator
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch.fx import Node

from fxpect.specs import TensorSpec, spec_of
from fxpect.strategies.directions.attributes import own_attribute
from fxpect.strategies.directions.operands import kind_of
from fxpect.strategies.draft import Draft, Edit, Inapplicable, is_static
from fxpect.strategies.signatures import base_name
from fxpect.strategies.trial import Call

aten = torch.ops.aten

CASTS = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64)
# name, torch function, ATen overload, arguments after the tensor
UNARY: tuple[tuple[str, Any, Any, tuple], ...] = (
    ("neg", torch.neg, aten.neg.default, ()),
    ("relu", torch.relu, aten.relu.default, ()),
    ("tanh", torch.tanh, aten.tanh.default, ()),
    ("clone", torch.clone, aten.clone.default, ()),
    ("transpose", torch.transpose, aten.transpose.int, (0, -1)),
    ("flip", torch.flip, aten.flip.default, ([0],)),
    ("add one", torch.add, aten.add.Tensor, (1,)),
    ("mul two", torch.mul, aten.mul.Tensor, (2,)),
    *((f"cast to {dtype}", None, aten._to_copy.default, (dtype,)) for dtype in CASTS),
    ("unsqueeze", torch.unsqueeze, aten.unsqueeze.default, (0,)),
    ("unsqueeze last", torch.unsqueeze, aten.unsqueeze.default, (-1,)),
    ("squeeze", torch.squeeze, aten.squeeze.default, ()),
    ("slice", None, aten.slice.Tensor, (0, 1)),
    ("expand", None, aten.expand.default, ()),
    ("detach", torch.detach, aten.detach.default, ()),
    ("alias", None, aten.alias.default, ()),
    ("view as int", None, aten.view.dtype, (torch.int16,)),
    ("flatten", torch.flatten, None, ()),
    ("reshape", None, aten.reshape.default, ([-1],)),
    ("view", None, aten.view.default, ([-1],)),
    ("cumsum", torch.cumsum, aten.cumsum.default, (0,)),
    ("softmax", torch.softmax, None, (-1,)),
    ("sum", torch.sum, aten.sum.default, ()),
    ("sort", None, None, ()),
)
# Views that do nothing, given this of the value they are called on.
KEEPING = {**dict.fromkeys(("view", "reshape", "expand"), lambda value: [*value.shape]),
           "permute": lambda value: [*range(value.dim())]}
HERE = object()  # where the value itself stands among the arguments, if not first
PYTHON: tuple[tuple[str, Any, tuple], ...] = (
    ("x * 2", operator.mul, (2,)), ("2 * x", operator.mul, (2, HERE)), ("x * x", operator.mul, (HERE, HERE)),
    ("x + 1", operator.add, (1,)), ("-x", operator.neg, ()),
)
POINTWISE = frozenset({"neg", "relu", "tanh", "add one", "mul two", *(name for name, _, _ in PYTHON)})
METHODS: tuple[tuple[str, str, tuple], ...] = (
    ("contiguous", "contiguous", ()), ("to f64", "to", (torch.float64,)), ("to f16", "to", (torch.float16,)),
    ("to bf16", "to", (torch.bfloat16,)), ("to i64", "long", ()), ("to c64", "to", (torch.complex64,)),
    ("view flat", "view", (-1,)), ("view as i16", "view", (torch.int16,)), ("view as i32", "view", (torch.int32,)),
    ("slice", "narrow", (0, 0, 1)), ("t", "t", ()), ("permute", "permute", ()), ("bool", "bool", ()),
)
BINARY_FAMILIES = (
    ("add", "sub", "mul", "div", "maximum", "minimum", "rsub", "pow", "atan2", "fmod", "remainder"),
    ("relu", "tanh", "sigmoid", "gelu", "silu", "exp", "sin", "neg", "abs", "sqrt", "hardswish", "leaky_relu", "elu",
     "log_softmax", "softmax", "selu", "relu6", "clone", "sign", "ceil", "reciprocal", "detach", "isnan"),
    ("sum", "mean", "amax", "amin", "prod", "max", "min", "argmax", "argmin", "any", "all", "var", "logsumexp", "norm"),
    ("cat", "concat", "stack", "hstack", "vstack", "dstack"),
    ("split", "chunk", "unbind", "tensor_split", "unsafe_split", "unsafe_chunk"),
    ("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_copy"),
    ("permute", "transpose", "swapaxes", "movedim", "permute_copy"),
    ("mm", "matmul", "bmm", "addmm", "linear", "baddbmm"), ("conv1d", "conv2d", "conv3d", "conv_transpose2d"),
    ("batch_norm", "instance_norm", "layer_norm", "group_norm", "native_batch_norm"),
    ("zeros_like", "ones_like", "empty_like", "full_like", "rand_like"), ("eq", "ne", "lt", "le", "gt", "ge"),
    ("select", "narrow", "slice", "index_select"), ("scatter", "scatter_add", "gather"), ("cumsum", "cumprod"),
    ("clamp", "clip", "clamp_min", "clamp_max", "nan_to_num"), ("dropout", "feature_dropout", "alpha_dropout"),
)


def inserted(d: Draft) -> Iterator[Edit]:
    """An operator put on one edge, or behind a value for all its readers."""
    for node in d.tensors():
        if not node.users:
            continue
        for name, op, target, args, kwargs in _insertable(d, node):
            try:
                value = d.trial.value(Call(op, target, _around(node, args), kwargs))
            except Exception:  # of another dtype or rank than the operator takes
                continue
            users = list(node.users)
            for reader in [None, *(users if len(users) > 1 else [])]:
                if not (d.trial.fits({node: value}) if reader is None else d.trial.fits(edges={reader: {node: value}})):
                    continue
                only = reader and reader.name

                def apply(draft: Draft, at=node.name, op=op, target=target, args=args, kwargs=kwargs, only=only):
                    source = draft.node(at)
                    new = draft.insert(source, op, target, _around(source, args), kwargs)
                    keep = draft.node(only) if only else None
                    source.replace_all_uses_with(
                        new, delete_user_cb=lambda user: user is not new and (keep is None or user is keep))

                where = f" for {only}" if only else ""
                trigger = f"{name} after {kind_of(node)}"
                if name in POINTWISE:  # one flaw, whichever of them shows it
                    trigger = f"pointwise after {kind_of(node)}, {name}"
                yield Edit("inserted", f"{name} after {node.name}{where}", trigger, apply)


def removed(d: Draft) -> Iterator[Edit]:
    """An operator taken out: its readers read one of its operands."""
    for node in d.calls():
        for source in dict.fromkeys(node.all_input_nodes):
            if d.tensor(node) is None or d.tensor(source) is None or not d.trial.fits({node: d.trial.values[source]}):
                continue

            def apply(draft: Draft, name=node.name, source=source.name):
                gone = draft.node(name)
                users = sorted(gone.users)
                gone.replace_all_uses_with(draft.node(source))
                draft.touch(users[0] if users else draft.output)

            yield Edit("removed", f"{node.name} removed, {source.name} read instead",
                       f"{base_name(node.target)} removed", apply)
    yield from _one_of_alike(d)


def _one_of_alike(d: Draft) -> Iterator[Edit]:
    """Yield that alike views, such as the reshapes of several pieces, keep the sizes, and one of them is not there."""
    for name in sorted(KEEPING):
        alike = [node for node in d.calls() if base_name(node.target) == name and node.args
                 and is_static(d.tensor(node.args[0]))]
        if len(alike) < 2 or not d.trial.fits({node: d.trial.values[node.args[0]] for node in alike}):
            continue
        for gone in dict.fromkeys((alike[0], alike[len(alike) // 2], alike[-1])):
            def apply(draft: Draft, gone=gone.name, alike=alike, sizes_of=KEEPING[name]):
                for node in (draft.node(each.name) for each in alike):
                    source = node.args[0]
                    if node.name == gone:
                        node.replace_all_uses_with(source)
                        continue
                    sizes = sizes_of(draft.tensor(source))
                    draft.set_args(node, (source, *sizes) if node.op == "call_method" else (source, sizes), {})

            yield Edit("removed", f"every {name} keeps the sizes, {gone.name} left out", f"{name} left out for one",
                       apply)


def exchanged(d: Draft) -> Iterator[Edit]:
    """An operator exchanged for a relative that takes the same arguments."""
    for node in d.calls():
        if node.op == "call_module" or d.is_number(node):
            continue
        name = base_name(node.target)
        for family in BINARY_FAMILIES:
            if name.rstrip("_") not in family:
                continue
            for other in family:
                for op, target in _targets(d, node, other):
                    call = Call(op, target, node.args, node.kwargs)
                    if target == node.target or not d.trial.fits(calls={node: call}):
                        continue

                    def apply(draft: Draft, at=node.name, op=op, target=target):
                        call = draft.node(at)
                        call.op, call.target = op, target
                        draft.touch(call)

                    yield Edit("exchanged", f"{node.name}: {name} -> {other}", f"{name} -> {other}", apply)


def neighbours(d: Draft) -> Iterator[Edit]:
    """Two operators of one operand each, in the other order."""
    for second in d.calls():
        if len(second.all_input_nodes) != 1:
            continue
        first = second.all_input_nodes[0]
        if first not in d.calls() or len(first.all_input_nodes) != 1 or len(first.users) != 1 or \
                not _swaps(d, first, second):
            continue

        def apply(draft: Draft, a=first.name, b=second.name):
            one, two = draft.node(a), draft.node(b)
            source = one.all_input_nodes[0]
            after = draft.insert(two, one.op, one.target, one.args, dict(one.kwargs))
            two.replace_all_uses_with(after, delete_user_cb=lambda u: u is not after)
            after.replace_input_with(source, two)
            two.replace_input_with(one, source)
            draft.touch(two)

        yield Edit("neighbours", f"{first.name} and {second.name} swapped",
                   f"{base_name(first.target)} and {base_name(second.target)} swapped", apply)


def _swaps(d: Draft, first: Node, second: Node) -> bool:
    """Whether the graph runs with two operators in the other order."""
    one, two = (Call(node.op, node.target, node.args, node.kwargs) for node in (first, second))
    try:
        early = d.trial.value(two, {first: d.trial.values[first.all_input_nodes[0]]})
        return d.trial.fits({second: d.trial.value(one, {first.all_input_nodes[0]: early})})
    except Exception:  # one of them does not take what the other does
        return False


def copies(d: Draft) -> Iterator[Edit]:
    """A second pattern: on the same or other inputs or parameters, fed by the first, or sharing its first steps.

    And two calls whose constants only compare equal, or one call twice.
    """
    calls = [node for node in d.calls() if d.may_be_returned(node)]
    owned = any(node.op == "call_module" or node.op == "get_attr" and d.tensor(node) is not None
                for node in d.graph.nodes)
    ways = ("on the same inputs", "on other inputs", *(("with its own parameters",) if owned else ()))
    ways = tuple(how for how in ways if how != "on other inputs" or _may_be_doubled(d))
    more = ("fed by the first",) * (_fed(d) is not None) + ("interleaved",) * ("on other inputs" in ways)
    for how in (*ways, *more):
        yield Edit("copies", f"two patterns {how}", f"two patterns {how}", lambda draft, how=how: _copy_all(draft, how))
    for node in calls:
        for where, value in [*enumerate(node.args), *node.kwargs.items()]:
            if isinstance(value, float) or type(value) is int and where != "dim" and not isinstance(where, str):
                for how in ways if d.trial.fits(calls={node: _with_constant(node, where, value + 1)}) else ():
                    yield Edit("copies", f"two patterns {how}, {node.name}[{where}] of one is {value + 1}",
                               f"two patterns of another constant {how}",
                               lambda draft, how=how, other=(node.name, where, value + 1):
                               _copy_all(draft, how, constant=other))
    yield from _lookalikes(d)
    yield from _called_twice(d)
    tensors = [n.name for n in d.placeholders if d.tensor(n) is not None]
    if len(tensors) > 1:
        for name in tensors:
            yield Edit("copies", f"two patterns, only {name} differs", "two patterns sharing inputs",
                       lambda draft, name=name: _copy_all(draft, "on other inputs", {name}))
            yield Edit("copies", f"two patterns, only {name} shared", "two patterns sharing inputs",
                       lambda draft, name=name, rest=tuple(t for t in tensors if t != name):
                       _copy_all(draft, "on other inputs", set(rest)))
    for node in calls[1:]:
        yield Edit("copies", f"{node.name} and what follows twice", "overlapping patterns",
                   lambda draft, name=node.name: _copy_all(draft, "on the same inputs", start=name))
    for node in calls:
        for source in dict.fromkeys(node.all_input_nodes):
            like = d.tensor(source)
            if like is None or d.tensor(node) is None:
                continue
            if is_static(like):
                spec = spec_of(like)

                def apply(draft: Draft, name=node.name, source=source.name, spec=spec):
                    new = draft.add_input(spec)
                    call = draft.node(name)
                    twin = draft.repeat(call)
                    twin.replace_input_with(draft.node(source), new)
                    draft.add_output(twin)

                yield Edit("copies", f"{node.name} called again on another {source.name}",
                           f"{kind_of(node)} called again", apply)


def _lookalikes(d: Draft) -> Iterator[Edit]:
    """Yield edits that add two calls whose constants compare equal and are not: 1, 1.0 and True, 0.0 and -0.0."""
    for node in d.placeholders:
        if d.tensor(node) is None or not d.may_be_returned(node):
            continue
        for function, overload, constants in ((torch.add, aten.add.Tensor, (1, 1.0)),
                                              (torch.mul, aten.mul.Tensor, (1, True)),
                                              (torch.div, aten.div.Tensor, (0.0, -0.0))):
            call = d.method(function, overload)
            made = [Call(*call, (node, each)) for each in constants]
            for how in ("returned", "subtracted") if _combines(d, "subtracted", *made) else ("returned",):
                def apply(draft: Draft, at=node.name, made=made, how=how):
                    source = draft.node(at)
                    first, second = ((call.op, call.target, (source, call.args[1])) for call in made)
                    twins = [draft.insert(source, *first)]
                    _add_results(draft, [*twins, draft.insert(twins[0], *second)], how)

                what = f"{function.__name__} of {constants[0]} and of {constants[1]}"
                yield Edit("copies", f"{what} to {node.name}, {how}", f"{what}, {how}", apply)


def _called_twice(d: Draft) -> Iterator[Edit]:
    """Yield that one call is made twice, on the same operands, and both results are returned, or added.

    Not subtracted: a pass that leaves one of them to another kernel may round it otherwise than zero.
    """
    for node in d.calls():
        if isinstance(d.val(node), (tuple, list)) and d.may_be_returned(node):
            yield from _pieces_twice(d, node)
        if d.tensor(node) is None or not d.may_be_returned(node):
            continue
        call = Call(node.op, node.target, node.args, node.kwargs)
        for how in ("returned", "added") if _combines(d, "added", call, call) else ("returned",):
            def apply(draft: Draft, at=node.name, how=how):
                call = draft.node(at)
                twin = draft.repeat(call)
                _add_results(draft, [twin] if how == "returned" and call in draft.returned() else [call, twin], how)

            yield Edit("copies", f"{node.name} twice, {how}", f"{kind_of(node)} twice, {how}", apply)


def _pieces_twice(d: Draft, node: Node) -> Iterator[Edit]:
    """Yield that a call of several results is made twice, and one piece of each is returned."""
    place = next((i for i, value in enumerate(d.val(node)) if isinstance(value, torch.Tensor)), None)
    if place is None:
        return

    def apply(draft: Draft, at=node.name, place=place):
        call = draft.node(at)
        twin = draft.repeat(call)
        for made in (twin, call):
            draft.add_output(draft.insert(twin, "call_function", operator.getitem, (made, place)))

    yield Edit("copies", f"{node.name} twice, piece {place} of each returned", f"{kind_of(node)} twice, returned",
               apply)


_COMBINED = {"subtracted": (torch.sub, aten.sub.Tensor), "added": (torch.add, aten.add.Tensor)}


def _combines(d: Draft, how: str, *calls: Call) -> bool:
    """Whether the results of two calls can be subtracted or added, as those of type bool cannot."""
    try:
        d.trial.value(Call(*d.method(*_COMBINED[how]), tuple(map(d.trial.value, calls))))
    except Exception:  # whatever it says, it would say it of the step
        return False
    return True


def _add_results(draft: Draft, made: list[Node], how: str) -> None:
    """Return calls, of which the last one comes last, or their difference or sum."""
    if how in _COMBINED:
        made = [draft.insert(made[-1], *draft.method(*_COMBINED[how]), tuple(made))]
    for call in made:
        draft.add_output(call)


def random_operators(d: Draft) -> Iterator[Edit]:
    """Random draws: noise added to a value, one draw or two equal ones, dropout between operators."""
    for node in d.tensors():
        value = d.tensor(node)
        if value is None or not value.dtype.is_floating_point or node.op == "get_attr" or not d.may_be_returned(node):
            continue
        draws = [("rand_like", torch.rand_like, aten.rand_like.default, ()),
                 ("bernoulli", torch.bernoulli, aten.bernoulli.p, (0.5,)),
                 ("randn_like", torch.randn_like, aten.randn_like.default, ()),
                 ("uniform", None, aten.uniform.default, ()), ("exponential", None, aten.exponential.default, ()),
                 ("normal", None, aten.normal_functional.default, ()),
                 ("randint_like", torch.randint_like, aten.randint_like.default, (7,)),
                 ("native_dropout", torch.native_dropout, aten.native_dropout.default, (0.5, True)),
                 ("dropout", F.dropout, None, (0.5, True))]
        for name, function, overload, args in draws:
            op, target = d.method(function, overload)
            if target is None or d.promises.inference and "dropout" in name:
                continue
            for times, how in ((1, "returned"), (2, "returned"), (2, "subtracted")):
                def apply(draft: Draft, at=node.name, name=name, op=op, target=target, args=args, times=times, how=how):
                    source = draft.node(at)
                    made = [draft.insert(source, op, target, (source, *args)) for _ in range(times)]
                    if name == "native_dropout":
                        made = [draft.insert(made[0], "call_function", operator.getitem, (n, 0)) for n in made]
                    if how == "subtracted":
                        sub = draft.method(torch.sub, aten.sub.Tensor)
                        made = [draft.insert(made[0], *sub, (made[0], made[1]))]
                    for new in reversed(made):
                        draft.add_output(new)

                yield Edit("random", f"{times} {name}({node.name}) {how}", f"{times} {name}", apply)
    yield from _draws_in_order(d)


def _draws_in_order(d: Draft) -> Iterator[Edit]:
    """Yield a draw that reads a result, and after it one that reads nothing of it: what moves the result swaps them."""
    given = next((node for node in d.placeholders if _is_float(d, node)), None)
    for node in d.calls():
        if given is None or not _is_float(d, node) or not d.may_be_returned(node):
            continue

        def apply(draft: Draft, at=node.name, given=given.name):
            call, target = draft.node(at), draft.method(torch.rand_like, aten.rand_like.default)
            first = draft.insert(call, *target, (call,))
            draft.add_output(first)
            draft.add_output(draft.insert(first, *target, (draft.node(given),)))

        yield Edit("random", f"rand_like({node.name}), then rand_like({given.name})", "two draws in order", apply)


# ---------------------------------------------------------------------- helpers


def _is_float(d: Draft, node: Node) -> bool:
    value = d.tensor(node)
    return value is not None and value.dtype.is_floating_point


def _around(value: Node, args: tuple) -> tuple:
    """Return arguments with a value in the marked places, or before them all."""
    return tuple(value if arg is HERE else arg for arg in args) if HERE in args else (value, *args)


def _insertable(d: Draft, node: Node) -> Iterator[tuple[str, str, Any, tuple, dict]]:
    value = d.tensor(node)
    assert value is not None
    rank = value.dim()
    for name, function, overload, args in UNARY:
        target = overload if d.functional else function
        kwargs: dict[str, Any] = {}
        if target is aten._to_copy.default:
            args, kwargs = (), {"dtype": args[0]}
        if name == "expand":
            args = ([2, *value.shape],)
            if not is_static(value):
                continue
        if target is not None:
            yield name, "call_function", target, args, kwargs
    if not d.functional:
        for name, function, args in PYTHON:
            yield name, "call_function", function, args, {}
        for name, method, args in METHODS:
            if method == "permute":
                args = (*range(rank - 1, -1, -1),)
            yield name, "call_method", method, args, {}
    elif rank > 1:
        yield "permute", "call_function", aten.permute.default, ([*range(rank - 1, -1, -1)],), {}
    if rank > 1:
        shape = [*value.shape[:-2], -1]
        if all(isinstance(s, int) for s in shape):
            if d.functional:
                yield "merge last dims", "call_function", aten.reshape.default, (shape,), {}
            else:
                yield "merge last dims", "call_method", "reshape", tuple(shape), {}


def _targets(d: Draft, node: Node, name: str) -> Iterator[tuple[str, Any]]:
    """Every callable of this name in the dialect of the stage."""
    if d.functional:
        packet = getattr(aten, name, None)
        for overload in packet.overloads() if packet is not None else ():
            target = getattr(packet, overload)
            if not target._schema.is_mutable and "out" not in overload:
                yield "call_function", target
        return
    for home in (torch, F, torch.special):
        if callable(getattr(home, name, None)):
            yield "call_function", getattr(home, name)
            break
    if hasattr(torch.Tensor, name):
        yield "call_method", name


def _another(held: Any) -> Any:
    """Return a tensor or module like the one given, with other values in what is a parameter."""
    if isinstance(held, torch.Tensor):
        other = held.detach() / 2 if held.dtype.is_floating_point else held.detach()
        return torch.nn.Parameter(other, held.requires_grad) if isinstance(held, torch.nn.Parameter) else other
    other = copy.deepcopy(held)
    with torch.no_grad():
        for parameter in other.parameters():
            if parameter.dtype.is_floating_point:
                parameter.div_(2)
    return other


def _with_constant(node: Node, where: int | str, value: Any) -> Call:
    """Return the call with another constant at a place or for a keyword."""
    args, kwargs = node.args, dict(node.kwargs)
    if isinstance(where, str):
        kwargs[where] = value
    else:
        args = (*args[:where], value, *args[where + 1:])
    return Call(node.op, node.target, args, kwargs)


def _may_be_doubled(d: Draft) -> bool:
    """Whether every tensor that is given has a spec, of which another input can be made."""
    return all(isinstance(spec, TensorSpec) and not spec.is_dynamic
               for node, spec in zip(d.placeholders, d.inputs, strict=True) if d.tensor(node) is not None)


def _fed(d: Draft) -> Node | None:
    """Return the input that has the type of the first result."""
    try:
        first = next((n for n in d.output_list() if isinstance(n, Node) and n.op != "placeholder"), None)
    except Inapplicable:
        return None
    like = d.tensor(first)
    held = [(p, d.tensor(p)) for p in d.placeholders]
    return next((p for p, value in held if like is not None and value is not None
                 and (value.shape, value.dtype) == (like.shape, like.dtype)), None)


def _copy_all(draft: Draft, how: str, other_inputs: set[str] | None = None, start: str | None = None,
              constant: tuple[str, Any, Any] | None = None) -> None:
    """Append a copy of the computation and return its results too; ``constant`` is (node, argument, new value)."""
    results = [n for n in draft.output_list()
               if isinstance(n, Node) and n.op != "placeholder" and draft.may_be_returned(n)]
    if not results:
        raise Inapplicable("nothing is computed")
    mapping: dict[Node, Node] = {}
    if how in ("on other inputs", "interleaved"):
        for node, spec in list(zip(draft.placeholders, draft.inputs, strict=True)):
            if draft.tensor(node) is not None and (other_inputs is None or node.name in other_inputs):
                if not isinstance(spec, TensorSpec) or spec.is_dynamic:
                    raise Inapplicable("an input without a spec of its own")
                mapping[node] = draft.add_input(spec.replace(seed=None), node.target)
    if how == "with its own parameters":
        for node in draft.graph.find_nodes(op="get_attr"):
            if draft.tensor(node) is not None:
                value = functools.reduce(getattr, node.target.split("."), draft.gm)
                mapping[node] = draft.insert(node, "get_attr", own_attribute(draft, node.target, _another(value)))
    if how == "fed by the first":
        match = _fed(draft)
        if match is None:
            raise Inapplicable("no input has the result's type")
        mapping[match] = results[0]
    calls = [node for node in draft.calls() if draft.may_be_returned(node)]
    if start is not None:
        calls = calls[calls.index(draft.node(start)):]
    point: Node = calls[-1]
    for node in calls:
        args = torch.fx.map_arg(node.args, lambda n: mapping.get(n, n))
        kwargs = torch.fx.map_arg(node.kwargs, lambda n: mapping.get(n, n))
        target = node.target
        if how == "with its own parameters" and node.op == "call_module":
            target = own_attribute(draft, target, _another(draft.gm.get_submodule(target)))
        point = draft.insert(node if how == "interleaved" else point, node.op, target, args, kwargs)
        mapping[node] = point
        if constant is not None and node.name == constant[0]:
            point.args, point.kwargs = _with_constant(point, *constant[1:])[2:]
    for result in results:
        if result in mapping:
            draft.add_output(mapping[result])
