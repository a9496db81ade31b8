"""BackendTestCase: lower, run, tolerances, and the strict table of expected failures."""

import tempfile
import unittest
from pathlib import Path

import torch

import fxpect
from fxpect import T
from fxpect.cases.expectations import Expectations
from fxpect.errors import FixtureError
from fxpect.report.counts import tally


class Acme(fxpect.BackendTestCase):
    """A backend that runs the exported program, and has no kernel for softmax."""

    def lower(self, program):
        if any("softmax" in str(node.target) for node in program.graph.nodes):
            raise NotImplementedError("acme has no softmax")
        return program.module()

    def run(self, compiled, *args):
        return compiled(*args)


def outcome(owner, method="test"):
    result = unittest.TestResult()
    unittest.TestSuite([owner(method)]).run(result)
    return result


def messages(result):
    return [text for _, text in [*result.failures, *result.errors]]


class BackendTests(unittest.TestCase):
    def test_hooks(self):
        """A backend that is right passes, at every size, through its own run()."""
        ran = []

        class Right(Acme):
            def run(self, compiled, *args):
                ran.append(tuple(args[0].shape))
                return compiled(*args)

            def test(self):
                self.assertLowers(torch.nn.Linear(3, 2), T("B", 3))

        self.assertEqual(messages(outcome(Right)), [])
        self.assertGreater(len(set(ran)), 2)

    def test_wrong_result(self):
        """A backend that computes something else fails with both numbers; its error is told and chained."""

        class Wrong(Acme):
            def run(self, compiled, *args):
                return compiled(*args) + 1

            def test(self):
                self.assertLowers(torch.nn.Linear(3, 2), T(4, 3))

        class Raising(Wrong):
            def run(self, compiled, *args):
                raise ValueError("no device")

        self.assertIn("output 0", messages(outcome(Wrong))[0])
        self.assertIn("expected a result; got ValueError: no device", messages(outcome(Raising))[0])

    def test_tolerances(self):
        """The tolerance of a dtype decides."""

        class Rough(Acme):
            def run(self, compiled, *args):
                return compiled(*args) * 1.01

            def test(self):
                self.assertLowers(torch.nn.Linear(3, 2), T(4, 3))

        class Tolerant(Rough):
            tolerances = {"float32": (0.1, 0.1)}

        self.assertEqual([outcome(case).wasSuccessful() for case in (Rough, Tolerant)], [False, True])

    def test_lower_is_needed(self):
        """Without lower() the message says what to write."""

        class Empty(fxpect.BackendTestCase):
            def test(self):
                self.assertLowers(torch.nn.Linear(3, 2), T(4, 3))

        self.assertIn("expected Empty.lower(program) to return", messages(outcome(Empty))[0])

    def test_run_is_both(self):
        """run() with a compiled program and arguments is the hook, with a result it runs the test."""

        class Plain(fxpect.BackendTestCase):
            def test(self):
                self.seen = self.run(lambda x: x + 1, 2)

        case = Plain("test")
        case.run(unittest.TestResult())

        self.assertEqual(case.seen, 3)


class ExpectationTests(unittest.TestCase):
    def owner(self, table, body=lambda self: self.assertLowers(torch.nn.Softmax(-1), T(4, 3))):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = Path(folder.name) / "acme.toml"
        path.write_text(table, encoding="utf-8")

        class AcmeTests(Acme):
            expectations = path

            def test(self):
                body(self)

        tally.take()
        return AcmeTests

    def test_expected_failure(self):
        """A listed test that fails is an expected failure, and is counted as one."""
        result = outcome(self.owner('["AcmeTests.test"]\nreason = "no kernel"\n'))

        self.assertTrue(result.wasSuccessful())
        self.assertEqual(len(result.expectedFailures), 1)
        self.assertEqual(tally.take()["known bug"], 1)

    def test_success_is_a_failure(self):
        """A listed test that passes fails, and says which entry to take out."""
        result = outcome(
            self.owner(
                '["AcmeTests.test"]\nreason = "no kernel"\n', lambda self: self.assertLowers(torch.nn.ReLU(), T(4, 3))
            )
        )
        (message,) = messages(result)

        self.assertIn("is expected to fail: no kernel", message)
        self.assertIn("it passed on torch", message)
        self.assertEqual(tally.take()["fixed bug"], 1)

    def test_another_failure_is_a_failure(self):
        """A listed test that fails in another way fails."""
        table = '["AcmeTests.test"]\nreason = "no kernel"\nmatch = "no softmax"\n'

        self.assertTrue(outcome(self.owner(table)).wasSuccessful())
        (message,) = messages(outcome(self.owner(table, lambda self: self.fail("something else"))))
        self.assertIn("it failed in another way", message)
        self.assertIn("something else", message)

    def test_range_of_torch(self):
        """An entry for another torch says nothing here; the ranges of one test may not meet."""
        other = '[["AcmeTests.test"]]\nreason = "old"\ntorch = "<2.0"\n'
        here = f'{other}[["AcmeTests.test"]]\nreason = "new"\ntorch = ">=2.0"\n'
        twice = f'{here}[["AcmeTests.test"]]\nreason = "newer"\ntorch = ">=2.1"\n'

        self.assertFalse(outcome(self.owner(other)).wasSuccessful())
        self.assertTrue(outcome(self.owner(here)).wasSuccessful())
        with self.assertRaisesRegex(FixtureError, "expected one entry of AcmeTests.test"):
            self.owner(twice)("test").run(unittest.TestResult())

    def test_nightly_counts_as_its_release(self):
        """A nightly of 2.14 meets >=2.14."""
        path = self.owner('["AcmeTests.test"]\nreason = "no kernel"\ntorch = ">=2.14"\n').expectations
        table = Expectations.read(path)

        self.assertIsNotNone(table.of("AcmeTests.test", "2.14.0.dev20260101+cpu"))
        self.assertIsNone(table.of("AcmeTests.test", "2.13.1"))

    def test_skip_stays_a_skip(self):
        """A listed test that is skipped is a skip."""
        result = outcome(self.owner('["AcmeTests.test"]\nreason = "no kernel"\n', lambda self: self.skipTest("no")))

        self.assertEqual((len(result.skipped), result.wasSuccessful()), (1, True))

    def test_unlisted_failure_is_a_failure(self):
        """A test that is not listed fails as ever."""
        self.assertIn("acme has no softmax", messages(outcome(self.owner("")))[0])

    def test_bad_tables(self):
        """An entry for no test, without a reason, with an unknown key or no range, and broken TOML are errors."""
        for table in (
            '["AcmeTests.tset"]\nreason = "x"\n',
            '["AcmeTests.test"]\n',
            '["AcmeTests.test"]\nreason = "x"\nnot = "y"\n',
            '["AcmeTests.test"]\nreason = "x"\ntorch = "new"\n',
            '["AcmeTests.test"]\nreason = "x"\nmatch = "("\n',
            '["test"]\nreason = "x"\n',
            '["AcmeTests.test"\n',
            '"AcmeTests.test" = 3\n',
        ):
            with self.subTest(table=table):
                self.assertIn("FixtureError", messages(outcome(self.owner(table)))[0])

    def test_path_beside_the_class(self):
        """A relative path is beside the file of the class that names it."""

        class Here(Acme):
            expectations = "no_such_table.toml"

            def test(self):
                pass

        with self.assertRaisesRegex(FileNotFoundError, f"{Path(__file__).parent}.no_such_table.toml"):
            Here.expected_failures()


if __name__ == "__main__":
    unittest.main()
