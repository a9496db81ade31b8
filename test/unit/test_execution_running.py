"""Tests of running one pass or a pipeline: what is recorded, what is restored, how a crash is told."""

from __future__ import annotations

import functools
import random
import sys
import unittest

import torch
from torch import fx
from torch._subclasses import FakeTensor
from torch.fx.passes.infra.pass_base import PassResult
from torch.fx.passes.infra.pass_manager import PassManager

from fxpect import Example, T
from fxpect.errors import FxpectError, GraphCrash, PassCrash, PassFormError
from fxpect.execution import as_pass, run_pass, run_pipeline

RELU, TANH = torch.ops.aten.relu.default, torch.ops.aten.tanh.default
TEXT = '''
def forward(self, x: "f32[2, 3]", y: "f32[2, 3]"):
    add: "f32[2, 3]" = torch.ops.aten.add.Tensor(x, y)
    relu: "f32[2, 3]" = torch.ops.aten.relu.default(add)
    return (relu,)
'''


def example(text=TEXT):
    return Example.from_text(text, T(2, 3), T(2, 3))


def swap(graph):
    for node in graph.find_nodes(op="call_function", target=RELU):
        node.target = TANH


def boom(graph):
    swap(graph)
    raise ValueError("no such operand\nsecond line")


class RunPassTests(unittest.TestCase):

    def test_records_both_graphs(self):
        """Both texts, the flag and the time are recorded; the example stays as it was."""
        given = example()
        text = given.text
        done = run_pass(swap, given)
        self.assertEqual((done.pass_name, done.changed, done.claimed), ("swap", True, None))
        self.assertEqual(done.before_text, text)
        self.assertEqual(done.after_text, text.replace("relu", "tanh"))
        self.assertGreaterEqual(done.seconds, 0)
        self.assertEqual(Example(given.graph_module, given.inputs).text, text)

    def test_after_is_what_the_pass_left(self):
        """A use before its definition is neither sorted nor hidden."""
        def disorder(graph):
            add, relu = graph.find_nodes(op="call_function", target=torch.ops.aten.add.Tensor) \
                + graph.find_nodes(op="call_function", target=RELU)
            add.prepend(relu)

        done = run_pass(disorder, example())
        self.assertEqual([n.name for n in done.after.graph.nodes], ["x", "y", "relu", "add", "output"])
        self.assertTrue(done.changed)
        with self.assertRaises(RuntimeError):
            done.after.graph.lint()

    def test_compile_error_is_recorded(self):
        """Code that is no Python is left to the oracles, with the error kept; a graph as usual has none."""
        def builtin_argument(graph):
            node = graph.find_nodes(op="call_function", target=RELU)[0]
            node.args = (node.args[0], torch.conv2d)

        self.assertIsInstance(run_pass(builtin_argument, example()).recompile_error, SyntaxError)
        self.assertIsNone(run_pass(swap, example()).recompile_error)

    def test_after_is_compiled(self):
        """The module that a graph pass left computes the new graph."""
        x = torch.full((2, 3), 0.5)
        self.assertTrue(torch.equal(run_pass(swap, example()).after(x, x)[0], torch.tanh(x + x)))

    def test_fake_inputs(self):
        """A pass that takes inputs gets the metadata's fakes, real tensors on demand, or the caller's."""
        seen = []

        def look(gm, example_inputs):
            seen.append(example_inputs)

        given = example()
        run_pass(look, given)
        self.assertTrue(all(isinstance(t, FakeTensor) for t in seen[-1]))
        run_pass(look, given, real_inputs=True)
        self.assertTrue(torch.equal(seen[-1][1], given.realize()[1]))
        run_pass(look, given, inputs=[1, 2])
        self.assertEqual(seen[-1], [1, 2])

    def test_inputs_without_metadata(self):
        """Where the graph has no metadata, the pass gets real inputs."""
        seen = []

        def look(gm, example_inputs):
            seen.extend(example_inputs)

        gm = fx.symbolic_trace(lambda x: x + 1)
        run_pass(look, Example(gm, (T(4),), "symbolic"))
        self.assertEqual(type(seen[0]), torch.Tensor)

    def test_fake_mode_for_inductor(self):
        """Inductor's current fake mode is the graph's while the pass runs, and not after."""
        from torch._inductor.virtualized import NullHandler, V

        seen = []
        given = example()
        run_pass(lambda graph: seen.append(V.fake_mode), given)
        self.assertIs(seen[0], given.placeholders[0].meta["val"].fake_mode)
        self.assertIsInstance(V.fake_mode, NullHandler)

    def test_garbage(self):
        """An answer that is no graph, flag or count is a failure that shows it."""
        for answer in ("done", 1.5, object(), torch.ones(1), torch.nn.ReLU(), {"a": 1}, [1]):
            with self.assertRaisesRegex(PassCrash, "expected None, a bool, .* got ") as caught:
                run_pass(as_pass(lambda gm, answer=answer: answer, kind="module"), example())
            self.assertEqual(caught.exception.cause, f"returned {type(answer).__name__}")

    def test_deleted_output(self):
        """A graph without its output node is a failure with that name."""
        def cut(graph):
            graph.erase_node(graph.output_node())

        with self.assertRaisesRegex(PassCrash, "the pass deleted it"):
            run_pass(cut, example())

    def test_another_model(self):
        """A module of another number of inputs is a failure; one of as many is the result."""
        with self.assertRaisesRegex(PassCrash, "expected a graph of 2 inputs, as before; got one of 1"):
            run_pass(lambda gm: fx.symbolic_trace(torch.nn.ReLU()), example())
        other = fx.symbolic_trace(lambda x, y: x)
        done = run_pass(lambda gm: PassResult(other, True), example())
        self.assertIs(done.after, other)
        self.assertEqual((done.changed, done.claimed), (True, True))

    def test_not_an_example(self):
        """Anything else than an Example is misuse."""
        with self.assertRaisesRegex(FxpectError, "expected an Example; got GraphModule"):
            run_pass(swap, example().graph_module)


