"""Reduction: what is taken out of an example that fails, and what has to stay."""

import unittest

from fxpect.campaign.reduction import reduce
from fxpect.capture import capture
from fxpect.errors import CheckFailure
from fxpect.oracles.judge import Result
from fxpect.specs import T

FAILURE = CheckFailure("numerics", "words", cause="numerics:values")


def made_small(keeps, failure=FAILURE):
    """Return what becomes of relu(x + y) + 1 where it fails as long as ``keeps`` says so."""
    text = ("def forward(self, x, y):\n    add = torch.add(x, y)\n    relu = torch.relu(add)\n"
            "    add_1 = torch.add(relu, 1)\n    return (add_1, x)\n")
    example = capture(text, (T(2, 3), T(2, 3)), capture="dynamo")
    return reduce(example, FAILURE, [example],
                  lambda smaller: Result(None, failures=[failure] if keeps(smaller) else []))


class ReductionTests(unittest.TestCase):

    def test_all_that_is_not_needed_goes(self):
        """Outputs, operators, and the inputs that these alone read."""
        small, failure, taken_out = made_small(lambda smaller: "relu" in smaller.text)

        self.assertIs(failure, FAILURE)
        self.assertEqual(small.text, 'def forward(self, x: "f32[2, 3]"):\n    relu: "f32[2, 3]" = torch.relu(x)\n'
                                     "    return (relu,)\n")
        self.assertEqual(small.inputs, (T(2, 3),))
        self.assertEqual(taken_out[-1], "y removed, nothing read instead")
        self.assertEqual((small.edits, small.path), ((), ()))

    def test_what_the_failure_needs_stays(self):
        """Here both inputs: the last that was tried without one no longer failed."""
        small, _, taken_out = made_small(lambda smaller: len(smaller.inputs) == 2)

        self.assertEqual(small.inputs, (T(2, 3), T(2, 3)))
        self.assertNotIn("y removed, nothing read instead", taken_out)

    def test_open_sizes_stay(self):
        """Dynamo lifts each open size as an input, which a graph of that stage cannot do without."""
        example = capture(lambda x, y: (x + y).relu(), (T("s0", 3), T("s0", 3)), capture="dynamo")
        small, _, taken_out = reduce(example, FAILURE, [example],
                                     lambda smaller: Result(None, failures=[FAILURE] if "relu" in smaller.text else []))

        self.assertEqual([str(spec) for spec in small.inputs], ["s0", "f32[s0, 3]"])
        self.assertEqual(taken_out[-1], "l_y_ removed, nothing read instead")

    def test_another_failure_is_not_this_one(self):
        """Where what is smaller fails in another way nothing is taken out."""
        small, _, taken_out = made_small(lambda smaller: True, CheckFailure("crash", "words", cause="crash:pass"))

        self.assertEqual((len(small.inputs), taken_out), (2, ()))


if __name__ == "__main__":
    unittest.main()
