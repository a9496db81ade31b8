"""``fxpect check PASS``: explore what a pass may break, without a test file."""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import multiprocessing
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from fxpect.commands import exit_codes
from fxpect.commands.passes import STAGES
from fxpect.commands.run import jobs

if TYPE_CHECKING:
    from fxpect.campaign.finding import Finding
    from fxpect.campaign.search import Tally
    from fxpect.campaign.stopping import Stop
    from fxpect.passes.known_bugs import KnownBug


_OPTIONS = ("model", "inputs", "capture", "examples", "seconds", "seed", "device", "isolate", "timeout", "memory",
            "outside")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``fxpect check``."""
    parser.add_argument("passes", nargs="*", metavar="PASS",
                        help="a catalogue name (fxpect passes) or package.module:object")
    parser.add_argument("--stage", choices=STAGES, help="every pass of this stage")
    parser.add_argument("-j", "--jobs", type=jobs, default=1, metavar="N",
                        help="check N passes at the same time, or auto: one for each processor (default 1)")
    parser.add_argument("--model", help="package.module:object of the model, or a file that holds a graph text; "
                                        "default: the catalogue's innocent models of the pass, and its own patterns")
    parser.add_argument("--inputs", help='specs of the model\'s inputs, separated by ";": "f32[2, 8]; f32[2, 2]"')
    parser.add_argument("--capture",
                        help="which graph the pass is given; default: the catalogue's, else the first that fires")
    parser.add_argument("--examples", type=int, help="how many examples are judged, for all models together "
                                                     "(default 3000, or 300 for each, and 60 for each pattern; "
                                                     "fewer for a slow pass, see fxpect passes PASS)")
    parser.add_argument("--seconds", type=float, help="stop after so long")
    parser.add_argument("--seed", type=int, default=0, help="another seed walks another way (default 0)")
    parser.add_argument("--device", help="run every example there (default cpu, or FXPECT_DEVICE)")
    parser.add_argument("--outside", action="store_true",
                        help="also explore graphs that the stage of the pass never meets; what they show is marked")
    parser.add_argument("--no-isolate", dest="isolate", action="store_false",
                        help="judge in this process, where a crash or a hang ends the run")
    parser.add_argument("--timeout", type=float, default=20.0, help="seconds for one example (default 20)")
    parser.add_argument("--memory", type=int, default=8192, help="MiB that judging may take (default 8192)")
    parser.add_argument("--limit", type=int, default=0, help="print at most so many findings in full (default all)")
    parser.add_argument("--out", type=pathlib.Path, help="write each finding's script into this folder")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON lines")


def main(args: argparse.Namespace) -> int:
    """Run the command; 0 when nothing was found, 1 when something was, 8 when it was stopped before its end."""
    from fxpect.campaign.stopping import Stop

    # Torch's C++ warns of odd graphs past the filters of Python, once for each place in its source.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    names = _names(args)
    left, total = list(names), 0
    with Stop().listening() as stop:
        for report, findings, tally in _searched(names, args, stop):
            report.end(findings, tally)
            left.remove(report.name)
            total += len(findings)
    if stop:
        not_checked = f"; not checked: {', '.join(left)}" if left else ""
        print(f"fxpect check: stopped by {stop}: what was met until then is told{not_checked}", file=sys.stderr)
        return exit_codes.STOPPED
    return exit_codes.FAILURES if total else exit_codes.OK


def _names(args: argparse.Namespace) -> list[str]:
    """Return the passes to check: those that are named, and those of the stage."""
    from fxpect.errors import FxpectError
    from fxpect.passes.catalogue import catalogue

    names = [*args.passes, *(entry.name for entry in catalogue() if args.stage == entry.stage)]
    if not names:
        raise FxpectError("expected a pass, or --stage; got none\n  fxpect passes")
    return list(dict.fromkeys(names))


def _searched(names: list[str], args: argparse.Namespace,
              stop: Stop) -> Iterator[tuple[_Report, list[Finding], Tally]]:
    """Yield what is found for each pass: in their order, or as each ends where others are searched beside it."""
    options = {name: getattr(args, name) for name in _OPTIONS}
    if min(args.jobs, len(names)) == 1:
        for name in names:
            if not stop:
                report = _Report(name, args)
                yield report, *_search(name, options, report.told, stop)
        return
    # A fresh process each: a search forks, which is not sound beside other threads.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(args.jobs, context, _start_worker, (stop,)) as pool:
        try:
            waiting = {pool.submit(_search_beside, name, options): name for name in names}
            for done in concurrent.futures.as_completed(waiting):
                if (answer := done.result()) is not None:
                    yield _Report(waiting[done], args), *answer
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _search(name: str, options: dict[str, Any], told: Callable[[Finding], None] | None,
            stop: Stop) -> tuple[list[Finding], Tally]:
    """Check one pass; what it returns can cross a process."""
    from fxpect.campaign.plan import check_by_name
    from fxpect.errors import FxpectError

    findings, tally = check_by_name(name, told=told, stop=stop, **options)
    tally.flaws = [(direction, FxpectError(str(error))) for direction, error in tally.flaws]
    return [finding.crossing() for finding in findings], tally


_stop_of_the_pool: Stop


def _start_worker(stop: Stop) -> None:
    """Take over when to stop, which the process that started this one hears of."""
    global _stop_of_the_pool
    from fxpect.campaign.stopping import ignore_signals

    _stop_of_the_pool = stop
    ignore_signals()


def _search_beside(name: str, options: dict[str, Any]) -> tuple[list[Finding], Tally] | None:
    """Check one pass in a process of the pool; None where the pool was stopped before."""
    return None if _stop_of_the_pool else _search(name, options, None, _stop_of_the_pool)


class _Report:
    """What is printed of one pass: each finding that is news when it is told, the rest and the list at the end."""

    def __init__(self, name: str, args: argparse.Namespace):
        self.name, self.args = name, args
        self.shown: dict[Any, tuple[Finding, KnownBug | None]] = {}

    def told(self, finding: Finding) -> None:
        """Print a finding unless the table of known bugs explains it."""
        if (bug := _explanation(finding)) is None:
            self._show(finding, bug)

    def end(self, findings: list[Finding], tally: Tally) -> None:
        """Print what was not told yet, what is news first, and for a person the list of all."""
        left = [(finding, _explanation(finding)) for finding in findings if finding.mark not in self.shown]
        for finding, bug in sorted(left, key=lambda pair: pair[1] is not None):
            self._show(finding, bug)
        if not self.args.json:
            self._sum_up(tally)
        if not tally.fired:
            print(f"{self.name}: the pass never changed the graph: no finding says nothing here", file=sys.stderr)

    def _show(self, finding: Finding, bug: KnownBug | None) -> None:
        self.shown[finding.mark] = finding, bug
        i = len(self.shown)
        if self.args.json:
            print(json.dumps({**finding.to_json(), "known": bug.id if bug else None}, sort_keys=True), flush=True)
            return
        if self.args.limit and i > self.args.limit:
            return
        print(f"\n--- {i}: {finding.cause}  (seen {finding.seen} time{'s' * (finding.seen != 1)})")
        print(finding)
        if bug is not None:
            print(f"  known: {bug.id}: {bug.when}")
        print(f"  pin: {finding.pin()}")
        if self.args.out is not None:
            self.args.out.mkdir(parents=True, exist_ok=True)
            path = self.args.out / f"{self.name.replace(':', '.')}_{i:03d}.py"
            path.write_text(finding.script, encoding="utf-8")
            print(f"  script: python {path}")
        sys.stdout.flush()

    def _sum_up(self, tally: Tally) -> None:
        print()
        told = self.shown.values()
        if 0 < self.args.limit < len(told):
            print(f"{len(told) - self.args.limit} more; leave --limit out to see them")
        for i, (finding, bug) in enumerate(told, 1):
            steps = finding.told_steps() or "the innocent model itself"
            print(f"{i:>4}  {finding.oracle:<13} {steps}{f'  (known: {bug.id})' if bug else ''}")
        known = sum(bug is not None for _, bug in told)
        found = f"{len(told)} finding{'s' * (len(told) != 1)}" + (f", {known} of them known" if known else "")
        print(f"{self.name}: {found}; {tally.judged} examples judged, the pass rewrote {tally.fired} of them; "
              f"{tally.discarded} did not run, {tally.untyped} did not type; {tally.seconds:.1f} s; "
              f"seed {self.args.seed}", flush=True)


def _explanation(finding: Finding) -> KnownBug | None:
    """Return the entry of the table of known bugs that explains a finding, if any."""
    from fxpect.errors import FxpectError
    from fxpect.passes.known_bugs import explanation, load, table_path

    try:
        path = table_path()
    except FxpectError:  # there is no fixtures folder here
        return None
    bugs = load(path) if path.is_file() else ()
    return explanation(bugs, finding.pass_name, finding.failure, finding.before, finding.inputs, finding.steps)
