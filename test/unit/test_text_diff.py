"""The difference of two texts is told modulo names, in words first."""

import random
import re
import subprocess
import sys
import unittest

from fxpect.errors import GraphTextError
from fxpect.text.diff import graph_diff

BEFORE = '''\
def forward(self, x: "f32[2, 8]", y: "f32[2, 2]"):
    cat: "f32[2, 10]" = torch.cat([x, y], dim=-1)
    relu: "f32[2, 10]" = cat.relu()
    sub: "f32[2, 10]" = torch.sub(relu, cat)
    sum_1 = sub.sum(1)
    return (relu, sum_1)
'''


def chain(count, seed=0, operators=("add", "mul", "relu")):
    """Return the lines of a graph of ``count`` calls."""
    chooser, lines, names, used = random.Random(seed), ['def forward(self, x: "f32[2, 8]"):'], ["x"], {}
    for _ in range(count):
        operator = chooser.choice(operators)
        number = used[operator] = used.get(operator, -1) + 1
        names.append(operator if number == 0 else f"{operator}_{number}")
        arguments = names[-2] if operator == "relu" else f"{names[-2]}, {chooser.choice(names[-20:-1])}"
        lines.append(f'    {names[-1]}: "f32[2, 8]" = torch.{operator}({arguments})')
    return [*lines, f"    return ({names[-1]},)"]


class WordTests(unittest.TestCase):
    """What the summary says."""

    maxDiff = None

    def check(self, after, summary, kind="changed", before=BEFORE):
        found = graph_diff(before, after)
        self.assertEqual((found.summary, found.kind), (summary, kind))
        return [line for line in found.lines if line[0] in "+-" and line[:3] not in ("+++", "---")]

    def edit(self, *pairs):
        text = BEFORE
        for old, new in pairs:
            self.assertIn(old, text)
            text = text.replace(old, new)
        return text

    def test_same(self):
        """Equal texts, and texts that differ in spacing alone, have no difference."""
        self.check(BEFORE, "no change", "same")
        self.check(BEFORE + "\n", "spacing only", "same")

    def test_names_only(self):
        """Renamed values are no change of the graph."""
        lines = self.check(self.edit(("    cat:", "    joined:"), ("cat.", "joined."), (", cat)", ", joined)")),
                           "names only: cat is joined", "names only")
        self.assertEqual(lines, [])

    def test_order_only(self):
        """Lines that moved are no other change."""
        before = BEFORE.replace("    sum_1", "    neg = relu.neg()\n    sum_1").replace("sum_1)", "sum_1, neg)")
        after = before.replace("    neg = relu.neg()\n", "").replace("    sub:", "    neg = relu.neg()\n    sub:")
        self.check(after, "order only: 1 line moved", "order only", before)

    def test_added_call(self):
        """An added call is named with what it follows, and whose users now read it."""
        lines = self.check(self.edit(("    sub:", '    clone: "f32[2, 10]" = torch.clone(relu)\n    sub:'),
                                     ("sub(relu", "sub(clone")),
                           "+1 clone after relu; 1 user of relu rewired")
        self.assertEqual(lines, ['-    sub: "f32[2, 10]" = torch.sub(relu, cat)',
                                 '+    clone: "f32[2, 10]" = torch.clone(relu)',
                                 '+    sub: "f32[2, 10]" = torch.sub(clone, cat)'])

    def test_removed_call(self):
        """A removed call is counted, and its users."""
        self.check(self.edit(('    relu: "f32[2, 10]" = cat.relu()\n', ""), ("relu", "cat")),
                   "-1 relu; 2 users of relu rewired")

    def test_replaced_call(self):
        """A call in the place of another is said to have become it."""
        self.check(self.edit(("cat.relu()", "cat.gelu()")), "relu became gelu")
        self.check(self.edit(("cat.relu()", "torch.relu(cat)")), "·.relu became torch.relu")

    def test_arguments(self):
        """Another constant, keyword or container is shown both ways."""
        self.check(self.edit(("sum(1)", "sum(-0.0)")), "arguments of sum: (1) became (-0.0)")
        self.check(self.edit(("dim=-1", "-1")), "arguments of cat: ([·, ·], dim=-1) became ([·, ·], -1)")
        self.check(self.edit(("(relu, sum_1)", "[relu, sum_1]")), "the output has another form")

    def test_operands(self):
        """Exchanged operands are told from other rewiring."""
        self.check(self.edit(("sub(relu, cat)", "sub(cat, relu)")), "operands of sub exchanged")
        self.check(self.edit(("sub(relu, cat)", "sub(relu, x)")), "1 user of cat rewired")

    def test_types(self):
        """A type that changed alone is shown; many are counted."""
        self.check(self.edit(('sub: "f32', 'sub: "f64')), "type of sub: f32[2, 10] became f64[2, 10]")
        self.check(self.edit(("10]", "11]")), "types of 3 values (cat, relu, sub)")

    def test_inputs(self):
        """Inputs that came, went, or changed places show."""
        self.check(self.edit(('"f32[2, 2]")', '"f32[2, 2]", z)')), "inputs: +z")
        self.check(self.edit(('x: "f32[2, 8]", y: "f32[2, 2]"', 'y: "f32[2, 2]", x: "f32[2, 8]"')),
                   "inputs in another order")

    def test_declarations_and_nested_graphs(self):
        """Attributes, ranges, the signature, and the graphs inside are compared too."""
        nested = BEFORE.replace("    cat:", '    def body(self, a):\n        sin = a.sin()\n        return sin\n    '
                                            'body = self.body\n    cat:')
        self.check(nested.replace("a.sin()", "a.cos()"), "in body: sin became cos", before=nested)
        self.check(nested, "+1 body; +graph body")
        self.check(BEFORE.replace("    cat:", '    self.w: "f32[2]"\n    cat:', 1),
                   "newly declared: self.w")
        self.check('@parameter("x", "w")\n' + BEFORE, 'newly declared: @parameter("x", "w")')
        layers = BEFORE.replace("    cat:", '    self["a.0"] = torch.nn.ReLU()\n    self["a.0.w"]: "f32[2]"\n'
                                            '    self.a: "f32[2]"\n    cat:', 1)
        self.check(BEFORE, 'no longer declared: self["a.0"], self.a', before=layers)
        self.check(layers.replace("f32[2]", "f32[3]"),
                   'declared otherwise: -self["a.0.w"]: "f32[2]"; declared otherwise: -self.a: "f32[2]"; '
                   'declared otherwise: +self["a.0.w"]: "f32[3]"; declared otherwise: +self.a: "f32[3]"', before=layers)

    def test_all_types_lost(self):
        """A text that types nothing, as symbolic tracing gives it, says so once, not for each value."""
        self.check(re.sub(r': "[^"]+"', "", BEFORE), "no types any more")

    def test_long_summaries_and_diffs_are_cut(self):
        """At most a dozen clauses and 200 lines are shown; the rest is pointed to."""
        before, after = chain(400), chain(400, 1, ("div", "pow", "exp"))
        found = graph_diff("\n".join(before), "\n".join(after), rest="see there")
        shown = str(found).splitlines()

        self.assertLessEqual(len(shown), 202)
        self.assertRegex(shown[-1], r"\.\.\. \d+ more lines: see there")
        self.assertLess(found.summary.count(";"), 14)


