"""The effects oracle: writes, aliasing, random numbers and modes, each let pass and each reported."""

import unittest

import torch

from fxpect.capture import capture
from fxpect.errors import CheckFailure
from fxpect.examples import Example
from fxpect.execution import as_pass, run_pass
from fxpect.oracles.attributes import find_leaks, find_untied
from fxpect.oracles.effects import check_effects, find_effects
from fxpect.oracles.evidence import NOTE, Evidence
from fxpect.oracles.memory import copy_args
from fxpect.specs import T

aten = torch.ops.aten


def evidence(before, after, *args, **options):
    """Return the evidence of a rewrite of one traced function, or module, into another."""
    return Evidence(torch.fx.symbolic_trace(before), torch.fx.symbolic_trace(after), copy_args(args), **options)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def call(*statements):
    """Return a function that runs the statements on its argument and returns the last one's value."""

    def function(x):
        for statement in statements:
            value = statement(x)
        return value

    return function


class Normed(torch.nn.Module):
    """A module whose call writes to its buffers, or not."""

    def __init__(self, write=True):
        super().__init__()
        self.register_buffer("seen", torch.zeros(3))
        self.write = write

    def forward(self, x):
        if self.write:
            self.seen.add_(x)
        return x + self.seen


class Nested(torch.nn.Module):
    """A module with a submodule that stays a call."""

    def __init__(self):
        super().__init__()
        self.drop = torch.nn.Dropout(0.5).eval()

    def forward(self, x):
        return self.drop(x) + 1


