"""Run a pass on an example and ask every oracle, the cheap ones first."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch

from fxpect.errors import CheckFailure, FxpectError, PassCrash
from fxpect.examples import Example
from fxpect.execution import Execution, run_pass
from fxpect.oracles.attributes import find_leaks, find_untied
from fxpect.oracles.causes import crash_cause, in_one_line, root_of
from fxpect.oracles.effects import find_effects
from fxpect.oracles.epilogue import epilogues
from fxpect.oracles.evidence import ERROR, NOTE, Evidence, severity_of, stamped
from fxpect.oracles.generality import find_generality, find_raw_symbols
from fxpect.oracles.gradients import find_gradients
from fxpect.oracles.honesty import find_honesty
from fxpect.oracles.metadata import find_metadata
from fxpect.oracles.numerics import find_numerics
from fxpect.oracles.observe import Observation
from fxpect.oracles.serialization import find_serialization
from fxpect.oracles.shapes import Assumptions, kept_shapes
from fxpect.oracles.sharing import find_copies_made_views
from fxpect.oracles.stability import find_stability
from fxpect.oracles.state import state_of
from fxpect.oracles.structure import find_disagreement, find_structure
from fxpect.oracles.tracing import undetermined

ALWAYS = ("honesty", "structure", "numerics", "effects", "metadata", "gradients")
ON_REQUEST = ("stability", "generality", "serialization")
ORACLES = (*ALWAYS, *ON_REQUEST)
OFF = "off"


@dataclasses.dataclass
class Result:
    """What judging one pass on one example came to.

    ``failures`` is empty when everything holds; ``notes`` are matters of hygiene. ``discarded`` says why the
    example cannot judge any pass (its graph does not run, or not the same way twice): then nothing failed.
    """

    execution: Execution | None
    failures: list[CheckFailure] = dataclasses.field(default_factory=list)
    notes: list[CheckFailure] = dataclasses.field(default_factory=list)
    discarded: str | None = None
    evidence: Evidence | None = dataclasses.field(default=None, repr=False)

    @property
    def holds(self) -> bool:
        """Whether the example was judged and nothing failed."""
        return not self.failures and self.discarded is None

    @property
    def changed(self) -> bool:
        """Whether the pass changed the graph."""
        return self.execution is not None and self.execution.changed

    @property
    def before(self) -> Observation | None:
        """The run of the graph before the pass; runs it when no oracle needed to."""
        return self.evidence.expected if self.evidence is not None else None

    @property
    def after(self) -> Observation | None:
        """The run of the graph after the pass; runs it when no oracle needed to."""
        return self.evidence.actual if self.evidence is not None else None

    def raise_first(self) -> None:
        """Raise the first failure, if there is one."""
        if self.failures:
            raise self.failures[0]


def judge(
    pass_: Any,
    example: Example,
    *,
    oracles: Iterable[str] | None = None,
    grads: bool | None = None,
    dynamic: bool = False,
    device: Any = None,
    seed: int = 0,
    first: bool = False,
    severity: Mapping[str, str] | None = None,
) -> Result:
    """Run ``pass_`` on a copy of the example's graph and return every failure of the oracles.

    ``oracles`` names those to ask (default ``ALWAYS``; ``dynamic`` adds "generality"). ``grads`` runs
    with autograd and compares gradients (default: where an input or attribute requires grad and the capture is
    differentiable).
    ``first`` stops at the first failure. ``severity`` maps a cause or the start of one ("numerics:stride",
    "structure") to "error", "note" or "off"; the longest that fits counts. When the pass changed nothing
    the graphs are not run.
    """
    asked = tuple(oracles) if oracles is not None else (*ALWAYS, "generality") if dynamic else ALWAYS
    unknown = [name for name in asked if name not in ORACLES]
    if unknown:
        raise FxpectError(f"expected oracles among {', '.join(ORACLES)}; got {', '.join(map(repr, unknown))}")
    result = Result(None)
    collector = _Collector(result, severity or {}, first)
    with kept_shapes(example.graph_module) as assumed:
        try:
            result.execution = run_pass(pass_, example)
        except PassCrash as crash:
            result.evidence = _evidence_alone(example, device, seed, grads)
            result.discarded = _does_not_run(result.evidence)
            if result.discarded is None:
                with contextlib.suppress(_Stop):
                    collector.take([_labelled(crash)])
            return result
        _Judge(result, result.execution, collector, asked, pass_, assumed).ask(device, seed, grads)
    if result.failures:  # the texts of the graphs as they were captured: what was assumed of sizes is forgotten by now
        _show(result.failures, result.execution)
    return result


class _Stop(Exception):
    """The first failure is enough."""


class _Collector:
    """Sorts failures into errors and notes, as the caller weighs them."""

    def __init__(self, result: Result, severity: Mapping[str, str], first: bool):
        for cause, word in severity.items():
            if word not in (ERROR, NOTE, OFF):
                raise FxpectError(f"severity of {cause!r}: expected {ERROR!r}, {NOTE!r} or {OFF!r}; got {word!r}")
        self.result, self.severity, self.first = result, severity, first

    def take(self, failures: Iterable[CheckFailure]) -> None:
        """Keep these failures; raises ``_Stop`` after the first error when that is enough."""
        for failure in failures:
            weight = self.weigh(failure)
            if weight == NOTE:
                self.result.notes.append(stamped(failure, NOTE))
            elif weight == ERROR:
                self.result.failures.append(stamped(failure, ERROR))
                if self.first:
                    raise _Stop

    def weigh(self, failure: CheckFailure) -> str:
        """Return "error", "note" or "off" for a failure."""
        cause = failure.cause or failure.oracle
        fitting = [prefix for prefix in self.severity if cause == prefix or cause.startswith(f"{prefix}:")]
        return self.severity[max(fitting, key=len)] if fitting else severity_of(failure)


@dataclasses.dataclass
class _Judge:
    """One execution and the oracles to ask about it."""

    result: Result
    execution: Execution
    collector: _Collector
    asked: tuple[str, ...]
    pass_: Any
    assumed: Assumptions | None

    def ask(self, device: Any, seed: int, grads: bool | None) -> None:
        """Ask every oracle; leaves the answers in the result."""
        execution, example = self.execution, self.execution.before
        try:
            if "honesty" in self.asked:
                self.collector.take(find_honesty(execution))
            if "effects" in self.asked:
                self.collector.take(find_leaks(execution))
                self.collector.take(find_untied(execution))
            if execution.changed:
                learned = self.assumed.learned() if self.assumed is not None else None
                self._ask_of_graph(execution, example, device, seed, grads)
                self._ask_on_request(execution, example, learned)
            elif "stability" in self.asked:
                self.collector.take(find_stability(self.pass_, execution))
        except _Stop:
            pass
        self._doubt()

    def _ask_of_graph(self, execution: Execution, example: Example, device: Any, seed: int, grads: bool | None) -> None:
        args = example.realize(seed=seed, device=device)
        evidence = self.result.evidence = Evidence(
            example.graph_module,
            execution.after,
            args,
            pass_name=execution.pass_name,
            meta_key=example.meta_key,
            seed=seed,
            grads=differentiable(example, args) if grads is None else grads,
            backward="gradients" in self.asked,
            epilogues=epilogues(example.exported, execution.exported_after),
            returns_as_is=example.capture in ("dynamo", "symbolic"),
            called_by_name=example.capture == "symbolic",
        )
        self.result.discarded = _does_not_run(evidence)
        if self.result.discarded is not None:
            return
        if "structure" in self.asked:
            self.collector.take(find_structure(evidence))
        if evidence.ran.error is not None or "structure" in self.asked:
            self.collector.take(find_disagreement(evidence))
        if evidence.actual.error is not None:
            return
        for name, find in _FINDERS.items():
            if name in self.asked:
                self.collector.take(find(evidence))

    def _ask_on_request(self, execution: Execution, example: Example, learned: tuple[str, str] | None) -> None:
        evidence = self.result.evidence
        if evidence is None or self.result.discarded is not None:
            return
        if self.assumed is not None:
            self.collector.take(find_raw_symbols(evidence))
        if evidence.actual.error is not None:
            return
        if "generality" in self.asked:
            known = {failure.cause for failure in self.result.failures}
            self.collector.take(find_generality(evidence, example, learned, known))
        if "stability" in self.asked:
            self.collector.take(find_stability(self.pass_, execution))
        if "serialization" in self.asked:
            self.collector.take(find_serialization(execution, evidence))

    def _doubt(self) -> None:
        """Discard the example when its own graph does not compute one thing; else name what became a view."""
        result = self.result
        if result.evidence is not None and result.discarded is None:
            if any(failure.oracle in _BY_RUNNING for failure in result.failures):
                result.discarded = undetermined(result.evidence)
        if result.discarded is not None:
            result.failures.clear()
            result.notes.clear()
        elif result.failures and result.evidence is not None:
            find_copies_made_views(result.evidence, result.failures)


def _show(failures: list[CheckFailure], execution: Execution) -> None:
    """Give the failures the texts of both graphs; one that cannot be printed stays out."""
    with contextlib.suppress(Exception):
        before = execution.before_text
        for failure in failures:
            failure.before = before
        after = execution.after_text
        for failure in failures:
            failure.after = after


_FINDERS: dict[str, Callable[[Evidence], Iterator[CheckFailure]]] = {
    "numerics": find_numerics,
    "effects": find_effects,
    "metadata": find_metadata,
    "gradients": find_gradients,
}
_BY_RUNNING = frozenset({"numerics", "effects", "gradients", "structure"})


def differentiable(example: Example, args: list[Any]) -> bool:
    """Whether gradients mean something: a differentiable capture, and something that requires grad."""
    if example.capture in ("make_fx", "aten", "joint"):
        return False
    tensors = [*args, *state_of(example.graph_module).values()]
    return any(isinstance(tensor, torch.Tensor) and tensor.requires_grad for tensor in tensors)


def _evidence_alone(example: Example, device: Any, seed: int, grads: bool | None) -> Evidence:
    args = example.realize(seed=seed, device=device)
    return Evidence(
        example.graph_module,
        example.graph_module,
        args,
        seed=seed,
        grads=differentiable(example, args) if grads is None else grads,
    )


def _does_not_run(evidence: Evidence) -> str | None:
    """Return why the graph before the pass cannot judge it, trying again without gradients."""
    error = evidence.expected.error
    if error is not None and evidence.grads:
        evidence.grads = False
        del evidence.expected
        error = evidence.expected.error
    return None if error is None else f"the graph before the pass does not run: {in_one_line(error)}"


def _labelled(crash: PassCrash) -> CheckFailure:
    """Give the crash of a pass the label of its kind."""
    error = crash.__cause__
    crash.cause = crash_cause("pass", root_of(error)) if error is not None else f"crash:pass:{crash.cause}"
    return stamped(crash, ERROR)
