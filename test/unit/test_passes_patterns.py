"""Patterns are offered as models: those that torch wrote as functions, and those it wrote as expressions."""

import operator
import unittest

import torch
from torch._inductor.pattern_matcher import (
    Arg,
    CallFunction,
    Ignored,
    KeywordArg,
    ListOf,
    PatternMatcherPass,
    fwd_only,
    register_graph_pattern,
    register_lowering_pattern,
    register_replacement,
)

from fxpect.capture import capture
from fxpect.execution import run_pass
from fxpect.passes.catalogue import catalogue, find
from fxpect.passes.firing import fire
from fxpect.passes.pattern_graphs import Unbuildable, build
from fxpect.passes.patterns import describe, models_of, patterns_of

torch.set_num_threads(1)
aten = torch.ops.aten


def own_matcher(lowering=False):
    """A matcher with one pattern: the relu of a sum becomes the sum of relus."""
    matcher = PatternMatcherPass(pass_name="own")
    pattern = CallFunction(aten.relu.default, CallFunction(aten.add.Tensor, KeywordArg("x"), KeywordArg("y")))

    @register_graph_pattern(pattern, pass_dict=matcher)
    def spread(match, x, y):
        match.replace_by_example(lambda x, y: torch.relu(x) + torch.relu(y), [x, y])

    if lowering:
        register_lowering_pattern(CallFunction(aten.sin.default, Arg()), pass_dict=matcher)(lambda match, x: x)
    return matcher


class PatternTests(unittest.TestCase):
    """What is offered for a pattern matcher, of torch or of a user."""

    def test_an_own_pattern_is_offered_and_fires(self):
        """The expression of a user's pattern becomes a graph on which the matcher fires."""
        matcher = own_matcher()
        (found,) = describe(matcher)
        example = capture(found.innocent.model, found.innocent.inputs, capture=found.innocent.capture)
        self.assertEqual(found.handler, "spread#1")
        self.assertEqual(found.reason, "")
        self.assertTrue(run_pass(matcher, example).changed)

    def test_lowerings_are_left_out(self):
        """A pattern that leaves ATen is not offered."""
        self.assertEqual([found.handler for found in describe(own_matcher(lowering=True))], ["spread#1"])

    def test_handlers_select(self):
        """Only the patterns whose handler has the beginning asked for are described."""
        self.assertEqual(describe(own_matcher(), handlers=("other",)), [])

    def test_a_declined_pattern_says_so(self):
        """A pattern that matches, but on which the pass does nothing, has a reason and is not a model."""
        matcher = PatternMatcherPass()
        register_graph_pattern(CallFunction(aten.sin.default, Arg()), pass_dict=matcher)(lambda match, x: None)
        (found,) = describe(matcher)
        self.assertIn("declines", found.reason)
        self.assertIsNotNone(found.innocent)

    def test_an_unbuildable_pattern_says_why(self):
        """A pattern whose operator runs on nothing that is tried has a reason and no model."""
        matcher = PatternMatcherPass()
        pattern = CallFunction(aten.mm.default, CallFunction(aten.bmm.default, Arg(), Arg()), Arg())
        register_graph_pattern(pattern, pass_dict=matcher)(lambda match, x, y, z: None)
        (found,) = describe(matcher)
        self.assertIsNone(found.innocent)
        self.assertIn("no arguments found", found.reason)
        with self.assertRaises(Unbuildable):
            build(pattern, "val")

    def test_functions_without_kept_inputs_say_so(self):
        """A pattern that was traced from a function whose inputs are unknown is described, not offered."""
        matcher = PatternMatcherPass()
        with torch._subclasses.FakeTensorMode():
            register_replacement(lambda p, q: p.sin() + q, lambda p, q: q + p.sin(), [torch.empty(2), torch.empty(2)],
                                 fwd_only, matcher)
        (found,) = describe(matcher)
        self.assertIsNone(found.innocent)
        self.assertIn("inputs", found.reason)

    def test_lists_take_every_piece(self):
        """A pattern over a list of pieces becomes a graph that uses all pieces, each once."""
        pieces = ListOf(CallFunction(operator.getitem, CallFunction(
            aten.split_with_sizes.default, KeywordArg("x"), Ignored(), Ignored(), _users=2), Ignored()))
        gm = build(CallFunction(aten.cat.default, pieces, Ignored()), "val")
        (cat,) = gm.graph.find_nodes(op="call_function", target=aten.cat.default)
        self.assertEqual([piece.args[1] for piece in cat.args[0]], [0, 1])
        self.assertTrue(all("val" in node.meta for node in gm.graph.nodes if node.op != "output"))

    def test_named_arguments_are_shared(self):
        """An argument of one name is one input everywhere."""
        gm = build(CallFunction(aten.add.Tensor, CallFunction(aten.sin.default, KeywordArg("x")),
                                CallFunction(aten.cos.default, KeywordArg("x"))), "val")
        self.assertEqual(len(gm.graph.find_nodes(op="placeholder")), 1)

    def test_a_pass_without_patterns_has_none(self):
        """A pass that is no pattern matcher offers nothing."""
        self.assertEqual(patterns_of("fx.merge_matmul"), ())
        self.assertEqual(models_of("fx.merge_matmul"), ())


class OfferedTests(unittest.TestCase):
    """The patterns of the catalogue."""

    def test_most_patterns_are_offered(self):
        """Nine in ten patterns of the installed torch become models."""
        found = [pattern for each in catalogue() for pattern in patterns_of(each.name)]
        offered = [pattern for pattern in found if pattern.innocent and not pattern.reason]
        self.assertGreater(len(found), 150)
        self.assertGreater(len(offered) / len(found), 0.9)

    def test_offered_models_fire(self):
        """A pass fires on the models that are its own patterns; of the many of attention, on every fourth."""
        for each in catalogue():
            models = models_of(each.name)
            for model in models[::4] if each.name == "joint.fuse_attention" else models:
                with self.subTest(each.name, model=model.name):
                    fire(each, model)

    def test_every_attention_pattern_is_offered(self):
        """Each pattern of fuse_attention is a model, for inference or training as torch traced it."""
        found = patterns_of("joint.fuse_attention")
        self.assertEqual([pattern.reason for pattern in found if pattern.reason], [])
        captures = {pattern.innocent.capture for pattern in found}
        self.assertEqual(captures, {"aten", "joint"})

    def test_names_are_stable(self):
        """Two calls name the same patterns in the same order."""
        first, second = ([pattern.handler for pattern in patterns_of("joint.fuse_attention")] for _ in range(2))
        self.assertEqual(first, second)
        self.assertEqual(len(set(first)), len(first))
        self.assertEqual(find("joint.fuse_attention").stage, "joint")


if __name__ == "__main__":
    unittest.main()
