"""Each direction of near misses: what it offers on a stated graph, what the edit makes of it, what it refuses."""

from __future__ import annotations

import functools
import unittest

import torch
from torch import nn

from fxpect.capture import capture
from fxpect.examples import Example
from fxpect.specs import T
from fxpect.strategies.draft import FUNCTIONAL_CAPTURES, Edit, Inapplicable
from fxpect.strategies.near import DIRECTIONS, edits, step
from fxpect.text.effects import has_effect
from fxpect.text.parser import parse_graph
from fxpect.text.printer import graph_text
from fxpect.text.propagation import propagate


class Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.drop = nn.Linear(4, 4), nn.Linear(4, 4), nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop(self.second(self.first(x)))


GRAPHS = {
    "cat": ("x, y", "cat = torch.cat([x, y], dim=-1); relu = torch.relu(cat); return (relu,)",
            (T(2, 3), T(2, 3)), "dynamo"),
    "split": ("x", "split = torch.split(x, 2, dim=-1); a = operator.getitem(split, 0); b = operator.getitem(split, 1); "
              "mul = operator.mul(a, b); return (mul,)", (T(4, 4),), "dynamo"),
    "linear": ("x, w, b", "linear = torch.nn.functional.linear(x, w, b); permute = linear.permute(1, 0); "
               "tanh = torch.tanh(permute); return (tanh,)", (T(3, 3), T(3, 3), T(3)), "dynamo"),
    "sums": ("x", "sum_1 = torch.sum(x, dim=1, keepdim=True); sum_2 = torch.sum(sum_1, dim=1); return (sum_2,)",
             (T(2, 3, 4),), "dynamo"),
    "einsum": ("x, y", "einsum = torch.einsum('ij,jk->ik', x, y); return (einsum,)", (T(3, 3), T(3, 3)), "dynamo"),
    "aten": ("x, y", "add = torch.ops.aten.add.Tensor(x, y); permute = torch.ops.aten.permute.default(add, [1, 0]); "
             "return (permute,)", (T(2, 3), T(2, 3)), "aten"),
    "pieces": ("x", "split = torch.ops.aten.split.Tensor(x, 2, 1); a = operator.getitem(split, 0); "
               "b = operator.getitem(split, 1); cat = torch.ops.aten.cat.default([a, b], 1); return (cat,)",
               (T(4, 4),), "make_fx"),
}
CAT = "cat = torch.cat([x, y], dim=-1); relu = torch.relu(cat); return (relu,)"

