"""Running units of tests, in this process or in several that are replaced when one dies.

A worker is ``python -m fxpect.commands.workers``: it reads one JSON request a line from standard input
and answers in JSON lines. A unit of work is one class of tests, so that whatever ``-j`` says, the same
tests share a process state and the verdicts are the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import unittest
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TextIO

from fxpect.loading import SuiteFile, load
from fxpect.report.counts import tally
from fxpect.report.kept import kept
from fxpect.report.progress import Progress
from fxpect.report.recorder import Recorder, problem_of, shown_path
from fxpect.report.verdicts import ERROR, SKIPPED, Problem, Verdict

LOG_TAIL_CHARACTERS = 4000


class Loaded:
    """The test files that this process has imported, each once."""

    def __init__(self, patterns: Sequence[str]):
        self.patterns = patterns
        self.files: dict[SuiteFile, dict[str, list[unittest.TestCase]]] = {}

    def units(self, file: SuiteFile) -> dict[str, int] | Verdict:
        """Return how many tests each unit of ``file`` holds, or the verdict on a file that does not load."""
        try:
            if file not in self.files:
                self.files[file] = load(file, self.patterns)
        except KeyboardInterrupt:
            raise
        except unittest.SkipTest as skip:
            return Verdict(file.module, SKIPPED, reason=str(skip), file=shown_path(file.path))
        except BaseException as error:  # a test file may well call sys.exit()
            return _did_not_load(file, error)
        return {name: len(tests) for name, tests in self.files[file].items()}

    def run(self, file: SuiteFile, unit: str, recorder: Recorder, without: Iterable[str] = ()) -> None:
        """Run one unit, except the tests whose names are in ``without``."""
        gone = set(without)
        if not isinstance(self.units(file), dict):
            raise RuntimeError(f"{file.path} loaded in one process and not in another")
        tally.take()
        kept.take()
        unittest.TestSuite(test for test in self.files[file][unit] if test.id() not in gone).run(recorder)


def _did_not_load(file: SuiteFile, error: BaseException) -> Verdict:
    """Return the verdict; the traceback starts at the file, whoever imported it."""
    frame = error.__traceback__
    while frame and frame.tb_frame.f_code.co_filename != file.path:
        frame = frame.tb_next
    text = "".join(traceback.format_exception(type(error), error, frame))
    return Verdict(file.module, ERROR, file=shown_path(file.path), problems=(problem_of(error, text),))


def run_here(files: Sequence[SuiteFile], patterns: Sequence[str], progress: Progress,
             keep: Callable[[Verdict], None], *, capture_output: bool = True) -> None:
    """Run everything in this process, handing each verdict to ``keep``."""
    loaded = Loaded(patterns)
    plan: list[tuple[SuiteFile, str]] = []
    for file in files:
        units = loaded.units(file)
        if isinstance(units, Verdict):
            progress.found(1)
            _keep(units, progress, keep)
        else:
            progress.found(sum(units.values()))
            plan += [(file, unit) for unit in units]
    for file, unit in plan:
        verdicts: list[Verdict] = []

        def note(verdict: Verdict, verdicts: list[Verdict] = verdicts) -> None:
            verdicts.append(verdict)
            _keep(verdict, progress, keep)

        loaded.run(file, unit, Recorder(note, capture_output=capture_output, file=file.path))
        progress.unit_done(unit, verdicts)


def _keep(verdict: Verdict, progress: Progress, keep: Callable[[Verdict], None]) -> None:
    keep(verdict)
    progress.done(verdict)


class Pool:
    """``jobs`` worker processes that take units from one queue; use it as ``Pool(...).run(files)``.

    ``timeout`` is the seconds that one test may take before its process is killed (None: no limit); ``graphs``
    keeps the cases of the tests.
    """

    def __init__(self, jobs: int, patterns: Sequence[str], progress: Progress,
                 keep: Callable[[Verdict], None], *, timeout: float | None = None, graphs: bool = False):
        self.jobs, self.patterns, self.progress, self.timeout = jobs, patterns, progress, timeout
        self.graphs = graphs
        self.keep = keep
        self.tasks: queue.Queue[tuple[SuiteFile, str] | None] = queue.Queue()
        self.lock = threading.Lock()
        self.broken: BaseException | None = None
        self.workers: set[Worker] = set()
        self.ending = False

    def run(self, files: Sequence[SuiteFile]) -> None:
        """Run every unit of ``files``; returns when all have answered."""
        for file in files:
            self.tasks.put((file, ""))
        threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(self.jobs)]
        for thread in threads:
            thread.start()
        try:
            self.tasks.join()
        finally:
            self.ending = True  # a worker killed from here on is no crash
            for _ in threads:
                self.tasks.put(None)
            for worker in list(self.workers):
                worker.stop()
        if self.broken:
            raise self.broken

    def _serve(self) -> None:
        worker = Worker(self.patterns, self.timeout, self.graphs)
        self.workers.add(worker)
        while (task := self.tasks.get()) is not None:
            try:
                if self.broken is None:
                    self._work(worker, *task)
            except BaseException as error:
                self.broken = error
            finally:
                self.tasks.task_done()

    def _work(self, worker: Worker, file: SuiteFile, unit: str) -> None:
        if unit:
            verdicts = []
            for verdict in worker.run(file, unit):
                verdicts.append(verdict)
                self._note(verdict)
            with self.lock:
                self.progress.unit_done(unit, verdicts)
            return
        units = worker.units(file)
        with self.lock:
            self.progress.found(1 if isinstance(units, Verdict) else sum(units.values()))
        if isinstance(units, Verdict):
            self._note(units)
            return
        for name in units:
            self.tasks.put((file, name))

    def _note(self, verdict: Verdict) -> None:
        with self.lock:
            if not self.ending:
                _keep(verdict, self.progress, self.keep)


class Worker:
    """One worker process, started when it is first needed and again after it died."""

    def __init__(self, patterns: Sequence[str], timeout: float | None, graphs: bool):
        self.patterns, self.timeout, self.graphs = list(patterns), timeout, graphs
        self.process: subprocess.Popen[str] | None = None
        self.log: Any = None
        self.timed_out = self.busy = False

    def units(self, file: SuiteFile) -> dict[str, int] | Verdict:
        """Return the units of ``file``, or the verdict on a file that does not load."""
        for answer in self._ask({"file": dataclasses.asdict(file)}):
            if "units" in answer:
                return answer["units"]
            if "verdict" in answer:
                return Verdict.from_dict(answer["verdict"])
        return self._death(file.module, file)

    def run(self, file: SuiteFile, unit: str) -> Iterator[Verdict]:
        """Yield the verdicts of one unit; a test that takes the process down gets one too."""
        done: list[str] = []
        finished = False
        while not finished:
            current = ""
            for answer in self._ask({"file": dataclasses.asdict(file), "unit": unit, "without": done}):
                if "start" in answer:
                    current = answer["start"]
                elif "verdict" in answer:
                    verdict = Verdict.from_dict(answer["verdict"])
                    done.append(verdict.name)
                    current = ""
                    yield verdict
                else:
                    finished = True
            if not finished:
                yield self._death(current or unit, file)
                # Without a test to blame, the class itself took the process down: give it up.
                finished = not current
                done.append(current)

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """End the process; one that waits for work ends by itself when no more can come."""
        if self.process and self.process.stdin and not self.busy:
            self.process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=5)
        self.kill()

    def _start(self) -> subprocess.Popen[str]:
        self.timed_out = False
        self.log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        process = subprocess.Popen(
            [sys.executable, "-m", "fxpect.commands.workers", json.dumps([self.patterns, self.graphs])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, encoding="utf-8",
            start_new_session=True)  # a Ctrl-C is for the parent, which ends what it no longer needs
        self.process = process
        return process

    def _ask(self, request: dict) -> Iterator[dict]:
        """Yield the answers to one request; they end early where the process dies."""
        process = self.process or self._start()
        assert process.stdin and process.stdout
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            return
        timer: threading.Timer | None = None
        self.busy = True
        try:
            for line in process.stdout:
                if timer:
                    timer.cancel()
                answer = json.loads(line)
                if "start" in answer and self.timeout:
                    timer = threading.Timer(self.timeout, self._too_long)
                    timer.start()
                yield answer
                if "units" in answer or "done" in answer or ("verdict" in answer and "unit" not in request):
                    return
        finally:
            self.busy = False
            if timer:
                timer.cancel()

    def _too_long(self) -> None:
        self.timed_out = True
        self.kill()

    def _death(self, name: str, file: SuiteFile) -> Verdict:
        assert self.process
        code = self.process.wait()
        if self.timed_out:
            kind, message = "Timeout", f"no verdict after {self.timeout:g} s; the process was killed"
        elif code < 0:
            kind, message = "Crash", f"the process died of {signal.Signals(-code).name}"
        else:
            kind, message = "Crash", f"the process ended with exit code {code}"
        self.log.seek(0)
        tail = self.log.read()[-LOG_TAIL_CHARACTERS:]
        self.process = None
        return Verdict(name, ERROR, file=shown_path(file.path), output=tail,
                       problems=(Problem(kind, message, f"{kind}: {message}"),))


def answer_requests(requests: TextIO, answers: TextIO, patterns: Sequence[str]) -> None:
    """Serve requests until they end: what a worker process does."""
    loaded = Loaded(patterns)

    def say(answer: dict) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    for line in requests:
        request = json.loads(line)
        file = SuiteFile(**request["file"])
        if "unit" in request:
            recorder = Recorder(lambda verdict: say({"verdict": verdict.to_dict()}),
                                lambda name: say({"start": name}), file=file.path)
            loaded.run(file, request["unit"], recorder, request["without"])
            say({"done": True})
            continue
        units = loaded.units(file)
        say({"verdict": units.to_dict()} if isinstance(units, Verdict) else {"units": units})


def main() -> None:
    """Be a worker: the two pipes are the protocol's; the tests get another input and output."""
    import faulthandler

    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    faulthandler.enable()
    patterns, graphs = json.loads(sys.argv[1])
    with kept.wanting(graphs):
        answer_requests(requests, answers, patterns)


if __name__ == "__main__":
    main()
