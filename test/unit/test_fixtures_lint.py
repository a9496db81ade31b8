"""What a stored file is remarked for, and what no stored file may have."""

import unittest

from fxpect.fixtures.case import Case
from fxpect.fixtures.format import Document
from fxpect.fixtures.lint import CAP_BYTES, CAP_CASE_LINES, MAX_CASE_LINES, MAX_CASES, faults, remarks

PLAIN = Case.make("a = torch.relu(x)", after="b = torch.relu(x)")


def document(*cases, must=(), why="works"):
    return Document("test_x.py XTests.test_y", why, tuple(must), cases)


def lines(count):
    """Return a case of so many lines."""
    return Case.make("a", after="\n".join(["b"] * (count - 4)))


class LintTests(unittest.TestCase):

    def test_within_the_bounds(self):
        """What is just within every bound has no fault and no remark."""
        for case in (document(PLAIN, must=["has torch.relu"]), document(*[PLAIN] * MAX_CASES),
                     document(lines(MAX_CASE_LINES))):
            self.assertEqual((faults(case, CAP_BYTES), remarks(case)), ([], []))
        self.assertEqual(faults(document(lines(CAP_CASE_LINES)), 1), [])

    def test_beyond_the_bounds(self):
        """One more than a bound allows is told with what to do; a long case is remarked first."""
        for case, size, said in ((document(PLAIN), CAP_BYTES + 1, "at most 65536 bytes; got 65537: make its graphs"),
                                 (document(*[PLAIN] * (MAX_CASES + 1)), 1, "at most 40 cases; got 41: make its test"),
                                 (document(lines(CAP_CASE_LINES + 1)), 1, "at most 250 lines in a case; got 251 in"),
                                 (document(), 1, "expected a case; got none")):
            with self.subTest(said):
                (found,) = faults(case, size)
                self.assertIn(said, found)
        self.assertEqual(len(remarks(document(lines(MAX_CASE_LINES + 1)))), 1)
        self.assertEqual(len(remarks(document(PLAIN, why=""))), 1)

    def test_checks(self):
        """A check without a graph to fail on is a fault, and one that a stored graph of some torch breaks."""
        raises = Case.make("x", raises="ValueError: no")
        checked = Case.make("y", raises="ValueError: no", must=["has torch.relu"])
        newer = Case.make("a = torch.relu(x)", after="b = torch.relu(x)", afters=[("torch>=2.15", "b = torch.neg(x)")])
        for case, said in ((document(checked, PLAIN), f"got must: in {checked.key}, which raises"),
                           (document(raises, must=["has torch.relu"]), "in a file whose cases all raise"),
                           (document(newer, must=["has torch.relu"]), "expected at least 1 of torch.relu; got 0")):
            with self.subTest(said):
                (found,) = faults(case, 1)
                self.assertIn(said, found)
        self.assertEqual(faults(document(raises, PLAIN, must=["has torch.relu"]), 1), [])
        self.assertIn("the graph before does not call it either", remarks(document(PLAIN, must=["not torch.mm"]))[0])


if __name__ == "__main__":
    unittest.main()
