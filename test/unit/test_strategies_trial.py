"""Trials of edits: what runs and what does not, without a trace on values, generators or attributes."""

from __future__ import annotations

import unittest

import torch
from torch import nn

from fxpect.capture import capture
from fxpect.specs import T
from fxpect.strategies.draft import Draft
from fxpect.strategies.trial import Call, form, trying

aten = torch.ops.aten
TEXT = """
def forward(self, x, y):
    add = torch.ops.aten.add.Tensor(x, y)
    mm = torch.ops.aten.mm.default(add, y)
    return (mm,)
"""


class TrialTests(unittest.TestCase):

    def setUp(self):
        self.draft = Draft(capture(TEXT, (T(3, 3), T(3, 3)), capture="aten"), reading=True)
        self.x, self.y, self.add, self.mm, _ = self.draft.graph.nodes
        self.trial = self.draft.trial

    def test_values_that_readers_take_fit(self):
        """Another value of the same type fits; one of a type that a reader refuses does not."""
        ones = torch.ones(3, 3)
        for value, expected in ((ones * 2, True), (torch.ones(3, 2), False), (ones.double(), False)):
            self.assertEqual(self.trial.fits({self.add: value}), expected, value)

    def test_what_follows_is_tried_too(self):
        """A changed input is followed through the sum, which broadcasts, to the product, which does not take it."""
        self.assertTrue(self.trial.fits({self.x: torch.ones(1, 3)}))
        self.assertFalse(self.trial.fits({self.x: torch.ones(2, 3, 3)}))

    def test_calls_and_edges(self):
        """A call in the place of another, and another value for one reader alone."""
        self.assertTrue(self.trial.fits(calls={self.add: Call("call_function", aten.sub.Tensor, (self.x, self.y))}))
        self.assertFalse(self.trial.fits(calls={self.add: Call("call_function", aten.sum.default, (self.x,))}))
        half = torch.ones(3, 3, dtype=torch.float16)
        self.assertTrue(self.trial.fits(edges={self.add: {self.y: torch.ones(1)}}))
        self.assertFalse(self.trial.fits(edges={self.mm: {self.y: half}}))

    def test_a_write_more(self):
        """A call that reshapes or writes fits before a node when all that follow still run; the values stay."""
        end = self.mm.next
        with trying():
            for method, args, before, expected in (("t_", (self.add,), self.mm, True), ("t_", (self.mm, 1), end, False),
                                                   ("unsqueeze_", (self.add, 0), self.mm, False),
                                                   ("unsqueeze_", (self.add, 0), end, True),
                                                   ("zero_", (self.x,), self.add, True)):
                call = Call("call_method", method, args)
                self.assertEqual(self.trial.takes(call, before), expected, f"{method} before {before}")
        self.assertEqual(self.trial.values[self.x].shape, (3, 3))
        self.assertTrue(self.trial.values[self.x].any())

    def test_regions_are_left(self):
        """A graph that stops within a region of another mode leaves both modes as they were."""
        text = """
            def forward(self, x):
                _set_grad_enabled = torch._C._set_grad_enabled(True)
                _enter_autocast = torch.amp.autocast_mode._enter_autocast('cpu', torch.bfloat16, True, None)
                mm = torch.mm(x, x)
                _exit_autocast = torch.amp.autocast_mode._exit_autocast(_enter_autocast)
                _set_grad_enabled_1 = torch._C._set_grad_enabled(True)
                return (mm,)
            """
        draft = Draft(capture(text, (T(3, 3),), capture="dynamo"), reading=True)
        mm = draft.node("mm")
        with trying():
            self.assertFalse(draft.trial.takes(Call("call_method", "t_", (mm.args[0], 1)), mm))
            self.assertFalse(torch.is_autocast_enabled("cpu") or torch.is_grad_enabled())

    def test_what_ends_the_process_is_not_run(self):
        """A tensor as an int, a number as a dtype: refused before torch divides by zero or reads past its tables.

        So is what its kernels read wrongly: a scale of batch_norm that is not contiguous.
        """
        zero, keys, ones = torch.zeros(()), torch.ones(2, 5, 8), torch.ones(3)
        attention = aten.scaled_dot_product_attention.default
        for target, args, who in ((aten.remainder.int, (zero, zero), "aten.remainder.int"),
                                  (aten.view.dtype, (torch.ones(4), -1), "aten.view.dtype"),
                                  (attention, (keys, keys, keys[:, :4]), "attention"),
                                  (torch.nn.functional.batch_norm,
                                   (torch.ones(2, 3), ones, ones, ones[:1].expand(3)), "batch_norm")):
            with self.assertRaisesRegex(TypeError, f"{who}: expected"):
                self.trial.value(Call("call_function", target, args))

    def test_nothing_is_left_behind(self):
        """The values of the graph, the random state, the mode of autograd and a module's statistics stay."""
        norm = nn.Sequential(nn.BatchNorm1d(3)).train()
        draft = Draft(capture(norm, (T(4, 3),), capture="symbolic"), reading=True)
        x, call, _ = draft.graph.nodes
        held = {name: value.clone() for name, value in draft.gm.named_buffers()}
        state = torch.get_rng_state()

        with trying():
            self.assertTrue(draft.trial.fits({x: torch.ones(5, 3)}))
            self.assertTrue(draft.trial.fits(calls={call: Call("call_method", "mul_", (x, 0))}))
            draft.trial.value(Call("call_function", torch.rand_like, (x,)))

        self.assertTrue(torch.is_grad_enabled())
        self.assertTrue(torch.equal(torch.get_rng_state(), state))
        self.assertFalse(torch.equal(draft.trial.values[x], torch.zeros(4, 3)))
        for name, value in draft.gm.named_buffers():
            self.assertTrue(torch.equal(value, held[name]), name)

    def test_the_form_decides(self):
        """Types, sizes and strides of tensors, the type of a number too: 1, 1.0 and True are three."""
        self.assertEqual(form(torch.ones(2, 3)), form(torch.zeros(2, 3)))
        for a, b in ((torch.ones(2, 2), torch.ones(2, 2).t().contiguous().t()[:, :1]), (1, 1.0), (1, True),
                     (torch.ones(2), torch.ones(2).double()), ([1], (1,))):
            self.assertNotEqual(form(a), form(b))


if __name__ == "__main__":
    unittest.main()
