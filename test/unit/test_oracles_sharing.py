"""Copies that a pass made views: the failures that come of it say so, others do not."""

import unittest
import warnings

import torch

from fxpect.capture import capture
from fxpect.examples import Example
from fxpect.oracles.judge import judge
from fxpect.specs import T


def traced(fn, *specs):
    return Example(torch.fx.symbolic_trace(fn), specs, capture="dynamo")


def forwarding(*names):
    """Return a pass that gives the users of these nodes the node's own first operand."""
    def forward(graph):
        for node in list(graph.nodes):
            if node.name in names:
                node.replace_all_uses_with(node.args[0])
                graph.erase_node(node)

    return forward


def views(pass_, example):
    """Return the views by label of what fails."""
    return {failure.cause: failure.views for failure in judge(pass_, example).failures}


def viewed(graph):
    """Replace a contiguous copy by a view of another stride."""
    for node in list(graph.nodes):
        if node.name == "contiguous":
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)


class CopiesMadeViewsTests(unittest.TestCase):
    def test_an_alias(self):
        """An output that is the input now is the copy's fault."""
        self.assertEqual(views(forwarding("clone"), traced(lambda x: x.clone(), T(3))),
                         {"effects:output-aliases-input": ("clone",)})

    def test_a_write(self):
        """So is a number that a write changed, and an input that was written to."""
        def read_again(x):
            copy = x.clone()
            return copy, x.add_(1)

        found = views(forwarding("clone"), traced(read_again, T(3)))
        self.assertEqual(found["numerics:values"], ("clone",))
        self.assertEqual(set(found.values()), {("clone",)})
        self.assertEqual(views(forwarding("clone"), traced(lambda x: x.clone().add_(1) * 2, T(3))),
                         {"effects:input-mutated": ("clone",)})

    def test_a_stride(self):
        """So is a stride."""
        self.assertEqual(views(viewed, traced(lambda x: (x * 2).t().contiguous(), T(3, 4))),
                         {"numerics:stride": ("contiguous",)})

    def test_the_operator_that_does_it_alone(self):
        """Of two copies that are gone the one is named without which nothing fails."""
        example = traced(lambda x, y: (x.clone(), y.contiguous() + 1), T(3), T(3))
        self.assertEqual(views(forwarding("clone", "contiguous"), example),
                         {"effects:output-aliases-input": ("clone",)})

    def test_two_operators_that_do_it_together(self):
        """Where each copy that is gone shows by itself, all are named."""
        example = traced(lambda x, y: (x.clone(), y.contiguous().t().contiguous()), T(3), T(3, 4))
        found = views(forwarding("clone", "contiguous_1"), example)
        self.assertEqual(set(found.values()), {("clone", "contiguous")})

    def test_a_wrong_number_is_no_view(self):
        """A value in the place of another that is simply wrong comes of no view, nor does a write that is gone."""
        self.assertEqual(views(forwarding("relu"), traced(lambda x: torch.relu(x) + 1, T(3))), {"numerics:values": ()})
        self.assertEqual(views(forwarding("add_"), traced(lambda x: x.add_(1) * 2, T(3))),
                         {"numerics:values": (), "effects:input-not-mutated": ()})

    def test_a_wrong_number_beside_a_view(self):
        """Where the copy does not mend all, nothing is said."""
        example = traced(lambda x: (x.clone(), torch.relu(x)), T(3))
        self.assertEqual(set(views(forwarding("clone", "relu"), example).values()), {()})

    def test_a_graph_that_cannot_be_copied(self):
        """A graph that reads an attribute which is not there is a crash like any other."""
        def reads_nothing(graph):
            node = graph.find_nodes(op="call_method", target="clone")[0]
            with graph.inserting_before(node), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                node.replace_all_uses_with(graph.get_attr("gone"))

        found = views(reads_nothing, traced(lambda x: x.clone() + 1, T(3)))
        self.assertEqual([(cause.partition(":")[0], views) for cause, views in found.items()
                          if cause.startswith("crash")], [("crash", ())])

    def test_metadata_below_a_view(self):
        """Wrong strides on record below a copy that is gone are the copy's fault."""
        example = capture(lambda x: torch.relu(x.t().contiguous()).sum(), (T(3, 4),), capture="dynamo")
        self.assertEqual(views(viewed, example), {"metadata:stride-stale": ("contiguous",)})

    def test_metadata_of_what_is_no_view(self):
        """Wrong strides on record of a result that is contiguous are not."""
        def made_contiguous(graph):
            (node,) = graph.find_nodes(op="call_function", target=torch.relu)
            with graph.inserting_before(node):
                node.replace_input_with(node.args[0], graph.call_method("contiguous", (node.args[0],)))

        example = capture(lambda x: torch.relu(x.t() + 1).sum(), (T(3, 4),), capture="dynamo")
        self.assertEqual(views(made_contiguous, example), {"metadata:stride-stale": ()})


if __name__ == "__main__":
    unittest.main()
