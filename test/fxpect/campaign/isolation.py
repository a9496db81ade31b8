"""A check in a subprocess: a pass that crashes the interpreter, hangs or eats memory is one finding, not the end."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import resource
import signal
import time
from typing import Any

from fxpect.campaign.check import Tally, check
from fxpect.campaign.finding import Finding, inputs_text
from fxpect.errors import CheckFailure, FxpectError, PassCrash
from fxpect.examples import Example
from fxpect.execution import as_pass
from fxpect.standalone.script import standalone_script

MAX_DEATHS = 5


def isolated_check(pass_: Any, model: Any, *inputs: Any, timeout: float = 20.0, memory: int = 8192,
                   tally: Tally | None = None, **options: Any) -> list[Finding]:
    """Do what ``check`` does in a forked process, and survive what ends that process.

    The child says which example it is about to judge. When it dies, when one example takes longer than
    ``timeout`` seconds or the child grows by more than ``memory`` MiB, that example becomes a finding and a
    new child explores the same way again without it: exploration is a function of its arguments. After five
    deaths it stops. Raises ``FxpectError`` where processes cannot be forked.
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        raise FxpectError("isolate=True needs a system that can fork; leave it out here")
    deaths: list[Finding] = []
    skip: set[str] = set()
    while True:
        outcome = _run_child(pass_, model, inputs, options, skip, timeout, memory)
        if outcome.findings is not None:
            if tally is not None:
                tally.add(outcome.tally)
            return [*deaths, *outcome.findings]
        if outcome.error is not None:
            raise outcome.error
        if outcome.current is None:
            raise FxpectError(f"the process that checks {as_pass(pass_).name} ended before its first example: {outcome.why}")
        skip.add(outcome.current.fingerprint)
        deaths.append(_death(as_pass(pass_), outcome))
        if len(deaths) >= MAX_DEATHS:
            return deaths


@dataclasses.dataclass
class _Current:
    """The example that the child was about to judge, in a form that crosses a process."""

    fingerprint: str
    text: str
    inputs: tuple[Any, ...]
    capture: str
    edits: tuple[str, ...]
    triggers: tuple[str, ...]
    sizes: dict[str, int]


@dataclasses.dataclass
class _Outcome:
    findings: list[Finding] | None = None
    tally: Tally = dataclasses.field(default_factory=Tally)
    error: Exception | None = None
    current: _Current | None = None
    why: str = ""


def _run_child(pass_: Any, model: Any, inputs: tuple, options: dict, skip: set[str], timeout: float,
               memory: int) -> _Outcome:
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(there, pass_, model, inputs, options, skip, memory), daemon=True)
    child.start()
    there.close()
    outcome = _Outcome()
    started = time.monotonic()
    try:
        while True:
            # Capture and the first imports are not an example; they get ten times as long.
            allowed = timeout if outcome.current is not None else 10 * timeout
            if not here.poll(max(0.0, started + allowed - time.monotonic())):
                outcome.why = f"one example took longer than {timeout:g} s"
                break
            kind, value = here.recv()
            started = time.monotonic()
            if kind == "judging":
                outcome.current = value
            elif kind == "done":
                outcome.findings, outcome.tally = value
                break
            else:
                outcome.error = value
                break
    except EOFError:
        child.join(5)
        outcome.why = _obituary(child.exitcode)
    finally:
        if child.is_alive():
            os.kill(child.pid, signal.SIGKILL)
        child.join()
        here.close()
    return outcome


def _child(pipe: Any, pass_: Any, model: Any, inputs: tuple, options: dict, skip: set[str], memory: int) -> None:
    import torch

    torch.set_num_threads(1)
    with contextlib.suppress(ValueError, OSError):
        used = int(open("/proc/self/statm", encoding="ascii").read().split()[0]) * resource.getpagesize()
        limit = used + memory * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def announce(fingerprint: str, example: Example) -> bool:
        if fingerprint in skip:
            return False
        plain = example.portable()
        pipe.send(("judging", _Current(fingerprint, plain.text, plain.inputs, plain.capture, plain.edits,
                                       plain.triggers, dict(plain.sizes))))
        return True

    tally = Tally()
    try:
        findings = check(pass_, model, *inputs, announce=announce, tally=tally, **options)
        pipe.send(("done", ([_crossing(finding) for finding in findings], tally)))
    except Exception as error:
        pipe.send(("error", error if _pickles(error) else FxpectError(f"{type(error).__name__}: {error}")))
    pipe.close()
    os._exit(0)


def _crossing(finding: Finding) -> Finding:
    """Return the finding without what cannot cross a process: live graphs and the exception's cause."""
    plain = finding.example.portable()
    failure = type(finding.failure)(finding.oracle, finding.message, pass_name=finding.pass_name, cause=finding.failure.cause)
    return dataclasses.replace(finding, failure=failure, example=_Parcel(plain.text, plain.inputs, plain.capture,
                                                                         plain.edits, dict(plain.sizes)))


@dataclasses.dataclass(frozen=True)
class _Parcel:
    """An example as text; it becomes an ``Example`` again when its inputs are asked for."""

    text: str
    inputs: tuple[Any, ...]
    capture: str
    edits: tuple[str, ...]
    sizes: dict[str, int]

    def realize(self, **options: Any) -> list[Any]:
        """Return fresh arguments."""
        return Example.from_text(self.text, *self.inputs, capture=self.capture, sizes=self.sizes).realize(**options)


def _death(pass_: Any, outcome: _Outcome) -> Finding:
    current = outcome.current
    assert current is not None
    example = Example.from_text(current.text, *current.inputs, capture=current.capture, sizes=current.sizes,
                                edits=current.edits, triggers=current.triggers)
    failure = PassCrash("crash", outcome.why, pass_name=pass_.name, before=current.text,
                        cause=f"crash:process:{outcome.why}")
    return Finding(oracle="crash", pass_name=pass_.name, before=current.text, after="", inputs=inputs_text(example),
                   message=outcome.why, cause=str(failure.cause), script=standalone_script(pass_, example, failure),
                   edits=len(current.edits), steps=current.edits, example=example, failure=failure)


def _obituary(code: int | None) -> str:
    if code is not None and code < 0:
        return f"the process died of {signal.Signals(-code).name}"
    return f"the process ended with exit code {code}"


def _pickles(error: Exception) -> bool:
    import pickle

    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return False
    return not isinstance(error, CheckFailure)
