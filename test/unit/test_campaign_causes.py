"""Causes: which failures are one finding, and which are two."""

import dataclasses
import unittest

from fxpect.campaign import causes
from fxpect.errors import CheckFailure
from fxpect.examples import Example
from fxpect.text.parser import parse_graph

GRAPH = parse_graph('def forward(self, x: "f32[2]"):\n    return (x,)\n')


def key(label, *triggers, node=None, views=(), rewrite=()):
    """Return the key of a failure with this label after steps with these triggers, where the pass did this."""
    failure = CheckFailure(label.partition(":")[0], "words", cause=label, node=node)
    failure.views = views
    return causes.key(Example(GRAPH, (), triggers=triggers), failure, frozenset(rewrite))


class KeyTests(unittest.TestCase):
    def explained(self, first, second):
        self.assertTrue(first.explains(second), f"{first} does not explain {second}")

    def apart(self, first, second):
        self.assertFalse(first.explains(second), f"{first} explains {second}")

    def test_more_steps_are_explained_by_fewer(self):
        """A step that fails alone explains a failure of its family after any more steps, not the reverse."""
        one, two = key("numerics:values", "extra user of cat"), key("numerics:shape", "extra user of cat", "size zero")
        self.explained(one, two)
        self.apart(two, one)

    def test_other_families_and_other_steps(self):
        """Another kind of failure after the same step, and the same after another step, are causes of their own."""
        self.apart(key("numerics:values", "cat out="), key("gradients:values", "cat out="))
        self.apart(key("numerics:values", "cat out="), key("numerics:values", "stack out="))

    def test_the_same_step_in_another_way(self):
        """Equal labels after one kind of step, taken in two ways, are one cause; other labels are not."""
        infinite, ordinary = (key("numerics:values", f"add.alpha changed{way}") for way in (", not finite", ""))
        self.explained(ordinary, infinite)
        self.explained(infinite, ordinary)
        self.explained(key("numerics:shape", "one input, size one"), key("numerics:shape", "one input, size zero"))
        self.apart(key("numerics:shape", "one input, size one"), key("numerics:values", "one input, size zero"))

    def test_the_same_step_in_another_way_and_more(self):
        """More steps after one kind of step, taken in another way, are one more of it, where both fail alike."""
        first, more = (("sum.dim changed, list",), ("sum.dim changed, list with zero", "size one"))
        self.explained(key("numerics:values", *first), key("numerics:values", *more))
        self.apart(key("numerics:values", *more), key("numerics:values", *first))
        self.apart(key("numerics:values", *first), key("numerics:nan", *more))

    def test_onlookers_do_not_tell_causes_apart(self):
        """Where a wrong number needs another output to be seen, the other step is the cause, not the onlooker."""
        first, second = (key("numerics:values", "sub.alpha changed", f"extra user of {op}") for op in ("exp", "sum"))
        self.explained(first, second)
        self.apart(first, key("numerics:values", "sum.dim changed", "extra user of exp"))
        self.apart(first, key("numerics:nan", "sub.alpha changed", "extra user of sum"))

    def test_one_program_is_one_cause(self):
        """What is made small to one program and fails alike is one, whatever the steps; one may fail in two ways."""
        first, second, other = (dataclasses.replace(key(label, trigger), program="return (relu, x)")
                                for label, trigger in (("numerics:values", "relu returned too"),
                                                       ("numerics:values", "relu twice"),
                                                       ("effects:training-mode", "relu twice")))
        self.explained(first, second)
        self.explained(second, first)
        self.apart(first, other)
        self.apart(first, dataclasses.replace(second, program="return (relu,)"))
        self.apart(key("numerics:values", "relu returned too"), key("numerics:values", "relu twice"))

    def test_patterns_do_not_tell_causes_apart(self):
        """One step next to two patterns is one cause, two steps next to one pattern are two."""
        first, second = (key("numerics:values", f"pattern {name}", "values zeros") for name in "ab")
        self.explained(first, second)
        self.apart(first, key("numerics:values", "pattern a", "add.alpha changed"))
        self.explained(key("numerics:values", "pattern a"), first)

    def test_a_view_of_one_operator_is_one_cause(self):
        """A stride, an alias, a write that reaches too far: one cause where the same operator's result is a view."""
        symptoms = [key("numerics:stride", "size one", views=("cat",)),
                    key("effects:output-aliases-input", "cat returned too", views=("cat",)),
                    key("effects:input-mutated", "cat written to, by add in place", views=("cat",)),
                    key("numerics:values", "a", "b", views=("cat", "stack"))]
        refused = key("crash:graph:RuntimeError:write in place refused", "a", "b", views=("cat",))
        for first in symptoms:
            for second in symptoms:
                self.explained(first, second)
            self.apart(first, refused)
            self.apart(refused, first)

    def test_views_of_two_operators_are_two_causes(self):
        """The same symptom is told twice where two operators' results are views, or where one is no view."""
        one, other = (key("effects:input-mutated", "a", views=(name,)) for name in ("cat", "stack"))
        self.apart(one, other)
        self.apart(other, one)
        self.apart(one, key("numerics:values", "b"))
        self.apart(key("numerics:values", "b"), one)

    def test_one_thing_tried_in_several_ways(self):
        """Pieces out of order, one operand twice, a weight read elsewhere: however it is done, it is one cause."""
        for first, second in (("cat operands swapped", "unbind pieces permuted"),
                              ("cat repeated operand", "cat operands one doubled"),
                              ("Conv2d.weight read elsewhere", "Conv1d.bias read elsewhere"),
                              ("two patterns of another constant on other inputs",
                               "two patterns of another constant on the same inputs"),
                              ("cat returned first", "cat returned too"),
                              ("cat written to by a view", "cat written to"),
                              ("Conv1d with a hook", "Conv2d with a hook")):
            self.explained(key("numerics:values", first), key("numerics:values", second))
        for first, second in (("cat operands swapped", "cat repeated operand"),
                              ("cat repeated operand", "stack repeated operand"),
                              ("cat returned first", "stack returned too"),
                              ("cat operands one missing", "cat operands swapped")):
            self.apart(key("numerics:values", first), key("numerics:values", second))

    def test_one_rewrite_and_what_it_is_given(self):
        """Ways to another dtype, rank or spelling are one cause where they fail alike and the pass did the same."""
        cat, stack = {"-cat", "+getitem"}, {"-stack"}
        dtype = ("one input half", "cat operand of dtype integer", "cast to torch.bfloat16 after cos", "sin -> isnan",
                 "close torch.float16")
        for label, *ways in (("numerics:dtype", *dtype),
                             ("numerics:values", "extreme torch.int8", "extreme torch.uint8"),
                             ("numerics:values", "one input double", "cat operand of dtype half", "to f16 after mul"),
                             ("numerics:shape", "conv1d.padding as keyword", "conv2d.stride as keyword"),
                             ("numerics:dtype", "conv2d under autocast", "batch_norm under autocast"),
                             ("numerics:values", "leading dim added", "a dim put in", "linear operand of higher rank"),
                             ("numerics:values", "leading dim removed", "linear operand of lower rank"),
                             ("numerics:values", "two patterns interleaved", "two patterns on other inputs",
                              "conv called again")):
            for first, second in zip(ways, ways[1:]):
                self.explained(key(label, first, rewrite=cat), key(label, second, rewrite=cat))
                self.apart(key(label, first, rewrite=cat), key(label, second, rewrite=stack))
                self.apart(key(label, first), key(label, second))
        for label, first, second in (("numerics:values", *dtype[:2]),
                                     ("numerics:nan", "one input half", "to f16 after mul"),
                                     ("numerics:values", "sum.dim as keyword", "mean.dim as keyword"),
                                     ("numerics:values", "Conv1d with a hook", "Linear with a hook"),
                                     ("numerics:values", "leading dim added", "leading dim removed"),
                                     ("numerics:dtype", "one input half", "all inputs half")):
            self.apart(key(label, first, rewrite=cat), key(label, second, rewrite=cat))
        self.explained(key("numerics:shape", "conv.padding as keyword", rewrite=cat),
                       key("numerics:shape", "conv.stride changed, list, conv.stride as keyword", rewrite=cat))

    def test_the_most_telling_symptom(self):
        """Of two symptoms of a view a wrong number tells more than an alias, and that more than a stride."""
        labels = ["numerics:values", "effects:output-aliases-input", "numerics:stride", "metadata:stride"]
        failures = [CheckFailure(label.partition(":")[0], "", cause=label) for label in labels]
        for better, worse in zip(failures, failures[1:]):
            self.assertTrue(causes.tells_more(better, worse))
            self.assertFalse(causes.tells_more(worse, better))

    def test_what_is_told_by_the_place_alone(self):
        """A crash at one place is one cause, whatever leads there; a wrong number is not."""
        self.explained(key("crash:pass:KeyError:rewrite", "a"), key("crash:pass:KeyError:rewrite", "b"))
        self.apart(key("crash:pass:KeyError:rewrite", "a"), key("crash:pass:IndexError:rewrite", "a"))

    def test_metadata_is_told_by_the_operator(self):
        """Wrong metadata of a node that the pass made is named by its operator; stale metadata is one cause."""
        self.assertEqual(str(key("metadata:stride", node="permute_2")), "metadata:stride at permute")
        self.explained(key("metadata:stride-stale", node="relu"), key("metadata:stride-stale", node="clone_1"))

    def test_what_a_person_reads(self):
        """The steps stand in the order in which they were taken, each with its way."""
        self.assertEqual(str(key("numerics:nan", "sub.alpha changed, not finite", "extra user of add")),
                         "numerics:nan | sub.alpha changed, not finite + extra user of add")

    def test_the_root_of_several(self):
        """Of the failures of one example the most telling is kept: a crash before numbers before metadata."""
        failures = [CheckFailure(label.partition(":")[0], "", cause=label)
                    for label in ("metadata:dtype", "numerics:values", "crash:graph:x")]
        self.assertEqual([failure.oracle for failure in causes.roots(failures)], ["crash"])
        self.assertEqual(causes.roots([]), [])

    def test_what_the_parent_showed_is_not_news(self):
        """A failure of the parent is not blamed on the step again; one alias, or lost gradient, stands for others."""
        shown = frozenset({"effects:output-aliases-input"})
        failures = [CheckFailure("effects", "", cause=f"effects:{what}") for what in
                    ("output-aliases-input", "outputs-alias", "input-mutated")]
        self.assertEqual([failure.cause for failure in causes.fresh(failures, shown)], ["effects:input-mutated"])
        tracked = [CheckFailure(cause.partition(":")[0], "", cause=cause) for cause in
                   ("gradients:unexpected", "effects:requires-grad", "effects:leaf", "numerics:values")]
        self.assertEqual([failure.cause for failure in causes.fresh(tracked, frozenset({"gradients:values"}))],
                         ["numerics:values"])


if __name__ == "__main__":
    unittest.main()