class EffectsTests(unittest.TestCase):
    def fails(self, cause, message, before, after, *args, **options):
        """Assert that the oracle raises with this cause and these words."""
        with self.assertRaises(CheckFailure) as caught:
            check_effects(evidence(before, after, *args, pass_name="rewrite", **options))
        self.assertEqual(caught.exception.cause, f"effects:{cause}")
        self.assertIn(message, str(caught.exception))

    def holds(self, before, after, *args, **options):
        """Assert that the oracle finds neither an error nor a note."""
        self.assertEqual([str(found) for found in find_effects(evidence(before, after, *args, **options))], [])

    def notes(self, before, after, *args):
        """Return the causes of the notes; asserts that there is no error."""
        found = list(find_effects(evidence(before, after, *args)))
        self.assertEqual([str(one) for one in found if one.severity != NOTE], [])
        return [one.cause for one in found]

    def test_input_written_alike(self):
        """The same write to an input, spelled another way, holds."""
        self.holds(lambda x: x.add_(1), lambda x: x.copy_(x + 1), normal(3))

    def test_write_that_is_gone(self):
        """An input that is no longer written to is reported with its name and first element."""
        self.fails(
            "input-not-mutated",
            "input 0 (x) after the call: the graph before writes to it, the graph after "
            "does not; values: expected 1.0; got 0.0 at index [0]",
            lambda x: x.add_(1) * 2,
            lambda x: (x + 1) * 2,
            torch.zeros(3),
        )

    def test_write_that_is_new(self):
        """An input that is now written to is reported."""
        self.fails(
            "input-mutated",
            "the graph before leaves it alone",
            lambda x: (x + 1) * 2,
            lambda x: x.add_(1) * 2,
            torch.zeros(3),
        )

    def test_other_values_written(self):
        """An input that is written to with other values is reported; with rounding, it is not."""
        self.fails("input-values", "expected 3.0; got 4.0", lambda x: x.fill_(3), lambda x: x.fill_(4), torch.zeros(3))
        self.holds(lambda x: x.div_(3), lambda x: x.mul_(1 / 3), normal(8))

    def test_resized_input(self):
        """An input whose shape the call changes must end in the same shape."""
        self.fails(
            "input-shape",
            "expected [2, 3]; got [3, 2]",
            call(lambda x: x + 1),
            call(lambda x: aten.t_(x), lambda x: x.t() + 1),
            normal(2, 3),
        )

    def test_buffer_writes(self):
        """A buffer must hold the same values after the call."""
        self.holds(Normed(), Normed(), normal(3))
        self.fails("state-not-mutated", "attribute seen", Normed(), Normed(False), normal(3))

    def test_buffers_are_put_back(self):
        """Judging does not advance the buffers of either module."""
        both = evidence(Normed(), Normed(), normal(3))
        check_effects(both)
        self.assertTrue(torch.equal(both.before.seen, torch.zeros(3)))
        self.assertTrue(torch.equal(both.after.seen, torch.zeros(3)))

    def test_attribute_given_another_value(self):
        """A buffer to which the pass itself gave another value, as folding does, is a note."""
        after = Normed(False)
        after.seen += 1
        self.assertEqual(self.notes(Normed(False), after, normal(3)), ["effects:attribute-changed"])

    def test_output_becomes_input(self):
        """An output that was a copy and is now the input itself is reported, and so is the reverse."""
        self.fails(
            "output-aliases-input",
            "output 0 and input 0: after the pass they overlap in memory",
            lambda x: x + 0,
            lambda x: x,
            normal(3),
        )
        self.fails(
            "output-no-longer-aliases-input",
            "after the pass they do not overlap in memory; before it they do",
            lambda x: x.view(-1),
            lambda x: x.view(-1).clone(),
            normal(3),
        )

    def test_outputs_alias(self):
        """Two outputs that overlap now and did not before are reported."""
        self.fails(
            "outputs-alias", "output 0 and output 1", lambda x: (x + 1, x + 1), lambda x: (y := x + 1, y), normal(3)
        )
        self.fails(
            "outputs-no-longer-alias", "do not overlap", lambda x: (y := x + 1, y), lambda x: (x + 1, x + 1), normal(3)
        )

    def test_shared_storage_without_overlap(self):
        """Outputs that share a storage and no element do not alias; interleaved ones are told apart."""
        self.holds(lambda x: (x[:2] + 0, x[2:] + 0), lambda x: (y := x + 0, (y[:2], y[2:]))[1], normal(4))
        self.holds(
            lambda x: (x[::2] + 0, x[1::2] + 0),
            lambda x: ((y := (x + 0).view(2, 2))[:, 0].clone(), y[:, 1].clone()),
            normal(4),
        )
        self.fails(
            "outputs-alias",
            "overlap",
            lambda x: (x[:3] + 0, x[2:] + 0),
            lambda x: (y := x + 0, (y[:3], y[2:]))[1],
            normal(4),
        )

    def test_view_of_other_elements(self):
        """An output that is a view of the same input, at other elements of equal value, is reported."""
        self.fails("alias-elements", "offset 0", lambda x: x[:2], lambda x: x[2:], torch.zeros(4))

    def test_very_input_or_view(self):
        """Whether an output is the very input or a view of it is a note."""
        self.assertEqual(self.notes(lambda x: x.view(3), lambda x: x, normal(3)), ["effects:output-identity"])

    def test_very_input_for_a_caller(self):
        """Where a caller gets what the graph returns, the very input in the place of a view is an error, and back."""
        for before, after, words in ((lambda x: x.view(3), lambda x: x, "expected a view of input 0; got the very"),
                                     (lambda x: x, lambda x: x.view(3), "expected the very tensor of input 0; got a")):
            self.fails("output-identity", words, before, after, normal(3), returns_as_is=True)
        self.holds(lambda x: (x, x.view(3)), lambda x: (x, x.reshape(3).view(3)), normal(3), returns_as_is=True)

    def test_leaves(self):
        """An output that begins or stops to be a leaf that requires grad is reported."""
        leaf = normal(3).requires_grad_()
        for before, after, words in ((lambda x: x.view(3), lambda x: x, "expected is_leaf=False; got True"),
                                     (lambda x: x, lambda x: x.view(3), "expected is_leaf=True; got False")):
            self.fails("leaf", words, before, after, leaf, grads=True, returns_as_is=False)
        self.holds(lambda x: (x, x * 2), lambda x: (x, 2 * x), leaf, grads=True)
        pieces = call(lambda x: (x * 1).split(1), lambda x: ((y := x * 1).split(1), y.zero_())[0])  # no leaf to tell
        self.holds(pieces, pieces, leaf, grads=True)
        self.assertEqual(self.notes(lambda x: x.view(3), lambda x: x, leaf), ["effects:output-identity"])

    def test_tied_parameters(self):
        """Parameters that were one and are two of equal values are reported; those that still are one hold."""
        class Tied(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = torch.nn.Linear(4, 4, bias=False), torch.nn.Linear(4, 4, bias=False)
                self.b.weight = self.a.weight

            def forward(self, x):
                return self.b(self.a(x))

        def untie(gm):
            gm.b.weight = torch.nn.Parameter(gm.a.weight.detach().clone())
            return gm

        def untie_program(program):
            program.state_dict["b.weight"] = torch.nn.Parameter(program.state_dict["a.weight"].detach().clone())
            return program

        def change(gm):
            gm.b.weight = torch.nn.Parameter(gm.a.weight.detach() * 2)
            return gm

        for stage, pass_, expected in (("symbolic", untie, ["effects:untied"]), ("symbolic", lambda gm: gm, []),
                                       ("symbolic", change, []), ("export", lambda program: program, []),
                                       ("export", untie_program, ["effects:untied"])):
            with self.subTest(stage):
                kind = "program" if stage == "export" else "module"
                example = capture(Tied(), (T(2, 4),), capture=stage)
                found = list(find_untied(run_pass(as_pass(pass_, kind=kind), example)))
                self.assertEqual([one.cause for one in found], expected)
                self.assertEqual([one.severity for one in found], ["error"] * len(expected))

    def test_equal_draws(self):
        """The same draws in the same order hold."""
        self.holds(lambda x: torch.rand_like(x) + x, lambda x: x + torch.rand_like(x), normal(3))

    def test_draws_merged(self):
        """Two independent draws that became one are reported as such."""
        self.fails(
            "rng:draws-merged",
            "expected draws [rand_like x 3, rand_like x 3]; got [rand_like x 3]",
            lambda x: torch.rand_like(x) - torch.rand_like(x),
            lambda x: (y := torch.rand_like(x)) - y,
            normal(3),
        )

    def test_draws_in_another_layout(self):
        """How much the generator gives for normal numbers hangs on the strides of what they fill: that is a note."""
        fill = call(torch.randn_like)
        contiguous, transposed = (lambda x: fill(x.t().contiguous()), lambda x: fill(x.t()))
        self.assertEqual(self.notes(contiguous, transposed, normal(5, 4)), ["effects:rng:consumption"])
        self.fails("rng:draws-merged", "expected draws [randn_like x 20, randn_like x 20]; got [randn_like x 20]",
                   lambda x: contiguous(x) - contiguous(x), lambda x: (y := transposed(x)) - y, normal(5, 4))

    def test_draws_added(self):
        """A graph that draws where none was drawn is reported."""
        self.fails(
            "rng:draws-added",
            "expected draws []; got [dropout x 3]",
            lambda x: x * 1,
            lambda x: torch.nn.functional.dropout(x * 1),
            torch.zeros(3),
        )

    def test_unused_draws_removed(self):
        """A draw whose result nobody used is told apart from a merged one."""
        self.fails(
            "rng:draws-removed",
            "unused draws are gone",
            call(torch.rand_like, lambda x: x + 1),
            lambda x: x + 1,
            normal(3),
        )

    def test_generator_is_put_back(self):
        """Judging leaves the global generator as it was."""
        state = torch.get_rng_state()
        check_effects(evidence(lambda x: torch.rand_like(x), lambda x: torch.rand_like(x), normal(3)))
        self.assertTrue(torch.equal(state, torch.get_rng_state()))

    def test_requires_grad(self):
        """An output that no longer requires grad is reported."""
        self.fails(
            "requires-grad",
            "expected requires_grad=True; got False",
            lambda x: x * 2,
            lambda x: x.detach() * 2,
            normal(3).requires_grad_(),
            grads=True,
        )
        self.holds(lambda x: x * 2, lambda x: 2 * x, normal(3).requires_grad_(), grads=True)

    def test_training_mode(self):
        """A submodule put into training mode is reported."""
        after = Nested()
        after.drop.p = 0.0
        after.drop.train()
        self.fails("training-mode", "submodule drop: expected training=False; got True", Nested(), after, normal(3))
        self.holds(Nested(), Nested(), normal(3))

    def test_hooks(self):
        """A submodule that lost its hooks is reported."""
        before = Nested()
        before.drop.register_forward_hook(lambda *_: None)
        self.fails("hooks", "submodule drop: expected 1 hooks; got 0", before, Nested(), normal(3))

    def test_hooks_that_do_not_run(self):
        """A hook on a submodule that the graph does not call may go."""
        before = torch.fx.symbolic_trace(Nested())
        before.add_module("other", torch.nn.Linear(2, 2))
        before.other.register_forward_hook(lambda *_: None)
        gone = Evidence(before, torch.fx.symbolic_trace(Nested()), [normal(3)])
        self.assertEqual(list(find_effects(gone)), [])

    def test_leaks(self):
        """A pass that leaves another default dtype behind is reported; random numbers it drew are a note."""

        def careless(graph):
            torch.set_default_dtype(torch.float64)
            torch.rand(1)

        example = Example(torch.fx.symbolic_trace(lambda x: x + 1), (T(2),), capture="dynamo")
        found = {failure.cause: failure.severity for failure in find_leaks(run_pass(careless, example))}
        self.assertEqual(found, {"effects:leak:default dtype": "error", "effects:leak:torch random state": "note"})
        self.assertEqual(list(find_leaks(run_pass(lambda graph: None, example))), [])


if __name__ == "__main__":
    unittest.main()
