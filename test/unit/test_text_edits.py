"""Edits are equal whatever values are called, and differ where another call, constant or argument makes them."""

import subprocess
import sys
import unittest

from fxpect.text.edits import edit_of

BEFORE = '''\
def forward(self, x: "f32[2, 8]", y: "f32[2, 2]"):
    cat: "f32[2, 10]" = torch.cat([x, y], dim=-1)
    relu: "f32[2, 10]" = cat.relu()
    sin: "f32[2, 10]" = torch.sin(cat)
    return (relu, sin)
'''
CLONE = '    clone: "f32[2, 10]" = torch.clone(relu)\n'
CLONED = BEFORE.replace("    sin", CLONE + "    sin").replace("(relu, sin)", "(clone, sin)")
# The same program by another author: other names, sizes, users, and the calls in another order.
OTHER = '''\
def forward(self, left: "f64[3, 1]", right: "f64[3, 1]"):
    both: "f64[3, 2]" = torch.cat([left, right], dim=-1)
    wave: "f64[3, 2]" = torch.sin(both)
    clone: "f64[3, 2]" = torch.cos(wave)
    up: "f64[3, 2]" = both.relu()
    total: "f64[3]" = torch.sum(up, -1)
    return (up, clone, total)
'''
COPY = '    copy: "f64[3, 2]" = torch.clone(up)\n'
COPIED = OTHER.replace("    total", COPY + "    total").replace("sum(up", "sum(copy").replace("(up,", "(copy,")


class SameTests(unittest.TestCase):

    def test_names_sizes_users_and_order_are_no_part(self):
        """A clone after a relu is one edit, in two graphs that share little else."""
        self.assertEqual(edit_of(BEFORE, CLONED),
                         ("+torch.clone(<·.relu>)", "·.relu gives way to torch.clone(<·.relu>)"))
        self.assertEqual(edit_of(OTHER, COPIED), edit_of(BEFORE, CLONED))

    def test_order_of_what_is_added_is_no_part(self):
        """Two calls that came in either order are one edit."""
        one, two = '    neg = torch.neg(sin)\n', '    exp = torch.exp(relu)\n'
        first, second = (BEFORE.replace("    return (relu, sin)", f"{lines}    return (relu, sin, neg, exp)")
                         for lines in (one + two, two + one))
        self.assertNotEqual(first, second)
        self.assertEqual(edit_of(BEFORE, first), edit_of(BEFORE, second))

    def test_no_graphs_are_told_by_lines(self):
        """Of other texts the changed lines count, whatever stays; an error counts as what it says."""
        self.assertEqual(edit_of("a\nb\nc", "a\nx\nc"), edit_of("b", "x"))
        self.assertEqual(edit_of(BEFORE, "ValueError: no"), edit_of(OTHER, "ValueError: no"))
        self.assertEqual(edit_of("ValueError: no", BEFORE), edit_of("ValueError: no", OTHER))
        self.assertEqual(edit_of("a\nb", "b\na"), ("order only",))

    def test_small_changes_have_names(self):
        """Nothing, spacing, and names alone are told apart."""
        self.assertEqual(edit_of(BEFORE, BEFORE), ("no change",))
        self.assertEqual(edit_of(BEFORE, BEFORE + "\n"), ("spacing only",))
        self.assertEqual(edit_of(BEFORE, BEFORE.replace("sin:", "s:").replace(", sin)", ", s)")), ("names only",))


class OtherTests(unittest.TestCase):

    def check_differ(self, *afters, before=BEFORE):
        found = [edit_of(before, after) for after in afters]
        self.assertEqual(len(set(found)), len(afters), found)

    def edited(self, *pairs):
        text = BEFORE
        for old, new in pairs:
            self.assertIn(old, text)
            text = text.replace(old, new)
        return text

    def test_another_call_constant_or_place(self):
        """What is called, with which constants, after what, and how often, all make another edit."""
        twice = CLONED.replace("    return (clone, sin)", "    clone_1 = torch.clone(sin)\n    return (clone, clone_1)")
        self.check_differ(
            CLONED, CLONED.replace("torch.clone", "torch.neg"), CLONED.replace("clone(relu)", "clone(relu, 1)"),
            CLONED.replace("clone(relu)", "clone(sin)"), twice, BEFORE,
            self.edited(("dim=-1", "dim=0")), self.edited(("dim=-1", "dim=1")), self.edited(("torch.sin", "torch.cos")))

    def test_wiring_alone(self):
        """Where calls stay, what they read tells edits apart: the argument, by whom, and for what."""
        before = BEFORE.replace("    return", "    sub = torch.sub(relu, sin)\n    return")
        edited = [before.replace("sub(relu, sin)", f"sub({pair})") for pair in ("sin, relu", "relu, cat", "cat, sin")]
        self.check_differ(*edited, before.replace("sin(cat)", "sin(x)"), before=before)

    def test_types_notes_and_inputs(self):
        """A dtype, a shape, a declared parameter, a new input and another order of inputs are edits."""
        self.check_differ(
            BEFORE.replace("f32", "f64"), BEFORE.replace("[2, 10]", "[20]"),
            self.edited(("    cat:", '    self.w: "f32[2]"\n    cat:')), self.edited(("self, x", "self, z, x")),
            self.edited(('x: "f32[2, 8]", y: "f32[2, 2]"', 'y: "f32[2, 2]", x: "f32[2, 8]"')))

    def test_order_tells_what_moved(self):
        """Lines that moved are told by what stands before what."""
        lines = BEFORE.splitlines(keepends=True)
        moved = [*lines[:2], lines[3], lines[2], *lines[4:]]
        self.assertEqual(edit_of(BEFORE, "".join(moved)), ("torch.sin(·) comes before ·.relu()",))

    def test_nested_graphs(self):
        """An edit of a nested graph is another one than the same edit outside; a graph that is gone is told."""
        inner = ('def forward(self, x):\n    def true_graph_0(a):\n        neg = torch.neg(a)\n        return neg\n'
                 '    cos = torch.cos(x)\n    return cos\n')
        self.check_differ(inner.replace("neg(a)", "neg(a, 1)"), inner.replace("cos(x)", "cos(x, 1)"),
                          "".join(inner.splitlines(keepends=True)[:1] + inner.splitlines(keepends=True)[4:]),
                          before=inner)

    def test_long_chains_stay_short(self):
        """A long chain of new calls is told in bounded lines, and its end still counts."""
        def chained(last):
            calls = [f"    a{n} = torch.neg({f'a{n - 1}' if n else 'x'}, x)\n" for n in range(300)]
            return f"def f(self, x):\n{''.join(calls)}    b = torch.{last}(a299)\n    return b\n"

        found = edit_of("def f(self, x):\n    return x\n", chained("sin"))

        self.assertLess(max(map(len, found)), 2000)
        self.assertNotEqual(found, edit_of("def f(self, x):\n    return x\n", chained("cos")))


class ImportTests(unittest.TestCase):

    def test_no_torch_is_needed(self):
        """Telling an edit does not import torch."""
        script = ("import sys; from fxpect.text.edits import edit_of; edit_of('a', 'b'); "
                  "assert 'torch' not in sys.modules")
        self.assertEqual(subprocess.run([sys.executable, "-c", script]).returncode, 0)


if __name__ == "__main__":
    unittest.main()
