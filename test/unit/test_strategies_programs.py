"""The strategy ``programs`` and its operator table: what is drawn types, runs, keeps its contract and shrinks."""

from __future__ import annotations

import collections
import functools
import random
import unittest
from collections.abc import Callable

import torch
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from torch.fx import Node

from fxpect.capture import CAPTURES
from fxpect.errors import FxpectError
from fxpect.examples import Example
from fxpect.specs import T
from fxpect.strategies.draft import FUNCTIONAL_CAPTURES
from fxpect.strategies.operators.building import Builder, Unfit
from fxpect.strategies.operators.rows import Operator
from fxpect.strategies.operators.table import NAMES, OPERATORS, TAGS, allowed, select
from fxpect.strategies.programs import append, finish, programs
from fxpect.strategies.signatures import base_name
from fxpect.text.effects import has_effect
from fxpect.text.parser import parse_graph
from fxpect.text.printer import graph_text
from fxpect.text.propagation import propagate

EXAMPLES = 40
QUICK = settings(max_examples=EXAMPLES, database=None, deadline=None, derandomize=True, phases=[Phase.generate],
                 suppress_health_check=list(HealthCheck))


def drawn(strategy: st.SearchStrategy) -> list[Example]:
    """Return what the draws give, the same in each run."""
    found: list[Example] = []
    QUICK(given(strategy)(lambda example: found.append(example)))()
    return found


def calls(example: Example) -> list[Node]:
    """Return the calls of an example, in order."""
    return [node for node in example.graph_module.graph.nodes if node.op.startswith("call")]


def alone(row: Operator, capture: str, choose: Callable[[], int]) -> Example | None:
    """Return the program of one call of ``row``, None where it does not fit."""
    builder = Builder(choose, capture)
    return finish(builder, capture) if builder.attempt(lambda b: append(b, row)) else None


@functools.cache
def plain(capture: str) -> list[tuple[Operator, Example]]:
    """Return every row of a dialect with the program that its plain choices give."""
    return [(row, example) for row in allowed(capture) if (example := alone(row, capture, lambda: 0)) is not None]


def smallest(strategy: st.SearchStrategy, predicate: Callable[[Example], bool]) -> Example:
    return find(strategy, predicate, settings=settings(
        database=None, deadline=None, derandomize=True, max_examples=2000, suppress_health_check=list(HealthCheck)))


