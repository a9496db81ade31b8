"""Conditions on the version of torch: exactly one section applies, the most specific."""

import itertools
import unittest

from fxpect.errors import FxpectError
from fxpect.fixtures.versions import (
    above,
    below,
    canonical_condition,
    check_conditions,
    choose,
    condition_for,
    minor,
    parent,
    parse_condition,
    release,
    sort_conditions,
)


class ConditionTests(unittest.TestCase):

    def test_canonical_spelling(self):
        """Spaces, order and a wildcard make no difference to the spelling."""
        for text, expected in (("torch >= 2.15", "torch>=2.15"), ("torch<2.16,>=2.15", "torch>=2.15,<2.16"),
                               ("torch==2.15.*", "torch>=2.15,<2.16"), ("torch<2.12", "torch<2.12"),
                               ("torch>=2.13,>=2.15", "torch>=2.15")):
            self.assertEqual(canonical_condition(text), expected)

    def test_refuses_what_is_no_condition(self):
        """Another package, an operator whose meaning is doubtful, and a range without releases are errors."""
        for text in ("", "torch", "numpy>=2", ">=2.15", "torch>2.15", "torch!=2.15", "torch~=2.15",
                     "torch<=2.15",
                     "torch==2.15.0", "torch>=x", "torch>=2.15 or torch<2"):
            with self.subTest(text=text), self.assertRaisesRegex(FxpectError,
                                                                 "expected a condition torch>=A.B"):
                parse_condition(text)
        with self.assertRaisesRegex(FxpectError, "that some torch meets"):
            parse_condition("torch>=2.15,<2.15")

    def test_nightly_and_local_builds_count_as_their_release(self):
        """A build before or beside a release meets the same conditions as the release."""
        for version in ("2.15.0", "2.15.0a0+git12", "2.15.0.dev20260101+cpu", "2.15.0+cu130", "2.15.0rc1"):
            self.assertEqual(str(release(version)), "2.15.0")
            self.assertEqual(choose(["torch>=2.15"], version), "torch>=2.15")
        self.assertEqual((minor("2.15.1+cpu"), condition_for("2.15.1")), ("2.15", "torch>=2.15"))
        with self.assertRaisesRegex(FxpectError, "expected a torch version such as 2.15.0; got 'main'"):
            release("main")

    def test_overlap_is_an_error_and_nesting_is_not(self):
        """Ranges inside one another are fine; ranges that overlap, or are equal, are refused."""
        check_conditions(["torch>=2.13", "torch>=2.15", "torch>=2.15,<2.16", "torch<2.12"])
        for pair in (("torch>=2.13", "torch<2.15"), ("torch>=2.15", "torch>=2.15.0"),
                     ("torch>=2.13,<2.15", "torch>=2.14,<2.16")):
            for both in itertools.permutations(pair):
                with self.subTest(both=both), self.assertRaisesRegex(FxpectError, "exactly one section"):
                    check_conditions(both)

    def test_chooses_the_most_specific_whatever_the_order(self):
        """The innermost range that holds the version is chosen, and none outside all of them."""
        conditions = ["torch>=2.13", "torch>=2.15", "torch>=2.15,<2.16", "torch<2.12"]
        for order in itertools.permutations(conditions):
            found = [choose(order, version) for version in ("2.11", "2.12", "2.14.9", "2.15.3", "2.16.0")]
            self.assertEqual(found, ["torch<2.12", "", "torch>=2.13", "torch>=2.15,<2.16", "torch>=2.15"])

    def test_version_is_needed_only_where_there_is_a_choice(self):
        """Without sections the version may be left out; with one it may not."""
        self.assertEqual(choose([], None), "")
        with self.assertRaisesRegex(FxpectError, "expected the version of torch"):
            choose(["torch>=2.15"], None)

    def test_parent_is_what_would_apply_instead(self):
        """The parent is the innermost other range around a range."""
        conditions = ["torch>=2.13", "torch>=2.15", "torch>=2.15,<2.16"]
        self.assertEqual([parent(name, conditions) for name in conditions],
                         ["", "torch>=2.13", "torch>=2.15"])

    def test_below_is_what_is_left_for_the_releases_before(self):
        """A condition ends before the release, stays where it ended already, and is none where it starts later."""
        for condition, left in (("", "torch<2.15"), ("torch>=2.13", "torch>=2.13,<2.15"), ("torch<2.14", "torch<2.14"),
                                ("torch==2.15.*", ""), ("torch>=2.16", ""), ("torch>=2.13,<3", "torch>=2.13,<2.15")):
            with self.subTest(condition=condition):
                self.assertEqual(below(condition, "2.15.1+cpu"), left)

    def test_above_is_what_is_left_for_the_release_and_those_after(self):
        """A condition starts with the release, or where it started already, and is none where it ends before."""
        for condition, left in (("", "torch>=2.15"), ("torch>=2.13", "torch>=2.15"), ("torch>=2.16", "torch>=2.16"),
                                ("torch<2.14", ""), ("torch>=2.13,<3", "torch>=2.15,<3")):
            with self.subTest(condition=condition):
                self.assertEqual(above(condition, "2.15.1+cpu"), left)

    def test_sorted_by_first_release(self):
        """Sections stand in a file by their first release, then by their last."""
        self.assertEqual(sort_conditions(["torch>=2.15", "torch<2.12", "torch>=2.9", "torch>=2.15,<2.16"]),
                         ["torch<2.12", "torch>=2.9", "torch>=2.15,<2.16", "torch>=2.15"])


if __name__ == "__main__":
    unittest.main()
