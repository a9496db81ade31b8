"""Accepting proposals: compare and swap for each case, sections for versions, broken files left alone."""

import itertools
import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from fxpect.errors import FxpectError, RefusedError
from fxpect.fixtures.accept import (
    ACCEPTED,
    ALREADY,
    CORRUPT,
    OUTDATED,
    REFUSED,
    accept,
    outdated,
    reject,
)
from fxpect.fixtures.case import Case
from fxpect.fixtures.format import Document, format_document, parse_bytes
from fxpect.fixtures.store import Store

ENVIRONMENT = {"FXPECT_RUN": "run1", "CI": "", "EXPECTTEST_ACCEPT": "", "FXPECT_FIXTURES": "",
               "FXPECT_PENDING": "",
               "PYTEST_XDIST_TESTRUNUID": ""}
BEFORE, AFTER, OTHER = "a = torch.relu(x)", "a = torch.cat([x])", "a = torch.sum(x)"


class AcceptCase(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.here = Path(folder.name).resolve()
        self.root = self.here / "fixtures"
        self.root.mkdir()
        (self.here / "test").mkdir()
        self.fx = self.root / "test_x/X.test_y.fx"
        patch = mock.patch.dict(os.environ, ENVIRONMENT)
        patch.start()
        self.addCleanup(patch.stop)
        self.runs = 0

    def store(self, *cases, **head):
        """Store some cases by hand."""
        document = Document("test_x.py X.test_y", **head).with_cases({case.key: case for case in cases})
        self.fx.parent.mkdir(exist_ok=True)
        self.fx.write_text(format_document(document))

    def run_once(self, *cases, torch="2.13.0", method="test_y"):
        """Execute a test in a run of its own, which proposes what differs."""
        self.runs += 1
        with mock.patch.dict(os.environ, {"FXPECT_RUN": f"run{self.runs}"}):
            stored = Store.for_test(self.here / "test/test_x.py", "X", method)
            for case in cases:
                stored.settle(case, torch_version=torch, why="it works")

    def live(self):
        """Return what is pending."""
        return Store(self.root).pending.live()

    def accept(self, **options):
        """Accept all that is pending; return the statuses."""
        return [outcome.status for outcome in accept(self.root, self.live(), **options)]

    def cases(self):
        """Return the stored cases."""
        return parse_bytes(self.fx.read_bytes(), self.fx).cases


class AcceptTests(AcceptCase):

    def test_new_case_makes_the_file(self):
        """The first accept makes folder and file, with test, intent and case; nothing stays pending."""
        case = Case.make(BEFORE, after=AFTER, title="one", inputs="x=f32[2]", options="capture=dynamo")
        self.run_once(case)

        self.assertEqual(self.accept(), [ACCEPTED])

        self.assertEqual(self.cases(), (case,))
        head = self.fx.read_text().partition("## ")[0]
        self.assertEqual(head, "# fxpect 1\ntest: test_x.py X.test_y\nwhy: it works\n\n")
        self.assertEqual(self.live(), [])
        self.assertEqual(sorted(path.name for path in self.root.rglob("*")), ["X.test_y.fx", "test_x"])

    def test_changed_result_replaces_the_old_one_and_nothing_else(self):
        """Title, checks, intent and the other cases stay as they were."""
        one = Case.make(BEFORE, after=AFTER, title="mine", must=["not torch.relu"])
        two = Case.make("b", options="o=1", after="c")
        self.store(one, two, why="by hand", must=("not torch.t",))
        self.run_once(Case.make(BEFORE, after=OTHER, title="now"), two)

        self.assertEqual(self.accept(), [ACCEPTED])

        self.assertEqual(self.cases(),
                         tuple(sorted((one.with_text("", OTHER), two), key=lambda case: case.key)))
        self.assertIn("why: by hand\nmust: not torch.t\n", self.fx.read_text())

    def test_changed_capture_takes_the_place_of_the_old_case(self):
        """A new graph before replaces the old case, keeps its title and checks, and drops its sections."""
        self.store(Case.make(BEFORE, after=AFTER, title="t", must=["has torch.sum"],
                             afters=[("torch>=2.15", "z")]))
        self.run_once(Case.make("b = torch.relu(x)", after=OTHER, title="t"))

        self.assertEqual(self.accept(), [ACCEPTED])

        self.assertEqual(self.cases(), (Case.make("b = torch.relu(x)", after=OTHER, title="t",
                                                  must=["has torch.sum"]),))

    def test_is_idempotent(self):
        """Accepting the same proposals again says that they are stored, and writes nothing."""
        self.store(Case.make(BEFORE, after=AFTER), Case.make("b", options="o=1", after="c"))
        self.run_once(Case.make(BEFORE, after=OTHER), Case.make("n", options="o=2", after="d"),
                      Case.make("b2", options="o=1", after="c"))
        entries = self.live()
        self.assertEqual([outcome.status for outcome in accept(self.root, entries)], [ACCEPTED] * 3)
        old = self.fx.stat().st_mtime_ns, self.fx.read_bytes()

        self.assertEqual([outcome.status for outcome in accept(self.root, entries)], [ALREADY] * 3)

        self.assertEqual((self.fx.stat().st_mtime_ns, self.fx.read_bytes()), old)

    def test_both_answers_to_a_changed_capture_are_accepted_together(self):
        """The new case takes the old one's place, and a second accept of both finds nothing to do."""
        self.store(Case.make(BEFORE, after=AFTER))
        stored = Store.for_test(self.here / "test/test_x.py", "X", "test_y")
        stored.settle(Case.make("b = x", after=OTHER), after_on_stored="c = x", torch_version="2.13.0")
        entries = self.live()

        self.assertEqual([outcome.status for outcome in accept(self.root, entries)], [ACCEPTED] * 2)

        self.assertEqual(self.cases(), (Case.make("b = x", after=OTHER),))
        self.assertEqual([outcome.status for outcome in accept(self.root, entries)], [ALREADY] * 2)

    def test_what_changed_since_the_run_is_outdated(self):
        """A case that was edited, removed or stored after the run is not touched, and the proposal stays."""
        case = Case.make(BEFORE, after=AFTER)
        for since in ([case.with_text("", "edited")], [], [Case.make(BEFORE, after=AFTER, title="retitled")]):
            with self.subTest(since=since):
                self.store(case)
                self.run_once(Case.make(BEFORE, after=OTHER))
                self.store(*since)
                old = self.fx.read_bytes()
                self.assertEqual(len(outdated(self.root, self.live())), 1)
                self.assertEqual(self.accept(), [OUTDATED])
                self.assertEqual(self.fx.read_bytes(), old)
                self.assertEqual(len(self.live()), 1)
        self.fx.unlink()
        self.run_once(case)
        self.assertEqual(outdated(self.root, self.live()), set())
        self.store(case.with_text("", "someone else's"))
        self.assertEqual(self.accept(), [OUTDATED])

    def test_one_outdated_case_does_not_hold_up_the_others(self):
        """Compare and swap is per case: a change of one leaves the proposal for another valid."""
        one, two = Case.make(BEFORE, after=AFTER), Case.make("b", options="o=1", after="c")
        self.store(one, two)
        self.run_once(Case.make(BEFORE, after=OTHER), Case.make("b", options="o=1", after="d"))
        self.store(one.with_text("", "edited"), two)

        self.assertEqual(sorted(self.accept()), [ACCEPTED, OUTDATED])

        self.assertEqual(sorted(case.after for case in self.cases()), ["d", "edited"])

    def test_broken_file_is_never_rewritten(self):
        """A file with a conflict marker, or of another test, is reported and stays byte for byte."""
        self.run_once(Case.make(BEFORE, after=AFTER))
        self.fx.parent.mkdir()
        for text in ("# fxpect 1\ntest: test_x.py X.test_y\n<<<<<<< HEAD\n",
                     "# fxpect 1\ntest: test_z.py Z.t\n", ""):
            with self.subTest(text=text):
                self.fx.write_text(text)
                outcome, = accept(self.root, self.live())
                self.assertEqual(outcome.status, CORRUPT)
                self.assertIn(f"{self.fx}:", outcome.message)
                self.assertEqual(self.fx.read_text(), text)
                self.assertEqual(len(self.live()), 1)

    def test_empty_result_is_refused(self):
        """An empty graph after is never stored, nor is a case without a result."""
        import dataclasses

        self.run_once(Case.make(BEFORE, after=AFTER))
        entry, = self.live()
        text = entry.text.partition("after:")[0]
        outcome, = accept(self.root, [dataclasses.replace(entry, text=text)])
        self.assertEqual((outcome.status, outcome.message), (REFUSED, "expected a graph after; got nothing"))
        self.assertFalse(self.fx.exists())

    def test_text_that_breaks_a_check_is_refused(self):
        """A must: of the file, or of the case, refuses a result that breaks it; the others are accepted."""
        one = Case.make(BEFORE, after=AFTER, must=["has torch.cat"])
        self.store(one, must=("not torch.bmm",))
        self.run_once(Case.make(BEFORE, after=OTHER),
                      Case.make("b", options="o=1", after="a = torch.bmm(x, x)"),
                      Case.make("c", options="o=2", after=OTHER))

        found = {outcome.entry.case.after: outcome for outcome in accept(self.root, self.live())
                 if outcome.status == REFUSED}

        self.assertIn("must has torch.cat", found[OTHER].message)
        self.assertIn("must not torch.bmm", found["a = torch.bmm(x, x)"].message)
        self.assertEqual(sorted(case.options for case in self.cases()), ["", "o=2"])
        self.assertEqual(self.cases()[[case.options for case in self.cases()].index("")], one)

    def test_expected_error_is_stored_and_replaced(self):
        """An error that was asked for is stored as raises:, and gives way to a graph."""
        self.run_once(Case.make(BEFORE, raises="ValueError: no"))
        self.assertEqual(self.accept(), [ACCEPTED])
        self.assertIn("\nraises: ValueError: no\n", self.fx.read_text())
        self.run_once(Case.make(BEFORE, after=AFTER))
        self.assertEqual(self.accept(), [ACCEPTED])
        self.assertEqual(self.cases(), (Case.make(BEFORE, after=AFTER),))

    def test_two_texts_for_one_case_are_refused(self):
        """When two processes of a run disagree neither is stored."""
        for pid, after in ((11, AFTER), (12, OTHER)):
            with mock.patch.object(os, "getpid", return_value=pid):
                self.runs = 0
                self.run_once(Case.make(BEFORE, after=after))

        found = accept(self.root, self.live())

        self.assertEqual([outcome.status for outcome in found], [REFUSED, REFUSED])
        self.assertIn("expected one text; got 2", found[0].message)
        self.assertFalse(self.fx.exists())

    def test_another_title_is_no_other_text(self):
        """Two calls that differ in their title alone are one case."""
        self.run_once(Case.make(BEFORE, after=AFTER, title="a"), Case.make(BEFORE, after=AFTER, title="b"))
        self.assertEqual(sorted(self.accept()), [ACCEPTED, ALREADY])
        self.assertEqual(len(self.cases()), 1)

    def test_why_is_written(self):
        """The intent given to accept is that of a file without one; it replaces another one where that is asked for."""
        for old, replace, expected in (("", False, "a new reason"), ("old", False, "old"),
                                       ("old", True, "a new reason")):
            with self.subTest(old=old, replace=replace):
                self.store(Case.make(BEFORE, after=AFTER), why=old)
                self.run_once(Case.make(BEFORE, after=OTHER))
                self.assertEqual(self.accept(why="a new\n reason", replace_why=replace), [ACCEPTED])
                self.assertIn(f"\nwhy: {expected}\n", self.fx.read_text())

    def test_checks_are_edited_with_what_is_accepted(self):
        """A check that is added holds for every result of the case, or nothing is stored; a dropped one is gone."""
        stored = Case.make(BEFORE, after=AFTER, must=["has torch.cat"], afters=[("torch>=2.15", AFTER + " # 2")])
        self.store(stored, must=("not torch.bmm",))
        self.run_once(Case.make(BEFORE, after=OTHER))
        for must in (["has torch.neg"], ["has torch.sum"]):
            outcome, = accept(self.root, self.live(), must=must, drop=["has torch.cat"])
            self.assertEqual((outcome.status, self.cases()), (REFUSED, (stored,)))
            self.assertIn(f"must {must[0]}: expected", outcome.message)
        self.assertEqual(self.accept(must=["not  torch.bmm", "not torch.neg"], drop=["has torch.cat"]), [ACCEPTED])
        case, = self.cases()
        self.assertEqual((case.must, case.after), (("not torch.neg",), OTHER))
        with self.assertRaisesRegex(FxpectError, "got must: 'mst torch.cat'"):
            accept(self.root, self.live(), must=["mst torch.cat"])

    def test_an_error_has_no_checks(self):
        """A check is not given to a case that raises, where it could not fail."""
        self.run_once(Case.make(BEFORE, raises="ValueError: no"))
        outcome, = accept(self.root, self.live(), must=["has torch.cat"])
        self.assertEqual((outcome.status, self.fx.exists()), (REFUSED, False))
        self.assertIn("expected a graph after, which a check can read", outcome.message)

    def test_read_only_folder_is_refused_not_a_crash(self):
        """When the disk refuses, the proposal is refused with the reason and stays."""
        self.run_once(Case.make(BEFORE, after=AFTER))
        with mock.patch("fxpect.fixtures.accept.write_atomic", side_effect=OSError("read-only")):
            outcome, = accept(self.root, self.live())
        self.assertEqual((outcome.status, outcome.message), (REFUSED, "read-only"))
        self.assertEqual(len(self.live()), 1)

    def test_path_out_of_the_folder_is_refused(self):
        """A proposal whose path leads out of the fixtures folder writes nothing."""
        import dataclasses

        self.run_once(Case.make(BEFORE, after=AFTER))
        entry, = self.live()
        outcome, = accept(self.root, [dataclasses.replace(entry, path="../test/x.fx")])
        self.assertEqual(outcome.status, CORRUPT)
        self.assertEqual(os.listdir(self.here / "test"), [])

    def test_leftovers_of_killed_writers_go(self):
        """Temporary files of killed writers are removed at the next accept."""
        self.fx.parent.mkdir()
        (self.root / ".fxpect-1-aa.tmp").write_text("x")
        (self.fx.parent / ".fxpect-2-bb.tmp").write_text("x")
        self.run_once(Case.make(BEFORE, after=AFTER))
        self.assertEqual(self.accept(deep_sweep=True), [ACCEPTED])
        self.assertEqual(list(self.root.rglob(".fxpect*")), [])

    def test_refused_in_ci(self):
        """In CI nothing is accepted; rejecting, which stores nothing, works."""
        self.run_once(Case.make(BEFORE, after=AFTER))
        with mock.patch.dict(os.environ, {"CI": "true"}):
            with self.assertRaises(RefusedError):
                self.accept()
            self.assertEqual(reject(self.root, self.live()), 1)
        self.assertEqual((self.fx.exists(), self.live()), (False, []))

    def test_reject_leaves_the_others(self):
        """Rejecting one proposal leaves the stored file and the other proposals."""
        self.store(Case.make(BEFORE, after=AFTER))
        old = self.fx.read_bytes()
        self.run_once(Case.make(BEFORE, after=OTHER), Case.make("b", options="o=1", after="c"))
        reject(self.root, [entry for entry in self.live() if entry.case.after == OTHER])
        self.assertEqual([entry.case.after for entry in self.live()], ["c"])
        self.assertEqual(self.fx.read_bytes(), old)

    def test_order_and_number_of_writers_do_not_matter(self):
        """Accepting in one go, one by one, and in reverse gives the same bytes."""
        self.store(Case.make(BEFORE, after=AFTER))
        self.run_once(Case.make(BEFORE, after=OTHER),
                      *(Case.make(str(number), options=f"o={number}", after="c")
                                                         for number in range(6)))
        start, entries, found = self.fx.read_bytes(), self.live(), set()
        for order in ([entries], [[entry] for entry in entries], [[entry] for entry in reversed(entries)]):
            self.fx.write_bytes(start)
            for group in order:
                accept(self.root, group)
            found.add(self.fx.read_bytes())
        self.assertEqual(len(found), 1)


class VersionTests(AcceptCase):

    def test_plain_accept_is_for_every_torch(self):
        """Without a section the text of the run becomes that of all."""
        self.store(Case.make(BEFORE, after=AFTER))
        self.run_once(Case.make(BEFORE, after=OTHER), torch="2.15.0")
        self.assertEqual(self.accept(), [ACCEPTED])
        self.assertEqual(self.cases(), (Case.make(BEFORE, after=OTHER),))

    def test_version_section_keeps_the_text_of_the_torches_before(self):
        """With a section the text is that of the run's torch and later ones, and both torches pass."""
        self.store(Case.make(BEFORE, after=AFTER))
        self.run_once(Case.make(BEFORE, after=OTHER), torch="2.15.0+cpu")
        self.assertEqual(self.accept(version_section=True), [ACCEPTED])
        self.assertEqual(self.cases(), (Case.make(BEFORE, after=AFTER, afters=[("torch>=2.15", OTHER)]),))
        self.run_once(Case.make(BEFORE, after=AFTER), torch="2.13.0")
        self.run_once(Case.make(BEFORE, after=OTHER), torch="2.15.1")
        self.assertEqual(self.live(), [])

    def test_section_that_applied_is_the_one_that_changes(self):
        """A changed result under a torch that has a section changes the section, not the plain text."""
        self.store(Case.make(BEFORE, after=AFTER, afters=[("torch>=2.15", OTHER)]))
        self.run_once(Case.make(BEFORE, after="new"), torch="2.16.0")
        self.assertEqual(self.live()[0].kind, "version section")
        self.assertEqual(self.accept(), [ACCEPTED])
        self.assertEqual(self.cases(), (Case.make(BEFORE, after=AFTER, afters=[("torch>=2.15", "new")]),))

    def test_section_in_a_section(self):
        """With a section the text of a later torch stands beside the one that applied."""
        self.store(Case.make(BEFORE, after=AFTER, afters=[("torch>=2.15", OTHER)]))
        self.run_once(Case.make(BEFORE, after="new"), torch="2.16.0")
        self.assertEqual(self.accept(version_section=True), [ACCEPTED])
        self.assertEqual(dict(self.cases()[0].afters), {"torch>=2.15": OTHER, "torch>=2.16": "new"})

    def test_section_equal_to_the_plain_text_is_dropped(self):
        """When the plain text becomes that of the section, or the other way round, the section goes."""
        for torch in ("2.13.0", "2.15.0"):
            with self.subTest(torch=torch):
                self.store(Case.make(BEFORE, after=AFTER, afters=[("torch>=2.15", OTHER)]))
                after = OTHER if torch == "2.13.0" else AFTER
                self.run_once(Case.make(BEFORE, after=after), torch=torch)
                self.assertEqual(self.accept(), [ACCEPTED])
                self.assertEqual(self.cases(), (Case.make(BEFORE, after=after),))

    def test_section_that_would_overlap_is_refused(self):
        """A section that overlaps one that somebody wrote is refused, and the file stays."""
        self.store(Case.make(BEFORE, after=AFTER, afters=[("torch<2.14", OTHER)]))
        self.run_once(Case.make(BEFORE, after="new"), torch="2.13.0")
        outcome, = accept(self.root, self.live(), version_section=True)
        self.assertEqual(outcome.status, REFUSED)
        self.assertIn("exactly one section for each torch", outcome.message)
        self.assertEqual(self.cases()[0].afters, (("torch<2.14", OTHER),))

    def test_two_torches_that_differ_need_sections(self):
        """Two torches that disagree are refused plainly; with sections the lower one is the plain text."""
        for stored in ([], [Case.make(BEFORE, after=AFTER)]):
            with self.subTest(stored=stored):
                self.store(*stored)
                self.run_once(Case.make(BEFORE, after=OTHER), torch="2.13.0")
                self.run_once(Case.make(BEFORE, after="new"), torch="2.15.0")
                outcomes = accept(self.root, self.live())
                self.assertEqual([outcome.status for outcome in outcomes], [REFUSED] * 2)
                self.assertIn("torch 2.13, 2.15: these torches differ: accept them with --version-section",
                              outcomes[0].message)
                self.assertEqual(self.accept(version_section=True), [ACCEPTED] * 2)
                expected = {"": OTHER, "torch>=2.15": "new"} if not stored else {
                    "": AFTER, "torch>=2.13": OTHER, "torch>=2.15": "new"}
                self.assertEqual({"": self.cases()[0].after, **dict(self.cases()[0].afters)}, expected)

    def test_two_torches_that_agree_are_one_text(self):
        """Two torches that give the same new text are accepted together, without a section."""
        self.store(Case.make(BEFORE, after=AFTER))
        self.run_once(Case.make(BEFORE, after=OTHER), Case.make("n", options="o=1", after="c"),
                      torch="2.13.0")
        self.run_once(Case.make(BEFORE, after=OTHER), Case.make("n", options="o=1", after="c"),
                      torch="2.15.0")
        self.assertEqual(sorted(self.accept()), [ACCEPTED] * 2 + [ALREADY] * 2)
        self.assertEqual([case.afters for case in self.cases()], [(), ()])

    def test_capture_that_differs_by_torch_becomes_a_second_case(self):
        """With a section a changed graph before stands beside the old one, and each torch finds its own."""
        old, new = Case.make(BEFORE, after=AFTER, title="t"), Case.make("b = x", after=OTHER, title="t")
        self.store(old)
        self.run_once(new, torch="2.15.0")
        self.assertEqual(self.accept(version_section=True), [ACCEPTED])
        self.assertEqual({case.before: case.afters for case in self.cases()},
                         {BEFORE: (("torch<2.15", AFTER),), "b = x": (("torch>=2.15", OTHER),)})
        self.run_once(old, torch="2.13.0")
        self.run_once(new, torch="2.15.0")
        self.assertEqual(self.live(), [])

    def test_each_torch_waits_for_its_own_capture_alone(self):
        """Of two cases for two torches each torch makes one, and misses only that one."""
        old, new = Case.make(BEFORE, after=AFTER, title="t"), Case.make("b = x", after=OTHER, title="t")
        self.store(old)
        self.run_once(new, torch="2.15.0")
        self.accept(version_section=True)

        stored = Store.for_test(self.here / "test/test_x.py", "X", "test_y")

        self.assertEqual([case.before for case in stored.unclaimed("2.13.0")], [BEFORE])
        self.assertEqual([case.before for case in stored.unclaimed("2.16.0")], ["b = x"])

    def test_capture_of_one_torch_that_changes_again_stays_its_own(self):
        """A plain accept replaces the case of the run's torch under its condition; the other torch keeps its own."""
        old = Case.make(BEFORE, afters=[("torch<2.15", AFTER)])
        new = Case.make("b = x", afters=[("torch>=2.15", OTHER)])
        for torch, sections in (("2.13.0", {"c = x": "torch<2.15", "b = x": "torch>=2.15"}),
                                ("2.15.1", {BEFORE: "torch<2.15", "c = x": "torch>=2.15"})):
            with self.subTest(torch=torch):
                self.store(old, new)
                self.run_once(Case.make("c = x", after="z"), torch=torch)
                self.assertEqual([entry.kind for entry in self.live()], ["before changed"])
                self.assertEqual(self.accept(), [ACCEPTED])
                self.assertEqual({case.before: case.afters[0][0] for case in self.cases()}, sections)

    def test_case_that_one_torch_adds_is_its_own(self):
        """With a section a new case of a file is that of the run's torch; plainly, or in a new file, of every torch."""
        new = Case.make("n", options="o=1", after="c")
        for stored, section, expected in (([Case.make(BEFORE, after=AFTER)], True, (("torch>=2.15", "c"),)),
                                          ([Case.make(BEFORE, after=AFTER)], False, ()), ([], True, ())):
            with self.subTest(stored=bool(stored), section=section):
                self.store(*stored)
                self.run_once(*stored, new, torch="2.15.0")
                self.assertEqual(self.accept(version_section=section), [ACCEPTED])
                self.assertEqual([case.afters for case in self.cases() if case.key == new.key], [expected])

    def test_case_that_two_torches_add_is_for_all(self):
        """A new case that two torches propose has a plain text also with sections; what one adds to it is its own."""
        both, one = Case.make("n", options="o=1", after="c"), Case.make("m", options="o=2", after="d")
        self.run_once(both, torch="2.13.0")
        self.run_once(both, one, torch="2.15.0")

        self.assertEqual(sorted(self.accept(version_section=True)), [ACCEPTED] * 2 + [ALREADY])

        self.assertEqual({case.before: (case.after, case.afters) for case in self.cases()},
                         {"n": ("c", ()), "m": (None, (("torch>=2.15", "d"),))})

    def test_accepting_a_capture_of_one_torch_is_idempotent(self):
        """Accepting the same proposals again finds both cases stored, and writes nothing."""
        self.store(Case.make(BEFORE, after=AFTER))
        self.run_once(Case.make("b = x", after=OTHER), Case.make("n", options="o=1", after="c"), torch="2.15.0")
        entries = self.live()
        accept(self.root, entries, version_section=True)
        old = self.fx.read_bytes()

        found = accept(self.root, entries, version_section=True)

        self.assertEqual([outcome.status for outcome in found], [ALREADY] * 2)
        self.assertEqual(self.fx.read_bytes(), old)


class GoneTests(AcceptCase):
    """Cases that a test no longer makes."""

    def gone(self, *cases, torch="2.13.0"):
        """Execute the test as a whole, in which it makes only these cases."""
        self.runs += 1
        with mock.patch.dict(os.environ, {"FXPECT_RUN": f"run{self.runs}"}):
            stored = Store.for_test(self.here / "test/test_x.py", "X", "test_y")
            for case in cases:
                stored.settle(case, torch_version=torch)
            return stored.propose_gone(torch)

    def test_a_case_is_taken_out(self):
        """Exactly that case goes; a second accept finds it done, and the file goes with its last case."""
        one, two = Case.make(BEFORE, after=AFTER), Case.make("b", options="o=1", raises="ValueError: no")
        self.store(one, two)
        self.assertEqual(self.gone(one), (two,))
        entries = self.live()
        self.assertEqual([outcome.status for outcome in accept(self.root, entries)], [ACCEPTED])
        self.assertEqual(self.cases(), (one,))
        self.assertEqual([outcome.status for outcome in accept(self.root, entries)], [ALREADY])
        self.gone()
        self.assertEqual(self.accept(), [ACCEPTED])
        self.assertFalse(self.fx.exists())
        self.assertEqual(self.live(), [])

    def test_a_case_that_changed_since_stays(self):
        """What somebody edited since is outdated, and nothing is written."""
        self.store(Case.make(BEFORE, after=AFTER))
        self.gone()
        self.store(Case.make(BEFORE, after=OTHER))
        self.assertEqual(len(outdated(self.root, self.live())), 1)
        self.assertEqual(self.accept(), [OUTDATED])
        self.assertEqual(self.cases(), (Case.make(BEFORE, after=OTHER),))

    def test_other_torches_keep_theirs(self):
        """With a section, from another machine, or where the torch has a section, only that torch's part goes."""
        plain, both = Case.make(BEFORE, after=AFTER), Case.make(BEFORE, after=AFTER, afters=[("torch>=2.15", OTHER)])
        for stored, options, afters in ((plain, {"version_section": True}, (("torch<2.15", AFTER),)),
                                        (plain, {"here": "2.13"}, (("torch<2.15", AFTER),)),
                                        (both, {}, (("torch<2.15", AFTER),)), (plain, {}, None)):
            with self.subTest(options=options):
                self.store(stored)
                self.gone(torch="2.15.0")
                entries = self.live()
                for status in (ACCEPTED, ALREADY):
                    self.assertEqual([one.status for one in accept(self.root, entries, **options)], [status])
                found = self.cases() if self.fx.exists() else ()
                self.assertEqual(found, () if afters is None else (Case.make(BEFORE, afters=afters),))

    def test_an_error_is_gone_for_all_or_none(self):
        """An expected error has no sections, so one torch alone cannot take it out."""
        error = Case.make(BEFORE, raises="ValueError: no")
        self.store(error)
        self.gone(torch="2.15.0")
        self.assertEqual(self.accept(version_section=True), [REFUSED])
        self.assertEqual(self.cases(), (error,))

    def test_gone_and_new_together(self):
        """A case that goes and one that comes are accepted together, whatever checks come with them."""
        self.store(Case.make(BEFORE, after=AFTER, title="a"))
        new = Case.make("n", options="o=1", after=OTHER)
        self.gone(new)
        self.assertEqual(self.accept(must=["has torch.sum"]), [ACCEPTED] * 2)
        self.assertEqual([(case.key, case.must) for case in self.cases()], [(new.key, ("has torch.sum",))])


class HereTests(AcceptCase):
    """Proposals of other torches, accepted where torch 2.13 is installed, whose results stay as they are."""

    def accept_here(self):
        """Accept what is pending; return the statuses and the messages."""
        outcomes = accept(self.root, self.live(), here="2.13")
        return [outcome.status for outcome in outcomes], "\n".join(outcome.message for outcome in outcomes)

    def test_newer_and_older_torch_get_sections(self):
        """A newer torch gets a section from itself on, an older one a section that ends before the installed one."""
        for torch, section in (("2.15.1", "torch>=2.15"), ("2.11.0", "torch>=2.11,<2.13")):
            with self.subTest(torch):
                self.store(Case.make(BEFORE, after=AFTER))
                self.run_once(Case.make(BEFORE, after=OTHER), torch=torch)
                self.assertEqual(self.accept_here()[0], [ACCEPTED])
                self.assertEqual(self.cases(), (Case.make(BEFORE, after=AFTER, afters=[(section, OTHER)]),))

    def test_a_section_that_is_not_used_here_is_changed_in_its_place(self):
        """What a newer torch has of its own is replaced, and does not become another section."""
        self.store(Case.make(BEFORE, after=AFTER, afters=[("torch>=2.14", OTHER)]))
        self.run_once(Case.make(BEFORE, after="new"), torch="2.15.0")
        self.assertEqual(self.accept_here()[0], [ACCEPTED])
        self.assertEqual(self.cases()[0].afters, (("torch>=2.14", "new"),))

    def test_new_case(self):
        """A case that another torch alone makes is its own; one that the installed torch makes too is that of all."""
        self.store(Case.make(BEFORE, after=AFTER))
        mine, both = Case.make("m", options="o=1", after="c"), Case.make("n", options="o=2", after="d")
        self.run_once(mine, both, torch="2.15.0")
        self.run_once(mine, Case.make("n", options="o=2", after="e"), torch="2.11.0")
        self.run_once(Case.make("n", options="o=2", after="e"), torch="2.13.0")
        self.assertEqual(set(self.accept_here()[0]), {ACCEPTED, ALREADY})
        self.assertEqual({case.before: (case.after, dict(case.afters)) for case in self.cases() if case.before in "mn"},
                         {"m": (None, {"torch>=2.11,<2.13": "c", "torch>=2.15": "c"}),
                          "n": ("e", {"torch>=2.15": "d"})})

    def test_errors_have_no_sections(self):
        """An error on one torch and a graph on another cannot be told apart, and are refused."""
        graph, error = Case.make(BEFORE, after=AFTER), Case.make(BEFORE, raises="ValueError: no")
        for stored, proposed in ((graph, error), (error, graph), (error, Case.make(BEFORE, raises="ValueError: yes"))):
            with self.subTest(stored=stored):
                self.store(stored)
                self.run_once(proposed, torch="2.15.0")
                statuses, said = self.accept_here()
                self.assertEqual((statuses, self.cases()), ([REFUSED], (stored,)))
                self.assertIn("torch 2.15", said)

    def test_a_case_without_result_waits_for_the_installed_torch(self):
        """After a merge the installed torch's result comes first; with it the others are sections."""
        self.store(Case.make(BEFORE))
        self.run_once(Case.make(BEFORE, after=OTHER), torch="2.15.0")
        self.assertEqual(self.accept_here()[0], [REFUSED])
        self.run_once(Case.make(BEFORE, after=AFTER), torch="2.13.0")
        self.assertEqual(self.accept_here()[0], [ACCEPTED] * 2)
        self.assertEqual(self.cases(), (Case.make(BEFORE, after=AFTER, afters=[("torch>=2.15", OTHER)]),))

    def test_every_torch_finds_what_it_proposed(self):
        """Whatever two other torches make of a stored case: each passes then, and so does the one that is installed."""
        old = ("a = torch.relu(x)", "a")
        answers = [old, (old[0], "b"), (old[0], "c"), ("b = torch.relu(x)", "a"), ("c = torch.relu(x)", "b")]
        for older, newer in itertools.product(answers, repeat=2):
            torches = {"2.11.0": older, "2.13.0": old, "2.15.0": newer}
            with self.subTest(torches):
                self.store(Case.make(old[0], after=old[1], title="t"))
                for torch, (before, after) in torches.items():
                    self.run_once(Case.make(before, after=after, title="t"), torch=torch)
                self.assertEqual(set(self.accept_here()[0]) if self.live() else {ACCEPTED}, {ACCEPTED})
                for torch, (before, after) in torches.items():
                    stored = Store.for_test(self.here / "test/test_x.py", "X", "test_y")
                    self.assertIsNone(stored.settle(Case.make(before, after=after, title="t"),
                                                    torch_version=torch).failure, self.fx.read_text())
                    self.assertEqual(stored.unclaimed(torch), (), self.fx.read_text())

    def test_what_every_torch_proposes_is_plain(self):
        """The same new result, or the same new graph before, on three torches is that of all."""
        for new in (Case.make(BEFORE, after=OTHER), Case.make("b = x", after=OTHER)):
            with self.subTest(new.before):
                self.store(Case.make(BEFORE, after=AFTER))
                for torch in ("2.15.0", "2.11.0", "2.13.0"):
                    self.run_once(new, torch=torch)
                self.assertEqual(sorted(self.accept_here()[0]), [ACCEPTED] + [ALREADY] * 2)
                self.assertEqual(self.cases(), (new,))

    def test_a_capture_that_changed_on_one_torch_does_not_take_the_other_ones_result(self):
        """Plainly, a new graph before is refused where another torch has something new for the old one."""
        for here in ("", "2.13"):
            self.store(Case.make(BEFORE, after=AFTER))
            self.run_once(Case.make(BEFORE, after="new"), torch="2.15.0")
            self.run_once(Case.make("b = x", after=OTHER), torch="2.13.0")
            found = {outcome.entry.torch: outcome for outcome in accept(self.root, self.live(), here=here)}
            self.assertEqual([found[torch].status for torch in ("2.15.0", "2.13.0")], [ACCEPTED, REFUSED])
            self.assertIn("got the stored one on torch 2.15: these torches differ", found["2.13.0"].message)
            self.assertEqual(self.cases()[0].expected("2.15.0"), "new")
            reject(self.root, self.live())


if __name__ == "__main__":
    unittest.main()
