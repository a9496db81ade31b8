"""Which tests a source defines: yes, no, and "not known" wherever the file may make them while it is loaded."""

import ast
import tempfile
import textwrap
import unittest
from pathlib import Path

from fxpect.errors import FxpectError
from fxpect.loading import find, load
from fxpect.pages.defined import Classes, read_source

ROOT = Path(__file__).resolve().parents[2]
PLAIN = """
    import contextlib
    import fxpect
    import unittest

    def helper(case): ...

    class Base(fxpect.PassTestCase):
        @contextlib.contextmanager
        def helps(self):
            yield
        def test_base(self): ...

    @unittest.skipIf(False, "")
    class XTests(Base, unittest.TestCase):
        table = {"a": 1}
        @fxpect.explore(None)
        def test_x(self):
            value = super(XTests, self)
            value.test_y = isinstance(self, XTests)

    if __name__ == "__main__":
        unittest.main()
"""
# What makes XTests.test_y possible, put below PLAIN or in the place of a part of it.
MAY_ADD = {
    "setattr": (None, "setattr(XTests, 'test_' + 'y', helper)"),
    "setattr on a base": (None, "setattr(Base, 'test_' + 'y', helper)"),
    "setattr in a loop": (None, "for one in (XTests, Base):\n        setattr(one, 'test_' + 'y', helper)"),
    "setattr on what globals holds": (None, "for one in list(globals().values()):\n        setattr(one, 'test_y', 1)"),
    "setattr on an expression": (None, "setattr(helper(__name__), 'test_' + 'y', helper)"),
    "an attribute": (None, "XTests.test_y = helper"),
    "a call that is given the class": (None, "helper(XTests)"),
    "a call that is given it by name": (None, "helper(case=XTests)"),
    "a decorator of the class": ('@unittest.skipIf(False, "")', "@helper"),
    "a decorator that adds to a method": ("@fxpect.explore(None)\n        def test_x(",
                                          "@helper([1])\n        def test("),
    "a base of another file": ("(Base, unittest.TestCase)", "(Base, other.Mixin)"),
    "a base that a call gives": ("(Base, unittest.TestCase)", "(helper(Base))"),
    "a metaclass": ("(Base, unittest.TestCase)", "(Base, metaclass=type)"),
    "a value of the body": ('table = {"a": 1}', "test_y = helper"),
    "a loop in the body": ('table = {"a": 1}', "for x in 'ab':\n            exec('def test_y(self): ...')"),
    "locals of the body": ('table = {"a": 1}', "locals()['test_' + 'y'] = helper"),
    "__init_subclass__": ("def helps(self)", "def __init_subclass__(self)"),
    "another class of that name": (None, "class XTests(Base): ..."),
}
# What makes GoneTests possible.
MAY_MAKE = {
    "globals": "globals()['Gone' + 'Tests'] = type('T', (Base,), {})",
    "type": "T = type('T', (Base,), {})",
    "an assignment": "GoneTests = helper(Base)",
    "an import": "from other import GoneTests",
    "another name of an import": "from other import Other as GoneTests",
    "a star": "from other import *",
    "a class in a function": "def f():\n        class GoneTests(Base): ...",
    "a class in a loop": "for x in 'ab':\n        class GoneTests(Base): ...",
    "setattr on a module": "setattr(helper(__name__), 'Gone' + 'Tests', Base)",
    "exec": "exec('')",
}


def read(text):
    return Classes(ast.parse(textwrap.dedent(text)))


class HasTests(unittest.TestCase):
    """What ``has`` answers."""

    def test_yes_and_no(self):
        """A method of the class or of its bases is there; another method, class or nested class is not."""
        classes = read(PLAIN)
        for owner, method, answer in (("XTests", "test_x", True), ("XTests", "test_base", True),
                                      ("Base", "test_x", False), ("XTests", "test_y", False),
                                      ("GoneTests", "test_x", False), ("Gone.Inner", "test_x", False),
                                      ("helper", "test_x", None)):
            with self.subTest(owner=owner, method=method):
                self.assertIs(classes.has(owner, method), answer)

    def test_added_tests_are_not_known(self):
        """Whatever may add a test to a class makes the answer "not known"; what is seen is never missing."""
        for name, (old, new) in MAY_ADD.items():
            with self.subTest(name):
                if old is not None:
                    self.assertIn(old, PLAIN)
                classes = read(PLAIN.replace(old, new) if old is not None else f"{PLAIN}\n    {new}\n")
                self.assertIs(classes.has("XTests", "test_y"), None)
                self.assertIsNot(classes.has("XTests", "test_base"), False)

    def test_made_classes_are_not_known(self):
        """Whatever may make a class of a name makes the answer "not known"."""
        for name, line in MAY_MAKE.items():
            with self.subTest(name):
                self.assertIs(read(f"{PLAIN}\n    {line}\n").has("GoneTests", "test_y"), None)

    def test_what_is_loaded_is_never_called_missing(self):
        """Of the tests that unittest loads from the files of the suite, and of this project, none is called missing."""
        files = find([str(ROOT / "test" / "dynamo"), str(ROOT / "test" / "unit" / "test_pages_suite.py"),
                      str(ROOT / "test" / "quality" / "test_planted_bugs.py")])
        sure = 0
        for file in files:
            classes = Classes(read_source(Path(file.path))[0])
            for test in (test for unit in load(file).values() for test in unit):
                has = classes.has(type(test).__qualname__, test._testMethodName)
                sure += has is True
                self.assertIsNot(has, False, test.id())
        self.assertGreater(sure, 100)


class ReadTests(unittest.TestCase):
    """What cannot be read."""

    def test_reads_or_says_why_not(self):
        """A source gives its tree and text; bad syntax, a missing file and one that is no text say what is wrong."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "test_x.py")
            path.write_text("x = 1\n")
            tree, text = read_source(path)
            self.assertEqual((ast.unparse(tree), text), ("x = 1", "x = 1\n"))
            for data, said in ((b"def :", "line 1: invalid syntax"), (b"x = '\xff'", "utf-8"),
                               (b"x = '\0'", "null bytes"), (b"# coding: no-such\n", "no-such")):
                path.write_bytes(data)
                with self.subTest(said), self.assertRaisesRegex(FxpectError, said):
                    read_source(path)
            path.unlink()
            with self.assertRaisesRegex(FxpectError, "No such file"):
                read_source(path)


if __name__ == "__main__":
    unittest.main()
