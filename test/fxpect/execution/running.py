"""Run a pass on an example, or a pipeline of passes one after the other."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from fxpect.errors import FxpectError, GraphCrash, PassCrash, PassFormError
from fxpect.examples import Example, copy_graph_module
from fxpect.execution.answers import Outcome, apply
from fxpect.execution.crashes import crash, first_line
from fxpect.execution.fingerprint import Fingerprint
from fxpect.execution.forms import Pass, Raised, Subject, as_pass, settle
from fxpect.execution.guarding import run_guarded
from fxpect.execution.programs import program_of
from fxpect.text.printer import graph_text


@dataclasses.dataclass(eq=False)
class Execution:
    """One pass run on one example.

    ``before`` is the example as the pass got it, ``after`` the module the pass left, exactly: neither
    sorted nor cleaned. ``claimed`` is the pass's own answer (None where it gives none), ``changed`` whether
    nodes, their order, their types or the attributes they use differ, names apart. ``recompile_error`` is
    what compiling ``after`` raised (``fx.Interpreter`` may still run it). ``leaks`` names process-wide
    settings that the pass left changed; they have been put back. ``seconds`` is the pass alone.
    """

    pass_name: str
    kind: str
    before: Example
    after: GraphModule
    claimed: bool | None
    changed: bool
    seconds: float
    exported_after: torch.export.ExportedProgram | None = None
    recompile_error: Exception | None = None
    leaks: tuple[str, ...] = ()

    @property
    def before_text(self) -> str:
        """The canonical text of the graph before the pass."""
        return self.before.text

    @functools.cached_property
    def after_text(self) -> str:
        """The canonical text of the graph after the pass; raises when that graph has none."""
        return graph_text(self.after)


def run_pass(pass_: Any, example: Example, *, inputs: Sequence[Any] | None = None,
             real_inputs: bool = False) -> Execution:
    """Run a pass, in any form that ``as_pass`` takes, on a fresh copy of the example's graph.

    A pass that takes example inputs gets ``inputs``, or what Inductor would give it: the fake tensors in the
    placeholders' metadata (``real_inputs=True``: real ones). Raises ``PassCrash`` when the pass raises,
    exits, returns something that is no answer, deletes the output node, or hands back a graph with another
    number of inputs; ``PassFormError`` when its form cannot be told.
    """
    return _run(as_pass(pass_), example, inputs, real_inputs, stage="")


def run_pipeline(passes: Mapping[str, Any], example: Example, *,
                 real_inputs: bool = False) -> list[Execution]:
    """Run named passes one after the other, each on what the one before left, and return every step.

    A failure says which stage it was: "stage 2/3 name". Raises what ``run_pass`` raises, and ``GraphCrash``
    when a stage leaves a graph that cannot even be copied for the next one.
    """
    if not isinstance(passes, Mapping) or not passes:
        raise PassFormError(f'expected a pipeline {{"name": pass, ...}}; got {passes!r}')
    stages = [as_pass(fn, name=name) for name, fn in passes.items()]
    executions: list[Execution] = []
    for i, pass_ in enumerate(stages):
        stage = f"stage {i + 1}/{len(stages)} {pass_.name}"
        executions.append(_run(pass_, example, None, real_inputs, stage))
        if i + 1 < len(stages):
            example = _next_example(executions[-1], stage)
    return executions


def _next_example(execution: Execution, stage: str) -> Example:
    try:
        copied = copy_graph_module(execution.after)
    except Exception as error:
        message = (f"{stage}: expected a graph that the next stage can be given; got one that cannot be "
                   f"copied: {type(error).__name__}: {first_line(error)}")
        raise GraphCrash("crash", message, pass_name=execution.pass_name,
                         before=_text_or_none(execution.before), cause="cannot be copied") from error
    return execution.before.replace(graph_module=copied, exported=execution.exported_after)


def _run(pass_: Pass, example: Example, inputs: Sequence[Any] | None, real_inputs: bool,
         stage: str) -> Execution:
    if not isinstance(example, Example):
        raise FxpectError(f"expected an Example; got {type(example).__name__}. "
                          "fxpect.capture.capture(model, inputs) makes one")
    try:
        return settle(lambda: _attempt(pass_, example, inputs, real_inputs))
    except Raised as raised:
        failure = crash(raised, pass_, before=_text_or_none(example), stage=stage)
        error = raised.error
    except PassCrash as wrong:
        message = f"{stage}: {wrong.message}" if stage else wrong.message
        failure = PassCrash("crash", message, pass_name=pass_.name, before=_text_or_none(example),
                            cause=wrong.cause)
        error = None
    raise failure from error


def _attempt(pass_: Pass, example: Example, inputs: Sequence[Any] | None, real_inputs: bool) -> Execution:
    subject = _prepare(pass_, example, inputs, real_inputs)
    before = Fingerprint(subject.gm)
    arity = _arity(subject.gm, subject.exported)

    def call() -> tuple[Outcome, float]:
        with inductor_context(pass_, subject.gm):
            start = time.perf_counter()
            outcome = apply(pass_, subject)
            return outcome, time.perf_counter() - start

    (outcome, seconds), leaks = run_guarded(call)
    check_outcome(outcome, pass_, arity)
    changed = before.differs(outcome.gm)
    error = _recompile(outcome.gm) if changed or outcome.gm is not subject.gm else None
    exported = outcome.exported
    if exported is not None and exported.graph_module is not outcome.gm:
        exported = None
    return Execution(pass_.name, pass_.kind, example, outcome.gm, outcome.claimed, changed, seconds,
                     exported, error, leaks)


def _prepare(pass_: Pass, example: Example, inputs: Sequence[Any] | None,
             real_inputs: bool) -> Subject:
    exported = program_of(example, pass_.name) if pass_.needs_program else None
    gm = example.build() if exported is None else exported.graph_module

    def given() -> Sequence[Any]:
        if inputs is not None:
            return inputs
        return example.realize() if real_inputs else fake_inputs(gm, example.realize)

    return Subject(gm, given, exported)


def fake_inputs(gm: GraphModule, realize: Callable[[], Sequence[Any]]) -> list[Any]:
    """Return what Inductor gives a pass for its inputs: the values in the placeholders' metadata.

    A placeholder without any is given the realized value, made fake where the graph has a fake mode.
    """
    placeholders = gm.graph.find_nodes(op="placeholder")
    values = [_value(node) for node in placeholders]
    if all(value is not None for value in values):
        return values
    mode = fake_mode_of(gm)
    for i, real in enumerate(realize()):
        if values[i] is None:
            values[i] = mode.from_tensor(real) if mode and isinstance(real, torch.Tensor) else real
    return values


def fake_mode_of(gm: GraphModule) -> FakeTensorMode | None:
    """Return the mode of the first fake tensor in the graph's metadata, or None."""
    for node in gm.graph.nodes:
        for leaf in pytree.tree_leaves(_value(node)):
            if isinstance(leaf, FakeTensor):
                return leaf.fake_mode
    return None


