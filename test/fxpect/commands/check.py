"""``fxpect check PASS``: explore what a pass may break, without a test file."""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import multiprocessing
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fxpect.commands import exit_codes
from fxpect.commands.passes import STAGES
from fxpect.commands.run import jobs

if TYPE_CHECKING:
    from fxpect.campaign.finding import Finding
    from fxpect.campaign.search import Tally
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
                                                     "(default 3000, or 300 for each, and 60 for each pattern)")
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
    """Run the command; 0 when nothing was found, 1 when something was."""
    # Torch's C++ warns of odd graphs past the filters of Python, once for each place in its source.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    total = 0
    for name, (findings, tally) in _searched(_names(args), args):
        total += len(findings)
        _print(name, findings, tally, args)
    return exit_codes.FAILURES if total else exit_codes.OK


def _names(args: argparse.Namespace) -> list[str]:
    """Return the passes to check: those that are named, and those of the stage."""
    from fxpect.errors import FxpectError
    from fxpect.passes.catalogue import catalogue

    names = [*args.passes, *(entry.name for entry in catalogue() if args.stage == entry.stage)]
    if not names:
        raise FxpectError("expected a pass, or --stage; got none\n  fxpect passes")
    return list(dict.fromkeys(names))


def _searched(names: list[str], args: argparse.Namespace) -> Iterator[tuple[str, tuple[list[Finding], Tally]]]:
    """Yield what is found for each pass, in their order, while others are searched beside it."""
    options = {name: getattr(args, name) for name in _OPTIONS}
    if min(args.jobs, len(names)) == 1:
        yield from ((name, _search(name, options)) for name in names)
        return
    # A fresh process each: a search forks, which is not sound beside other threads.
    with concurrent.futures.ProcessPoolExecutor(args.jobs, multiprocessing.get_context("spawn")) as pool:
        try:
            yield from zip(names, pool.map(_search, names, [options] * len(names)))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _search(name: str, options: dict[str, Any]) -> tuple[list[Finding], Tally]:
    """Check one pass; what it returns can cross a process."""
    from fxpect.campaign.plan import check_by_name
    from fxpect.errors import FxpectError

    findings, tally = check_by_name(name, **options)
    tally.flaws = [(direction, FxpectError(str(error))) for direction, error in tally.flaws]
    return [finding.crossing() for finding in findings], tally


def _print(name: str, findings: list[Finding], tally: Tally, args: argparse.Namespace) -> None:
    told = _with_known(findings)
    if args.json:
        for finding, bug in told:
            print(json.dumps({**finding.to_json(), "known": bug.id if bug else None}, sort_keys=True))
        return
    shown = told[:args.limit] if args.limit else told
    for i, (finding, bug) in enumerate(shown, 1):
        print(f"\n--- {i} of {len(told)}: {finding.cause}  (seen {finding.seen} times)")
        print(finding)
        if bug is not None:
            print(f"  known: {bug.id}: {bug.when}")
        print(f"  pin: {finding.pin()}")
        if args.out is not None:
            args.out.mkdir(parents=True, exist_ok=True)
            path = args.out / f"{name.replace(':', '.')}_{i:03d}.py"
            path.write_text(finding.script, encoding="utf-8")
            print(f"  script: python {path}")
    print()
    if len(shown) < len(told):
        print(f"{len(told) - len(shown)} more; leave --limit out to see them")
    for i, (finding, bug) in enumerate(told, 1):
        steps = finding.told_steps() or "the innocent model itself"
        print(f"{i:>4}  {finding.oracle:<13} {steps}{f'  (known: {bug.id})' if bug else ''}")
    known = sum(bug is not None for _, bug in told)
    found = f"{len(told)} finding{'s' * (len(told) != 1)}" + (f", {known} of them known" if known else "")
    print(f"{name}: {found}; {tally.judged} examples judged, the pass rewrote {tally.fired} of them; "
          f"{tally.discarded} did not run, {tally.untyped} did not type; {tally.seconds:.1f} s; seed {args.seed}")
    if not tally.fired:
        print(f"{name}: the pass never changed the graph: no finding says nothing here", file=sys.stderr)


def _with_known(findings: list[Finding]) -> list[tuple[Finding, KnownBug | None]]:
    """Return each finding with the entry of the table of known bugs that explains it, if any: what is news first."""
    from fxpect.errors import FxpectError
    from fxpect.passes.known_bugs import explanation, load, table_path

    try:
        path = table_path()
    except FxpectError:  # there is no fixtures folder here
        return [(finding, None) for finding in findings]
    bugs = load(path) if path.is_file() else ()
    told = [(each, explanation(bugs, each.pass_name, each.failure, each.before, each.inputs, each.steps))
            for each in findings]
    return sorted(told, key=lambda pair: pair[1] is not None)
