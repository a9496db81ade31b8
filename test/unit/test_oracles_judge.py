"""``judge``: what it asks, what it skips, what it throws away, and the labels of what it finds."""

import functools
import json
import unittest
from unittest import mock

import sympy
import torch
from torch.fx.passes.infra.pass_base import PassResult

from fxpect.capture import capture
from fxpect.errors import FxpectError, GraphCrash, PassCrash
from fxpect.examples import Example
from fxpect.oracles import evidence as evidence_module
from fxpect.oracles.causes import crash_cause, first_words, raising_function, unqualified
from fxpect.oracles.judge import ALWAYS, judge
from fxpect.specs import T

aten = torch.ops.aten


def traced(fn, *specs):
    return Example(torch.fx.symbolic_trace(fn), specs, capture="dynamo")


def retarget(graph, old=torch.relu, new=torch.abs):
    """Replace one target by another."""
    for node in graph.find_nodes(op="call_function", target=old):
        node.target = new


def unsafe(graph):
    raise ValueError("no operand 17 of 'cat' in %node_3 at [4, 5]")


def dishonest(gm):
    """Replace relu, and deny it."""
    retarget(gm.graph)
    return PassResult(gm, False)


RELU = traced(lambda x: torch.relu(x) + 1, T(4))


class JudgeTests(unittest.TestCase):
    def test_identity_runs_nothing(self):
        """A pass that changed nothing is judged without running a graph."""
        with mock.patch.object(evidence_module, "observe", side_effect=AssertionError("it ran")):
            result = judge(lambda graph: None, RELU)
        self.assertTrue(result.holds)
        self.assertFalse(result.changed)

    def test_wrong_rewrite(self):
        """A wrong rewrite fails, and the result holds both runs and the execution."""
        result = judge(retarget, RELU)
        self.assertEqual([failure.cause for failure in result.failures], ["numerics:values"])
        self.assertEqual(result.failures[0].pass_name, "retarget")
        self.assertIn("torch.relu(x)", result.failures[0].before)
        self.assertIn("torch.abs(x)", result.failures[0].after)
        self.assertFalse(torch.equal(result.before.leaves[0], result.after.leaves[0]))
        self.assertTrue(result.changed)
        with self.assertRaisesRegex(AssertionError, "expected"):
            result.raise_first()

    def test_crash_of_the_pass(self):
        """A pass that raises is a finding labelled by type, function and words without names and numbers."""
        result = judge(unsafe, RELU)
        (failure,) = result.failures
        self.assertIsInstance(failure, PassCrash)
        self.assertEqual(failure.cause, "crash:pass:ValueError:unsafe:no operand of in at")
        self.assertIsNone(result.execution)

    def test_crash_of_the_graph(self):
        """A graph that no longer runs is a finding that names the node."""
        (failure,) = judge(functools.partial(retarget, new=torch.linalg.inv), RELU).failures
        self.assertIsInstance(failure, GraphCrash)
        self.assertEqual(failure.node, "relu")

    def test_graph_that_does_not_run(self):
        """A graph that crashes before the pass judges no pass, whether the pass changes it or raises."""
        broken = traced(lambda x: torch.relu(x).view(17), T(4))
        for pass_ in (retarget, unsafe, dishonest):
            result = judge(pass_, broken)
            self.assertEqual(result.failures, [])
            self.assertIn("the graph before the pass does not run: RuntimeError: shape", result.discarded)
            self.assertFalse(result.holds)

    def test_graph_that_is_not_determined(self):
        """A graph that returns uninitialised memory judges no pass; one that fills it first does."""
        undetermined = traced(lambda x: (torch.empty_like(x), torch.relu(x)), T(4))
        self.assertIn("gives two answers: output 0", judge(retarget, undetermined).discarded)
        determined = traced(lambda x: (torch.empty_like(x).fill_(1), torch.relu(x)), T(4))
        result = judge(retarget, determined)
        self.assertIsNone(result.discarded)
        self.assertEqual([failure.cause for failure in result.failures], ["numerics:values"])

    def test_memory_grown_by_resize(self):
        """What ``resize_`` adds is uninitialised too, what was there before is not."""
        grown = traced(lambda x: (x.clone().resize_(8), torch.relu(x)), T(4))
        self.assertIn("gives two answers", judge(retarget, grown).discarded)
        kept = traced(lambda x: (x.clone().resize_(2), torch.relu(x)), T(4))
        self.assertIsNone(judge(retarget, kept).discarded)

    def test_oracles_that_are_asked(self):
        """Only the named oracles answer; an unknown name is misuse."""
        self.assertEqual(judge(retarget, RELU, oracles=("effects",)).failures, [])
        self.assertEqual(len(judge(retarget, RELU, oracles=("numerics",)).failures), 1)
        self.assertIn("honesty", ALWAYS)
        with self.assertRaisesRegex(FxpectError, "expected oracles among honesty, .*; got 'numeric'"):
            judge(retarget, RELU, oracles=("numeric",))

    def test_first(self):
        """``first`` stops at the first failure."""
        example = traced(lambda x: (torch.relu(x), torch.relu(x) * 2), T(4))
        self.assertEqual(len(judge(retarget, example).failures), 2)
        self.assertEqual(len(judge(retarget, example, first=True).failures), 1)
        self.assertEqual(len(judge(unsafe, example, first=True).failures), 1)

    def test_severity(self):
        """The longest fitting part of a cause decides how a failure weighs."""
        for severity, failures, notes in (
            ({}, 1, 0),
            ({"numerics": "note"}, 0, 1),
            ({"numerics": "off"}, 0, 0),
            ({"numerics": "off", "numerics:values": "error"}, 1, 0),
            ({"numerics:val": "off"}, 1, 0),
        ):
            with self.subTest(severity=severity):
                result = judge(retarget, RELU, severity=severity)
                self.assertEqual((len(result.failures), len(result.notes)), (failures, notes))
        with self.assertRaisesRegex(FxpectError, "severity of 'numerics': expected 'error', 'note' or 'off'; got 'no'"):
            judge(retarget, RELU, severity={"numerics": "no"})

    def test_notes_do_not_fail(self):
        """A dead node is a note; the example holds."""

        def left_behind(graph):
            (node,) = graph.find_nodes(op="call_function", target=torch.relu)
            with graph.inserting_before(node):
                new = graph.call_method("relu", node.args)
            node.replace_all_uses_with(new)

        result = judge(left_behind, RELU)
        self.assertTrue(result.holds)
        self.assertEqual([note.cause for note in result.notes], ["structure:dead-node"])

    def test_gradients_by_default(self):
        """Gradients are compared where an input requires grad and the capture is differentiable."""

        def detach(graph):
            (node,) = graph.find_nodes(op="call_function", target=torch.relu)
            with graph.inserting_after(node):
                cut = graph.call_method("detach", (node,))
            node.replace_all_uses_with(cut, delete_user_cb=lambda user: user is not cut)

        wants = traced(lambda x: torch.relu(x) * 2, T(4, requires_grad=True))
        causes = {failure.cause for failure in judge(detach, wants).failures}
        self.assertEqual(causes, {"effects:requires-grad", "gradients:missing"})
        self.assertTrue(judge(detach, wants, grads=False).holds)
        self.assertTrue(judge(detach, wants.replace(capture="aten")).holds)

    def test_in_place_on_a_leaf(self):
        """A graph that writes to a leaf is judged without gradients, not thrown away."""
        result = judge(retarget, traced(lambda x: x.add_(1) * torch.relu(x), T(4, requires_grad=True)))
        self.assertIsNone(result.discarded)
        self.assertFalse(result.evidence.grads)
        self.assertTrue(result.failures)

    def test_dynamic(self):
        """``dynamic`` judges the graph at other sizes too."""
        example = capture(lambda x: x.mean(0), (T("B", 3),))
        size = example.sizes["B"]

        def burn(graph):
            for node in graph.find_nodes(op="call_function", target=aten.mean.dim):
                with graph.inserting_before(node):
                    total = graph.call_function(aten.sum.dim_IntList, node.args)
                node.target, node.args = aten.div.Tensor, (total, size)

        self.assertTrue(judge(burn, example).holds)
        self.assertEqual({f.oracle for f in judge(burn, example, dynamic=True).failures}, {"generality"})

    def test_writes_that_became_outputs(self):
        """A program pass may turn a write into an output that stands for it, but not drop it."""

        def decomposed(exported: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
            return exported.run_decompositions()

        def drops(exported: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
            program = exported.run_decompositions()
            output = program.graph.output_node()
            output.args = ((output.args[0][1], output.args[0][1]),)
            return program

        class Counting(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("seen", torch.zeros(3))

            def forward(self, x):
                self.seen.add_(1)
                x.mul_(2)
                return x + self.seen

        example = capture(Counting(), (T(3),))
        result = judge(decomposed, example)
        self.assertTrue(result.changed)
        self.assertEqual([str(failure) for failure in result.failures], [])
        simple = capture(lambda x: x.mul_(2) + 1, (T(3),))
        self.assertEqual([failure.cause for failure in judge(drops, simple).failures], ["effects:input-values"])

    def test_the_example_is_left_alone(self):
        """Judging changes neither the example nor the global generator."""
        example = traced(lambda x: torch.rand_like(torch.relu(x)).add_(1), T(4))
        text, state = example.text, torch.get_rng_state()
        judge(retarget, example)
        self.assertEqual(example.replace().text, text)
        self.assertTrue(torch.equal(state, torch.get_rng_state()))

    def test_sizes_stay_open(self):
        """The texts after a pass that pins a size, and breaks the graph, are those of the capture."""
        def pin_and_break(gm):
            (x,) = gm.graph.find_nodes(op="placeholder")
            if x.meta["val"].shape[0] == 3:  # adds a guard
                retarget(gm.graph, aten.relu.default, aten.abs.default)

        example, other = (capture(lambda x: x.relu(), (T(3, 4),), dynamic=True) for _ in range(2))

        result = judge(pin_and_break, example)

        self.assertIn("f32[s0, s1]", other.text)
        self.assertIn("numerics", [failure.oracle for failure in result.failures])
        self.assertEqual((result.failures[0].before, example.text), (other.text, other.text))


class CauseTests(unittest.TestCase):
    def test_words_without_names(self):
        """Names, numbers, quotations and brackets are no part of a label."""
        for message, words in (
            (
                "Expected size 3 but got size 4 for tensor number 1 in the list.",
                "expected size but got size for tensor number",
            ),
            ("'Foo' object has no attribute 'bar_2'", "object has no attribute"),
            ("", ""),
            ("\n\n%relu_1 (f32[2]) is dead", "is dead"),
        ):
            with self.subTest(message=message):
                self.assertEqual(first_words(message), words)

    def test_label_of_a_crash(self):
        """The label names what crashed, the exception's type and the function that raised it."""
        try:
            unsafe(None)
        except ValueError as error:
            self.assertEqual(crash_cause("graph", error), "crash:graph:ValueError:unsafe:no operand of in at")

    def raising(self, function, *args):
        """Return the function that is named for what a call raises."""
        try:
            function(*args)
        except Exception as error:
            return raising_function(error)
        self.fail(f"expected an exception of {function}")

    def test_label_names_the_pass_whatever_it_called(self):
        """The function is the pass's own: not that of torch, of sympy or of Python in which the exception came up."""
        def own(call):
            call()

        for call in (lambda: torch.stack([]), lambda: torch._refs.stack([]), lambda: json.loads(""),
                     lambda: torch.nn.functional.pad(None, None), lambda: sympy.sympify("1 +")):
            with self.subTest(call=call):
                self.assertEqual(self.raising(own, call), "own")

    def test_label_names_the_class(self):
        """Methods of one name in two classes are two functions; what one calls by a lambda is its own."""
        class Cat:
            def match(self):
                return [torch.stack([]) for _ in range(1)]

        class Stack:
            def match(self):
                return (lambda: torch.stack([]))()

        self.assertEqual([self.raising(one().match) for one in (Cat, Stack)], ["Cat.match", "Stack.match"])
        label = "crash:pass:RuntimeError:Stack.match:stack expects a non"
        self.assertEqual(unqualified(label), "crash:pass:RuntimeError:match:stack expects a non")
        self.assertEqual(unqualified(unqualified(label)), unqualified(label))
        self.assertEqual(unqualified("numerics:values"), "numerics:values")

    def test_label_names_a_pass_of_torch(self):
        """Of a pass of torch it is its function, not that of the graph or of the operators that it calls."""
        from torch._inductor.fx_passes.pre_grad import fuse_conv_bn
        from torch.fx.experimental.merge_matmul import split_result_tensors

        self.assertEqual(self.raising(fuse_conv_bn, None), "fuse_conv_bn")
        self.assertEqual(self.raising(split_result_tensors, torch.ones(2), [torch.ones(3)]), "split_result_tensors")

    def test_label_of_what_is_not_implemented(self):
        """An operator that refuses raises now RuntimeError, now NotImplementedError: one label."""
        labels = {crash_cause("graph", kind("relu of bool"), "relu") for kind in (RuntimeError, NotImplementedError)}
        self.assertEqual(labels, {"crash:graph:RuntimeError:relu:relu of bool"})

    def test_label_of_several_dtypes(self):
        """Operators say in several ways that their operands are of several dtypes, and not of one that they lack."""
        one, other, weight = torch.ones(1, 2, 2), torch.ones(1, 2, 2).half(), torch.ones(2, 2, 1)
        conv = torch.nn.functional.conv1d
        calls = [lambda: one @ other, lambda: conv(other, weight), lambda: conv(one, weight, torch.ones(2).half())]
        labels = []
        for call in (*calls, lambda: torch.bitwise_and(one, one)):
            with self.assertRaises(RuntimeError) as refused:
                call()
            labels.append(crash_cause("graph", refused.exception, "fused"))
        self.assertEqual(set(labels[:3]), {"crash:graph:RuntimeError:fused:several dtypes"})
        self.assertNotIn(labels[3], labels[:3])

    def test_label_of_a_refused_write(self):
        """A write to a view or a leaf that autograd refuses has one label, whichever operator wrote."""
        leaf = torch.ones(2, requires_grad=True)
        writes = (lambda: leaf[0].add_(1), lambda: leaf.unbind(0)[0].mul_(2), lambda: leaf.exp().unbind(0)[0].mul_(2))
        for write in writes:
            with self.assertRaises(RuntimeError) as refused:
                write()
            self.assertEqual(crash_cause("graph", refused.exception), "crash:graph:RuntimeError:write in place refused")


if __name__ == "__main__":
    unittest.main()
