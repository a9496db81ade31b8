"""Oracle: an exported program that went through the pass can be saved and loaded."""

from __future__ import annotations

import io
from collections.abc import Iterator

import torch
from torch.fx.passes.infra.pass_base import PassResult

from fxpect.errors import CheckFailure
from fxpect.examples import copy_graph_module
from fxpect.execution import Execution
from fxpect.execution.fingerprint import structure
from fxpect.oracles.causes import first_words, in_one_line
from fxpect.oracles.evidence import Evidence, raise_first, stamped
from fxpect.oracles.numerics import find_numerics
from fxpect.text.printer import graph_text


def check_serialization(execution: Execution, evidence: Evidence | None = None) -> None:
    """Raise when the program after the pass does not verify, save, load, or come back as the same text.

    With ``evidence`` the loaded graph must also compute what the saved one does. Silent where there is no
    exported program, or the program before the pass does not survive either. Misses: programs whose custom
    objects are not in the graph.
    """
    raise_first(find_serialization(execution, evidence))


def find_serialization(execution: Execution, evidence: Evidence | None = None) -> Iterator[CheckFailure]:
    """Yield the first step of the round trip that fails."""
    before = execution.before.exported
    if before is None or structure(before.graph_module) != structure(execution.before.graph_module):
        return
    try:
        loaded_before = round_trip(before)
    except Exception:
        return
    step = "rebuild"
    try:
        after = execution.exported_after or with_graph(before, execution.after)
        step = "verify"
        after.validate() if hasattr(after, "validate") else None
        step = "save and load"
        loaded = round_trip(after)
    except Exception as error:
        cause = f"{step.replace(' ', '-')}:{type(error).__name__}:{first_words(str(error))}"
        yield _failure(execution, cause, f"expected a program that survives {step}; got {in_one_line(error)}", error)
        return
    if graph_text(before) == graph_text(loaded_before) and graph_text(after) != graph_text(loaded):
        yield _failure(execution, "text", "expected the same text after loading as before saving; got another")
    if evidence is not None:
        there = Evidence(
            execution.after,
            loaded.graph_module,
            evidence.args,
            pass_name=evidence.pass_name,
            meta_key=evidence.meta_key,
            seed=evidence.seed,
        )
        if there.expected.error is not None:
            return
        if there.ran.error is not None:
            yield _failure(
                execution,
                "loaded-crash",
                f"expected a loaded graph that runs; got {in_one_line(there.ran.error)}",
            )
            return
        for failure in find_numerics(there):
            yield _failure(execution, f"loaded-{failure.cause}", f"after loading: {failure.message}")


def round_trip(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Return the program saved to memory and loaded back."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    return torch.export.load(buffer)


def with_graph(program: torch.export.ExportedProgram, gm: torch.fx.GraphModule) -> torch.export.ExportedProgram:
    """Return the program with another graph of the same inputs and outputs in its place."""

    def swap(_: torch.fx.GraphModule) -> PassResult:
        return PassResult(copy_graph_module(gm), True)

    return program._transform_do_not_use(swap)


def _failure(execution: Execution, cause: str, message: str, error: Exception | None = None) -> CheckFailure:
    failure = CheckFailure("serialization", message, pass_name=execution.pass_name, cause=f"serialization:{cause}")
    failure.__cause__ = error
    return stamped(failure, "error")
