"""Tests of the quick comparison: every change shows, and nothing else does."""

from __future__ import annotations

import copy
import math
import unittest

import torch
from torch import fx
from torch.fx.experimental.proxy_tensor import make_fx

from fxpect import Example, T
from fxpect.execution import Fingerprint

RELU = torch.ops.aten.relu.default
TEXT = '''
def forward(self, x: "f32[2, 3]", y: "f32[2, 3]"):
    add: "f32[2, 3]" = torch.ops.aten.add.Tensor(x, y, alpha=1)
    relu: "f32[2, 3]" = torch.ops.aten.relu.default(add)
    neg: "f32[2, 3]" = torch.ops.aten.neg.default(x)
    return (relu, neg)
'''


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 3)
        self.drop = torch.nn.Dropout(0.5)
        self.scale = torch.nn.Parameter(torch.tensor([1.0, math.nan]))

    def forward(self, x):
        return self.drop(self.linear(x)), self.scale


def build():
    return Example.from_text(TEXT, T(2, 3), T(2, 3)).build()


def node(gm, name):
    return next(n for n in gm.graph.nodes if n.name == name)


class StructureTests(unittest.TestCase):

    def assertChange(self, edit, expected=True, gm=None):
        gm = gm or build()
        before = Fingerprint(gm)
        self.assertFalse(before.differs(gm))
        self.assertEqual(before.differs(edit(gm) or gm), expected)

    def test_argument_edits(self):
        """A target, an operand, a constant, its type, and positional against keyword all show."""
        def alpha(value):
            def edit(gm):
                node(gm, "add").kwargs = {"alpha": value}
            return edit

        def operand(gm):
            node(gm, "neg").args = (node(gm, "y"),)

        def target(gm):
            node(gm, "neg").target = RELU

        def positional(gm):
            node(gm, "add").args, node(gm, "add").kwargs = (node(gm, "x"), node(gm, "y"), 1), {}

        alphas = [alpha(value) for value in (2, 1.0, True, None, (1,))]
        for edit in (*alphas, operand, target, positional):
            self.assertChange(edit)
        self.assertChange(alpha(1), expected=False)

    def test_constants(self):
        """nan equals nan, -0.0 is not 0.0, a list is no tuple, and objects compare by identity."""
        def swapping(old, new):
            gm = build()
            node(gm, "add").kwargs = {"alpha": old}
            before = Fingerprint(gm)
            node(gm, "add").kwargs = {"alpha": new}
            return before.differs(gm)

        thing = object()
        for old, new, differs in (
            (math.nan, float("nan"), False), (0.0, -0.0, True), ([1], (1,), True), (slice(1), slice(2), True),
            (slice(1, None), slice(1, None), False), (thing, thing, False), (object(), thing, True),
            (torch.float32, torch.float16, True), (torch.contiguous_format, torch.channels_last, True),
            (1j, 1j, False), (complex(0.0, -0.0), complex(0.0, 0.0), True), ({"a": 1}, {"a": 2}, True),
        ):
            self.assertEqual(swapping(old, new), differs, (old, new))

    def test_order_and_nodes(self):
        """A moved, an added and a dead node show; a new name does not."""
        def move(gm):
            node(gm, "add").prepend(node(gm, "neg"))

        def add(gm):
            with gm.graph.inserting_before(node(gm, "relu")):
                gm.graph.call_function(RELU, (node(gm, "x"),))

        def rename(gm):
            node(gm, "neg").name = "other"

        self.assertChange(move)
        self.assertChange(add)
        self.assertChange(rename, expected=False)

    def test_types(self):
        """Another dtype or stride in the metadata shows, and a lost one; an equal new value does not."""
        def retyped(make):
            def edit(gm):
                value = node(gm, "neg").meta["val"]
                with value.fake_mode:
                    node(gm, "neg").meta["val"] = make(value)
            return edit

        def lost(gm):
            del node(gm, "neg").meta["val"]

        self.assertChange(retyped(lambda value: torch.empty(2, 3)), expected=False)
        self.assertChange(retyped(lambda value: torch.empty(3, 2).t()))
        self.assertChange(retyped(lambda value: torch.empty(2, 3, dtype=torch.int32)))
        self.assertChange(lost)

    def test_symbolic_sizes_add_no_guard(self):
        """Comparing a graph with symbolic sizes in its arguments guards on nothing."""
        gm = make_fx(lambda x: x.new_zeros(x.shape[0] + 1), tracing_mode="symbolic")(torch.ones(4))
        environment = gm.graph.find_nodes(op="placeholder")[0].meta["val"].fake_mode.shape_env
        guards = len(environment.guards)
        self.assertChange(lambda gm: None, expected=False, gm=gm)
        self.assertEqual(len(environment.guards), guards)


class AttributeTests(unittest.TestCase):

    def setUp(self):
        self.gm = fx.symbolic_trace(Block())
        self.before = Fingerprint(self.gm)

    def test_untouched(self):
        """The same module is the same, and so is a module made from its attributes."""
        self.assertFalse(self.before.differs(self.gm))
        self.assertFalse(self.before.differs(fx.GraphModule(self.gm, copy.deepcopy(self.gm.graph))))

    def test_written_weights(self):
        """A weight written in place shows, and one replaced by another."""
        with torch.no_grad():
            self.gm.linear.weight.mul_(2)
        self.assertTrue(self.before.differs(self.gm))
        self.gm = fx.symbolic_trace(Block())
        before = Fingerprint(self.gm)
        self.gm.linear.weight = torch.nn.Parameter(torch.zeros(3, 3))
        self.assertTrue(before.differs(self.gm))

    def test_copied_submodule(self):
        """A submodule replaced by an equal copy is the same; one with other settings is not."""
        self.gm.linear = copy.deepcopy(self.gm.linear)
        self.assertFalse(self.before.differs(self.gm))
        self.gm.drop = torch.nn.Dropout(0.25)
        self.assertTrue(self.before.differs(self.gm))

    def test_mode(self):
        """A submodule put into evaluation mode shows."""
        self.gm.drop.eval()
        self.assertTrue(self.before.differs(self.gm))

    def test_removed_attribute(self):
        """An attribute that the graph uses and the module lost shows."""
        del self.gm.linear
        self.assertTrue(self.before.differs(self.gm))

    def test_nested_graph(self):
        """A change inside a nested graph shows."""
        class Outer(torch.nn.Module):
            def __init__(self, inner):
                super().__init__()
                self.inner = inner

            def forward(self, x):
                return self.inner(x)

        class Leaf(fx.Tracer):
            def is_leaf_module(self, m, qualified_name):
                return True

        outer = Outer(fx.symbolic_trace(torch.nn.ReLU()))
        gm = fx.GraphModule(outer, Leaf().trace(outer))
        before = Fingerprint(gm)
        self.assertFalse(before.differs(gm))
        gm.inner.graph.output_node().args = (next(iter(gm.inner.graph.nodes)),)
        self.assertTrue(before.differs(gm))


if __name__ == "__main__":
    unittest.main()
