"""Every known bug of torch's passes and helpers is still there: a script says so, and of a pass an oracle too."""

import unittest
from pathlib import Path

import torch

from fxpect.commands.bugs import checked, script_of
from fxpect.passes.helper_bugs import HelperBug, confirm_helper, load_helpers
from fxpect.passes.known_bugs import ELSEWHERE, FIXED, THERE, KnownBug, confirm, load, table_path
from fxpect.report.counts import tally

torch.set_num_threads(1)
TABLE = table_path(Path(__file__).parents[2])
BUGS, HELPER_BUGS = load(TABLE), load_helpers(TABLE)


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


class HelperBugTests(unittest.TestCase):
    """One test for each bug of a helper; a bug that the table does not expect in the installed torch passes."""


def check_bug(bug: KnownBug) -> None:
    """Raise unless the bug is there, by the oracles and by its script, or is not expected in this torch."""
    answer = confirm(bug)
    if answer.status == THERE:
        answer = checked(answer, script_of(answer))
    expect_there(bug, bug.pass_name, answer.status, answer.message)


def check_helper_bug(bug: HelperBug) -> None:
    """Raise unless the script of the bug says that it is there, or it is not expected in this torch."""
    expect_there(bug, bug.helper, *confirm_helper(bug))


def expect_there(bug: KnownBug | HelperBug, where: str, status: str, message: str) -> None:
    """Count a bug that is there; raise with what to do for one that is not as the table says."""
    if status == ELSEWHERE:
        return
    if status == THERE:
        tally.add("known bug", detail=bug.id)
        return
    if status == FIXED:
        tally.add("fixed bug", detail=bug.id)
    raise AssertionError(
        f"known bug {bug.id} of {where} with torch {torch.__version__}: expected to be there ({bug.torch}); "
        f"got {status}: {message}\n  when: {bug.when}\n"
        f"  if torch has fixed it, narrow its torch range in {TABLE.name}; see\n  fxpect bugs --confirm {bug.id}")


def _add_tests() -> None:
    """Give each class one test for each bug."""
    for case, bugs, body in ((KnownBugTests, BUGS, check_bug), (HelperBugTests, HELPER_BUGS, check_helper_bug)):
        for bug in bugs:
            def test(self, bug=bug, body=body):
                body(bug)

            test.__name__ = f"test_{bug.id.replace('-', '_')}"
            test.__qualname__ = f"{case.__name__}.{test.__name__}"
            test.__doc__ = f"{bug.pass_name if isinstance(bug, KnownBug) else bug.helper}: {bug.when}"
            setattr(case, test.__name__, test)


_add_tests()

if __name__ == "__main__":
    unittest.main()
