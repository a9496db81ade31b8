"""The gradients oracle: equal gradients hold; other, missing, new ones and failing backwards are reported."""

import unittest

import torch

from fxpect.errors import CheckFailure
from fxpect.oracles.evidence import NOTE, Evidence
from fxpect.oracles.gradients import check_gradients, find_gradients


def evidence(before, after, *args):
    """Return the evidence of a rewrite, run with gradients."""
    traced = [fn if isinstance(fn, torch.fx.GraphModule) else torch.fx.symbolic_trace(fn) for fn in (before, after)]
    return Evidence(*traced, args, pass_name="rewrite", grads=True)


def leaf(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


class NoBackward(torch.autograd.Function):
    """An identity whose backward raises."""

    @staticmethod
    def forward(ctx, x):
        return x * 1

    @staticmethod
    def backward(ctx, grad):
        raise ValueError("there is no way back")


def no_way_back(x):
    return NoBackward.apply(x)


torch.fx.wrap("no_way_back")


class GradientsTests(unittest.TestCase):
    def fails(self, cause, message, before, after, *args):
        """Assert that the oracle raises with this cause and these words."""
        with self.assertRaises(CheckFailure) as caught:
            check_gradients(evidence(before, after, *args))
        self.assertEqual(caught.exception.cause, cause)
        self.assertIn(message, str(caught.exception))

    def test_equal_gradients(self):
        """Another spelling with the same derivative holds, rounding included."""
        check_gradients(evidence(lambda x, y: (x @ y) / 3, lambda x, y: (x / 3) @ y, leaf(4, 4), leaf(4, 4, seed=1)))
        check_gradients(
            evidence(lambda x: torch.softmax(x, -1), lambda x: torch.exp(torch.log_softmax(x, -1)), leaf(3, 5))
        )

    def test_the_sign_of_a_zero_is_a_note(self):
        """A gradient that is a zero of the other sign is a note: the order of a sum decides it."""
        found = list(find_gradients(evidence(lambda x: x * 0.0, lambda x: x * -0.0 + 0.0, leaf(3))))

        self.assertEqual({(one.cause, one.severity) for one in found}, {("gradients:signed-zero", NOTE)})

    def test_equal_values_of_another_derivative(self):
        """The same values with half the derivative are reported with both numbers."""
        self.fails(
            "gradients:values",
            "gradient of input 0: values: expected -0.75; got -0.375 at index [0]",
            lambda x: x * 1,
            lambda x: x / 2 + x.detach() / 2,
            leaf(1),
        )

    def test_gradient_that_is_gone(self):
        """None in the place of a gradient is reported, and so is the reverse."""
        self.fails(
            "gradients:missing",
            "gradient of input 1: expected a tensor; got None",
            lambda x, y: x + y * 2,
            lambda x, y: x + y.detach() * 2,
            leaf(2),
            leaf(2),
        )
        self.fails(
            "gradients:unexpected",
            "expected None; got a tensor",
            lambda x, y: x + y.detach() * 2,
            lambda x, y: x + y * 2,
            leaf(2),
            leaf(2),
        )

    def test_zeros_for_none(self):
        """Zeros in the place of None are noted, and so is the reverse: autograd takes the one for the other."""
        none, zeros = lambda x, y: x + y.detach(), lambda x, y: x + y * 0 + y.detach()
        for before, after in ((none, zeros), (zeros, none)):
            found = list(find_gradients(evidence(before, after, leaf(2), leaf(2))))
            self.assertEqual([failure.severity for failure in found], [NOTE])

    def test_all_gradients_gone(self):
        """A graph without any backward left is reported."""
        self.fails("gradients:missing", "gradient of input 0", lambda x: x * 2, lambda x: x.detach() * 2, leaf(2))

    def test_failing_backward(self):
        """A backward that raises, where the one before did not, is a crash with a label of its own."""
        self.fails(
            "crash:backward:ValueError:NoBackward.backward:there is no way back",
            "expected a backward that runs",
            lambda x: x * 1,
            lambda x: no_way_back(x),
            leaf(2),
        )
        check_gradients(evidence(lambda x: no_way_back(x), lambda x: no_way_back(x), leaf(2)))

    def test_parameters(self):
        """Gradients of parameters are compared, unless the pass changed the module's attributes, as folding does."""
        before = torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.Linear(3, 2)))
        after = torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.Linear(3, 2)))
        after.load_state_dict(before.state_dict())
        check_gradients(evidence(before, after, torch.ones(1, 3)))
        call = after.graph.find_nodes(op="call_module", target="0")[0]
        with after.graph.inserting_after(call):
            cut = after.graph.call_method("detach", (call,))
        call.replace_all_uses_with(cut, delete_user_cb=lambda user: user is not cut)
        after.recompile()
        self.fails("gradients:missing", "gradient of attribute 0.weight", before, after, torch.ones(1, 3))
        with torch.no_grad():
            after.get_submodule("0").weight.add_(1)
        self.assertEqual(list(find_gradients(evidence(before, after, torch.ones(1, 3)))), [])

    def test_silent_without_gradients(self):
        """Nothing is asked where nothing requires grad, or the graph before does not differentiate."""
        check_gradients(evidence(lambda x: x * 2, lambda x: x * 3, torch.ones(2)))
        check_gradients(evidence(lambda x: x.detach(), lambda x: x.detach() * 3, leaf(2)))


if __name__ == "__main__":
    unittest.main()
