"""Finding tests: every way to run a suite finds each test once, and running nothing is never a success."""

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

import fxpect
from fxpect.errors import FxpectError
from fxpect.loading import SuiteFile, find, load

SUITE = """
    from fxpect.loading import suite

    load_tests = suite(__name__, __file__)
"""
ALL_SUITES = """
    from fxpect.loading import suite

    load_tests = suite(__name__, __file__, "one", "two")
"""
TESTS = """
    import unittest


    class {name}Tests(unittest.TestCase):
        def test_passes(self):
            pass

        def test_fails(self):
            self.fail("on purpose")


    if __name__ == "__main__":
        unittest.main()
"""


class Project(unittest.TestCase):
    """A small project in a temporary folder, which is the current one while a test runs."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name).resolve()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.root)

    def write(self, files):
        """Write ``files`` below the project."""
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), encoding="utf-8")

    def write_suites(self):
        """Write the layout of this repository: two suites in a package ``test``."""
        self.write({"test/__init__.py": ALL_SUITES, "test/one/__init__.py": SUITE,
                    "test/two/__init__.py": SUITE, "test/one/test_a.py": TESTS.format(name="A"),
                    "test/two/test_b.py": TESTS.format(name="B")})

    def python(self, *words):
        """Run Python in the project and return (exit code, tests run, failures, whole output)."""
        environ = {**os.environ, "PYTHONPATH": str(Path(fxpect.__file__).parent.parent)}
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environ)
        output = done.stdout + done.stderr
        ran = re.search(r"Ran (\d+) test", output)
        failed = re.search(r"failures=(\d+)", output)
        return done.returncode, int(ran[1]) if ran else None, int(failed[1]) if failed else 0, output


class HookTests(Project):
    """The ``load_tests`` hook, under every command that a person may type."""

    def test_every_unittest_command_gives_the_same_verdicts(self):
        """All, one suite, one module, one class, a file by path, and a file as a script: each test once."""
        self.write_suites()
        both, one = (1, 4, 2), (1, 2, 1)
        commands = {("-m", "unittest"): both, ("-m", "unittest", "test"): both,
                    ("-m", "unittest", "discover", "-s", "test", "-t", "."): both,
                    ("-m", "unittest", "-k", "test_fails"): (1, 2, 2),
                    ("-m", "unittest", "test.one"): one, ("-m", "unittest", "test.one.test_a"): one,
                    ("-m", "unittest", "test.one.test_a.ATests"): one,
                    ("-m", "unittest", "test.one.test_a.ATests.test_passes"): (0, 1, 0),
                    ("-m", "unittest", "test/two/test_b.py"): one, ("test/two/test_b.py",): one}
        for command, expected in commands.items():
            with self.subTest(" ".join(command)):
                *verdict, output = self.python(*command)

                self.assertEqual(tuple(verdict), expected, output)

    @unittest.skipUnless(importlib.util.find_spec("pytest"), "pytest is not installed")
    def test_pytest_gives_the_same_verdicts(self):
        """pytest finds the same tests with the same verdicts."""
        self.write_suites()

        code, _, _, output = self.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "test")

        self.assertIn("2 failed, 2 passed", output)
        self.assertEqual(code, 1)

    def test_nothing_ran_is_five(self):
        """Where no test is found or none matches, unittest ends with 5 on every Python."""
        self.write({"test/__init__.py": ALL_SUITES, "test/one/__init__.py": SUITE,
                    "test/two/__init__.py": SUITE})
        for command in (["-m", "unittest"], ["-m", "unittest", "test"], ["-m", "unittest", "test.one"]):
            with self.subTest(command):
                code, _, _, output = self.python(*command)

                self.assertEqual((code, "NO TESTS RAN" in output), (5, True), output)
        self.write_suites()

        code, _, _, output = self.python("-m", "unittest", "-k", "no_such_test")

        self.assertEqual((code, "NO TESTS RAN" in output), (5, True), output)

    def test_an_empty_suite_beside_a_full_one_is_fine(self):
        """A suite without tests does not end a run in which another suite has some."""
        self.write_suites()
        (self.root / "test/one/test_a.py").unlink()

        code, ran, failures, output = self.python("-m", "unittest")

        self.assertEqual((code, ran, failures), (1, 2, 1), output)


class FindTests(Project):
    """What a word on the command line stands for."""

    def names(self, *targets):
        """Return (module, rest of the name) of each file found."""
        return [(file.module, file.only) for file in find(targets)]

    def test_folders_files_and_names(self):
        """A folder, a file, a package, a module, a class and a method are all found, once each."""
        self.write_suites()
        self.write({"test/one/helper.py": "", "test/one/.hidden/test_no.py": "",
                    "test/one/env/pyvenv.cfg": "", "test/one/env/test_no.py": ""})
        both = [("test.one.test_a", ""), ("test.two.test_b", "")]

        self.assertEqual(self.names("test"), both)
        self.assertEqual(self.names("test/two", "test/one/test_a.py", "test"), both)
        self.assertEqual(self.names("test.one"), both[:1])
        self.assertEqual(self.names("test.one.test_a"), both[:1])
        self.assertEqual(self.names("test.one.test_a.ATests.test_fails"),
                         [("test.one.test_a", "ATests.test_fails")])

    def test_a_file_outside_packages_is_named_by_itself(self):
        """The module's name starts at the topmost folder that is a package."""
        self.write({"mine/test_x.py": TESTS.format(name="X")})

        self.assertEqual(find(["mine"]), [SuiteFile(str(self.root / "mine/test_x.py"),
                                                    str(self.root / "mine"), "test_x")])

    def test_an_installed_module_is_found(self):
        """A dotted name that is no path here may be a module that is installed."""
        self.assertEqual(self.names("fxpect.errors"), [("fxpect.errors", "")])

    def test_a_wrong_name_is_misuse(self):
        """A name that stands for nothing raises, and the message has the name and the folder."""
        for wrong in ("tset", "test/nowhere.py", "test.nowhere", "no-such", "no such", ""):
            with self.subTest(wrong), self.assertRaisesRegex(FxpectError, f"no tests at '{wrong}'.*from"):
                find([wrong])

    def test_units_are_classes(self):
        """Tests load by class, in order; patterns and the rest of a dotted name narrow them."""
        self.write({"test_units.py": TESTS.format(name="A") + TESTS.format(name="B")})
        file = SuiteFile.at(self.root / "test_units.py")

        units = {name: [test.id() for test in tests] for name, tests in load(file).items()}

        self.assertEqual(units, {f"test_units.{one}Tests": [f"test_units.{one}Tests.test_fails",
                                                            f"test_units.{one}Tests.test_passes"]
                                 for one in "AB"})
        self.assertEqual(list(load(file, ["BTests.test_p"])), ["test_units.BTests"])
        only = SuiteFile.at(self.root / "test_units.py", "ATests.test_passes")
        self.assertEqual([len(tests) for tests in load(only).values()], [1])

    def test_a_module_with_a_set_up_is_one_unit(self):
        """``setUpModule`` runs once for its tests, so they stay together."""
        self.write({"test_whole.py": TESTS.format(name="A") + TESTS.format(name="B")
                    + "\n    def setUpModule():\n        pass\n"})

        units = load(SuiteFile.at(self.root / "test_whole.py"))

        self.assertEqual({name: len(tests) for name, tests in units.items()}, {"test_whole": 4})

    def test_two_files_of_one_name_are_refused(self):
        """Two folders without __init__ that hold the same file name would run one of them twice."""
        self.write({"p/test_twin.py": TESTS.format(name="P"), "q/test_twin.py": TESTS.format(name="Q")})
        first, second = find(["p", "q"])
        load(first)

        with self.assertRaisesRegex(FxpectError, "'test_twin' already means .*p/test_twin.py"):
            load(second)


if __name__ == "__main__":
    unittest.main()
