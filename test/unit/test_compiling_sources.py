"""Modules from source: imported under their name inside the with, gone or restored behind it."""

import sys
import tempfile
import unittest
from pathlib import Path

import fxpect
from fxpect.compiling.sources import source_module

SOURCE = "def double(x):\n    return x * 2\n"


class SourceModuleTests(unittest.TestCase):
    def test_is_imported_inside_of_the_with(self):
        """The module has its name and file, is found by import, and is gone afterwards with its file."""
        with source_module(SOURCE, "written_here") as module:
            import written_here

            path = Path(module.__file__)
            self.assertIs(module, written_here)
            self.assertEqual((module.double(3), path.name, module.double.__module__), (6, "written_here.py",
                                                                                     "written_here"))  # fmt: skip
            self.assertEqual(path.read_text(encoding="utf-8"), SOURCE)

        self.assertFalse(path.exists())
        self.assertNotIn("written_here", sys.modules)

    def test_keeps_a_given_folder(self):
        """In a folder that is given the file stays, and another source takes its place."""
        with tempfile.TemporaryDirectory() as folder:
            with source_module(SOURCE, "written_here", folder) as module:
                self.assertEqual(Path(module.__file__).parent, Path(folder))
            with source_module("value = 1\n", "written_here", folder) as module:
                self.assertEqual(module.value, 1)
            self.assertTrue((Path(folder) / "written_here.py").exists())

    def test_restores_what_stood_under_the_name(self):
        """A module that was there under the name is there again, also when the source raises."""
        with source_module(SOURCE, "written_here") as module:
            with source_module("", "written_here"):
                self.assertIsNot(sys.modules["written_here"], module)
            self.assertIs(sys.modules["written_here"], module)
            with self.assertRaises(ZeroDivisionError), source_module("1 / 0", "written_here"):
                pass
            self.assertIs(sys.modules["written_here"], module)

    def test_name_that_is_none(self):
        """A name that cannot be imported is refused with its value."""
        with self.assertRaisesRegex(fxpect.FxpectError, r"name= to be an identifier; got 'a\.b'"), \
                source_module(SOURCE, "a.b"):  # fmt: skip
            pass


if __name__ == "__main__":
    unittest.main()
