"""Exploration: every stored case, then fresh examples; one small finding, the same in any order."""

import contextlib
import dataclasses
import inspect
import os
import sys
import tempfile
import types
import unittest
import warnings
from pathlib import Path
from unittest import mock

import torch
from hypothesis import strategies as st

import fxpect
from fxpect import T, explore, near
from fxpect.cases.drawing import roomy, run_examples
from fxpect.errors import CheckFailure, FxpectError
from fxpect.fixtures.accept import accept
from fxpect.fixtures.pending import Pending
from fxpect.report.counts import tally

INTEGERS = st.integers(1, 50)


def outcome(owner, method="test"):
    result = unittest.TestResult()
    owner(method).run(result)
    return result


def messages(result):
    return [text for _, text in [*result.failures, *result.errors]]


def folds(gm):
    """Drop a relu of a relu that nothing else uses."""
    for node in gm.graph.find_nodes(op="call_function", target=torch.relu):
        inner = node.args[0] if node.args else None
        if getattr(inner, "target", None) is torch.relu and len(inner.users) == 1:
            node.replace_all_uses_with(inner)
            gm.graph.erase_node(node)
    gm.recompile()


def folds_wrongly(gm):
    """Drop the operand of a relu too, where something else uses it: wrong."""
    for node in gm.graph.find_nodes(op="call_function", target=torch.relu):
        inner = node.args[0] if node.args else None
        if getattr(inner, "target", None) is torch.relu and len(inner.users) > 1:
            inner.replace_all_uses_with(inner.args[0])
            gm.graph.erase_node(inner)
    gm.recompile()


def two_relus(x):
    return torch.relu(torch.relu(x)) + 1


NEAR = near(two_relus, T(2, 3), capture="symbolic")


class InScratch(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder.name)
        self.root = Path(folder.name) / "fixtures"
        self.root.mkdir()
        patch = mock.patch.dict(
            os.environ,
            {
                "FXPECT_FIXTURES": str(self.root),
                "EXPECTTEST_ACCEPT": "",
                "CI": "",
                "FXPECT_EXAMPLES": "",
                "FXPECT_SEED": "",
                "FXPECT_HARVEST": "",
                "FXPECT_RUN": f"run-{self.id().rpartition('.')[2]}",
            },
        )
        patch.start()
        self.addCleanup(patch.stop)
        tally.take()


