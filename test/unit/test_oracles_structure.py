"""The structure oracle: what lint sees and what it misses, and code against the node-by-node run."""

import unittest

import torch

from fxpect.errors import CheckFailure, GraphCrash
from fxpect.oracles.evidence import ERROR, NOTE, Evidence
from fxpect.oracles.structure import check_structure, find_disagreement, find_structure, schema_misfit

aten = torch.ops.aten


def traced(fn):
    return torch.fx.symbolic_trace(fn)


def evidence(after, before=None):
    """Return the evidence of a rewrite of (by default) ``relu(x) + 1`` into a graph module."""
    before = before or traced(lambda x: aten.relu.default(x) + 1)
    return Evidence(before, after, [torch.tensor([-1.0, 2.0])], pass_name="rewrite")


def graph_of(*calls):
    """Return a module around a graph of one input; each call is (target, *args), "x" the input, int n the n-th call."""
    graph = torch.fx.Graph()
    values = {"x": graph.placeholder("x")}
    for n, (target, *args) in enumerate(calls):
        args = [
            values.get(arg, arg) if isinstance(arg, str) or (type(arg) is int and arg >= 100) else arg for arg in args
        ]
        values[100 + n] = graph.call_function(target, tuple(args))
    graph.output(values[100 + len(calls) - 1])
    return torch.fx.GraphModule({}, graph)


