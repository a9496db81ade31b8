"""Two runs compared: each kind of difference, what is no difference, groups, and how they are told."""

import dataclasses
import json
import random
import unittest

from fxpect.drift.comparing import compare_runs, different_values
from fxpect.drift.grouping import groups_of, lines_of
from fxpect.drift.telling import as_data, as_text
from fxpect.errors import FxpectError
from fxpect.records import CaseRun, Values
from fxpect.report import Tally
from fxpect.report.verdicts import ERROR, FAILED, FIXED, PASSED, SKIPPED, Problem, RunReport, Verdict

CALLS = ("relu", "sin", "cos", "tanh")


def graph(*calls, name="x", size=4):
    """Return the text of a chain of calls."""
    lines, at = [f'def forward(self, {name}: "f32[{size}]"):'], name
    for call in calls:
        lines.append(f'    {call}_v: "f32[{size}]" = torch.{call}({at})')
        at = f"{call}_v"
    return "\n".join([*lines, f"    return ({at},)"]) + "\n"


BEFORE, AFTER, OTHER = graph("relu", "relu2"), graph("relu"), graph("clamp")


def case(before=BEFORE, after=AFTER, label="two", **fields):
    return CaseRun("pre_grad.some", f"capture=dynamo, label='{label}'", "f32[4]", before, after, **fields)


def verdict(*cases, test="SomeTests.test_some", status=PASSED, file="test/test_x.py", known=(), **fields):
    counted = Tally()
    for bug in known:
        counted.add("known bug", detail=bug)
    return Verdict(f"test.test_x.{test}", status, file=file, cases=cases, tally=counted, **fields)


def run(*verdicts, torch="2.13.0", graphs=True):
    return RunReport.of(verdicts, versions={"torch": torch}, graphs=graphs)


def plain(text, color):
    return text


class DriftCase(unittest.TestCase):
    """Runs of one test each, unless said otherwise."""

    maxDiff = None

    def drift(self, first, second):
        """Return what differs between two cases, verdicts or runs."""
        runs = []
        for one, torch in ((first, "2.13.0"), (second, "2.15.0")):
            one = verdict(one) if isinstance(one, CaseRun) else one
            runs.append(run(one, torch=torch) if isinstance(one, Verdict) else one)
        return compare_runs(*runs)

    def only(self, first, second):
        """Return the only difference."""
        (found,) = self.drift(first, second).differences
        return found


