"""Saved packages: they run what was saved, only where they are in place, and refuse the rest."""

import unittest

import torch
from torch._dynamo.exc import PackageError

import fxpect
from fxpect.compiling.backends import RecordingBackend
from fxpect.compiling.packages import save_package

RECOMPILE = "Detected recompile"


def times(x, n):
    return x * n + x * n


def calls(x, f):
    return f(x)


def wrong(gm):
    """Make each product one of 7."""
    for node in gm.graph.nodes:
        if node.op == "call_function" and "mul" in str(node.target):
            node.update_arg(1, 7)
    return gm


class PackageTests(fxpect.TestCase):
    def test_in_place_inside_of_the_with(self):
        """Inside of the with the saved call runs; before and after it, and for another call, it is an error."""
        x = torch.ones(3)
        loaded = save_package(times, (x, 2)).load()

        for _ in range(2):
            with self.assertRaisesRegex(RuntimeError, RECOMPILE):
                loaded(x, 2)
            with loaded:
                self.assertTrue(torch.equal(loaded(x, 2), torch.full((3,), 4.0)))
                with self.assertRaisesRegex(RuntimeError, RECOMPILE):
                    loaded(x, 3)
            loaded = save_package(times, (x, 2)).load()

    def test_nothing_is_left(self):
        """After the with the function is compiled anew, as if nothing had been loaded."""
        x = torch.ones(3)
        with save_package(times, (x, 2)).load():
            pass
        backend = RecordingBackend()

        torch.compile(times, backend=backend)(x, 2)

        self.assertEqual(len(backend.graphs), 1)

    def test_saved_is_what_runs(self):
        """It is the saved graph that runs, wrong as the pass on the way made it."""
        x = torch.ones(3)
        saved = save_package(times, (x, 2), backend=RecordingBackend(wrong))

        with saved.load() as loaded:
            self.assertTrue(torch.equal(loaded(x, 2), torch.full((3,), 14.0)))
        self.assertEqual((len(saved.backend.graphs), len(saved.entry.backend_ids)), (1, 1))

    def test_cannot_be_saved(self):
        """A guard that cannot be saved is an error, not a package without it."""
        with self.assertRaisesRegex(PackageError, "guard cannot be serialized"):
            save_package(calls, (torch.ones(3), lambda x: x + 1))


if __name__ == "__main__":
    unittest.main()
