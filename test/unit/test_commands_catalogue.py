"""``fxpect catalogue``: what it writes, says and refuses, and that what it tells people to run does run."""

import contextlib
import html
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import fxpect
from fxpect.commands import exit_codes
from fxpect.commands.main import main
from test.unit.projects import ProjectCase

LIBRARY = str(Path(fxpect.__file__).parents[1])
TESTS = '''
    """Sums."""

    import unittest

    class SumTests(unittest.TestCase):
        """Of two."""

        def test_sum(self):
            """One and one is two."""
            print("test_sum ran")
            self.assertEqual(1 + 1, 2)

        def test_other(self):
            """Another test."""
            print("test_other ran")

    if __name__ == "__main__":
        unittest.main()
'''


class CatalogueTests(ProjectCase):
    """A project in a temporary folder, which is the current one."""

    def setUp(self):
        super().setUp()
        self.write("test/__init__.py", "")
        self.write("test/deep/__init__.py", "")
        self.write("test/deep/test_sum.py", TESTS)

    def run_command(self, *words):
        """Return the exit code, what was printed and what was complained about."""
        printed, complained = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(complained):
            code = main(["catalogue", *words])
        return code, printed.getvalue(), complained.getvalue()

    def files(self, folder=".fxpect/catalogue"):
        return {path.relative_to(self.root / folder).as_posix(): path.read_bytes()
                for path in (self.root / folder).rglob("*") if path.is_file()}

    def test_writes_the_pages(self):
        """The pages go to .fxpect/catalogue, or where --out says, and one line says how many of what."""
        code, printed, complained = self.run_command()

        self.assertEqual((code, complained), (exit_codes.OK, ""))
        self.assertEqual(printed, "files 1, tests 2, cases 0, pages 10\n  open .fxpect/catalogue/index.html\n")
        self.assertLessEqual({"index.html", "test/deep/test_sum.html", "test/deep/index.html", "operators.html"},
                             set(self.files()))
        self.run_command("test/deep/test_sum.py", "--out", "pages")
        self.assertEqual(self.files("pages"), self.files())

    def test_the_same_bytes(self):
        """Whatever the hash seed and the folder of the checkout, the same tree gives the same bytes."""
        self.run_command()
        here = self.files()
        for seed in ("0", "42"):
            with tempfile.TemporaryDirectory() as elsewhere:
                os.chdir(elsewhere)
                Path("fixtures").mkdir()
                os.rename(self.root / "test", "test")
                ran = subprocess.run([sys.executable, "-m", "fxpect", "catalogue"], capture_output=True, text=True,
                                     env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": LIBRARY})
                os.rename("test", self.root / "test")
                os.chdir(self.root)

                self.assertEqual(ran.returncode, 0, ran.stderr)
                there = {path.relative_to(Path(elsewhere, ".fxpect", "catalogue")).as_posix(): path.read_bytes()
                         for path in Path(elsewhere, ".fxpect").rglob("*") if path.is_file()}
                self.assertEqual(there, here)

    def test_needs_no_torch(self):
        """The pages are written where importing torch fails."""
        self.write("broken/torch.py", "raise ImportError('no torch here')")
        ran = subprocess.run([sys.executable, "-m", "fxpect", "catalogue"], capture_output=True, text=True,
                             env={**os.environ, "PYTHONPATH": os.pathsep.join([str(self.root / "broken"), LIBRARY])})

        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        self.assertIn("index.html", self.files())

    def test_what_it_says_to_run_runs(self):
        """Each command of a page runs the file, or the one test, that it stands beside."""
        self.run_command()
        page = html.unescape(self.files()["test/deep/test_sum.html"].decode().replace("<wbr>", ""))
        whole = re.findall(r"<dd><code>((?:fxpect|python) .*?)</code>", page)
        alone = re.findall(r'<code class="command">(.*?)</code>', page)

        self.assertEqual([command.split()[:3] for command in whole],
                         [["fxpect", "run", "test/deep/test_sum.py"], ["python", "-m", "unittest"],
                          ["python", "test/deep/test_sum.py"]])
        self.assertEqual(len(alone), 2)
        for command in [*whole, *alone]:
            with self.subTest(command):
                words = shlex.split(command)
                start = [sys.executable, "-m", "fxpect"] if words[0] == "fxpect" else [sys.executable]
                shown = ["-s"] if words[0] == "fxpect" else []
                ran = subprocess.run([*start, *words[1:], *shown], capture_output=True, text=True, timeout=120,
                                     env={**os.environ, "PYTHONPATH": LIBRARY})

                self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)
                self.assertIn("test_sum ran" if "test_other" not in command else "test_other ran", ran.stdout)
                self.assertEqual("test_other ran" in ran.stdout, command in whole or "test_other" in command)

    def test_what_cannot_be_read(self):
        """A test file that does not parse ends with 1, a corrupt stored file with 6; both are named, all else shown."""
        self.write("test/test_bad.py", "def :")
        code, _, complained = self.run_command()
        self.assertEqual(code, exit_codes.FAILURES)
        self.assertEqual(complained, "cannot be read: test/test_bad.py: line 1: invalid syntax\n")

        self.write("fixtures/deep/test_sum/SumTests.test_sum.fx", "# fxpect 1\n<<<<<<< ours\n")
        code, _, complained = self.run_command()
        self.assertEqual(code, exit_codes.CORRUPT)
        self.assertRegex(complained, "test_bad.py: .*\n.*SumTests.test_sum.fx:2: expected no marker of a merge")
        self.assertIn("test/deep/test_sum.html", self.files())

    def test_misuse(self):
        """No tests, a name that is nothing, and a missing jinja2 are misuse; nothing is written."""
        (self.root / "empty").mkdir()
        for words, missing, said in ((["empty"], {}, "expected test files, such as test_x.py; got none in empty"),
                                     (["nowhere"], {}, "no tests at 'nowhere'"),
                                     ([], {"jinja2": None}, "pip install jinja2")):
            with self.subTest(said), mock.patch.dict("sys.modules", missing):
                code, printed, complained = self.run_command(*words)

                self.assertEqual((code, printed), (exit_codes.USAGE, ""))
                self.assertIn(said, complained)
                self.assertFalse((self.root / ".fxpect").exists())

    def test_tests_of_python_are_not_meant(self):
        """Where there is no folder test, that of Python is not taken for it."""
        os.chdir(self.root / "fixtures")

        code, _, complained = self.run_command()

        self.assertEqual(code, exit_codes.USAGE)
        self.assertIn("fxpect catalogue path/to/my/tests", complained)

    def test_files_of_others(self):
        """A file in the way ends with 2 and stays; one beside the pages stays; an old page goes and is counted."""
        self.write("pages/index.html", "my home page")
        code, _, complained = self.run_command("--out", "pages")
        self.assertEqual(code, exit_codes.USAGE)
        self.assertIn("choose another folder with --out", complained)
        self.assertEqual(self.files("pages"), {"index.html": b"my home page"})

        self.write(".fxpect/catalogue/notes.txt", "mine")
        self.write("test/test_old.py", TESTS)
        self.run_command()
        (self.root / "test" / "test_old.py").unlink()
        _, printed, _ = self.run_command()
        self.assertIn("old pages removed 1", printed)
        self.assertIn("notes.txt", self.files())
        self.assertNotIn("test/test_old.html", self.files())


if __name__ == "__main__":
    unittest.main()
