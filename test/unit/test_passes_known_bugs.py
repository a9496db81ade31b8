"""The table of known bugs is strict, explains what it should, and its bugs are told there, fixed or changed."""

import contextlib
import dataclasses
import io
import json
import tempfile
import unittest
from pathlib import Path

import torch

from fxpect.commands import exit_codes
from fxpect.commands.main import main
from fxpect.errors import CheckFailure, FixtureError
from fxpect.examples import inputs_text
from fxpect.passes.helper_bugs import confirm_helper, parse_helpers
from fxpect.passes.known_bugs import (
    CHANGED,
    ELSEWHERE,
    FIXED,
    THERE,
    as_toml,
    confirm,
    explanation,
    load,
    parse,
    unexplained,
)
from fxpect.report.counts import tally
from fxpect.standalone.running import run_script

torch.set_num_threads(1)
ENTRY = '''
[[bug]]
id = "alpha-is-dropped"
pass = "fx.normalize_operators"
also = ["fx.other"]
when = "torch.add has alpha"
oracle = "numerics"
cause = "numerics:values$"
shows = ["alpha="]
torch = ">=2.11"
capture = "symbolic"
inputs = ["f32[4]", "f32[4]"]
before = """
def forward(self, a: "f32[4]", b: "f32[4]"):
    add = torch.add(a, b, alpha=3)
    return add
"""
'''
TABLE = "format = 1\n" + ENTRY


class TableTests(unittest.TestCase):
    """What is read, and what is refused."""

    def test_reads_an_entry_and_writes_it_back(self):
        """An entry survives being written and read."""
        (bug,) = parse(TABLE)
        self.assertEqual((bug.id, bug.also, bug.link), ("alpha-is-dropped", ("fx.other",), ""))
        (again,) = parse("format = 1\n" + as_toml(bug))
        self.assertEqual(dataclasses.replace(again, before=bug.before), bug)
        self.assertEqual(again.before.strip(), bug.before.strip())

    def test_refuses_what_is_not_strict(self):
        """An unknown, missing or wrong field, an id used twice and another format are errors that name it."""
        cases = {"surprise": ENTRY + 'surprise = "x"\n', "when": ENTRY.replace('when = "torch.add has alpha"\n', ""),
                 "a list of texts for inputs": ENTRY.replace('["f32[4]", "f32[4]"]', '"f32[4]"'),
                 "an oracle": ENTRY.replace('"numerics"', '"luck"'),
                 "an id of words": ENTRY.replace("alpha-is", "Al is"),
                 "torch range": ENTRY.replace(">=2.11", "new"), "regular expressions": ENTRY.replace("alpha=", "("),
                 "more than once": ENTRY + ENTRY}
        for message, text in cases.items():
            with self.subTest(message), self.assertRaisesRegex(FixtureError, message):
                parse("format = 1\n" + text)
        for text in ("format = 2", "format = 1\nbugs = []", "format =", "format = 1\nbug = [3]"):
            with self.assertRaises(FixtureError):
                parse(text)

    def test_a_missing_file_is_named(self):
        """A table that is not there is an error with its path."""
        with self.assertRaisesRegex(FixtureError, "nowhere.toml"):
            load("nowhere.toml")