# direction, graph, edit, the graph after it, its inputs where they change
OFFERED: tuple[tuple[str, ...], ...] = (
    ("extra_users", "cat", "neg(cat) returned too",
     "cat = torch.cat([x, y], dim=-1); relu = torch.relu(cat); neg = torch.neg(cat); return (relu, neg)"),
    ("keywords", "cat", "cat.dim by position",
     "cat = torch.cat([x, y], -1); relu = torch.relu(cat); return (relu,)"),
    ("dtypes", "cat", "x: torch.float64", CAT, "f64[2, 3], f32[2, 3]"),
    ("values", "cat", "cat.dim: -1 -> 0",
     "cat = torch.cat([x, y], dim=0); relu = torch.relu(cat); return (relu,)"),
    ("writes", "cat", "add_ on x before relu",
     "cat = torch.cat([x, y], dim=-1); add_ = x.add_(1); relu = torch.relu(cat); return (relu,)"),
    ("operands", "cat", "cat[0][1]: y -> x",
     "cat = torch.cat([x, x], dim=-1); relu = torch.relu(cat); return (relu,)"),
    ("copies", "cat", "two patterns on other inputs",
     "cat = torch.cat([x, y], dim=-1); relu = torch.relu(cat); cat_1 = torch.cat([x_1, y_1], dim=-1); "
     "relu_1 = torch.relu(cat_1); return (relu, relu_1)", "f32[2, 3], f32[2, 3], f32[2, 3], f32[2, 3]"),
    ("defaults", "cat", "cat.dim left out",
     "cat = torch.cat([x, y]); relu = torch.relu(cat); return (relu,)"),
    ("sizes", "cat", "every size 2 -> 3", CAT, "f32[3, 3], f32[3, 3]"),
    ("spellings", "cat", "relu as method relu",
     "cat = torch.cat([x, y], dim=-1); relu = cat.relu(); return (relu,)"),
    ("sections", "split", "split unevenly: [3, 1]",
     "split = torch.split(x, [3, 1], dim=-1); getitem = operator.getitem(split, 0); "
     "getitem_1 = operator.getitem(split, 1); mul = operator.mul(getitem, getitem_1); return (mul,)"),
    ("sections", "pieces", "split into one piece more: [1, 1, 2]",
     "split_with_sizes = torch.ops.aten.split_with_sizes.default(x, [1, 1, 2], 1); "
     "getitem = operator.getitem(split_with_sizes, 0); getitem_1 = operator.getitem(split_with_sizes, 2); "
     "cat = torch.ops.aten.cat.default([getitem, getitem_1], 1); return (cat,)"),
    ("outputs", "cat", "cat returned first",
     "cat = torch.cat([x, y], dim=-1); relu = torch.relu(cat); return (cat, relu)"),
    ("reads", "split", "a by index -2",
     "split = torch.split(x, 2, dim=-1); getitem = operator.getitem(split, -2); "
     "getitem_1 = operator.getitem(split, 1); mul = operator.mul(getitem, getitem_1); return (mul,)"),
    ("inserted", "cat", "neg after cat",
     "cat = torch.cat([x, y], dim=-1); neg = torch.neg(cat); relu = torch.relu(neg); return (relu,)"),
    ("inserted", "aten", "clone after add",
     "add = torch.ops.aten.add.Tensor(x, y); clone = torch.ops.aten.clone.default(add); "
     "permute = torch.ops.aten.permute.default(clone, [1, 0]); return (permute,)"),
    ("operand_lists", "cat", "cat operands [1, 0]",
     "cat = torch.cat([y, x], dim=-1); relu = torch.relu(cat); return (relu,)"),
    ("input_values", "cat", "x: special", CAT, 'f32[2, 3](values="special"), f32[2, 3]'),
    ("modules", "tower", "second.out_features: 4 -> 5",
     "self.first = torch.nn.Linear(4, 4); self.second_1 = torch.nn.Linear(4, 5); self.drop = torch.nn.Dropout(); "
     "first = self.first(x); second_1 = self.second_1(first); drop = self.drop(second_1); return drop"),
    ("modes", "tower", "drop in eval mode",
     "self.first = torch.nn.Linear(4, 4); self.second = torch.nn.Linear(4, 4); "
     "self.drop_1 = torch.nn.Dropout().eval(); first = self.first(x); second = self.second(first); "
     "drop_1 = self.drop_1(second); return drop_1"),
    ("sharing", "tower", "second calls first",
     "self.first = torch.nn.Linear(4, 4); self.drop = torch.nn.Dropout(); first = self.first(x); "
     "first_1 = self.first(first); drop = self.drop(first_1); return drop"),
    ("single_site", "sums", "sum_1.dim: 1 -> 2",
     "sum_1 = torch.sum(x, keepdim=True, dim=2); sum_2 = torch.sum(sum_1, dim=1); return (sum_2,)"),
    ("fresh_operands", "cat", "cat[0][0]: x -> f64[2, 3]",
     "cat = torch.cat([x_1, y], dim=-1); relu = torch.relu(cat); return (relu,)", "f32[2, 3], f32[2, 3], f64[2, 3]"),
    ("random", "cat", "1 rand_like(x) returned",
     "rand_like = torch.rand_like(x); cat = torch.cat([x, y], dim=-1); relu = torch.relu(cat); "
     "return (relu, rand_like)"),
    ("out", "cat", "cat out=, buffer read",
     "cat = torch.cat([x, y], dim=-1, out=out_1); relu = torch.relu(out_1); return (relu,)",
     'f32[2, 3], f32[2, 3], f32[2, 6](values="zeros")'),
    ("in_place", "cat", "relu as relu_",
     "cat = torch.cat([x, y], dim=-1); relu_ = cat.relu_(); return (relu_,)"),
    ("epilogue", "aten", "add copied into x last",
     "add = torch.ops.aten.add.Tensor(x, y); permute = torch.ops.aten.permute.default(add, [1, 0]); "
     "copy_ = torch.ops.aten.copy_.default(x, add); return (permute,)"),
    ("exchanged", "aten", "add: add -> maximum",
     "maximum = torch.ops.aten.maximum.default(x, y); "
     "permute = torch.ops.aten.permute.default(maximum, [1, 0]); return (permute,)"),
    ("neighbours", "linear", "permute and tanh swapped",
     "linear = torch.nn.functional.linear(x, w, b); tanh = torch.tanh(linear); permute = tanh.permute(1, 0); "
     "return (permute,)"),
    ("together", "sums", "every dim 1 -> 0",
     "sum_1 = torch.sum(x, keepdim=True, dim=0); sum_2 = torch.sum(sum_1, dim=0); return (sum_2,)"),
    ("equations", "einsum", "einsum 'ij,jk->ik' -> 'jk,ij->ik'",
     "einsum = torch.einsum('jk,ij->ik', x, y); return (einsum,)"),
    ("gradients", "cat", "x: requires_grad=True", CAT, "f32[2, 3](requires_grad=True), f32[2, 3]"),
    ("layouts", "cat", "x: transposed", CAT, 'f32[2, 3](layout="transposed"), f32[2, 3]'),
    ("absent_operands", "linear", "linear.bias = None",
     "linear = torch.nn.functional.linear(x, w, None); permute = linear.permute(1, 0); tanh = torch.tanh(permute); "
     "return (tanh,)"),
    ("one_input", "cat", "x also in the place of y",
     "cat = torch.cat([x, x], dim=-1); relu = torch.relu(cat); return (relu,)"),
    ("removed", "cat", "relu removed, cat read instead",
     "cat = torch.cat([x, y], dim=-1); return (cat,)"),
    ("ranks", "cat", "2 inputs: leading dim added", CAT, "f32[2, 2, 3], f32[2, 2, 3]"),
    ("sequences", "cat", "cat argument 0 as tuple",
     "cat = torch.cat((x, y), dim=-1); relu = torch.relu(cat); return (relu,)"),
)

