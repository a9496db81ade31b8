"""Graph texts side by side: which lines stand beside each other, and what is marked in them."""

import unittest

from hypothesis import given
from hypothesis import strategies as st

from fxpect.pages.sides import Row, changes, rows

BEFORE = """\
sin = torch.sin(x)
sin_1 = torch.sin(x)
mul = torch.mul(sin, sin_1)
return mul"""
AFTER = """\
sin = torch.sin(x)
mul = torch.mul(sin, sin)
return mul"""
LINES = st.lists(st.sampled_from(["a = f(x)", "b = f(a)", "b = f(x, a)", "return (b,)", ""]), max_size=8)


def text(pieces):
    return None if pieces is None else "".join(part for part, _ in pieces)


class SidesTests(unittest.TestCase):
    """Rows of two texts."""

    def test_removed_node(self):
        """The line that is gone stands alone; the one that is rewired stands beside what it was, one word marked."""
        found = rows(BEFORE, AFTER)

        self.assertEqual([(text(row.before), text(row.after), row.same) for row in found],
                         [("sin = torch.sin(x)", "sin = torch.sin(x)", True), ("sin_1 = torch.sin(x)", None, False),
                          ("mul = torch.mul(sin, sin_1)", "mul = torch.mul(sin, sin)", False),
                          ("return mul", "return mul", True)])
        self.assertEqual([part for part, differs in found[2].before if differs], ["sin_1"])
        self.assertEqual([part for part, differs in found[2].after if differs], ["sin"])
        self.assertEqual(changes(found), (2, 1))

    def test_lines_that_are_not_alike_stand_alone(self):
        """Lines that share hardly a word are not put beside each other."""
        self.assertEqual(rows("a = f(x)", "return (something, else_entirely)"),
                         [Row((("a = f(x)", False),), None),
                          Row(None, (("return (something, else_entirely)", False),))])

    def test_many_lines(self):
        """Where there are too many lines to compare each with each, they stand as they come."""
        before, after = ("\n".join(f"{name}{number} = f(x)" for number in range(60)) for name in "ab")

        found = rows(before, after)

        self.assertEqual([text(row.after) for row in found], after.split("\n"))
        self.assertEqual([text(row.before) for row in found], before.split("\n"))

    @given(LINES, LINES)
    def test_nothing_is_lost(self, before, after):
        """Each side read from top to bottom is its text; rows that are the same are the same on both sides."""
        found = rows("\n".join(before), "\n".join(after))

        for side, lines in (("before", before), ("after", after)):
            got = [text(getattr(row, side)) for row in found if getattr(row, side) is not None]
            self.assertEqual("\n".join(got), "\n".join(lines))
        self.assertTrue(all(text(row.before) == text(row.after) for row in found if row.same))
        self.assertEqual(changes(found) == (0, 0), before == after or "\n".join(before) == "\n".join(after))


if __name__ == "__main__":
    unittest.main()
