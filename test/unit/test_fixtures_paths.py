"""Where a test's stored file lies, and that no name leads out of the fixtures folder."""

import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from fxpect.errors import FixtureError, FxpectError
from fxpect.fixtures.paths import accept_lock, find_root, inside, pending_folder, place_of, stored_paths, test_of


class Outer:
    class Inner:
        """A class inside a class."""


class PathsTests(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.here = Path(folder.name).resolve()
        names = ("FXPECT_FIXTURES", "FXPECT_PENDING")
        patch = mock.patch.dict(os.environ, {name: "" for name in names})
        patch.start()
        self.addCleanup(patch.stop)

    def make(self, *folders):
        """Make folders below the temporary one."""
        for folder in folders:
            (self.here / folder).mkdir(parents=True)

    def test_mirrors_the_path_under_test(self):
        """The stored file has the test file's path, with fixtures in the place of test."""
        self.make("fixtures", "test/dynamo")

        place = place_of(self.here / "test/dynamo/test_x.py", "XTests", "test_y")

        self.assertEqual(place.root, self.here / "fixtures")
        self.assertEqual(place.path, "dynamo/test_x/XTests.test_y.fx")
        self.assertEqual(place.test, "dynamo/test_x.py XTests.test_y")
        self.assertEqual(place.file, self.here / "fixtures/dynamo/test_x/XTests.test_y.fx")

    def test_folder_with_fixtures_beside_it_wins_over_a_nearer_test_folder(self):
        """A nearer folder called test, without fixtures beside it, is part of the path."""
        self.make("fixtures", "test/unit/tests")

        place = place_of(self.here / "test/unit/tests/test_x.py", "X", "test_y")

        self.assertEqual((place.root, place.path), (self.here / "fixtures", "unit/tests/test_x/X.test_y.fx"))

    def test_a_project_of_ones_own(self):
        """Without any fixtures folder it is beside the nearest test or tests folder, else beside the file."""
        self.make("a/tests/deep", "b/checks")

        self.assertEqual(place_of(self.here / "a/tests/deep/test_x.py", "X", "test_y").file,
                         self.here / "a/fixtures/deep/test_x/X.test_y.fx")
        self.assertEqual(place_of(self.here / "b/checks/test_x.py", "X", "test_y").file,
                         self.here / "b/checks/fixtures/test_x/X.test_y.fx")

    def test_environment_names_another_folder(self):
        """FXPECT_FIXTURES moves the folder and leaves the path below it alone."""
        self.make("fixtures", "test/dynamo")
        with mock.patch.dict(os.environ, {"FXPECT_FIXTURES": str(self.here / "golden")}):
            place = place_of(self.here / "test/dynamo/test_x.py", "X", "test_y")
            self.assertEqual(place.file, self.here / "golden/dynamo/test_x/X.test_y.fx")
            self.assertEqual(find_root(), self.here / "golden")

    def test_class_is_known_by_its_own_name(self):
        """A nested class keeps its dots; one made in a function is known without the function."""
        class Local:
            """A class inside a function."""

        self.make("test")
        file = self.here / "test/test_x.py"
        self.assertEqual(place_of(file, Outer.Inner, "test_y").path, "test_x/Outer.Inner.test_y.fx")
        self.assertEqual(place_of(file, Local, "test_y").path, "test_x/Local.test_y.fx")

    def test_names_that_could_lead_astray_are_refused(self):
        """Dots alone, separators and empty names are errors, and so is a name too long for a file."""
        file = self.here / "test_x.py"
        for owner, method in (("..", "test_y"), ("X", ".."), ("X/..", "test_y"), ("X", "test/y"),
                              ("", "test_y"),
                              ("X", "a\\b"), ("X", "a\0b"), ("X.", "y"), ("X", "test y")):
            with self.subTest(owner=owner, method=method), self.assertRaisesRegex(FixtureError,
                                                                                  "Python names"):
                place_of(file, owner, method)
        with self.assertRaisesRegex(FixtureError, "at most 255 bytes"):
            place_of(file, "X", "t" * 260)

    def test_inside_refuses_every_way_out(self):
        """A path with dots, an absolute one, another suffix, and links out of the root are errors."""
        self.make("fixtures/a", "elsewhere")
        root = self.here / "fixtures"
        (root / "link").symlink_to(self.here / "elsewhere")
        (root / "a/out.fx").symlink_to(self.here / "elsewhere/x.fx")
        (root / "a/in.fx").symlink_to(root / "a/real.fx")
        (root / "loop.fx").symlink_to(root / "loop.fx")
        for path, message in (("../x.fx", "without '..'"), ("a/../../x.fx", "without '..'"),
                              ("/etc/x.fx", "relative"),
                              ("a/x.txt", "a .fx file"), ("a\\x.fx", "relative"), ("a\0.fx", "relative"),
                              ("link/x.fx", "got a link to"), ("a/out.fx", "got a link to")):
            with self.subTest(path=path), self.assertRaisesRegex(FixtureError, message):
                inside(root, path)
        self.assertEqual(inside(root, "a/in.fx"), root / "a/real.fx")
        self.assertEqual(inside(root, "a/new.fx"), root / "a/new.fx")

    def test_test_of_a_path(self):
        """The path of a stored file names its test, as the file does; one that is that of no test is refused."""
        for file, owner, method in (("test/dynamo/test_x.py", "XTests", "test_y"), ("test/a b.py", "Out.In", "test_z")):
            place = place_of(self.here / file, owner, method)
            self.assertEqual(test_of(place.path), place.test)
        for path in ("X.test_y.fx", "a/test_y.fx", "a/.fx", "a/X..fx", "a/X.b c.fx", "../a/X.test_y.fx",
                     "/a/X.test_y.fx", "a/X.b\n.fx"):
            with self.subTest(path), self.assertRaisesRegex(FixtureError, "expected the"):
                test_of(path)

    def test_root_of_a_command(self):
        """A command works on the folder it is given, else on the nearest one from here upwards."""
        self.make("fixtures", "test/dynamo", "golden")
        self.assertEqual(find_root(self.here), self.here / "fixtures")
        self.assertEqual(find_root(self.here / "fixtures"), self.here / "fixtures")
        self.assertEqual(find_root(self.here / "golden"), self.here / "golden")
        with self.assertRaisesRegex(FxpectError, "expected a folder; got"):
            find_root(self.here / "nothing")
        with mock.patch.object(Path, "cwd", return_value=self.here / "test/dynamo"):
            self.assertEqual(find_root(), self.here / "fixtures")
        with mock.patch.object(Path, "cwd", return_value=Path("/")), \
                self.assertRaisesRegex(FxpectError, "at or above /; got none"):
            find_root()

    def test_pending_and_lock_lie_beside_the_fixtures(self):
        """Proposals and the lock are beside the fixtures folder; only the proposals can be moved."""
        root = self.here / "fixtures"
        self.assertEqual(pending_folder(root), self.here / ".fxpect/pending")
        with mock.patch.dict(os.environ, {"FXPECT_PENDING": str(self.here / "p")}):
            self.assertEqual(pending_folder(root), self.here / "p")
            self.assertEqual(accept_lock(root), self.here / ".fxpect/accept.lock")

    def test_lists_stored_files_sorted(self):
        """Only .fx files are listed, sorted by their path."""
        self.make("fixtures/b", "fixtures/a")
        for name in ("b/y.fx", "a/z.fx", "a/README.md", "x.fx"):
            (self.here / "fixtures" / name).write_text("")
        self.assertEqual(list(stored_paths(self.here / "fixtures")), ["a/z.fx", "b/y.fx", "x.fx"])


if __name__ == "__main__":
    unittest.main()
