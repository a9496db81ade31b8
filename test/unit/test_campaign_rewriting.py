"""What a pass rewrote, by which two cases of one flaw are known."""

import unittest

import torch

from fxpect.campaign.rewriting import of_any_dims, rewritten
from fxpect.capture import capture
from fxpect.execution import as_pass, run_pass
from fxpect.specs import T


def replace_sine(gm):
    """Make every sine a cosine, and drop what nobody reads."""
    for node in gm.graph.find_nodes(op="call_function", target=torch.sin):
        node.target = torch.cos
    gm.graph.eliminate_dead_code()
    return gm


class Fused(torch.nn.Module):
    """A layer and what a pass folds into it."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.norm = layer, torch.nn.BatchNorm2d(3).eval()

    def forward(self, x):
        return self.norm(self.layer(x))


def fold(gm):
    """Take the norm out."""
    for node in gm.graph.find_nodes(op="call_module", target="norm"):
        node.replace_all_uses_with(node.args[0])
        gm.graph.erase_node(node)
    return gm


def rewrite(pass_, model, *specs):
    """Return what a pass rewrites in the graph of a model."""
    return rewritten(run_pass(as_pass(pass_), capture(model, specs, capture="symbolic")))


class RewrittenTests(unittest.TestCase):
    """The operators that came and went."""

    def test_operators_and_not_how_many(self):
        """What else stands in the graph, and how often the pass did it, is nobody's cause."""
        once = rewrite(replace_sine, lambda x: torch.sin(x), T(2))
        self.assertEqual(once, {"-sin", "+cos"})
        self.assertEqual(rewrite(replace_sine, lambda x: torch.exp(torch.sin(torch.sin(x))), T(2)), once)

    def test_nothing(self):
        """A pass that changes nothing, or that raised, rewrote nothing."""
        self.assertEqual(rewrite(replace_sine, lambda x: torch.exp(x), T(2)), frozenset())
        self.assertEqual(rewritten(None), frozenset())

    def test_a_module_with_what_it_reads(self):
        """A norm folded into a convolution is not one folded into a linear layer, whatever the dims."""
        self.assertEqual(rewrite(fold, Fused(torch.nn.Conv2d(3, 3, 1)), T(2, 3, 4, 4)), {"-BatchNorm of Conv"})
        self.assertEqual(rewrite(fold, Fused(torch.nn.Linear(4, 4)), T(2, 3, 4, 4)), {"-BatchNorm of Linear"})

    def test_of_any_dims(self):
        """The number of dims is no part of the name, other digits are."""
        self.assertEqual([of_any_dims(name) for name in ("conv2d", "BatchNorm1d with a hook", "conv_transpose3d",
                                                         "log2", "log1p", "addmm_1")],
                         ["conv", "BatchNorm with a hook", "conv_transpose", "log2", "log1p", "addmm_1"])


if __name__ == "__main__":
    unittest.main()
