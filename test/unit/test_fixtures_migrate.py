"""Stored files in today's spelling: a newer format changes the spelling alone, and what cannot be proved is refused."""

import re
import unittest
from unittest import mock

from fxpect.errors import FixtureError
from fxpect.fixtures import format as form
from fxpect.fixtures.accept import REFUSED as NOT_ACCEPTED
from fxpect.fixtures.accept import accept
from fxpect.fixtures.case import Case
from fxpect.fixtures.format import digest, is_old, parse_bytes, version_of
from fxpect.fixtures.migrate import CORRUPT, CURRENT, MIGRATED, REFUSED, TO_MIGRATE, migrate
from fxpect.fixtures.store import Store
from test.unit.projects import ONE, TWO, ProjectCase

PATH = "test_x/XTests.test_y.fx"


def step(text):
    """Make of a file of format 1 one of format 2, in which why: came to be written where 1 had about:."""
    return text.replace("# fxpect 1\n", "# fxpect 2\n").replace("\nabout:", "\nwhy:")


class MigrateCase(ProjectCase):

    def setUp(self):
        super().setUp()
        self.file = self.store(PATH, ONE, TWO)
        self.define(XTests=["test_y"])

    def newer(self, make=step):
        """From here on today's format is the second; the stored file is one of the first."""
        self.file.write_text(self.file.read_text().replace("\nwhy:", "\nabout:"))
        self.enterContext(mock.patch.object(form, "VERSION", 2))
        self.enterContext(mock.patch.dict(form.STEPS, {1: make}))
        return self.file.read_bytes()

    def migrate(self, write=True):
        return migrate(self.root / "fixtures", PATH, write=write)


class NewerFormatTests(MigrateCase):

    def test_an_older_file_still_compares(self):
        """Before anything is rewritten the cases of an older file are found, equal, and nothing is proposed."""
        old = self.newer()

        self.propose("XTests", "test_y", ONE, TWO)

        self.assertTrue(is_old(old))
        self.assertEqual((self.stored()[PATH], Store(self.root / "fixtures").pending.live()), (old, []))

    def test_only_the_spelling_changes(self):
        """The new file has the new spelling, says what the old one said, and is left alone from then on."""
        old = self.newer()
        said = parse_bytes(old)

        self.assertEqual(self.migrate(write=False).status, TO_MIGRATE)
        self.assertEqual(self.stored()[PATH], old)
        self.assertEqual(self.migrate().status, MIGRATED)

        new = self.stored()[PATH]
        self.assertEqual(new, old.replace(b"# fxpect 1\n", b"# fxpect 2\n").replace(b"\nabout:", b"\nwhy:"))
        self.assertEqual((parse_bytes(new), is_old(new)), (said, False))
        self.assertEqual(self.migrate().status, CURRENT)

    def test_accept_does_not_mix_spelling_with_results(self):
        """A proposal for an older file is refused with the command that comes first, and stays; then it is accepted."""
        old = self.newer()
        self.propose("XTests", "test_y", Case.make(ONE.before, after="c = torch.relu(x)"))
        root = self.root / "fixtures"

        outcome, = accept(root, Store(root).pending.live())

        self.assertEqual((outcome.status, self.stored()[PATH]), (NOT_ACCEPTED, old))
        self.assertIn("fxpect migrate", outcome.message)
        self.migrate()
        self.assertTrue(all(outcome.done for outcome in accept(root, Store(root).pending.live())))

    def test_what_is_not_the_same_is_refused(self):
        """A text that does not read back as what the old one says is refused, and the file stays byte for byte."""
        old = self.newer()
        read = parse_bytes
        for place in ("fxpect.fixtures.migrate.parse_bytes", "fxpect.fixtures.format.parse_bytes"):
            def lossy(data, path=None):
                return read(data if is_old(data) else data.replace(b"why: works\n", b""), path)

            with self.subTest(place), mock.patch(place, lossy):
                found = self.migrate()
            self.assertEqual((found.status, self.stored()[PATH]), (REFUSED, old))
            self.assertIn(str(self.file), found.message)

    def test_a_step_that_cannot_read_a_file(self):
        """What a step does not understand is corrupt, for a run as for migrate; a version without a step too."""
        def fails(text):
            raise ValueError("expected about:")

        old = self.newer(fails)
        with self.assertRaisesRegex(FixtureError, "expected a file of format 1; got expected about:"):
            Store(self.root / "fixtures").read(PATH)
        self.assertEqual((self.migrate().status, self.stored()[PATH]), (CORRUPT, old))
        with mock.patch.dict(form.STEPS, clear=True):
            self.assertIn("expected '# fxpect 2' first; got '# fxpect 1'", self.migrate().message)

    def test_every_older_version_has_a_step(self):
        """No version that was ever written is unreadable today."""
        self.assertEqual(sorted(form.STEPS), list(range(1, form.VERSION)))

    def test_versions(self):
        """A header says its version; what is no header is taken for today's, and a newer one is told as such."""
        self.assertEqual([version_of(text) for text in ("# fxpect 7\n", "# fxpect 7", "# fxpect 07\n", "x", "")],
                         [7, 7, 1, 1, 1])
        self.assertFalse(is_old(b"\xff\xfe"))
        self.file.write_text(self.file.read_text().replace("# fxpect 1", "# fxpect 9"))
        self.assertIn("got '# fxpect 9' (a file of a newer fxpect)", self.migrate().message)

    def test_digest_is_that_of_the_case(self):
        """What a proposal was compared with stays the same case when its file is migrated."""
        stored = {digest(case) for case in parse_bytes(self.newer()).cases}
        self.migrate()
        self.assertEqual({digest(case) for case in parse_bytes(self.stored()[PATH]).cases}, stored)


