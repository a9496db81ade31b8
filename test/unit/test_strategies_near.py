"""The strategy ``near``, the order in which edits are taken, and single steps."""

from __future__ import annotations

import dataclasses
import random
import unittest
from unittest import mock

import torch
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from fxpect.campaign.starts import Start
from fxpect.capture import capture
from fxpect.contracts import contract_of
from fxpect.errors import FxpectError
from fxpect.examples import Example
from fxpect.passes.catalogue import find as find_pass
from fxpect.specs import T
from fxpect.strategies import near as near_module
from fxpect.strategies.draft import Edit, Inapplicable
from fxpect.strategies.near import DIRECTIONS, edits, near, round_robin, step
from fxpect.strategies.trial import forget
from fxpect.text.parser import parse_graph
from fxpect.text.printer import graph_text
from fxpect.text.propagation import propagate

EXAMPLES = 50
QUICK = settings(max_examples=EXAMPLES, database=None, deadline=None, derandomize=True, phases=[Phase.generate],
                 suppress_health_check=list(HealthCheck))
TEXT = """
def forward(self, x, y):
    cat = torch.cat([x, y], dim=-1)
    relu = torch.relu(cat)
    return (relu,)
"""
SPECS = (T(2, 3), T(2, 3))
PASSES = ("pre_grad.split_cat_pass", "pre_grad.batch_linear", "pre_grad.efficient_conv_bn_eval_pass",
          "pre_grad.fuse_conv_bn", "joint.mul_softmax_pattern", "post_grad.addmm", "freezing.binary_folding",
          "functorch.default_partition", "fx.normalize_operators", "export.functionalize")


