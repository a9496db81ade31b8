"""Oracle: the pass says truly whether it changed the graph."""

from __future__ import annotations

from collections.abc import Iterator

from fxpect.errors import CheckFailure
from fxpect.execution import Execution
from fxpect.oracles.evidence import ERROR, NOTE, raise_first, stamped


def check_honesty(execution: Execution) -> None:
    """Raise when the pass's own answer ("modified", a match count) is not what the graph shows.

    Silent where the pass gives no answer. A match count without a change is a note: a match may be declined.
    Misses: changes that the graph's structure, types and attributes do not show, such as other metadata.
    """
    raise_first(find_honesty(execution))


def find_honesty(execution: Execution) -> Iterator[CheckFailure]:
    """Yield the answer that is not true."""
    if execution.claimed is None or execution.claimed == execution.changed:
        return
    if execution.changed:
        cause, message, severity = (
            "claims-unchanged",
            "expected modified=True, the graph changed; got False",
            ERROR,
        )
    else:
        counted = execution.kind in ("pattern", "list", "manager")
        cause, message = "claims-changed", "expected modified=False, the graph is as it was; got True"
        severity = NOTE if counted else ERROR
    failure = CheckFailure("honesty", message, pass_name=execution.pass_name, cause=f"honesty:{cause}")
    yield stamped(failure, severity)
