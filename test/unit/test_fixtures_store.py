"""The stored cases of one test: found, compared, proposed, and never written by a run."""

import os
import stat
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from fxpect.errors import (
    CaptureDrift,
    FixtureError,
    FxpectError,
    GoldenMissing,
    PassDrift,
    RefusedError,
)
from fxpect.fixtures.accept import accept
from fxpect.fixtures.case import Case
from fxpect.fixtures.format import Document, format_document
from fxpect.fixtures.pending import AFTER_CHANGED, BEFORE_CHANGED, NEW_CASE
from fxpect.fixtures.store import Store

ENVIRONMENT = {"FXPECT_RUN": "run1", "CI": "", "EXPECTTEST_ACCEPT": "", "FXPECT_FIXTURES": "",
               "FXPECT_PENDING": "",
               "PYTEST_XDIST_TESTRUNUID": ""}
BEFORE, AFTER = "a = torch.relu(x)", "a = torch.cat([x])"
TORCH = "2.13.0"


class StoreCase(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.here = Path(folder.name).resolve()
        (self.here / "fixtures").mkdir()
        (self.here / "test").mkdir()
        self.file = self.here / "test/test_x.py"
        self.fx = self.here / "fixtures/test_x/X.test_y.fx"
        patch = mock.patch.dict(os.environ, ENVIRONMENT)
        patch.start()
        self.addCleanup(patch.stop)

    def open(self):
        """Return the stored cases as a new execution of the test sees them."""
        return Store.for_test(self.file, "X", "test_y")

    def store(self, *cases, **head):
        """Store some cases by hand."""
        document = Document("test_x.py X.test_y", **head).with_cases({case.key: case for case in cases})
        self.fx.parent.mkdir(exist_ok=True)
        self.fx.write_text(format_document(document))

    def run_once(self, *cases, torch=TORCH):
        """Execute the test as of now, and return what came of each case."""
        stored = self.open()
        return [stored.settle(case, torch_version=torch, why="it works") for case in cases]

    def pending(self):
        """Return kind and result of what is pending."""
        return [(entry.kind, entry.case.after) for entry in Store(self.here / "fixtures").pending.live()]


class ReadTests(StoreCase):

    def test_no_file_is_no_cases(self):
        """A test without a stored file has no cases, and where its file would be is known."""
        stored = self.open()

        self.assertEqual((stored.cases, stored.why, stored.must, stored.exists), ((), "", (), False))
        self.assertEqual((stored.path, stored.test), (self.fx, "test_x.py X.test_y"))

    def test_reads_what_is_stored(self):
        """Cases, intent and checks come from the file."""
        case = Case.make(BEFORE, after=AFTER)
        self.store(case, why="w", must=("has torch.cat",))

        stored = self.open()

        self.assertEqual((stored.cases, stored.why, stored.must, stored.exists),
                         ((case,), "w", ("has torch.cat",), True))

    def test_a_running_test_finds_its_own(self):
        """A unittest test is known by its file, class and method, however it was started."""
        class Local(unittest.TestCase):
            def test_y(self):
                """A test."""

        stored = Store.for_case(Local("test_y"))

        self.assertTrue(stored.test.endswith("test_fixtures_store.py Local.test_y"))

    def test_file_that_cannot_be_trusted_is_an_error_and_stays(self):
        """Broken content, another test's file, a folder, a fifo and a broken link are errors."""
        def link():
            self.fx.symlink_to(self.fx.parent / "gone.fx")

        for make, message in (
                (lambda: self.fx.write_text("<<<<<<< HEAD\n"), r"X.test_y.fx:1: .*merge conflict"),
                (lambda: self.fx.write_text("# fxpect 1\ntest: other.py O.t\n"),
                 r"X.test_y.fx:2: .*'other.py O.t'"),
                (lambda: self.fx.write_bytes(b"# fxpect 1\n" + b" " * 1_000_000), "at most 1000000 bytes"),
                (self.fx.mkdir, "a regular file"), (lambda: os.mkfifo(self.fx), "a regular file"),
                (link, "broken link")):
            with self.subTest(message=message):
                self.fx.parent.mkdir(exist_ok=True)
                make()
                with self.assertRaisesRegex(FixtureError, message):
                    self.open()
                self.assertTrue(os.path.lexists(self.fx))
                self.fx.rmdir() if self.fx.is_dir() else self.fx.unlink()

    def test_unreadable_folder_is_an_error(self):
        """A file where the folder should be is an error, not a missing file."""
        self.fx.parent.write_text("x")
        with self.assertRaisesRegex(FixtureError, "expected a file that can be read"):
            self.open()

    def test_lists_files_and_errors(self):
        """All stored files are listed, with what they hold or the error that they are."""
        self.store(Case.make(BEFORE, after=AFTER))
        (self.here / "fixtures/bad.fx").write_text("x")

        found = dict(Store.at(self.here).documents())

        self.assertEqual(list(found), ["bad.fx", "test_x/X.test_y.fx"])
        self.assertIsInstance(found["bad.fx"], FixtureError)
        self.assertEqual(len(found["test_x/X.test_y.fx"].cases), 1)
        with self.assertRaisesRegex(FixtureError, "expected a stored file; got none"):
            Store.at(self.here).read("no.fx")


class FindTests(StoreCase):

    def test_finds_by_key_then_by_likeness(self):
        """The same input is the same case; else the most similar one of the same title and so on."""
        one = Case.make("a\nb\nc", options="capture=dynamo", title="t", after="1")
        two = Case.make("x\ny\nz", options="capture=dynamo", title="t", after="2")
        self.store(one, two)
        stored = self.open()

        drifted = stored.find(Case.make("x\ny\nw", options="capture=dynamo", title="t"))
        same = stored.find(Case.make("a\nb\nc", options="capture=dynamo", title="other"))

        self.assertEqual((drifted.case, drifted.drifted), (two, True))
        self.assertEqual((same.case, same.drifted), (one, False))
        self.assertEqual(stored.unclaimed(), ())

    def test_another_title_input_or_option_is_another_case(self):
        """A case of other inputs, options or title is new, not drifted."""
        self.store(Case.make("a", options="capture=dynamo", title="t", inputs="x=1", after="1"))
        for change in ({"title": "u"}, {"inputs": "x=2"}, {"options": "capture=export"}):
            with self.subTest(change=change):
                parts = {"title": "t", "inputs": "x=1", "options": "capture=dynamo", **change}
                self.assertIsNone(self.open().find(Case.make("b", **parts)).case)

    def test_names_of_inputs_belong_to_the_graph(self):
        """Inputs that only have other names are the same ones, given to a graph that drifted."""
        old = Case.make("a", inputs="s0_=3, x=f32[3]", after="1")
        self.store(old)

        found = self.open().find(Case.make("b", inputs="s0=3, x=f32[3]"))

        self.assertEqual((found.case, found.drifted), (old, True))

    def test_a_stored_case_is_found_once_for_drift(self):
        """Two changed inputs do not both drift from one stored case."""
        self.store(Case.make("a", after="1"))
        stored = self.open()
        self.assertTrue(stored.find(Case.make("b")).drifted)
        self.assertIsNone(stored.find(Case.make("c")).case)

    def test_case_of_other_torches_is_neither_drifted_nor_missed(self):
        """A case that only other torches make is found by its key alone, and nobody waits for it here."""
        other = Case.make("a\nb", title="t", afters=[("torch<2.15", "1")])
        self.store(other)
        stored = self.open()

        self.assertIsNone(stored.find(Case.make("a\nc", title="t"), "2.15.0").case)
        self.assertEqual(stored.unclaimed("2.15.0"), ())
        self.assertEqual(stored.unclaimed("2.13.0"), (other,))
        self.assertEqual(stored.find(Case.make("a\nc", title="t"), "2.13.0").case, other)
        self.assertEqual(self.open().find(Case.make("a\nb", title="t"), "2.15.0").case, other)

    def test_unclaimed_are_those_the_test_no_longer_makes(self):
        """What nothing was found for is listed; a case that is run from the store counts as found."""
        one, two = Case.make("a", after="1"), Case.make("b", options="o=1", after="2")
        self.store(one, two)
        stored = self.open()
        stored.find(one)
        self.assertEqual(stored.unclaimed(), (two,))
        self.assertEqual(stored.claim(two).case, two)
        self.assertEqual(stored.unclaimed(), ())


class SettleTests(StoreCase):

    def test_stored_case_passes(self):
        """A run that gives what is stored has nothing to say and proposes nothing."""
        case = Case.make(BEFORE, after=AFTER)
        self.store(case)

        settled, = self.run_once(case)

        self.assertEqual((settled.differences, settled.proposals, settled.failure), ((), (), None))
        self.assertFalse((self.here / ".fxpect").exists())

    def test_new_case_is_a_failure_with_the_next_command(self):
        """A case that is not stored fails, is proposed, and says how to look at it and accept it."""
        case = Case.make(BEFORE, after=AFTER, title="one")

        settled, = self.run_once(case)

        self.assertIsInstance(settled.failure, GoldenMissing)
        for part in (f"new case: {case.key}  one", "test_x.py X.test_y: to be stored in ",
                     f"  fxpect diff {case.key}",
                     f"  fxpect accept {case.key}", f"    +{AFTER}"):
            self.assertIn(part, str(settled.failure))
        self.assertEqual(self.pending(), [(NEW_CASE, AFTER)])
        self.assertFalse(self.fx.exists())

    def test_all_mismatches_are_reported(self):
        """Of twenty cases five that changed give five failures and five proposals."""
        cases = [Case.make(f"{BEFORE}{number}", options=f"n={number}", after=AFTER) for number in range(20)]
        self.store(*cases)
        changed = [Case.make(case.before, options=case.options, after=BEFORE) if number % 4 == 0 else case
                   for number, case in enumerate(cases)]

        found = [settled.failure for settled in self.run_once(*changed)]

        self.assertEqual([number for number, failure in enumerate(found) if failure], [0, 4, 8, 12, 16])
        self.assertTrue(all(isinstance(failure, PassDrift) for failure in found if failure))
        self.assertEqual(self.pending(), [(AFTER_CHANGED, BEFORE)] * 5)

    def test_capture_drift_gives_both_answers(self):
        """A changed capture is told apart from what the pass makes of the stored graph."""
        stored_case = Case.make(BEFORE, after=AFTER)
        self.store(stored_case)
        new = Case.make("a = torch.relu(y)", after="new")
        stored = self.open()
        found = stored.find(new)
        self.assertTrue(found.drifted)

        same = stored.settle(new, found, after_on_stored=AFTER, torch_version=TORCH)
        both = stored.settle(new, found, after_on_stored="other", torch_version=TORCH)

        self.assertEqual([difference.kind for difference in same.differences], [BEFORE_CHANGED])
        self.assertEqual([difference.kind for difference in both.differences],
                         [BEFORE_CHANGED, AFTER_CHANGED])
        self.assertIsInstance(both.failure, CaptureDrift)
        self.assertEqual(sorted(self.pending()), [(AFTER_CHANGED, "other"), (BEFORE_CHANGED, "new")])

    def test_case_that_the_test_still_makes_is_not_replaced(self):
        """A new case that looked like a changed capture leaves the stored case where it is."""
        old, new = Case.make(BEFORE, after=AFTER, afters=[("torch>=2.15", "z")]), Case.make("b", after="c")
        self.store(old)

        self.run_once(new, old)

        self.assertEqual(self.pending(), [(NEW_CASE, "c")])
        with mock.patch.dict(os.environ, {"EXPECTTEST_ACCEPT": "1"}):
            self.run_once(new, old)
        self.assertEqual(sorted(self.open().cases, key=lambda case: case.before), [old, new])
        self.assertEqual(self.pending(), [])

    def test_must_fails_without_a_proposal(self):
        """A check that the run breaks fails although the text is the stored one, and nothing is proposed."""
        case = Case.make(BEFORE, after=AFTER)
        self.store(case, must=("not torch.cat",))

        settled, = self.run_once(case)

        self.assertIsInstance(settled.failure, PassDrift)
        self.assertIn("must not torch.cat: expected none", str(settled.failure))
        self.assertEqual(self.pending(), [])

    def test_passing_run_cancels_what_earlier_runs_proposed(self):
        """Once the case comes out as stored, the test's earlier proposals are gone, others stay."""
        case = Case.make(BEFORE, after=AFTER)
        self.store(case)
        self.run_once(Case.make(BEFORE, after="changed"))
        self.run_once(Case.make(BEFORE, after="changed"), torch="2.15.0")
        other = Store.for_test(self.file, "X", "test_z")
        other.settle(case, torch_version=TORCH)
        self.assertEqual(len(self.pending()), 3)

        self.run_once(case, case)

        self.assertEqual(sorted(self.pending()), [(AFTER_CHANGED, "changed"), (NEW_CASE, AFTER)])

    def test_passing_case_keeps_what_the_same_execution_proposed(self):
        """Of one execution some cases pass and some do not: the proposals of the latter stay."""
        one, two = Case.make(BEFORE, after=AFTER), Case.make("b", options="o=1", after=AFTER)
        self.store(one, two)

        self.run_once(Case.make("b", options="o=1", after="changed"), one)

        self.assertEqual(self.pending(), [(AFTER_CHANGED, "changed")])

    def test_replays_propose_once(self):
        """The same proposal made again by one execution is written once."""
        stored = self.open()
        case = Case.make(BEFORE, after=AFTER)
        for _ in range(3):
            self.assertIsInstance(stored.settle(case, torch_version=TORCH).failure, GoldenMissing)
        self.assertEqual(len(Store(self.here / "fixtures").pending.all()[0]), 1)

    def test_run_never_writes_under_fixtures(self):
        """A run works on a fixtures folder that nobody may write, and leaves no trace in it."""
        case = Case.make(BEFORE, after=AFTER)
        self.store(case)
        old = self.fx.read_bytes()
        with mock.patch("fxpect.fixtures.accept.write_atomic", side_effect=AssertionError("written")):
            self.run_once(Case.make(BEFORE, after="changed"), Case.make("b", options="o=1", after="c"), case)
        self.assertEqual([path.name for path in (self.here / "fixtures").rglob("*")],
                         ["test_x", "X.test_y.fx"])
        self.assertEqual(self.fx.read_bytes(), old)

    def test_mismatch_is_reported_though_the_proposal_cannot_be_written(self):
        """A disk that refuses the proposal does not hide the mismatch."""
        with mock.patch("fxpect.fixtures.pending.append_line", side_effect=OSError("read-only")):
            settled, = self.run_once(Case.make(BEFORE, after=AFTER))
        self.assertIsInstance(settled.failure, GoldenMissing)
        self.assertIn("could not be written: read-only", str(settled.failure))

    def test_unknown_kind_and_text_that_cannot_be_stored_are_misuse(self):
        """A proposal of an unknown kind, or with a text that no file can hold, is an error at once."""
        with self.assertRaisesRegex(FxpectError, "expected kind to be one of new case, .*; got kind='news'"):
            self.open().propose("news", Case.make("a", after="b"))
        with self.assertRaisesRegex(FixtureError, "no control character"):
            self.open().propose(NEW_CASE, Case.make("a", after="b\tc"))


class AcceptingRunTests(StoreCase):

    def setUp(self):
        super().setUp()
        os.environ["EXPECTTEST_ACCEPT"] = "1"

    def test_accepts_what_it_proposes(self):
        """With EXPECTTEST_ACCEPT=1 a run stores its cases, fails at nothing and leaves nothing pending."""
        settled = self.run_once(Case.make(BEFORE, after=AFTER), Case.make("b", options="o=1", after="c"))

        self.assertEqual([one.failure for one in settled], [None, None])
        self.assertEqual(sorted(case.after for case in self.open().cases), [AFTER, "c"])
        self.assertEqual((self.open().why, self.pending()), ("it works", []))

    def test_accepts_a_changed_capture(self):
        """A changed capture takes the old case's place, whatever the pass makes of the old graph."""
        self.store(Case.make(BEFORE, after=AFTER))
        new = Case.make("b = torch.relu(x)", after="new")

        settled = self.open().settle(new, after_on_stored="other", torch_version=TORCH)

        self.assertIsNone(settled.failure)
        self.assertEqual((self.open().cases, self.pending()), ((new,), []))

    def test_two_texts_for_one_case_are_not_accepted_unnoticed(self):
        """A result that varies within one run fails: neither the first nor the last wins in silence."""
        first, second = self.run_once(Case.make(BEFORE, after=AFTER), Case.make(BEFORE, after="other"))

        self.assertIsNone(first.failure)
        self.assertIn("the proposal was not accepted", str(second.failure))
        self.assertEqual(self.open().cases[0].after, AFTER)

    def test_text_that_breaks_a_check_is_not_accepted(self):
        """A result that breaks a must: stays a failure, and the stored text stays."""
        self.store(Case.make(BEFORE, after=AFTER, must=["has torch.cat"]))

        settled, = self.run_once(Case.make(BEFORE, after="b = torch.sum(x)"))

        self.assertIsInstance(settled.failure, PassDrift)
        self.assertEqual(self.open().cases[0].after, AFTER)

    def test_is_refused_in_ci(self):
        """In CI the run is refused and nothing is stored."""
        with mock.patch.dict(os.environ, {"CI": "true"}), self.assertRaises(RefusedError):
            self.run_once(Case.make(BEFORE, after=AFTER))
        self.assertFalse(self.fx.exists())

    def test_zero_does_not_accept(self):
        """EXPECTTEST_ACCEPT=0 proposes and stores nothing; an unknown value is an error."""
        with mock.patch.dict(os.environ, {"EXPECTTEST_ACCEPT": "0"}):
            self.assertIsInstance(self.run_once(Case.make(BEFORE, after=AFTER))[0].failure, GoldenMissing)
        self.assertFalse(self.fx.exists())
        with mock.patch.dict(os.environ, {"EXPECTTEST_ACCEPT": "maybe"}), self.assertRaises(FxpectError):
            self.run_once(Case.make(BEFORE, after=AFTER))

    def test_accepting_keeps_the_mode_of_the_folder_readable(self):
        """A stored file is made with the ordinary mode, not that of a private temporary file."""
        self.run_once(Case.make(BEFORE, after=AFTER))
        mask = os.umask(0)
        os.umask(mask)
        self.assertEqual(stat.S_IMODE(self.fx.stat().st_mode), 0o666 & ~mask)
        self.assertEqual(accept(self.here / "fixtures", []), [])


if __name__ == "__main__":
    unittest.main()