class CrashTests(unittest.TestCase):

    def crash(self, fn, **kwargs):
        with self.assertRaises(PassCrash) as caught:
            run_pass(fn, example(), **kwargs)
        return caught.exception

    def test_message(self):
        """The exception's type and first line, and the file, line, function and code that raised it."""
        failure = self.crash(boom)
        line = boom.__code__.co_firstlineno + 2
        self.assertEqual(failure.message, "expected the pass to return; got ValueError: no such operand\n"
                         f"at test_execution_running.py:{line} in boom: raise ValueError(\"no such operand"
                         "\\nsecond line\")")
        self.assertEqual((failure.oracle, failure.pass_name), ("crash", "boom"))
        self.assertEqual(failure.before, example().text)
        self.assertIsInstance(failure.__cause__, ValueError)

    def test_innermost_frame_of_the_pass(self):
        """What torch raises is placed at the line of the pass that called torch."""
        def helper(graph):
            graph.erase_node(next(iter(graph.nodes)))

        def wrong(graph):
            helper(graph)

        failure = self.crash(wrong)
        self.assertIn("got RuntimeError: Tried to erase Node x", failure.message)
        self.assertIn("in helper: graph.erase_node(next(iter(graph.nodes)))", failure.message)

    def test_cause_is_stable(self):
        """The same bug has the same cause whatever the text of the exception."""
        def indexed(text, graph):
            raise IndexError(text)

        causes = {self.crash(as_pass(functools.partial(indexed, text), kind="graph")).cause for text in "ab"}
        self.assertEqual(causes, {"IndexError in indexed: raise IndexError(text)"})

    def test_what_counts_as_a_crash(self):
        """Leaving the process, runaway recursion and a closed generator are crashes; an interrupt is not."""
        def endless(graph):
            endless(graph)

        def raising(error):
            def fn(graph):
                raise error
            return fn

        self.assertIn("got SystemExit: 3", self.crash(raising(SystemExit(3))).message)
        self.assertIn("got GeneratorExit", self.crash(raising(GeneratorExit())).message)
        self.assertIn("got RecursionError", self.crash(endless).message)
        with self.assertRaises(KeyboardInterrupt):
            run_pass(raising(KeyboardInterrupt()), example())

    def test_exception_without_text(self):
        """An exception whose text cannot be made is reported all the same."""
        class Mute(Exception):
            def __str__(self):
                raise RuntimeError

        def fn(graph):
            raise Mute

        self.assertIn("got Mute: (its text cannot be made)", self.crash(fn).message)

    def test_member_of_a_manager(self):
        """What a manager wraps is unwrapped: the root cause and its place are named."""
        failure = self.crash(PassManager([lambda gm: boom(gm.graph)]))
        self.assertIn("because of ValueError: no such operand", failure.message)
        self.assertIn("in boom", failure.message)
        self.assertEqual(failure.cause.partition(":")[0], "ValueError in boom")

    def test_handler_of_a_pattern(self):
        """What a pattern's handler raises is placed in the handler, not in the matcher."""
        from torch._inductor import pattern_matcher

        patterns = pattern_matcher.PatternMatcherPass(pass_name="broken")

        @pattern_matcher.register_graph_pattern(pattern_matcher.CallFunctionVarArgs(RELU), pass_dict=patterns)
        def handler(match, x):
            match.nodes[7]

        failure = self.crash(patterns)
        self.assertIn("in handler: match.nodes[7]", failure.message)
        self.assertEqual(failure.pass_name, "broken")

    def test_member_of_a_list(self):
        """The member that raised is named."""
        failure = self.crash([swap, boom])
        self.assertTrue(failure.message.startswith("boom: expected the pass to return"))
        self.assertEqual(failure.pass_name, "[swap, boom]")


