"""Correct passes over ATen graphs: no input near their models makes them wrong."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node
from torch.fx.passes.infra.pass_base import PassResult

from test.quality.graph_facts import (
    FRESH,
    argument,
    aten,
    calls,
    draws,
    drop,
    drop_unread,
    emit,
    form,
    is_call,
    may_stand_for,
    rank,
    replace,
    shown,
    static,
    tensor,
    value,
    writes,
)


def keep_everything(gm: GraphModule) -> PassResult:
    """Change nothing, and say so."""
    return PassResult(gm, False)


def rename_values(gm: GraphModule) -> GraphModule:
    """Give every computed value another name, in a new graph."""
    graph, made = Graph(), {}
    for node in gm.graph.nodes:
        made[node] = graph.node_copy(node, made.__getitem__)
        if node.op == "call_function":
            made[node]._rename(f"value_{node.name}")
    graph._codegen = gm.graph._codegen
    gm.graph = graph
    return gm


def remove_dead_code(graph: Graph) -> bool:
    """Take out pure calls that nothing reads; what writes, draws or checks stays."""
    changed = False
    for node in reversed(list(graph.nodes)):
        if node.op == "call_function" and not node.users and not node.is_impure() and not draws(node):
            graph.erase_node(node)
            changed = True
    return changed


def remove_double_negation(graph: Graph) -> bool:
    """neg(neg(x)) is x."""
    changed = False
    for outer in calls(graph, aten.neg.default):
        inner = argument(outer, "self")
        if not is_call(inner, aten.neg.default):
            continue
        source = argument(inner, "self")
        if may_stand_for(source, outer):
            replace(outer, source)
            drop_unread(inner)
            changed = True
    return changed


def remove_transpose_pairs(graph: Graph) -> bool:
    """transpose(transpose(x, a, b), a, b) is x."""
    changed = False
    for outer in calls(graph, aten.transpose.int):
        inner = argument(outer, "self")
        if not is_call(inner, aten.transpose.int):
            continue
        source = argument(inner, "self")
        dims = [{argument(call, name) % rank(call) for name in ("dim0", "dim1")} for call in (outer, inner)]
        if dims[0] == dims[1] and may_stand_for(source, outer):
            replace(outer, source)
            drop_unread(inner)
            changed = True
    return changed


def remove_repeated_relu(graph: Graph) -> bool:
    """relu(relu(x)) is relu(x)."""
    changed = False
    for outer in calls(graph, aten.relu.default):
        inner = argument(outer, "self")
        if is_call(inner, aten.relu.default) and may_stand_for(inner, outer):
            replace(outer, inner)
            changed = True
    return changed


def _leaves_unchanged(node: Node) -> bool:
    """Whether a call adds or subtracts nothing at all: not the sign of a zero, nor a dtype."""
    number, dtype = argument(node, "other"), node.meta["val"].dtype
    if type(number) not in (int, float) or number != 0 or argument(node, "alpha", 1) != 1:
        return False
    if not dtype.is_floating_point:
        return not dtype.is_complex
    negative = str(number).startswith("-")
    return negative if node.target is aten.add.Tensor else not negative


def remove_added_zero(graph: Graph) -> bool:
    """x + 0 is x for integers; x - 0.0 and x + -0.0 are x for floats, where x + 0.0 makes +0.0 of -0.0."""
    changed = False
    for node in calls(graph, aten.add.Tensor, aten.sub.Tensor):
        source = argument(node, "self")
        if _leaves_unchanged(node) and may_stand_for(source, node):
            replace(node, source)
            changed = True
    return changed


def remove_factor_one(graph: Graph) -> bool:
    """x * 1 and x / 1 are x, but for complex numbers, whose infinities become NaN."""
    changed = False
    for node in calls(graph, aten.mul.Tensor, aten.div.Tensor):
        source, number = argument(node, "self"), argument(node, "other")
        if type(number) not in (int, float, bool) or number != 1 or node.meta["val"].dtype.is_complex:
            continue
        if may_stand_for(source, node):
            replace(node, source)
            changed = True
    return changed


def _signature(node: Node) -> str:
    """Return what two calls must share to compute the same: target and every argument, types of numbers included."""
    bound = {a.name: argument(node, a.name, "default") for a in node.target._schema.arguments}
    return f"{node.target} {torch.fx.map_arg(bound, lambda n: f'%{n.name}')!r}"


def share_equal_calls(graph: Graph) -> bool:
    """Common subexpressions: of two pure calls with equal arguments the later one goes."""
    if writes(graph):
        return False
    changed, first = False, {}
    for node in calls(graph, *FRESH):
        key = _signature(node)
        known = first.setdefault(key, node)
        if known is not node and not (shown(node) and shown(known)):
            replace(node, known)
            changed = True
    return changed


def fold_constant_sums(graph: Graph) -> bool:
    """full(c) + d and full(c) * d are full of the number that the addition really gives in that dtype."""
    changed = False
    for node in calls(graph, aten.add.Tensor, aten.mul.Tensor):
        source, number = argument(node, "self"), argument(node, "other")
        if not is_call(source, aten.full.default) or type(number) not in (bool, int, float):
            continue
        if type(argument(source, "fill_value")) not in (bool, int, float):
            continue
        dtype = node.meta["val"].dtype
        one = torch.full((1,), argument(source, "fill_value"), dtype=source.meta["val"].dtype)
        positional = "self" not in node.kwargs and "other" not in node.kwargs
        result = node.target(one, number, **node.kwargs) if positional else None
        if result is None or result.dtype != dtype or dtype.is_complex:
            continue
        with graph.inserting_before(node):
            size = argument(source, "size")
            new = graph.call_function(
                aten.full.default, (size, result.item()), {"dtype": dtype, "device": node.meta["val"].device})
        new.meta = dict(node.meta)
        replace(node, new)
        changed = True
    return changed


def copy_single_cat(graph: Graph) -> bool:
    """cat([x], d) is a copy of x."""
    changed = False
    for node in calls(graph, aten.cat.default):
        parts = argument(node, "tensors")
        if len(parts) != 1:
            continue
        new = emit(node, aten.clone.default, (parts[0],))
        if form(new) == form(node):
            replace(node, new)
            changed = True
        else:
            drop(new)
    return changed


def sink_cat_below_relu(graph: Graph) -> bool:
    """relu(cat([a, b], d)) is cat([relu(a), relu(b)], d)."""
    changed = False
    for outer in calls(graph, aten.relu.default):
        cat = argument(outer, "self")
        if not is_call(cat, aten.cat.default) or len(cat.users) != 1 or writes(graph):
            continue
        parts, dim = argument(cat, "tensors"), argument(cat, "dim", 0)
        if len({part.meta["val"].dtype for part in parts}) != 1:
            continue
        below = [emit(outer, aten.relu.default, (part,)) for part in parts]
        new = emit(outer, aten.cat.default, (below, dim))
        if form(new) != form(outer):
            drop(*below, new)
            continue
        replace(outer, new)
        drop_unread(cat)
        changed = True
    return changed


def _pieces(parts: Any) -> Node | None:
    """Return the split whose pieces, all of them and in order, these are."""
    if not parts or not all(is_call(part, operator.getitem) for part in parts):
        return None
    split = parts[0].args[0]
    if any(part.args[0] is not split for part in parts) or \
            not is_call(split, aten.split.Tensor, aten.split_with_sizes.default):
        return None
    count = len(split.meta["val"])
    return split if [part.args[1] % count for part in parts] == list(range(count)) else None


def copy_split_cat(graph: Graph) -> bool:
    """cat(split(x, n, d), d) is a copy of x."""
    changed = False
    for node in calls(graph, aten.cat.default):
        split = _pieces(argument(node, "tensors"))
        if split is None:
            continue
        source = argument(split, "self")
        if argument(node, "dim", 0) % rank(source) != argument(split, "dim", 0) % rank(source) or writes(graph):
            continue
        new = emit(node, aten.clone.default, (source,))
        if form(new) != form(node):
            drop(new)
            continue
        pieces = argument(node, "tensors")
        replace(node, new)
        drop_unread(*reversed(pieces), split)
        changed = True
    return changed


def merge_views(graph: Graph) -> bool:
    """view(view(x, s), t) is view(x, t)."""
    changed = False
    for outer in calls(graph, aten.view.default):
        inner = argument(outer, "self")
        if not is_call(inner, aten.view.default):
            continue
        source, size = argument(inner, "self"), argument(outer, "size")
        if not static(outer) or not static(source):
            if not tensor(source).is_contiguous():
                continue
            with graph.inserting_before(outer):
                new = graph.call_function(aten.view.default, (source, size))
            new.meta = dict(outer.meta)
        else:
            try:
                new = emit(outer, aten.view.default, (source, size))
            except (RuntimeError, ValueError):
                continue
            if form(new) != form(outer):
                drop(new)
                continue
        replace(outer, new)
        changed = True
    return changed


def merge_permutes(graph: Graph) -> bool:
    """permute(permute(x, p), q) is permute(x, p[q])."""
    changed = False
    for outer in calls(graph, aten.permute.default):
        inner = argument(outer, "self")
        if not is_call(inner, aten.permute.default):
            continue
        source, n = argument(inner, "self"), len(argument(inner, "dims"))
        first, second = ([d % n for d in argument(call, "dims")] for call in (inner, outer))
        with graph.inserting_before(outer):
            new = graph.call_function(aten.permute.default, (source, [first[d] for d in second]))
        new.meta = dict(outer.meta)
        replace(outer, new)
        changed = True
    return changed


def slice_for_split(graph: Graph) -> bool:
    """The piece i of split(x, n, d) is a slice of x."""
    changed = False
    for split in calls(graph, aten.split.Tensor, aten.split_with_sizes.default):
        source = argument(split, "self")
        readers = [user for user in split.users if is_call(user, operator.getitem)]
        if not static(source) or any(type(user.args[1]) is not int for user in readers):
            continue
        dim = argument(split, "dim", 0) % rank(source)
        sizes = [piece.shape[dim] for piece in value(split)]
        for reader in [user for user in split.users if is_call(user, operator.getitem)]:
            start = sum(sizes[:reader.args[1] % len(sizes)])
            new = emit(reader, aten.slice.Tensor, (source, dim, start, start + sizes[reader.args[1]]))
            if form(new) != form(reader):
                drop(new)
                continue
            replace(reader, new)
            changed = True
        drop_unread(split)
    return changed


def drop_inert_dropout(graph: Graph) -> bool:
    """dropout(x, p, train=False) returns x itself."""
    changed = False
    for node in calls(graph, aten.dropout.default):
        source = argument(node, "input")
        if argument(node, "train") is False and form(source) == form(node):
            replace(node, source)
            changed = True
    return changed


def postpone_calls(graph: Graph) -> bool:
    """Compute every value right before its first reader: another order of the same pure calls."""
    nodes = list(graph.nodes)
    if writes(graph) or any(draws(node) or node.op == "call_function" and node.is_impure() for node in nodes):
        return False
    order: dict[Node, None] = {}

    def visit(node: Node) -> None:
        if node not in order:
            for operand in node.all_input_nodes:
                visit(operand)
            order[node] = None

    for node in (graph.output_node(), *nodes):  # what nobody reads comes last
        visit(node)
    moved = [node for node in order if node.op not in ("placeholder", "output")]
    for node in moved:
        graph.output_node().prepend(node)
    return nodes != list(graph.nodes)


def replace_single_relus(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """relu(relu(x)) is relu(x), in an exported program."""
    gm = program.graph_module
    if remove_repeated_relu(gm.graph):
        gm.graph.lint()
        gm.recompile()
    return program