def _value(node: Node) -> Any:
    return node.meta["val"] if "val" in node.meta else node.meta.get("example_value")


def inductor_context(pass_: Pass, gm: GraphModule) -> contextlib.AbstractContextManager[Any]:
    """Set Inductor's current fake mode to the graph's, unless Inductor plays no part.

    Importing Inductor takes seconds, so a process that has not done so is left alone.
    """
    if "torch._inductor.virtualized" not in sys.modules and not _from_inductor(pass_):
        return contextlib.nullcontext()
    mode = fake_mode_of(gm)
    if mode is None:
        return contextlib.nullcontext()
    from torch._inductor.virtualized import V

    return V.set_fake_mode(mode)


def _from_inductor(pass_: Pass) -> bool:
    source = pass_.source
    while isinstance(source, functools.partial):
        source = source.func
    module = getattr(source, "__module__", None) or type(source).__module__
    return str(module).startswith("torch._inductor") or any(map(_from_inductor, pass_.parts))


def _arity(gm: GraphModule, exported: torch.export.ExportedProgram | None) -> int:
    """Return how many inputs the caller gives: placeholders, without the lifted ones of a program."""
    if exported is not None:
        return len(exported.graph_signature.user_inputs)
    return len(gm.graph.find_nodes(op="placeholder"))


def check_outcome(outcome: Outcome, pass_: Pass, arity: int) -> None:
    """Raise ``PassCrash`` for a result that no longer is the same function of ``arity`` inputs."""
    if not outcome.gm.graph.find_nodes(op="output"):
        raise PassCrash("crash", "expected a graph with an output node; got one without: the pass deleted it",
                        pass_name=pass_.name, cause="deleted the output node")
    now = _arity(outcome.gm, outcome.exported)
    if now != arity:
        raise PassCrash("crash", f"expected a graph of {arity} inputs, as before; got one of {now}: "
                        "the pass returned another model or changed the placeholders",
                        pass_name=pass_.name, cause="changed the number of inputs")


def _recompile(gm: GraphModule) -> Exception | None:
    try:
        gm.recompile()
        _ = gm.code  # a lazy module compiles here
    except Exception as error:
        return error
    return None


def _text_or_none(example: Example) -> str | None:
    try:
        return example.text
    except Exception:
        return None
