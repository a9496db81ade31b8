"""The generality oracle: passes that are right at every size, and passes that are tied to one."""

import unittest

import torch
from torch.fx.experimental.symbolic_shapes import compute_unbacked_bindings

from fxpect.capture import capture
from fxpect.errors import CheckFailure
from fxpect.execution import run_pass
from fxpect.oracles.evidence import Evidence
from fxpect.oracles.generality import AT_MOST, check_generality, other_sizes
from fxpect.oracles.judge import judge
from fxpect.oracles.shapes import fits_symbols, kept_shapes, shape_env_of
from fxpect.specs import Dim, T

aten = torch.ops.aten
ASKED = ("structure", "numerics", "effects", "metadata", "generality")


def flattened(size):
    """Return a pass that replaces view(x, [-1]) by a view to what ``size`` makes of the input's fake value."""

    def flatten(graph):
        for node in graph.find_nodes(op="call_function", target=aten.view.default):
            node.args = (node.args[0], [size(node.args[0].meta["val"])])

    return flatten


class GeneralityTests(unittest.TestCase):
    def fails(self, cause, message, pass_, example):
        """Assert that judging finds this cause, and these words in its message."""
        found = {failure.cause: str(failure) for failure in judge(pass_, example, oracles=ASKED).failures}
        self.assertIn(f"generality:{cause}", found)
        self.assertIn(message, found[f"generality:{cause}"])
        return found

    def test_general_rewrite(self):
        """A rewrite that holds at every size is let pass."""

        def double(graph):
            for node in graph.find_nodes(op="call_function", target=aten.add.Tensor):
                node.target, node.args = aten.mul.Tensor, (node.args[0], 2)

        example = capture(lambda x: x + x, (T("B", "C"),))
        result = judge(double, example, oracles=ASKED)
        self.assertTrue(result.changed and result.holds, result.failures)
        check_generality(result.evidence, example)

    def test_size_burnt_in(self):
        """A pass that writes the captured size into the graph fails at another size, which is named."""
        example = capture(lambda x: x.view(-1) + 1, (T("B", 3),))
        size = 3 * example.sizes["B"]
        found = self.fails(
            "at-size:crash:graph:RuntimeError:view:shape is invalid for input of size",
            "at B=0: ",
            flattened(lambda fake: size),
            example,
        )
        self.assertEqual(len([cause for cause in found if "at-size" in cause]), 1)

    def test_value_burnt_in(self):
        """A pass that divides by the captured size gives wrong numbers at other sizes, and only there."""
        example = capture(lambda x: x.mean(0), (T("B", 3),))
        size = example.sizes["B"]

        def mean_by_sum(graph):
            for node in graph.find_nodes(op="call_function", target=aten.mean.dim):
                with graph.inserting_before(node):
                    total = graph.call_function(aten.sum.dim_IntList, node.args)
                node.target, node.args = aten.div.Tensor, (total, size)

        found = self.fails("at-size:numerics:values", "at B=1: output 0: values", mean_by_sum, example)
        self.assertNotIn("numerics:values", found)

    def test_raw_symbol(self):
        """A symbolic number among the arguments of a node is reported at the node."""
        example = capture(lambda x: x.view(-1) + 1, (T("B", 3),))
        found = self.fails(
            "raw-symbol",
            "node view: expected sizes to be nodes or integers; got SymInt 3*s",
            flattened(lambda fake: fake.numel()),
            example,
        )
        self.assertTrue(found)

    def test_new_guard(self):
        """A pass that asks for a size, and so ties the graph to the answer, is reported; the graph forgets it."""
        example = capture(lambda x: x + x, (T("B", 3),))
        env = shape_env_of(example.graph_module)
        before = len(env.guards), dict(env.replacements), dict(env.var_to_range)

        def asking(graph):
            for node in graph.find_nodes(op="call_function", target=aten.add.Tensor):
                if node.meta["val"].shape[0] > 5:
                    node.target, node.args = aten.mul.Tensor, (node.args[0], 2)

        def specializing(graph):
            for node in graph.find_nodes(op="call_function", target=aten.add.Tensor):
                int(node.meta["val"].shape[0])
                node.target, node.args = aten.mul.Tensor, (node.args[0], 2)

        found = {f.cause for f in judge(asking, example, dynamic=True).failures}
        self.assertTrue(found & {"generality:new-guard", "generality:new-range"}, found)
        self.fails(
            "new-specialization", "expected a pass that assumes nothing new of the sizes; got s", specializing, example
        )
        self.assertEqual((len(env.guards), dict(env.replacements), dict(env.var_to_range)), before)

    def test_check_raises(self):
        """The check itself raises the first failure, with what was learned in words."""
        example = capture(lambda x: x + x, (T("B", 3),))
        execution = run_pass(lambda graph: None, example)
        evidence = Evidence(example.graph_module, execution.after, example.realize())
        check_generality(evidence, example)
        with self.assertRaisesRegex(CheckFailure, "got s0 = 4"):
            check_generality(evidence, example, ("specialization", "s0 = 4"))

    def test_sizes_that_are_tried(self):
        """Every size tried is allowed by its dim, none is the captured one, and there are at most a dozen."""
        example = capture(lambda x, y: (x + 1, y + 1), (T(Dim("B", min=2, max=5), 3), T("C", Dim("D", max=4))))
        tried = list(other_sizes(example))
        self.assertNotIn(example.sizes, tried)
        self.assertLessEqual(len(tried), AT_MOST)
        self.assertTrue(all(2 <= sizes["B"] <= 5 and 0 <= sizes["D"] <= 4 for sizes in tried))
        self.assertTrue({0, 1} <= {sizes["C"] for sizes in tried})
        self.assertEqual(list(other_sizes(capture(lambda x: x + 1, (T(2),)))), [])

    def test_sizes_outside_the_graph(self):
        """Sizes that break a guard or a range of the capture are left out."""
        example = capture(lambda x: x + x, (T("B", 3),), capture="dynamo")
        self.assertTrue(fits_symbols(example.graph_module, example.realize(sizes={"B": 9}), "example_value"))
        self.assertFalse(fits_symbols(example.graph_module, example.realize(sizes={"B": 1}), "example_value"))

    def test_static_graphs_assume_nothing(self):
        """A static graph has no environment to keep."""
        with kept_shapes(capture(lambda x: x + x, (T(2, 3),)).graph_module) as assumed:
            self.assertIsNone(assumed)

    def test_symbols_that_another_graph_left_are_forgotten(self):
        """A pass that runs operators on fake tensors is not asked for a size that was made while a graph was typed."""
        def retyped(graph):
            (node,) = graph.find_nodes(op="call_function", target=aten.add.Tensor)
            compute_unbacked_bindings(node.meta["val"].fake_mode.shape_env, node.meta["val"])
            node.target = aten.sub.Tensor

        example = capture(lambda x: x + x, (T("B", 3),), capture="aten")
        shape_env_of(example.graph_module).create_unbacked_symfloat()

        self.assertEqual([failure.oracle for failure in judge(retyped, example).failures], ["numerics"])


if __name__ == "__main__":
    unittest.main()
