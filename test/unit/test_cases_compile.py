"""fxpect.cases.compile: a compiled function does what it does eagerly, or the difference is told."""

import unittest
from unittest import mock

import torch
from torch._inductor.fx_passes import pre_grad

import fxpect
from fxpect import Dim, T
from fxpect.compiling import RecordingBackend, sequences


class Scaled(torch.nn.Module):
    """A parameter times the input, counted."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls.add_(1)
        return self.weight * x


def changed(change):
    """Return a patch under which what is compiled is ``change(function)``."""
    compile_ = torch.compile
    return mock.patch.object(sequences.torch, "compile", lambda f, **options: change(compile_(f, **options)))


class AssertCompilesTests(fxpect.CompileTestCase):
    """assertCompiles, passing and failing."""

    def fails(self, message, change, function, *inputs, **options):
        """Fail unless the verb does, with ``message``, where what is compiled is changed."""
        with changed(change), self.assertRaisesRegex(fxpect.CheckFailure, message):
            self.assertCompiles(function, *inputs, **options)

    def test_returns_the_graphs(self):
        """Graphs and breaks come in order, and are counted."""
        def function(x):
            y = x.sin()
            torch._dynamo.graph_break()
            return y.cos()

        sequence = self.assertCompiles(function, T(2, 3), graphs=2)

        self.assertEqual([len(sequence.graphs), len(sequence.breaks)], [2, 1])
        with self.assertRaisesRegex(fxpect.CheckFailure, "expected 1 graphs; got 2"):
            self.assertCompiles(function, T(2, 3), graphs=1)

    def test_module_is_left_alone(self):
        """A module keeps its state and gets no gradient."""
        module = Scaled()

        self.assertCompiles(module, T(3), aot=True)

        self.assertEqual((module.calls.item(), module.weight.grad), (0, None))

    def test_dims_are_dynamic(self):
        """A named dim is a symbol of the graph."""
        sequence = self.assertCompiles(lambda x: x + 1, T(Dim("B"), 3))

        self.assertIn("f32[s0, 3]", sequence.text)

    def test_passes_on_the_way(self):
        """What a pass makes is what runs, and a pass that is wrong is noticed."""
        def model(x, y):
            return torch.relu(torch.cat([x, y], dim=-1))

        def negates(gm):
            gm.graph.find_nodes(op="call_function", target=torch.relu)[0].target = torch.neg
            gm.recompile()

        backend = RecordingBackend(pre_grad.sink_cat_after_pointwise)
        self.assertCompiles(model, T(2, 3), T(2, 2), backend=backend)
        self.assertIn("relu_1", backend.graphs[0].after_text)
        with self.assertRaisesRegex(fxpect.CheckFailure, r"\[compile\].*output 0: Tensor-likes are not close"):
            self.assertCompiles(model, T(2, 3), T(2, 2), pass_=negates)

    def test_values(self):
        """Another value, dtype, nesting or requires_grad is told."""
        grad = T(3, requires_grad=True)
        self.fails("output 0: Tensor-likes are not close", lambda f: lambda x: f(x) + 1, torch.sin, T(3))
        self.fails("output 0: .*float64", lambda f: lambda x: f(x).double(), torch.sin, T(3))
        self.fails("expected outputs", lambda f: lambda x: [f(x)], torch.sin, T(3))
        self.fails("requires_grad: expected True; got False", lambda f: lambda x: f(x).detach(), torch.sin, grad)

    def test_effects(self):
        """A write that is lost, an alias that is lost or made, and a grad mode that is left are told."""
        self.fails("input 0 after the call", lambda f: lambda x: f(x.clone()), lambda x: x.add_(1) * 2, T(3))
        self.fails("output 0 is to share memory with input 0", lambda f: lambda x: f(x).clone(),
                   lambda x: x.view(3, 1), T(3))  # fmt: skip
        self.fails("output 0 is not to share memory with input 0", lambda f: lambda x: x.mul_(1), lambda x: x.clone(),
                   T(3))  # fmt: skip
        self.fails("grad mode after the call: expected True; got False",
                   lambda f: lambda x: (f(x), torch.set_grad_enabled(False))[0], torch.sin, T(3))  # fmt: skip

    def test_state_and_gradients(self):
        """Another buffer and another gradient, of an input or a parameter, are told."""
        class Doubles(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x.clone()

            @staticmethod
            def backward(ctx, gradient):
                return gradient * 2

        grad = T(3, requires_grad=True)
        self.fails("gradient of input 0", lambda f: lambda x: Doubles.apply(f(x)), torch.sin, grad)
        self.fails("gradient of attribute weight", lambda f: lambda x: Doubles.apply(f(x)), Scaled(), T(3))
        self.fails("attribute calls", lambda f: lambda x: (f(x), f(x))[0], Scaled(), T(3))
        with changed(lambda f: lambda x: Doubles.apply(f(x))):
            self.assertCompiles(torch.sin, grad, backward=False)

    def test_misuse(self):
        """A function that raises eagerly is no test."""
        with self.assertRaisesRegex(fxpect.FxpectError, "runs eagerly; got RuntimeError"):
            self.assertCompiles(lambda x: x.view(7), T(3))


if __name__ == "__main__":
    unittest.main()
