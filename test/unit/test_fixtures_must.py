"""Hand-written checks: exact targets, each check both ways, and none that cannot fail."""

import unittest

from fxpect.errors import FxpectError
from fxpect.fixtures.must import check_must, is_idle, parse_check, targets_of

GRAPH = '''\
def forward(self, x: "f32[2, 8]", pred: "b8[]", y: "f32[2, 2]" = None):
    self.linear: "Linear(8, 8)"
    def true_graph(self, z: "f32[2, 8]"):
        sin: "f32[2, 8]" = torch.ops.aten.sin.default(z)
        return (sin,)
    cat: "f32[2, 10]" = torch.cat([x, y], dim=-1)
    relu: "f32[2, 10]" = torch.relu(cat)
    relu_1: "f32[2, 10]" = torch.relu(relu)
    mm: "f32[2, 2]" = torch.ops.aten.mm.default(relu_1, torch.t(x))
    linear: "f32[2, 8]" = self.linear(x)
    view: "f32[16]" = linear.view(16)
    torch._check(True)
    size = len(x)
    cond: "f32[2, 8]" = torch.ops.higher_order.cond(pred, self.true_graph, self.true_graph, [x])
    return (view, "torch.sum(x)")'''
TARGETS = ("aten.sin.default", "torch.cat", "torch.relu", "torch.relu", "aten.mm.default", "self.linear",
           ".view",
           "torch._check", "len", "higher_order.cond")


class TargetsTests(unittest.TestCase):

    def test_lists_the_call_of_each_line(self):
        """Each line gives the target that it calls: none in its arguments, a type or a string."""
        self.assertEqual(targets_of(GRAPH), TARGETS)

    def test_reads_parameters_on_lines_of_their_own(self):
        """A method of a parameter is a method also where the parameters stand on lines of their own."""
        graph = ('@parameter("p", "lin.p")\ndef forward(\n    self,\n    p: "f32[8]",\n'
                 '    x: "f32[8]" = torch.inf,\n    *rest,\n):\n'
                 '    a: "f32[8]" = x.relu()\n    b = rest.sin()\n    return (a, p.cos())')
        self.assertEqual(targets_of(graph), (".relu", ".sin"))

    def test_reads_a_graph_without_types(self):
        """Lines without annotations give the same targets."""
        graph = "def forward(self, x):\n    a = torch.relu(x)\n    b = x.relu()\n    return (b,)"
        self.assertEqual(targets_of(graph), ("torch.relu", ".relu"))


class CheckTests(unittest.TestCase):

    def test_each_check_holds_and_fails(self):
        """Each form of check holds on one graph and fails on another, saying what was there."""
        before = "    a = torch.relu(x)"
        for holds, fails, message in (
                ("has torch.cat", "has torch.sum",
                 "expected at least 1 of torch.sum; got 0, among aten.sin.default"),
                ("has .view", "has torch.view", "got 0"),
                ("has self.linear", "has .linear", "got 0"),
                ("has len", "has getattr", "got 0"),
                ("has torch.ops.aten.mm.default", "has aten.mm.out", "got 0"),
                ("not aten.relu.default", "not torch.relu", "expected none of torch.relu; got 2"),
                ("count torch.relu == 2", "count torch.relu == 1", "expected == 1 of torch.relu; got 2"),
                ("count torch.relu != 1", "count torch.relu != 2", "expected != 2"),
                ("count torch.relu < 3", "count torch.relu < 2", "expected < 2"),
                ("count torch.relu <= 2", "count torch.relu <= 1", "expected <= 1"),
                ("count torch.relu > 1", "count torch.relu > 2", "expected > 2"),
                ("count torch.relu >= 2", "count torch.relu >= 3", "expected >= 3"),
                ("count torch.relu > same", "count torch.relu == same", "expected == 1 of torch.relu; got 2"),
                ("order torch.cat before torch.relu", "order torch.relu before torch.cat",
                 "expected every torch.relu above every torch.cat"),
                ("order torch.relu before aten.mm.default", "order torch.relu before torch.sum",
                 "expected both; got no torch.sum")):
            with self.subTest(holds=holds):
                self.assertIsNone(check_must(holds, before, GRAPH))
                self.assertIn(message, check_must(fails, before, GRAPH))

    def test_order_means_every_one(self):
        """One FIRST that stands below one SECOND breaks the order."""
        self.assertIn("expected every torch.a above", check_must(
            "order torch.a before torch.b", "", "x = torch.a(p)\ny = torch.b(x)\nz = torch.a(y)"))

    def test_no_part_of_a_name_matches(self):
        """A target matches as a whole, never as a part of another."""
        self.assertIsNone(check_must("not torch.re", "", GRAPH))
        self.assertIsNone(check_must("not torch.relu_", "", GRAPH))

    def test_unknown_words_are_errors(self):
        """A typo anywhere is an error that shows the line."""
        for line in ("", "hass torch.cat", "nott torch.cat", "has", "has torch.cat torch.relu",
                     "count torch.cat = 2",
                     "count torch.cat == two", "count torch.cat == -1", "count torch.cat ==",
                     "order torch.cat torch.relu",
                     "order torch.cat after torch.relu", "has torch.cat*", "has re.*", "not relu",
                     "has torch..cat"):
            with self.subTest(line=line), self.assertRaises(FxpectError) as caught:
                parse_check(line)
            self.assertIn(repr(line), str(caught.exception))

    def test_checks_that_cannot_fail_or_hold_are_errors(self):
        """A comparison that every count meets, or none, tells nothing and is refused."""
        for line, message in (("count torch.cat >= 0", "cannot fail"), ("count torch.cat < 0", "cannot hold"),
                              ("order torch.cat before torch.cat", "can never hold"),
                              ("not aten.mm", "expected the overload as well, such as aten.mm.default")):
            with self.subTest(line=line), self.assertRaisesRegex(FxpectError, message):
                parse_check(line)
        self.assertEqual(parse_check("not torch.ops.aten.mm").targets, ("aten.mm",))

    def test_idle_checks_are_told(self):
        """Forbidding what the graph before does not call either is reported as idle."""
        before = "    a = torch.relu(x)"
        self.assertTrue(is_idle("not torch.cat", before))
        self.assertTrue(is_idle("count torch.cat == 0", before))
        self.assertFalse(is_idle("not torch.relu", before))
        self.assertFalse(is_idle("has torch.cat", before))
        self.assertFalse(is_idle("not torch.cat", ""))


if __name__ == "__main__":
    unittest.main()
