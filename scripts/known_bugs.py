#!/usr/bin/env python3
"""Explore passes of the catalogue and print what is news as entries for fixtures/known_torch_bugs.toml.

    scripts/known_bugs.py                          every pass; takes hours
    scripts/known_bugs.py addmm sink_cat_after_pointwise --examples 1000

What an entry of the table explains already is only counted. A proposal is not yet a bug: say in ``when`` under
which condition it happens, in ``shows`` what an example must hold, merge it with what has the same cause, and
leave out what the stage of the pass never meets. Needs an environment with fxpect in it.
"""

import argparse
import os
import re
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("passes", nargs="*", metavar="PASS", help="names of the catalogue (default: all)")
    parser.add_argument("--examples", type=int, default=1000, help="how many are judged for each pass (1000)")
    parser.add_argument("--seed", type=int, default=0, help="another seed walks another way (0)")
    arguments = parser.parse_args()

    from fxpect.campaign.plan import check_by_name
    from fxpect.passes.catalogue import catalogue, find
    from fxpect.passes.known_bugs import explanation, load, table_path

    bugs = load(table_path(ROOT))
    entries = [find(name) for name in arguments.passes] or catalogue()
    for entry in entries:
        known = 0
        findings, tally = check_by_name(entry.name, examples=arguments.examples, seed=arguments.seed)
        for number, finding in enumerate(findings, 1):
            if explanation(bugs, entry.name, finding.failure, finding.before, finding.inputs) is not None:
                known += 1
            else:
                print(f"# {finding.cause}; seen {finding.seen} times\n# " + finding.message.replace("\n", "\n# "))
                print(proposal(finding, number), flush=True)
        print(f"{entry.name}: {known} known, {len(findings) - known} new; {tally.judged} examples judged",
              file=sys.stderr, flush=True)
    return 0


def proposal(finding, number: int) -> str:
    """Return an entry for a finding, with what a person must fill in marked."""
    import torch
    from packaging.version import Version

    from fxpect.examples import short
    from fxpect.passes.known_bugs import KnownBug, as_toml

    example = finding.example
    name = re.sub(r"[^a-z0-9]+", "-", finding.pass_name.rpartition(".")[2].lower()).strip("-")
    return as_toml(KnownBug(
        id=f"{name}-{finding.oracle}-{number}", pass_name=finding.pass_name, when="FILL IN", oracle=finding.oracle,
        cause=f"{re.escape(str(finding.failure.cause))}$", torch=f"=={Version(torch.__version__).base_version}",
        capture=example.capture, before=finding.before, inputs=tuple(short(value) for value in example.inputs),
        steps=finding.steps, sizes=tuple(dict(example.sizes).items())))


if __name__ == "__main__":
    sys.exit(main())
