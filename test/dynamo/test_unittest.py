"""Test bodies under torch.compile: traced, an assertion says what it says in eager, and never passes in silence.

Mirrors test/dynamo/test_unittest.py of PyTorch, whose one test raises and catches SkipTest in a traced body. Guards
that dynamo traces the assertions of unittest without dropping any, that what a traced test raises is what it
raised, and that nothing of them is left in the graph. The harness of this suite is under test here as well.

Would have caught https://github.com/pytorch/pytorch/pull/179928 (a check of a message that was dropped) and
https://github.com/pytorch/pytorch/pull/186755 (a setting that changed which bodies are traced).
"""

import functools
import unittest

import torch
from hypothesis import strategies as st
from torch._inductor.fx_passes import pre_grad

import fxpect
from fxpect import T
from fxpect.compiling import graphs_of
from fxpect.passes.catalogue import applies

explore = functools.partial(fxpect.explore, max_examples=20)
NUMBERS = st.integers(-2, 2)
# Each takes the two drawn values: numbers, or a number and a list.
ASSERTIONS = {
    "assertEqual": lambda test, a, b: test.assertEqual(a, b),
    "assertNotEqual": lambda test, a, b: test.assertNotEqual(a, b),
    "assertTrue": lambda test, a, b: test.assertTrue(a == b),
    "assertFalse": lambda test, a, b: test.assertFalse(a < b),
    "assertIs": lambda test, a, b: test.assertIs(a > b, True),
    "assertIsNone": lambda test, a, b: test.assertIsNone(None if a == b else a),
    "assertIn": lambda test, a, b: test.assertIn(a, [b, b + 1]),
    "assertNotIn": lambda test, a, b: test.assertNotIn(a, (b, b + 1)),
    "assertLess": lambda test, a, b: test.assertLess(a, b),
    "assertGreaterEqual": lambda test, a, b: test.assertGreaterEqual(a, b),
    "assertIsInstance": lambda test, a, b: test.assertIsInstance(a, int if b else str),
    "assertListEqual": lambda test, a, b: test.assertListEqual([a, 1], [b, 1]),
    "fail": lambda test, a, b: None if a == b else test.fail(f"{a} is not {b}"),
}
ERRORS = {"ValueError": ValueError, "KeyError": KeyError, "ZeroDivisionError": ZeroDivisionError}
ERROR = st.sampled_from(sorted(ERRORS))


def verdict(body, *, traced=False, whole=False):
    """Return what a test with this body comes to: how it ends, and the last line that it says.

    Traced, the body is compiled by dynamo, unittest included; as a ``whole``, in one graph or not at all.
    """

    class Case(unittest.TestCase):
        def test(self):
            if not traced:
                return body(self)
            torch._dynamo.reset()
            with torch._dynamo.config.patch(enable_trace_unittest=True):
                return torch.compile(lambda: body(self), backend="eager", fullgraph=whole)()

    result = unittest.TestResult()
    Case("test").run(result)
    found = {"failed": result.failures, "error": result.errors, "skipped": result.skipped}
    ends = [(kind, text) for kind, entries in found.items() for _, text in entries]
    return [(kind, text.strip().split("\n")[-1]) for kind, text in ends] or [("passed", "")]