class FreshTests(InScratch):
    def test_holds(self):
        """A property that holds sees its examples, and they are counted."""
        drawn = []

        class Explored(fxpect.TestCase):
            @explore(INTEGERS, max_examples=12)
            def test(self, number):
                drawn.append(number)

        self.assertEqual(messages(outcome(Explored)), [])
        self.assertEqual((len(drawn), tally.take()["examples"]), (12, 12))
        self.assertGreater(len(set(drawn)), 5)

    def test_finding_is_small(self):
        """A plain assertion ends in the smallest value, with what was drawn and how to see it again."""

        class Explored(fxpect.TestCase):
            @explore(INTEGERS)
            def test(self, number):
                self.assertLess(number, 17)

        (message,) = messages(outcome(Explored))

        self.assertIn("17 not less than 17", message)
        self.assertIn("drawn: 17", message)
        self.assertIn("FXPECT_SEED=0 FXPECT_EXAMPLES=25", message)

    def test_near_miss(self):
        """A near miss is made small, told as a graph text, and the text pins it."""

        class Explored(fxpect.PassTestCase):
            @explore(NEAR, max_examples=300)
            def test(self, example):
                self.assertPreserves(folds_wrongly, example)

        result = outcome(Explored)
        (message,) = messages(result)

        self.assertEqual(len(result.failures), 1)
        self.assertRegex(message, r"\[\w+\] pass folds_wrongly")
        self.assertIn("steps from the innocent model: ", message)
        self.assertIn(
            "to pin it, paste this into a test (it fails there too):\n      self.assertPreserves(folds_wrongly, r",
            message,
        )
        self.assertTrue(any(Path(".fxpect/runs").rglob("before.fx")))
        self.assertLess(message.count(" = "), 12)

    def test_right_pass_near(self):
        """A right pass holds on all its near misses."""

        class Explored(fxpect.PassTestCase):
            @explore(NEAR, max_examples=40)
            def test(self, example):
                self.assertPreserves(folds, example)

        self.assertEqual(messages(outcome(Explored)), [])

    def test_pass_that_never_fires(self):
        """A property whose pass rewrote none of its examples is warned of; one whose pass did is not."""

        def does_nothing(gm):
            pass

        class Explored(fxpect.PassTestCase):
            pass_ = staticmethod(does_nothing)

            @explore(NEAR, max_examples=15)
            def test(self, example):
                self.assertPreserves(self.pass_, example)

        with self.assertWarnsRegex(UserWarning, "Explored.test: the pass rewrote none of 1[0-9] examples"):
            outcome(Explored)
        Explored.pass_ = staticmethod(folds)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            self.assertEqual(messages(outcome(Explored)), [])

    def test_strategy_that_leaves_the_capture_open(self):
        """A strategy that asks for the capture of the class is given it."""
        asked = []

        class Explored(fxpect.PreGradPassTestCase):
            @explore(any_capture(asked), max_examples=1)
            def test(self, example):
                pass

        outcome(Explored)

        self.assertEqual(asked, ["dynamo"])

    def test_near_is_captured_as_the_class_says(self):
        """near() without a capture gives graphs of the class's own; with one, or outside a class, of that or export."""
        seen = {}

        class PreGrad(fxpect.PreGradPassTestCase):
            @explore(near(doubled, T(2)), max_examples=3)
            def test(self, example):
                seen.setdefault("open", example.capture)

        class Named(fxpect.PreGradPassTestCase):
            @explore(near(doubled, T(2), capture="aten"), max_examples=3)
            def test(self, example):
                seen.setdefault("named", example.capture)

        class Plain(fxpect.TestCase):
            @explore(near(doubled, T(2)), max_examples=3)
            def test(self, example):
                seen.setdefault("plain", example.capture)

        for case in (PreGrad, Named, Plain):
            outcome(case)

        self.assertEqual(seen, {"open": "dynamo", "named": "aten", "plain": "export"})

    def test_same_examples_in_any_order(self):
        """The same test sees the same examples again, after other tests, and whatever modules are loaded."""
        drawn = []

        class Explored(fxpect.TestCase):
            @explore(st.integers(), st.floats(), max_examples=30)
            def test(self, number, real):
                drawn.append(repr((number, real)))

            @explore(st.integers(), max_examples=5)
            def test_other(self, number):
                pass

        outcome(Explored)
        first = list(drawn)
        drawn.clear()
        outcome(Explored, "test_other")
        module = types.ModuleType("constants_of_a_user")
        module.__file__ = str(Path("constants_of_a_user.py").resolve())
        Path(module.__file__).write_text("A = 123456789\nB = 987654321.25\n")
        with mock.patch.dict(sys.modules, constants_of_a_user=module):
            outcome(Explored)

        self.assertEqual(drawn, first)

    def test_seed_gives_other_examples(self):
        """Another seed, by argument or environment, gives other examples; equal seeds equal ones."""
        drawn = []

        class Explored(fxpect.TestCase):
            @explore(st.integers(), max_examples=10, seed=1)
            def test(self, number):
                drawn.append(number)

        outcome(Explored)
        one = drawn[:]
        drawn.clear()
        with mock.patch.dict(os.environ, FXPECT_SEED="2"):
            outcome(Explored)
        two = drawn[:]
        drawn.clear()
        with mock.patch.dict(os.environ, FXPECT_SEED="1"):
            outcome(Explored)

        self.assertEqual(drawn, one)
        self.assertNotEqual(two, one)

    def test_number_of_examples(self):
        """FXPECT_EXAMPLES goes before max_examples; with 0 and nothing stored the test is a skip."""
        drawn = []

        class Explored(fxpect.TestCase):
            @explore(st.integers(), max_examples=5)
            def test(self, number):
                drawn.append(number)

        with mock.patch.dict(os.environ, FXPECT_EXAMPLES="9"):
            outcome(Explored)
        many = len(drawn)
        with mock.patch.dict(os.environ, FXPECT_EXAMPLES="0"):
            result = outcome(Explored)
        with mock.patch.dict(os.environ, FXPECT_EXAMPLES="many"):
            (message,) = messages(outcome(Explored))

        self.assertEqual((many, len(drawn), len(result.skipped)), (9, 9, 1))
        self.assertIn("expected FXPECT_EXAMPLES to be a whole number", message)

    def test_state_is_reset_for_each_example(self):
        """Each example starts with the same random numbers and an empty dynamo; what it leaks is a finding."""
        seen = []

        class Explored(fxpect.TestCase):
            @explore(INTEGERS, max_examples=6)
            def test(self, number):
                seen.append(torch.randn(1).item())

            @explore(st.integers(2, 9), max_examples=6)
            def test_static(self, size):
                graphs = []

                def backend(gm, _):
                    graphs.append([node.target for node in gm.graph.find_nodes(op="placeholder")])
                    return gm

                torch.compile(doubled, backend=backend)(torch.ones(size))
                self.assertEqual(graphs, [["L_x_"]])

            @explore(INTEGERS)
            def test_leaks(self, number):
                if number > 20:
                    torch.set_default_dtype(torch.float64)

        self.assertEqual(messages(outcome(Explored)), [])
        self.assertEqual(len(set(seen)), 1)
        self.assertEqual(messages(outcome(Explored, "test_static")), [])
        (message,) = messages(outcome(Explored, "test_leaks"))
        self.assertIn("default dtype: torch.float32 became torch.float64", message)
        self.assertIn("drawn: 21", message)
        self.assertEqual(torch.get_default_dtype(), torch.float32)

    def test_other_causes_are_named(self):
        """One cause is made small; the others that were met are named, not mixed with it."""

        class Explored(fxpect.TestCase):
            @explore(st.integers(0, 100), max_examples=60)
            def test(self, number):
                if number % 2 and number > 10:
                    raise CheckFailure("odd", f"{number} is odd", cause="odd")
                if number > 40:
                    raise CheckFailure("large", f"{number} is large", cause="large")

        (message,) = messages(outcome(Explored))

        self.assertTrue(("[odd]: 11 is odd" in message) != ("[large]: 42 is large" in message), message)
        self.assertIn("1 other causes were met on the way", message)

    def test_unstable_test_is_said_to_be(self):
        """A failure that does not come again is told as such, not as an error of Hypothesis."""
        runs = []

        class Explored(fxpect.TestCase):
            @explore(INTEGERS)
            def test(self, number):
                runs.append(number)
                self.assertNotEqual(len(runs), 5)

        result = outcome(Explored)
        (message,) = messages(result)

        self.assertEqual(len(result.failures), 1)
        self.assertIn("expected an example that fails to fail again", message)

    def test_examples_that_cannot_judge(self):
        """Examples whose graph does not run are discarded and counted; where all are, the test fails."""

        class Explored(fxpect.PassTestCase):
            capture = "symbolic"

            @explore(st.integers(1, 3))
            def test(self, size):
                self.assertPreserves(folds, lambda x, y: x @ y, T(2, 3), T(size, 2))

            @explore(st.just(4))
            def test_none(self, size):
                self.assertPreserves(folds, broken_example())

        self.assertTrue(messages(outcome(Explored)))
        (message,) = messages(outcome(Explored, "test_none"))
        self.assertIn("expected examples that Explored.test_none can judge; got none", message)
        self.assertIn("the graph before the pass does not run", message)
        self.assertGreater(tally.take()["discarded"], 0)

    def test_subtests_end_the_example(self):
        """A failure inside subTest ends the example, so that it is made small too."""

        class Explored(fxpect.TestCase):
            @explore(INTEGERS)
            def test(self, number):
                with self.subTest(number=number):
                    self.assertLess(number, 30)

        result = outcome(Explored)

        self.assertEqual(len(result.failures), 1)
        self.assertIn("drawn: 30", messages(result)[0])

    def test_skip_and_misuse_pass_through(self):
        """A skip inside an example is a skip, misuse is an error as it is."""

        class Explored(fxpect.TestCase):
            @explore(INTEGERS)
            def test(self, number):
                self.skipTest("not here")

            @explore(INTEGERS)
            def test_misuse(self, number):
                self.assertPreserves(folds, two_relus, T(3), caputre="aten")

        self.assertEqual(len(outcome(Explored).skipped), 1)
        self.assertIn("got caputre", messages(outcome(Explored, "test_misuse"))[0])

    def test_plain_function(self):
        """A function without a class is explored too, and a runner sees none of its drawn arguments."""
        drawn = []

        @explore(INTEGERS, max_examples=7)
        def test_numbers(number):
            drawn.append(number)

        test_numbers()

        self.assertEqual(len(drawn), 7)
        self.assertEqual(list(inspect.signature(test_numbers).parameters), [])
        self.assertFalse(hasattr(test_numbers, "__wrapped__"))

    def test_arguments_of_the_runner(self):
        """What a runner gives by position or name stands beside what is drawn."""
        seen = []

        @explore(INTEGERS, INTEGERS, max_examples=3)
        def test_both(folder, mode, one, two):
            seen.append((folder, mode, one > 0, two > 0))

        test_both("here", mode=3)

        self.assertEqual(set(seen), {("here", 3, True, True)})
        self.assertEqual(list(inspect.signature(test_both).parameters), ["folder", "mode"])

    def test_refused(self):
        """What is no strategy, no number of examples, or a test without the arguments is refused at once."""

        def test(self, one):
            pass

        for decorate in (lambda: explore(), lambda: explore(test), lambda: explore(INTEGERS, max_examples=-1)):
            with self.subTest(), self.assertRaises(FxpectError):
                decorate()
        with self.assertRaisesRegex(FxpectError, "expected .*test to take self and 2 drawn arguments"):
            explore(INTEGERS, INTEGERS)(test)

    def test_room_on_the_stack(self):
        """The body is called with room for a capture, and comes back with its result."""
        self.assertGreater(roomy.__code__.co_stacksize, 10_000)
        self.assertEqual(roomy(lambda a, b: a + b, 1, 2), 3)

    def test_nothing_is_written_by_hypothesis(self):
        """No database, no cache of constants: the folder stays as it was."""
        run_examples(lambda values: None, (st.integers(), st.text()), max_examples=20, seed=0)

        self.assertEqual([path.name for path in Path().iterdir()], ["fixtures"])