class RestoreTests(unittest.TestCase):

    def test_everything_is_put_back(self):
        """Random states, modes, defaults and configuration are those of before, also when the pass raises."""
        import torch._dynamo.config as dynamo
        import torch._inductor.config as inductor

        def state():
            return (torch.get_rng_state().tolist(), random.getstate(), torch.is_grad_enabled(),
                    torch.get_default_dtype(), torch.is_autocast_enabled("cpu"),
                    torch.get_autocast_dtype("cpu"), torch.are_deterministic_algorithms_enabled(),
                    inductor.permute_fusion, inductor.pre_grad_fusion_options, inductor.triton.cudagraphs,
                    dynamo.verbose)

        def messy(graph, fail):
            torch.rand(3), random.random()
            torch.set_grad_enabled(False)
            torch.set_default_dtype(torch.float64)
            torch.set_autocast_enabled("cpu", True)
            torch.set_autocast_dtype("cpu", torch.float16)
            torch.use_deterministic_algorithms(True)
            inductor.permute_fusion = not inductor.permute_fusion
            inductor.pre_grad_fusion_options["x"] = {}
            inductor.triton.cudagraphs = not inductor.triton.cudagraphs
            dynamo.verbose = not dynamo.verbose
            if fail:
                raise ValueError

        before = state()
        done = run_pass(functools.partial(messy, fail=False), example())
        self.assertEqual(state(), before)
        self.assertEqual(done.leaks, (
            "grad mode", "default dtype", "deterministic mode", "torch random state", "python random state",
            "cpu autocast"))
        with self.assertRaises(PassCrash):
            run_pass(functools.partial(messy, fail=True), example())
        self.assertEqual(state(), before)

    def test_a_tidy_pass_leaks_nothing(self):
        """A pass that changes no setting has no leaks, nor one that uses a context manager."""
        def tidy(graph):
            with torch.no_grad(), torch.autocast("cpu"), torch.random.fork_rng():
                torch.rand(2)

        self.assertEqual(run_pass(tidy, example()).leaks, ())


class PipelineTests(unittest.TestCase):

    def test_each_stage_gets_the_result_of_the_one_before(self):
        """Three stages in three forms, chained; every step's before is the step before's after."""
        def again(gm):
            for node in gm.graph.find_nodes(op="call_function", target=TANH):
                node.target = RELU
            return gm

        steps = run_pipeline({"there": swap, "back": again, "rest": lambda g: None}, example())
        self.assertEqual([step.pass_name for step in steps], ["there", "back", "rest"])
        self.assertEqual([step.changed for step in steps], [True, True, False])
        self.assertEqual(steps[0].after_text, steps[1].before_text)
        self.assertEqual(steps[1].after_text, example().text)

    def test_culprit(self):
        """The stage that raises, or answers nonsense, is named with its place in the pipeline."""
        with self.assertRaisesRegex(PassCrash, r"pass second: stage 2/3 second: expected the pass to return"):
            run_pipeline({"first": swap, "second": boom, "third": swap}, example())
        with self.assertRaisesRegex(PassCrash, "stage 1/1 only: expected None, a bool"):
            run_pipeline({"only": as_pass(lambda g: "x", kind="graph")}, example())

    def test_uncopyable_result(self):
        """A stage that leaves a graph which cannot be handed on is the culprit, not the next one."""
        def disorder(graph):
            first = graph.find_nodes(op="placeholder")[0]
            first.prepend(graph.find_nodes(op="call_function", target=RELU)[0])

        self.assertEqual(len(run_pipeline({"disorder": disorder}, example())), 1)
        with self.assertRaisesRegex(GraphCrash, "pass disorder: stage 1/2 disorder: .* cannot be copied"):
            run_pipeline({"disorder": disorder, "swap": swap}, example())

    def test_empty(self):
        """A pipeline without stages, or that is no mapping, is misuse."""
        for passes in ({}, [swap]):
            with self.assertRaisesRegex(PassFormError, "expected a pipeline"):
                run_pipeline(passes, example())


if __name__ == "__main__":
    sys.setrecursionlimit(1000)
    unittest.main()
