"""A unittest result that turns what happens into verdicts, each handed on as soon as its test ends."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import os
import re
import time
import unittest
from collections.abc import Callable
from types import TracebackType
from typing import Any

from fxpect.errors import CheckFailure
from fxpect.report.counts import Tally, tally
from fxpect.report.kept import kept
from fxpect.report.verdicts import ERROR, FAILED, FIXED, KNOWN, PASSED, SKIPPED, Problem, Verdict

ExcInfo = tuple[type[BaseException], BaseException, TracebackType]
# A test that was interrupted never gets another status, and no verdict.
UNDECIDED = ""
# A failure of this kind is counted even where the test that raised it did not count it itself.
COUNTED_FAILURES = {"CaptureDrift": "capture drift", "PassDrift": "pass drift"}


class Recorder(unittest.TestResult):
    """Collects one verdict a test; ``on_verdict`` gets each, ``on_start`` the name of a test that begins.

    What a test prints is held back and kept with a bad verdict; ``capture_output=False`` lets it through.
    ``file`` is the file that the tests were loaded from, for a class whose set-up fails.
    """

    def __init__(self, on_verdict: Callable[[Verdict], None], on_start: Callable[[str], None] | None = None,
                 *, capture_output: bool = True, file: str = ""):
        super().__init__()
        self.on_verdict, self.on_start, self.capture_output = on_verdict, on_start, capture_output
        self.file = file
        self._reset()

    def _reset(self) -> None:
        self.running = False
        self.status = UNDECIDED
        self.reason = ""
        self.problems: list[Problem] = []
        self.output = io.StringIO()
        self.redirects = contextlib.ExitStack()
        self.began = time.perf_counter()

    def startTest(self, test: unittest.TestCase) -> None:
        """Begin one test: its clock, and what it prints."""
        super().startTest(test)
        self._reset()
        self.running = True
        if self.on_start:
            self.on_start(test.id())
        if self.capture_output:
            self.redirects.enter_context(contextlib.redirect_stdout(self.output))
            self.redirects.enter_context(contextlib.redirect_stderr(self.output))

    def stopTest(self, test: unittest.TestCase) -> None:
        """End one test and hand its verdict on."""
        self.redirects.close()
        super().stopTest(test)
        if self.status != UNDECIDED:
            self._hand_on(test)
        self._reset()

    def addSuccess(self, test: unittest.TestCase) -> None:
        """Note that a test passed."""
        super().addSuccess(test)
        self.status = PASSED

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        """Note an exception that is no failed check; outside a test it is one of a set-up."""
        super().addError(test, err)
        self._problem(ERROR, err, self.errors[-1][1], test)

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        """Note a failed check."""
        super().addFailure(test, err)
        self._problem(FAILED, err, self.failures[-1][1], test)

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        """Note a subtest that went wrong; the test as a whole takes the worst status of them."""
        super().addSubTest(test, subtest, err)
        if err is None:
            return
        failed = issubclass(err[0], test.failureException)
        text = (self.failures if failed else self.errors)[-1][1]
        label = subtest.id().removeprefix(test.id()).strip()
        self._problem(FAILED if failed else ERROR, err, text, test, label)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        """Note a skip, of a test or of a whole class."""
        super().addSkip(test, reason)
        if self.status == UNDECIDED:
            self.status, self.reason = SKIPPED, reason
        if not self.running:
            self._hand_on(test)
            self._reset()

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        """Note a known bug that is still there."""
        super().addExpectedFailure(test, err)
        self.status, self.reason = KNOWN, _first_line(err[1])

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        """Note a known bug that is gone, which fails the run until its mark is removed."""
        super().addUnexpectedSuccess(test)
        self.status, self.reason = FIXED, "expected to fail and passed: remove the expectedFailure mark"

    def _problem(self, status: str, err: ExcInfo, text: str, test: unittest.TestCase,
                 label: str = "") -> None:
        if self.status != ERROR:
            self.status = status
        self.problems.append(problem_of(err[1], text, label))
        if not self.running:
            self._hand_on(test)
            self._reset()

    def _file(self, test: unittest.TestCase) -> str:
        """Return where the class of ``test`` is written."""
        if type(test).__module__.startswith("unittest."):  # stands in for a set-up or a failed import
            return shown_path(self.file) if self.file else ""
        try:
            return shown_path(inspect.getfile(type(test)))
        except (TypeError, OSError):
            return ""

    def _hand_on(self, test: unittest.TestCase) -> None:
        seconds = time.perf_counter() - self.began if self.running else 0.0
        bad = self.status in (FAILED, ERROR, FIXED)
        counted = tally.take()
        _count_failures(counted, self.problems)
        self.on_verdict(Verdict(name=_name(test), status=self.status, seconds=round(seconds, 4),
                                file=self._file(test), reason=self.reason, problems=tuple(self.problems),
                                output=self.output.getvalue() if bad else "", tally=counted,
                                cases=kept.take()))


def _name(test: unittest.TestCase) -> str:
    """Return the name of ``test``, and for a set-up the name of the class with that of the method."""
    found = re.fullmatch(r"(\w+) \((.+)\)", test.id())
    return f"{found[2]}.{found[1]}" if found else test.id()


def problem_of(error: BaseException, text: str, label: str = "") -> Problem:
    """Return the record of ``error``; ``text`` is its traceback."""
    problem = Problem(kind=type(error).__name__, message=str(error), text=text, label=label)
    if isinstance(error, CheckFailure):
        return dataclasses.replace(problem, oracle=error.oracle, pass_name=error.pass_name, node=error.node)
    return problem


def shown_path(path: str) -> str:
    """Return ``path`` as a person would type it: relative where it lies below the current folder."""
    relative = os.path.relpath(os.path.realpath(path), os.path.realpath(os.curdir))
    return path if relative.startswith(os.pardir) else relative.replace(os.sep, "/")


def _count_failures(counted: Tally, problems: list[Problem]) -> None:
    for problem in problems:
        kind = COUNTED_FAILURES.get(problem.kind)
        if kind and not counted[kind]:
            counted.add(kind, detail=_first_line(problem.message))


def _first_line(error: object) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
