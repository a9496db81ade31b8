"""Operator counts: names matched exactly, bounds, drift, and what is refused."""

import operator
import unittest

import torch

import fxpect
from fxpect.capture import capture
from fxpect.cases.counting import calls, census, check_before, check_ops, find_after, parse_ops
from fxpect.errors import CheckFailure, FxpectError, InputDrift

aten = torch.ops.aten


class Layers(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = torch.nn.Linear(2, 2), torch.nn.Identity()

    def forward(self, x):
        y = torch.relu(self.first(x)).relu()
        return self.last(torch.nn.functional.relu(y) + operator.add(y, 1))


def traced():
    return torch.fx.symbolic_trace(Layers())


def counted(gm):
    """Return the matcher of a name or object as its count on ``gm``."""
    found = list(calls(gm))

    def count(key):
        (wish,) = parse_ops({key: 0})
        return sum(wish.matches(module, node) for module, node in found)

    return count


class CountingTests(unittest.TestCase):
    def test_names_are_exact(self):
        """A name counts its own target: not the method, not the functional, nothing that only contains it."""
        count = counted(traced())
        table = {
            "torch.relu": 1,
            ".relu": 1,
            "torch.Tensor.relu": 1,
            "Tensor.relu": 1,
            "torch.nn.functional.relu": 1,
            "operator.add": 2,
            "torch.add": 0,
            "torch.nn.Linear": 1,
            "torch.nn.Identity": 1,
            "self.first": 1,
            "self.fir": 0,
            ".rel": 0,
            torch.relu: 1,
            torch.nn.Linear: 1,
            torch.nn.Module: 0,
            operator.add: 2,
        }

        self.assertEqual({key: count(key) for key in table}, table)

    def test_packets_and_overloads(self):
        """A packet counts all its overloads, an overload itself; torch.ops in front makes no difference."""
        gm = capture(
            lambda x, y: (x + y) + (x + 1) + torch.add(x, y, alpha=2), (fxpect.T(2), fxpect.T(2)), capture="make_fx"
        ).graph_module
        count = counted(gm)
        table = {
            "aten.add": 5,
            "aten.add.Tensor": 5,
            "torch.ops.aten.add.Tensor": 5,
            "aten.add.Scalar": 0,
            "aten.add_": 0,
            "aten.addmm": 0,
            aten.add: 5,
            aten.add.Tensor: 5,
            aten.mul: 0,
        }

        self.assertEqual({key: count(key) for key in table}, table)

    def test_nested_graphs_count(self):
        """The calls of a nested graph count, those of one used twice once."""
        self.assertEqual(counted(nested())("torch.sin"), 1)

    def test_bounds(self):
        """A count may be bounded from one side; the message shows the bound and what there is."""
        gm = traced()
        for bound, holds in (
            (1, True),
            (2, False),
            (">=1", True),
            ("<=0", False),
            ("!=1", False),
            ("> 0", True),
            ("<2", True),
            ("== 1", True),
        ):
            with self.subTest(bound=bound):
                failures = list(find_after(parse_ops({"torch.relu": bound}), gm, pass_name="p"))

                self.assertEqual(not failures, holds)

    def test_wrong_count_after(self):
        """A wrong count after names the pass, the operator, both numbers, and what the graph has."""
        (failure,) = find_after(parse_ops({"torch.relu": (1, 2)}), traced(), pass_name="p")

        self.assertIn("pass p: expected 2 x torch.relu in the graph after the pass; got 1", str(failure))
        self.assertIn("1 x self.first, 1 x torch.relu, 1 x .relu", str(failure))

    def test_wrong_count_before_is_input_drift(self):
        """A wrong count before is InputDrift, with the capture and what it gives instead."""
        with self.assertRaises(InputDrift) as caught:
            check_before(parse_ops({"torch.cat": (1, 1)}), traced(), pass_name="p", capture="symbolic")

        self.assertIn("expected 1 x torch.cat in the graph before the pass; got 0", str(caught.exception))
        self.assertIn("the capture 'symbolic' on torch", str(caught.exception))
        check_before(parse_ops({"torch.relu": (1, 9)}), traced(), pass_name="p", capture="symbolic")

    def test_after_alone_says_nothing_of_before(self):
        """A lone number is the count after."""
        check_before(parse_ops({"torch.cat": 1}), traced(), pass_name="p", capture="symbolic")

    def test_check_ops(self):
        """check_ops is silent or lists every wrong count; it refuses pairs."""
        check_ops(traced(), {"torch.relu": 1, "torch.cat": 0})
        with self.assertRaisesRegex(CheckFailure, "expected 1 x torch.cat in the graph; got 0"):
            check_ops(traced(), {"torch.relu": 1, "torch.cat": 1})
        with self.assertRaisesRegex(FxpectError, "expected one count for each operator"):
            check_ops(traced(), {"torch.relu": (1, 1)})

    def test_refused(self):
        """A name that is none, a bound that is none or cannot fail, and other shapes are misuse."""
        for ops, words in (
            ({"torch.catt": 1}, "'torch.catt', which is none"),
            ({"relu": 1}, "'relu', which is none"),
            ({"torch.relu": -1}, "got -1"),
            ({"torch.relu": True}, "got True"),
            ({"torch.relu": ">=0"}, "can hold and fail"),
            ({"torch.relu": "<0"}, "can hold and fail"),
            ({"torch.relu": "about 2"}, "got 'about 2'"),
            ({"torch.relu": (1, 2, 3)}, "(before, after)"),
            ({"torch.relu": None}, "expected a number"),
            (["torch.relu"], "expected ops="),
            ({3: 1}, "got 3"),
        ):
            with (
                self.subTest(ops=ops),
                self.assertRaisesRegex(FxpectError, words.replace("(", "\\(").replace(")", "\\)")),
            ):
                parse_ops(ops)

    def test_census(self):
        """The census lists calls in the order of the graph with their numbers."""
        self.assertEqual(
            census(traced()),
            "1 x self.first, 1 x torch.relu, 1 x .relu, 1 x torch.nn.functional.relu, 2 x operator.add, 1 x self.last",
        )
        self.assertEqual(census(torch.fx.symbolic_trace(lambda x: x)), "no calls")


def nested():
    """Return a graph that calls one nested graph twice."""
    inner = torch.fx.symbolic_trace(lambda x: torch.sin(x))
    graph = torch.fx.Graph()
    x = graph.placeholder("x")
    twice = graph.call_module("inner", (graph.call_module("inner", (x,)),))
    graph.output(twice)
    return torch.fx.GraphModule({"inner": inner}, graph)


if __name__ == "__main__":
    unittest.main()
