"""Types are recomputed by running nodes on fake tensors, whole graphs or one node."""

import re
import unittest

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from fxpect.errors import FxpectError
from fxpect.text.parser import parse_graph
from fxpect.text.printer import graph_text
from fxpect.text.propagation import fake_mode_of, meta_key_of, propagate, retype
from test.unit import models


def bare(text):
    """Return a text without the types of calls, those of the inputs stay."""
    import re

    return re.sub(r'(?m)^( +[^\W\d]\w*): "[^"]*" =', r"\1 =", text)


VIEWS = """
def forward(self, x: "f32[4, 2]"):
    view: "f32[8]" = torch.ops.aten.view.default(x, [8])
    split: "[f32[2, 2], f32[2, 2]]" = torch.ops.aten.split.Tensor(x, 2)
    getitem: "f32[2, 2]" = operator.getitem(split, 0)
    neg: "f32[8]" = torch.ops.aten.neg.default(view)
    view_1: "f32[2, 4]" = torch.ops.aten.view.default(view, [4, 2])
    return (getitem, neg, view_1)
"""


class PropagationTests(unittest.TestCase):
    """propagate and retype."""

    maxDiff = None

    def test_models_get_the_types_that_the_capture_recorded(self):
        """Removing all types but those of the inputs and propagating gives the captured text again."""
        for name, capture in models.names():
            if capture == "symbolic" or (name, capture) == ("autocast", "export"):
                continue  # nothing is recorded; strict export records a wrong dtype
            with self.subTest(model=name, capture=capture):
                text = graph_text(models.captured(name, capture).graph)
                module = parse_graph(text)
                key = meta_key_of(module)
                for node in module.graph.nodes:
                    if node.op != "placeholder" and name != "unbacked":
                        node.meta.pop(key, None)
                propagate(module, meta_key=key)

                self.assertEqual(graph_text(module), text)

    def test_autocast_regions_set_the_dtype_and_end(self):
        """A region types what is inside it, and global modes are as before afterwards."""
        module = parse_graph(graph_text(models.captured("autocast", "dynamo").graph))
        before = torch.is_autocast_enabled("cpu"), torch.is_grad_enabled()
        propagate(module)

        self.assertEqual([node.meta["example_value"].dtype for node in module.graph.nodes
                          if node.name.startswith("linear")],
                         [torch.bfloat16])
        self.assertEqual((torch.is_autocast_enabled("cpu"), torch.is_grad_enabled()), before)

    def test_one_node_is_retyped(self):
        """retype gives one node its value from those of its arguments, and leaves the others."""
        module = parse_graph('def f(self, x: "f32[2, 8]"):\n    a = torch.relu(x)\n    b = a.t()\n    return b\n')
        x, a, b, _ = module.graph.nodes
        a.target = torch.sum
        retype(a, "example_value", fake_mode_of(module))

        self.assertEqual((tuple(a.meta["example_value"].shape), tuple(b.meta["example_value"].shape)), ((), (8, 2)))
        b.args = (a, 3)
        with self.assertRaises(TypeError):
            retype(b, "example_value", fake_mode_of(module))

    def test_new_inputs_retype_the_graph(self):
        """Other inputs, fake or real, give every value its new type."""
        module = parse_graph('def f(self, x: "f32[2, 8]"):\n    a = torch.relu(x)\n    return a\n')
        propagate(module, (torch.zeros(3, dtype=torch.float16),))
        self.assertIn('relu: "f16[3]"', graph_text(module))

        with FakeTensorMode():
            other = torch.empty(5)
        propagate(module, (other,))
        self.assertIn('relu: "f32[5]"', graph_text(module))
        self.assertIs(fake_mode_of(module), other.fake_mode)

    def test_in_place_changes_of_shape_leave_the_argument(self):
        """t_ and its like give their node a new type, the type recorded for their argument stays."""
        module = parse_graph('def f(self, x: "f32[2, 8]"):\n    a = x.t_()\n    return a\n')

        self.assertIn('x: "f32[2, 8]"', graph_text(module))
        self.assertIn('t_: "f32[8, 2](stride=(1, 8))"', graph_text(module))

    def test_in_place_changes_of_shape_are_read(self):
        """What was computed is on record in its last shape, as Dynamo has it; who reads it earlier has the first."""
        text = """
            def f(self, x: "f32[4, 3]"):
                mul: "f32[3, 4](stride=(1, 3))" = torch.mul(x, 2)
                add: "f32[4, 3]" = torch.add(mul, x)
                t_: "f32[3, 4](stride=(1, 3))" = mul.t_()
                relu: "f32[3, 4](stride=(1, 3))" = torch.relu(mul)
                return (add, relu)
            """
        printed = graph_text(parse_graph(text))
        untyped = re.sub(r': "(?!f32.4, 3."\):)[^"]*"', "", text)

        self.assertEqual(graph_text(parse_graph(untyped)), printed)
        self.assertIn('mul: "f32[3, 4](stride=(1, 3))"', printed)

    def test_parameters_and_modules_become_fake(self):
        """Attributes and submodules take part with fake copies of their tensors."""
        text = """
            def f(self, x: "f32[2, 4]"):
                self.w: "f32[4, 3](parameter=True)"
                self.m = torch.nn.Linear(4, 5)
                w = self.w
                y = x.mm(w)
                z = self.m(x)
                return y, z
            """
        module = parse_graph(text)

        self.assertIn('mm: "f32[2, 3]"', graph_text(module))
        self.assertIn('m: "f32[2, 5]"', graph_text(module))
        self.assertNotIsInstance(module.m.weight, FakeTensor)

    def test_views_that_are_read_share_memory(self):
        """A view, and a piece of a split, is of the memory of its operand; a record of another form stays."""
        module = parse_graph(VIEWS)
        value = {node.name: node.meta["val"] for node in module.graph.nodes if node.op != "output"}
        memory = {name: (each[0] if isinstance(each, list) else each).untyped_storage()._cdata
                  for name, each in value.items()}
        for name in ("view", "split", "getitem"):
            self.assertEqual(memory[name], memory["x"], name)
        for name in ("neg", "view_1"):
            self.assertNotIn(memory[name], [other for each, other in memory.items() if each != name], name)
        self.assertEqual(value["view_1"].shape, (2, 4))

    def test_misuse(self):
        """A wrong number of inputs and an input without a value are errors; an operator's error names its node."""
        module = parse_graph('def f(self, x: "f32[2, 8]", y):\n    a = torch.mm(x, y)\n    return a\n')
        with self.assertRaisesRegex(FxpectError, "expected 2 inputs; got 1"):
            propagate(module, (torch.zeros(1),))
        with self.assertRaisesRegex(FxpectError, "none for y"):
            propagate(module)
        with self.assertRaises(RuntimeError) as caught:
            propagate(module, (torch.zeros(2, 8), torch.zeros(3, 3)))
        self.assertIn("while propagating through", caught.exception.__notes__[0])


if __name__ == "__main__":
    unittest.main()
