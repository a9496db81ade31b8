"""Oracle: the graph after the pass returns what the graph before it returns."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from fxpect.errors import CheckFailure
from fxpect.oracles.difference import describe, form_difference
from fxpect.oracles.evidence import Evidence, raise_first


def check_numerics(evidence: Evidence) -> None:
    """Raise when the outputs differ in count, structure, type, dtype, shape, stride, NaN or inf, or value.

    Numbers may differ as far as rounding moves the graph before the pass (see ``arbiter``); integers that
    no rounding reaches, NaN and infinities may not. Misses: errors smaller than a few times that rounding;
    everything that the given inputs do not show; strides of sizes below two.
    """
    raise_first(find_numerics(evidence))


def find_numerics(evidence: Evidence) -> Iterator[CheckFailure]:
    """Yield what differs between the outputs, the form of the whole before the leaves."""
    before, after = evidence.expected, evidence.actual
    if before.spec != after.spec:
        expected = f"{before.spec} ({', '.join(map(describe, before.leaves))})"
        got = f"{after.spec} ({', '.join(map(describe, after.leaves))})"
        yield evidence.failure("numerics", "structure", f"outputs: expected {expected}; got {got}", node="output")
        return
    for i, (old, new) in enumerate(zip(before.leaves, after.leaves, strict=True)):
        difference = form_difference(old, new)
        if isinstance(old, torch.Tensor) and (difference is None or difference.kind == "stride"):
            wrong = evidence.arbiter.judge(("output", i), old, new)
            if wrong is not None:
                kind = "random-values" if wrong.kind == "values" and evidence.expected.drew else wrong.kind
                yield evidence.failure("numerics", kind, f"output {i}: {wrong}", node=evidence.output_name(i))
        if difference is not None:
            yield evidence.failure("numerics", difference.kind, f"output {i}: {difference}",
                                   node=evidence.output_name(i))
