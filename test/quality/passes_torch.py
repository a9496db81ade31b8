"""Correct passes over torch-level graphs, which may write in place, alias and require gradients."""

from __future__ import annotations

import operator

import torch
import torch.nn.functional as F
from torch.fx import Graph, GraphModule, Node
from torch.fx.passes.infra.pass_base import PassResult

from test.quality.graph_facts import calls, drop, drop_unread, emit, form, is_call, replace, tensor, writes

CAT_NAMES = (torch.cat, torch.concat, torch.concatenate)


def respelled(node: Node, target: object, args: tuple, kwargs: dict) -> None:
    """Put an equal call in the place of a node, with its metadata."""
    with node.graph.inserting_before(node):
        new = node.graph.call_function(target, args, kwargs)
    new.meta = dict(node.meta)
    replace(node, new)


def spell_relu_as_function(graph: Graph) -> bool:
    """x.relu() and F.relu(x) are torch.relu(x)."""
    changed = False
    for node in list(graph.nodes):
        method = node.op == "call_method" and node.target == "relu"
        inplace = node.kwargs.get("inplace", False) is not False
        if (method or is_call(node, F.relu)) and len(node.args) == 1 and not inplace and \
                node.kwargs.keys() <= {"inplace"}:
            respelled(node, torch.relu, node.args, {})
            changed = True
    return changed


def spell_cat_with_dim(graph: Graph) -> bool:
    """torch.concat, concatenate and cat, the dim given in any way, are torch.cat(tensors, dim=) with a dim >= 0."""
    changed = False
    for node in calls(graph, *CAT_NAMES):
        given = dict(zip(("tensors", "dim"), node.args, strict=False)) | node.kwargs
        if not given.keys() <= {"tensors", "dim", "axis"} or tensor(node) is None:
            continue
        dim = given.get("dim", given.get("axis", 0))
        dims = {tensor(part).dim() for part in given["tensors"] if tensor(part) is not None}
        # An in-place call further down, such as unsqueeze_, changes the shape on record of what it writes to.
        if dims != {tensor(node).dim()} or type(dim) is not int:
            continue
        kwargs = {"dim": dim % max(dims)}
        if node.target is torch.cat and node.args == (given["tensors"],) and node.kwargs == kwargs:
            continue
        respelled(node, torch.cat, (given["tensors"],), kwargs)
        changed = True
    return changed


def spell_add_as_function(graph: Graph) -> bool:
    """x + y, x.add(y, alpha=k) and torch.add(x, y, alpha=k), of tensors, are torch.add."""
    changed = False
    for node in list(graph.nodes):
        spelled = is_call(node, operator.add) or node.op == "call_method" and node.target == "add"
        if spelled and len(node.args) == 2 and all(tensor(arg) is not None for arg in node.args):
            if node.kwargs.keys() <= {"alpha"}:
                respelled(node, torch.add, node.args, node.kwargs)
                changed = True
    return changed


def spell_division_as_function(graph: Graph) -> bool:
    """x / y and x.div(y, rounding_mode=m), of tensors, are torch.div."""
    changed = False
    for node in list(graph.nodes):
        spelled = is_call(node, operator.truediv) or node.op == "call_method" and node.target == "div"
        if spelled and len(node.args) == 2 and all(tensor(arg) is not None for arg in node.args):
            if node.kwargs.keys() <= {"rounding_mode"}:
                respelled(node, torch.div, node.args, node.kwargs)
                changed = True
    return changed


def drop_dropout_of_evaluation(graph: Graph) -> bool:
    """F.dropout(x, p, training=False) returns x itself."""
    changed = False
    for node in calls(graph, F.dropout):
        names = ("input", "p", "training", "inplace")
        given = dict(zip(names, node.args, strict=False)) | node.kwargs
        if given.get("training", True) is False and form(given["input"]) == form(node):
            replace(node, given["input"])
            changed = True
    return changed


