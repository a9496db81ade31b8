"""What differs between a stored case and a run, each answer by itself."""

import unittest

from fxpect.errors import FxpectError
from fxpect.fixtures.case import Case
from fxpect.fixtures.compare import MUST, compare, compare_new, describe, line_diff
from fxpect.fixtures.pending import AFTER_CHANGED, BEFORE_CHANGED, NEW_CASE, VERSION_SECTION

BEFORE = "a = torch.relu(x)\nreturn (a,)"
AFTER = "a = torch.cat([x])\nreturn (a,)"
CASE = Case.make(BEFORE, title="one", after=AFTER, must=["has torch.cat"])
SECTIONS = Case.make(BEFORE, after=AFTER, afters=[("torch>=2.15", BEFORE)])


def kinds(differences):
    """Return the kinds of some differences."""
    return [difference.kind for difference in differences]


class CompareTests(unittest.TestCase):

    def test_equal_texts_differ_in_nothing(self):
        """The stored texts, also with other line ends and a final newline, are equal."""
        self.assertEqual(compare(CASE, before=BEFORE, after=AFTER), [])
        self.assertEqual(compare(CASE, before=BEFORE + "\n", after=AFTER.replace("\n", " \r\n")), [])
        self.assertEqual(compare(CASE), [])

    def test_a_change_that_matters_is_never_normalised_away(self):
        """Indentation, an inner space, an inner blank line and the order of lines are differences."""
        for after in ("  " + AFTER, AFTER.replace("[x]", "[ x]"), AFTER.replace("\n", "\n\n"),
                      "\n".join(reversed(AFTER.split("\n")))):
            with self.subTest(after=after):
                self.assertEqual(kinds(compare(CASE, after=after)), [AFTER_CHANGED])

    def test_capture_and_pass_are_told_apart(self):
        """A changed graph before and a changed graph after are two answers, the input first."""
        new = AFTER + " "
        found = compare(CASE, before=AFTER, after=AFTER.replace("x", "y"))

        self.assertEqual(kinds(found), [BEFORE_CHANGED, AFTER_CHANGED])
        self.assertEqual((found[0].expected, found[0].got), (BEFORE, AFTER))
        self.assertEqual((found[1].expected, found[1].got), (AFTER, AFTER.replace("x", "y")))
        self.assertEqual(found[0].key, CASE.key)
        self.assertEqual(kinds(compare(CASE, before=new)), [BEFORE_CHANGED])

    def test_exactly_one_section_applies(self):
        """Under each torch the section that applies is compared, and no other one passes in its place."""
        self.assertEqual(compare(SECTIONS, after=AFTER, torch_version="2.13.0"), [])
        self.assertEqual(compare(SECTIONS, after=BEFORE, torch_version="2.15.0"), [])
        self.assertEqual(kinds(compare(SECTIONS, after=BEFORE, torch_version="2.13.0")), [AFTER_CHANGED])
        wrong = compare(SECTIONS, after=AFTER, torch_version="2.15.0")
        self.assertEqual((kinds(wrong), wrong[0].section), ([VERSION_SECTION], "torch>=2.15"))
        with self.assertRaisesRegex(FxpectError, "expected the version of torch"):
            compare(SECTIONS, after=AFTER)

    def test_must_is_checked_on_what_came(self):
        """The checks of the file and of the case are held against the graph of this run."""
        after = "a = torch.sum(x)"
        found = compare(CASE, after=after, must=["has torch.relu", "has torch.sum"])

        self.assertEqual(kinds(found), [AFTER_CHANGED, MUST, MUST])
        self.assertIn("must has torch.relu: expected at least 1", found[1].reason)
        self.assertIn("must has torch.cat: expected at least 1", found[2].reason)

    def test_must_may_fail_on_a_stored_text(self):
        """A check that the stored graph breaks fails although nothing changed."""
        self.assertEqual(kinds(compare(CASE, after=AFTER, must=["not torch.cat"])), [MUST])

    def test_errors_are_compared_as_one_line(self):
        """An expected error passes with the same message only, and never with a graph."""
        case = Case.make(BEFORE, raises="ValueError: no\n  cat")
        self.assertEqual(compare(case, raises="ValueError: no cat"), [])
        self.assertEqual(compare(case, raises="ValueError: other")[0].expected, "ValueError: no cat")
        self.assertIn("expected the error 'ValueError: no cat'; got a graph",
                      compare(case, after=AFTER)[0].reason)
        self.assertIn("expected a graph; got the error 'E: x'", compare(CASE, raises="E: x")[0].reason)

    def test_case_without_a_result_is_a_difference(self):
        """A stored input without a result does not pass."""
        found = compare(Case.make(BEFORE), after=AFTER)
        self.assertEqual((kinds(found), found[0].expected), ([AFTER_CHANGED], None))
        self.assertIn("no graph after is stored", found[0].reason)

    def test_new_case_is_told_with_the_checks_that_it_breaks(self):
        """A case that is not stored is new, and the checks of the file hold for it as well."""
        self.assertEqual(kinds(compare_new(CASE)), [NEW_CASE])
        self.assertEqual(kinds(compare_new(CASE, ["has torch.sum"])), [NEW_CASE, MUST])


class DescribeTests(unittest.TestCase):

    def test_says_kind_case_reason_and_lines(self):
        """A description starts with kind, key and title, then the reason, then the lines."""
        text = describe(compare(CASE, after=BEFORE)[0], "one")

        self.assertEqual(text.split("\n")[:2], [f"after changed: {CASE.key}  one",
                                                "  the graph after is not the stored one"])
        self.assertIn("\n    -a = torch.cat([x])\n    +a = torch.relu(x)", text)

    def test_diff_is_capped(self):
        """A long diff ends with how much is left out."""
        text = line_diff("\n".join("ab"), "\n".join(str(number) for number in range(100)), limit=10)
        self.assertEqual(len(text.split("\n")), 11)
        self.assertRegex(text, r"\.\.\. 95 more lines$")


if __name__ == "__main__":
    unittest.main()