class StructureTests(unittest.TestCase):
    def fails(self, cause, message, after, before=None):
        """Assert that the oracle raises with this cause and these words."""
        with self.assertRaises(CheckFailure) as caught:
            check_structure(evidence(after, before))
        self.assertEqual(caught.exception.cause, cause if cause.startswith("crash") else f"structure:{cause}")
        self.assertIn(message, str(caught.exception))
        return caught.exception

    def notes(self, after, before=None):
        """Return the causes of the notes; asserts that there is no error."""
        found = list(find_structure(evidence(after, before)))
        self.assertEqual([str(one) for one in found if one.severity != NOTE], [])
        return [one.cause for one in found]

    def test_well_formed(self):
        """A sound graph gives neither an error nor a note."""
        after = traced(lambda x: aten.relu.default(x) + 1)
        check_structure(evidence(after))
        self.assertEqual(self.notes(after), [])

    def test_use_before_definition(self):
        """A node used before it is defined is reported through lint."""
        after = traced(lambda x: aten.relu.default(x) + 1)
        (add,) = after.graph.find_nodes(op="call_function", target=torch.ops.aten.relu.default)
        add.append(add)
        last = after.graph.output_node().args[0]
        add.prepend(last)
        self.fails("lint:argument of node was used before it has", "graph.lint()", after)

    def test_owning_module(self):
        """A graph that another module claims to own is reported."""
        after = traced(lambda x: aten.relu.default(x) + 1)
        after.graph.owning_module = traced(lambda x: x)
        self.fails("owning-module", "expected graph.owning_module to be the module itself", after)

    def test_placeholders(self):
        """Inputs that are gone or swapped are errors, renamed ones a note, or an error where callers name them."""
        before = traced(lambda x, y: x - y)
        swapped = traced(lambda y, x: x - y)
        fewer = traced(lambda x: x - 1)
        self.fails("placeholders", "expected 2 inputs ['x', 'y']; got 1 ['x']", fewer, before)
        self.fails("placeholders-reordered", "got ['y', 'x']", swapped, before)
        renamed = traced(lambda x, z: x - z)
        self.assertEqual(self.notes(renamed, before), ["structure:placeholders-renamed"])
        by_name = Evidence(before, renamed, [torch.ones(2), torch.ones(2)], called_by_name=True)
        self.assertEqual([(one.cause, one.severity) for one in find_structure(by_name)],
                         [("structure:placeholders-renamed", ERROR)])

    def test_schema(self):
        """A call that does not fit its operator's schema is reported before it runs."""
        graph = torch.fx.Graph()
        x = graph.placeholder("x")
        add, relu = aten.add.Tensor, aten.relu.default
        for target, args, kwargs, cause in (
            (add, (x, x), {"alpha": 2}, None),
            (add, (x,), {"other": x}, None),
            (relu, (x, 1), {}, "arity"),
            (add, (x, x, 2), {}, "arity"),
            (add, (x, x), {"beta": 2}, "keyword"),
            (add, (x, x), {"other": x}, "twice"),
            (add, (x,), {}, "missing"),
        ):
            with self.subTest(target=str(target), args=len(args), kwargs=kwargs):
                misfit = schema_misfit(graph.call_function(target, args, kwargs))
                self.assertEqual(misfit and misfit[0], cause)
        self.fails(
            "schema:arity",
            "aten.relu.default: expected at most 1 positional arguments; got 2",
            graph_of((relu, "x", 1)),
        )

    def test_dead_nodes_are_notes(self):
        """A dead pure node that the pass left is a note; one that was there before, or with an effect, is not."""
        dead = traced(lambda x: (aten.abs.default(x), aten.relu.default(x) + 1)[1])
        self.assertEqual(self.notes(dead), ["structure:dead-node"])
        self.assertEqual(self.notes(dead, dead), [])
        self.assertEqual(self.notes(traced(lambda x: (x.add_(1), aten.relu.default(x) + 1)[1])), [])

    def test_overload_packet_is_a_note(self):
        """A packet in the place of an overload, in a graph of overloads, is a note."""
        self.assertEqual(self.notes(graph_of((aten.relu, "x"))), ["structure:overload-packet"])

    def test_code_that_is_not_python(self):
        """A graph that only the node-by-node run survives is reported."""
        after = traced(lambda x: torch.sum(x, dim=0))
        (call,) = after.graph.find_nodes(op="call_function", target=torch.sum)
        after.forward = None  # what a module whose recompile failed is left with
        failure = self.fails(
            "code:TypeError:object is not callable",
            "fx.Interpreter runs the graph, its generated code does not",
            after,
            traced(lambda x: torch.sum(x, dim=0)),
        )
        self.assertIsInstance(failure, GraphCrash)
        self.assertTrue(call.graph is after.graph)

    def test_crash_of_the_graph(self):
        """A graph that raises either way is a crash, labelled by operator and first words, naming the node."""
        failure = self.fails(
            "crash:graph:RuntimeError:view:shape is invalid for input of size",
            "expected a graph that runs, as the one before; got RuntimeError",
            graph_of((aten.view.default, "x", [3, 5])),
        )
        self.assertEqual((failure.oracle, failure.node), ("crash", "view_default"))
        self.assertIsInstance(failure, GraphCrash)

    def test_stale_code(self):
        """Code that computes something else than the graph it was made from is reported."""
        after = traced(lambda x: aten.relu.default(x) + 1)
        (call,) = after.graph.find_nodes(op="call_function", target=aten.relu.default)
        call.target = aten.abs.default  # and no recompile
        self.fails("code-disagrees", "output 0: the generated code and fx.Interpreter", after)

    def test_uninitialised_memory(self):
        """A graph that returns what ``empty`` left behind is found, whatever that happens to be."""
        after = traced(lambda x: torch.empty_like(x))
        torch.full((2,), 3.0)
        self.fails("code-disagrees", "uninitialised memory filled", after)
        list(find_disagreement(evidence(traced(lambda x: torch.empty_like(x).fill_(1)))))

    def test_nested_outputs(self):
        """Lists, tuples and dicts in the output are the same both ways."""
        nested = traced(lambda x: {"a": [x + 1, (x * 2, None)], "b": 3})
        both = evidence(nested, nested)
        self.assertEqual(list(find_disagreement(both)), [])
        self.assertEqual(both.ran.spec, both.interpreted.spec)


if __name__ == "__main__":
    unittest.main()
