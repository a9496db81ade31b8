"""The base TestCase: every test from the same state, what it leaks a failure, with unittest and by hand."""

import random
import unittest
from unittest import mock

import torch
import torch._dynamo

import fxpect
from fxpect.cases.base import TestCase


def outcome(case, method="test"):
    """Run one test of a class and return its result."""
    result = unittest.TestResult()
    case(method).run(result)
    return result


def messages(result):
    return [text for _, text in [*result.failures, *result.errors]]


class BaseTests(unittest.TestCase):
    def test_same_numbers_every_time(self):
        """Each test draws the same random numbers, whatever ran before, and leaves the generators alone."""
        drawn = []

        class Drawing(TestCase):
            def test(self):
                drawn.append((torch.randn(2).tolist(), random.random()))

        torch.manual_seed(3)
        expected = torch.randn(2)
        torch.manual_seed(3)
        for _ in range(2):
            self.assertTrue(outcome(Drawing).wasSuccessful())

        self.assertEqual(drawn[0], drawn[1])
        self.assertTrue(torch.equal(torch.randn(2), expected))

    def test_seed_of_the_class(self):
        """A class may choose another seed."""
        drawn = []

        class Drawing(TestCase):
            def test(self):
                drawn.append(torch.randn(2).tolist())

        class Other(Drawing):
            seed = 1

        outcome(Drawing)
        outcome(Other)

        self.assertNotEqual(drawn[0], drawn[1])

    def test_configuration_is_pinned_inside(self):
        """Inside a test the configuration has the pinned values, outside its own."""
        seen = []

        class Reading(TestCase):
            def setUp(self):
                seen.append(torch._dynamo.config.nested_graph_breaks)

            def test(self):
                config = torch._dynamo.config
                seen.append(
                    (
                        config.suppress_errors,
                        getattr(config, "canonicalize_output_graph_node_order", False),
                        torch._inductor.config.fx_graph_cache,
                        torch.get_num_threads(),
                    )
                )

        with torch._dynamo.config.patch(nested_graph_breaks=False, suppress_errors=True):
            outcome(Reading)
            after = torch._dynamo.config.nested_graph_breaks, torch._dynamo.config.suppress_errors

        self.assertEqual(seen, [True, (False, False, False, 1)])
        self.assertEqual(after, (False, True))

    def test_threads_are_put_back(self):
        """The one thread of a test is not that of the process."""

        class Nothing(TestCase):
            def test(self):
                pass

        before = torch.get_num_threads()
        torch.set_num_threads(before + 1)
        self.addCleanup(torch.set_num_threads, before)

        outcome(Nothing)

        self.assertEqual(torch.get_num_threads(), before + 1)

    def test_leak_is_a_failure_that_names_it(self):
        """A setting that a test leaves changed is a failure with its name, and is put back."""

        class Leaking(TestCase):
            def test(self):
                torch.set_grad_enabled(False)
                torch.set_default_dtype(torch.float64)

        result = outcome(Leaking)

        self.assertEqual((len(result.failures), len(result.errors)), (1, 0))
        self.assertIn("grad mode: True became False", messages(result)[0])
        self.assertIn("default dtype: torch.float32 became torch.float64", messages(result)[0])
        self.assertEqual((torch.is_grad_enabled(), torch.get_default_dtype()), (True, torch.float32))

    def test_leak_of_setup_is_a_failure(self):
        """A leak of setUp counts, unless tearDown or a clean-up puts it back."""

        class Leaking(TestCase):
            def setUp(self):
                torch.set_grad_enabled(False)

            def test(self):
                pass

        class Tidy(Leaking):
            def setUp(self):
                super().setUp()
                self.addCleanup(torch.set_grad_enabled, True)

        self.assertEqual([outcome(case).wasSuccessful() for case in (Leaking, Tidy)], [False, True])

    def test_leak_of_a_failing_test_is_put_back(self):
        """A test that raises and leaks reports both, and the next test starts clean."""

        class Both(TestCase):
            def test(self):
                torch.set_grad_enabled(False)
                self.fail("the reason")

        result = outcome(Both)

        self.assertIn("the reason", messages(result)[0])
        self.assertIn("grad mode", messages(result)[1])
        self.assertTrue(torch.is_grad_enabled())

    def test_configuration_leak_is_named(self):
        """A configuration entry that a test leaves changed is a failure with its full name."""

        class Leaking(TestCase):
            def test(self):
                torch._dynamo.config.suppress_errors = True

        result = outcome(Leaking)

        self.assertIn("torch._dynamo.config.suppress_errors: False became True", messages(result)[0])
        self.assertFalse(torch._dynamo.config.suppress_errors)

    def test_dynamo_is_reset_before_and_after(self):
        """Dynamo is reset, and its counters emptied, before each test and after it."""
        seen = []

        class Counting(TestCase):
            def test(self):
                seen.append(dict(torch._dynamo.utils.counters))
                torch._dynamo.utils.counters["mine"]["one"] += 1

        with mock.patch("torch._dynamo.reset", wraps=torch._dynamo.reset) as reset:
            outcome(Counting)
            outcome(Counting)

        self.assertEqual(seen, [{}, {}])
        self.assertEqual(reset.call_count, 4)

    def test_skipped_and_expected_failures(self):
        """A skip stays a skip, an expected failure one, and neither is taken for a leak."""

        class Marked(TestCase):
            @unittest.skip("not today")
            def test_decorated(self):
                torch.set_grad_enabled(False)

            def test_inside(self):
                self.skipTest("not here")

            @unittest.expectedFailure
            def test_expected(self):
                self.fail("known")

        results = {name: outcome(Marked, name) for name in ("test_decorated", "test_inside", "test_expected")}

        self.assertEqual([len(results[name].skipped) for name in results], [1, 1, 0])
        self.assertEqual(len(results["test_expected"].expectedFailures), 1)
        self.assertTrue(all(result.wasSuccessful() for result in results.values()))

    def test_debug_runs_in_a_state_of_its_own(self):
        """debug(), which collects no result, pins and puts back all the same, and raises."""
        seen = []

        class Reading(TestCase):
            def test(self):
                seen.append(torch._dynamo.config.nested_graph_breaks)
                torch.set_grad_enabled(False)

        with torch._dynamo.config.patch(nested_graph_breaks=False), self.assertRaisesRegex(AssertionError, "grad mode"):
            Reading("test").debug()

        self.assertEqual(seen, [True])
        self.assertTrue(torch.is_grad_enabled())

    def test_order_does_not_matter(self):
        """Forwards and backwards, the same tests see the same."""
        seen = {}

        class Two(TestCase):
            def test_one(self):
                seen.setdefault("one", []).append(torch.randn(1).item())
                torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2))

            def test_two(self):
                seen.setdefault("two", []).append(torch.randn(1).item())

        for names in (("test_one", "test_two"), ("test_two", "test_one")):
            for name in names:
                self.assertTrue(outcome(Two, name).wasSuccessful())

        self.assertEqual([len(set(values)) for values in seen.values()], [1, 1])

    def test_expectation_inline_without_accept(self):
        """EXPECTTEST_ACCEPT=0 means no: the mismatch is a failure and no source is written."""

        class Inline(TestCase):
            def test(self):
                self.assertExpectedInline("new", """old""")

        with open(__file__, encoding="utf-8") as file:
            before = file.read()
        with mock.patch.dict("os.environ", EXPECTTEST_ACCEPT="0"):
            result = outcome(Inline)
        with open(__file__, encoding="utf-8") as file:
            after = file.read()

        self.assertIn("To accept the new output", messages(result)[0])
        self.assertEqual(before, after)

    def test_accepting_inline_is_refused_in_ci(self):
        """EXPECTTEST_ACCEPT=1 in CI is refused, and an unknown value is misuse."""

        class Inline(TestCase):
            def test(self):
                self.assertExpectedInline("new", """old""")

        with mock.patch.dict("os.environ", EXPECTTEST_ACCEPT="1", CI="true"):
            self.assertIn("RefusedError", messages(outcome(Inline))[0])
        with mock.patch.dict("os.environ", EXPECTTEST_ACCEPT="perhaps"):
            self.assertIn("expected EXPECTTEST_ACCEPT to be one of", messages(outcome(Inline))[0])

    def test_is_the_public_class(self):
        """The public name is this class, an expecttest and unittest TestCase."""
        self.assertIs(fxpect.TestCase, TestCase)
        self.assertTrue(issubclass(TestCase, unittest.TestCase))


if __name__ == "__main__":
    unittest.main()