class KindTests(DriftCase):
    """What a difference is called."""

    def test_same(self):
        """Equal runs differ in nothing; seconds, and the order of cases, are nothing."""
        one = verdict(case(), case(label="three"), seconds=1.0)
        found = self.drift(one, verdict(case(label="three"), case(), seconds=2.0))
        self.assertEqual((found.differences, found.tests[0].kinds, found.tests[0].cases), ([], ["same"], 2))
        self.assertEqual((found.first, found.second), ("torch 2.13.0", "torch 2.15.0"))

    def test_pass_drift(self):
        """The same graph before and another after: words, both texts, and the graph that both were given."""
        found = self.only(case(), case(after=OTHER))
        self.assertEqual((found.kind, found.words), ("pass drift", "relu became clamp"))
        self.assertEqual((found.before, found.first, found.second), (BEFORE, AFTER, OTHER))
        self.assertEqual((found.case, found.pass_name, found.note), ("two", "pre_grad.some", ""))

    def test_a_pass_that_no_longer_fires(self):
        """It is said where a pass changes the graph on one side alone."""
        self.assertEqual(self.only(case(), case(after=BEFORE)).note, "the pass no longer changes the graph")
        self.assertEqual(self.only(case(after=BEFORE), case()).note, "the pass now changes the graph")

    def test_capture_drift(self):
        """Another graph before is drift of the capture, whatever comes after; the pass is told apart."""
        found = self.only(case(), case(before=graph("neg", "relu", "relu2"), after=graph("neg", "relu")))
        self.assertEqual((found.kind, found.words, found.note),
                         ("capture drift", "+1 neg after x; 1 user of x rewired",
                          "the pass makes the same edit of both"))
        other = self.only(case(), case(before=graph("neg", "relu", "relu2"), after=graph("neg", "sin")))
        self.assertEqual(other.note, "what the pass makes of each is another edit too")
        idle = self.only(case(), case(before=graph("neg", "relu", "relu2"), after=graph("neg", "relu", "relu2")))
        self.assertEqual(idle.note, "the pass no longer changes the graph")

    def test_texts_without_a_pass(self):
        """A text that no pass made is what torch itself gives; one that is no graph is compared by lines."""
        one = CaseRun("", "text='said'", "", "graph break: a")
        found = self.only(one, dataclasses.replace(one, before="graph break: b"))
        self.assertEqual((found.kind, found.words), ("capture drift", "graph break: a became graph break: b"))
        self.assertEqual(lines_of(found), ["@@ -1 +1 @@", "-graph break: a", "+graph break: b"])
        for text, words in (("graph break: b\nx", "graph break: a became graph break: b; 1 more"),
                            ("graph break: a\nx", "no lines gone, 1 new: x"),
                            (AFTER, "graph break: a became a graph"),
                            ("b" * 200, f"graph break: a became {'b' * 97}...")):
            self.assertEqual(self.only(one, dataclasses.replace(one, before=text)).words, words)

    def test_names_and_order(self):
        """Names alone, and order alone, are kinds of their own."""
        self.assertEqual(self.only(case(), case(before=graph("relu", "relu2", name="y"))).kind, "names only")
        text = 'def forward(self, x: "f32[4]"):\n    {}\n    {}\n    return (relu, sin)\n'
        one, two = "relu = torch.relu(x)", "sin = torch.sin(x)"
        self.assertEqual(self.only(case(after=text.format(one, two)), case(after=text.format(two, one))).kind,
                         "order only")

    def test_numerics(self):
        """Other values of equal graphs are a difference of their own, beside that of the texts."""
        one, other = (Values("output 0", "float32 [4]", 0, 0, total, 10.0) for total in (3.0, 3.1))
        found = self.only(case(values=(one,)), case(values=(other,)))
        self.assertEqual((found.kind, found.words), ("numerics", "output 0: the weighted sum 3 became 3.1"))
        both = self.drift(case(values=(one,)), case(values=(other,), after=OTHER)).tests[0]
        self.assertEqual(both.kinds, ["numerics", "pass drift"])
        self.assertEqual(self.drift(case(values=(one,)), case()).differences, [])

    def test_rounding_is_no_difference(self):
        """Two sums may be as far apart as rounding in their dtype brings them, and integers not at all."""
        def words(dtype, old, new, **fields):
            one, other = (Values("output 0", f"{dtype} [4]", total=total, scale=10.0) for total in (old, new))
            return different_values([one], [dataclasses.replace(other, **fields)])

        self.assertEqual(words("float32", 3, 3 + 1e-6), "")
        self.assertEqual(words("float64", 3, 3 + 1e-5), "output 0: the weighted sum 3 became 3.00001")
        self.assertEqual(words("bfloat16", 3, 3.1), "")
        self.assertEqual(words("int64", 3, 4), "output 0: the weighted sum 3 became 4")
        self.assertEqual(words("float32", 3, 3, nans=1),
                         "output 0: 0 NaN and 0 infinite elements became 1 and 0")
        self.assertEqual(words("float32", 3, 3, form="float64 [4]"), "output 0: float32 [4] became float64 [4]")
        one = Values("output 0", "bool [1]")
        self.assertEqual(different_values([one], [one, one]), "1 values became 2")

    def test_failures(self):
        """What fails in the second run alone is a new bug, what failed in the first alone a fixed one."""
        failure = ("numerics", "numerics:values", "output 0: 1 became 2")
        bad = verdict(case(failures=(failure,)), status=FAILED,
                      problems=(Problem("CheckFailure", "[numerics] ...", "", oracle="numerics"),))
        good = verdict(case())
        found = self.only(good, bad)
        self.assertEqual((found.kind, found.words), ("bug new", "[numerics] output 0: 1 became 2"))
        self.assertEqual(self.only(bad, good).kind, "bug fixed")
        self.assertEqual(self.drift(bad, bad).differences, [])

    def test_a_pass_that_crashes(self):
        """A crash in the place of a graph after is a bug, and not also a drift of the pass."""
        crash = case(after=None, failures=(("crash", "crash:pass:ValueError", "it raised"),))
        self.assertEqual(self.only(case(), crash).kind, "bug new")

    def test_failures_without_a_case(self):
        """A test that fails otherwise is a bug by its first line; one that fails for a stored text is not."""
        broken = verdict(status=ERROR, problems=(Problem("KeyError", "'gone'\nmore", ""),))
        found = self.only(verdict(), broken)
        self.assertEqual((found.kind, found.words, found.case), ("bug new", "KeyError: 'gone'", ""))
        drifted = verdict(case(after=OTHER), status=FAILED, problems=(Problem("PassDrift", "...", ""),))
        self.assertEqual(self.only(case(), drifted).kind, "pass drift")
        fixed = verdict(status=FIXED, reason="expected to fail and passed")
        self.assertEqual(self.only(verdict(), fixed).words, "fixed: expected to fail and passed")

    def test_known_bugs(self):
        """A known bug is gone where no test of the other run meets it; explored tests meet others by chance."""
        found = self.only(verdict(known=["cat-loses-dim"]), verdict())
        self.assertEqual((found.kind, found.words), ("bug fixed", "known bug cat-loses-dim"))
        self.assertEqual(self.only(verdict(), verdict(known=["cat-loses-dim"])).kind, "bug new")
        met, unmet = verdict(known=["cat-loses-dim"]), verdict()
        pinned = verdict(known=["cat-loses-dim"], test="KnownBugTests.test_cat")
        self.assertEqual(self.drift(run(met, pinned), run(unmet, pinned)).differences, [])

    def test_only_in_one(self):
        """A test and a case that only one run has; a test that was skipped in one of them did not run there."""
        self.assertEqual(self.only(run(verdict()), run()).words, "the test runs only with torch 2.13.0 (first run)")
        skipped = verdict(status=SKIPPED)
        found = self.only(skipped, verdict())
        self.assertEqual((found.kind, found.words), ("only in one", "the test runs only with torch 2.15.0"))
        self.assertEqual(self.drift(skipped, skipped).differences, [])
        found = self.only(verdict(case()), verdict(case(), case(label="three")))
        self.assertEqual((found.words, found.case, found.second),
                         ("the test makes the case only with torch 2.15.0", "three", BEFORE))

    def test_runs_without_graphs(self):
        """A run that kept nothing cannot say that nothing differs."""
        with self.assertRaisesRegex(FxpectError, "of torch 2.15.0 without\n.*--graphs"):
            compare_runs(run(), run(torch="2.15.0", graphs=False))


