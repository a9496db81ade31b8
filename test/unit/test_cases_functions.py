"""The verbs, each both ways: what they raise, what the message says, and what it saves."""

import dataclasses
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import torch

import fxpect
from fxpect import T, assert_preserves, assert_rewrites, assert_unchanged
from fxpect.errors import (
    CaptureError,
    CheckFailure,
    FxpectError,
    GraphCrash,
    InputDrift,
    NoRewrite,
    PassCrash,
    PassFormError,
    UnexpectedRewrite,
)
from fxpect.passes.known_bugs import KnownBug
from fxpect.report.counts import tally

TRACED = {"capture": "symbolic"}


def replacing(old, new, args=None):
    """Return a pass that calls ``new`` where the graph calls ``old``."""

    def replaces(gm):
        for node in gm.graph.find_nodes(op="call_function", target=old):
            node.target = new
            if args is not None:
                node.args = args(node)
        gm.recompile()

    return replaces


def does_nothing(gm):
    """Change nothing."""


def relu_twice_as_once(gm):
    """Drop a relu of a relu."""
    for node in gm.graph.find_nodes(op="call_function", target=torch.relu):
        if getattr(node.args[0], "target", None) is torch.relu:
            node.replace_all_uses_with(node.args[0])
            gm.graph.erase_node(node)
    gm.recompile()


def two_relus(x):
    return torch.relu(torch.relu(x)) + 1


def one_relu(x):
    return torch.relu(x) + 1


