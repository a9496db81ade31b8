"""Writing pages: old ones are replaced and removed, and nothing that somebody else wrote is touched."""

import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from fxpect.errors import FxpectError
from fxpect.pages.writing import MANIFEST, write_pages

PAGES = {"index.html": b"start", "test/deep/test_x.html": b"x"}


class WritingTests(unittest.TestCase):
    """A folder for the pages, which holds other files too."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name, "new", "pages")

    def files(self):
        return {path.relative_to(self.folder).as_posix(): path.read_bytes()
                for path in self.folder.rglob("*") if path.is_file() and path.name != MANIFEST}

    def refused(self, pages, said):
        """Check that writing is refused, with a way out, and changes nothing."""
        before = {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}
        with self.assertRaisesRegex(FxpectError, said) as caught:
            write_pages(self.folder, pages)
        self.assertIn("--out", str(caught.exception))
        self.assertEqual({path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}, before)

    def test_new_then_same_then_changed(self):
        """Pages are written, left as they are, replaced, and removed with the folders that this empties."""
        self.assertEqual(write_pages(self.folder, PAGES), [])
        self.assertEqual(self.files(), PAGES)
        written = (self.folder / "index.html").stat().st_mtime_ns

        self.assertEqual(write_pages(self.folder, PAGES), [])
        self.assertEqual((self.folder / "index.html").stat().st_mtime_ns, written)
        self.assertEqual(write_pages(self.folder, {"index.html": b"other"}), ["test/deep/test_x.html"])
        self.assertEqual(self.files(), {"index.html": b"other"})
        self.assertEqual({path.name for path in self.folder.iterdir()}, {"index.html", MANIFEST})

    def test_files_of_others_stay(self):
        """A file beside the pages, and a page that somebody has changed since, are not removed."""
        write_pages(self.folder, PAGES)
        (self.folder / "test" / "deep" / "thesis.txt").write_text("years of work")
        (self.folder / "test" / "deep" / "test_x.html").write_text("my own notes")

        self.assertEqual(write_pages(self.folder, {"index.html": b"start"}), [])
        self.assertEqual(self.files(), {"index.html": b"start", "test/deep/thesis.txt": b"years of work",
                                        "test/deep/test_x.html": b"my own notes"})

    def test_what_is_in_the_way_is_refused(self):
        """A page's place that holds another file, a changed page, a link or a folder is an error before all else."""
        self.folder.mkdir(parents=True)
        (self.folder / "index.html").write_text("my home page")
        self.refused(PAGES, "index.html to be a page of this command")
        (self.folder / "index.html").unlink()
        write_pages(self.folder, PAGES)
        (self.folder / "index.html").write_text("my home page")
        self.refused(PAGES, "index.html to be a page of this command")
        (self.folder / "index.html").unlink()
        (self.folder / "index.html").mkdir()
        self.refused(PAGES, "index.html to be a page of this command")
        (self.folder / "index.html").rmdir()
        os.symlink(self.folder.parent, self.folder / "test" / "linked")
        self.refused({"test/linked/x.html": b""}, "linked/x.html to be a page of this command")

    def test_a_list_that_is_not_ours_is_refused(self):
        """A catalogue.json of somebody else, or one that leads out of the folder, is an error."""
        write_pages(self.folder, PAGES)
        (self.folder.parent / "secret").write_bytes(b"start")
        digest = (self.folder / MANIFEST).read_text().partition('"index.html": [')[2].partition("]")[0].strip()
        for text in ("[1, 2]", "{}", "no json", '{"fxpect catalogue": {"../secret": [' + digest + "]}}",
                     '{"fxpect catalogue": {"/etc/passwd": []}}'):
            with self.subTest(text):
                (self.folder / MANIFEST).write_text(text)

                self.refused({"index.html": b"start"}, f"{MANIFEST} to be the list of an earlier catalogue")
        self.assertTrue((self.folder.parent / "secret").exists())

    def test_a_half_written_folder_is_finished(self):
        """After a run that ended between two pages, the next one replaces old and new pages alike."""
        write_pages(self.folder, {"a.html": b"old", "b.html": b"old"})
        manifest = self.folder / MANIFEST
        with mock.patch("fxpect.pages.writing._remove", side_effect=KeyboardInterrupt):
            with self.assertRaises(KeyboardInterrupt):
                write_pages(self.folder, {"a.html": b"new", "b.html": b"new"})
        (self.folder / "b.html").write_bytes(b"old")  # as if it had ended earlier
        self.assertIn("b.html", manifest.read_text())

        write_pages(self.folder, {"a.html": b"newer"})

        self.assertEqual(self.files(), {"a.html": b"newer"})

    def test_a_file_in_the_place_of_the_folder(self):
        """The name of a file where a folder is expected is misuse."""
        self.folder.parent.mkdir()
        self.folder.write_text("a file")

        with self.assertRaisesRegex(FxpectError, "expected a folder; got"):
            write_pages(self.folder, PAGES)
        self.assertEqual(self.folder.read_text(), "a file")


if __name__ == "__main__":
    unittest.main()
