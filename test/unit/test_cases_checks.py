"""The verbs as methods: pipelines, counts, texts in the source, and the mixin in torch's own TestCase."""

import importlib.util
import os
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import torch
import torch._dynamo.test_case

import fxpect
from fxpect import T
from fxpect.errors import CheckFailure, FxpectError, InputDrift, PassCrash


def folds(gm):
    """Drop a relu of a relu that nothing else uses."""
    for node in gm.graph.find_nodes(op="call_function", target=torch.relu):
        if getattr(node.args[0], "target", None) is torch.relu and len(node.args[0].users) == 1:
            node.replace_all_uses_with(node.args[0])
            gm.graph.erase_node(node)
    gm.recompile()


def negates(gm):
    """Put the negative in the place of every sum: wrong."""
    for node in gm.graph.find_nodes(op="call_function", target=torch.add):
        with gm.graph.inserting_after(node):
            negative = gm.graph.call_function(torch.neg, (node,))
        node.replace_all_uses_with(negative)
        negative.args = (node,)
    gm.recompile()


def does_nothing(gm):
    """Change nothing."""


def two_relus(x):
    return torch.add(torch.relu(torch.relu(x)), 1)


class ChecksTests(fxpect.PassTestCase):
    """The methods of a test case, as a test calls them."""

    capture = "symbolic"

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder.name)

    def test_verbs_use_the_capture_of_the_class(self):
        """A verb takes the capture of its class, or the one it is told."""
        self.assertRewrites(folds, two_relus, T(3), ops={"torch.relu": (2, 1)})
        self.assertUnchanged(folds, two_relus, T(3), capture="make_fx", ops={"aten.relu": (2, 2)})
        self.assertPreserves(folds, two_relus, T(3))

    def test_failure_names_the_test(self):
        """The message has the test's id, under which graphs are saved."""
        with self.assertRaises(CheckFailure) as caught:
            self.assertPreserves(negates, two_relus, T(3))

        self.assertIn("where: ", str(caught.exception))
        self.assertIn("ChecksTests.test_failure_names_the_test, capture 'symbolic'", str(caught.exception))
        self.assertIn("ChecksTests.test_failure_names_the_test", str(next(Path(".fxpect/runs").iterdir())))

    def test_pipeline(self):
        """Each stage is judged and returned by name; counts hold before the first and after the last."""
        results = self.assertPipeline(
            {"fold": folds, "nothing": does_nothing}, two_relus, T(3), ops={"torch.relu": (2, 1), torch.add: (1, 1)}
        )

        self.assertEqual(
            [(name, result.changed) for name, result in results.items()], [("fold", True), ("nothing", False)]
        )
        self.assertOps(results["fold"], {"torch.relu": 1})

    def test_pipeline_names_the_culprit(self):
        """The stage that breaks something is named with its place; later stages do not run."""
        ran = []
        with self.assertRaises(CheckFailure) as caught:
            self.assertPipeline({"fold": folds, "negate": negates, "last": lambda gm: ran.append(gm)}, two_relus, T(3))

        self.assertEqual((caught.exception.pass_name, ran), ("negate", []))
        self.assertIn("stage 2/3 negate", str(caught.exception))
        self.assertIn("[numerics] pass negate", str(caught.exception))

    def test_pipeline_stage_that_raises(self):
        """A stage that raises is a crash of that stage."""

        def raises(gm):
            raise ValueError("the reason")

        with self.assertRaises(PassCrash) as caught:
            self.assertPipeline({"fold": folds, "broken": raises}, two_relus, T(3))

        self.assertIn("stage 2/2 broken", str(caught.exception))

    def test_pipeline_counts(self):
        """A wrong count before the first stage is InputDrift, after the last a failure of the counts."""
        with self.assertRaises(InputDrift):
            self.assertPipeline({"fold": folds}, two_relus, T(3), ops={"torch.relu": (3, 1)})
        with self.assertRaisesRegex(CheckFailure, "expected 0 x torch.relu in the graph after the pass; got 1"):
            self.assertPipeline({"fold": folds}, two_relus, T(3), ops={"torch.relu": 0})

    def test_pipeline_misuse(self):
        """What is no pipeline is refused."""
        for passes in ({}, [folds], folds):
            with self.subTest(repr(passes)), self.assertRaisesRegex(FxpectError, "expected a pipeline"):
                self.assertPipeline(passes, two_relus, T(3))

    def test_ops(self):
        """assertOps counts in whatever holds a graph."""
        gm = torch.fx.symbolic_trace(two_relus)
        result = self.assertRewrites(folds, two_relus, T(3))
        for graph, count in ((gm, 2), (gm.graph, 2), (result, 1), (result.execution, 1), (result.execution.before, 2)):
            with self.subTest(type(graph).__name__):
                self.assertOps(graph, {"torch.relu": count})
        with self.assertRaisesRegex(CheckFailure, "expected 3 x torch.relu in the graph; got 2"):
            self.assertOps(gm, {"torch.relu": 3})
        with self.assertRaisesRegex(FxpectError, "expected a GraphModule"):
            self.assertOps("text", {"torch.relu": 3})

    def test_inline(self):
        """The text in the source may be indented; another text is a failure in words and lines."""
        gm = torch.fx.symbolic_trace(two_relus)

        self.assertExpectedGraphInline(
            gm,
            """
            def forward(self, x):
                relu = torch.relu(x)
                relu_1 = torch.relu(relu)
                add = torch.add(relu_1, 1)
                return add
            """,
        )
        with self.assertRaises(CheckFailure) as caught:
            self.assertExpectedGraphInline(
                gm,
                """
            def forward(self, x):
                relu = torch.relu(x)
                add = torch.add(relu, 1)
                return add
            """,
            )

        self.assertIn("+1 relu", str(caught.exception))
        self.assertIn("EXPECTTEST_ACCEPT=1", str(caught.exception))

    def test_label_is_a_string(self):
        """A label that is no string is misuse."""
        with self.assertRaisesRegex(FxpectError, "expected label="):
            self.assertPreserves(folds, two_relus, T(3), label=3)