class PairingTests(DriftCase):
    """Which case of one run belongs to which of the other."""

    def test_cases_without_labels(self):
        """Of cases with equal options those with the same graph belong together, then those with the same inputs."""
        def unlabelled(text, inputs="f32[4]"):
            return CaseRun("p", "capture=export", inputs, text, text)

        texts = [graph(name) for name in CALLS]
        ours = verdict(*map(unlabelled, texts))
        theirs = verdict(*(unlabelled(text) for text in [texts[3], texts[1], texts[0], graph("neg")]))
        found = self.only(ours, theirs)
        self.assertEqual(found.words, "cos became neg")
        ours = verdict(unlabelled(texts[0], "f32[4]"), unlabelled(texts[1], "f64[4]"))
        theirs = verdict(unlabelled(texts[2], "f64[4]"), unlabelled(texts[0], "f32[4]"))
        self.assertEqual(self.only(ours, theirs).words, "sin became cos")

    def test_inputs_that_changed(self):
        """A capture that takes other inputs is still the same case."""
        self.assertEqual(self.only(case(), dataclasses.replace(case(), inputs="f32[4], f32[]", before=OTHER)).kind,
                         "capture drift")

    def test_many_cases(self):
        """Shuffling cases makes no difference, and each change is found once."""
        cases = [case(label=str(number), before=graph(*random.Random(number).choices(CALLS, k=5)))
                 for number in range(300)]
        others = [*cases[:-1], dataclasses.replace(cases[-1], after=OTHER)]
        random.Random(0).shuffle(others)
        self.assertEqual(self.only(verdict(*cases), verdict(*others)).case, "299")


