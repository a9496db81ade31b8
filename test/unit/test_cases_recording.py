"""The cases that a run keeps for ``fxpect compare``: what is in them, and that nothing is kept unasked."""

import json
import math
import unittest
from types import SimpleNamespace

import torch

import fxpect
from fxpect import T
from fxpect.cases.recording import keep_sequence, keep_text, values_of
from fxpect.errors import NoRewrite
from fxpect.oracles.observe import Observation
from fxpect.passes.known_bugs import load, table_path
from fxpect.records import CaseRun
from fxpect.report.kept import kept

aten = torch.ops.aten


def drop_double_relu(gm):
    """relu(relu(x)) is relu(x)."""
    for node in gm.graph.find_nodes(op="call_function", target=aten.relu.default):
        if node.args[0].target is aten.relu.default:
            node.replace_all_uses_with(node.args[0])
            gm.graph.erase_node(node)


def crash(gm):
    """Raise."""
    raise ValueError("no such graph\nat all")


class RecordingTests(fxpect.CompileTestCase):
    """Verbs called in a test, with and without a run that keeps cases."""

    def setUp(self):
        super().setUp()
        self.addCleanup(kept.take)
        self.enterContext(kept.wanting(True))

    def one(self):
        """Return the only case that was kept, after a round through JSON."""
        (case,) = kept.take()
        self.assertEqual(CaseRun.from_dict(json.loads(json.dumps(vars(case) | {
            "values": [vars(value) for value in case.values]}))), case)
        return case

    def test_a_rewrite(self):
        """Pass, label, inputs, both graphs and the values of the outputs are kept."""
        self.assertRewrites(drop_double_relu, lambda x: x.relu().relu(), T(2, 3), capture="export", label="two")

        case = self.one()
        self.assertEqual((case.pass_name, case.options, case.inputs),
                         ("drop_double_relu", "capture=export, label='two'", "f32[2, 3]"))
        self.assertEqual((case.before.count("relu.default"), case.after.count("relu.default")), (2, 1))
        self.assertEqual([(value.name, value.form, value.nans) for value in case.values],
                         [("output 0", "float32 [2, 3]", 0)])
        self.assertGreater(case.values[0].total, 0)
        self.assertEqual((case.failures, case.known), ((), ()))

    def test_no_change_has_no_values(self):
        """Where the pass changes nothing the graphs are not run for the record's sake."""
        self.assertUnchanged(drop_double_relu, lambda x: x.relu(), T(2), capture="export")

        case = self.one()
        self.assertEqual((case.before, case.values), (case.after, ()))

    def test_what_fails_is_kept_before_it_is_raised(self):
        """A claim that does not hold, and a pass that crashes, leave a case with what failed in one line."""
        with self.assertRaises(NoRewrite):
            self.assertRewrites(drop_double_relu, lambda x: x.relu(), T(2), capture="export")
        self.assertEqual([failure[:2] for failure in self.one().failures], [("rewrite", "no rewrite")])
        with self.assertRaises(fxpect.CheckFailure):
            self.assertRewrites(crash, lambda x: x.relu(), T(2), capture="export")
        case = self.one()
        self.assertIsNone(case.after)
        self.assertIn("no such graph", case.failures[0][2])
        self.assertNotIn("\n", case.failures[0][2])

    def test_a_known_bug_is_named(self):
        """The id of a bug of torch that explains what fails is kept in the place of the failure."""
        bug = next(bug for bug in load(table_path()) if bug.id == "sink-cat-below-dtype-view")
        from fxpect.passes.firing import pass_of

        self.assertPreserves(pass_of(bug.entry), bug.example(), known=[bug], severity=bug.entry.severity or None,
                             oracles=("numerics", "effects", "metadata", "gradients", "structure", bug.oracle))

        case = self.one()
        self.assertEqual((case.known, case.failures), ((bug.id,), ()))

    def test_texts_and_graphs_without_a_pass(self):
        """What a test compares as a text is kept as it is; what a pass left, with the graph before it."""
        result = self.assertRewrites(drop_double_relu, lambda x: x.relu().relu(), T(2), capture="export")
        kept.take()
        keep_text("a message", "said")
        self.assertEqual(self.one(), CaseRun("", "text='said'", "", "a message"))
        self.assertExpectedGraphInline(result, """\
def forward(self, x: "f32[2]"):
    relu: "f32[2]" = torch.ops.aten.relu.default(x)
    return (relu,)""")
        case = self.one()
        self.assertEqual((case.pass_name, case.before.count("relu.default"), case.after.count("relu.default")),
                         ("drop_double_relu", 2, 1))

    def test_a_call_under_compile(self):
        """Each graph of the call is kept, and the breaks between them."""
        def break_in_two(x):
            x = x.sin()
            torch._dynamo.graph_break()
            return x.cos()

        self.assertCompiles(break_in_two, T(3))

        first, second, breaks = kept.take()
        self.assertEqual((first.options, second.options, breaks.options), ("graph=0", "graph=1", "breaks"))
        self.assertIn("sin", first.before)
        self.assertIn("cos", second.before)
        self.assertIn("graph break", breaks.before)

    def test_a_graph_that_has_no_text(self):
        """Keeping never raises: the line that says why there is no text is kept."""
        class Unprintable:
            execution = None

            @property
            def text(self):
                raise fxpect.FxpectError("no way to print it\nat all")

        keep_sequence(SimpleNamespace(graphs=[Unprintable()], breaks=[]))

        self.assertEqual(self.one().before, "# no text: FxpectError: no way to print it")

    def test_nothing_is_kept_unasked(self):
        """A run that does not ask for cases gets none, nor does anybody for a fresh example."""
        with kept.wanting(False):
            self.assertUnchanged(drop_double_relu, lambda x: x.relu(), T(2), capture="export")
            kept.add(CaseRun("", "", "", ""))
        self.assertEqual(kept.take(), ())

    @fxpect.explore(fxpect.near(lambda x: x.relu(), T(2)), max_examples=2)
    def test_fresh_examples_are_not_kept(self, example):
        """They are others on every torch."""
        self.assertPreserves(lambda gm: None, example)
        self.assertEqual(kept.take(), ())


