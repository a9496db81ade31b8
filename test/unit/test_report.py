"""The tally, the verdicts, the recorder and everything that a run shows or writes."""

import io
import os
import sys
import unittest
import xml.etree.ElementTree as ET
from unittest import mock

from fxpect.errors import CaptureDrift, CheckFailure, FxpectError, PassDrift
from fxpect.report import Tally, tally
from fxpect.report.junit import junit_xml
from fxpect.report.progress import LineProgress, PlainProgress, painter, progress_for, wants_color
from fxpect.report.recorder import Recorder
from fxpect.report.screen import failures, rerun, screen
from fxpect.report.verdicts import ERROR, FAILED, KNOWN, PASSED, SKIPPED, Problem, RunReport, Verdict


def plain(text, name):
    """Paint nothing."""
    return text


class TallyTests(unittest.TestCase):
    """Counting beside passing and failing."""

    def test_counts_and_details(self):
        """Numbers add up by kind, and each detail with how often it was given."""
        counted = Tally()
        counted.add("examples", 30)
        counted.add("examples")
        counted.add("capture drift", detail="3f9c")
        counted.add("pinned", 0)

        self.assertEqual(counted.to_dict(), {"counts": {"capture drift": 1, "examples": 31},
                                             "details": {"capture drift": {"3f9c": 1}}})
        self.assertEqual(counted["pinned"], 0)

    def test_misuse_is_refused(self):
        """An unknown kind and a negative number raise at once, and nothing is counted."""
        counted = Tally()

        with self.assertRaisesRegex(FxpectError, "kind='exmaples': expected one of 'pinned', 'examples'"):
            counted.add("exmaples")
        with self.assertRaisesRegex(FxpectError, "number=-1"):
            counted.add("examples", -1)
        self.assertEqual(counted.to_dict(), {"counts": {}, "details": {}})

    def test_take_starts_again(self):
        """What was taken is no longer there, and the sum of what was taken is the whole."""
        counted = Tally()
        counted.add("known bug", 2, detail="issue 5")
        first = counted.take()
        counted.add("known bug", detail="issue 5")

        whole = Tally.total([first, counted.take()])

        self.assertEqual(whole.to_dict(), {"counts": {"known bug": 3},
                                           "details": {"known bug": {"issue 5": 3}}})
        self.assertEqual(counted["known bug"], 0)
        self.assertEqual(Tally.from_dict(whole.to_dict()).to_dict(), whole.to_dict())


class Samples:
    """Holds a test case where no loader finds it."""

    class Sample(unittest.TestCase):
        """One test of every kind."""

        def runTest(self):
            getattr(self, self.kind)()

        def passes(self):
            tally.add("examples", 7)
            tally.add("saved", 1)

        def fails(self):
            print("before the end")
            print("on the other stream", file=sys.stderr)
            raise CheckFailure("numerics", "off by one", pass_name="sink_cat", node="relu")

        def breaks(self):
            raise KeyError("gone")

        def skips(self):
            self.skipTest("needs CUDA")

        def drifts(self):
            tally.add("capture drift", detail="3f9c two inputs")
            raise CaptureDrift("drift", "counted already")

        def drifts_uncounted(self):
            raise PassDrift("drift", "stored after differs\nat length")

        def sub(self):
            for number in range(3):
                with self.subTest(number=number):
                    self.assertNotEqual(number, 1, "one is wrong")
                    self.assertNotEqual(number, 2, "two is wrong")


def record(*kinds, cls=Samples.Sample):
    """Run a sample of each kind and return the verdicts."""
    verdicts = []
    recorder = Recorder(verdicts.append)
    for kind in kinds:
        test = cls()
        test.kind = kind
        unittest.TestSuite([test]).run(recorder)
    return verdicts