class GroupTests(DriftCase):
    """Differences of one cause are one entry."""

    def forty(self):
        """Return two runs in which forty graphs have the same edit, one another, and one test is new."""
        cases = [case(label=str(number), before=graph(*["sin"] * number, "relu", "relu2"),
                      after=graph(*["sin"] * number, "relu")) for number in range(1, 41)]
        others = [dataclasses.replace(one, after=one.after.replace("torch.relu", "torch.clamp")) for one in cases]
        odd = (case(label="odd"), case(label="odd", after=graph("relu", "neg")))
        return (run(verdict(*cases, odd[0])),
                run(verdict(*others, odd[1]), verdict(test="NewTests.test_new"), torch="2.15.0"))

    def test_forty_equal_edits(self):
        """Forty equal edits are one group, told by its shortest example."""
        groups = groups_of(compare_runs(*self.forty()).differences)
        self.assertEqual([(group.kind, group.count) for group in groups],
                         [("pass drift", "40 cases of 1 test"), ("pass drift", "1 case of 1 test"),
                          ("only in one", "1 test")])
        self.assertEqual((groups[0].example.case, groups[0].passes), ("1", ["pre_grad.some"]))
        self.assertEqual(len({group.name for group in groups}), 3)

    def test_text(self):
        """The report names the pair, the files, and each cause with its diff; long diffs are cut."""
        drift = compare_runs(*self.forty())
        text = as_text(drift, plain, max_lines=3)
        for said in ("torch 2.13.0 -> torch 2.15.0: 2 tests with 41 cases; 0 the same, 2 with differences of 3 causes",
                     "tests of        same  pass drift  only in one\ntest/test_x.py                 1            1",
                     "1. pass drift, 40 cases of 1 test: pre_grad.some\n   relu became clamp\n",
                     "     test/test_x.py SomeTests.test_some  1  and 39 more\n",
                     "   --- torch 2.13.0\n   +++ torch 2.15.0\n   @@ ", "   ... 2 more lines: --lines 0",
                     "3. only in one, 1 test: NewTests.test_new\n   the test runs only with torch 2.15.0"):
            self.assertIn(said, text)
        self.assertNotIn("more lines", as_text(drift, plain, max_lines=0))

    def test_color(self):
        """Colour goes with the signs, never in their place."""
        painted = as_text(compare_runs(*self.forty()), lambda text, color: f"<{color}>{text}</>", max_lines=0)
        self.assertRegex(painted, r"<red>-    relu_v: .*</>\n   <green>\+    relu_v: ")

    def test_nothing_differs(self):
        """A report of equal runs says so."""
        text = as_text(compare_runs(run(verdict(case())), run(verdict(case()))), plain, max_lines=0)
        self.assertEqual(text, "torch 2.13.0 (first run) -> torch 2.13.0 (second run): 1 test with 1 case; nothing "
                               "differs\n\ntests of  same\n1 file       1")

    def test_many_tests_are_cut(self):
        """Of a cause that many tests share the first are named."""
        ours, theirs = ([verdict(case(after=after), test=f"T.test_{number}") for number in range(9)]
                        for after in (AFTER, OTHER))
        text = as_text(compare_runs(run(*ours), run(*theirs)), plain, max_lines=0)
        self.assertIn("and 5 more tests: --json FILE or --html FILE has them all", text)

    def test_data(self):
        """JSON holds every test, every cause, its diff, its example, and all that it explains."""
        data = json.loads(json.dumps(as_data([compare_runs(*self.forty())])))
        (drift,) = data["drifts"]
        self.assertEqual((data["format"], drift["first"], drift["same"]), (1, "torch 2.13.0", False))
        self.assertEqual(drift["modules"], {"test/test_x.py": {"only in one": 1, "pass drift": 1}})
        self.assertEqual([test["kinds"] for test in drift["tests"]], [["only in one"], ["pass drift"]])
        group = drift["groups"][0]
        self.assertEqual((group["kind"], len(group["differences"]), group["example"]["first"]),
                         ("pass drift", 40, graph("sin", "relu")))
        self.assertIn("+    relu_v: \"f32[4]\" = torch.clamp(sin_v)", group["diff"])


if __name__ == "__main__":
    unittest.main()
