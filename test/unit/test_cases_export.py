"""assertExports: what a program computes against what the model does."""

import unittest
from unittest import mock

import torch

import fxpect
from fxpect import Dim, T
from fxpect.cases.export import ExportTestCase
from fxpect.errors import CaptureError, CheckFailure, FxpectError


class Counting(torch.nn.Module):
    """Counts its calls in a buffer, and adds one to its input in place."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.calls += 1
        x.add_(1)
        return x * self.calls


class Lying(torch.nn.Module):
    """Computes something else while it is exported."""

    def forward(self, x):
        return x + (2 if torch.compiler.is_compiling() else 1)


class ExportTests(ExportTestCase):
    def test_returns_the_program(self):
        """A model that exports gives its program, strict or not."""
        for strict in (True, False):
            program = self.assertExports(torch.nn.Linear(3, 2), T(4, 3), strict=strict)

            self.assertIsInstance(program, torch.export.ExportedProgram)

    def test_mutation_and_buffers(self):
        """Mutated inputs and buffers are compared, and the caller's model is not touched."""
        model = Counting()

        self.assertExports(model, T(3))

        self.assertEqual(int(model.calls), 0)

    def test_every_size(self):
        """Named dims are compared at the sizes that the specs allow."""
        self.assertExports(lambda x: x.sum(0) / x.shape[0], T(Dim("B", min=2, max=9), 3))

    def test_keyword_inputs(self):
        """Keyword inputs are given to both."""
        self.assertExports(lambda x, *, scale: x * scale, T(3), kwargs={"scale": T(3)})

    def test_difference_is_told(self):
        """A program that computes something else is a failure with both numbers and the graph."""
        with self.assertRaises(CheckFailure) as caught:
            self.assertExports(Lying(), T(3, values="zeros"), strict=False)

        self.assertIn("output 0", str(caught.exception))
        self.assertIn("torch.ops.aten.add.Tensor(x, 2)", str(caught.exception))

    def test_mutation_that_is_lost_is_told(self):
        """A program that does not write what the model writes is a failure that names the input."""
        program = torch.export.export(torch.nn.Identity(), (torch.ones(3),))
        with (
            mock.patch("torch.export.ExportedProgram.module", lambda self: lambda x: x + 1),
            self.assertRaisesRegex(CheckFailure, "input 0 after the call"),
        ):
            self.assertExports(lambda x: x.add_(1), T(3))
        self.assertIsNotNone(program)

    def test_model_that_does_not_export(self):
        """A data-dependent branch is a CaptureError; a model that does not run, and a graph, are misuse."""
        with self.assertRaises(CaptureError):
            self.assertExports(lambda x: x if x.sum() > 0 else -x, T(3))
        with self.assertRaises(FxpectError):
            self.assertExports(lambda x, y: x @ y, T(3, 2), T(3, 2))
        with self.assertRaisesRegex(FxpectError, "expected a model to export"):
            self.assertExports(torch.fx.symbolic_trace(lambda x: x + 1), T(3))

    def test_is_the_public_class(self):
        """The classes of passes derive from it."""
        self.assertIs(fxpect.ExportTestCase, ExportTestCase)
        for name, capture in (
            ("PassTestCase", "export"),
            ("PreGradPassTestCase", "dynamo"),
            ("JointGraphPassTestCase", "aten"),
            ("PostGradPassTestCase", "aten"),
        ):
            self.assertTrue(issubclass(getattr(fxpect, name), ExportTestCase))
            self.assertEqual(getattr(fxpect, name).capture, capture)


if __name__ == "__main__":
    unittest.main()