class RecorderTests(unittest.TestCase):
    """From what unittest tells to one verdict a test."""

    def setUp(self):
        tally.take()

    def test_statuses(self):
        """Passing, failing, breaking and skipping are told apart, with the reason and the file."""
        verdicts = record("passes", "fails", "breaks", "skips")

        self.assertEqual([one.status for one in verdicts], [PASSED, FAILED, ERROR, SKIPPED])
        self.assertEqual(verdicts[3].reason, "needs CUDA")
        self.assertTrue(all(os.path.basename(one.file) == "test_report.py" for one in verdicts))

    def test_a_failed_check_keeps_its_fields(self):
        """The oracle, the pass and the node of a failed check are in the record, and what was printed."""
        (verdict,) = record("fails")

        problem = verdict.problems[0]
        self.assertEqual((problem.kind, problem.oracle, problem.pass_name, problem.node),
                         ("CheckFailure", "numerics", "sink_cat", "relu"))
        self.assertIn("off by one", problem.message)
        self.assertIn("Traceback", problem.text)
        self.assertEqual(verdict.output, "before the end\non the other stream\n")

    def test_subtests_are_one_verdict(self):
        """A test whose subtests fail is one bad verdict with a labelled problem for each."""
        (verdict,) = record("sub")

        self.assertEqual(verdict.status, FAILED)
        self.assertEqual([problem.label for problem in verdict.problems], ["(number=1)", "(number=2)"])

    def test_the_tally_goes_to_its_test(self):
        """Each verdict has what its own test counted."""
        passes, breaks, drifts = record("passes", "breaks", "drifts")

        self.assertEqual(passes.tally["examples"], 7)
        self.assertEqual(breaks.tally.to_dict()["counts"], {})
        self.assertEqual(drifts.tally.to_dict()["details"], {"capture drift": {"3f9c two inputs": 1}})

    def test_an_uncounted_drift_is_counted(self):
        """A drift that only raised is in the tally, under its first line."""
        (verdict,) = record("drifts_uncounted")

        self.assertEqual(verdict.tally.to_dict()["details"],
                         {"pass drift": {"[drift]: stored after differs": 1}})

    def test_expected_failures(self):
        """A known bug that is there is no failure; one that is gone is, and says what to remove."""
        def mark(kind):
            run = unittest.expectedFailure(lambda self: getattr(self, kind)())
            return type("Marked", (Samples.Sample,), {"runTest": run})

        known, = record("fails", cls=mark("fails"))
        gone, = record("passes", cls=mark("passes"))

        self.assertEqual((known.status, known.bad), (KNOWN, False))
        self.assertIn("off by one", known.reason)
        self.assertTrue(gone.bad)
        self.assertIn("remove the expectedFailure mark", gone.reason)

    def test_a_class_that_cannot_be_set_up(self):
        """A failed setUpClass is one bad verdict, named after its class and with the file that was loaded."""
        def setUpClass(cls):
            raise OSError("no disk")

        verdicts = []
        names = {"setUpClass": classmethod(setUpClass), "__module__": __name__}
        broken = type("Broken", (Samples.Sample,), names)
        unittest.TestSuite([broken()]).run(Recorder(verdicts.append, file=__file__))

        self.assertEqual([(one.name, one.status) for one in verdicts],
                         [(f"{__name__}.Broken.setUpClass", ERROR)])
        self.assertEqual(os.path.basename(verdicts[0].file), "test_report.py")


def a_report(**changes):
    """Return a report with one verdict of most kinds."""
    failed = Verdict("test.test_a.A.test_x", FAILED, 0.5, "test/test_a.py", output="printed\x1b[0m",
                     problems=(Problem("PassDrift", "[drift]: <differs>", "Traceback\nPassDrift: differs"),),
                     tally=Tally({"pass drift": 1, "proposed": 1}, {"pass drift": {"3f9c two inputs": 1}}))
    verdicts = [failed, Verdict("test.test_a.A.test_ok", PASSED, 0.25, "test/test_a.py",
                                tally=Tally({"examples": 1200, "discarded": 4, "pinned": 3, "saved": 1})),
                Verdict("test.test_a.A.test_known", KNOWN, reason="issue 17"),
                *(Verdict(f"test.test_a.B.test_{number}", SKIPPED, reason="needs CUDA") for number in (1, 2))]
    return RunReport.of(changes.pop("verdicts", verdicts), versions={"torch": "2.13.0", "python": "3.11.7"},
                        seconds=1.5, **changes)