class InScratch(unittest.TestCase):
    """Runs in a folder of its own, where failures may be saved."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder.name)


class VerbTests(InScratch):
    def test_rewrites(self):
        """assert_rewrites returns the result of a pass that rewrites, counts included."""
        result = assert_rewrites(relu_twice_as_once, two_relus, T(3), ops={"torch.relu": (2, 1)}, **TRACED)

        self.assertTrue(result.changed and result.holds)

    def test_rewrites_fails_without_a_rewrite(self):
        """NoRewrite says what the graph has, and which capture might be meant."""
        with self.assertRaises(NoRewrite) as caught:
            assert_rewrites(relu_twice_as_once, one_relu, T(3), **TRACED)

        self.assertIn(
            "pass relu_twice_as_once: expected the pass to change the graph; got the same graph", str(caught.exception)
        )
        self.assertIn("1 x torch.relu, 1 x operator.add", str(caught.exception))
        self.assertIn("try capture='export'", str(caught.exception))

    def test_rewrites_fails_where_names_alone_changed(self):
        """Renaming nodes is no rewrite."""

        def renames(gm):
            for node in gm.graph.nodes:
                if node.op == "call_function":
                    node._rename(f"renamed_{node.name}")
            gm.recompile()

        with self.assertRaises(NoRewrite):
            assert_rewrites(renames, one_relu, T(3), **TRACED)

    def test_order_of_the_nodes(self):
        """Reordering independent nodes is no rewrite, unless the program's order counts."""

        def model(x):
            return torch.sin(x), torch.cos(x)

        def reorders(gm):
            first, second = (
                gm.graph.find_nodes(op="call_function", target=torch.sin)[0],
                gm.graph.find_nodes(op="call_function", target=torch.cos)[0],
            )
            second.append(first)
            gm.recompile()

        with self.assertRaises(NoRewrite):
            assert_rewrites(reorders, model, T(3), **TRACED)
        assert_rewrites(reorders, model, T(3), order="program", **TRACED)

    def test_unchanged(self):
        """assert_unchanged holds where the pass changes nothing, and tells the difference where it does."""
        assert_unchanged(relu_twice_as_once, one_relu, T(3), **TRACED)
        with self.assertRaises(UnexpectedRewrite) as caught:
            assert_unchanged(relu_twice_as_once, two_relus, T(3), **TRACED)

        self.assertIn("expected the pass to leave the graph alone; got -1 relu", str(caught.exception))

    def test_preserves(self):
        """assert_preserves holds for a right pass, changed or not."""
        self.assertTrue(assert_preserves(relu_twice_as_once, two_relus, T(3), **TRACED).changed)
        self.assertFalse(assert_preserves(relu_twice_as_once, one_relu, T(3), **TRACED).changed)

    def test_wrong_numbers(self):
        """A pass that computes something else fails every verb with the oracle, the node and both numbers."""
        wrong = replacing(torch.relu, torch.sigmoid)
        for verb in (assert_rewrites, assert_unchanged, assert_preserves):
            with self.subTest(verb.__name__), self.assertRaises(CheckFailure) as caught:
                verb(wrong, one_relu, T(3), **TRACED)

            self.assertEqual((caught.exception.oracle, caught.exception.pass_name), ("numerics", "replaces"))
            self.assertIn("[numerics] pass replaces node add: output 0: values: expected", str(caught.exception))

    def test_every_failure_is_listed(self):
        """Beside the first failure the others are named in a line each."""
        wrong = replacing(torch.relu, torch.sigmoid)
        with self.assertRaises(CheckFailure) as caught:
            assert_unchanged(wrong, one_relu, T(3), ops={"torch.relu": (1, 1)}, **TRACED)

        self.assertIn(
            "  also [rewrite] pass replaces: expected the pass to leave the graph alone", str(caught.exception)
        )
        self.assertIn(
            "  also [ops] pass replaces: expected 1 x torch.relu in the graph after the pass; got 0",
            str(caught.exception),
        )

    def test_wrong_count_before(self):
        """InputDrift comes first: the pass is not even run."""

        def never(gm):
            raise AssertionError("the pass ran")

        with self.assertRaisesRegex(InputDrift, "expected 2 x torch.relu in the graph before the pass; got 1"):
            assert_rewrites(never, one_relu, T(3), ops={"torch.relu": (2, 1)}, **TRACED)

    def test_wrong_count_after(self):
        """A wrong count after the pass is a failure of the counts."""
        with self.assertRaises(CheckFailure) as caught:
            assert_rewrites(relu_twice_as_once, two_relus, T(3), ops={"torch.relu": (2, 0)}, **TRACED)

        self.assertEqual(caught.exception.oracle, "ops")

    def test_example_in_the_place_of_model_and_inputs(self):
        """An example is judged as it is; inputs beside it are misuse."""
        from fxpect.capture import capture

        example = capture(two_relus, (T(3),), capture="symbolic")

        assert_rewrites(relu_twice_as_once, example, ops={"torch.relu": (2, 1)})
        with self.assertRaisesRegex(FxpectError, "an example has its inputs; got 1 more"):
            assert_rewrites(relu_twice_as_once, example, T(3))

    def test_graph_text_in_the_place_of_a_model(self):
        """A graph text is a model, with inputs and without."""
        text = """
            def forward(self, x: "f32[3]"):
                relu: "f32[3]" = torch.relu(x)
                relu_1: "f32[3]" = torch.relu(relu)
                return (relu_1,)
            """

        assert_rewrites(relu_twice_as_once, text, T(3), ops={"torch.relu": (2, 1)}, **TRACED)
        assert_rewrites(relu_twice_as_once, text, **TRACED)

    def test_gradients(self):
        """A pass that keeps the values and loses the gradient fails where something requires grad."""
        detaches = replacing(torch.relu, torch.detach)

        with self.assertRaises(CheckFailure):
            assert_preserves(
                detaches, lambda x: torch.relu(x) * 2, T(3, values="positive", requires_grad=True), **TRACED
            )
        assert_preserves(detaches, lambda x: torch.relu(x) * 2, T(3, values="positive"), **TRACED)

    def test_other_sizes(self):
        """With a named dim, a pass that writes the size of the example into the graph is found at another size."""

        def bakes_size(gm):
            for node in gm.graph.find_nodes(op="call_function", target=torch.ops.aten.view.default):
                shape = node.meta["val"].shape
                node.update_arg(1, [int(shape[0].node.hint), 2])
            gm.recompile()

        with self.assertRaises(CheckFailure) as caught:
            assert_preserves(bakes_size, lambda x: x.view(x.shape[0], 2), T("B", 2), capture="make_fx")

        self.assertIn(caught.exception.oracle, ("generality", "metadata"))

    def test_many_inputs(self):
        """With seeds=K one rewrite is run on K inputs; the seed that fails is in the lines to paste."""

        def clips(gm):
            for node in gm.graph.find_nodes(op="call_function", target=torch.relu):
                node.target, node.args = torch.clamp, (node.args[0], 0.0, 2.0)
            gm.recompile()

        specs = (T(1),)
        seed = next(seed for seed in range(99) if float(T(1).example(seed=1000 * seed)) > 2.0)

        assert_rewrites(clips, one_relu, *specs, seeds=seed, **TRACED)
        with self.assertRaises(CheckFailure) as caught:
            assert_rewrites(clips, one_relu, *specs, seeds=seed + 1, **TRACED)
        self.assertEqual(caught.exception.oracle, "numerics")
        self.assertIn(f', capture="symbolic", seed={seed})', str(caught.exception))
        with self.assertRaisesRegex(FxpectError, "expected seeds="):
            assert_preserves(clips, one_relu, T(1), seeds=0, **TRACED)

    def test_known_bugs(self):
        """A failure that a known bug explains is counted, not raised, at every seed; any other is raised."""
        wrong = fxpect.as_pass(replacing(torch.relu, torch.tanh), name="mine.wrong")
        bug = KnownBug("tanh-for-relu", wrong.name, "always", "numerics", "numerics:", ">=2.0", "symbolic", "", ())
        tally.take()

        result = assert_rewrites(wrong, one_relu, T(3), known=[bug], seeds=3, **TRACED)

        self.assertEqual((result.failures[0].oracle, tally.take()["known bug"]), ("numerics", 3))
        for other in (dataclasses.replace(bug, pass_name="mine.other"), dataclasses.replace(bug, cause="effects:")):
            with self.assertRaises(CheckFailure) as caught:
                assert_rewrites(wrong, one_relu, T(3), known=[other], **TRACED)
            self.assertEqual(caught.exception.oracle, "numerics")

    def test_second_run(self):
        """A pass with work left on its own result fails, unless a reason excuses it."""

        def halves(gm):
            relus = gm.graph.find_nodes(op="call_function", target=torch.relu)
            if len(relus) > 1:
                relus[-1].replace_all_uses_with(relus[-1].args[0])
                gm.graph.erase_node(relus[-1])
            gm.recompile()

        def model(x):
            return torch.relu(torch.relu(torch.relu(x)))

        with self.assertRaisesRegex(CheckFailure, "stability"):
            assert_rewrites(halves, model, T(3), **TRACED)
        assert_rewrites(halves, model, T(3), idempotent="one at a time, on purpose", **TRACED)


