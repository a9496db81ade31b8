"""Oracle: the graph after the pass returns what the graph before it returns."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from fxpect.errors import CheckFailure
from fxpect.oracles.difference import describe, form_difference
from fxpect.oracles.evidence import ERROR, NOTE, Evidence, raise_first
from fxpect.oracles.observe import as_tensor
from fxpect.oracles.randomness import drawn_in_another_order


def check_numerics(evidence: Evidence) -> None:
    """Raise when the outputs differ in count, structure, type, dtype, shape, stride, NaN or inf, or value.

    Numbers may differ as far as rounding moves the graphs (see ``arbiter``); integers that no rounding
    reaches, NaN and infinities may not. The sign of a zero counts where an input holds a negative zero;
    elsewhere it is a note, for a legal reordering may change it. So is what comes of the same numbers drawn in
    another order, as randn_like draws them in the order of memory. Misses: errors smaller than a few times
    that rounding; everything that the given inputs do not show; strides of sizes below two.
    """
    raise_first(find_numerics(evidence))


def find_numerics(evidence: Evidence) -> Iterator[CheckFailure]:
    """Yield what differs between the outputs, the form of the whole before the leaves."""
    before, after = evidence.expected, evidence.actual
    if before.spec != after.spec:
        expected = f"{_on_a_line(before.spec)} ({', '.join(map(describe, before.leaves))})"
        got = f"{_on_a_line(after.spec)} ({', '.join(map(describe, after.leaves))})"
        yield evidence.failure("numerics", "structure", f"outputs: expected {expected}; got {got}", node="output")
        return
    for i, leaves in enumerate(zip(before.leaves, after.leaves, strict=True)):
        old, new = leaves if type(leaves[0]) is not type(leaves[1]) else map(as_tensor, leaves)
        difference = form_difference(old, new)
        if isinstance(old, torch.Tensor) and (difference is None or difference.kind == "stride"):
            wrong = evidence.arbiter.judge(("output", i), old, new)
            if wrong is not None:
                random = wrong.kind == "values" and before.drew and i in evidence.random_outputs
                kind = "random-values" if random else wrong.kind
                severity = NOTE if _is_forgiven(kind, evidence) else ERROR
                yield evidence.failure(
                    "numerics", kind, f"output {i}: {wrong}", node=evidence.output_name(i), severity=severity
                )
        if difference is not None:
            yield evidence.failure(
                "numerics", difference.kind, f"output {i}: {difference}", node=evidence.output_name(i)
            )


def _on_a_line(spec: object) -> str:
    """Return a tree spec, which torch prints on several lines, on one."""
    return " ".join(str(spec).split())


def _is_forgiven(kind: str, evidence: Evidence) -> bool:
    """Whether a legal rewrite may do this: draw the same numbers in another order, or lose the sign of a zero."""
    if kind == "random-values":
        return drawn_in_another_order(evidence)
    return kind == "signed-zero" and not _negative_zero(evidence)


def _negative_zero(evidence: Evidence) -> bool:
    """Whether an input holds a negative zero: then its sign is under test."""
    return any(
        isinstance(arg, torch.Tensor) and arg.is_floating_point() and bool(((arg == 0) & torch.signbit(arg)).any())
        for arg in evidence.args
    )
