"""The README: every command and every snippet in it is run, and what it shows is what a person sees."""

import os
import re
import shlex
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import fxpect
from fxpect.commands import exit_codes

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FXPECT = [sys.executable, "-m", "fxpect"]

# How a command is tried that takes long or would change this environment: (arguments, exit codes, part of the output).
INSTEAD = {
    "python3 scripts/run_suite.py": ([sys.executable, "scripts/run_suite.py", "--help"], {0}, "--torch"),
    "python3 scripts/run_tests.py": ([sys.executable, "scripts/run_tests.py", "--help"], {0}, "--torch"),
    "pip install -e .": ([sys.executable, "-c", "import fxpect.commands.main"], {0}, ""),
    **dict.fromkeys(("scripts/matrix.py --torch 2.13.0,2.15.0 test/passes",
                     "scripts/matrix.py --add nightly/bin/python"),
                    ([sys.executable, "scripts/matrix.py", "--help"], {0}, "--add")),
    "tox -m matrix": ([sys.executable, "-c", "import configparser as c; p = c.ConfigParser(); p.read('tox.ini'); "
                       "assert 'matrix = ' in p['tox']['labels']; p['testenv:matrix']"], {0}, ""),
    "fxpect run my_tests --json old.json --graphs": (
        [*FXPECT, "run", "test/unit/test_layers.py", "-k", "direction", "-k", "point_down", "--graphs", "--json",
         "PROJECT/old.json"], {0}, "passed"),
    "fxpect compare old.json new.json --html drift.html": (
        [*FXPECT, "compare", "PROJECT/old.json", "PROJECT/old.json", "--html", "PROJECT/drift.html"], {0},
        "nothing differs"),
    "fxpect run": ([*FXPECT, "run", "-k", "no_such_test"], {exit_codes.NOTHING_RAN}, ""),
    "python -m unittest": ([sys.executable, "-m", "unittest", "test.unit.test_layers"], {0}, "OK"),
    "fxpect catalogue": ([*FXPECT, "catalogue", "test/unit", "--out", "PROJECT/pages"], {0}, "index.html"),
    "fxpect bugs": ([*FXPECT, "bugs"], {0}, ""),
    "tox": ([sys.executable, "-c",
             "import configparser as c; p = c.ConfigParser(); p.read('tox.ini'); p['testenv']"], {0}, ""),
}


def blocks(kind):
    return [(name, body) for found, name, body in BLOCK.findall(README) if found == kind]


def commands():
    """Return every command line of the sh blocks, without its remark."""
    lines = [line.partition("#")[0].strip() for _, body in blocks("sh") for line in body.splitlines()]
    return [line for line in lines if line]


class ReadmeTests(unittest.TestCase):
    """A reader who copies from the README gets what it says."""

    maxDiff = None

    def run_in(self, folder, arguments):
        library = Path(fxpect.__file__).parents[1]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(library)])}
        if Path(folder) != ROOT:
            environment["FXPECT_FIXTURES"] = str(Path(folder, "fixtures"))
        for name in ("CI", "EXPECTTEST_ACCEPT", "FXPECT_EXAMPLES", "FXPECT_SEED"):
            environment.pop(name, None)
        return subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)

    def project(self):
        """Return a folder that holds the README's files."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        Path(folder.name, "fixtures").mkdir()
        for name, body in blocks("python"):
            Path(folder.name, name).write_text(body, encoding="utf-8")
        return folder.name

    def test_first_pass_test_prints_what_is_shown(self):
        """The snippet's first two tests pass, the third fails with the very lines at the top of the README."""
        ran = self.run_in(self.project(), [sys.executable, "test_my_passes.py", "-v"])

        self.assertEqual(ran.returncode, 1, ran.stderr)
        self.assertIn("Ran 3 tests", ran.stderr)
        self.assertIn("FAILED (failures=1)", ran.stderr)
        self.assertIn("FAIL: test_neighbourhood", ran.stderr)
        printed = " ".join(ran.stderr.split())
        message, *lines = re.split(r"\n(?=  )", blocks("text")[0][1])
        for part in (message, *lines):
            self.assertIn(" ".join(part.split()), printed, ran.stderr)

    def test_every_command_runs(self):
        """Each command ends with the code that the README's table gives it, none is unknown here."""
        project = self.project()
        for command in commands():
            with self.subTest(command):
                if command in INSTEAD:
                    arguments, codes, part = INSTEAD[command]
                    ran = self.run_in(ROOT, [word.replace("PROJECT", project) for word in arguments])
                else:
                    words = shlex.split(command)
                    self.assertEqual(words[0], "fxpect", "a command that this test does not know how to run")
                    # Where there is nothing to accept or reject, "nothing matched" is the right answer.
                    settling = dict.fromkeys(("diff", "review", "accept", "reject"), {0, 2})
                    codes = {"check": {1}, **settling}.get(words[1], {0})
                    part = {"check": "findings"}.get(words[1], "")
                    ran = self.run_in(project, [*FXPECT, *words[1:]])
                self.assertIn(ran.returncode, codes, ran.stdout + ran.stderr)
                self.assertIn(part, ran.stdout + ran.stderr)

    def test_exit_codes_are_those_of_the_commands(self):
        """The table of exit codes is the one that the commands use."""
        self.assertIn(exit_codes.markdown(), README)

    def test_paths_exist(self):
        """Every folder named under "Where things are" is there."""
        section = README.partition("## Where things are")[2].partition("##")[0]
        for path in re.findall(r"^    (\S+/)", section, re.MULTILINE):
            self.assertTrue((ROOT / path).is_dir(), path)


if __name__ == "__main__":
    unittest.main()
