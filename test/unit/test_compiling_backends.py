"""RecordingBackend: what it keeps, what it runs, and what a pass on the way does."""

import unittest

import torch

import fxpect
from fxpect.compiling.backends import RecordingBackend
from fxpect.errors import PassCrash


def model(x):
    return (x + 1).relu().relu()


def folds(gm):
    """Drop a relu of a relu."""
    for node in gm.graph.find_nodes(op="call_method", target="relu"):
        if node.args[0].target == "relu":
            node.replace_all_uses_with(node.args[0])
            gm.graph.erase_node(node)
    return gm


def doubles(gm):
    """Wrongly compute twice the sum."""
    for node in gm.graph.find_nodes(op="call_function", target=torch.ops.aten.add.Tensor):
        node.update_arg(1, 2)
    return gm


class RecordingTests(fxpect.PassTestCase):
    def test_keeps_text_and_inputs(self):
        """A graph is kept as it came, with inputs that later writes do not reach."""
        backend = RecordingBackend()
        x = torch.ones(3)

        got = torch.compile(model, backend=backend)(x)
        x.zero_()

        self.assertTrue(torch.equal(got, model(torch.ones(3))))
        self.assertEqual([line.strip() for line in backend.texts[0].split("\n")][:2],
                         ['def forward(self, x: "f32[3]"):', 'add: "f32[3]" = operator.add(x, 1)'])
        self.assertTrue(torch.equal(backend.graphs[0].example.realize()[0], torch.ones(3)))
        self.assertEqual((backend.graphs[0].broke, backend.graphs[0].after_text), (False, backend.texts[0]))

    def test_pass_on_the_way(self):
        """What the pass makes is what runs, and both texts are kept."""
        backend = RecordingBackend(folds)

        got = torch.compile(model, backend=backend)(torch.ones(3))

        graph = backend.graphs[0]
        self.assertTrue(torch.equal(got, model(torch.ones(3))))
        self.assertEqual((graph.text.count(".relu()"), graph.after_text.count(".relu()")), (2, 1))

    def test_constant_of_an_aten_graph(self):
        """A graph with a tensor of its own is kept, though AOT compiles under a mode that takes fake tensors alone."""
        def adds(x):
            return x + torch.tensor([7.0, 8.0])

        backend = RecordingBackend(aot=True)

        got = torch.compile(adds, backend=backend)(torch.ones(2))

        self.assertTrue(torch.equal(got, torch.tensor([8.0, 9.0])))
        self.assertIn("= [7.0, 8.0]\n", backend.forward[0].text)

    def test_wrong_pass_is_run(self):
        """A pass that computes something else is seen in the result: nothing runs the graph before instead."""
        backend = RecordingBackend(aot=True, aten_pass=doubles)

        got = torch.compile(model, backend=backend)(torch.ones(3))

        self.assertTrue(torch.equal(got, torch.full((3,), 3.0)))

    def test_pass_that_crashes(self):
        """A crash of the pass comes through with its name."""
        def crashes(gm):
            raise ValueError("no")

        with self.assertRaises(Exception) as raised:
            torch.compile(model, backend=RecordingBackend(crashes))(torch.ones(3))

        chain = [raised.exception, raised.exception.__cause__, raised.exception.__context__]
        self.assertTrue(any(isinstance(error, PassCrash) for error in chain), chain)
        self.assertIn("crashes", str(raised.exception))

    def test_aot_keeps_both_directions(self):
        """With aot the forward and backward graphs of ATen are kept, and gradients are right."""
        backend = RecordingBackend(aot=True)
        x = torch.ones(3, requires_grad=True)

        torch.compile(model, backend=backend)(x).sum().backward()

        self.assertTrue(torch.equal(x.grad, torch.ones(3)))
        self.assertEqual((len(backend.graphs), len(backend.forward), len(backend.backward)), (1, 1, 1))
        self.assertOps(backend.forward[0].example, {"aten.relu.default": 2})
        self.assertOps(backend.backward[0].example, {"aten.threshold_backward.default": 2})

    def test_aot_options(self):
        """Options of AOT autograd are passed on: here a decomposition."""
        table = {torch.ops.aten.relu.default: lambda x: torch.clamp(x, min=0)}
        backend = RecordingBackend(aot={"decompositions": table})

        torch.compile(model, backend=backend)(torch.ones(3))

        self.assertOps(backend.forward[0].example, {"aten.relu.default": 0, "aten.clamp.default": 2})

    def test_graph_stands_for_a_model(self):
        """A recorded graph goes into a verb, dynamic sizes included."""
        backend = RecordingBackend()
        torch.compile(model, backend=backend, dynamic=True)(torch.ones(3))
        example = backend.graphs[0].example

        self.assertIn('"f32[s0]"', example.text)
        self.assertRewrites(folds, example, ops={".relu": (2, 1)})
        with self.assertRaisesRegex(fxpect.CheckFailure, "expected the pass to change the graph"):
            self.assertRewrites(lambda gm: gm, example)

    def test_clear(self):
        """Forgotten graphs are gone from every list."""
        backend = RecordingBackend(aot=True)
        torch.compile(model, backend=backend)(torch.ones(3))

        backend.clear()

        self.assertEqual((backend.graphs, backend.forward, backend.backward), ([], [], []))

    def test_numbers_that_are_left_open(self):
        """Open Python numbers and unbacked sizes are inputs with the values of the call; a pass runs on them."""
        x = torch.ones(3)
        torch._dynamo.decorators.mark_unbacked(x, 0)
        backend = RecordingBackend(folds, aot=True)

        got = torch.compile(lambda x, k, q: (x * k + q).relu().relu(), backend=backend, dynamic=True)(x, 4, 0.5)

        text = backend.texts[0]
        self.assertTrue(torch.equal(got, torch.full((3,), 4.5)))
        self.assertIn('x: "f32[u0]", k: "SymInt(s0)", q: "f64[]"', text)
        self.assertEqual([value for value in backend.graphs[0].example.realize() if isinstance(value, int)], [3, 4])
        self.assertIn("SymInt(u0)", backend.forward[0].text)
        self.assertPreserves(folds, backend.graphs[0].example)

    def test_parameters_keep_their_values(self):
        """The parameters of a model are inputs with the values they had."""
        linear = torch.nn.Linear(2, 2)
        backend = RecordingBackend()

        torch.compile(lambda x: linear(x), backend=backend)(torch.ones(1, 2))

        values = backend.graphs[0].example.realize()
        self.assertTrue(any(torch.equal(value, linear.weight) for value in values))
        self.assertPreserves(lambda gm: gm, backend.graphs[0].example, golden=False)


if __name__ == "__main__":
    unittest.main()
