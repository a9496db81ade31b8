"""graphs_of: graphs and breaks in the order in which they come, with reasons; what is raised."""

import unittest

import torch

import fxpect
from fxpect import Dim, T
from fxpect.compiling.backends import RecordingBackend
from fxpect.compiling.messages import Reason
from fxpect.compiling.sequences import Break, graphs_of, in_order
from fxpect.errors import FxpectError

BREAK = "graph break: Call to `torch._dynamo.graph_break()` (gb0025)"


def straight(x):
    return x.sin() + 1


def broken(x):
    x = x.sin()
    torch._dynamo.graph_break()
    return x.cos()


def broken_first(x):
    torch._dynamo.graph_break()
    return x.cos()


def branches(x):
    return x.sin() if x.sum() > 0 else x.cos()


def loops(x, count):
    x = x.sin()
    for _ in range(count):
        x = x + 1
        torch._dynamo.graph_break()
    return x


class SequenceTests(fxpect.TestCase):
    def test_in_order(self):
        """A break stands between the graph that ends there and the next; one before any graph comes first."""
        for function, inputs, outline in (
            (straight, (), ["graph: sin, add"]),
            (broken, (), ["graph: sin", BREAK, "graph: cos"]),
            (broken_first, (), [BREAK, "graph: cos"]),
            (branches, (), ["graph: sum, gt", "graph break: Data-dependent branching (gb0170)", "graph: sin"]),
            (loops, (2,), ["function skipped: Call to `torch._dynamo.graph_break()` (gb0025)"]),
        ):
            with self.subTest(function.__name__):
                sequence = graphs_of(function, T(3, values="ones"), *inputs)

                self.assertEqual(sequence.outline, outline)
                self.assertTrue(torch.equal(sequence.value, function(torch.ones(3), *inputs)))
                self.assertEqual(len(sequence.graphs) + len(sequence.breaks), len(outline))

    def test_text(self):
        """The text has each graph, and each break as a comment."""
        self.assertExpectedInline(graphs_of(broken, T(3)).text, '''\
def forward(self, x: "f32[3]"):
    sin: "f32[3]" = x.sin()
    return (sin,)

# graph break: Call to `torch._dynamo.graph_break()` (gb0025)

def forward(self, x: "f32[3]"):
    cos: "f32[3]" = x.cos()
    return (cos,)
''')

    def test_named_dims_are_dynamic(self):
        """A named dim is open within its range, with or without an end; dynamic=False fixes it."""
        for dim, line in ((Dim("B", 2, 9), "2 <= s0 <= 9"), (Dim("B"), "2 <= s0"), (Dim("B", 4), "4 <= s0")):
            self.assertIn(f's0: "{line}"', graphs_of(straight, T(dim, 3)).graphs[0].text)
        self.assertNotIn("s0", graphs_of(straight, T(Dim("B", 2, 9), 3), dynamic=False).graphs[0].text)

    def test_same_for_every_call(self):
        """Earlier calls with other sizes change nothing."""
        first = graphs_of(straight, T(3)).text
        graphs_of(straight, T(4))

        self.assertEqual(graphs_of(straight, T(3)).text, first)

    def test_pass_and_aot(self):
        """The options of the backend are passed on."""
        sequence = graphs_of(broken, T(3), pass_=lambda gm: gm, aot=True)

        self.assertEqual([graph.execution is None for graph in sequence.graphs], [False, False])
        self.assertEqual(len(sequence.backend.forward), 2)

    def test_fullgraph(self):
        """A break that fullgraph forbids is dynamo's own error."""
        with self.assertRaisesRegex(torch._dynamo.exc.Unsupported, "graph_break"):
            graphs_of(broken, T(3), fullgraph=True)

    def test_two_ways_to_say_it(self):
        """A backend and options for one contradict each other."""
        with self.assertRaisesRegex(FxpectError, "or a backend= that has them; got both"):
            graphs_of(straight, T(3), backend=RecordingBackend(), aot=True)

    def test_error_of_the_function(self):
        """What the function raises comes through."""
        def fails(x):
            raise KeyError("gone")

        with self.assertRaisesRegex(KeyError, "gone"):
            graphs_of(fails, T(3))

    def test_break_that_is_not_logged(self):
        """A graph that says itself that it ends in a break is followed by one."""
        graph = graphs_of(broken, T(3)).graphs[0]

        events = list(in_order([graph], []))

        self.assertEqual([str(event) for event in events[1:]], ["graph break: Call to `torch._dynamo.graph_break()`"])
        self.assertEqual(list(in_order([], [(0, Break(Reason("a")))])), [Break(Reason("a"))])


if __name__ == "__main__":
    unittest.main()
