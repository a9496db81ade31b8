"""run_tests: the exit codes of a test file that is run as a script."""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import types
import unittest
from pathlib import Path
from unittest import mock

from fxpect.cases.running import run_tests

ROOT = Path(__file__).resolve().parents[1]


def cases_of_a_file():
    """Return classes that pass, fail and skip; inside a function no runner takes them for tests of this file."""

    class Passing(unittest.TestCase):
        def test(self):
            pass

    class Failing(unittest.TestCase):
        def test(self):
            self.fail("the reason")

    class Skipped(unittest.TestCase):
        def test(self):
            self.skipTest("not here")

    return Passing, Failing, Skipped


PASSING, FAILING, SKIPPED = range(3)


def code(*arguments, cases=(PASSING,)):
    """Return the code of a file that holds these classes, and what it printed."""
    module = types.ModuleType("a_test_file")
    for case in cases:
        owner = cases_of_a_file()[case] if isinstance(case, int) else case
        setattr(module, owner.__name__, owner)
    output = io.StringIO()
    with contextlib.redirect_stderr(output), contextlib.redirect_stdout(output):
        result = run_tests(["a_test_file.py", *arguments], module=module, exit=False)
    return result, output.getvalue()


class RunningTests(unittest.TestCase):
    def test_codes(self):
        """0 where all passed, 1 where one failed, 5 where none ran."""
        self.assertEqual(code()[0], 0)
        self.assertEqual(code(cases=(PASSING, FAILING))[0], 1)
        self.assertEqual(code(cases=())[0], 5)
        self.assertEqual(code(cases=(SKIPPED,))[0], 5)
        self.assertEqual(code(cases=(SKIPPED, PASSING))[0], 0)
        self.assertEqual(code("-k", "no_such_test")[0], 5)
        self.assertIsNone(unittest.defaultTestLoader.testNamePatterns, "the pattern stays for the tests after it")

    def test_usage(self):
        """2 for an option or a test that is none; --help is 0."""
        for arguments in (("--no-such-option",), ("NoSuchTests",), ("Passing.test_none",)):
            with self.subTest(arguments=arguments):
                self.assertEqual(code(*arguments)[0], 2)
        self.assertEqual(code("--help")[0], 0)
        self.assertEqual(code("Passing.test")[0], 0)

    def test_accept(self):
        """--accept is EXPECTTEST_ACCEPT=1 for this run alone; in CI it is refused with 3."""
        seen = []

        class Reading(unittest.TestCase):
            def test(self):
                seen.append(os.environ.get("EXPECTTEST_ACCEPT"))

        with mock.patch.dict(os.environ, CI=""):
            os.environ.pop("EXPECTTEST_ACCEPT", None)
            self.assertEqual(code("--accept", cases=(Reading,))[0], 0)
            self.assertEqual(seen, ["1"])
            self.assertNotIn("EXPECTTEST_ACCEPT", os.environ)
        with mock.patch.dict(os.environ, CI="1"):
            self.assertEqual(code("--accept", cases=(Reading,))[0], 3)
        with mock.patch.dict(os.environ, CI="1", EXPECTTEST_ACCEPT="1"):
            self.assertEqual(code(cases=(Reading,))[0], 3)
        with mock.patch.dict(os.environ, EXPECTTEST_ACCEPT="maybe"):
            self.assertEqual(code(cases=(Reading,))[0], 2)
        self.assertEqual(seen, ["1"])

    def test_script(self):
        """A file that ends in fxpect.run_tests() ends its process with the code."""
        with tempfile.TemporaryDirectory() as folder:
            for body, expected in (("pass", 0), ("self.fail()", 1), ("self.skipTest('x')", 5)):
                path = Path(folder) / "test_script.py"
                path.write_text(
                    "import unittest\nimport fxpect.cases.running\n\n\nclass Tests(unittest.TestCase):\n"
                    f"    def test(self):\n        {body}\n\n\n"
                    'if __name__ == "__main__":\n    fxpect.cases.running.run_tests()\n',
                    encoding="utf-8",
                )
                done = subprocess.run(
                    [sys.executable, path], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
                )

                with self.subTest(body):
                    self.assertEqual(done.returncode, expected, done.stderr)


if __name__ == "__main__":
    unittest.main()
