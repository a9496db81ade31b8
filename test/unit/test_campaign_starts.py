"""Where a search starts: the model as it is, equal sizes, leaves that require grad, dynamic shapes."""

import unittest

import torch

from fxpect import T
from fxpect.campaign.starts import Start, requiring_grad, squared
from fxpect.capture import capture
from fxpect.errors import CaptureError


def joined(x, y):
    return torch.relu(torch.cat([x, y], dim=-1))


def never(example):
    return False


class StartTests(unittest.TestCase):
    def test_plain_then_trained_then_dynamic(self):
        """The captured model comes first, then the one to train with equal sizes, then the one of dynamic shapes."""
        plain, trained, dynamic = Start(joined, (T(2, 8), T(2, 2)), "dynamo").examples(never)

        self.assertEqual([repr(spec) for spec in plain.inputs], ["f32[2, 8]", "f32[2, 2]"])
        self.assertEqual([repr(spec) for spec in trained.inputs], ["f32[4, 4](requires_grad=True)"] * 2)
        self.assertEqual(trained.triggers, ("inputs require grad",))
        self.assertTrue(any(getattr(spec, "is_dynamic", False) for spec in dynamic.inputs))

    def test_a_pattern_is_taken_as_it_is(self):
        """A pattern of the pass has no variants, and what is found next to it says which it was."""
        alone, = Start(joined, (T(2, 8), T(2, 2)), "dynamo", pattern="join").examples(never)

        self.assertEqual([repr(spec) for spec in alone.inputs], ["f32[2, 8]", "f32[2, 2]"])
        self.assertEqual(alone.triggers, ("pattern join",))

    def test_a_functional_graph_is_not_trained(self):
        """A graph after autograd has no leaves: only its sizes are made equal, which is nobody's cause."""
        examples = Start(joined, (T(2, 8), T(2, 2)), "aten", dynamic=False).examples(never)

        self.assertEqual([repr(example.inputs[0]) for example in examples], ["f32[2, 8]", "f32[4, 4]"])
        self.assertEqual(examples[1].triggers, ())
        self.assertIsNone(requiring_grad(examples[0]))

    def test_no_twin_of_what_is_equal_already(self):
        """Sizes that are equal, and leaves that require grad, give no second start."""
        example = capture(joined, (T(4, 4, requires_grad=True), T(4, 4, requires_grad=True)), capture="dynamo")

        self.assertIsNone(squared(example.portable()))
        self.assertIsNone(requiring_grad(example.portable()))

    def test_listed_values_keep_their_shape(self):
        """Indices that are listed stay, and the sizes of the others are made equal around them."""
        def rows(x, index):
            return x[index] + 1

        example = capture(rows, (T(3, 5), T(2, dtype="i64", values=(0, 2))), capture="dynamo").portable()

        self.assertEqual([repr(spec) for spec in squared(example).inputs], ["f32[4, 4]", repr(example.inputs[1])])

    def test_sizes_that_must_differ(self):
        """A model that does not take equal sizes starts as it is."""
        def rows(x):
            return x.reshape(3, 2)

        examples = Start(rows, (T(6),), "aten", dynamic=False).examples(never)

        self.assertEqual([repr(example.inputs[0]) for example in examples], ["f32[6]"])

    def test_a_graph_that_holds_its_sizes(self):
        """Where the sizes stand in the graph, the model is captured anew with equal ones, and with first sizes of 1."""
        def flat(x):
            return x.exp().reshape(x.shape[0] * x.shape[1])

        start = Start(flat, (T(2, 3),), "aten", dynamic=False)
        examples = start.examples(never)

        self.assertEqual([repr(example.inputs[0]) for example in examples], ["f32[2, 3]", "f32[4, 4]", "f32[1, 4]"])
        self.assertEqual([example.triggers for example in examples], [()] * 3)
        self.assertIn("[16]", examples[1].text)
        self.assertEqual(len(Start(examples[0], dynamic=False).examples(never)), 1, "of an example there is no model")

    def test_the_first_capture_on_which_the_pass_fires(self):
        """Without a capture the first that the pass rewrites is taken, the first at all where it rewrites none."""
        taken = Start(joined, (T(2, 8), T(2, 2)), dynamic=False)

        self.assertEqual(taken.examples(lambda example: example.capture == "dynamo")[0].capture, "dynamo")
        self.assertEqual(taken.examples(never)[0].capture, "export")

    def test_a_model_that_nothing_captures(self):
        """Where no capture takes the model, the error names each, and what it said."""
        def wrong(x):
            raise ValueError("no model")

        each = r"(?s)no capture takes this model:\n.*'export' failed.*no model\n.*'joint' failed.*no model"
        with self.assertRaisesRegex(CaptureError, each):
            Start(wrong, (T(2),)).examples(never)


if __name__ == "__main__":
    unittest.main()
