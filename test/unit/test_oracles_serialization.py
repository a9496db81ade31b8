"""The serialization oracle: programs that come back, and programs that do not."""

import unittest

import torch

from fxpect.capture import capture
from fxpect.errors import CheckFailure
from fxpect.execution import run_pass
from fxpect.oracles.evidence import Evidence
from fxpect.oracles.judge import judge
from fxpect.oracles.serialization import check_serialization, find_serialization
from fxpect.specs import T

aten = torch.ops.aten


def retarget(new):
    """Return a graph pass that replaces relu by another target."""

    def change(graph):
        for node in graph.find_nodes(op="call_function", target=aten.relu.default):
            node.target = new

    return change


def through_program(exported: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Decompose nothing, and return a new program."""
    return exported.run_decompositions({})


class Linear(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(3, 2)

    def forward(self, x):
        return torch.relu(self.inner(x))


class SerializationTests(unittest.TestCase):
    def example(self):
        return capture(Linear(), (T(4, 3),))

    def test_program_that_comes_back(self):
        """A graph of operators survives, runs, and computes the same; so does a program a pass returned."""
        for pass_ in (retarget(aten.abs.default), through_program):
            execution = run_pass(pass_, self.example())
            before = execution.before
            evidence = Evidence(before.graph_module, execution.after, before.realize())
            self.assertEqual([str(one) for one in find_serialization(execution, evidence)], [])

    def test_target_that_cannot_be_saved(self):
        """A Python function in the graph is reported, with the step at which the round trip failed."""
        with self.assertRaises(CheckFailure) as caught:
            check_serialization(run_pass(retarget(torch.nn.functional.silu), self.example()))
        self.assertRegex(caught.exception.cause, "^serialization:(rebuild|verify|save-and-load):")
        self.assertIn("expected a program that survives", str(caught.exception))

    def test_judged_on_request(self):
        """``judge`` asks it where it is named, and not otherwise."""
        asked = judge(retarget(torch.nn.functional.silu), self.example(), oracles=("honesty", "serialization"))
        self.assertEqual([failure.oracle for failure in asked.failures], ["serialization"])
        self.assertEqual(
            [
                f.oracle
                for f in judge(retarget(torch.nn.functional.silu), self.example(), oracles=("honesty",)).failures
            ],
            [],
        )

    def test_silent_without_a_program(self):
        """A graph that was not exported has nothing to save."""
        example = capture(lambda x: torch.relu(x), (T(4, 3),), capture="make_fx")
        check_serialization(run_pass(retarget(torch.nn.functional.silu), example))


if __name__ == "__main__":
    unittest.main()
