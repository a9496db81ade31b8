"""A search in a forked process: what crashes the interpreter, hangs or eats memory is one example, not the end."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import hashlib
import mmap
import multiprocessing
import os
import pickle
import resource
import signal
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from fxpect.campaign.finding import Finding, Parcel
from fxpect.campaign.search import Tally, Watcher, search
from fxpect.campaign.starts import Start
from fxpect.campaign.stopping import Stop
from fxpect.errors import CheckFailure, FxpectError, PassCrash
from fxpect.examples import Example, inputs_text
from fxpect.execution import as_pass
from fxpect.standalone.script import standalone_script
from fxpect.strategies.draft import Edit

MAX_DEATHS = 5
MAX_LOST_STEPS = 40
# So many examples that hold are told at once; those that a child keeps to itself are judged again.
_HELD_AT_ONCE = 64


def isolated_search(pass_: Any, starts: Sequence[Start], *, timeout: float = 20.0, memory: int = 8192,
                    tally: Tally | None = None, told: Callable[[Finding], None] | None = None,
                    stop: Stop | None = None, **options: Any) -> list[Finding]:
    """Do what ``search`` does in a forked process, and go on after what ends that process.

    When the child dies, takes longer than ``timeout`` seconds for one example, or grows by more than ``memory``
    MiB, a new child goes the same way without that example, judging only what is not yet known to hold: a search
    is a function of its arguments. A step on which torch itself dies is left out; an example whose graph runs and
    whose judging dies is a finding, and after five of those the search ends. Raises ``FxpectError`` where
    processes cannot be forked.
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        raise FxpectError("isolate=True needs a system that can fork; leave it out here")
    known = _Memory()
    deaths: list[Finding] = []
    tally = Tally() if tally is None else tally
    before = Tally()
    met: dict[Any, Finding] = {}

    def found(finding: Finding) -> None:
        """Tell a finding once: the child that comes after one that died meets it again."""
        if finding.mark not in met:
            met[finding.mark] = finding
            if told is not None:
                told(finding)

    while True:
        known.last = sum(death.seen for death in deaths) + len(known.untold) >= MAX_DEATHS or \
            len(known.lost) + len(known.refused) >= MAX_LOST_STEPS
        if known.last and not known.untold or len(known.refused) > MAX_DEATHS + MAX_LOST_STEPS:
            tally.add(before)
            return deaths
        outcome = _run(lambda pipe, slate: _explore(pipe, slate, pass_, starts, options, known, memory, stop),
                       known, timeout, found)
        for grave in outcome.graves:
            why = known.untold.pop(grave.print_, "")
            if why and _runs(grave, timeout):
                if (death := _bury(deaths, _death(as_pass(pass_), grave, why))) is not None:
                    found(death)
        if outcome.error is not None:
            raise outcome.error
        if outcome.done is not None:
            findings, done = outcome.done
            if findings is None:
                before = done
                continue
            tally.add(done)
            for why in known.untold.values():
                warnings.warn(f"{as_pass(pass_).name}: {why}, on an example that was not met again", stacklevel=3)
            return [*deaths, *findings]
        if stop:
            return list(met.values())
        if outcome.at == _JUDGES:
            known.refused.add(outcome.where)
            known.untold[outcome.where] = outcome.why
        elif outcome.at == _STEPS:
            known.lost.add(outcome.where)
        else:
            name = as_pass(pass_).name
            raise FxpectError(f"the process that checks {name} ended before its first example: {outcome.why}")


def can_isolate() -> bool:
    """Whether a forked process can do all that this one can.

    Autograd refuses to run in one after it started threads for a device here (torch/csrc/autograd/engine.cpp,
    ``track_bad_autograd_forks``, torch 2.13.0).
    """
    if "fork" not in multiprocessing.get_all_start_methods() or multiprocessing.current_process().daemon:
        return False
    child = multiprocessing.get_context("fork").Process(target=_differentiate, daemon=True)
    _start(child)
    child.join()
    return child.exitcode == 0


