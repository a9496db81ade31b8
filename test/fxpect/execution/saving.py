"""torch's ``pass_execution_and_save`` made true: graphs that can still be read, and no side effects."""

from __future__ import annotations

import dataclasses
import difflib
import logging
import os
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from torch.fx import GraphModule

from fxpect.errors import CheckFailure, FxpectError, GraphCrash, PassFormError
from fxpect.execution.adopting import Backup, adopt
from fxpect.execution.answers import Outcome, apply
from fxpect.execution.crashes import first_line
from fxpect.execution.folders import new_folder, write
from fxpect.execution.forms import Pass, Raised, Subject, detect, settle
from fxpect.execution.guarding import run_guarded
from fxpect.execution.ordering import sort_nodes
from fxpect.execution.running import check_outcome, inductor_context
from fxpect.execution.shapes import propagate_shapes
from fxpect.records import PassRun

log = logging.getLogger("fxpect")


@dataclasses.dataclass(frozen=True)
class SavedRun(PassRun):
    """The record of ``pass_execution_and_save``; ``run.json`` holds it, ``SavedRun.from_json`` reads it.

    ``moved`` names the nodes that had to be moved because the pass left them before what they use (empty:
    the order was right). ``error`` is None, or what went wrong, in one line.
    """

    moved: list[str] = dataclasses.field(default_factory=list)
    error: str | None = None
    torch_version: str = ""


def pass_execution_and_save(func: Any, gm: GraphModule, inp: Any, msg: str,
                            directory: str | os.PathLike[str] | None = None) -> SavedRun:
    """Run one pass on ``gm`` in place and keep the graphs of before and after, and their difference, on disk.

    The call is that of ``torch._inductor.utils.pass_execution_and_save``; ``func`` may have any form that
    ``as_pass`` takes, and is given a Graph where it says nothing about itself. The folder is
    ``<directory or .fxpect/runs/<test or script>>/NNN_<msg>``; it holds ``before.fx``, ``after.fx``,
    ``diff.txt`` and, written last, ``run.json``.

    First ``torch.fx.passes.shape_prop.ShapeProp.propagate`` (a test may replace it there, or as
    ``fxpect.execution.ShapeProp.propagate``) is called once, on fake tensors, so that ``inp``, the buffers of
    ``gm`` and the random state stay as they are; a graph whose shapes depend on data is then run on copies of
    everything. A bare tensor is one input; missing leading inputs are the lifted state of an exported graph.
    Then the pass runs, what it returns is honoured (``gm`` becomes the module or graph that it returned),
    nodes used before they are defined are moved (``moved`` says which), the graph is linted and compiled.

    Raises what the pass raises, unwrapped, and ``CheckFailure`` when its result has a cycle, does not lint or
    does not compile. Either way the files are there, and ``gm`` is what it was before the call, in a Graph of
    its own.
    """
    if not isinstance(gm, GraphModule):
        raise FxpectError(f"expected a GraphModule as the second argument; got {type(gm).__name__}")
    pass_ = detect(func, default="graph")
    if pass_.needs_program:
        raise PassFormError(f"{pass_.name} takes an ExportedProgram, and pass_execution_and_save has a "
                            "GraphModule; use fxpect.run_pass")
    fakes, _ = run_guarded(lambda: propagate_shapes(gm, inp))
    backup = Backup(gm)
    recorder = _Recorder(pass_, msg, _text(gm), new_folder(msg, directory))
    failure: BaseException
    try:
        return recorder.run(gm, fakes, backup)
    except Raised as raised:
        backup.restore()
        failure = raised.error
    except CheckFailure as error:
        backup.restore()
        failure = error
    except BaseException:
        backup.restore()
        raise
    recorder.save(f"{type(failure).__name__}: {first_line(failure)}", failure)
    failure.add_note(f"fxpect: the graph before {pass_.name} is in {recorder.folder}")
    raise failure


class _Recorder:
    """What is known of a run so far; it is written whether the run ends well or not."""

    def __init__(self, pass_: Pass, message: str, before: str, folder: Path):
        self.pass_, self.message, self.before, self.folder = pass_, message, before, folder
        self.after = ""
        self.changed, self.seconds = False, 0.0
        self.claimed: bool | None = None
        self.moved: list[str] = []

    def run(self, gm: GraphModule, fakes: tuple[Any, ...], backup: Backup) -> SavedRun:
        arity = len(gm.graph.find_nodes(op="placeholder"))

        def attempt() -> tuple[Outcome, float]:
            backup.restore()  # nothing to do, unless a wrong guess went before
            with inductor_context(self.pass_, gm):
                start = time.perf_counter()
                outcome = apply(self.pass_, Subject(gm, lambda: list(fakes)))
                return outcome, time.perf_counter() - start

        (outcome, self.seconds), _ = run_guarded(lambda: settle(attempt))
        self.claimed = outcome.claimed
        self.after = _text(outcome.gm)
        check_outcome(outcome, self.pass_, arity)
        adopt(gm, outcome.gm)
        self._finish(gm)
        self.changed = backup.fingerprint.differs(gm)
        self.after = _text(gm)
        return self.save()

    def _finish(self, gm: GraphModule) -> None:
        """Sort, lint and compile, each failure with the name of what does not hold."""
        try:
            self.moved = sort_nodes(gm.graph)
            gm.graph.lint()
        except Exception as error:
            raise CheckFailure("structure", f"expected a graph in order; got {type(error).__name__}: "
                               f"{first_line(error)}", pass_name=self.pass_.name, before=self.before,
                               after=self.after, cause=f"lint: {type(error).__name__}") from error
        try:
            gm.recompile()
            _ = gm.code
        except Exception as error:
            raise GraphCrash("crash", f"expected a graph that compiles; got {type(error).__name__}: "
                             f"{first_line(error)}", pass_name=self.pass_.name, before=self.before,
                             after=self.after, cause=f"compile: {type(error).__name__}") from error

    def save(self, problem: str | None = None, error: BaseException | None = None) -> SavedRun:
        """Write the files, ``run.json`` last, and return the record."""
        paths = {"before": write(self.folder / "before.fx", self.before)}
        if self.after:
            paths["after"] = write(self.folder / "after.fx", self.after)
            paths["diff"] = write(self.folder / "diff.txt", _difference(self.before, self.after))
        if error is not None:
            paths["error"] = write(self.folder / "error.txt", "".join(traceback.format_exception(error)))
        run = SavedRun(self.pass_.name, self.pass_.kind, self.before, self.after, self.changed, self.claimed,
                       self.seconds, str(self.folder), paths, self.moved, problem, str(torch.__version__))
        write(self.folder / "run.json", run.to_json())
        verdict = problem or ("changed" if self.changed else "unchanged")
        log.info("%s: %s, %.3f s, saved in %s", self.message, verdict, self.seconds, self.folder)
        return run


def _text(gm: GraphModule) -> str:
    """Return the canonical text, or torch's own print-out of a graph that has none, with the reason."""
    from fxpect.text.printer import graph_text

    try:
        return graph_text(gm)
    except Exception as error:
        return f"# no canonical text: {type(error).__name__}: {first_line(error)}\n{gm.graph}\n"


def _difference(before: str, after: str) -> str:
    """Return the difference in words and lines; by lines alone for a graph without canonical text."""
    from fxpect.text.diff import graph_diff

    try:
        return str(graph_diff(before, after, limit=len(before) + len(after)))
    except FxpectError:
        return "\n".join(difflib.unified_diff(before.splitlines(), after.splitlines(), "before", "after",
                                              lineterm=""))