class BadPassTests(InScratch):
    """Passes that break everything: each is a finding with the pass's name, none ends the run."""

    def crash(self, pass_, kind=PassCrash):
        with self.assertRaises(kind) as caught:
            assert_preserves(pass_, one_relu, T(3), **TRACED)
        return caught.exception

    def test_raises(self):
        """What a pass raises is chained, named with its place, and saved with a script."""

        def raises(gm):
            raise ValueError("the reason")

        failure = self.crash(raises)

        self.assertIn("expected the pass to return; got ValueError: the reason", str(failure))
        self.assertIn("raise ValueError", str(failure))
        self.assertIsInstance(failure.__cause__, ValueError)

    def test_exits(self):
        """A pass that calls sys.exit() does not end the tests."""

        def exits(gm):
            sys.exit(3)

        self.assertIn("SystemExit", str(self.crash(exits)))

    def test_recurses(self):
        """A pass that never ends calling itself is a crash."""

        def recurses(gm):
            return recurses(gm)

        self.assertIn("RecursionError", str(self.crash(recurses)))

    def test_deletes_the_output(self):
        """A graph without output is a crash of the pass."""

        def deletes(graph: torch.fx.Graph):
            graph.erase_node(graph.output_node())

        self.assertIn("expected a graph with an output node", str(self.crash(deletes)))

    def test_returns_something_else(self):
        """An answer that means nothing is a crash of the pass."""

        def returns(gm):
            return "done"

        self.assertIn("got 'done' (str)", str(self.crash(returns)))

    def test_makes_a_graph_that_does_not_run(self):
        """A graph after that raises is a crash of the graph."""
        failure = self.crash(replacing(torch.relu, torch.mm), GraphCrash)

        self.assertEqual(failure.oracle, "crash")

    def test_interrupt_passes_through(self):
        """KeyboardInterrupt is the user's, never a finding."""

        def interrupts(gm):
            raise KeyboardInterrupt

        with self.assertRaises(KeyboardInterrupt):
            assert_preserves(interrupts, one_relu, T(3), **TRACED)

    def test_depends_on_the_run(self):
        """A pass that gives another graph every time is unstable."""
        runs = []

        def varies(gm):
            runs.append(None)
            for node in gm.graph.find_nodes(op="call_function", target=torch.relu):
                with gm.graph.inserting_after(node):
                    for _ in range(len(runs)):
                        gm.graph.call_function(torch.relu, (node,))
            gm.recompile()

        with self.assertRaises(CheckFailure):
            assert_preserves(varies, one_relu, T(3), **TRACED)


