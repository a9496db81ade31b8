"""The log of compile-time callbacks: in order, numbered from 0, paired, and gone afterwards."""

import unittest

import torch
from torch._dynamo.callback import CallbackArgs, CallbackTrigger, callback_handler

import fxpect
from fxpect.compiling.callbacks import CompileLog, forget_pending, pending
from fxpect.errors import CheckFailure


def two_graphs(x):
    x = x.sin()
    torch._dynamo.graph_break()
    return x.cos()


class CompileLogTests(fxpect.TestCase):
    def test_in_order_from_zero(self):
        """Frames are numbered from 0 in each log, though torch counts on."""
        for _ in range(2):
            torch._dynamo.reset()
            with CompileLog() as log:
                torch.compile(two_graphs, backend="eager")(torch.ones(2))

            self.assertEqual(log.lines, ["start DYNAMO 0/0", "end DYNAMO 0/0", "start DYNAMO 1/0", "end DYNAMO 1/0"])
            self.assertEqual(log.compilations, ["DYNAMO 0/0", "DYNAMO 1/0"])

    def test_nothing_is_left_behind(self):
        """The callbacks are gone after the with, also where someone cleared all of them."""
        with CompileLog() as log:
            callback_handler.clear()
        with CompileLog():
            pass
        torch.compile(two_graphs, backend="eager")(torch.ones(2))

        self.assertEqual((log.lines, callback_handler.start_callbacks, callback_handler.end_callbacks), ([], [], []))

    def test_start_without_end(self):
        """A start that no end follows is told, with all that was logged."""
        log = CompileLog()
        log._start(CallbackArgs(CallbackTrigger.DYNAMO, "7/0"))

        with self.assertRaisesRegex(CheckFailure, r"expected 'start DYNAMO 0/0' to be followed by its end; got \["):
            _ = log.compilations

    def test_ends_that_cross(self):
        """The end of another compilation is not taken for the end of the first."""
        log = CompileLog()
        log._start(CallbackArgs(CallbackTrigger.DYNAMO, "7/0"))
        log._end(CallbackArgs(CallbackTrigger.DYNAMO, "7/1"))

        with self.assertRaisesRegex(CheckFailure, "followed by its end"):
            _ = log.compilations

    def test_pending(self):
        """Inside a compilation one is pending, outside none."""
        seen = []
        callback_handler.register_start_callback(lambda args: seen.append(pending()))
        self.addCleanup(callback_handler.clear)

        torch.compile(two_graphs, backend="eager")(torch.ones(2))

        self.assertEqual((seen, pending()), ([1, 1], 0))

    def test_forget_pending(self):
        """A callback that raised at the end is forgotten, so that the next compilation is told again."""
        def fails(args):
            raise LookupError

        callback_handler.register_end_callback(fails)
        with self.assertRaises(torch._dynamo.exc.InternalTorchDynamoError):
            torch.compile(two_graphs, backend="eager")(torch.ones(2))
        self.assertNotEqual(pending(), 0)

        forget_pending()

        with CompileLog() as log:
            torch.compile(two_graphs, backend="eager")(torch.ones(3))
        self.assertEqual((pending(), len(log.compilations)), (0, 2))


if __name__ == "__main__":
    unittest.main()
