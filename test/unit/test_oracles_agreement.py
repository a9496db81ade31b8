"""The quick look at two runs: it passes what the oracles would pass, and leaves everything else to them."""

import unittest
from unittest import mock

import torch

from fxpect.cases.functions import assert_rewrites
from fxpect.oracles import evidence as evidence_module
from fxpect.oracles.agreement import QuickLook
from fxpect.oracles.evidence import Evidence
from fxpect.specs import T


def agree(before, after, *args):
    """Return what the quick look says of two traced functions or modules."""
    args = list(args) or [torch.tensor([[1.0, -2.0, 0.0]])]
    return QuickLook(Evidence(torch.fx.symbolic_trace(before), torch.fx.symbolic_trace(after), args)).agrees(args)


class Stateful(torch.nn.Module):
    """A module with a buffer of its own."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, x):
        return x + self.seen


class AgreementTests(unittest.TestCase):
    def test_the_same_twice(self):
        """Equal values, writes, draws and views agree, NaN included; the arguments may be kept in the output."""
        for function in (
            lambda x: x.relu() + 1,
            lambda x: x.add_(1),
            lambda x: x + torch.rand_like(x),
            lambda x: (x, x[0]),
            lambda x: {"a": [x + 1, 2, None]},
            lambda x: x / 0,
        ):
            with self.subTest(function):
                self.assertTrue(agree(function, function))

    def test_what_differs(self):
        """Another value, sign of zero, dtype, stride, structure, constant, write, draw, view or error is not passed."""
        for before, after in (
            (lambda x: x + 1, lambda x: x + 2),
            (lambda x: x * 0, lambda x: x * 0 + 0.0),
            (lambda x: x + 1, lambda x: x.double() + 1),
            (lambda x: x @ x.t(), lambda x: (x @ x.t(),)),
            (lambda x: x.expand(2, 3), lambda x: x.expand(2, 3) + 0),
            (lambda x: 1, lambda x: True),
            (lambda x: x + 1, lambda x: x.add_(1)),
            (lambda x: x + 1, lambda x: x + 1 + 0 * torch.rand_like(x)),
            (lambda x: x[0], lambda x: x[0] + 0),
            (lambda x: x, lambda x: x.view(1, 3)),
            (lambda x: (x[:, :1], x[:, 2:]), lambda x: (x[:, :1], x[:, 2:] + 0)),
            (lambda x: x + 1, lambda x: x.view(7)),
            (lambda x: x.view(7), lambda x: x + 1),
        ):
            with self.subTest((before, after)):
                self.assertFalse(agree(before, after))

    def test_what_needs_a_closer_look(self):
        """A module with tensors and a graph of memory that nobody wrote are left to the oracles."""
        self.assertFalse(agree(Stateful(), Stateful()))
        self.assertFalse(agree(lambda x: x + 1, lambda x: x + 1 + torch.zeros_like(torch.empty_like(x))))

    def test_more_inputs_are_not_observed(self):
        """Where all agrees, thirty-two inputs of one rewrite cost the three observations of one."""
        def drop(gm):
            for node in gm.graph.find_nodes(op="call_method", target="relu"):
                if node.args[0].target == "relu":
                    node.replace_all_uses_with(node.args[0])
                    gm.graph.erase_node(node)

        counts = []
        for seeds in (1, 32):
            with mock.patch.object(evidence_module, "observe", wraps=evidence_module.observe) as observe:
                assert_rewrites(drop, lambda x: x.relu().relu() + 1, T(2, 3), capture="symbolic", seeds=seeds,
                                oracles=("numerics", "effects", "structure"))
            counts.append(observe.call_count)

        self.assertEqual(counts, [3, 3])


if __name__ == "__main__":
    unittest.main()