class ReportTests(unittest.TestCase):
    """The record of a run, and what is made of it."""

    maxDiff = None

    def test_json_comes_back(self):
        """The JSON holds everything, with the totals at the top."""
        report = a_report()

        text = report.to_json()

        self.assertEqual(RunReport.from_json(text).to_json(), text)
        self.assertIn('"skips": {\n  "needs CUDA": 2\n }', text)
        self.assertEqual(RunReport.from_json(text).verdicts[1].tally["examples"], 1200)
        self.assertEqual(RunReport.from_json(text).tally["examples"], 1200)

    def test_order_is_by_name(self):
        """The order in which tests end does not show."""
        one, two = Verdict("b", PASSED), Verdict("a", PASSED)

        self.assertEqual(RunReport.of([one, two], versions={}).verdicts, (two, one))

    def test_the_screen(self):
        """One screen has every number, where each drift is, the reasons of skips, and where to look."""
        self.assertEqual(screen(a_report(), plain), """\
torch 2.13.0   python 3.11.7
tests                     5: 1 passed, 1 failed, 1 known bug, 2 skipped   in 1.5 s
pinned cases              3
examples explored         1,200  (4 discarded)
captures that drifted     0
passes that changed       1
    A.test_x  3f9c two inputs
torch bugs still there    1
    A.test_known  issue 17
skipped                   2
    2 of them: needs CUDA
look at                   fxpect review: what this run proposes (.fxpect/pending/), equal changes as one question
                          .fxpect/runs/: before, after and diff of the passes that failed
                          fxpect run test/test_a.py -k A.test_x
FAILED: 1 of 5 tests""")

    def test_the_last_line(self):
        """OK needs a test that ran; nothing, or skips alone, is not OK; an interrupt says so."""
        skipped = Verdict("a", SKIPPED, reason="r")
        cases = {"OK": [Verdict("a", PASSED)], "NOTHING RAN": [],
                 "FAILED: 1 of 1 tests": [Verdict("a", ERROR)]}
        for expected, verdicts in cases.items():
            self.assertEqual(screen(a_report(verdicts=verdicts), plain).splitlines()[-1], expected)
        self.assertEqual(screen(a_report(verdicts=[skipped]), plain).splitlines()[-1], "NOTHING RAN")
        self.assertEqual(screen(a_report(interrupted=True), plain).splitlines()[-1], "INTERRUPTED")

    def test_long_lists_are_cut(self):
        """A list shows eight lines and says how many more there are."""
        many = [Verdict(f"m.C.test_{number:02}", KNOWN, reason="bug") for number in range(20)]

        lines = screen(a_report(verdicts=many), plain).splitlines()

        self.assertEqual(sum("C.test_" in line for line in lines), 8)
        self.assertIn("    and 12 more (--json FILE has them all)", lines)

    def test_failures_in_full(self):
        """A failure is shown with its traceback, what it printed, and the command that runs it again."""
        text = failures(a_report(), plain)

        self.assertEqual(text, "failed: test.test_a.A.test_x\nTraceback\nPassDrift: differs\n"
                               "it printed:\n    printed\x1b[0m\n"
                               "run it again:\n    fxpect run test/test_a.py -k A.test_x\n")

    def test_rerun_of_what_is_no_test(self):
        """A class that did not set up and a file that did not load are run again as what they are."""
        self.assertEqual(rerun(Verdict("t.test_a.A.setUpClass", ERROR, file="t/test_a.py")),
                         "fxpect run t/test_a.py -k A")
        self.assertEqual(rerun(Verdict("t.test_a", ERROR, file="t/test_a.py")), "fxpect run t/test_a.py")

    def test_junit(self):
        """JUnit XML parses, counts add up, and characters that XML lacks are escaped."""
        root = ET.fromstring(junit_xml(a_report()).encode())

        suites = root.findall("testsuite")
        self.assertEqual(root.attrib | {"time": ""}, {"name": "fxpect", "tests": "5", "failures": "1",
                                                      "errors": "0", "skipped": "3", "time": ""})
        self.assertEqual([suite.get("name") for suite in suites], ["test.test_a.A", "test.test_a.B"])
        failed = suites[0].find("testcase[@name='test_x']")
        self.assertEqual(failed.find("failure").get("message"), "[drift]: <differs>")
        self.assertEqual(failed.find("system-out").text, "printed\\x1b[0m")
        self.assertEqual(suites[1].find("testcase/skipped").get("message"), "needs CUDA")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        """Claim to be one."""
        return True


