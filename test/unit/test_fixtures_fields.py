"""One-line fields: split outside brackets and quotes, joined back, spelled one way."""

import unittest

from fxpect.errors import FxpectError
from fxpect.fixtures.fields import canonical_inputs, canonical_options, join_fields, parse_fields


class FieldsTests(unittest.TestCase):

    def test_splits_outside_brackets_and_quotes(self):
        """Commas in brackets, calls and quoted text do not split, nor do brackets in quotes."""
        text = """x=f32[2, 8](values="a,b]", seed=3), [f32[2], (1, 2)], name='it\\'s, "q"', {a: 1}"""

        self.assertEqual(parse_fields(text), (
            ("x", 'f32[2, 8](values="a,b]", seed=3)'), ("", "[f32[2], (1, 2)]"),
            ("name", """'it\\'s, "q"'"""),
            ("", "{a: 1}")))
        self.assertEqual(join_fields(parse_fields(text)), text)

    def test_empty_line_has_no_fields(self):
        """Nothing, or spaces, is no field at all."""
        self.assertEqual(parse_fields("  "), ())
        self.assertEqual(join_fields({}), "")

    def test_joins_what_parses_back(self):
        """A mapping of anything that prints is joined in its own order."""
        self.assertEqual(join_fields({"capture": "dynamo", "dynamic": True}), "capture=dynamo, dynamic=True")

    def test_refuses_what_cannot_be_split(self):
        """Unbalanced brackets, an open quote, an empty field and a repeated name are errors with the line."""
        for text, message in (("x=[1, 2", "expected ']'"), ("x=1]", "balanced"), ("x=(1]", "balanced"),
                              ("x='a", "expected \"'\""), ("x=1,, y=2", "commas between"),
                              ("x=", "commas between"),
                              ("x=1, x=2", "each name once"), (",", "commas between")):
            with self.subTest(text=text), self.assertRaisesRegex(FxpectError, message):
                parse_fields(text)

    def test_canonical_inputs_keep_their_order_and_options_are_sorted(self):
        """Inputs stay in the order of the placeholders; options are sorted and must have names."""
        self.assertEqual(canonical_inputs("y = 1 ,x=2"), "y=1, x=2")
        self.assertEqual(canonical_options("y = 1 ,x=2"), "x=2, y=1")
        with self.assertRaisesRegex(FxpectError, "options as name=value; got 'dynamo'"):
            canonical_options("dynamo")


if __name__ == "__main__":
    unittest.main()
