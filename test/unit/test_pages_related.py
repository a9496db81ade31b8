"""Related tests: those that share what few others have."""

import unittest

from fxpect.pages.naming import Keyword
from fxpect.pages.related import related

PASS, OPERATOR, COMMON = Keyword("pass", "sink_cat"), Keyword("operator", "torch.cat"), Keyword("API", "fxpect.T")
APART = {(f"{letter}.py", "T.test"): (COMMON,) for letter in "stuvwxyz"}


def found(keywords):
    """Return the first test's relations, any other test being apart."""
    answer = related(keywords, lambda one, two: one != two)
    return answer["a.py", "T.test"]


class RelatedTests(unittest.TestCase):
    """Who is near, in which order, and why."""

    def test_rare_keywords_count(self):
        """One who shares a pass stands before one who shares an operator; a keyword of all relates nobody."""
        keywords = {("a.py", "T.test"): (COMMON, OPERATOR, PASS), ("b.py", "T.test"): (COMMON, OPERATOR),
                    ("c.py", "T.test"): (COMMON, PASS), **APART}

        self.assertEqual(found(keywords), [(("c.py", "T.test"), [PASS]), (("b.py", "T.test"), [OPERATOR])])

    def test_those_beside_are_left_out(self):
        """What is not apart is not related, however alike it is."""
        keywords = {("a.py", "T.test"): (PASS,), ("b.py", "T.test"): (PASS,), **APART}

        self.assertEqual(related(keywords, lambda one, two: False)["a.py", "T.test"], [])
        self.assertEqual(len(found(keywords)), 1)

    def test_ties_are_broken_by_name(self):
        """Those that are equally near come in the order of their names, at most five."""
        others = [(f"{number}.py", "T.test") for number in range(8)]
        keywords = {("a.py", "T.test"): (PASS,), **dict.fromkeys(reversed(others), (PASS,)),
                    **{(f"{number}.py", "T.other"): () for number in range(60)}}

        self.assertEqual([key for key, _ in found(keywords)], others[:5])


if __name__ == "__main__":
    unittest.main()