class TestUnittest(fxpect.PreGradPassTestCase):
    """Assertions in a traced body."""

    def assertSameVerdict(self, body):
        """Fail unless the body ends alike in eager, traced in parts, and traced as a whole."""
        eager = verdict(body)
        self.assertEqual(verdict(body, traced=True), eager)
        (whole,) = {kind for kind, _ in verdict(body, traced=True, whole=True)}
        # What is raised through a whole graph arrives as an error of dynamo.
        self.assertEqual(whole, "passed" if eager == [("passed", "")] else "error")

    @explore(st.sampled_from(sorted(ASSERTIONS)), NUMBERS, NUMBERS)
    def test_assertions(self, name, a, b):
        """An assertion holds, or fails with its words, as in eager."""
        self.assertSameVerdict(lambda test: ASSERTIONS[name](test, a, b))

    @explore(ERROR, ERROR, st.sampled_from(["", "a", "z", "^abc$"]), st.booleans(), st.booleans())
    def test_raises(self, raised, expected, pattern, raises, as_context):
        """assertRaises and assertRaisesRegex look at the type, and at the words: neither check is dropped."""

        def act():
            if raises:
                raise ERRORS[raised]("abc")

        def body(test):
            check = test.assertRaisesRegex if pattern else test.assertRaises
            given = (ERRORS[expected], pattern) if pattern else (ERRORS[expected],)
            if as_context:
                with check(*given):
                    act()
            else:
                check(*given, act)

        self.assertSameVerdict(body)

    @explore(st.lists(NUMBERS, max_size=4))
    def test_subtests(self, values):
        """A loop of subtests reports each that fails."""

        def body(test):
            for value in values:
                with test.subTest(value=value):
                    test.assertLess(value, 1)

        eager = verdict(body)

        self.assertEqual(len([kind for kind, _ in eager if kind == "failed"]), sum(value >= 1 for value in values))
        self.assertEqual(verdict(body, traced=True), eager)

    @explore(st.booleans(), st.sampled_from(["later", "no such device"]), max_examples=4)
    def test_skip(self, raises, reason):
        """A skip is a skip; through a whole graph it is one too from torch 2.15 on, and an error before."""

        def body(test):
            if raises:
                raise unittest.SkipTest(reason)
            test.skipTest(reason)

        self.assertEqual(verdict(body), [("skipped", reason)])
        self.assertEqual(verdict(body, traced=True), [("skipped", reason)])
        ((kind, _),) = verdict(body, traced=True, whole=True)
        self.assertEqual(kind, "skipped" if applies(">=2.15") else "error")

    @explore(st.integers(1, 4), max_examples=3)
    def test_skiptest(self, size):
        """SkipTest raised and caught inside a traced body leaves the operators around it, in one graph."""

        def body(x):
            x = x + 1
            try:
                raise unittest.SkipTest("not here")
            except unittest.SkipTest:
                return torch.relu(x)

        x = torch.arange(float(size)) - 2
        sequence = graphs_of(body, x, fullgraph=True)

        self.assertEqual(sequence.outline, ["graph: add, relu"])
        self.assertTrue(torch.equal(sequence.value, body(x)))

    @explore(st.integers(1, 3), st.integers(1, 3), max_examples=4)
    def test_graph_is_the_operators_alone(self, rows, columns):
        """Assertions on shapes and on Python values leave nothing in the graph, over which a pass runs as ever."""

        def model(x, y):
            self.assertEqual(x.shape, (rows, columns))
            z = torch.cat([x, y], dim=-1)
            self.assertIn(z.shape[-1], [columns + 2])
            self.assertIsNone(z.grad)
            with self.assertRaises(KeyError):
                {}["missing"]
            return torch.relu(z)

        ops = {"torch.cat": (1, 1), "torch.relu": (1, 2)}
        with torch._dynamo.config.patch(enable_trace_unittest=True):
            example = graphs_of(model, T(rows, columns), T(rows, 2), fullgraph=True).graphs[0].example
        self.assertRewrites(pre_grad.sink_cat_after_pointwise, example, ops=ops)

    def test_bodies_are_left_out_by_default(self):
        """Without the setting a whole graph refuses the assertions of unittest, on every torch of this suite."""
        self.assertIs(torch._dynamo.config.enable_trace_unittest, False)
        with self.assertRaisesRegex(torch._dynamo.exc.Unsupported, "unittest"):
            graphs_of(lambda x: self.assertTrue(True) or x + 1, T(2), fullgraph=True)

    @explore(NUMBERS, NUMBERS, max_examples=3)
    def test_expected_failure(self, a, b):
        """An expected failure is one when it fails in a traced body, and a surprise when it does not."""

        class Case(unittest.TestCase):
            @unittest.expectedFailure
            def test(self):
                torch._dynamo.reset()
                with torch._dynamo.config.patch(enable_trace_unittest=True):
                    torch.compile(lambda: self.assertEqual(a, b), backend="eager")()

        result = unittest.TestResult()
        Case("test").run(result)

        self.assertEqual([len(result.expectedFailures), len(result.unexpectedSuccesses)], [int(a != b), int(a == b)])

    @explore(st.sampled_from(["assertEqual", "assertLess", "assertIn"]), NUMBERS, NUMBERS, max_examples=3)
    def test_make_dynamo_test(self, name, a, b):
        """torch's decorator runs the body in eager first and traced after it: the verdict is that of eager."""
        from torch.testing._internal.common_utils import make_dynamo_test

        def body(test):
            ASSERTIONS[name](test, a, b)

        with torch._dynamo.config.patch(enable_trace_unittest=True):
            self.assertEqual(verdict(make_dynamo_test(body)), verdict(body))


