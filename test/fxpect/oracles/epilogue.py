"""The outputs of an exported program that stand for writes: done, as its caller would, and taken away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.export.graph_signature import ExportGraphSignature, InputKind, OutputKind

_WRITES = tuple(
    getattr(OutputKind, name)
    for name in ("BUFFER_MUTATION", "USER_INPUT_MUTATION", "PARAMETER_MUTATION")
    if hasattr(OutputKind, name)
)


class Epilogue:
    """Which outputs of a program are written to which inputs, and which are left for the user.

    Two programs of one model may differ in this alone: one writes inside its graph, the other returns what is
    to be written. After the epilogue both have written, and return the same.
    """

    def __init__(self, signature: ExportGraphSignature):
        names = {spec.arg.name: i for i, spec in enumerate(signature.input_specs) if hasattr(spec.arg, "name")}
        targets = {
            spec.target: i
            for i, spec in enumerate(signature.input_specs)
            if spec.kind in (InputKind.BUFFER, InputKind.PARAMETER)
        }
        self.writes: dict[int, int] = {}
        self.kept: list[int] = []
        for i, spec in enumerate(signature.output_specs):
            if spec.kind in _WRITES:
                place = names if spec.kind == OutputKind.USER_INPUT_MUTATION else targets
                self.writes[i] = place[spec.target]
            elif spec.kind != OutputKind.TOKEN:
                self.kept.append(i)

    def __call__(self, outputs: Sequence[Any], args: Sequence[Any]) -> tuple[Any, ...]:
        """Write what is to be written to ``args`` and return the rest."""
        with torch.no_grad():
            for output, place in self.writes.items():
                args[place].copy_(outputs[output])
        return tuple(outputs[i] for i in self.kept)


def epilogues(
    before: torch.export.ExportedProgram | None, after: torch.export.ExportedProgram | None
) -> tuple[Epilogue | None, Epilogue | None]:
    """Return the epilogues of two programs, or nothing where their outputs mean the same anyway."""
    if before is None or after is None:
        return None, None
    kinds = [[(spec.kind, spec.target) for spec in program.graph_signature.output_specs] for program in (before, after)]
    if kinds[0] == kinds[1]:
        return None, None
    return Epilogue(before.graph_signature), Epilogue(after.graph_signature)