def multiply_for_einsum(graph: Graph) -> bool:
    """einsum("ij,jk->ik", a, b) is a @ b."""
    changed = False
    for node in calls(graph, torch.functional.einsum, torch.einsum):
        if len(node.args) != 3 or node.kwargs or type(node.args[0]) is not str or \
                any(tensor(a) is None for a in node.args[1:]):
            continue
        equation = node.args[0].replace(" ", "")
        operands, arrow, result = equation.partition("->")
        left, comma, right = operands.partition(",")
        fits = arrow and comma and len(left) == len(right) == len(result) == 2 and len(set(operands)) == 4
        if not fits or left[1] != right[0] or result != left[0] + right[1] or not (left + right).isalpha():
            continue
        a, b = map(tensor, node.args[1:])
        # einsum broadcasts a size of one and takes a sum over it for a product, which may have other strides; @ does
        # neither, and knows no bools.
        if a.dtype != b.dtype or a.dtype is torch.bool or str(a.shape[1]) != str(b.shape[0]) or str(a.shape[1]) == "1":
            continue
        new = emit(node, torch.matmul, node.args[1:])
        if form(new) != form(node):
            drop(new)
            continue
        replace(node, new)
        changed = True
    return changed


def narrow_for_split(graph: Graph) -> bool:
    """The piece i of split(x, n, d) is narrow(x, d, ...)."""
    changed = False
    for split in list(graph.nodes):
        if not (is_call(split, torch.split) or split.op == "call_method" and split.target == "split") or writes(graph):
            continue
        given = dict(zip(("tensor", "sizes", "dim"), split.args, strict=False)) | split.kwargs
        readers = [u for u in split.users if is_call(u, operator.getitem) and type(u.args[1]) is int]
        if not given.keys() <= {"tensor", "sizes", "dim"} or len(readers) != len(split.users) or "tensor" not in given:
            continue
        source = given["tensor"]
        dim = given.get("dim", 0) % max(tensor(source).dim(), 1)
        sizes = [piece.shape[dim] for piece in split.meta["example_value"]]
        if any(type(size) is not int for size in sizes):
            continue
        for reader in readers:
            i = reader.args[1] % len(sizes)
            new = emit(reader, torch.narrow, (source, dim, sum(sizes[:i]), sizes[i]))
            if form(new) == form(reader):
                replace(reader, new)
                changed = True
            else:
                drop(new)
        drop_unread(split)
    return changed


def merge_linears(graph: Graph) -> bool:
    """Linears of one input are one linear with the weights of all, and pieces of its result."""
    if writes(graph):
        return False
    groups: dict[tuple, list[Node]] = {}
    for node in calls(graph, F.linear):
        if len(node.args) != 3 or node.kwargs or any(tensor(arg) is None for arg in node.args):
            continue
        x, weight, bias = map(tensor, node.args)
        # Where one result is not differentiable, its weight would get a gradient of zeros for none at all.
        if x.requires_grad or weight.requires_grad or bias.requires_grad:
            continue
        if weight.dim() == 2 and x.dtype == weight.dtype == bias.dtype and type(weight.shape[0]) is int \
                and bias.shape == weight.shape[:1]:
            members = groups.setdefault((node.args[0], str(weight.shape[1])), [])
            if all(operand < (members or [node])[0] for operand in node.all_input_nodes):
                members.append(node)
    return any([_merge(members) for members in groups.values() if len(members) > 1])


def _merge(members: list[Node]) -> bool:
    first = members[0]
    weight, bias = (emit(first, torch.cat, ([node.args[i] for node in members], 0)) for i in (1, 2))
    both = emit(first, F.linear, (first.args[0], weight, bias))
    made, pieces, start = [weight, bias, both], [], 0
    for node in members:
        size = tensor(node).shape[-1]
        made.append(emit(first, torch.narrow, (both, -1, start, size)))
        pieces.append(emit(first, torch.clone, (made[-1],), {"memory_format": torch.contiguous_format}))
        made.append(pieces[-1])
        start += size
    if any(form(piece) != form(node) for piece, node in zip(pieces, members, strict=True)):
        drop(*made)
        return False
    for piece, node in zip(pieces, members, strict=True):
        replace(node, piece)
    return True


def say_sizes_of_flatten(gm: GraphModule) -> PassResult:
    """x.view(-1) of a static tensor is x.view(n)."""
    changed = False
    for node in list(gm.graph.nodes):
        if node.op == "call_method" and node.target == "view" and node.args[1:] == (-1,) and not node.kwargs:
            count = tensor(node).numel()
            if type(count) is int:
                node.args = (node.args[0], count)
                changed = True
    return PassResult(gm, changed)