class HarnessTests(fxpect.TestCase):
    """The test cases of fxpect: no assertion is lost, whatever is set."""

    def run_one(self, case):
        """Run the one test of a class; returns the result."""
        result = unittest.TestResult()
        case("test").run(result)
        return result

    @explore(st.booleans(), max_examples=2)
    def test_wrong_text_is_a_failure_whatever_is_set(self, disabled):
        """A graph that is not the expected one fails the test, also where torch's own TestCase looks away."""
        from torch._dynamo.test_case import TestCase as DynamoTestCase

        class Ours(fxpect.TestCase):
            def test(self):
                with torch._dynamo.config.patch(debug_disable_compile_counter=disabled):
                    self.assertExpectedGraphInline(torch.fx.symbolic_trace(torch.nn.Identity()), "another text")

        class Theirs(DynamoTestCase):
            def test(self):
                with torch._dynamo.config.patch(debug_disable_compile_counter=disabled):
                    self.assertExpectedInline("this text", "another text")

        self.assertEqual(len(self.run_one(Ours).failures), 1)
        theirs = self.run_one(Theirs)
        self.assertEqual(len(theirs.failures) + len(theirs.errors), 0 if disabled else 1)

    @explore(st.integers(1, 6), max_examples=3)
    def test_set_up_once_around_all_examples(self, count):
        """setUp, all examples, tearDown, clean-ups in reverse: each example has a state of its own."""
        events, grads = [], []

        class Case(fxpect.TestCase):
            def setUp(self):
                super().setUp()
                events.append("set up")
                self.addCleanup(events.append, "clean up 2")
                self.addCleanup(events.append, "clean up 1")

            def tearDown(self):
                events.append("tear down")
                super().tearDown()

            @fxpect.explore(st.integers(0, 1000), max_examples=count)
            def test(self, value):
                events.append("example")
                grads.append(torch.rand(1).item())

        result = self.run_one(Case)

        examples = events.count("example")
        self.assertEqual(events, ["set up", *["example"] * examples, "tear down", "clean up 1", "clean up 2"])
        self.assertTrue(result.wasSuccessful(), result.errors)
        self.assertTrue(1 <= examples <= count)
        self.assertEqual(len(set(grads)), 1)

    @explore(st.integers(0, 20), max_examples=3)
    def test_failing_example_is_a_failure(self, least):
        """An assertion that fails for some of the examples fails the test, with the smallest of them."""

        class Case(fxpect.TestCase):
            @fxpect.explore(st.integers(0, 40), max_examples=200)
            def test(self, value):
                self.assertLess(value, least + 10)

        ((_, message),) = self.run_one(Case).failures

        self.assertIn(f"AssertionError: {least + 10} not less than {least + 10}", message)
        self.assertIn(f"drawn: {least + 10}", message)


if __name__ == "__main__":
    fxpect.run_tests()