class TableTests(unittest.TestCase):

    def test_there_are_enough_rows_of_every_kind(self):
        """At least 150 operators in each of the dialects, names are unique, the kinds of the contract are there."""
        self.assertEqual(len(NAMES), len(OPERATORS))
        self.assertGreaterEqual(len(allowed("dynamo")), 150)
        self.assertGreaterEqual(len(allowed("export")), 150)
        self.assertGreaterEqual(len(allowed("make_fx")), 150)
        self.assertLessEqual({"view", "reduction", "join", "split", "norm", "matmul", "conv", "index", "inplace",
                              "random", "compare", "factory", "cast", "complex", "pointwise"}, set(TAGS))

    def test_every_row_fits_in_its_plain_form(self):
        """With the plain choice everywhere each row gives a call that types, runs, and agrees with its metadata."""
        for capture in ("dynamo", "export"):
            self.assertEqual([row for row, _ in plain(capture)], list(allowed(capture)))
            for row, example in plain(capture):
                with self.subTest(row.name, capture=capture):
                    results = example.build()(*example.realize())
                    wanted = example.graph_module.graph.output_node().meta[example.meta_key]
                    self.assertEqual([(r.dtype, r.shape) for r in results], [(w.dtype, w.shape) for w in wanted])

    def test_rows_seldom_refuse(self):
        """Of random choices for each row fewer than one in twenty do not type."""
        rng = random.Random(0)
        refused = [row.name for capture in ("dynamo", "make_fx") for row in allowed(capture)
                   if alone(row, capture, lambda: rng.randrange(2**16)) is None]

        self.assertLess(len(refused), len(OPERATORS) / 20, refused)

    def test_tags_tell_what_a_row_does(self):
        """What draws random numbers is tagged "random", what writes is tagged "inplace", nothing else is."""
        for capture in ("dynamo", "export"):
            for row, example in plain(capture):
                expected = bool(row.tags & {"random", "inplace"})
                if row.name == "embedding":     # has_effect errs on the safe side for ATen's
                    continue
                with self.subTest(row.name, capture=capture):
                    self.assertEqual(any(map(has_effect, calls(example))), expected)

    def test_functional_captures_have_no_mutation(self):
        """ATen dialects get overloads that write nothing; after decomposition none that Inductor decomposes."""
        for capture in FUNCTIONAL_CAPTURES:
            for row in allowed(capture):
                self.assertIsInstance(row.overload, torch._ops.OpOverload)
                self.assertFalse(row.overload._schema.is_mutable, row.name)
                self.assertNotIn("inplace", row.tags)
        self.assertNotIn(NAMES["linear"], allowed("make_fx"))
        self.assertIn(NAMES["linear"], allowed("export"))
        self.assertNotIn(NAMES["silu"], allowed("aten"))
        self.assertIn(NAMES["silu"], allowed("make_fx"))

    def test_words_choose_rows(self):
        """``ops`` and ``without`` take names and tags; a word that is neither is refused with the nearest ones."""
        self.assertEqual([row.name for row in select("dynamo", ["relu", "mul"])], ["relu", "mul"])
        self.assertTrue(all("view" in row.tags for row in select("dynamo", ["view"])))
        self.assertFalse([row for row in select("dynamo", None, ["random", "inplace"])
                          if row.tags & {"random", "inplace"}])
        with self.assertRaisesRegex(FxpectError, "no operator or tag 'rellu'; nearest: relu"):
            select("dynamo", ["rellu"])
        with self.assertRaisesRegex(FxpectError, "'aten' has none of the operators"):
            select("aten", ["inplace"])


class BuilderTests(unittest.TestCase):

    def test_what_does_not_type_leaves_no_trace(self):
        """A call that torch refuses takes its inputs with it, and the program goes on."""
        builder = Builder(lambda: 0, "dynamo")
        builder.attempt(lambda b: append(b, NAMES["relu"]))

        def refused(b: Builder) -> None:
            b.add("call_function", torch.mm, (b.add_input(T(2, 3)), b.add_input(T(2, 3))), {})

        self.assertFalse(builder.attempt(refused))
        self.assertTrue(builder.attempt(lambda b: append(b, NAMES["neg"])))
        example = finish(builder, "dynamo")
        self.assertEqual(example.inputs, (T(4, 4),))
        self.assertEqual([base_name(node.target) for node in calls(example)], ["relu", "neg"])
        with self.assertRaises(Unfit):
            refused(Builder(lambda: 0, "dynamo"))

    def test_nothing_is_written_where_elements_share_a_place(self):
        """An expanded value and overlapping operands are no target of a write."""
        builder = Builder(lambda: 0, "dynamo", [T(4, 4, layout="expanded")])
        self.assertFalse(builder.attempt(lambda b: append(b, NAMES["zero_"])))
        builder = Builder(lambda: 0, "dynamo", [T(4, 4)])
        builder.attempt(lambda b: append(b, NAMES["transpose"]))
        self.assertTrue(builder.overlapping(builder.values[0], builder.values[1]))


