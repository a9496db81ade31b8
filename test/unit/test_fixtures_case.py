"""One stored case: its key, the section that applies, and the spelling of its parts."""

import dataclasses
import unittest

from fxpect.errors import FxpectError
from fxpect.fixtures.case import Case, canonical_text, case_key
from fxpect.fixtures.format import digest
from fxpect.fixtures.versions import parse_condition, release

BEFORE = 'def forward(self, x: "f32[2, 8]"):\n    relu: "f32[2, 8]" = torch.relu(x)\n    return (relu,)'
AFTER = 'def forward(self, x: "f32[2, 8]"):\n    return (x,)'
ONE = Case.make(BEFORE, inputs="x=f32[2, 8]", options="capture=dynamo", title="one", must=["not torch.cat"],
                after=AFTER, afters=[("torch>=2.15", BEFORE)])


class CaseTests(unittest.TestCase):

    def test_key_depends_on_what_is_put_in_alone(self):
        """Title, checks and result leave the key alone; graph before, inputs and options each change it."""
        key = case_key(BEFORE, "x=f32[2, 8]", "a=1, b=2")

        self.assertRegex(key, "^[0-9a-f]{10}$")
        self.assertEqual(key, "c8ef270cf6")
        self.assertEqual(key, case_key(BEFORE + "\n", " x=f32[2, 8]", "b=2,a=1"))
        self.assertEqual(key,
                         Case.make(BEFORE, inputs="x=f32[2, 8]", options="a=1, b=2", title="t", after="x",
                                        must=["has a.b"]).key)
        self.assertEqual(len({key, case_key(AFTER, "x=f32[2, 8]", "a=1, b=2"),
                              case_key(BEFORE, "x=f32[2]", "a=1, b=2"),
                              case_key(BEFORE, "x=f32[2, 8]", "a=1")}), 4)

    def test_make_refuses_result_and_error_together(self):
        """A case either ends in a graph or raises."""
        with self.assertRaisesRegex(FxpectError, "after= or raises=, not both"):
            Case.make("a", after="b", raises="c")

    def test_expected_is_the_most_specific_section(self):
        """The section that applies is the innermost one whose condition the torch meets."""
        case = Case.make("a", after="base", afters=[("torch>=2.13", "new"), ("torch>=2.15,<2.16", "newest")])

        found = [case.expected(version) for version in ("2.12.1", "2.13.0", "2.15.0a0+git1", "2.16")]

        self.assertEqual(found, ["base", "new", "newest", "new"])

    def test_section_that_repeats_what_holds_anyway_is_dropped(self):
        """A section equal to its surrounding one goes, and another that becomes equal by that goes too."""
        case = Case.make("a", after="x", afters=[("torch>=2.13", "y"), ("torch>=2.15", "y")])

        self.assertEqual([name for name, _ in case.without_repeats().afters], ["torch>=2.13"])
        self.assertEqual(case.with_text("", "y").afters, ())
        self.assertEqual(case.with_text("torch>=2.13", "x").afters, (("torch>=2.15", "y"),))

    def test_case_without_a_plain_after_is_for_the_torches_of_its_sections(self):
        """Other torches make no such case; one with a plain text, an error or no result yet is for all of them."""
        limited = dataclasses.replace(ONE, after=None)

        self.assertEqual([limited.applies(torch) for torch in ("2.13.0", "2.15.0", "2.16.0")], [False, True, True])
        self.assertIsNone(limited.expected("2.13.0"))
        for case in (ONE, Case.make(BEFORE), Case.make(BEFORE, raises="ValueError: no")):
            self.assertTrue(case.applies("2.13.0"))

    def test_without_later_torches_every_section_ends(self):
        """Plain text and sections end before the release, nested ones as they were; where none is left, no case."""
        nested = Case.make(BEFORE, after="all", afters=[("torch>=2.13", "outer"), ("torch>=2.13,<2.16", "inner"),
                                                        ("torch>=2.17", "later"), ("torch<2.12", "old")])

        ended = nested.without("torch>=2.15")

        self.assertIsNone(ended.after)
        self.assertEqual(dict(ended.afters), {"torch<2.12": "old", "torch<2.15": "all", "torch>=2.13,<2.15": "inner"})
        for torch in ("2.11.0", "2.12.0", "2.13.0", "2.14.0"):
            self.assertEqual(ended.expected(torch), nested.expected(torch))
        self.assertFalse(ended.applies("2.15.0"))
        self.assertIsNone(dataclasses.replace(ONE, after=None).without("torch>=2.15"))
        error = Case.make(BEFORE, raises="ValueError: no")
        self.assertIs(error.without("torch>=2.15"), error)

    def test_without_some_torches_the_others_expect_what_they_did(self):
        """Whatever range is left out, each release outside of it expects the same text, and those inside none."""
        nested = Case.make(BEFORE, after="all", afters=[("torch>=2.12", "outer"), ("torch>=2.13,<2.16", "inner")])
        for only in (nested, dataclasses.replace(nested, after=None)):
            for condition in ("torch>=2.11,<2.13", "torch>=2.13", "torch>=2.13,<2.15", "torch<2.12", "torch>=2.17"):
                left = only.without(condition)
                for minor in range(9, 19):
                    inside, version = release(f"2.{minor}.1") in parse_condition(condition), f"2.{minor}.1"
                    with self.subTest(condition=condition, version=version, after=only.after):
                        self.assertEqual(left.applies(version), only.applies(version) and not inside)
                        if left.applies(version):
                            self.assertEqual(left.expected(version), only.expected(version))

    def test_canonical_text_trims_and_keeps_the_rest(self):
        """Line ends and blank borders are normalised; indentation and inner blank lines stay."""
        self.assertEqual(canonical_text("\r\n\r\n  a  \r\n\r\n    b \r\n"), "  a\n\n    b")

    def test_digest_tells_every_part(self):
        """The digest changes with each part of a case, and is empty for none."""
        others = [dataclasses.replace(ONE, **change) for change in (
            {"title": "t"}, {"must": ()}, {"after": "z"}, {"afters": ()}, {"inputs": "y=1"}, {"options": ""},
            {"before": "z"})]
        self.assertEqual(len({digest(case) for case in [ONE, *others]}), 8)
        self.assertEqual(digest(None), "")


if __name__ == "__main__":
    unittest.main()
