"""A fault in a pass of torch, or in the graph that it is given, turns the suite of rewrites red, and says where."""

import os
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import torch
from torch._inductor.fx_passes import pre_grad

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from test.quality.faults import failure_of, recorded_as

PASS = "pre_grad.sink_cat_after_pointwise"
sink_cat = pre_grad.sink_cat_after_pointwise


def drops_relu(gm):
    """Sink joins as torch does, and lose one of the relus that this makes."""
    gm = sink_cat(gm)
    for node in gm.graph.find_nodes(op="call_function", target=torch.relu)[1:]:
        node.replace_all_uses_with(node.args[0])
        gm.graph.erase_node(node)
    return gm


def drops_every_rewrite(gm):
    """Change nothing any more."""
    return gm


def fires_too_often(gm):
    """Sink a join also where something else reads it, which then is computed twice."""
    for node in gm.graph.find_nodes(op="call_function", target=torch.relu):
        pieces = node.args[0].args[0]
        if len(node.args[0].users) > 1:
            with gm.graph.inserting_before(node):
                sunk = [gm.graph.call_function(torch.relu, (piece,)) for piece in pieces]
                node.replace_all_uses_with(gm.graph.call_function(torch.cat, (sunk, -1)))
            gm.graph.erase_node(node)
    return sink_cat(gm)


class RewriteFaultTests(unittest.TestCase):
    """test_rewrites.py"""

    def message(self, *faults):
        """Return what the test of the pass says under these faults."""
        with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, FXPECT_PENDING=folder):
            return failure_of("passes/test_rewrites.py",
                              "RewriteTests.test_pre_grad_sink_cat_after_pointwise", *faults)

    def broken(self, pass_):
        """Return what the test says where torch has this pass."""
        return self.message(mock.patch.object(pre_grad, "sink_cat_after_pointwise", pass_))

    def test_without_a_fault(self):
        """The test passes."""
        self.assertEqual(self.message(), "")

    def test_dropped_operator(self):
        """A pass that loses an operator computes something else: an oracle names pass, case and step."""
        message = self.broken(drops_relu)

        self.assertIn(f"[numerics] pass {PASS} node cat_1: output 0: values", message)
        self.assertIn("RewriteTests.test_pre_grad_sink_cat_after_pointwise relu, dynamic, capture 'dynamo'", message)
        self.assertIn("the pass: +1 cat after relu; -1 cat", message)
        self.assertNotIn("view_tanh", message)

    def test_rewrite_that_is_gone(self):
        """A pass that no longer fires computes the same: what is stored names pass, case and the missing lines."""
        message = self.broken(drops_every_rewrite)

        self.assertIn(f"fxpect.errors.PassDrift: [fixture] pass {PASS}: passes/test_rewrites.py", message)
        self.assertRegex(message, r"pass drift of \w{10}  view_tanh\n    the graph after is not the stored one: ")
        self.assertIn('-    tanh_1: "?" = y.tanh()', message)
        self.assertNotIn("value returned too", message)

    def test_rewrite_of_what_must_stay(self):
        """A pass that also fires where the join has another reader drifts in that case, and in no other."""
        message = self.broken(fires_too_often)

        self.assertRegex(message, r"pass drift of \w{10}  relu, first value returned too\n")
        self.assertEqual(message.count("pass drift of"), 1)

    def test_capture(self):
        """Where dynamo writes another relu it is the capture that changed, and what the pass does is told too."""
        def renamed(target, args, kwargs):
            return torch.nn.functional.relu if target is torch.relu else target, args, kwargs

        message = self.message(recorded_as(renamed))

        self.assertIn(f"fxpect.errors.CaptureDrift: [fixture] pass {PASS}: passes/test_rewrites.py", message)
        self.assertRegex(message, r"capture drift of \w{10}  relu\n")
        self.assertIn("on the stored graph before, the pass gives the stored graph after: only the capture changed",
                      message)
        self.assertNotIn("pass drift of", message)


if __name__ == "__main__":
    unittest.main()
