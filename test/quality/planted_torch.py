"""Bugs planted in the passes over torch-level graphs."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from fxpect import T
from test.quality.correct_passes import HEADS
from test.quality.planting import Planted

x28, x44 = T(2, 8), T(4, 4)


def _joined(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.concat([x, y], 1) * 2


def _stacked(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.cat([x, y]) * 2


def _relu_method(x: torch.Tensor) -> torch.Tensor:
    return x.relu() * 2


def _projected(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return F.linear(x, w).relu()


def _rounded(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return x.div(y, rounding_mode=None) * 2


def _cut(x: torch.Tensor) -> torch.Tensor:
    first, second = x.split([4, 4], 1)
    return first * second.sum()


def _three(x: torch.Tensor, *state: torch.Tensor) -> tuple[torch.Tensor, ...]:
    first, second, third = (F.linear(x, *state[i : i + 2]) for i in (0, 2, 4))
    return first, torch.relu(second), torch.exp(third)


SPELLING = (
    Planted("ignores inplace", "spell_relu_as_function", (("and not inplace and", "and"),), "effects", ("values",)),
    Planted(
        "writes where one spelling does not",
        "spell_relu_as_function",
        (
            (
                "respelled(node, torch.relu, node.args, {})",
                "respelled(node, torch.relu if method else torch.relu_, node.args, {})",
            ),
        ),
        "effects",
        ("spellings",),
        only=("spellings",),
        model=_relu_method,
        inputs=(x28,),
    ),
    Planted(
        "detaches",
        "spell_relu_as_function",
        (
            (
                "respelled(node, torch.relu, node.args, {})",
                "respelled(node, torch.relu, (emit(node, torch.detach, node.args) if method else node.args[0],), {})",
            ),
        ),
        "gradients",
        ("gradients",),
    ),
    Planted(
        "takes every input for one that asks for gradients",
        "spell_relu_as_function",
        (
            (
                "    return changed",
                "    first, *more = graph.find_nodes(op='placeholder')\n"
                "    if not more and tensor(first).dtype.is_floating_point and not tensor(first).requires_grad:\n"
                "        raise ValueError('no gradient')\n"
                "    return changed",
            ),
        ),
        "crash",
        ("gradients",),
        only=("gradients",),
        model=_relu_method,
        inputs=(T(2, 8, requires_grad=True),),
    ),
    Planted(
        "erases what switches gradients",
        "spell_relu_as_function",
        (
            (
                "    return changed",
                "    for node in list(graph.nodes):\n"
                "        if node.target is torch._C._set_grad_enabled:\n"
                "            graph.erase_node(node)\n            changed = True\n"
                "    return changed",
            ),
        ),
        "gradients",
        ("regions",),
        only=("regions", "gradients"),
    ),
    Planted(
        "erases what begins and ends autocast",
        "spell_relu_as_function",
        (
            (
                "    return changed",
                "    for node in reversed(list(graph.nodes)):\n"
                "        if getattr(node.target, '__module__', '') == 'torch.amp.autocast_mode':\n"
                "            graph.erase_node(node)\n            changed = True\n"
                "    return changed",
            ),
        ),
        "numerics",
        ("regions",),
        only=("regions",),
        model=_projected,
        inputs=(x28, T(4, 8)),
    ),
    Planted(
        "drops out=",
        "spell_cat_with_dim",
        (('<= {"tensors", "dim", "axis"}', '<= {"tensors", "dim", "axis", "out"}'),),
        "effects",
        ("out",),
        only=("out",),
    ),
    Planted(
        "does not know axis=",
        "spell_cat_with_dim",
        (('given.get("dim", given.get("axis", 0))', 'given.get("dim", 0)'),),
        "numerics",
        ("keywords",),
        only=("keywords",),
    ),
    Planted(
        "takes a negative dim for zero",
        "spell_cat_with_dim",
        (("dim % max(dims)", "max(dim, 0)"),),
        "numerics",
        ("values",),
        model=_joined,
        inputs=(x28, T(2, 8)),
    ),
    Planted(
        "takes every join for a cat",
        "spell_cat_with_dim",
        (("calls(graph, *CAT_NAMES)", "calls(graph, *CAT_NAMES, torch.hstack)"),),
        "numerics",
        ("exchanged",),
        only=("exchanged",),
        model=_stacked,
        inputs=(x28, x28),
    ),
    Planted(
        "adds a list to what may be a tuple",
        "spell_cat_with_dim",
        (
            (
                'respelled(node, torch.cat, (given["tensors"],), kwargs)',
                'respelled(node, torch.cat, (given["tensors"] + [],), kwargs)',
            ),
        ),
        "crash",
        ("sequences",),
        only=("sequences",),
    ),
    Planted(
        "drops alpha",
        "spell_add_as_function",
        (("torch.add, node.args, node.kwargs)", "torch.add, node.args, {})"),),
        "numerics",
        ("values",),
        only=("numerics",),
    ),
    Planted(
        "swaps the operands of a sum",
        "spell_add_as_function",
        (("torch.add, node.args, node.kwargs)", "torch.add, node.args[::-1], node.kwargs)"),),
        "numerics",
        ("values",),
    ),
    Planted(
        "drops an in-place write",
        "spell_add_as_function",
        (('node.target == "add"', 'node.target in ("add", "add_")'),),
        "effects",
        ("in_place",),
        only=("in_place",),
    ),
    Planted(
        "gives the sum its first operand's type",
        "spell_add_as_function",
        (
            (
                "                respelled(node, torch.add, node.args, node.kwargs)\n",
                "                node.meta = dict(node.args[0].meta)\n"
                "                respelled(node, torch.add, node.args, node.kwargs)\n",
            ),
        ),
        "metadata",
        ("dtypes", "fresh_operands", "sizes"),
        only=("metadata",),
    ),
    Planted(
        "takes a number for a tensor operand",
        "spell_add_as_function",
        (
            (" and all(tensor(arg) is not None for arg in node.args)", ""),
            (
                "respelled(node, torch.add, node.args, node.kwargs)",
                "respelled(node, torch.add, node.args, node.kwargs if tensor(node.args[0]).dim() < 9 else {})",
            ),
        ),
        "crash",
        ("fresh_operands",),
        only=("fresh_operands",),
        within=100,
    ),
    Planted(
        "drops the rounding mode",
        "spell_division_as_function",
        (("torch.div, node.args, node.kwargs)", "torch.div, node.args, {})"),),
        "numerics",
        ("values",),
        model=_rounded,
        inputs=(x28, x28),
    ),
    Planted(
        "takes a remainder for a quotient",
        "spell_division_as_function",
        (('node.target == "div"', 'node.target in ("div", "remainder")'),),
        "numerics",
        ("exchanged",),
        within=120,
    ),
)

REWRITES = (
    Planted(
        "reads training by keyword alone",
        "drop_dropout_of_evaluation",
        (('given.get("training", True) is False', 'not node.kwargs.get("training", False)'),),
        "numerics",
        ("defaults", "values", "random"),
        within=100,
    ),
    Planted(
        "ignores the order of the result",
        "multiply_for_einsum",
        ((" or result != left[0] + right[1]", ""),),
        "numerics",
        ("equations",),
        only=("equations",),
    ),
    Planted(
        "ignores a subscript met twice",
        "multiply_for_einsum",
        (
            (" and len(set(operands)) == 4", ""),
            ("str(a.shape[1]) != str(b.shape[0])", "len(set(a.shape + b.shape)) > 3"),
        ),
        "numerics",
        ("equations",),
    ),
    Planted(
        "ignores a dim that a keyword gives",
        "narrow_for_split",
        (
            ('given.get("dim", 0) %', "(split.args[2] if len(split.args) > 2 else 0) %"),
            ("if form(new) == form(reader):", "if True:"),
        ),
        "crash",
        ("keywords",),
        model=_cut,
        inputs=(T(8, 8),),
    ),
    Planted(
        "moves reads across a write",
        "merge_linears",
        (("if writes(graph):", "if False:"),),
        "numerics",
        ("writes",),
        only=("writes",),
        within=200,
    ),
    Planted(
        "counts two members",
        "merge_linears",
        (("start += size", "start = size"),),
        "numerics",
        ("copies",),
        only=("copies",),
        helper="_merge",
    ),
    Planted(
        "returns views of one result",
        "merge_linears",
        (
            ('emit(first, torch.clone, (made[-1],), {"memory_format": torch.contiguous_format})', "made.pop()"),
            ("if any(form(piece) != form(node) for piece, node in zip(pieces, members, strict=True)):", "if False:"),
        ),
        "numerics",
        helper="_merge",
    ),
    Planted(
        "computes in single precision",
        "merge_linears",
        (
            (
                "    both = emit(first, F.linear, (first.args[0], weight, bias))\n",
                "    weight = emit(first, torch.Tensor.float, (weight,))\n"
                "    both = emit(first, F.linear, (first.args[0], weight, bias))\n",
            ),
        ),
        "crash",
        ("dtypes",),
        only=("dtypes",),
        helper="_merge",
    ),
    Planted(
        "reads as many features as it saw",
        "merge_linears",
        (("(first.args[0], weight, bias)", "(emit(first, torch.narrow, (first.args[0], -1, 0, 4)), weight, bias)"),),
        "crash",
        ("sizes",),
        only=("sizes",),
        helper="_merge",
    ),
    Planted(
        "knows batches of one dim",
        "merge_linears",
        (("(both, -1, start, size)", "(both, 1, start, size)"),),
        "crash",
        ("ranks",),
        helper="_merge",
    ),
    Planted(
        "knows no vectors",
        "merge_linears",
        (("(both, -1, start, size)", "(both, max(tensor(both).dim() - 1, 1), start, size)"),),
        "crash",
        ("ranks",),
        only=("ranks",),
        helper="_merge",
    ),
    Planted(
        "needs a bias",
        "merge_linears",
        ((" or any(tensor(arg) is None for arg in node.args)", ""),),
        "crash",
        ("absent_operands",),
        only=("absent_operands",),
    ),
    Planted(
        "joins the weights in the order of a set",
        "merge_linears",
        (("first = members[0]", "first, members = members[0], list(set(members))"),),
        "stability",
        only=("stability",),
        helper="_merge",
        model=_three,
        inputs=(x44, *HEADS, T(5, 4), T(5)),
    ),
    Planted(
        "works at the size it saw",
        "say_sizes_of_flatten",
        (("            if type(count) is int:\n", "            count = int(count)\n            if True:\n"),),
        "generality",
    ),
    Planted(
        "claims to have flattened",
        "say_sizes_of_flatten",
        (("PassResult(gm, changed)", "PassResult(gm, True)"),),
        "honesty",
        ("exchanged",),
    ),
    Planted(
        "flattens what is not contiguous",
        "say_sizes_of_flatten",
        (
            ('node.target == "view"', 'node.target in ("view", "reshape")'),
            ("                node.args =", "                node.target = 'view'\n                node.args ="),
        ),
        "crash",
        ("layouts + spellings",),
        within=400,
    ),
)

TORCH = (*SPELLING, *REWRITES)
