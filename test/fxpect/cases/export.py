"""The test case for models that must export: exported, run, and compared with eager."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fxpect.capture import capture as capture_model
from fxpect.capture.calls import bind
from fxpect.cases.base import TestCase
from fxpect.cases.eager import compare_runs, run_call
from fxpect.cases.goldens import Goldens
from fxpect.cases.recording import keep_text
from fxpect.errors import CheckFailure, FxpectError
from fxpect.examples import Example
from fxpect.oracles.generality import other_sizes
from fxpect.oracles.shapes import fits_symbols


class ExportTestCase(TestCase):
    """Tests that a model exports to a program that computes what the model does.

    assertExports
        torch.export.export
        the model and the program, on equal inputs, at every size that the specs allow
        the stored text        (golden=True: which must exist)
    """

    def assertExports(
        self,
        model: Any,
        *inputs: Any,
        strict: bool = True,
        dynamic: bool | None = None,
        kwargs: Mapping[str, Any] | None = None,
        golden: bool | None = None,
        label: str = "",
    ) -> torch.export.ExportedProgram:
        """Export, run both, and fail unless outputs, mutated inputs and buffers agree; returns the program.

        ``golden`` and ``label`` are those of ``assertRewrites``; the text is that of the exported graph.
        Raises ``CaptureError`` for a model that does not export.
        """
        capture = "export" if strict else "export-nonstrict"
        example = capture_model(model, inputs, dict(kwargs or {}), capture=capture, dynamic=dynamic)
        if example.exported is None:
            raise FxpectError(f"expected a model to export; got {type(model).__name__}, which is a graph already")
        keep_text(example.text, label)
        call = bind(model, inputs, kwargs, dynamic)
        exported = example.exported.module()
        for sizes in sizes_to_try(example):
            expected = run_call(call, call.model, sizes)
            if expected.error is not None:
                if sizes == example.sizes:
                    raise FxpectError(
                        "expected a model that runs on its inputs; got "
                        f"{type(expected.error).__name__}: {expected.error}"
                    ) from expected.error
                continue  # not every size of a range need be one that the model takes
            found = compare_runs(expected, run_call(call, exported, sizes))
            if found:
                at = f" at {', '.join(f'{name}={size}' for name, size in sizes.items())}" if sizes else ""
                raise CheckFailure(
                    "export",
                    f"expected the exported program to do what the model does{at}; {found}\n"
                    f"  where: {self._id()}, capture {capture!r}, torch {torch.__version__}\n{example.text}",
                    before=example.text,
                    cause="export: differs from eager",
                )
        golden = self.golden if golden is None else golden
        goldens = Goldens.of(self)
        if golden or (golden is None and goldens.holds_text(label)):
            goldens.settle_text(example.text, label)
        return example.exported


def sizes_to_try(example: Example) -> list[dict[str, int]]:
    """Return the sizes that a capture is compared at: its own, then others that it takes."""
    allowed = example.exported.range_constraints if example.exported is not None else None
    others = [
        sizes
        for sizes in other_sizes(example)
        if fits_symbols(example.graph_module, example.realize(sizes=sizes), example.meta_key, allowed)
    ]
    return [dict(example.sizes), *others]