SOURCE = '''
import torch
import fxpect


class Inline(fxpect.TestCase):
    def test_graph(self):
        self.assertExpectedGraphInline(torch.fx.symbolic_trace(torch.nn.Identity()), """old""")

    def test_string(self):
        self.assertExpectedInline("new", """old""")
'''


class AcceptTests(unittest.TestCase):
    def test_accepting_writes_the_source(self):
        """EXPECTTEST_ACCEPT=1 writes the text into the source, where it then holds; in CI it writes nothing."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "inline_of_a_test.py"
            path.write_text(SOURCE, encoding="utf-8")
            with mock.patch.dict(os.environ, EXPECTTEST_ACCEPT="1", CI="1"):
                refused = run(path)
            untouched = path.read_text()
            with mock.patch.dict(os.environ, EXPECTTEST_ACCEPT="1", CI=""):
                accepted = run(path)
            with mock.patch.dict(os.environ, EXPECTTEST_ACCEPT="", CI=""):
                held = run(path)
            written = path.read_text()

        self.assertEqual(untouched, SOURCE)
        self.assertEqual([len(refused.errors), accepted.wasSuccessful(), held.wasSuccessful()], [2, True, True])
        self.assertIn('"""\\\ndef forward(self, input):\n    return input\n""")', written)
        self.assertIn('assertExpectedInline("new", """new""")', written)


def run(path):
    """Load a file anew and run its tests."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromModule(module).run(result)
    finally:
        del sys.modules[path.stem]
    return result


class MixinTests(fxpect.Checks, torch._dynamo.test_case.TestCase):
    """The verbs in a class that derives from torch's own TestCase."""

    capture = "symbolic"

    def test_verbs(self):
        """Verbs, counts and texts work there as in the own classes."""
        result = self.assertRewrites(folds, two_relus, T(3), ops={"torch.relu": (2, 1)})
        self.assertOps(result, {"torch.relu": 1})
        self.assertExpectedGraphInline(
            result,
            """
            def forward(self, x: "f32[3]"):
                relu: "f32[3]" = torch.relu(x)
                add: "f32[3]" = torch.add(relu, 1)
                return add
            """,
        )

    def test_captures_do_not_depend_on_torchs_settings(self):
        """Torch's class may reorder and rename dynamo's graphs; the text is the same all the same."""
        result = self.assertUnchanged(
            does_nothing, lambda x, y: torch.cos(y) * 3 + torch.sin(x) * 2, T(2), T(2), capture="dynamo"
        )
        self.assertExpectedGraphInline(
            result,
            """
            def forward(self, y: "f32[2]", x: "f32[2]"):
                cos: "f32[2]" = torch.cos(y)
                mul: "f32[2]" = operator.mul(cos, 3)
                sin: "f32[2]" = torch.sin(x)
                mul_1: "f32[2]" = operator.mul(sin, 2)
                add: "f32[2]" = operator.add(mul, mul_1)
                return (add,)
            """,
        )


if __name__ == "__main__":
    unittest.main()
