"""The stability oracle: passes that repeat themselves, and passes that do not."""

import itertools
import unittest

import torch

from fxpect.errors import CheckFailure, FxpectError
from fxpect.examples import Example
from fxpect.execution import run_pass
from fxpect.oracles.evidence import NOTE
from fxpect.oracles.stability import BACKWARDS, FORWARDS, check_hash_seeds, check_stability, find_stability, node_hashes
from fxpect.specs import T


def example():
    return Example.from_text(
        'def forward(self, x: "f32[2]", y: "f32[2]"):\n'
        '    relu: "f32[2]" = torch.relu(x)\n'
        '    tanh: "f32[2]" = torch.tanh(y)\n'
        '    add: "f32[2]" = operator.add(relu, tanh)\n'
        "    return (add,)\n",
        T(2),
        T(2),
        capture="dynamo",
    )


def targets(old, new):
    """Return a graph pass that replaces one target by another."""

    def retarget(graph):
        for node in graph.find_nodes(op="call_function", target=old):
            node.target = new

    return retarget


class StabilityTests(unittest.TestCase):
    def fails(self, cause, message, pass_):
        """Assert that the oracle raises with this cause and these words."""
        with self.assertRaises(CheckFailure) as caught:
            check_stability(pass_, run_pass(pass_, example()))
        self.assertEqual(caught.exception.cause, f"stability:{cause}")
        self.assertIn(message, str(caught.exception))

    def test_stable_pass(self):
        """A pass that gives the same graph each time, and leaves its own result alone, holds."""
        check_stability(targets(torch.relu, torch.abs), run_pass(targets(torch.relu, torch.abs), example()))

    def test_two_results(self):
        """A pass that depends on how often it ran is reported, with what differs in words."""
        calls = itertools.count()

        def fickle(graph):
            (node,) = graph.find_nodes(op="call_function", target=torch.relu)
            node.target = (torch.abs, torch.neg)[next(calls) % 2]

        self.fails("two-results", "expected the same text from the same graph; got", fickle)

    def test_not_idempotent(self):
        """A pass that goes on changing its own result is reported."""

        def another_relu(graph):
            node = graph.find_nodes(op="call_function", target=torch.relu)[-1]
            with graph.inserting_after(node):
                new = graph.call_function(torch.relu, (node,))
            node.replace_all_uses_with(new, delete_user_cb=lambda user: user is not new)

        self.fails("not-idempotent", "expected a second run to change nothing; got", another_relu)

    def test_second_run_crashes(self):
        """A pass that cannot take its own result is reported."""

        def once(graph):
            (node,) = graph.find_nodes(op="call_function", target=torch.relu)
            node.target = torch.abs

        self.fails(
            "second-run-crashes:crash:pass:ValueError:once:not enough values to unpack", "takes its own result", once
        )

    def test_other_order_is_a_note(self):
        """The same nodes in another order are a note."""
        calls = itertools.count()

        def shuffle(graph):
            (relu,) = graph.find_nodes(op="call_function", target=torch.relu)
            (tanh,) = graph.find_nodes(op="call_function", target=torch.tanh)
            first, second = (relu, tanh) if next(calls) % 2 else (tanh, relu)
            first.append(second)

        found = list(find_stability(shuffle, run_pass(shuffle, example())))
        self.assertEqual([(one.cause, one.severity) for one in found], [("stability:order", NOTE)])

    def test_order_of_a_set(self):
        """A pass that rewrites the first of a set of nodes is reported wherever the nodes lie, not by luck."""

        def one_of_a_set(graph):
            unary = {node for node in graph.nodes if node.target in (torch.relu, torch.tanh)}
            next(iter(unary)).target = torch.neg

        for _ in range(20):
            self.fails("two-results", "expected the same text from the same graph; got", one_of_a_set)

    def test_hashes_of_nodes(self):
        """Within, a small set of new nodes iterates in the order of making or backwards; old nodes are still found."""
        old = torch.fx.Graph().placeholder("x")
        before = {old}
        for number, order in ((FORWARDS, "abcd"), (BACKWARDS, "dcba")):
            with self.subTest(order=order), node_hashes(number):
                graph = torch.fx.Graph()
                nodes = [graph.placeholder(name) for name in "abcd"]
                self.assertEqual("".join(node.name for node in set(nodes)), order)
                self.assertIn(old, before)
        self.assertEqual(hash(old), object.__hash__(old))

    def test_hash_seeds(self):
        """A pass that torch ships gives one text under two hash seeds; a path without a name is misuse."""
        check_hash_seeds("torch.fx.passes.tools_common:legalize_graph", example())
        with self.assertRaisesRegex(FxpectError, "expected an import path 'module:name'; got 'nowhere'"):
            check_hash_seeds("nowhere", example())


if __name__ == "__main__":
    unittest.main()