# direction, graph, edit, why it does not fit
REFUSED = (
    ("dtypes", "linear", "x: torch.float64", "must have the same dtype"),
    ("values", "linear", "permute.dims: (1, 0) -> (0, 0)", "duplicate dims"),
    ("operands", "split", "mul[0]: a -> x", "must match the size"),
    ("copies", "cat", "two patterns fed by the first", "no input has the result's type"),
    ("sizes", "split", "x: dim 1: 4 -> 2", "out of range"),
    ("inserted", "cat", "unsqueeze after x", "same number of dimensions"),
    ("input_values", "linear", "x: extreme torch.int8", "must have the same dtype"),
    ("modules", "tower", "first.in_features: 4 -> 5", "shapes cannot be multiplied"),
    ("single_site", "split", "b.index: 1 -> 2", "out of range"),
    ("fresh_operands", "cat", "cat[0][0]: x -> f32[]", "cannot be concatenated"),
    ("one_input", "linear", "b also in the place of w", "must be a matrix"),
    ("ranks", "cat", "x: leading dim added", "same number of dimensions"),
    ("equations", "einsum", "einsum 'ij,jk->ik' -> 'jj,jk->ik'", "does not appear"),
)

# direction, a graph on which there is nothing to edit that way
NOT_OFFERED = (
    ("keywords", "tower"), ("values", "tower"), ("defaults", "tower"), ("spellings", "tower"), ("exchanged", "tower"),
    ("writes", "aten"), ("in_place", "aten"), ("out", "aten"), ("gradients", "aten"), ("sequences", "aten"),
    ("epilogue", "cat"), ("sections", "cat"), ("reads", "cat"), ("operand_lists", "linear"), ("modules", "cat"),
    ("modes", "cat"), ("sharing", "cat"), ("equations", "cat"), ("together", "cat"), ("single_site", "cat"),
    ("neighbours", "cat"), ("absent_operands", "cat"), ("one_input", "split"),
)


@functools.cache
def graph(name: str) -> Example:
    if name == "tower":
        return capture(Tower(), (T(2, 4),), capture="symbolic")
    parameters, body, specs, stage = GRAPHS[name]
    text = f"def forward(self, {parameters}):\n" + "".join(f"    {line}\n" for line in body.split("; "))
    return capture(text, specs, capture=stage)


@functools.cache
def offered(direction: str, name: str) -> dict[str, Edit]:
    """Return the edits of a direction by what they say."""
    found: dict[str, Edit] = {}
    for edit in edits(graph(name), (direction,))[direction]:
        found.setdefault(edit.what, edit)
    return found