def sink(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.relu(torch.cat([x, y], dim=-1))


def drawn(strategy: st.SearchStrategy) -> list[Example]:
    """Return what the draws give, the same in each run."""
    found: list[Example] = []
    QUICK(given(strategy)(lambda example: found.append(example)))()
    return found


def smallest(strategy: st.SearchStrategy, predicate) -> Example:
    return find(strategy, predicate, settings=settings(
        database=None, deadline=None, derandomize=True, max_examples=2000, suppress_health_check=list(HealthCheck)))


def rejection(examples: list[Example], directions: tuple[str, ...] = tuple(DIRECTIONS), each: int = 3) \
        -> dict[str, tuple[int, int]]:
    """Return direction -> (edits refused, edits tried), up to ``each`` edits of a direction for each example."""
    rng = random.Random(0)
    found: dict[str, tuple[int, int]] = {}
    for example in examples:
        for direction, offered in edits(example, directions).items():
            refused, tried = found.get(direction, (0, 0))
            for edit in rng.sample(offered, min(each, len(offered))):
                tried += 1
                try:
                    step(example, edit)
                except Inapplicable:
                    refused += 1
            found[direction] = (refused, tried)
    return found


def show_rejection(rates: dict[str, tuple[int, int]]) -> str:
    """Return a table of the share of edits that each direction offers and that do not type."""
    return "\n".join(f"{name:16}{refused:5} of{tried:5}{refused / max(tried, 1):7.0%}"
                     for name, (refused, tried) in sorted(rates.items(), key=lambda item: item[0]))


class StepTests(unittest.TestCase):

    def setUp(self):
        self.example = capture(TEXT, SPECS, capture="dynamo")

    def test_edits_come_by_direction(self):
        """All directions or those asked for, in their order; an unknown one is misuse."""
        self.assertEqual(list(edits(self.example)), list(DIRECTIONS))
        self.assertEqual(list(edits(self.example, ("removed", "values"))), ["removed", "values"])
        with self.assertRaisesRegex(FxpectError, "direction='remove' is not one of extra_users, "):
            edits(self.example, ("remove",))

    def test_edits_do_not_hang_on_what_was_before(self):
        """The same edits fit whatever was drawn and tried before, also where a random number is an index."""
        drawing = capture("""
            def forward(self, x):
                randperm = torch.randperm(4)
                head = operator.getitem(randperm, slice(0, 2, None))
                getitem = operator.getitem(x, head)
                return (getitem,)
            """, (T(4, 4),), capture="dynamo")
        offered = set()
        for seed in range(3):
            forget()
            torch.manual_seed(seed)
            edits(self.example, ("inserted", "sizes"))
            found = edits(drawing, ("inserted", "sizes"))
            self.assertTrue(all(found.values()))
            offered.add(repr(found))
        self.assertEqual(len(offered), 1)

    def test_a_flawed_direction_is_noted(self):
        """It keeps what it offered; without a list to note it in, its error is raised."""
        def flawed(draft):
            yield Edit("flawed", "one", "one", lambda draft: None)
            raise KeyError("planted")

        with mock.patch.dict(near_module.DIRECTIONS, {"flawed": flawed}):
            errors: list[tuple[str, Exception]] = []
            found = edits(self.example, ("flawed", "removed"), errors)
            self.assertEqual(([e.what for e in found["flawed"]], len(found["removed"])), (["one"], 3))
            self.assertEqual([(name, type(error)) for name, error in errors], [("flawed", KeyError)])
            with self.assertRaises(KeyError):
                edits(self.example, ("flawed",))

    def test_steps_follow_each_other(self):
        """Two steps are named oldest first, and each leaves the example before it untouched."""
        first = step(self.example, edits(self.example, ("values",))["values"][0])
        second = step(first, edits(first, ("removed",))["removed"][0])
        self.assertEqual([edit.split(":")[0] for edit in second.edits], ["values", "removed"])
        self.assertEqual((len(first.edits), len(self.example.edits)), (1, 0))

    def test_any_error_of_an_edit_says_that_it_does_not_fit(self):
        """What torch or the edit itself raises while the step is taken becomes Inapplicable, with the reason."""
        def broken(draft):
            raise ValueError("planted")

        with self.assertRaisesRegex(Inapplicable, "ValueError: planted"):
            step(self.example, Edit("broken", "broken", "broken", broken))

    def test_round_robin(self):
        """Every edit once, a direction in turn, unseen triggers first, in an order that the generator decides."""
        def edit(direction: str, what: str, trigger: str) -> Edit:
            return Edit(direction, what, trigger, lambda draft: None)

        groups = {"a": [edit("a", "1", "s"), edit("a", "2", "s"), edit("a", "3", "t")], "b": [edit("b", "4", "u")],
                  "c": []}
        found = list(round_robin(groups, random.Random(0)))
        self.assertEqual(sorted(e.what for e in found), ["1", "2", "3", "4"])
        self.assertEqual([e.direction for e in found], ["a", "b", "a", "a"])
        self.assertEqual({e.trigger for e in found if e.direction == "a"} - {found[0].trigger}, {found[2].trigger})
        self.assertEqual([e.what for e in round_robin(groups, random.Random(0))], [e.what for e in found])
        odd = [dataclasses.replace(edit("a", "odd", "u"), rank=2), edit("a", "5", "s"), edit("a", "6", "s")]
        self.assertEqual([e.what for e in round_robin({"a": odd}, random.Random(0))][-1], "odd")
        orders = {tuple(e.what for e in round_robin(groups, random.Random(seed))) for seed in range(20)}
        self.assertGreater(len(orders), 1)

    def test_single_edits_are_typed_right(self):
        """For one edit of each direction the metadata is what a fresh propagation gives, and the graph runs."""
        for offered in edits(self.example).values():
            for edit in offered[::max(1, len(offered) // 2)]:
                try:
                    edited = step(self.example, edit)
                except Inapplicable:
                    continue
                with self.subTest(repr(edit)):
                    again = edited.build()
                    propagate(again)
                    self.assertEqual(graph_text(again), edited.text)
                    self.assertEqual(graph_text(parse_graph(edited.text, meta_key="example_value")), edited.text)
                    edited.build()(*edited.realize())


class NearTests(unittest.TestCase):

    def test_nothing_is_rejected(self):
        """Every draw gives an example, most of them with an edit, of many directions."""
        attempts = []
        strategy = near(sink, *SPECS, capture="dynamo")

        def body(data: st.DataObject) -> None:
            attempts.append(None)
            attempts[-1] = data.draw(strategy)

        QUICK(given(st.data())(body))()
        found = [example for example in attempts if example is not None]
        self.assertGreater(len(found), 0.8 * len(attempts))
        self.assertGreater(len([e for e in found if e.edits]), len(found) / 2)
        self.assertGreater(len({edit.split(":")[0] for e in found for edit in e.edits}), 12)
        self.assertLessEqual(max(len(e.edits) for e in found), 2)

    def test_offered_edits_fit(self):
        """Next to models of passes of every stage fewer than one in twelve of the edits are refused."""
        for name in PASSES:
            entry = find_pass(name)
            rates = rejection([Start(innocent.model, innocent.inputs, innocent.capture or entry.capture,
                                     frozen=entry.frozen, contract=entry.contract()).examples(lambda example: True)[0]
                               for innocent in entry.models[:2]])
            refused, tried = map(sum, zip(*rates.values(), strict=True))
            with self.subTest(name):
                self.assertGreater(tried, 40)
                self.assertLess(refused, tried / 12, "\n" + show_rejection(rates))

    def test_equal_draws_are_equal_examples(self):
        """Two strategies of one model give the same texts, inputs and edits, whatever the global generator holds."""
        runs = []
        for seed in range(2):
            torch.manual_seed(seed)
            random.seed(seed)
            runs.append([(e.text, repr(e.inputs), e.edits) for e in drawn(near(sink, *SPECS, capture="dynamo"))])
        self.assertEqual(runs[0], runs[1])

    def test_shrinks_toward_the_unedited_model(self):
        """What fails always shrinks to the model itself; what needs a read of cat shrinks to that edit alone."""
        strategy = near(sink, *SPECS, capture="dynamo")
        self.assertEqual(smallest(strategy, lambda example: True).edits, ())

        def cat_is_read_twice(example: Example) -> bool:
            return any(node.target is torch.cat and len(node.users) > 1 for node in example.graph_module.graph.nodes)

        found = smallest(strategy, cat_is_read_twice)
        self.assertEqual(len(found.edits), 1)
        self.assertIn("cat", found.edits[0])

    def test_directions_and_number_of_edits(self):
        """Only what was asked for is taken, and no more steps than that; none is the model alone."""
        for example in drawn(near(sink, *SPECS, capture="dynamo", directions=("values", "removed"), max_edits=3)):
            self.assertLessEqual({edit.split(":")[0] for edit in example.edits}, {"values", "removed"})
            self.assertLessEqual(len(example.edits), 3)
        self.assertEqual({e.edits for e in drawn(near(sink, *SPECS, capture="dynamo", max_edits=0))}, {()})

    def test_the_model_is_captured_once(self):
        """Many draws cost one capture, and none before the first draw."""
        with mock.patch.object(near_module, "capture_model", wraps=capture) as captured:
            strategy = near(TEXT, *SPECS, capture="dynamo")
            self.assertEqual(captured.call_count, 0)
            drawn(strategy)
            self.assertEqual(captured.call_count, 1)

    def test_the_contract_is_kept(self):
        """Draws keep the stage's contract, or a narrower one; outside of it they are given as well, and marked."""
        text = ("def forward(self, x, y):\n    add = torch.ops.aten.add.Tensor(x, y)\n    "
                "relu = torch.ops.aten.relu.default(add)\n    return (relu,)\n")
        never = dataclasses.replace(contract_of("aten"), writes="never")
        directions = ("epilogue", "writes", "extra_users")
        for contract, outside, expected in ((None, False, {False}), (never, False, {False}),
                                            (None, True, {False, True})):
            found = drawn(near(text, *SPECS, capture="aten", directions=directions, contract=contract, outside=outside))
            with self.subTest(contract=contract, outside=outside):
                self.assertEqual({example.outside for example in found}, expected)
                for example in found:
                    self.assertEqual(example.promises, contract or contract_of("aten"))
                    broken = example.promises.breach(example.graph_module, example.inputs)
                    self.assertEqual(bool(broken), example.outside, example.text)
                    if contract is never:
                        self.assertNotIn("copy_", example.text)

    def test_the_capture_is_that_of_the_class(self):
        """Left open, it is what an exploring class asks for, else "export"; one that is named is nobody else's."""
        strategy = near(TEXT, *SPECS, max_edits=1)
        self.assertEqual({e.capture for e in drawn(strategy.for_capture("dynamo"))}, {"dynamo"})
        self.assertEqual({e.capture for e in drawn(near(sink, *SPECS, max_edits=1))}, {"export"})
        self.assertFalse(hasattr(near(TEXT, *SPECS, capture="make_fx"), "for_capture"))

    def test_draws_round_trip(self):
        """A few draws of two edits are read back from their text as they are."""
        for example in drawn(near(sink, *SPECS, capture="dynamo"))[::4]:
            self.assertEqual(graph_text(parse_graph(example.text, meta_key="example_value")), example.text)


if __name__ == "__main__":
    unittest.main()
