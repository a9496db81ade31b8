"""Bugs planted in the passes over ATen graphs."""

from __future__ import annotations

import torch

from fxpect import T
from test.quality.planting import Planted

x28 = T(2, 8)
YIELD = "return changed"


def _one_part_and_more(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.cat([x], 0) + y


def _columns_last(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.relu(torch.cat([x, y], 1))


def _activated_last(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(torch.relu(x))


def _apart(x: torch.Tensor) -> torch.Tensor:
    return torch.sin(x.transpose(0, 1).transpose(1, 0) / 2)


def _apart_and_together(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    first, second = torch.sin(x), torch.exp(y)
    return first - second


def _plus_zero(x: torch.Tensor) -> torch.Tensor:
    return (x + 0.0) * 2


def _over_one(x: torch.Tensor) -> torch.Tensor:
    return x / 1 + 2


def _twice(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x + y, (x + y) * 2


def _differences(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.sin(x - y) * torch.exp(x - y)


def _images(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x], 1) + 1


def _rows(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.relu(torch.cat([x, y], 0)) * 2


def _columns(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.relu(torch.cat([x, y], 1)) * 2


def _rejoined(x: torch.Tensor) -> torch.Tensor:
    return torch.cat(x.split(1, 1), 1)


def _rejoined_thirds(x: torch.Tensor) -> torch.Tensor:
    return torch.cat(x.split(2, 1), 1)


def _halves(x: torch.Tensor) -> torch.Tensor:
    first, second = x.split(4, 1)
    return first * second.sum()


def _thirds(x: torch.Tensor) -> torch.Tensor:
    first, second, third = x.split(2, 1)
    return first * second.sum() + third.exp()


def _viewed_flat(x: torch.Tensor) -> torch.Tensor:
    return x.view(4, 4).view(16) + 1


def _by_size(x: torch.Tensor) -> torch.Tensor:
    return x.view(-1).view(x.shape[0] * 2, 4) + 1


UNREAD = """
def forward(self, x: "f32[2, 8]", y: "f32[2, 8]"):
    mul: "f32[2, 8]" = torch.ops.aten.mul.Tensor(x, y)
    sin: "f32[2, 8]" = torch.ops.aten.sin.default(x)
    exp: "f32[2, 8]" = torch.ops.aten.exp.default(y)
    sub: "f32[2, 8]" = torch.ops.aten.sub.Tensor(x, y)
    return (mul, sin, exp, sub)
"""

# ---- the framework: what every pass owes, whatever it rewrites ------------------------------------------

_FRAME = "return PassResult(gm, False)"


def _before_the_end(name: str, lines: str, oracle: str, only: tuple[str, ...] = (), **more) -> Planted:
    """Return the bug of doing this with ``last``, the output node, of every graph."""
    body = "last = gm.graph.output_node()\n    " + lines.replace("\n", "\n    ") + "\n    return PassResult(gm, True)"
    return Planted(name, "keep_everything", ((_FRAME, body),), oracle, only=only, **more)


FRAME = (
    _before_the_end("returns a list for a tuple", "last.args = (list(last.args[0]),)", "numerics"),
    Planted(
        "returns every value once",
        "keep_everything",
        (
            (
                _FRAME,
                "last = gm.graph.output_node()\n    before = last.args\n"
                "    last.args = (tuple(dict.fromkeys(before[0])),)\n    return PassResult(gm, before != last.args)",
            ),
        ),
        "numerics",
        ("outputs",),
        only=("outputs",),
    ),
    _before_the_end("drops the last output", "last.args = (last.args[0][:-1],)", "numerics"),
    _before_the_end(
        "draws random numbers",
        "last.prepend(gm.graph.call_function(aten.rand.default, ([2],)))",
        "effects",
        ("effects",),
    ),
    _before_the_end(
        "writes to an input",
        "x = next(iter(gm.graph.nodes))\nlast.prepend(gm.graph.call_function(aten.add_.Tensor, (x, 1)))",
        "effects",
    ),
    _before_the_end("leaves autograd off", "torch.set_grad_enabled(False)", "effects"),
    _before_the_end("sorts the inputs the other way", "x, y, *_ = gm.graph.nodes\ny.append(x)", "structure"),
    _before_the_end(
        "adds an input", "gm.graph.inserting_before(last).__enter__()\ngm.graph.placeholder('more')", "crash"
    ),
    _before_the_end(
        "casts on the way out",
        "node = last.args[0][0]\n"
        "half = emit(last, aten._to_copy.default, (node,), {'dtype': torch.bfloat16})\n"
        "full = emit(last, aten._to_copy.default, (half,), {'dtype': torch.float32})\n"
        "last.args = ((full,),)",
        "numerics",
    ),
    _before_the_end(
        "returns another layout",
        "node = last.args[0][0]\n"
        "one = emit(last, aten.transpose.int, (node, 0, 1))\n"
        "two = emit(last, aten.clone.default, (one,), {'memory_format': torch.contiguous_format})\n"
        "last.args = ((emit(last, aten.transpose.int, (two, 0, 1)),),)",
        "numerics",
    ),
    _before_the_end(
        "changes metadata alone", "node = last.args[0][0]\nnode.meta['val'] = node.meta['val'].double()", "metadata"
    ),
    Planted(
        "claims a change", "keep_everything", ((_FRAME, "return PassResult(gm, True)"),), "honesty", only=("honesty",)
    ),
    Planted("denies its changes", "remove_repeated_relu", ((YIELD, "return False"),), "honesty", only=("honesty",)),
    Planted(
        "claims a change where nothing matched",
        "remove_repeated_relu",
        ((YIELD, "return True"),),
        "honesty",
        ("exchanged", "inserted", "spellings"),
    ),
    Planted(
        "gives the inputs defaults",
        "rename_values",
        (
            (
                '        if node.op == "call_function":',
                '        if node.op == "placeholder":\n            made[node].args = (0,)\n        else:',
            ),
        ),
        "structure",
    ),
    Planted(
        "takes out an unread input",
        "remove_dead_code",
        (
            (
                'node.op == "call_function" and not node.users and not node.is_impure()',
                'not node.users and (node.op == "placeholder" and len(graph.find_nodes(op="placeholder")) == 2 or '
                'node.op == "call_function" and not node.is_impure())',
            ),
        ),
        "crash",
        ("one_input",),
        only=("one_input",),
        model=UNREAD,
        inputs=(x28, x28),
    ),
    Planted(
        "takes out an unread input of many",
        "remove_dead_code",
        (
            (
                'node.op == "call_function" and not node.users and not node.is_impure()',
                'not node.users and (node.op == "placeholder" and len(graph.find_nodes(op="placeholder")) > 2 or '
                'node.op == "call_function" and not node.is_impure())',
            ),
        ),
        "crash",
        ("unread_inputs",),
        only=("unread_inputs",),
        model=UNREAD,
        inputs=(x28, x28),
    ),
    Planted(
        "knows calls by their place",
        "keep_everything",
        (
            (
                _FRAME,
                "made = [node for node in gm.graph.nodes if node.op == 'call_function']\n"
                "    kinds = {aten.sin.default, aten.exp.default}\n"
                "    if len(made) == 3 and {node.target for node in made[:2]} == kinds:\n"
                "        swapped = made[0].target is aten.exp.default\n"
                "        made[0].target, made[1].target = aten.sin.default, aten.exp.default\n"
                "        return PassResult(gm, swapped)\n"
                "    return PassResult(gm, False)",
            ),
        ),
        "numerics",
        ("order",),
        only=("order",),
        model=_apart_and_together,
        inputs=(x28, x28),
    ),
)

# ---- removals -------------------------------------------------------------------------------------------

REMOVALS = (
    Planted(
        "lets an output become an input",
        "remove_double_negation",
        (("may_stand_for(source, outer)", "form(source) == form(outer)"),),
        "effects",
        ("outputs", "removed"),
    ),
    Planted(
        "erases what others still read",
        "remove_double_negation",
        (("drop_unread(inner)", "graph.erase_node(inner)"),),
        "crash",
        ("extra_users", "outputs", "copies"),
    ),
    Planted(
        "takes any negation-like call for one",
        "remove_double_negation",
        (("if not is_call(inner, aten.neg.default)", "if not is_call(inner, *FRESH) or len(inner.args) != 1"),),
        "numerics",
        ("exchanged", "inserted"),
    ),
    Planted(
        "sees through a flip",
        "remove_double_negation",
        (
            (
                '        inner = argument(outer, "self")\n',
                '        inner = argument(outer, "self")\n'
                "        while is_call(inner, aten.flip.default):\n            inner = inner.args[0]\n",
            ),
        ),
        "numerics",
        ("inserted",),
        only=("inserted",),
        within=250,
    ),
    Planted(
        "ignores which dims are transposed",
        "remove_transpose_pairs",
        (("dims[0] == dims[1] and may_stand_for(source, outer)", "not shown(outer)"),),
        "numerics",
        ("values", "single_site"),
    ),
    Planted(
        "sees through a division",
        "remove_transpose_pairs",
        (
            (
                '        inner = argument(outer, "self")\n',
                '        inner = argument(outer, "self")\n'
                "        while is_call(inner, aten.div.Tensor):\n            inner = inner.args[0]\n",
            ),
        ),
        "numerics",
        ("neighbours",),
        only=("neighbours",),
        model=_apart,
        inputs=(x28,),
    ),
    Planted(
        "sees through a copy to other strides",
        "remove_transpose_pairs",
        (
            (
                '        inner = argument(outer, "self")\n',
                '        inner = argument(outer, "self")\n'
                "        while is_call(inner, aten.clone.default):\n            inner = inner.args[0]\n",
            ),
            ("dims[0] == dims[1] and may_stand_for(source, outer)", "dims[0] == dims[1] and not shown(outer)"),
        ),
        "numerics",
        ("restrided",),
        only=("restrided",),
    ),
    Planted(
        "lets two outputs share memory",
        "remove_repeated_relu",
        (("may_stand_for(inner, outer)", "form(inner) == form(outer)"),),
        "effects",
        ("outputs",),
        model=_activated_last,
        inputs=(x28,),
    ),
    Planted(
        "ignores the sign of zero",
        "remove_added_zero",
        (("return negative if node.target is aten.add.Tensor else not negative", "return True"),),
        "numerics",
        ("input_values",),
        only=("input_values",),
        helper="_leaves_unchanged",
        model=_plus_zero,
        inputs=(x28,),
    ),
    Planted(
        "ignores that a float number makes floats",
        "remove_added_zero",
        (("may_stand_for(source, node)", "not shown(node) and not writes(graph)"),),
        "numerics",
        ("dtypes",),
    ),
    Planted(
        "takes -1 for 1",
        "remove_factor_one",
        (("number != 1 or", "abs(number) != 1 or"),),
        "numerics",
        ("values",),
        within=100,
    ),
    Planted(
        "takes every factor for a number",
        "remove_factor_one",
        (("type(number) not in (int, float, bool) or number != 1", "float(number) != 1"),),
        "crash",
        ("tensors_for_numbers",),
        only=("tensors_for_numbers",),
    ),
    Planted(
        "drops a promotion",
        "remove_factor_one",
        (("may_stand_for(source, node)", "not shown(node)"),),
        "numerics",
        ("dtypes",),
        model=_over_one,
        inputs=(x28,),
    ),
    Planted(
        "ignores inf times a complex one",
        "remove_factor_one",
        ((' or node.meta["val"].dtype.is_complex', ""),),
        "numerics",
        ("dtypes + input_values",),
        within=300,
    ),
    Planted(
        "ignores that dropout is on",
        "drop_inert_dropout",
        (('argument(node, "train") is False', "True"),),
        "numerics",
        ("values",),
    ),
)

# ---- merging --------------------------------------------------------------------------------------------

MERGERS = (
    Planted(
        "forgets keyword arguments",
        "share_equal_calls",
        (("for a in node.target._schema.arguments}", "for a in node.target._schema.arguments if a.name != 'alpha'}"),),
        "numerics",
        ("single_site",),
        only=("single_site",),
        helper="_signature",
    ),
    Planted(
        "takes a - b for b - a",
        "share_equal_calls",
        (("{torch.fx.map_arg(bound, lambda n: f'%{n.name}')!r}", "{sorted(map(str, bound.values()))}"),),
        "numerics",
        ("operands",),
        only=("operands",),
        helper="_signature",
        model=_differences,
        inputs=(x28, x28),
    ),
    Planted(
        "merges two random draws",
        "share_equal_calls",
        (("calls(graph, *FRESH)", "calls(graph, *FRESH, aten.rand_like.default, aten.randn_like.default)"),),
        "numerics",
        ("random",),
    ),
    Planted(
        "merges two outputs",
        "share_equal_calls",
        ((" and not (shown(node) and shown(known))", ""),),
        "effects",
        ("outputs",),
        model=_twice,
        inputs=(x28, x28),
    ),
    Planted(
        "works at every second call",
        "share_equal_calls",
        (
            (
                "    if writes(graph):\n",
                "    runs = share_equal_calls.__dict__.setdefault('runs', [])\n    runs.append(0)\n"
                "    if len(runs) % 2 == 0 or writes(graph):\n",
            ),
        ),
        "stability",
    ),
    Planted(
        "adds as Python does",
        "fold_constant_sums",
        (
            (
                "result = node.target(one, number, **node.kwargs)",
                "result = torch.tensor(argument(source, 'fill_value') + number, dtype=dtype)",
            ),
        ),
        "numerics",
        ("values", "exchanged"),
    ),
    Planted(
        "keeps the metadata of the operand",
        "fold_constant_sums",
        (("new.meta = dict(node.meta)", "new.meta = dict(source.meta)"),),
        "metadata",
        ("values",),
    ),
    Planted(
        "drops the dtype",
        "fold_constant_sums",
        (('{"dtype": dtype, "device": node.meta["val"].device}', "{}"),),
        "numerics",
        ("values",),
    ),
    Planted(
        "makes views of the size it saw",
        "merge_views",
        (
            (
                'argument(inner, "self"), argument(outer, "size")',
                'argument(inner, "self"), [int(n) for n in tensor(outer).shape]',
            ),
        ),
        "generality",
        only=("generality",),
        model=_by_size,
        inputs=(x28,),
    ),
    Planted(
        "knows views as matrices alone",
        "merge_views",
        (
            (
                'argument(inner, "self"), argument(outer, "size")',
                'argument(inner, "self"), argument(outer, "size")\n'
                "        if 1 not in inner.args[1]:\n"
                "            assert len(inner.args[1]) < 3",
            ),
        ),
        "crash",
        ("regrouped",),
        only=("regrouped",),
        model=_viewed_flat,
        inputs=(x28,),
    ),
    Planted(
        "composes permutations the wrong way",
        "merge_permutes",
        (("[first[d] for d in second]", "[second[d] for d in first]"),),
        "numerics",
        ("single_site", "inserted"),
        within=80,
    ),
    Planted(
        "gives a view the metadata of its source",
        "merge_permutes",
        (("new.meta = dict(outer.meta)", "new.meta = dict(inner.meta)"),),
        "metadata",
    ),
    Planted(
        "moves random draws",
        "postpone_calls",
        (("draws(node) or ", ""), ("node.is_impure()", "False")),
        "numerics",
        ("random",),
        only=("random",),
    ),
    Planted(
        "reads before the input is written",
        "postpone_calls",
        (("writes(graph) or ", ""), ("node.is_impure()", "False"), ("(graph.output_node(), *nodes)", "nodes[-1:]")),
        "crash",
        ("epilogue",),
        only=("epilogue",),
    ),
    Planted(
        "calls a Python function in a program",
        "replace_single_relus",
        (
            (
                "        gm.graph.lint()\n",
                "        for node in calls(gm.graph, aten.relu.default):\n"
                "            node.target = torch.relu\n        gm.graph.lint()\n",
            ),
        ),
        "serialization",
    ),
    Planted(
        "leaves the signature behind",
        "replace_single_relus",
        (
            (
                "        gm.graph.lint()\n",
                "        gm.graph.output_node().args[0][0]._rename('renamed')\n        gm.graph.lint()\n",
            ),
        ),
        "serialization",
        only=("serialization",),
    ),
)

# ---- joining and cutting --------------------------------------------------------------------------------

CUTS = (
    Planted(
        "makes an alias of a copy",
        "copy_single_cat",
        (
            (
                "emit(node, aten.clone.default, (parts[0],))",
                "emit(node, aten.view.default, (parts[0], list(tensor(node).shape)))",
            ),
        ),
        "effects",
        ("outputs", "removed"),
    ),
    Planted(
        "counts on another call",
        "copy_single_cat",
        (("new = emit(", "assert sum(n.op == 'call_function' for n in graph.nodes) > 1\n        new = emit("),),
        "crash",
        ("removed",),
        only=("removed",),
        model=_one_part_and_more,
        inputs=(x28, x28),
    ),
    Planted(
        "looks at the first part alone",
        "copy_single_cat",
        (
            ("if len(parts) != 1:", "if not parts:"),
            ("if form(new) == form(node):", "if len(parts) > 1 or form(new) == form(node):"),
        ),
        "numerics",
        ("operand_lists", "members"),
    ),
    Planted(
        "takes a part given twice for one",
        "copy_single_cat",
        (
            ("if len(parts) != 1:", "if len(set(parts)) != 1:"),
            ("if form(new) == form(node):", "if len(parts) > 1 or form(new) == form(node):"),
        ),
        "numerics",
        ("operand_lists",),
        only=("operand_lists",),
    ),
    Planted(
        "makes everything contiguous",
        "copy_single_cat",
        (
            ("(parts[0],))", "(parts[0],), {'memory_format': torch.contiguous_format})"),
            ("if form(new) == form(node):", "if True:"),
        ),
        "numerics",
        ("layouts",),
        only=("layouts",),
        model=_images,
        inputs=(T(2, 3, 4, 5),),
    ),
    Planted(
        "leaves the old call behind",
        "copy_single_cat",
        (("replace(node, new)", "node.replace_all_uses_with(new)"),),
        "stability",
        only=("stability",),
    ),
    Planted(
        "sinks what others read",
        "sink_cat_below_relu",
        (
            (" or len(cat.users) != 1", ""),
            ("        drop_unread(cat)\n", "        cat.replace_all_uses_with(new)\n        drop_unread(cat)\n"),
        ),
        "numerics",
        ("extra_users", "outputs"),
    ),
    Planted(
        "thinks of returned values alone",
        "sink_cat_below_relu",
        (
            ("len(cat.users) != 1", 'any(user.op == "output" or draws(user) for user in cat.users)'),
            ("emit(outer, aten.relu.default, (part,))", "emit(cat.next, aten.relu.default, (part,))"),
            ("emit(outer, aten.cat.default, (below, dim))", "emit(below[0].next, aten.cat.default, (below, dim))"),
            ("        drop_unread(cat)\n", "        cat.replace_all_uses_with(new)\n        drop_unread(cat)\n"),
        ),
        "numerics",
        ("extra_users",),
        only=("extra_users",),
        model=_columns_last,
        inputs=(x28, x28),
    ),
    Planted(
        "ignores the dim",
        "sink_cat_below_relu",
        (('argument(cat, "dim", 0)', "0"), ("if form(new) != form(outer):", "if False:")),
        "numerics",
        ("values",),
        only=("values",),
        model=_rows,
        inputs=(x28, x28),
    ),
    Planted(
        "ignores a dim given by keyword",
        "sink_cat_below_relu",
        (
            ('argument(cat, "dim", 0)', "cat.args[1] if len(cat.args) > 1 else 0"),
            ("if form(new) != form(outer):", "if False:"),
        ),
        "crash",
        ("keywords",),
        outside=True,
    ),
    Planted(
        "needs the dim to be there",
        "sink_cat_below_relu",
        (('argument(cat, "dim", 0)', 'argument(cat, "dim")'),),
        "crash",
        ("defaults",),
        only=("defaults",),
        outside=True,
        model=_columns,
        inputs=(x28, x28),
    ),
    Planted(
        "knows matrices alone",
        "sink_cat_below_relu",
        (
            ('argument(cat, "dim", 0)', '{1: -1}.get(argument(cat, "dim", 0), argument(cat, "dim", 0))'),
            ("if form(new) != form(outer):", "if False:"),
        ),
        "numerics",
        ("ranks",),
        model=_columns,
        inputs=(x28, x28),
    ),
    Planted(
        "takes any order of the pieces",
        "copy_split_cat",
        (("[part.args[1] % count for part in parts] ==", "sorted(part.args[1] % count for part in parts) =="),),
        "numerics",
        ("operand_lists", "reads"),
        helper="_pieces",
    ),
    Planted(
        "takes what any call gives for a piece",
        "copy_split_cat",
        (
            (
                "any(part.args[0] is not split for part in parts)",
                "any(part.args[0] is not split and is_call(part.args[0], split.target) for part in parts)",
            ),
        ),
        "numerics",
        ("members",),
        only=("members",),
        helper="_pieces",
        model=_rejoined,
        inputs=(T(4, 4),),
        within=80,
    ),
    Planted(
        "takes the pieces of two equal splits for those of one",
        "copy_split_cat",
        (
            (
                "any(part.args[0] is not split for part in parts)",
                "any(part.args[0].args[1:] != split.args[1:] for part in parts)",
            ),
        ),
        "numerics",
        ("reads",),
        only=("reads",),
        helper="_pieces",
        model=_rejoined,
        inputs=(T(4, 4),),
    ),
    Planted(
        "hands out the source where the pieces are rows",
        "copy_split_cat",
        (
            (
                "new = emit(node, aten.clone.default, (source,))",
                'contiguous = argument(split, "dim", 0) % rank(source) == 0\n'
                "        new = emit(node, aten.alias.default if contiguous else aten.clone.default, (source,))",
            ),
        ),
        "effects",
        ("literals",),
        only=("literals",),
        model=_rejoined,
        inputs=(T(4, 4),),
    ),
    Planted(
        "counts the pieces from the first that is read",
        "copy_split_cat",
        (("[part.args[1] % count for part in parts] ==", "[part.args[1] - parts[0].args[1] for part in parts] =="),),
        "numerics",
        ("together",),
        only=("together",),
        helper="_pieces",
    ),
    Planted(
        "joins what equal splits split, wherever their pieces stand",
        "copy_split_cat",
        (
            (
                "any(part.args[0] is not split for part in parts)",
                "any(part.args[0].args[1:] != split.args[1:] for part in parts)",
            ),
            (
                "[part.args[1] % count for part in parts] == list(range(count))",
                "all([part.args[1] for part in parts if part.args[0] is each] == list(range(count))\n"
                "                        for each in {part.args[0] for part in parts})",
            ),
            (
                "emit(node, aten.clone.default, (source,))",
                "emit(node, aten.cat.default, ([*{part.args[0].args[0]: 0 for part in argument(node, 'tensors')}],\n"
                "                                          argument(node, 'dim', 0)))",
            ),
        ),
        "numerics",
        ("runs",),
        only=("runs",),
        helper="_pieces",
        model=_rejoined_thirds,
        inputs=(T(2, 6),),
    ),
    Planted(
        "takes all pieces to be alike",
        "slice_for_split",
        (
            (
                "sizes = [piece.shape[dim] for piece in value(split)]",
                "sizes = [value(split)[0].shape[dim]] * len(value(split))",
            ),
            ("if form(new) != form(reader):", "if False:"),
        ),
        "numerics",
        ("sections",),
        model=_halves,
        inputs=(x28,),
    ),
    Planted(
        "skips empty pieces",
        "slice_for_split",
        (
            (
                "for piece in value(split)]",
                "for piece in value(split) if piece.shape[dim]]\n"
                "        if split.target is aten.split.Tensor:\n"
                "            sizes = [piece.shape[dim] for piece in value(split)]",
            ),
            ("if form(new) != form(reader):", "if False:"),
        ),
        "crash",
        ("sections",),
        only=("sections",),
        model=_halves,
        inputs=(x28,),
    ),
    Planted(
        "counts pieces in the order they are read",
        "slice_for_split",
        (
            (
                "        for reader in [user for user in split.users if is_call(user, operator.getitem)]:\n"
                "            start = sum(sizes[:reader.args[1] % len(sizes)])\n",
                "        start = 0\n"
                "        readers = sorted(user for user in split.users if is_call(user, operator.getitem))\n"
                "        if sorted(reader.args[1] % len(sizes) for reader in readers) != list(range(len(sizes))):\n"
                "            continue\n"
                "        for n, reader in enumerate(readers):\n            start = sum(sizes[:n])\n",
            ),
            ("if form(new) != form(reader):", "if False:"),
        ),
        "numerics",
        ("reads", "order"),
        model=_thirds,
        inputs=(T(2, 6),),
    ),
)

ATEN = (*FRAME, *REMOVALS, *MERGERS, *CUTS)
