"""What a pass hands back, and what it means: which graph is the result, and did the pass claim a change."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch.fx import Graph, GraphModule

from fxpect.errors import PassCrash
from fxpect.execution.forms import CRASHES, Pass, Raised, Subject, WrongForm, other_form

_MATCHES = {"Match", "InternalMatch", "ReplacedPatterns"}
_WRAPPER = "pass_result_wrapper.<locals>.wrapped_fn"


@dataclasses.dataclass
class Outcome:
    """The result of a pass: the module to go on with, and its own answer to "did you change it?".

    ``claimed`` is None where the pass gives no answer; ``exported`` is set for passes over a program.
    """

    gm: GraphModule
    claimed: bool | None = None
    exported: torch.export.ExportedProgram | None = None


def apply(pass_: Pass, subject: Subject) -> Outcome:
    """Run a pass on ``subject`` and read its answer.

    Raises ``Raised`` around whatever the pass raises, ``PassCrash`` for an answer that means nothing, and
    ``WrongForm`` when a guessed form turns out wrong (``forms.settle`` starts again).
    """
    if pass_.kind == "list":
        return _apply_all(pass_, subject)
    given = subject.given(pass_.kind)
    try:
        answer = pass_.invoke(subject)
    except CRASHES as error:
        raised = Raised(pass_, error, given)
        kind = other_form(error, given) if pass_.guessed and isinstance(error, AttributeError) else None
        if kind is None:
            raise raised from error
        raise WrongForm(kind, raised) from error
    pass_.guessed = False
    return _read(answer, pass_, subject)


def _apply_all(pass_: Pass, subject: Subject) -> Outcome:
    claims = []
    for part in pass_.parts:
        outcome = apply(part, subject)
        claims.append(outcome.claimed)
        subject = dataclasses.replace(subject, gm=outcome.gm, exported=outcome.exported or subject.exported)
    claimed = True if any(claims) else None if None in claims else False
    return Outcome(subject.gm, claimed, subject.exported)


def _read(answer: Any, pass_: Pass, subject: Subject) -> Outcome:
    """Turn a raw answer into an outcome; raises ``PassCrash`` for one that means nothing."""
    if isinstance(answer, torch.export.ExportedProgram) and pass_.kind == "program":
        return Outcome(answer.graph_module, None, answer)
    exported = getattr(answer, "exported_program", None)
    if isinstance(exported, torch.export.ExportedProgram) and pass_.kind == "program":
        return Outcome(exported.graph_module, _flag(answer), exported)
    gm, exported = subject.gm, subject.exported
    if answer is None or answer is NotImplemented:
        return Outcome(gm, None if answer is None else False, exported)
    if isinstance(answer, (bool, int)):
        return Outcome(gm, bool(answer), exported)
    if _is_match_list(answer):
        return Outcome(gm, bool(answer), exported)
    claimed: bool | None = None
    if not isinstance(answer, (Graph, torch.nn.Module)):
        answer, claimed = _unpack(answer, pass_)
    if isinstance(answer, GraphModule) and pass_.kind != "program":
        return Outcome(answer, claimed)
    if isinstance(answer, Graph) and pass_.kind != "program":
        set_graph(subject.gm, answer)
        return Outcome(subject.gm, claimed)
    raise _garbage(answer, pass_)


def _unpack(answer: Any, pass_: Pass) -> tuple[Any, bool | None]:
    """Take a PassResult, or a plain pair like one, apart."""
    if isinstance(getattr(answer, "graph_module", None), torch.nn.Module) and hasattr(answer, "modified"):
        claimed = _flag(answer)
        return answer.graph_module, None if claimed and _always_says_true(pass_.source) else claimed
    if type(answer) is tuple and len(answer) == 2 and isinstance(answer[1], (bool, int)):
        return answer[0], bool(answer[1])
    return answer, None


def _flag(answer: Any) -> bool | None:
    modified = getattr(answer, "modified", None)
    return None if modified is None else bool(modified)


def _always_says_true(source: Any) -> bool:
    """Whether "modified" was put there by torch's ``pass_result_wrapper``, which knows nothing about it."""
    parts = getattr(source, "passes", [source])
    return any(getattr(getattr(part, "__code__", None), "co_qualname", "") == _WRAPPER for part in parts)


def _is_match_list(answer: Any) -> bool:
    """Whether this is what ``torch.fx.replace_pattern`` returns: the matches it replaced."""
    return isinstance(answer, list) and all(type(item).__name__ in _MATCHES for item in answer)


def set_graph(gm: GraphModule, graph: Graph) -> None:
    """Give ``gm`` another graph, also one whose code does not compile: that is found out later."""
    if graph is gm.graph:
        return
    try:
        gm.graph = graph
    except Exception:
        if gm.graph is not graph:  # the setter keeps the graph before it compiles
            raise


def _garbage(answer: Any, pass_: Pass) -> PassCrash:
    what = type(answer).__name__
    shown = repr(answer)
    shown = shown if len(shown) <= 80 and "\n" not in shown else what
    return PassCrash(
        "crash", f"expected None, a bool, a match count, a GraphModule, a PassResult or a Graph back from a "
        f"{pass_.kind} pass; got {shown} ({what})\n"
        f"if it is another kind of pass: fxpect.as_pass(fn, kind=...)",
        pass_name=pass_.name, cause=f"returned {what}")
