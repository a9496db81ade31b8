"""Oracle: the graph after the pass has the gradients of the graph before it."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from fxpect.errors import CheckFailure
from fxpect.oracles.causes import crash_cause, in_one_line
from fxpect.oracles.difference import form_difference
from fxpect.oracles.evidence import ERROR, NOTE, Evidence, raise_first
from fxpect.oracles.observe import Key


def check_gradients(evidence: Evidence) -> None:
    """Raise when a backward from fixed weights gives other gradients for an input or a parameter, or fails.

    Silent where nothing requires grad, or the graph before has no backward either. Misses: second
    derivatives; gradients of tensors that are written to in place; hooks; parameters of a module whose
    attributes the pass changed, as folding does; the sign of a zero (a note).
    """
    raise_first(find_gradients(evidence))


def find_gradients(evidence: Evidence) -> Iterator[CheckFailure]:
    """Yield every gradient that differs: a failing backward, one that is gone or new, then values."""
    before, after = evidence.expected, evidence.actual
    if before.grads is None or before.grad_error is not None:
        return
    if after.grad_error is not None:
        failure = evidence.failure(
            "gradients",
            "crash",
            f"expected a backward that runs, as before the pass; got {in_one_line(after.grad_error)}",
        )
        failure.cause = crash_cause("backward", after.grad_error)
        failure.__cause__ = after.grad_error
        yield failure
        return
    if after.grads is None:
        return
    folded = bool(evidence.changed_attributes)
    for key, old in before.grads.items():
        if key not in after.grads or (folded and key[0] == "state"):
            continue
        new, what = after.grads[key], f"gradient of {_words(key)}"
        if (old is None) != (new is None):
            gone = new is None
            there = old if gone else new
            yield evidence.failure(
                "gradients",
                "missing" if gone else "unexpected",
                f"{what}: expected {'a tensor; got None' if gone else 'None; got a tensor'}",
                # autograd's None stands for zero: what joins two linears has zeros for the one that is not read.
                severity=ERROR if torch.count_nonzero(there) else NOTE,
            )
        elif old is not None:
            wrong = form_difference(old, new, strides=False) or evidence.arbiter.judge(("grad", key), old, new)
            if wrong is not None:
                # A gradient is a sum, and the sign of a sum that is zero hangs on the order of its terms.
                severity = NOTE if wrong.kind == "signed-zero" else ERROR
                yield evidence.failure("gradients", wrong.kind, f"{what}: {wrong}", severity=severity)


def _words(key: Key) -> str:
    return f"{'attribute' if key[0] == 'state' else key[0]} {key[1]}"