class MisuseTests(InScratch):
    """Misuse is raised at once, as what it is, and never as a finding."""

    def test_options(self):
        """An option that no verb has, and values that none takes, are refused."""
        for options, words in (
            ({"caputre": "aten"}, "got caputre"),
            ({"capture": "jit"}, "expected capture= one of"),
            ({"order": "random"}, "expected order="),
            ({"idempotent": False}, "the reason why"),
            ({"oracles": ["luck"]}, "'luck'"),
            ({"severity": {"numerics": "mild"}}, "'mild'"),
        ):
            with self.subTest(options=options), self.assertRaisesRegex(FxpectError, words):
                assert_preserves(relu_twice_as_once, two_relus, T(3), **{**TRACED, **options})

    def test_pass(self):
        """What is no pass is refused, a model in its place too."""
        for pass_ in (3, torch.nn.Linear(2, 2), [], lambda gm, settings: gm):
            with self.subTest(repr(pass_)), self.assertRaises(PassFormError):
                assert_preserves(pass_, one_relu, T(3), **TRACED)

    def test_model_that_cannot_be_captured(self):
        """A model with a data-dependent branch is a CaptureError with its name."""

        def branches(x):
            return x if x.sum() > 0 else -x

        for capture in ("symbolic", "dynamo", "export"):
            with self.subTest(capture), self.assertRaisesRegex(CaptureError, "branches"):
                assert_preserves(does_nothing, branches, T(3), capture=capture)

    def test_inputs_that_do_not_fit(self):
        """Too many inputs, and inputs that the model does not run on, are misuse."""
        for inputs in ((T(3), T(3)), ()):
            with self.subTest(len(inputs)), self.assertRaises(FxpectError):
                assert_preserves(does_nothing, one_relu, *inputs, **TRACED)
        with self.assertRaises(FxpectError):
            assert_preserves(replacing(torch.mm, torch.matmul), lambda x, y: torch.mm(x, y), T(3, 2), T(3, 2), **TRACED)

    def test_unknown_operator(self):
        """A misspelt operator is misuse, before anything runs."""
        with self.assertRaisesRegex(FxpectError, "torch.rleu"):
            assert_preserves(does_nothing, one_relu, T(3), ops={"torch.rleu": 1}, **TRACED)


NEG_FIRST = """
def forward(self, x):
    neg = torch.neg(x)
    relu = torch.relu(x)
    sin = torch.sin(neg)
    return (relu, sin)
"""