class PinnedTests(InScratch):
    def owner(self, pass_=folds, **attributes):
        class Explored(fxpect.PassTestCase):
            capture = "symbolic"

            @explore(NEAR, max_examples=0)
            def test(self, example):
                """Near misses of two relus."""
                self.assertPreserves(pass_, example)

            @explore(st.integers(1, 9), st.sampled_from(["f32", "f64"]), max_examples=6)
            def test_given(self, size, dtype):
                self.assertRewrites(pass_, two_relus, T(size, dtype=dtype))

        return Explored

    def stored(self):
        return {path.relative_to(self.root).as_posix(): path.read_text() for path in self.root.rglob("*.fx")}

    def harvest(self, method, number="3", examples="30"):
        environment = {"FXPECT_HARVEST": number, "FXPECT_EXAMPLES": examples, "EXPECTTEST_ACCEPT": "1"}
        with mock.patch.dict(os.environ, environment):
            self.assertEqual(messages(outcome(self.owner(), method)), [])
        (text,) = self.stored().values()
        return text

    def test_harvest_of_examples(self):
        """A harvest stores a few structurally different examples, graph and inputs, and they hold afterwards."""
        text = self.harvest("test")
        tally.take()

        self.assertEqual(text.count("\n## "), 3)
        self.assertEqual(messages(outcome(self.owner())), [])
        self.assertEqual(tally.take()["pinned"], 3)

    def test_harvest_of_drawn_values(self):
        """A case of drawn values holds the values, from which the test is run again."""
        text = self.harvest("test_given")
        tally.take()

        self.assertIn("given=(", text)
        self.assertEqual(messages(outcome(self.owner(), "test_given")), [])
        counts = tally.take()
        self.assertEqual((counts["pinned"], counts["examples"]), (text.count("\n## "), 6))

    def test_drawn_inputs(self):
        """What inputs() draws is judged, printed and stored as specs, and comes back as the same tensors."""
        drawn = []

        class Explored(fxpect.PassTestCase):
            capture = "symbolic"

            @explore(fxpect.inputs(T(2, "B"), T(3, dtype="i64")), max_examples=8)
            def test(self, arguments):
                drawn.append(arguments)
                self.assertRewrites(folds, lambda x, y: two_relus(x).sum() + y, *arguments)

        with mock.patch.dict(os.environ, FXPECT_HARVEST="1", EXPECTTEST_ACCEPT="1"):
            self.assertEqual(messages(outcome(Explored)), [])
        (text,) = self.stored().values()
        first = drawn[:]
        drawn.clear()
        with mock.patch.dict(os.environ, FXPECT_EXAMPLES="0"):
            self.assertEqual(messages(outcome(Explored)), [])

        self.assertIn("given=(inputs(f32[2, ", text)
        (again,) = drawn
        self.assertIn(repr(again), [repr(one) for one in first])
        same = next(one for one in first if repr(one) == repr(again))
        self.assertTrue(all(torch.equal(a, b) for a, b in zip(again, same, strict=True)))

    def test_harvest_is_a_proposal(self):
        """Without accepting, a harvest only proposes."""
        with mock.patch.dict(os.environ, FXPECT_HARVEST="2", FXPECT_EXAMPLES="20"):
            outcome(self.owner())

        self.assertEqual(self.stored(), {})
        self.assertEqual(len(Pending(self.root).live()), 2)

    def test_every_mismatch_is_reported(self):
        """All stored cases that do not hold are told in one failure, each with its key, and none is fresh."""
        text = self.harvest("test", "8", "120")
        keys = [line[3:13] for line in text.splitlines() if line.startswith("## ")]

        def does_nothing(gm):
            pass

        rewritten = [key for key in keys if differs(text, key)]
        (message,) = messages(outcome(self.owner(does_nothing)))

        self.assertGreater(len(rewritten), 1)
        self.assertIn(f"{len(rewritten)} of {len(keys)} stored cases of Explored.test do not hold", message)
        self.assertEqual([key for key in keys if f"--- {key}" in message], rewritten)

    def test_mismatches_can_be_accepted(self):
        """What the stored cases report can be accepted together, after which they hold."""
        self.harvest("test", "4", "60")

        def does_nothing(gm):
            pass

        outcome(self.owner(does_nothing))
        accept(self.root, Pending(self.root).live())

        self.assertEqual(messages(outcome(self.owner(does_nothing))), [])

    def test_stored_case_of_a_wrong_pass(self):
        """A stored case on which an oracle fails is reported with the whole message."""
        self.harvest("test", "4", "60")

        def wrong(gm):
            for node in gm.graph.find_nodes(op="call_function", target=torch.relu):
                node.target = torch.sigmoid
            gm.recompile()

        (message,) = messages(outcome(self.owner(wrong)))

        self.assertIn("[numerics] pass wrong", message)
        self.assertIn("paste this into a test", message)

    def test_fresh_examples_never_need_a_golden(self):
        """golden=True compares stored cases; a fresh example that is stored nowhere is no failure."""

        class Explored(fxpect.PassTestCase):
            capture = "symbolic"

            @explore(st.integers(1, 9), max_examples=5)
            def test(self, size):
                self.assertRewrites(folds, two_relus, T(size), golden=True)
                self.assertGraph(torch.fx.symbolic_trace(two_relus))

        self.assertEqual(messages(outcome(Explored)), [])
        self.assertEqual(Pending(self.root).live(), [])

    def test_case_that_nothing_compares(self):
        """A stored graph that the test no longer compares is a failure."""
        self.harvest("test")

        class Explored(fxpect.PassTestCase):
            @explore(NEAR, max_examples=0)
            def test(self, example):
                pass

        (message,) = messages(outcome(Explored))

        self.assertIn("expected the test to compare its graph with this stored case; it never did", message)

    def test_case_written_by_hand(self):
        """A case with a graph before and no result is run: the way to keep a finding until it is mended."""
        from fxpect.fixtures.case import Case
        from fxpect.fixtures.format import Document, format_document

        text = (
            'def forward(self, x: "f32[3]"):\n    relu: "f32[3]" = torch.relu(x)\n'
            '    relu_1: "f32[3]" = torch.relu(relu)\n    return (relu, relu_1)\n'
        )
        case = Case.make(text, inputs="x=f32[3]", options="capture=symbolic", title="kept")
        path = self.root / "unit/test_cases_explore/Explored.test.fx"
        path.parent.mkdir(parents=True)
        path.write_text(format_document(Document("unit/test_cases_explore.py Explored.test", cases=(case,))))

        (message,) = messages(outcome(self.owner(folds_wrongly)))
        self.assertIn("[numerics] pass folds_wrongly", message)
        self.assertIn("no graph after is stored for this case yet", messages(outcome(self.owner(folds)))[0])

    def test_example_of_another_torch(self):
        """A stored graph that this torch cannot read is reported as that case, beside the others."""
        self.harvest("test", "3", "60")
        (path,) = self.root.rglob("*.fx")
        from fxpect.fixtures.case import Case
        from fxpect.fixtures.format import format_document, parse_document

        document = parse_document(path.read_text())
        text = 'def forward(self, x: "f32[3]"):\n    y: "f32[3]" = torch.ops.aten.no_such_operator(x)\n    return y\n'
        lost = Case.make(text, inputs="x=f32[3]", options="capture=symbolic", title="lost")
        cases = {case.key: case for case in (*document.cases, lost)}
        path.write_text(format_document(document.with_cases(cases)))

        (message,) = messages(outcome(self.owner()))

        self.assertIn(f"1 of {len(cases)} stored cases", message)
        self.assertIn("no_such_operator", message)

        cases[lost.key] = dataclasses.replace(lost, afters=(("torch<1.0", text.strip("\n")),))
        path.write_text(format_document(document.with_cases(cases)))
        self.assertEqual(messages(outcome(self.owner())), [])

    def test_no_run_touches_a_fixture(self):
        """Runs that hold, drift and fail leave every stored byte as it was."""
        self.harvest("test", "3", "60")
        before = self.stored()
        for pass_ in (folds, folds_wrongly, lambda gm: None):
            with contextlib.suppress(AssertionError):
                outcome(self.owner(pass_))

        self.assertEqual(self.stored(), before)


def any_capture(asked):
    """Return a strategy that leaves the capture to the class of the test."""
    strategy = st.just(0)

    def for_capture(capture):
        asked.append(capture)
        return strategy

    strategy.for_capture = for_capture
    return strategy


def doubled(x):
    return x * 2


def broken_example():
    """Return an example whose graph does not run."""
    from fxpect.capture import capture

    example = capture(lambda x, y: torch.relu(torch.relu(torch.mm(x, y))), (T(2, 3), T(3, 2)), capture="symbolic")
    return example.replace(inputs=(T(2, 3), T(2, 3)))


def differs(text, key):
    """Say whether the stored case of this key has another graph after than before."""
    body = text.partition(f"## {key}")[2].partition("\n## ")[0]
    before, _, after = body.partition("before:\n")[2].partition("after:\n")
    return before.strip() != after.strip()


if __name__ == "__main__":
    unittest.main()
