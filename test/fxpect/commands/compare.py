"""``fxpect compare``: what differs from one saved run to another, such as those of two versions of torch.

    fxpect run test/passes --json OLD.json --graphs         under one torch, and NEW.json under another
    fxpect compare OLD.json NEW.json --html drift.html

For each test and case: the same, names only, order only, capture drift, pass drift, numerics, a bug fixed, a bug new;
grouped by cause. Of more than two runs each is compared with the one before it. Exit codes: 0 where nothing differs,
1 where something does (0 with --exit-zero), 2 misuse, such as a run without graphs, 5 where a run has no test.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path

from fxpect.commands import exit_codes
from fxpect.drift.comparing import compare_runs
from fxpect.drift.telling import as_data, as_text
from fxpect.errors import FxpectError
from fxpect.fixtures.atomic import write_atomic
from fxpect.report.progress import painter, wants_color
from fxpect.report.verdicts import RunReport

MAX_LINES = 30


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fxpect compare``."""
    parser.add_argument("first", type=Path, metavar="RUN_A", help="what fxpect run --json FILE --graphs wrote")
    parser.add_argument("others", type=Path, nargs="+", metavar="RUN_B", help="the same of a later run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write one page with the graphs side by side")
    parser.add_argument("--lines", type=_number, default=MAX_LINES, metavar="N",
                        help=f"print at most N lines of each diff, 0 for all (default: {MAX_LINES})")
    parser.add_argument("--exit-zero", action="store_true", help="end with 0 where the runs differ too")
    parser.add_argument("--color", choices=("auto", "always", "never"), default="auto",
                        help="default: auto, which honours NO_COLOR and FORCE_COLOR")


def main(arguments: argparse.Namespace) -> int:
    """Print the report and write the files that were asked for; returns the exit code."""
    runs = [read_run(path) for path in (arguments.first, *arguments.others)]
    drifts = [compare_runs(*pair) for pair in itertools.pairwise(runs)]
    if arguments.html:
        from fxpect.drift.page import page

        _write(arguments.html, page(drifts))
    if arguments.json:
        _write(arguments.json, json.dumps(as_data(drifts), indent=1, sort_keys=True) + "\n")
    paint = painter(wants_color(sys.stdout, arguments.color))
    print("\n\n".join(as_text(drift, paint, max_lines=arguments.lines) for drift in drifts))
    if not all(run.verdicts for run in runs):
        return exit_codes.NOTHING_RAN
    differs = any(drift.differences for drift in drifts) and not arguments.exit_zero
    return exit_codes.FAILURES if differs else exit_codes.OK


def read_run(path: Path) -> RunReport:
    """Return a saved run; raises ``FxpectError``, with the path, for what is none."""
    try:
        return RunReport.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise FxpectError(f"{path}: expected a run that can be read; got {error}") from None
    except FxpectError as error:
        raise FxpectError(f"{path}: {error}") from None


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.encode("utf-8", "replace"))


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text}: expected 0 or more")
    return int(text)
