"""What lies next to the innocent models of every pass breaks nothing but in the ways that are known.

A finding that no entry of ``fixtures/known_torch_bugs.toml`` explains is news, and fails: a bug of torch that is
not recorded yet, or a flaw of what fxpect explores. ``FXPECT_EXAMPLES`` sets how many examples are judged for each
pass (60), for a longer search than a run affords.
"""

import os
import unittest
from pathlib import Path

import torch

from fxpect.campaign.finding import Finding
from fxpect.campaign.plan import check_by_name
from fxpect.errors import CheckFailure
from fxpect.passes.catalogue import catalogue
from fxpect.passes.known_bugs import load, table_path, unexplained
from fxpect.report.counts import tally

torch.set_num_threads(1)
EXAMPLES = int(os.environ.get("FXPECT_EXAMPLES", "60"))
BUGS = load(table_path(Path(__file__).parents[2]))


class NeighbourhoodTests(unittest.TestCase):
    """One test for each pass, over all its models: equal numbers of examples give equal findings."""

    maxDiff = None


def check_neighbourhood(name: str, examples: int) -> None:
    """Raise for the findings that no known bug explains, the smallest first."""
    findings, done = check_by_name(name, examples=examples)
    tally.add("examples", done.judged)
    tally.add("discarded", done.discarded)
    news = [one for one in findings if unexplained(BUGS, name, [one.failure], one.before, one.inputs)]
    if news:
        first = min(news, key=lambda finding: (finding.edits, len(finding.before)))
        raise CheckFailure(first.oracle, _report(first, len(news)), pass_name=name, before=first.before,
                           after=first.after, script=first.script, cause=first.cause)


def _report(finding: Finding, number: int) -> str:
    """Return what a person needs to judge and pin a finding that is news."""
    others = f" ({number - 1} more)" if number > 1 else ""
    return (f"expected nothing but known bugs; got news{others}: {finding.cause}\n{finding}\n"
            f"  pin: {finding.pin()}\n"
            f"  a bug of torch belongs into fixtures/known_torch_bugs.toml; all of them, each with a script:\n"
            f"    fxpect check {finding.pass_name} --examples {EXAMPLES} --out .fxpect/findings")


def _add_tests() -> None:
    """Give the class one test for each pass that the installed torch has."""
    for entry in catalogue():
        def test(self, name=entry.name):
            check_neighbourhood(name, EXAMPLES)

        test.__name__ = f"test_{entry.name.replace('.', '_')}"
        test.__qualname__ = f"NeighbourhoodTests.{test.__name__}"
        test.__doc__ = f"The neighbours of the models of {entry.name} hold, but for known bugs."
        setattr(NeighbourhoodTests, test.__name__, test)


_add_tests()

if __name__ == "__main__":
    unittest.main()