class ProgramsTests(unittest.TestCase):

    def test_programs_run_and_round_trip(self):
        """Each has metadata that a fresh propagation confirms, is read back from its text, and runs."""
        for capture in ("dynamo", "make_fx"):
            for example in drawn(programs(capture=capture)):
                with self.subTest(example.text, capture=capture):
                    read = parse_graph(example.text, meta_key=example.meta_key)
                    self.assertEqual(graph_text(read), example.text)
                    again = example.build()
                    propagate(again)
                    self.assertEqual(graph_text(again), example.text)
                    self.assertEqual(len(example.inputs), len(example.placeholders))
                    example.build()(*example.realize())

    def test_programs_are_as_large_as_asked_and_vary(self):
        """Sizes are kept; many operators and dtypes come up; every value is read or returned."""
        found = drawn(programs(min_size=4, max_size=6))
        self.assertEqual(len(found), EXAMPLES)      # none is rejected
        self.assertTrue(all(len(calls(example)) >= 4 for example in found))
        self.assertTrue(all(node.users for example in found for node in calls(example)
                            if node.meta.get("example_value") is not None))
        targets = collections.Counter(node.target for example in found for node in calls(example))
        dtypes = {spec.dtype for example in found for spec in example.inputs}
        self.assertGreater(len(targets), 50)
        self.assertGreater(len(dtypes), 6)

    def test_functional_programs_write_nothing(self):
        """No call of a functional capture has an effect once the random ones are left out."""
        for capture in ("make_fx", "export"):
            for example in drawn(programs(capture=capture, without=["random", "embedding"])):
                self.assertFalse(any(map(has_effect, calls(example))), example.text)

    def test_given_inputs_come_first_and_stay(self):
        """``inputs`` are the first placeholders, used or not; operators are those asked for."""
        for example in drawn(programs(["cat", "relu"], inputs=[T(2, 8), T(2, 2, dtype="i64")], max_size=3)):
            self.assertEqual(example.inputs[:2], (T(2, 8), T(2, 2, dtype="i64")))
            self.assertLessEqual({node.target for node in calls(example)}, {torch.cat, torch.relu})

    def test_every_capture_has_programs(self):
        """Each name of a capture is taken, and its metadata lies under the key of its stage."""
        for capture in CAPTURES:
            example = drawn(programs(["neg"], capture=capture, max_size=1))[0]
            self.assertEqual((example.capture, len(calls(example))), (capture, 1))
            self.assertIn(example.meta_key, calls(example)[0].meta)

    def test_shrinks_to_what_matters(self):
        """A relu that feeds a mul shrinks to these two calls; a half input of a sum to the sum alone."""
        rows = ["relu", "mul", "add", "neg", "sum", "cat", "clone", "unsqueeze", "tanh"]
        found = smallest(programs(rows), lambda e: any(
            base_name(node.target) == "mul" and "relu" in [base_name(a.target) for a in node.all_input_nodes]
            for node in calls(e)))
        self.assertEqual(([base_name(node.target) for node in calls(found)], found.inputs),
                         (["relu", "mul"], (T(4, 4),)))
        found = smallest(programs(rows), lambda e: any(
            base_name(node.target) == "sum" and node.args[0].meta["example_value"].dtype == torch.float16
            for node in calls(e)))
        self.assertEqual(([base_name(node.target) for node in calls(found)], found.inputs),
                         (["sum"], (T(4, 4, dtype="f16"),)))

    def test_equal_draws_are_equal_programs(self):
        """Two runs of one strategy give the same texts and inputs."""
        first, second = (["\n".join([e.text, repr(e.inputs)]) for e in drawn(programs())] for _ in range(2))
        self.assertEqual(first, second)

    def test_misuse_is_refused(self):
        """An unknown capture, impossible sizes and dynamic or real inputs are errors at once."""
        for options, message in (({"capture": "dynmo"}, "expected a capture among export, .*; got 'dynmo'"),
                                 ({"min_size": 3, "max_size": 2}, "0 < min_size <= max_size; got 3 and 2"),
                                 ({"min_size": 0}, "got 0 and 8"),
                                 ({"inputs": [T("B", 2)]}, r"fixed shape as inputs; got f32\[B, 2\]"),
                                 ({"inputs": [torch.ones(2)]}, "fixed shape as inputs; got tensor")):
            with self.assertRaisesRegex(FxpectError, message):
                programs(**options)


if __name__ == "__main__":
    unittest.main()
