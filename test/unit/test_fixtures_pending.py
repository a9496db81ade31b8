"""Proposals: written a line each, overtaken by later executions, removed when they are done."""

import dataclasses
import json
import os
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

from fxpect.errors import FxpectError
from fxpect.fixtures.case import Case
from fxpect.fixtures.format import format_case
from fxpect.fixtures.pending import NEW_CASE, Entry, Pending, new_attempt, run_name

ENVIRONMENT = {"FXPECT_RUN": "run1", "FXPECT_PENDING": "", "PYTEST_XDIST_TESTRUNUID": ""}


def entry(before="a", after="b", path="x/A.b.fx", torch="2.13.0", attempt=1):
    """Return a proposal of a new case."""
    case = Case.make(before, after=after)
    return Entry(path=path, test="x.py A.b", key=case.key, kind=NEW_CASE, text=format_case(case), torch=torch,
                 attempt=attempt)


class PendingTests(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.here = Path(folder.name)
        self.pending = Pending(self.here / "fixtures")
        patch = mock.patch.dict(os.environ, ENVIRONMENT)
        patch.start()
        self.addCleanup(patch.stop)

    def add(self, new, run="run1", pid=None):
        """Append an entry as a process of a run would."""
        with mock.patch.dict(os.environ, {"FXPECT_RUN": run}), \
                mock.patch.object(os, "getpid", return_value=pid or os.getpid()):
            return self.pending.add(new)

    def live(self):
        """Return key and text of what is live."""
        return [(found.key, found.case.after) for found in self.pending.live()]

    def test_survives_json(self):
        """An entry reads back from its line, and other lines are refused."""
        one = dataclasses.replace(entry(), reason="é\nü", at=3)
        self.assertEqual(Entry.from_json(one.to_json()), one)
        fields = json.loads(one.to_json())
        for change in ({"kind": "news"}, {"at": "3"}, {"more": 1}, {"torch": "x"}, {"key": "0123456789"},
                       {"text": "## x"}, {"path": None}):
            with self.subTest(change=change), self.assertRaises((ValueError, TypeError)):
                Entry.from_json(json.dumps({**fields, **change}))

    def test_one_file_a_process_and_one_line_an_entry(self):
        """Each process of a run has its own file below the run's folder."""
        self.add(entry("a"), pid=11)
        self.add(entry("b"), pid=11)
        self.add(entry("a"), pid=12)

        self.assertEqual([str(path.relative_to(self.pending.folder)) for path in self.pending.files()],
                         ["run1/11.jsonl", "run1/12.jsonl"])
        self.assertEqual([len(path.read_text().splitlines()) for path in self.pending.files()], [2, 1])

    def test_run_name_is_inherited_and_checked(self):
        """The name of a run goes to child processes through the environment, and cannot leave the folder."""
        self.assertEqual(run_name(), "run1")
        with mock.patch.dict(os.environ, {"FXPECT_RUN": ""}):
            os.environ.pop("FXPECT_RUN")
            made = run_name()
            self.assertEqual(os.environ["FXPECT_RUN"], made)
            self.assertEqual(run_name(), made)
        for name in ("../x", "a/b", ".hidden", "a b"):
            with self.subTest(name=name), mock.patch.dict(os.environ, {"FXPECT_RUN": name}), \
                    self.assertRaisesRegex(FxpectError, "expected FXPECT_RUN of letters"):
                run_name()

    def test_later_run_overtakes_an_earlier_one(self):
        """Of one test only the latest run counts: also cases that it no longer proposes are gone."""
        self.add(entry("a"), run="run1")
        self.add(entry("b"), run="run1")
        self.add(entry("c", path="y/A.b.fx"), run="run1")
        self.add(entry("b", "new"), run="run2")

        self.assertEqual(sorted(self.live()), sorted([(entry("b").key, "new"), (entry("c").key, "b")]))

    def test_other_torch_is_not_overtaken(self):
        """Runs under two releases of torch stand side by side; two builds of one release do not."""
        self.add(entry("a", "old"), run="run1")
        self.add(entry("a", "new", torch="2.15.0"), run="run2")
        self.add(entry("a", "newer", torch="2.15.1+cpu"), run="run3")

        self.assertEqual([after for _, after in self.live()], ["old", "newer"])

    def test_later_attempt_of_a_process_overtakes_its_earlier_one(self):
        """A test that is run again in one process counts once, and processes of one run add up."""
        self.add(entry("a", attempt=1), pid=11)
        self.add(entry("b", attempt=2), pid=11)
        self.add(entry("c", attempt=1), pid=12)

        self.assertEqual(sorted(self.live()), sorted([(entry("b").key, "b"), (entry("c").key, "b")]))
        self.assertLess(new_attempt(), new_attempt())

    def test_equal_proposals_are_one_and_different_ones_stay_apart(self):
        """Two processes that propose the same are one entry; two texts for one case are both shown."""
        self.add(entry("a"), pid=11)
        self.add(entry("a"), pid=12)
        self.assertEqual(len(self.live()), 1)
        self.add(entry("a", "other"), pid=13)
        self.assertEqual(len(self.live()), 2)

    def test_forget_removes_it_and_what_it_overtook(self):
        """Forgetting an entry removes the older ones for the same case and leaves newer and other ones."""
        self.add(entry("a", "old"))
        chosen = self.add(entry("a", "new"))
        self.add(entry("a", "newer"))
        self.add(entry("b"))

        self.assertEqual(self.pending.forget([chosen]), 2)

        self.assertEqual(sorted(after for _, after in self.live()), ["b", "newer"])

    def test_empty_files_and_folders_go(self):
        """When nothing is pending nothing is left but the lock."""
        self.add(entry("a"))
        self.assertEqual(self.pending.remove(lambda _: True), 1)
        self.assertEqual(os.listdir(self.pending.folder), ["pending.lock"])
        self.assertEqual(self.pending.live(), [])

    def test_torn_line_is_reported_and_kept(self):
        """A line that cannot be read is named, hides no other, and is not removed."""
        self.add(entry("a"), pid=11)
        file = self.pending.files()[0]
        file.write_bytes(file.read_bytes() + b'{"path": "x\n')
        self.add(entry("b"), pid=11)

        entries, problems = self.pending.all()

        self.assertEqual(len(entries), 2)
        self.assertEqual(len(problems), 1)
        self.assertIn(f"{file}:2: ", problems[0])
        self.assertEqual(self.pending.remove(lambda _: True), 2)
        self.assertEqual(file.read_bytes(), b'{"path": "x\n')

    def test_mentions_tells_whether_to_look(self):
        """A path is mentioned when an entry has it, and only then."""
        self.assertFalse(self.pending.mentions("x/A.b.fx"))
        self.add(entry("a"))
        self.assertTrue(self.pending.mentions("x/A.b.fx"))
        self.assertFalse(self.pending.mentions("A.b.fx"))

    def test_nothing_is_lost_while_others_write_and_remove(self):
        """Threads that append and threads that remove in between lose no entry of the others."""
        def work(number):
            for count in range(10):
                self.pending.add(entry(f"{number} {count}"))
                if number % 2:
                    self.pending.remove(lambda found, mine=f"{number} ": found.case.before.startswith(mine))

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(work, range(4)))

        self.assertEqual(sorted(found.case.before for found in self.pending.all()[0]),
                         sorted(f"{number} {count}" for number in (0, 2) for count in range(10)))


if __name__ == "__main__":
    unittest.main()
