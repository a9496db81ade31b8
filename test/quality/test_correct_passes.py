"""No false alarm: passes that are right survive every example. ``FXPECT_EXAMPLES`` explores more than a run affords."""

import os
import unittest

import torch

from fxpect.campaign.check import check
from fxpect.campaign.search import Tally
from fxpect.report.counts import tally
from test.quality.correct_passes import CORRECT, CorrectPass

torch.set_num_threads(1)
EXAMPLES = int(os.environ.get("FXPECT_EXAMPLES", "60"))


class CorrectPassTests(unittest.TestCase):
    """One test for each pass, over all its models."""

    def test_there_is_one_of_every_kind(self):
        """Identity, dead code and renaming are among them, and every dialect."""
        self.assertTrue({"keep_everything", "rename_values", "remove_dead_code"} <= set(CORRECT))
        self.assertTrue({"export", "dynamo", "symbolic"} <= {entry.capture for entry in CORRECT.values()})


def check_correct(test: unittest.TestCase, entry: CorrectPass, examples: int) -> None:
    """Fail for the first finding: either the pass is wrong after all, or fxpect gives a false alarm."""
    for model, inputs in entry.models:
        done = Tally()
        found = check(entry.function, model, *inputs, capture=entry.capture, examples=examples, tally=done)
        tally.add("examples", done.judged)
        test.assertEqual([str(finding) for finding in found], [], f"{len(found)} findings for a correct pass")
        test.assertEqual(done.flaws, [])
        test.assertEqual(bool(done.fired), entry.fires, "whether it rewrote anything")


def _add_tests() -> None:
    """Give the class one test for each pass."""
    for entry in CORRECT.values():

        def test(self, entry=entry):
            check_correct(self, entry, EXAMPLES)

        test.__name__ = f"test_{entry.name}"
        test.__qualname__ = f"CorrectPassTests.{test.__name__}"
        test.__doc__ = f"{entry.name} holds on every near miss."
        setattr(CorrectPassTests, test.__name__, test)


_add_tests()

if __name__ == "__main__":
    unittest.main()
