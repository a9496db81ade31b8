"""Keywords: operators, passes and APIs told from names alone."""

import ast
import textwrap
import unittest

from fxpect.pages.naming import Keyword, Names, keywords, targets

FILE = '''
    import functools
    import torch
    import torch.nn.functional as F
    import fxpect
    from torch._inductor.fx_passes import pre_grad
    from torch.fx.passes.shape_prop import ShapeProp

    aten = torch.ops.aten
    explore = functools.partial(fxpect.explore, max_examples=3)
    sink = pre_grad.sink_cat_after_pointwise

    def uses(x):
        return again(F.relu(x))

    def again(x):
        return uses(torch.cat([x]))

    def test(self, pre_grad_option, joint):
        ops = {"aten.relu": 1, "post_grad.remove_noop_ops": 2, "no name of torch": 3, "torch.tanh": 4}
        explore(sink, aten.add.Tensor._schema, torch.ops.higher_order.cond)
        self.assertRewrites(uses, ShapeProp)
        self.assertEqual(joint.graph, torch.__file__)
'''


def names(text=FILE):
    tree = ast.parse(textwrap.dedent(text))
    return Names(tree).of(tree.body[-1])


class KeywordTests(unittest.TestCase):
    """What a test refers to, directly and through its file."""

    def test_kinds(self):
        """Operators, passes and APIs are told apart, through aliases, helpers, strings; the rest is none."""
        found = keywords(names(), ["torch.relu"], frozenset({"torch.cat", "torch.nn.functional.relu"}))

        self.assertEqual({kind: [word.name for word in found if word.kind == kind]
                          for kind in ("operator", "pass", "API")},
                         {"operator": ["aten.add.Tensor", "aten.relu", "higher_order.cond", "torch.cat",
                                       "torch.nn.functional.relu", "torch.relu"],
                          "pass": ["post_grad.remove_noop_ops", "pre_grad.sink_cat_after_pointwise",
                                   "torch.fx.passes.shape_prop.ShapeProp"],
                          "API": ["assertRewrites", "fxpect.explore", "torch.tanh"]})

    def test_what_no_graph_calls_is_an_api(self):
        """A function of torch is an operator only where some stored graph calls it."""
        self.assertIn(Keyword("API", "torch.cat"), keywords(names(), (), frozenset()))


class TargetTests(unittest.TestCase):
    """What a graph text calls."""

    def test_calls(self):
        """Operators, functions and methods are found, in nested graphs too; submodules and constants are not."""
        text = textwrap.dedent('''
            def forward(self, x: "f32[2]"):
                self.linear = torch.nn.Linear(2, 2)
                def body(self, y):
                    return operator.add(y, 1)
                a: "f32[2]" = torch.ops.aten.add.Tensor(x, 1)
                b = a.relu()
                c = self.linear(b)
                return torch.full([2], 1, device=torch.device("cpu"))
        ''')

        self.assertEqual(targets(text), {"operator.add", "aten.add.Tensor", "Tensor.relu", "torch.full"})

    def test_other_texts(self):
        """A message and a script, which are stored too, call nothing."""
        for text in ("Unsupported: graph break", "import torch\nreader.tensor(1)\n", ""):
            self.assertEqual(targets(text), frozenset(), text)


if __name__ == "__main__":
    unittest.main()
