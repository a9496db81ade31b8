"""Every known bug of torch's passes is still there: an oracle says so, and its stand-alone script."""

import unittest
from pathlib import Path

import torch

from fxpect.commands.bugs import checked, script_of
from fxpect.passes.known_bugs import ELSEWHERE, FIXED, THERE, KnownBug, confirm, load, table_path
from fxpect.report.counts import tally

torch.set_num_threads(1)
TABLE = table_path(Path(__file__).parents[2])
BUGS = load(TABLE)


class KnownBugTests(unittest.TestCase):
    """One test for each bug; a bug that the table does not expect in the installed torch passes."""

    def test_there_are_at_least_forty(self):
        """The table holds at least forty bugs, in at least twenty passes."""
        self.assertGreaterEqual(len(BUGS), 40)
        self.assertGreaterEqual(len({bug.pass_name for bug in BUGS}), 20)

    def test_each_explains_its_own_example(self):
        """What an entry says of the text and the inputs is true of its own example."""
        for bug in BUGS:
            for shown in bug.shows:
                self.assertRegex(f"{bug.before}\n{', '.join(bug.inputs)}", shown, bug.id)


def check_bug(bug: KnownBug) -> None:
    """Raise unless the bug is there, by the oracles and by its script, or is not expected in this torch."""
    answer = confirm(bug)
    if answer.status == ELSEWHERE:
        return
    if answer.status == THERE:
        answer = checked(answer, script_of(answer))
    if answer.status == THERE:
        tally.add("known bug", detail=bug.id)
        return
    if answer.status == FIXED:
        tally.add("fixed bug", detail=bug.id)
    raise AssertionError(
        f"known bug {bug.id} of {bug.pass_name} with torch {torch.__version__}: expected to be there ({bug.torch}); "
        f"got {answer.status}: {answer.message}\n  when: {bug.when}\n"
        f"  if torch has fixed it, narrow its torch range in {TABLE.name}; see\n  fxpect bugs --confirm {bug.id}")


def _add_tests() -> None:
    """Give the class one test for each bug."""
    for bug in BUGS:
        def test(self, bug=bug):
            check_bug(bug)

        test.__name__ = f"test_{bug.id.replace('-', '_')}"
        test.__qualname__ = f"KnownBugTests.{test.__name__}"
        test.__doc__ = f"{bug.pass_name}: {bug.when}"
        setattr(KnownBugTests, test.__name__, test)


_add_tests()

if __name__ == "__main__":
    unittest.main()
