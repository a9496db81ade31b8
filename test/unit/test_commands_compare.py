"""``fxpect run --graphs`` and ``fxpect compare``: from two real runs to a report, its files and its exit codes."""

import contextlib
import io
import itertools
import json
import os
import tempfile
import textwrap
import unittest
from pathlib import Path
from unittest import mock

from fxpect.commands import exit_codes
from fxpect.commands.main import main
from fxpect.report.kept import kept
from fxpect.report.verdicts import RunReport

SUITE = """
    import fxpect
    from fxpect import T

    def swap(gm):
        for node in gm.graph.nodes:
            if node.target is fxpect_from:
                node.target = fxpect_to

    import torch
    fxpect_from, fxpect_to = torch.ops.aten.{before}.default, torch.ops.aten.{after}.default

    class SwapTests(fxpect.PassTestCase):
        def test_swaps(self):
            self.assertPreserves(swap, lambda x: torch.{before}(x), T(2, 3), oracles=(), label="one")

        def test_stays(self):
            self.assertPreserves(swap, lambda x: torch.sin(x), T(2, 3), oracles=())
"""


NUMBERS = itertools.count()  # a module is imported once in a process


class CompareCase(unittest.TestCase):
    """Commands in a temporary folder."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder.name)
        Path("fixtures").mkdir()
        self.enterContext(mock.patch.dict(os.environ, {"FXPECT_FIXTURES": str(Path("fixtures").resolve())}))

    def fxpect(self, *words):
        """Run a command; return exit code, output and errors."""
        out, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            code = main(list(words))
        return code, out.getvalue(), errors.getvalue()

    def save(self, name, *words, before="relu", after="neg"):
        """Run the suite with a pass that puts ``after`` in the place of ``before``, and save the run."""
        module = f"test_compared_{next(NUMBERS)}"
        self.file = file = Path(f"{module}.py")
        file.write_text(textwrap.dedent(SUITE.format(before=before, after=after)), encoding="utf-8")
        code, _, errors = self.fxpect("run", str(file), "--json", f"{name}.json", "--graphs", *words)
        self.assertEqual(code, 0, errors)
        # The suites stand for one suite under two torches, and so have one path.
        path = Path(f"{name}.json")
        path.write_text(path.read_text().replace(module, "test_swap"))
        return path.name


class RunTests(CompareCase):
    """What a run keeps."""

    def test_graphs_are_kept_in_every_process(self):
        """The cases of a test are in the file, the same with one process and with two, and not without --graphs."""
        wanted = kept.wanted
        runs = [RunReport.from_json(Path(self.save(*words)).read_text())
                for words in (("one",), ("two", "--jobs", "2"))]
        self.fxpect("run", str(self.file), "--json", "bare.json")

        here, there = ([verdict.cases for verdict in run.verdicts] for run in runs)
        self.assertEqual(([len(cases) for cases in here], here), ([1, 1], there))
        case = here[1][0]
        self.assertEqual((case.pass_name, case.options), ("swap", "capture=export, label='one'"))
        self.assertIn("aten.relu.default", case.before)
        self.assertIn("aten.neg.default", case.after)
        bare = json.loads(Path("bare.json").read_text())
        self.assertEqual((bare["graphs"], [verdict["cases"] for verdict in bare["verdicts"]]), (False, [[], []]))
        self.assertEqual(kept.wanted, wanted)

    def test_graphs_without_a_file(self):
        """There must be a file to keep them in."""
        self.save("one")
        code, _, errors = self.fxpect("run", str(self.file), "--graphs")
        self.assertEqual(code, exit_codes.USAGE)
        self.assertIn("expected --json FILE with --graphs", errors)


class CompareTests(CompareCase):
    """What is said of two runs."""

    def test_equal_runs(self):
        """Two runs of one suite differ in nothing, and end with 0."""
        code, out, errors = self.fxpect("compare", self.save("one"), self.save("two"))
        self.assertEqual((code, errors), (exit_codes.OK, ""))
        self.assertIn("(first run)", out)
        self.assertIn("nothing differs", out)

    def test_a_drift(self):
        """A pass that does something else is pass drift, on the terminal and as JSON, and ends with 1."""
        code, out, _ = self.fxpect("compare", self.save("one"), self.save("two", after="abs"), "--json", "to/d.json")
        self.assertEqual(code, exit_codes.FAILURES)
        for said in ("2 tests with 2 cases; 1 the same, 1 with differences of 2 causes", "neg became abs",
                     "pass drift, 1 case of 1 test: swap", "test_swap.py SwapTests.test_swaps  one",
                     '-    neg: "f32[2, 3]" = torch.ops.aten.neg.default(x)',
                     '+    neg: "f32[2, 3]" = torch.ops.aten.abs.default(x)',
                     "numerics, 1 case of 1 test: swap"):
            self.assertIn(said, out)
        (drift,) = json.loads(Path("to/d.json").read_text())["drifts"]
        self.assertEqual([group["kind"] for group in drift["groups"]], ["numerics", "pass drift"])

    def test_capture_drift(self):
        """A model that is captured otherwise is capture drift."""
        code, out, _ = self.fxpect("compare", self.save("one"), self.save("two", before="tanh"))
        self.assertEqual(code, exit_codes.FAILURES)
        self.assertIn("capture drift, 1 case of 1 test: swap\n   relu became tanh\n", out)

    def test_more_than_two(self):
        """Each run is compared with the one before it."""
        one, two = self.save("one"), self.save("two", after="abs")
        code, out, _ = self.fxpect("compare", one, two, two, "--json", "d.json")
        self.assertEqual(code, exit_codes.FAILURES)
        self.assertEqual([drift["same"] for drift in json.loads(Path("d.json").read_text())["drifts"]], [False, True])
        self.assertEqual(out.count(" -> "), 2)
        self.assertEqual(self.fxpect("compare", one, two, "--exit-zero")[0], exit_codes.OK)

    def test_color(self):
        """Colour is there where it is asked for alone."""
        one, two = self.save("one"), self.save("two", after="abs")
        self.assertNotIn("\x1b[", self.fxpect("compare", one, two)[1])
        self.assertIn("\x1b[32m+    neg", self.fxpect("compare", one, two, "--color", "always")[1])

    def test_misuse(self):
        """A file that is none, no run, another format, a damaged one, a run without graphs: each ends with 2."""
        one = self.save("one")
        data = json.loads(Path(one).read_text())
        self.fxpect("run", str(self.file), "--json", "bare.json")
        files = {"gone.json": (None, "gone.json: expected a run that can be read"),
                 "no.json": ("[1]", "no.json: expected a run that fxpect run --json FILE wrote"),
                 "old.json": (json.dumps({**data, "format": 7}), "old.json: expected a run of format 1; got format 7"),
                 "cut.json": (json.dumps({**data, "verdicts": [{}]}), "cut.json: expected a whole run"),
                 "bin.json": (b"\xff\xfe", "bin.json: expected a run that can be read"),
                 "bare.json": (None, "without\n  fxpect run ... --json FILE --graphs")}
        for name, (content, said) in files.items():
            with self.subTest(name):
                if content is not None:
                    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
                code, _, errors = self.fxpect("compare", one, name)
                self.assertEqual(code, exit_codes.USAGE)
                self.assertIn(said, errors)

    def test_a_run_of_nothing(self):
        """Where a run has no test there is nothing to say that it is the same."""
        self.save("one")
        self.fxpect("run", str(self.file), "-k", "no_such", "--json", "none.json", "--graphs")
        self.assertEqual(self.fxpect("compare", "none.json", "none.json")[0], exit_codes.NOTHING_RAN)


if __name__ == "__main__":
    unittest.main()
