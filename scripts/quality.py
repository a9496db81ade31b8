#!/usr/bin/env python3
"""Measure what a search finds: real bugs of shipped passes, and planted ones, from innocent models alone.

Every search has all directions, the default budget, and none of the buggy examples. It takes about fifteen minutes on
one core. Ends with 1 where fewer than MIN_SAMPLES in twenty of the real bugs are found, or a planted one is missed.
Needs an environment with fxpect in it.

    scripts/quality.py             both tables
    scripts/quality.py --write     both, into the README
    scripts/quality.py --seed 1    another way through the neighbours
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import _readme as readme

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

MIN_SAMPLES = 17


def samples(seed: int) -> tuple[list[tuple[str, ...]], float]:
    """Return a row for each real bug that the installed torch has, and which part of them is found."""
    from test.quality.sample_bugs import SAMPLES

    from fxpect.campaign.plan import check_by_name

    rows, found, searches = [], 0, {}
    present = [sample for sample in SAMPLES if sample.applies]
    for sample in present:
        if sample.pass_name not in searches:
            searches[sample.pass_name] = check_by_name(sample.pass_name, seed=seed)
        findings, tally = searches[sample.pass_name]
        first = min(filter(sample.explains, findings), key=lambda finding: finding.nth, default=None)
        found += first is not None
        seconds = "" if first is None else f"{tally.seconds * first.nth / tally.judged:.1f}"
        rows.append((f"{sample.number}: {sample.what}", f"`{sample.pass_name}`", *_found(first, seconds)))
        print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    return rows, found / len(present)


def planted(seed: int) -> tuple[list[tuple[str, ...]], bool]:
    """Return a row for each oracle, over the planted bugs that it has to report, and whether all are found."""
    from test.quality.planted_bugs import PLANTED
    from test.quality.test_planted_bugs import oracles_of, start_of

    from fxpect.campaign.check import Tally, check_starts

    by_oracle: dict[str, list] = {}
    for bug in PLANTED.values():
        tally, start = Tally(), time.monotonic()
        findings = check_starts(bug.function, [start_of(bug)], seed=seed, outside=bug.outside,
                                judge_options={"oracles": oracles_of(bug)}, tally=tally)
        rate = tally.judged / (time.monotonic() - start)
        own = (finding for finding in findings if finding.oracle == bug.oracle)
        first = min(own, key=lambda finding: finding.nth, default=None)
        by_oracle.setdefault(bug.oracle, []).append((first, rate))
        print(bug.name, "missed" if first is None else first.nth, sep=" | ", file=sys.stderr, flush=True)
    rows, complete = [], True
    for oracle, searches in sorted(by_oracle.items()):
        found = [(first, rate) for first, rate in searches if first is not None]
        complete = complete and len(found) == len(searches)
        middle = [statistics.median(values) for values in (
            [first.nth for first, _ in found], [first.nth / rate for first, rate in found],
            [_nodes(first) for first, _ in found])] if found else [0, 0.0, 0]
        rows.append((oracle, str(len(searches)), str(len(found)), f"{middle[0]:.0f}", f"{middle[1]:.1f}",
                     f"{middle[2]:.0f}"))
    return rows, complete


def _found(first, seconds: str) -> tuple[str, str, str, str]:
    if first is None:
        return "no", "", "", ""
    return "yes", str(first.nth), seconds, str(_nodes(first))


def _nodes(finding) -> int:
    """Return how many calls the smallest example has."""
    return sum(" = " in line and ":" in line.split(" = ")[0] for line in finding.before.splitlines())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the searches (0)")
    parser.add_argument("--write", action="store_true", help="put the tables into the README")
    arguments = parser.parse_args()
    if arguments.write and not readme.has_place("quality"):
        parser.error("--write: the README has no place for the table")
    rows, part = samples(arguments.seed)
    kinds, complete = planted(arguments.seed)
    text = "\n".join((
        readme.table(("real bug", "pass", "found", "at example", "seconds", "calls"), rows), "",
        readme.table(("planted, seen by", "bugs", "found", "at example", "seconds", "calls"), kinds)))
    print(text)
    if arguments.write:
        readme.put("quality", text)
    return 0 if complete and part >= MIN_SAMPLES / 20 else 1


if __name__ == "__main__":
    sys.exit(main())
