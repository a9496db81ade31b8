"""What a running test tells ``fxpect compare``: the cases that its verbs see, where the run keeps them.

Nothing here raises: a graph that has no text is kept as the line that says so.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from fxpect.cases.claims import Trial
from fxpect.cases.goldens import options_of
from fxpect.cases.phases import current
from fxpect.compiling import GraphSequence
from fxpect.examples import inputs_text, short
from fxpect.execution import Execution
from fxpect.oracles.judge import Result
from fxpect.oracles.observe import Observation
from fxpect.records import CaseRun, Values
from fxpect.report.kept import kept

_COUNTED = ("output", "grad")


def keep_trial(trial: Trial, label: str) -> None:
    """Keep what a verb saw; fresh examples are other ones on every torch and are not kept."""
    if not kept.wanted or current().fresh:
        return
    claim, example, result = trial.claim, trial.example, trial.result
    kept.add(CaseRun(
        pass_name=claim.pass_.name,
        options=_text(lambda: options_of(trial, label, current())),
        inputs=", ".join(map(short, example.inputs)),
        before=_text(lambda: trial.before_text),
        after=None if result.execution is None else _text(lambda: trial.after_text),
        failures=tuple((one.oracle, str(one.cause or ""), one.message.split("\n")[0]) for one in trial.failures),
        known=_known(trial),
        values=tuple(values_of(result.after)) if result.evidence is not None and result.execution else (),
    ))  # fmt: skip


def keep_text(text: str, label: str, made_by: Any = None) -> None:
    """Keep a text that a test compares; where ``made_by`` is what a pass left, with the graph before it."""
    if not kept.wanted or current().fresh:
        return
    execution = made_by.execution if isinstance(made_by, Result) else made_by
    options = f"text={label!r}" if label else "text"
    if isinstance(execution, Execution):
        before = _text(lambda: execution.before_text)
        kept.add(CaseRun(execution.pass_name, options, "", before, after=text))
    else:
        kept.add(CaseRun("", options, "", text))


def keep_sequence(sequence: GraphSequence) -> None:
    """Keep the graphs of a call under torch.compile, and where it breaks."""
    if not kept.wanted or current().fresh:
        return
    for number, graph in enumerate(sequence.graphs):
        execution = graph.execution
        after = None if execution is None else _text(functools.partial(getattr, execution, "after_text"))
        before = _text(functools.partial(getattr, graph, "text"))
        kept.add(CaseRun(execution.pass_name if execution else "", f"graph={number}", "", before, after))
    breaks = "\n".join(map(str, sequence.breaks))
    if breaks:
        kept.add(CaseRun("", "breaks", "", breaks))


def values_of(seen: Observation | None) -> Iterator[Values]:
    """Yield outputs and gradients of a run in few numbers each; none where it raised."""
    if seen is None or seen.error is not None:
        return
    for (kind, place), value in seen.values().items():
        if kind in _COUNTED and isinstance(value, torch.Tensor):
            found = _text(functools.partial(torch.Tensor.to_dense, value.detach()))
            if isinstance(found, torch.Tensor):
                yield _values(f"{kind} {place}", value, found)


def _values(name: str, value: torch.Tensor, dense: torch.Tensor) -> Values:
    form = f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if value.is_quantized or value.device.type == "meta":
        return Values(name, form)
    flat = torch.view_as_real(dense.resolve_conj()) if dense.is_complex() else dense
    flat = flat.to("cpu", torch.float64).reshape(-1)
    finite = torch.where(flat.isfinite(), flat, 0)
    # The weights are no sequence that a permutation of the elements is likely to leave alone.
    weights = 1 + (torch.arange(flat.numel(), dtype=torch.float64) * 0.6180339887498949) % 1
    total, scale = (float((finite * weights).sum()), float((finite.abs() * weights).sum()))
    if not (math.isfinite(total) and math.isfinite(scale)):
        total = scale = 0.0
    return Values(name, form, int(flat.isnan().sum()), int(flat.isinf().sum()), total, scale)


def _known(trial: Trial) -> tuple[str, ...]:
    """Return the ids of the known bugs that explain a failure of the trial."""
    if not trial.claim.options.known or not trial.result.failures:
        return ()
    from fxpect.passes.known_bugs import explanation

    bugs, example = tuple(trial.claim.options.known), trial.example
    found = {explanation(bugs, trial.claim.pass_.name, failure, example.text, inputs_text(example))
             for failure in trial.result.failures}  # fmt: skip
    return tuple(sorted(bug.id for bug in found if bug is not None))


def _text(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception as error:
        return f"# no text: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