class ValuesTests(unittest.TestCase):
    """A tensor in few numbers."""

    def values(self, *tensors):
        return list(values_of(Observation(initial=[], leaves=list(tensors))))

    def test_what_is_counted(self):
        """NaN and infinities are counted and left out of the sums."""
        (value,) = self.values(torch.tensor([1.0, math.nan, math.inf, -math.inf, -2.0]))
        self.assertEqual((value.nans, value.infinite, value.form), (1, 2, "float32 [5]"))
        self.assertLess(value.total, 0)
        self.assertEqual(value.scale, 1 * 1 + 2 * (1 + 4 * 0.6180339887498949 % 1))

    def test_places_count(self):
        """Elements that change places change the sum; another layout of the same values does not."""
        line = torch.arange(12.0).reshape(3, 4)
        one, other, same = self.values(line, line.flip(0), line.t().contiguous().t())
        self.assertNotAlmostEqual(one.total, other.total)
        self.assertEqual(one.total, same.total)

    def test_every_kind_of_tensor(self):
        """Integers, bool, complex, half, sparse, quantized and empty tensors have values; what is no tensor has none.
        """
        kinds = [torch.tensor([1, 2]), torch.tensor([True]), torch.tensor([1 + 2j]), torch.tensor([0.5]).half(),
                 torch.eye(2).to_sparse(), torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
                 torch.empty(0), 3]

        found = self.values(*kinds)

        self.assertEqual([value.form for value in found],
                         ["int64 [2]", "bool [1]", "complex64 [1]", "float16 [1]", "float32 [2, 2]", "qint8 [2]",
                          "float32 [0]"])

    def test_a_run_that_raised(self):
        """There are no values where there is no result."""
        self.assertEqual(list(values_of(Observation(initial=[], error=ValueError("no")))), [])
        self.assertEqual(list(values_of(None)), [])


if __name__ == "__main__":
    fxpect.run_tests()