class ExplanationTests(unittest.TestCase):
    """Which failures a bug explains."""

    def test_pass_label_and_text_must_fit(self):
        """A failure of another pass, with another label, or without what the entry shows stays news."""
        (bug,) = bugs = parse(TABLE)
        values, shape = (CheckFailure("numerics", "m", cause=f"numerics:{kind}") for kind in ("values", "shape"))
        self.assertIs(explanation(bugs, "fx.normalize_operators", values, "add(a, alpha=2)", ""), bug)
        self.assertIs(explanation(bugs, "fx.other", values, "add(a, alpha=2)", ""), bug)
        for name, failure, text in (("fx.third", values, "alpha=2"), ("fx.other", shape, "alpha=2"),
                                    ("fx.other", values, "add(a)")):
            self.assertIsNone(explanation(bugs, name, failure, text, ""))

    def test_of_several_the_one_with_the_same_steps(self):
        """Where two entries fit, the steps tell them apart; without steps the first of the table is taken."""
        first = dataclasses.replace(parse(TABLE)[0], steps=("operands: add.alpha changed",))
        second = dataclasses.replace(first, id="second", steps=("writes: add_ on x before add",))
        failure = CheckFailure("numerics", "m", cause="numerics:values")
        found = [explanation((first, second), first.pass_name, failure, "alpha=2", "", steps).id
                 for steps in ((), ("operands: add.alpha changed",), ("writes: zero_ on y before add_1",))]
        self.assertEqual(found, [first.id, first.id, "second"])

    def test_views_must_fit(self):
        """A bug that makes a copy a view explains what comes of that view, not the same label without it."""
        bug = dataclasses.replace(parse(TABLE)[0], views=("cat", "stack"), shows=())
        failure = CheckFailure("numerics", "x", cause="numerics:values")
        for views, explained in (((), False), (("relu",), False), (("cat",), True)):
            failure.views = views
            self.assertEqual(bug.explains(bug.pass_name, failure, "", ""), explained, views)
        self.assertEqual(parse("format = 1\n" + as_toml(bug)), (bug,))

    def test_not_in_another_torch(self):
        """A bug that the installed torch should not have explains nothing."""
        bugs = parse(TABLE.replace(">=2.11", "<1.0"))
        failure = CheckFailure("numerics", "m", cause="numerics:values")
        self.assertIsNone(explanation(bugs, "fx.other", failure, "alpha=2", ""))


    def test_the_unexplained_are_left(self):
        """Of the failures of an example those that are news are left; each of the others is tallied under its bug."""
        (bug,) = bugs = parse(TABLE)
        values, shape = (CheckFailure("numerics", "m", cause=f"numerics:{kind}") for kind in ("values", "shape"))
        tally.take()

        example = bug.example()
        left = unexplained(bugs, "fx.other", [values, shape], example.text, inputs_text(example))
        self.assertEqual(left, [shape])

        self.assertEqual(tally.take().details["known bug"], {"alpha-is-dropped": 1})


class ConfirmTests(unittest.TestCase):
    """There, fixed, changed, elsewhere."""

    def status(self, old="", new=""):
        """Return what becomes of the bug after one replacement in its entry."""
        (bug,) = parse(TABLE.replace(old, new) if old else TABLE)
        return confirm(bug).status

    def test_there(self):
        """The example fails as the table says."""
        self.assertEqual(self.status(), THERE)

    def test_fixed(self):
        """The example holds."""
        self.assertEqual(self.status(", alpha=3", ""), FIXED)

    def test_changed(self):
        """It fails in another way, does not run, or its pass is gone."""
        self.assertEqual(self.status("numerics:values$", "numerics:shape"), CHANGED)
        self.assertEqual(self.status('"f32[4]"]', '"f32[3]"]'), CHANGED)
        self.assertEqual(self.status('"fx.normalize_operators"', '"fx.gone"'), CHANGED)

    def test_elsewhere(self):
        """A bug of another torch is not looked for."""
        self.assertEqual(self.status(">=2.11", "<1.0"), ELSEWHERE)


HELPER = '''
[[helper]]
id = "helper-says-one"
helper = "torch.helper"
when = "it is asked"
says = "one of [0-9]"
torch = ">=2.11"
script = """
import sys, torch
torch.use_deterministic_algorithms(True)
print("one of 3")
sys.exit(True)
"""
'''


