"""A project in a temporary folder, with tests, stored files and proposals, for the commands that look after them."""

import contextlib
import io
import json
import os
import tempfile
import textwrap
import unittest
from pathlib import Path
from unittest import mock

from fxpect.commands.main import main
from fxpect.fixtures.case import Case
from fxpect.fixtures.format import Document, format_document
from fxpect.fixtures.paths import test_of
from fxpect.fixtures.store import Store

ENVIRONMENT = {"FXPECT_RUN": "run1", "CI": "", "EXPECTTEST_ACCEPT": "", "FXPECT_FIXTURES": "",
               "FXPECT_PENDING": "", "PYTEST_XDIST_TESTRUNUID": ""}
ONE, TWO, THREE = (Case.make(f"a = torch.relu({name})", after=f"b = torch.relu({name})") for name in "xyz")


class ProjectCase(unittest.TestCase):
    """The folder is the current one; ``command`` is the command under test."""

    command = ""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name).resolve()
        for name in ("test", "fixtures"):
            (self.root / name).mkdir()
        self.enterContext(mock.patch.dict(os.environ, ENVIRONMENT))
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.root)

    def write(self, path, text):
        """Write a file of the project."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), encoding="utf-8")
        return file

    def define(self, path="test/test_x.py", *, more="", **classes):
        """Write a file with classes of tests, by their names."""
        lines = ["import unittest"]
        for owner, methods in classes.items():
            lines += [f"class {owner}(unittest.TestCase):", "    pass"]
            lines += [f"    def {method}(self): pass" for method in methods]
        return self.write(path, "\n".join([*lines, textwrap.dedent(more)]))

    def store(self, path, *cases, test="", must=()):
        """Store cases, or one, at a path below fixtures."""
        cases = {case.key: case for case in cases or (ONE,)}
        document = Document(test or test_of(path), "works", tuple(must)).with_cases(cases)
        return self.write(f"fixtures/{path}", format_document(document))

    def propose(self, owner, method, *cases, file="test/test_x.py", torch="2.13.0"):
        """Execute a test that gives these cases."""
        stored = Store.for_test(self.root / file, owner, method)
        for case in cases:
            stored.settle(case, torch_version=torch, why="works")

    def fxpect(self, *words):
        """Run the command; return exit code, output and errors."""
        out, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            code = main([self.command, *words])
        return code, out.getvalue(), errors.getvalue()

    def answer(self, *words):
        """Run the command with --json; return exit code and answer."""
        code, out, errors = self.fxpect(*words, "--json")
        self.assertEqual(errors, "")
        return code, json.loads(out)

    def stored(self):
        """Return every file below fixtures with its bytes."""
        return {path.relative_to(self.root / "fixtures").as_posix(): path.read_bytes()
                for path in sorted((self.root / "fixtures").rglob("*")) if path.is_file()}