def _differentiate() -> None:
    import torch

    try:
        torch.ones(1, requires_grad=True).sum().backward()
    except RuntimeError:
        os._exit(1)
    os._exit(0)


def _start(child: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads, which wait here
        child.start()


@dataclasses.dataclass
class _Memory:
    """What outlives a child, by digest: steps and examples that ended one, and examples that hold.

    ``untold`` are the refused examples of which the parent knows nothing but why the child ended: the next
    child tells them when it meets them, so that no other example need be put into words. ``last`` says that
    the next child is only asked for these.
    """

    lost: set[bytes] = dataclasses.field(default_factory=set)
    refused: set[bytes] = dataclasses.field(default_factory=set)
    untold: dict[bytes, str] = dataclasses.field(default_factory=dict)
    held: dict[bytes, bool] = dataclasses.field(default_factory=dict)
    last: bool = False


@dataclasses.dataclass(frozen=True)
class _Grave:
    """An example that ended a child, in a form that crosses a process."""

    print_: bytes
    parcel: Parcel


@dataclasses.dataclass
class _Outcome:
    done: tuple[list[Finding] | None, Tally] | None = None
    error: Exception | None = None
    graves: list[_Grave] = dataclasses.field(default_factory=list)
    at: int = 0
    where: bytes = b""
    why: str = ""


_STEPS, _JUDGES = 1, 2


class _Slate:
    """A few bytes that both processes see: how often the child wrote, what it is at, and a digest of which.

    A child that dies has no time to send anything, and a pipe for every example would cost more than judging it.
    """

    _SIZE = 32

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, self._SIZE)
        self.count = 0

    def write(self, what: int, digest: bytes) -> None:
        """Say what comes next."""
        self.count += 1
        self.memory[:25] = self.count.to_bytes(8, "little") + bytes([what]) + digest

    def read(self) -> tuple[int, int, bytes]:
        """Return what was written last: the count, what, and which."""
        seen = self.memory[:25]
        return int.from_bytes(seen[:8], "little"), seen[8], seen[9:]


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


class _AllTold(BaseException):
    """The last child has said what it was asked for."""


class _Teller(Watcher):
    """The watcher in the child: says what comes next, so that it is known when the child does not come back."""

    def __init__(self, pipe: Any, slate: _Slate, known: _Memory, stop: Stop | None):
        super().__init__(stop=stop)
        self.pipe, self.slate, self.memory = pipe, slate, known
        self.fresh: list[tuple[bytes, bool]] = []

    def may_take(self, base: str, edit: Edit) -> bool:
        """Refuse a step that ended an earlier child."""
        step = _digest(f"{base}\n{edit!r}")
        if step in self.memory.lost:
            return False
        self.slate.write(_STEPS, step)
        return True

    def may_judge(self, print_: str, example: Example) -> bool:
        """Refuse an example that ended an earlier child, and say once which it is."""
        digest = _digest(print_)
        if digest in self.memory.refused:
            if self.memory.untold.pop(digest, None) is not None:
                self.pipe.send(("grave", _Grave(digest, Parcel.of(example))))
                if self.memory.last and not self.memory.untold:
                    raise _AllTold
            return False
        self.slate.write(_JUDGES, digest)
        return True

    def held(self, print_: str, fired: bool) -> None:
        """Say that an example holds, for the child that may come after this one."""
        self.fresh.append((_digest(print_), fired))
        if len(self.fresh) >= _HELD_AT_ONCE:
            self.pipe.send(("held", self.fresh))
            self.fresh = []

    def found(self, finding: Finding) -> None:
        """Say what was found."""
        self.pipe.send(("found", finding.crossing()))

    def known(self, print_: str) -> bool | None:
        """Return what an earlier child found."""
        return self.memory.held.get(_digest(print_)) if self.memory.held else None


