"""A search in a forked process: what crashes the interpreter, hangs or eats memory is one example, not the end."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import pickle
import resource
import signal
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from fxpect.campaign.finding import Finding, Parcel, inputs_text
from fxpect.campaign.search import Tally, Watcher, search
from fxpect.campaign.starts import Start
from fxpect.errors import CheckFailure, FxpectError, PassCrash
from fxpect.examples import Example
from fxpect.execution import as_pass
from fxpect.standalone.script import standalone_script
from fxpect.strategies.draft import Edit

MAX_DEATHS = 5
MAX_LOST_STEPS = 40


def isolated_search(pass_: Any, starts: Sequence[Start], *, timeout: float = 20.0, memory: int = 8192,
                    tally: Tally | None = None, **options: Any) -> list[Finding]:
    """Do what ``search`` does in a forked process, and go on after what ends that process.

    The child says which step it takes and which example it judges. When it dies, takes longer than
    ``timeout`` seconds for one, or grows by more than ``memory`` MiB, a new child goes the same way without
    it, judging only what is not yet known to hold: a search is a function of its arguments. A step on which
    torch itself dies is left out; an example whose graph runs and whose judging dies is a finding, and after
    five of those the search ends. Raises ``FxpectError`` where processes cannot be forked.
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        raise FxpectError("isolate=True needs a system that can fork; leave it out here")
    memory_of = _Memory()
    deaths: list[Finding] = []
    while True:
        outcome = _run(lambda pipe: _explore(pipe, pass_, starts, options, memory_of, memory),
                       memory_of, timeout)
        if outcome.done is not None:
            findings, done = outcome.done
            if tally is not None:
                tally.add(done)
            return [*deaths, *findings]
        if outcome.error is not None:
            raise outcome.error
        if outcome.judging is not None:
            memory_of.refused.add(outcome.judging.print_)
            if _runs(outcome.judging, timeout):
                deaths.append(_death(as_pass(pass_), outcome.judging, outcome.why))
        elif outcome.step is not None:
            memory_of.lost.add(outcome.step)
        else:
            raise FxpectError(f"the process that checks {as_pass(pass_).name} ended before its first example: "
                              f"{outcome.why}")
        if len(deaths) >= MAX_DEATHS or len(memory_of.lost) + len(memory_of.refused) >= MAX_LOST_STEPS:
            return deaths


@dataclasses.dataclass
class _Memory:
    """What outlives a child: steps and examples that ended one, and examples that hold."""

    lost: set[tuple[str, str]] = dataclasses.field(default_factory=set)
    refused: set[str] = dataclasses.field(default_factory=set)
    held: dict[str, bool] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class _Judging:
    """The example that a child was about to judge, in a form that crosses a process."""

    print_: str
    parcel: Parcel
    triggers: tuple[str, ...]


@dataclasses.dataclass
class _Outcome:
    done: tuple[list[Finding], Tally] | None = None
    error: Exception | None = None
    step: tuple[str, str] | None = None
    judging: _Judging | None = None
    why: str = ""


class _Teller(Watcher):
    """The watcher in the child: says through the pipe what comes next."""

    def __init__(self, pipe: Any, memory: _Memory):
        self.pipe, self.memory = pipe, memory

    def may_take(self, base: str, edit: Edit) -> bool:
        """Refuse a step that ended an earlier child."""
        step = (base, repr(edit))
        if step in self.memory.lost:
            return False
        self.pipe.send(("step", step))
        return True

    def may_judge(self, print_: str, example: Example) -> bool:
        """Refuse an example that ended an earlier child."""
        if print_ in self.memory.refused:
            return False
        self.pipe.send(("judging", _Judging(print_, Parcel.of(example), example.triggers)))
        return True

    def held(self, print_: str, fired: bool) -> None:
        """Say that an example holds, for the child that may come after this one."""
        self.pipe.send(("held", (print_, fired)))

    def known(self, print_: str) -> bool | None:
        """Return what an earlier child found."""
        return self.memory.held.get(print_)


def _run(body: Callable[[Any], None], memory: _Memory, timeout: float) -> _Outcome:
    """Fork, listen until the child is done or gone, and tell which."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=body, args=(there,), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads, which wait here
        child.start()
    there.close()
    outcome = _Outcome()
    last = time.monotonic()
    try:
        while outcome.done is None and outcome.error is None:
            # Capture and the first imports are not an example; they get ten times as long.
            begun = outcome.judging is not None or outcome.step is not None
            if not here.poll(max(0.0, last + (timeout if begun else 10 * timeout) - time.monotonic())):
                outcome.why = f"one example took longer than {timeout:g} s"
                break
            kind, value = here.recv()
            last = time.monotonic()
            if kind == "held":
                memory.held[value[0]] = value[1]
            else:
                setattr(outcome, kind, value)
            if kind == "step":
                outcome.judging = None
    except EOFError:
        child.join(5)
        outcome.why = _obituary(child.exitcode)
    finally:
        if child.is_alive() and child.pid is not None and outcome.done is None:
            os.kill(child.pid, signal.SIGKILL)
        child.join()
        here.close()
    return outcome


def _limit(memory: int) -> None:
    """Bound what this process may take more, and leave no core file behind."""
    import torch

    torch.set_num_threads(1)  # threads of the parent's pools do not live in a forked child
    with contextlib.suppress(ValueError, OSError):
        with open("/proc/self/statm", encoding="ascii") as pages:
            used = int(pages.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory * 2**20,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _explore(pipe: Any, pass_: Any, starts: Sequence[Start], options: dict, memory_of: _Memory, memory: int) -> None:
    _limit(memory)
    tally = Tally()
    try:
        findings = search(pass_, starts, tally=tally, watcher=_Teller(pipe, memory_of), **options)
        tally.flaws = [(name, FxpectError(f"{type(error).__name__}: {error}")) for name, error in tally.flaws]
        pipe.send(("done", ([finding.crossing() for finding in findings], tally)))
    except Exception as error:
        pipe.send(("error", error if _pickles(error) else FxpectError(f"{type(error).__name__}: {error}")))
    pipe.close()
    os._exit(0)


def _runs(judging: _Judging, timeout: float) -> bool:
    """Whether the graph runs without the pass; torch dies of some graphs by itself."""
    def body(pipe: Any) -> None:
        _limit(8192)
        example = judging.parcel.example()
        try:
            example.build()(*example.realize())
        except Exception:
            os._exit(1)
        pipe.send(("done", ([], Tally())))
        os._exit(0)

    return _run(body, _Memory(), timeout).done is not None


def _death(pass_: Any, judging: _Judging, why: str) -> Finding:
    example = judging.parcel.example().replace(triggers=judging.triggers)
    failure = PassCrash("crash", why, pass_name=pass_.name, before=example.text, cause=f"crash:process:{why}")
    return Finding(oracle="crash", pass_name=pass_.name, before=example.text, after="", inputs=inputs_text(example),
                   message=why, cause=str(failure.cause), script=standalone_script(pass_, example, failure),
                   edits=len(example.edits), steps=example.edits, example=example, failure=failure)


def _obituary(code: int | None) -> str:
    if code is not None and code < 0:
        return f"the process died of {signal.Signals(-code).name}"
    return f"the process ended with exit code {code}"


def _pickles(error: Exception) -> bool:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return False
    return not isinstance(error, CheckFailure)