class ProgressTests(unittest.TestCase):
    """What is shown while a run goes on."""

    def test_color(self):
        """The choice wins, then four variables in their order, then the terminal; an empty one is unset."""
        file, terminal = io.StringIO(), Terminal()
        table = [({}, terminal, True), ({}, file, False), ({"NO_COLOR": "1"}, terminal, False),
                 ({"NO_COLOR": ""}, terminal, True), ({"FORCE_COLOR": "1"}, file, True),
                 ({"FORCE_COLOR": ""}, file, False), ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, terminal, False),
                 ({"PYTHON_COLORS": "1", "NO_COLOR": "1"}, file, True), ({"TERM": "dumb"}, terminal, False),
                 ({"PYTHON_COLORS": "0"}, terminal, False)]
        for environ, stream, expected in table:
            with (self.subTest(environ, terminal=stream is terminal),
                  mock.patch.dict(os.environ, environ, clear=True)):
                self.assertIs(wants_color(stream), expected)
                self.assertIs(wants_color(stream, "always"), True)
                self.assertIs(wants_color(stream, "never"), False)

    def test_plain_lines(self):
        """Without a terminal each class and each bad test has a line, without control characters."""
        stream = io.StringIO()
        progress = progress_for(stream)
        bad, good = Verdict("m.C.test_bad", FAILED, 1.0), Verdict("m.C.test_good", PASSED, 0.25)
        progress.found(2)
        progress.done(bad)
        progress.done(good)
        progress.unit_done("m.C", [bad, good, Verdict("m.C.test_s", SKIPPED)])
        progress.close()

        self.assertIsInstance(progress, PlainProgress)
        self.assertEqual(stream.getvalue(), "failed  m.C.test_bad\nm.C  1 ok, 1 bad, 1 skipped  1.2 s\n")

    def test_every_bar_keeps_bad_tests(self):
        """rich, tqdm and the bare line each leave the name of a bad test on the screen."""
        for packages in (("rich", "tqdm"), ("tqdm",), ()):
            with self.subTest(packages), mock.patch("importlib.util.find_spec", _only(packages)):
                stream = Terminal()
                progress = progress_for(stream)
                progress.found(2)
                progress.done(Verdict("m.C.test_bad", FAILED))
                progress.done(Verdict("m.C.test_good", PASSED))
                progress.unit_done("m.C", [])
                progress.close()

                self.assertIn("failed  m.C.test_bad", stream.getvalue())

    def test_the_bare_line_counts(self):
        """Without rich and tqdm one line is written over, and removed at the end."""
        stream = Terminal()
        progress = LineProgress(stream, painter(False))
        progress.found(2)
        progress.done(Verdict("m.C.test_good", PASSED))

        self.assertTrue(stream.getvalue().endswith("1/2 tests  m.C.test_good"))
        progress.close()
        self.assertTrue(stream.getvalue().endswith("\r\x1b[K"))


def _only(packages):
    """Return a find_spec that finds ``packages`` where they are installed, and nothing else."""
    import importlib.util

    real = importlib.util.find_spec
    return lambda name, package=None: real(name, package) if name in packages else None


if __name__ == "__main__":
    unittest.main()