def _run(body: Callable[[Any, _Slate], None], known: _Memory, timeout: float,
         found: Callable[[Finding], None] | None = None) -> _Outcome:
    """Fork, listen until the child is done or gone, and tell which."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    slate = _Slate()
    child = context.Process(target=body, args=(there, slate), daemon=True)
    _start(child)
    there.close()
    outcome = _Outcome()
    try:
        _listen(here, slate, known, timeout, outcome, found)
    except EOFError:
        child.join(5)
        outcome.why = _obituary(child.exitcode)
    finally:
        if child.is_alive() and child.pid is not None and outcome.done is None:
            os.kill(child.pid, signal.SIGKILL)
        child.join()
        here.close()
    _, outcome.at, outcome.where = slate.read()
    return outcome


def _listen(here: Any, slate: _Slate, known: _Memory, timeout: float, outcome: _Outcome,
            found: Callable[[Finding], None] | None) -> None:
    """Take what the child sends until it is done or one thing takes too long; ``EOFError`` when it is gone."""
    last, count = time.monotonic(), 0
    while outcome.done is None and outcome.error is None:
        if here.poll(min(1.0, timeout / 10)):
            kind, value = here.recv()
            last = time.monotonic()
            if kind == "held":
                known.held.update(value)
            elif kind == "grave":
                outcome.graves.append(value)
            elif kind == "found" and found is not None:
                found(value)
            else:
                setattr(outcome, kind, value)
            continue
        written, at, _ = slate.read()
        if written != count:
            last, count = time.monotonic(), written
        # Capture and the first imports are not an example; they get ten times as long.
        if time.monotonic() > last + (timeout if at else 10 * timeout):
            outcome.why = f"one example took longer than {timeout:g} s"
            return


def _limit(memory: int) -> None:
    """Bound what this process may take more, and leave no core file behind."""
    import torch

    gc.freeze()  # a collection would write to every object of the parent, and so copy the page it lies on
    torch.set_num_threads(1)  # threads of the parent's pools do not live in a forked child
    with contextlib.suppress(ValueError, OSError):
        with open("/proc/self/statm", encoding="ascii") as pages:
            used = int(pages.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory * 2**20,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _explore(pipe: Any, slate: _Slate, pass_: Any, starts: Sequence[Start], options: dict, known: _Memory,
             memory: int, stop: Stop | None) -> None:
    _limit(memory)
    tally = Tally()
    try:
        findings = search(pass_, starts, tally=tally, watcher=_Teller(pipe, slate, known, stop), **options)
        tally.flaws = [(name, FxpectError(f"{type(error).__name__}: {error}")) for name, error in tally.flaws]
        pipe.send(("done", ([finding.crossing() for finding in findings], tally)))
    except _AllTold:
        pipe.send(("done", (None, tally)))
    except Exception as error:
        pipe.send(("error", error if _pickles(error) else FxpectError(f"{type(error).__name__}: {error}")))
    pipe.close()
    os._exit(0)


def _runs(grave: _Grave, timeout: float) -> bool:
    """Whether the graph runs without the pass; torch dies of some graphs by itself."""
    def body(pipe: Any, slate: _Slate) -> None:
        _limit(8192)
        slate.write(_JUDGES, grave.print_)
        example = grave.parcel.example()
        try:
            example.build()(*example.realize())
        except Exception:
            os._exit(1)
        pipe.send(("done", ([], Tally())))
        os._exit(0)

    return _run(body, _Memory(), timeout).done is not None


def _death(pass_: Any, grave: _Grave, why: str) -> Finding:
    example = grave.parcel.example()
    failure = PassCrash("crash", why, pass_name=pass_.name, before=example.text, cause=f"crash:process:{why}")
    return Finding(oracle="crash", pass_name=pass_.name, before=example.text, after="", inputs=inputs_text(example),
                   message=why, cause=str(failure.cause), script=standalone_script(pass_, example, failure),
                   edits=len(example.edits), steps=example.edits, example=example, failure=failure)


def _bury(deaths: list[Finding], death: Finding) -> Finding | None:
    """Add a finding and return it, or count it where an earlier one died alike after some of its steps."""
    for i, earlier in enumerate(deaths):
        if earlier.cause == death.cause and set(earlier.steps) <= set(death.steps):
            deaths[i] = dataclasses.replace(earlier, seen=earlier.seen + 1)
            return None
    deaths.append(death)
    return death


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
