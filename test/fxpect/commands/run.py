"""``fxpect run``: run the regression suite, or yours, against the torch that is installed.

With ``--json FILE --graphs`` the run can be compared with another one by ``fxpect compare``. Exit codes: 0 all passed,
1 something failed, 2 misuse, 5 nothing ran, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import sys
import time
from pathlib import Path

import fxpect
from fxpect.commands import exit_codes
from fxpect.commands.workers import Pool, run_here
from fxpect.errors import FxpectError
from fxpect.loading import SuiteFile, find
from fxpect.report.junit import junit_xml
from fxpect.report.kept import kept
from fxpect.report.progress import Progress, painter, progress_for, wants_color
from fxpect.report.screen import failures, screen
from fxpect.report.verdicts import RunReport, Verdict

DEFAULT_SUITE = "test/dynamo"
VERSIONED = ("torch", "hypothesis", "expecttest")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fxpect run``."""
    parser.add_argument("targets", nargs="*", metavar="TARGET",
                        help=f"a folder, a file, or a dotted name of tests (default: {DEFAULT_SUITE})")
    parser.add_argument("-k", action="append", default=[], dest="patterns", metavar="PATTERN",
                        help="only tests whose name holds PATTERN, or matches it where it has a *")
    parser.add_argument("-j", "--jobs", type=jobs, default=1, metavar="N",
                        help="run in N processes, or 'auto' for one a core (default: 1, this process)")
    parser.add_argument("--timeout", type=_seconds, metavar="SECONDS",
                        help="kill a test that takes longer (runs in a process of its own)")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write JUnit XML")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every verdict and count as JSON")
    parser.add_argument("--graphs", action="store_true",
                        help="with --json: keep the graphs before and after each pass too, for fxpect compare")
    parser.add_argument("-s", "--show-output", action="store_true",
                        help="let tests print, instead of keeping it for the ones that fail (with -j 1)")
    parser.add_argument("--color", choices=("auto", "always", "never"), default="auto",
                        help="default: auto, which honours NO_COLOR and FORCE_COLOR")


def main(arguments: argparse.Namespace) -> int:
    """Run the tests and print one screen; returns the exit code."""
    if arguments.graphs and not arguments.json:
        raise FxpectError("expected --json FILE with --graphs, to keep them in; got none")
    # Tiny tensors gain nothing from threads, and one thread gives the same sums whatever -j is.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    files = find(arguments.targets or [_default_suite()])
    for path in (arguments.json, arguments.junit):
        if path:
            path.unlink(missing_ok=True)  # a run that dies leaves no older result in its place
    paint = painter(wants_color(sys.stdout, arguments.color))
    progress = progress_for(sys.stderr, color=wants_color(sys.stderr, arguments.color))
    report = run(files, arguments, progress)
    if report.bad:
        print(failures(report, paint))
    print(screen(report, paint))
    for path, text in ((arguments.json, RunReport.to_json), (arguments.junit, junit_xml)):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text(report), encoding="utf-8")
    return exit_code(report)


def run(files: list[SuiteFile], arguments: argparse.Namespace, progress: Progress) -> RunReport:
    """Run ``files`` as ``arguments`` ask and return the report; an interrupt ends it with what there is."""
    began = time.monotonic()
    verdicts: list[Verdict] = []
    interrupted = False
    try:
        if arguments.jobs == 1 and not arguments.timeout:
            with kept.wanting(arguments.graphs):
                run_here(files, arguments.patterns, progress, verdicts.append,
                         capture_output=not arguments.show_output)
        else:
            Pool(arguments.jobs, arguments.patterns, progress, verdicts.append,
                 timeout=arguments.timeout, graphs=arguments.graphs).run(files)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        progress.close()
    return RunReport.of(verdicts, versions=versions(), seconds=time.monotonic() - began,
                        interrupted=interrupted, graphs=arguments.graphs)


def exit_code(report: RunReport) -> int:
    """Return the exit code that says what ``report`` says."""
    if report.interrupted:
        return exit_codes.INTERRUPTED
    if report.bad:
        return exit_codes.FAILURES
    return exit_codes.OK if report.ran else exit_codes.NOTHING_RAN


def versions() -> dict[str, str]:
    """Return the versions that a result depends on, read without importing torch."""
    found = {"python": platform.python_version(), "fxpect": fxpect.__version__}
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _default_suite() -> str:
    if not Path(DEFAULT_SUITE).is_dir():
        raise FxpectError(f"no {DEFAULT_SUITE} in {os.getcwd()}: name the tests to run, as in\n"
                          "    fxpect run path/to/my/tests")
    return DEFAULT_SUITE


def jobs(text: str) -> int:
    """Return the number that an option ``--jobs`` gives; for "auto" that of the processors."""
    if text == "auto":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more, or 'auto'")
    return int(text)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: expected more than 0 seconds")
    return number