class MatchingTests(unittest.TestCase):
    """Large and repetitive graphs."""

    def test_five_thousand_lines_are_matched_and_capped(self):
        """A difference in the middle, everywhere, or of another graph altogether is found; what it prints is short."""
        before = chain(5000)
        middle = before[:2500] + [before[2500].replace("torch.", "torch.neg_")] + before[2501:]
        for after in (middle, [line.replace("torch.", "jax.") for line in before], chain(5000, 1),
                      before[:2000] + before[-1:]):
            found = graph_diff("\n".join(before), "\n".join(after))
            self.assertEqual(found.kind, "changed")
            self.assertLessEqual(len(str(found).splitlines()), 202)
        found = graph_diff("\n".join(before), "\n".join(middle))
        self.assertEqual(sum(line[0] in "+-" for line in found.lines), 4)

    def test_edits_far_apart_are_told_apart(self):
        """Two insertions in a graph of equal layers show as two lines, whatever lies between is matched."""
        names = ["x", "add", *[f"add_{number}" for number in range(1, 60)]]
        lines = ["def f(self, x):", *[f"    {name} = torch.add({source}, 1)" for source, name in zip(names, names[1:])],
                 "    return add_59"]
        after = list(lines)
        for place in (15, 45):
            name = lines[place].split(" = ")[0].strip()
            after = [line.replace(f"({name},", f"(relu_{place},") for line in after]
            after.insert(after.index(lines[place]) + 1, f"    relu_{place} = torch.relu({name})")
        found = graph_diff("\n".join(lines), "\n".join(after))

        self.assertEqual(found.summary.split(";")[0], "+2 relu after add_14, add_44")
        self.assertEqual(found.summary.count("rewired"), 2)

    def test_no_torch_is_needed(self):
        """Comparing texts does not import torch."""
        after = BEFORE.replace("relu()", "gelu()")
        script = (f"import sys\nfrom fxpect.text.diff import graph_diff\nprint(graph_diff({BEFORE!r}, "
                  f"{after!r}).summary)\n"
                  "assert 'torch' not in sys.modules")
        shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True,
                               env={"PYTHONPATH": ":".join(sys.path)}).stdout

        self.assertEqual(shown, "relu became gelu\n")

    def test_what_is_no_graph_is_refused(self):
        """A text that is no graph is a GraphTextError with its line."""
        for text, line in (("", 1), ("RuntimeError: no", 1), ("def f(self):\n    for x in y:\n        return x\n", 2),
                           (BEFORE + BEFORE, 7), ("def f(self,\n", 1)):
            with self.subTest(text=text), self.assertRaises(GraphTextError) as caught:
                graph_diff(BEFORE, text)
            self.assertEqual(caught.exception.line, line)


if __name__ == "__main__":
    unittest.main()