class SpellingTests(MigrateCase):

    def test_what_verify_calls_not_canonical(self):
        """CRLF, spaces at the end of a line, blank lines and a missing last newline are written the one way."""
        text = self.file.read_bytes()
        for data in (text.replace(b"\n", b"\r\n"), text.replace(b"works\n", b"works  \n"), text + b"\n", text[:-1]):
            with self.subTest(data[-30:]):
                self.file.write_bytes(data)
                self.assertEqual(self.migrate().status, MIGRATED)
                self.assertEqual(self.stored()[PATH], text)

    def test_what_cannot_be_read_stays(self):
        """Conflict markers, bytes that are no UTF-8, a megabyte, and a link out of the folder are never rewritten."""
        outside = self.write("elsewhere.fx", self.file.read_text())
        for data in (b"<<<<<<< ours\n", b"\xff\xfe", b"x" * 1_000_001, None):
            if data is None:
                self.file.unlink()
                self.file.symlink_to(outside)
            else:
                self.file.write_bytes(data)
            before = self.file.read_bytes()
            self.assertEqual((self.migrate().status, self.file.read_bytes()), (CORRUPT, before))


class CommandTests(MigrateCase):

    command = "migrate"

    def test_says_what_became_of_each_file(self):
        """What is current is counted, the others are named; --dry-run writes nothing and gives 4, a fault 6."""
        text = self.file.read_bytes()
        self.assertEqual(self.fxpect(), (0, "stored files 1, current 1\n", ""))
        self.file.write_bytes(text + b"\n")
        self.assertEqual(self.fxpect("--dry-run"),
                         (4, f"to migrate: {PATH}\nstored files 1, to migrate 1\n  fxpect migrate\n", ""))
        self.assertEqual(self.stored()[PATH], text + b"\n")
        self.assertEqual(self.fxpect(), (0, f"migrated: {PATH}\nstored files 1, migrated 1\n", ""))
        self.write("fixtures/test_x/XTests.test_z.fx", "<<<<<<< ours\n")
        self.file.write_bytes(text[:-1])
        code, out, _ = self.fxpect()
        self.assertEqual((code, self.stored()[PATH]), (6, text))
        self.assertRegex(out, r"corrupt: test_x/XTests.test_z.fx\n  .*:1: expected no marker of a merge conflict")
        self.assertEqual([row["status"] for row in self.answer()[1]], [CURRENT, CORRUPT])

    def test_refused_is_one(self):
        """A file that cannot be proved, or cannot be written, is named with the reason, and the code is 1."""
        self.file.write_bytes(self.file.read_bytes() + b"\n")
        with mock.patch("fxpect.fixtures.migrate.write_atomic", side_effect=OSError(28, "No space left on device")):
            code, out, _ = self.fxpect()
        self.assertEqual(code, 1)
        self.assertIn(f"refused: {PATH}\n  [Errno 28] No space left on device\n", out)

    def test_refused_in_ci(self):
        """In CI nothing is written, and --dry-run still answers."""
        with mock.patch.dict("os.environ", {"CI": "true"}):
            code, _, errors = self.fxpect()
            self.assertTrue(re.search("fxpect migrate is refused", errors))
            self.assertEqual((code, self.fxpect("--dry-run")[0]), (3, 0))

    def test_read_only_tree(self):
        """Where the lock cannot be made that is said, with 2; --dry-run needs none."""
        with mock.patch("fxpect.commands.migrate.locked", side_effect=OSError(30, "Read-only file system")):
            self.assertEqual(self.fxpect("--dry-run")[0], 0)
            code, _, errors = self.fxpect()
        self.assertEqual(code, 2)
        self.assertIn("expected a project that can be read and written; got [Errno 30] Read-only file system", errors)


if __name__ == "__main__":
    unittest.main()