class HelperTests(unittest.TestCase):
    """Bugs of helpers, which their scripts tell of."""

    def test_there(self):
        """A script that exits 1 and says what it should shows the bug; what it leaves behind is gone with it."""
        (bug,) = parse_helpers(TABLE + HELPER)
        self.assertEqual(confirm_helper(bug), (THERE, "one of 3"))
        self.assertFalse(torch.are_deterministic_algorithms_enabled())

    def test_not_there(self):
        """A script that exits 0 is of a bug that is fixed; what says or does something else has changed."""
        (bug,) = parse_helpers(TABLE + HELPER)
        for old, new, status, message in (
                ("exit(True", "exit(0", FIXED, "its script exits 0: one of 3"),
                ("of 3", "more", CHANGED, r"say .one of \[0-9\].; got 1: one more"),
                ("import sys", "import nothing", CHANGED, "got 1: no output"),
                ("print", "import os; os._exit(7); print", CHANGED, "got 7: no output")):
            with self.subTest(new):
                status_, message_ = confirm_helper(dataclasses.replace(bug, script=bug.script.replace(old, new)))
                self.assertEqual(status_, status)
                self.assertRegex(message_, message)

    def test_elsewhere(self):
        """A bug of another torch is not looked for."""
        (bug,) = parse_helpers(TABLE + HELPER)
        self.assertEqual(confirm_helper(dataclasses.replace(bug, torch="<2"))[0], ELSEWHERE)

    def test_refuses_what_is_not_strict(self):
        """A field of the other kind, one that is missing and an id that a bug of a pass has are errors."""
        for message, text in {"got capture": HELPER + 'capture = "dynamo"\n', "script": HELPER.partition("script")[0],
                              "more than once": HELPER.replace("helper-says-one", "alpha-is-dropped"),
                              "regular": HELPER.replace("one of", "(")}.items():
            with self.subTest(message), self.assertRaisesRegex(FixtureError, message):
                parse_helpers(TABLE + text)


class CommandTests(unittest.TestCase):
    """``fxpect bugs``."""

    def run_command(self, table, *words):
        """Return exit code and output of ``fxpect bugs`` on a table."""
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as output:
            (Path(folder) / "known_torch_bugs.toml").write_text(table)
            code = main(["bugs", "--fixtures", folder, *(word.replace("DIR", folder) for word in words)])
            scripts = sorted(path.name for path in Path(folder).glob("*.py"))
        return code, output.getvalue(), scripts

    def test_lists_without_looking(self):
        """Without --confirm nothing is run."""
        code, output, _ = self.run_command(TABLE)
        self.assertEqual(code, exit_codes.OK)
        self.assertIn("alpha-is-dropped (fx.normalize_operators): torch.add has alpha", output)
        self.assertNotIn("there", output)

    def test_confirms_by_oracle_and_script(self):
        """A bug that is there is shown so, as JSON too, and its script is written."""
        code, output, scripts = self.run_command(TABLE, "--confirm", "--json", "--write", "DIR")
        self.assertEqual((code, json.loads(output)["status"]), (exit_codes.OK, "there"))
        self.assertEqual(scripts, ["alpha-is-dropped.py"])

    def test_helpers_beside_passes(self):
        """A bug of a helper is listed, found by its name, confirmed by its script and written, too."""
        code, output, scripts = self.run_command(TABLE + HELPER, "--confirm", "--write", "DIR")
        self.assertEqual((code, scripts), (exit_codes.OK, ["alpha-is-dropped.py", "helper-says-one.py"]))
        self.assertIn("there     helper-says-one (torch.helper): it is asked\n\n2 bugs of 1 passes and 1 helpers",
                      output)
        fixed = TABLE + HELPER.replace("exit(True", "exit(0")
        code, output, _ = self.run_command(fixed, "helper", "--confirm", "--json")
        self.assertEqual((code, json.loads(output)["status"]), (exit_codes.FAILURES, "fixed"))

    def test_a_fixed_bug_is_a_failure(self):
        """A bug that is gone ends the command with 1, and the answer says why."""
        code, output, _ = self.run_command(TABLE.replace(", alpha=3", ""), "--confirm")
        self.assertEqual(code, exit_codes.FAILURES)
        self.assertRegex(output, "fixed .*alpha-is-dropped")

    def test_misuse_and_a_corrupt_table(self):
        """An unknown name is misuse; a table that is not strict is corrupt."""
        with contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(self.run_command(TABLE, "nothing")[0], exit_codes.USAGE)
            self.assertEqual(self.run_command("format = 3")[0], exit_codes.CORRUPT)

    def test_a_script_is_run_for_its_exit_code(self):
        """What a script exits with, raises and prints is returned."""
        self.assertEqual(run_script("print('a')\nimport sys\nsys.exit(1)"), (1, "a\n"))
        self.assertEqual(run_script("raise ValueError('b')"), ("ValueError: b", ""))


if __name__ == "__main__":
    unittest.main()
