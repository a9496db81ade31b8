"""What is read of test files without importing them: the same tests that unittest loads, and what is wrong."""

import os
import unittest
from pathlib import Path

from fxpect.fixtures.case import Case
from fxpect.fixtures.format import Document, format_document
from fxpect.loading import find, load
from fxpect.pages.suite import read_suite
from test.unit.projects import ProjectCase

ROOT = Path(__file__).resolve().parents[2]
FORMS = '''
    """The purpose."""

    import os
    from unittest import TestCase

    def helper():
        """A helper."""

    class Mixin:
        def test_mixed(self): ...

    class BaseTests(TestCase, Mixin):
        """The base."""

        @staticmethod
        def helps(): ...

        def test_overridden(self):
            """Of the base."""

    if os.sep:
        class DerivedTests(BaseTests):
            def test_overridden(self):
                """Of the derived."""

            @helper
            async def test_waits(self):
                """Two lines.

                And more.
                """

    class Plain:
        def test_nothing(self): ...

    class GrowingTests(TestCase): ...
    for name in "ab":
        setattr(GrowingTests, f"test_{name}", lambda self: None)

    class OneTests(TestCase): ...
    class OtherTests(TestCase): ...
    def add():
        for case in (OneTests, OtherTests):
            setattr(case, "test_more", lambda self: None)
    add()

    if __name__ == "__main__":
        pass
'''


class SuiteCase(ProjectCase):
    """A project in a temporary folder, which is the current one."""

    def read(self, *targets):
        return read_suite(find(targets or ["test"]))

    def only(self, text):
        """Return what is read of a file with this text."""
        self.write("test/test_x.py", text)
        (file,) = self.read().files
        return file


class DiscoveryTests(SuiteCase):
    """Which classes and methods are tests."""

    def test_forms(self):
        """Inherited, overridden, conditional and async tests are found; mixins and plain classes are none."""
        file = self.only(FORMS)

        self.assertEqual([(owner.name, [test.name for test in owner.tests], owner.grows) for owner in file.classes],
                         [("BaseTests", ["test_mixed", "test_overridden"], False),
                          ("DerivedTests", ["test_mixed", "test_overridden", "test_waits"], False),
                          ("GrowingTests", [], True), ("OneTests", [], True), ("OtherTests", [], True)])
        self.assertEqual([test.claim for test in file.classes[1].tests],
                         ["", "Of the derived.", "Two lines.\n\nAnd more."])
        self.assertEqual((file.purpose, file.is_script), ("The purpose.", True))
        self.assertEqual(file.imports, ("import os", "from unittest import TestCase"))
        self.assertEqual([one.name for one in file.helpers], ["helper", "Mixin", "Plain", "add"])

    def test_source_starts_at_the_decorator(self):
        """The source of a test is its own lines, dedented, from the first decorator."""
        waits = self.only(FORMS).classes[1].tests[-1]

        self.assertTrue(waits.source.startswith("@helper\nasync def test_waits(self):\n"), waits.source)
        self.assertTrue(waits.source.endswith('"""'), waits.source)
        self.assertEqual(waits.decorators, ("helper",))

    def test_the_suite_is_what_unittest_loads(self):
        """Of every file of the suite the same tests are read as unittest loads."""
        os.chdir(ROOT)
        files = find(["test/dynamo"])
        read = {file.path: {test.id for test in file.tests} for file in read_suite(files).files}

        self.assertGreater(len(files), 15)
        for file in files:
            loaded = {test.id().removeprefix(f"{file.module}.") for unit in load(file).values() for test in unit}
            self.assertEqual(read[Path(file.path).relative_to(ROOT).as_posix()], loaded, file.path)

    def test_folders(self):
        """Every folder from the top is known, with the docstring of its package."""
        self.write("test/__init__.py", "'''All.'''")
        self.write("test/deep/er/test_x.py", "")

        self.assertEqual(self.read().folders, {".": "", "test": "All.", "test/deep": "", "test/deep/er": ""})

    def test_files_of_another_folder(self):
        """Paths start in the folder that the files share, where they are not below the current one."""
        self.write("here/x", "")
        for path in ("there/one/test_x.py", "there/two/test_x.py"):
            self.write(path, "")
        os.chdir(self.root / "here")

        suite = self.read("../there/one", "../there/two")

        self.assertEqual([(file.path, file.top) for file in suite.files],
                         [("one/test_x.py", "one"), ("two/test_x.py", "two")])


class TroubleTests(SuiteCase):
    """Whatever cannot be read is told where it stands, and the rest is read."""

    def test_files_that_do_not_parse(self):
        """Bad syntax, a zero byte, a wrong encoding and a nesting too deep are each a problem of the file."""
        for text, said in (("def :", "line 1: invalid syntax"), ("x = '\0'", "null bytes"),
                           ("# coding: no-such\n", "no-such"), ("(" * 5000 + ")" * 5000, "parenthes|nest|recursion")):
            with self.subTest(said):
                file = self.only(text)

                self.assertRegex(file.problem, said)
                self.assertEqual(file.classes, ())

    def test_stored_cases(self):
        """A test has its stored cases, or the problem that keeps them from being read, or neither."""
        stored = Document("test_x.py XTests.test_stored", cases=(Case.make("def forward(self):\n    return 1",
                                                                           after="def forward(self):\n    return 2"),))
        self.write("fixtures/test_x/XTests.test_stored.fx", format_document(stored))
        self.write("fixtures/test_x/XTests.test_corrupt.fx", "# fxpect 1\n<<<<<<< ours\n")
        self.write("fixtures/test_x/XTests.test_gone.fx", format_document(stored))
        self.write("fixtures/test_x/GrowingTests.test_a.fx", format_document(stored))

        file = self.only('''
            import unittest
            class XTests(unittest.TestCase):
                def test_stored(self): ...
                def test_corrupt(self): ...
                def test_new(self): ...
            class GrowingTests(unittest.TestCase): ...
            setattr(GrowingTests, "test_a", print)
        ''')

        kept, corrupt, new = file.tests
        self.assertEqual((kept.stored, kept.problem), (stored, ""))
        self.assertIsNone(corrupt.stored)
        self.assertRegex(corrupt.problem, r"XTests.test_corrupt.fx:2: .*merge conflict")
        self.assertEqual((new.stored, new.problem), (None, ""))
        self.assertEqual(file.stale, ("test_x/XTests.test_gone.fx",))


if __name__ == "__main__":
    unittest.main()