def body(example: Example) -> str:
    """Return the statements of a graph in one line, without types."""
    text = graph_text(example.graph_module, types=False)
    return "; ".join(line.strip() for line in text.split("):\n", 1)[1].strip().splitlines())


class DirectionTests(unittest.TestCase):

    maxDiff = None

    def test_an_edit_makes_the_stated_graph(self):
        """Every direction offers the stated edit, and what it makes has the stated text and inputs."""
        for direction, name, what, expected, *inputs in OFFERED:
            with self.subTest(direction, edit=what):
                self.assertIn(what, offered(direction, name))
                edited = step(graph(name), offered(direction, name)[what])
                self.assertEqual(body(edited), expected)
                self.assertEqual(", ".join(map(repr, edited.inputs)),
                                 inputs[0] if inputs else ", ".join(map(repr, graph(name).inputs)))
                self.assertEqual(len(edited.edits), 1)
                self.assertTrue(edited.edits[0].endswith(what))

    def test_every_direction_is_stated(self):
        """The table above has a row for each direction there is."""
        self.assertEqual({row[0] for row in OFFERED}, set(DIRECTIONS))

    def test_an_edit_that_does_not_fit_is_refused(self):
        """It raises Inapplicable with torch's reason or the direction's own, and the example stays as it was."""
        for direction, name, what, why in REFUSED:
            with self.subTest(direction, edit=what):
                before = graph(name).text
                with self.assertRaisesRegex(Inapplicable, why):
                    step(graph(name), offered(direction, name)[what])
                self.assertEqual(graph_text(graph(name).graph_module), before)

    def test_nothing_is_offered_where_nothing_fits(self):
        """A direction that has no place in a graph, or that the contract of its stage rules out, offers nothing."""
        for direction, name in NOT_OFFERED:
            with self.subTest(direction, graph=name):
                self.assertEqual(list(offered(direction, name)), [])


class ContractTests(unittest.TestCase):

    def test_functional_graphs_stay_functional(self):
        """Edits of ATen graphs call ATen overloads; the one write is the epilogue's copy_ into an input, at the end."""
        for name in ("aten", "pieces"):
            self.assertIn(graph(name).capture, FUNCTIONAL_CAPTURES)
            for direction in DIRECTIONS:
                for edit in list(offered(direction, name).values())[::7]:
                    try:
                        edited = step(graph(name), edit)
                    except Inapplicable:
                        continue
                    nodes = list(edited.graph_module.graph.nodes)
                    for node in nodes:
                        if node.op in ("placeholder", "output"):
                            continue
                        with self.subTest(repr(edit), node=str(node)):
                            self.assertEqual(node.op, "call_function")
                            self.assertIn(node.target.__module__.split(".")[0], ("_operator", "torch"))
                            if not has_effect(node) or "rand" in repr(edit):
                                continue
                            writes = getattr(getattr(node.target, "_schema", None), "is_mutable", False)
                            if writes:
                                self.assertIs(node.target, torch.ops.aten.copy_.default)
                                self.assertEqual((node.args[0].op, node.next.op), ("placeholder", "output"))

    def test_metadata_is_right_and_edited_graphs_run(self):
        """A fresh propagation gives the same text, the text is read back, and the graph runs on its inputs."""
        for name in (*GRAPHS, "tower"):
            for direction in DIRECTIONS:
                for edit in list(offered(direction, name).values())[:1]:
                    try:
                        edited = step(graph(name), edit)
                    except Inapplicable:
                        continue
                    with self.subTest(repr(edit), graph=name):
                        again = edited.build()
                        propagate(again)
                        self.assertEqual(graph_text(again), edited.text)
                        read = parse_graph(edited.text, meta_key=edited.meta_key)
                        self.assertEqual(graph_text(read), edited.text)
                        self.assertEqual(len(edited.inputs), len(edited.placeholders))
                        edited.build()(*edited.realize())

    def test_edits_say_different_things(self):
        """Every offered edit has a direction, a wording and a trigger without the numbers of that graph."""
        for name in (*GRAPHS, "tower"):
            for direction in DIRECTIONS:
                for edit in offered(direction, name).values():
                    self.assertTrue(edit.what and edit.trigger and edit.direction)
                    self.assertEqual(repr(edit), f"{edit.direction}: {edit.what}")


if __name__ == "__main__":
    unittest.main()