class MessageTests(InScratch):
    def failure(self, **options):
        with self.assertRaises(CheckFailure) as caught:
            assert_rewrites(doubles_relu, two_relus, T(3), **{**TRACED, **options})
        return caught.exception

    def test_says_what_where_and_what_next(self):
        """The message has the oracle, the inputs, the change in words, the graph after, and the next command."""
        text = str(self.failure())

        for part in (
            "[numerics] pass doubles_relu",
            "where: capture 'symbolic', torch ",
            "inputs: x=f32[3]",
            "the pass: 2 times relu became mul",
            "  after:\n",
            "  saved in ",
            "  next",
            "replay.py",
        ):
            self.assertIn(part, text)

    def test_pasted_text_fails_there(self):
        """The lines to paste are Python, and fail in the same way."""
        text = str(self.failure())
        lines = text.partition("paste this into a test (it fails there too):\n")[2].partition("\n  saved in")[0]
        case = unittest.TestCase()

        with self.assertRaisesRegex(CheckFailure, "numerics"):
            exec(lines.strip().replace("self.", "verbs."), {"T": T, "doubles_relu": doubles_relu, "verbs": Verbs(case)})

    def test_the_order_that_a_pass_minds_is_kept(self):
        """Where the canonical order of the calls hides the failure, the lines to paste have that of the program."""

        def moves_the_first_call_last(gm):
            first = next(node for node in gm.graph.nodes if node.op == "call_function")
            if first.target is torch.neg:
                gm.graph.output_node().prepend(first)
            gm.recompile()

        with self.assertRaises(CheckFailure) as caught:
            assert_preserves(moves_the_first_call_last, NEG_FIRST, T(3), capture="dynamo")

        pasted = str(caught.exception).partition("paste this into a test (it fails there too):\n")[2]
        self.assertLess(pasted.index("torch.neg"), pasted.index("torch.relu"))

    def test_attributes(self):
        """The failure carries oracle, pass, cause, both texts and the script."""
        failure = self.failure()

        self.assertEqual((failure.oracle, failure.pass_name), ("numerics", "doubles_relu"))
        self.assertIn("torch.relu", failure.before)
        self.assertIn("torch.mul", failure.after)
        self.assertIn("the_pass", failure.script)
        self.assertTrue(failure.cause)

    def test_printed_command_fails_too(self):
        """Both texts are saved, and the command printed runs a script that exits 1, with torch alone."""
        Path("my_passes.py").write_text(PASS, encoding="utf-8")
        sys.path.insert(0, os.getcwd())
        self.addCleanup(sys.path.remove, os.getcwd())
        self.addCleanup(sys.modules.pop, "my_passes", None)
        import my_passes

        with self.assertRaises(CheckFailure) as caught:
            assert_preserves(my_passes.doubles_relu, two_relus, T(3), **TRACED)
        command = str(caught.exception).rstrip().splitlines()[-1].strip()
        done = subprocess.run(
            command.replace("python ", f"{sys.executable} "), shell=True, capture_output=True, text=True
        )
        (folder,) = [path.parent for path in Path(".fxpect/runs").rglob("replay.py")]

        self.assertEqual((done.returncode, done.stdout.splitlines()[-1][:6]), (1, "FAILS:"), done.stderr)
        self.assertIn("expected", (folder / "failure.txt").read_text())
        self.assertEqual((folder / "before.fx").read_text(), caught.exception.before)
        self.assertEqual((folder / "after.fx").read_text(), caught.exception.after)
        self.assertNotIn(
            "fxpect",
            [line.split()[1] for line in caught.exception.script.splitlines() if line.startswith(("import ", "from "))],
        )

    def test_values_that_matter_are_spelled_out(self):
        """Where the failure needs the very values of a real tensor, the lines to paste hold them."""
        weight = torch.tensor([1.0, -3.0, 0.5])

        def clips(gm):
            for node in gm.graph.find_nodes(op="call_function", target=torch.mul):
                node.target = lambda a, b: torch.mul(a, b.clamp(min=-2))
                fxpect.register_target(node.target, "clipped_mul")
            gm.recompile()

        with self.assertRaises(CheckFailure) as caught:
            assert_preserves(clips, lambda x, w: torch.mul(x, w), T(3, values="ones"), weight, **TRACED)

        self.assertIn("values=[1.0, -3.0, 0.5]", str(caught.exception))

    def test_saving_is_not_needed(self):
        """A failure is told in full where nothing can be written."""
        with mock.patch("fxpect.cases.messages.new_folder", side_effect=OSError("read-only")):
            text = str(self.failure())

        self.assertIn("[numerics]", text)
        self.assertNotIn("saved in", text)


def doubles_relu(gm):
    """Put a product by two in the place of relu: wrong."""
    for node in gm.graph.find_nodes(op="call_function", target=torch.relu):
        node.target, node.args = torch.mul, (node.args[0], 2)
    gm.recompile()


PASS = """
import torch


def doubles_relu(gm):
    for node in gm.graph.find_nodes(op="call_function", target=torch.relu):
        node.target, node.args = torch.mul, (node.args[0], 2)
    gm.recompile()
"""


class Verbs:
    """The verbs under the names that a test class has."""

    def __init__(self, case):
        self.case = case

    def assertRewrites(self, *arguments, **options):
        assert_rewrites(*arguments, **options)


if __name__ == "__main__":
    unittest.main()
