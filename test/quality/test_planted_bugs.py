"""Every planted bug is found from an innocent model, by the oracle that must see it, along each of its directions."""

import unittest

import torch

from fxpect.campaign.finding import Finding
from fxpect.campaign.search import Tally, search
from fxpect.campaign.starts import Start
from fxpect.oracles.judge import ALWAYS, ORACLES, judge
from fxpect.report.counts import tally
from fxpect.strategies.near import DIRECTIONS
from test.quality.planted_bugs import PLANTED
from test.quality.planting import Planted

torch.set_num_threads(1)


class PlantedBugTests(unittest.TestCase):
    """One test for each bug."""

    def test_there_are_sixty_of_every_kind(self):
        """Sixty bugs at least; each oracle, and each direction, is all that sees some bug."""
        self.assertGreaterEqual(len(PLANTED), 60)
        oracles = {bug.oracle for bug in PLANTED.values() if bug.oracle in bug.only}
        directions = {name for bug in PLANTED.values() for name in set(bug.only) & set(bug.directions)}
        self.assertEqual(set(ORACLES) - oracles, set())
        self.assertEqual(set(DIRECTIONS) - directions, set())


def find(bug: Planted, directions: tuple[str, ...], examples: int, tally_: Tally | None = None) -> Finding | None:
    """Return the finding of this bug's oracle along these directions, or on the innocent model where there are none.

    None where nothing of it is found.
    """
    found = search(
        bug.function,
        [start_of(bug)],
        examples=examples if directions else 1,
        directions=directions or None,
        judge_options={"oracles": oracles_of(bug)},
        outside=bug.outside,
        tally=tally_,
    )
    return next((finding for finding in found if finding.oracle == bug.oracle), None)


def start_of(bug: Planted) -> Start:
    """Return where the search for a bug starts: with dynamic shapes where only other sizes show it."""
    model, inputs = bug.start
    return Start(model, inputs, bug.capture, dynamic=bug.oracle == "generality")


def oracles_of(bug: Planted) -> tuple[str, ...]:
    """Return the oracles to ask: those that always are, and the bug's own."""
    return tuple(dict.fromkeys((*ALWAYS, bug.oracle))) if bug.oracle in ORACLES else ALWAYS


def check_bug(test: unittest.TestCase, bug: Planted) -> None:
    """Fail unless each direction leads to the bug, and the oracle or direction that is said to be alone is."""
    found = None
    for direction in bug.directions or ("",):
        found = find(bug, tuple(direction.split(" + ")) if direction else (), bug.within)
        where = f"along {direction} within {bug.within} examples" if direction else "on the innocent model"
        test.assertIsNotNone(found, f"{bug.name}: expected {bug.oracle} to see it {where}; got nothing of it")
    tally.add("examples", bug.within * max(1, len(bug.directions)))
    if set(bug.only) & set(bug.directions):
        others = tuple(name for name in DIRECTIONS if name not in bug.only)
        other = find(bug, others, bug.within)
        test.assertIsNone(other, f"{bug.name}: expected {' and '.join(bug.only)} alone to lead to it; got\n{other}")
        tally.add("examples", bug.within)
    if bug.oracle in bug.only:
        rest = tuple(oracle for oracle in ALWAYS if oracle != bug.oracle)
        seen = judge(bug.function, found.example, oracles=rest).failures
        test.assertEqual([str(failure) for failure in seen], [], f"{bug.name}: expected {bug.oracle} alone to see it")


def _add_tests() -> None:
    """Give the class one test for each bug."""
    for bug in PLANTED.values():

        def test(self, bug=bug):
            check_bug(self, bug)

        test.__name__ = "test_" + "".join(c if c.isalnum() else "_" for c in bug.name.lower())
        test.__qualname__ = f"PlantedBugTests.{test.__name__}"
        test.__doc__ = f"{bug.base} that {bug.name} is found by {bug.oracle}."
        setattr(PlantedBugTests, test.__name__, test)


_add_tests()

if __name__ == "__main__":
    unittest.main()
