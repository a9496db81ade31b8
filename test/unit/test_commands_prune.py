"""``fxpect prune``: what is stale is told, moved where its cases went, deleted on demand, all else is left."""

import os
import unittest
from pathlib import Path
from unittest import mock

from fxpect.commands import exit_codes
from fxpect.fixtures.case import Case
from fxpect.fixtures.format import parse_bytes
from test.unit.projects import ONE, THREE, TWO, ProjectCase

OLD, NEW = "test_x/XTests.test_y.fx", "test_x/YTests.test_y.fx"


class PruneCase(ProjectCase):

    command = "prune"

    def setUp(self):
        super().setUp()
        self.define(XTests=["test_y"])
        self.store(OLD, ONE, TWO)

    def renamed(self, *cases):
        """Rename the class, and execute its test, which gives ``cases``."""
        self.define(YTests=["test_y"])
        self.propose("YTests", "test_y", *(cases or (ONE, TWO)))

    def refused(self, *words):
        """Check that the command refuses and touches nothing; return code and message."""
        before = self.stored()
        code, out, errors = self.fxpect(*words)
        self.assertEqual((out, self.stored()), ("", before))
        return code, errors


class DeleteTests(PruneCase):

    def test_nothing_is_stale(self):
        """Where every file has its test, nothing happens, whatever is asked for."""
        before = self.stored()
        for words in ((), ("--move",), ("--delete",), ("--move", "--delete")):
            self.assertEqual(self.fxpect(*words), (0, "stale 0\n", ""))
        self.assertEqual(self.stored(), before)

    def test_deleted_test(self):
        """The file of a deleted test, and no other, is listed with 4, and deleted only with --delete."""
        self.define(XTests=["test_y", "test_gone"])
        kept = self.stored()
        self.store("test_x/XTests.test_gone.fx", THREE)
        self.store("test_old/OldTests.test_y.fx", THREE)
        self.define(XTests=["test_y"])

        code, out, errors = self.fxpect()

        self.assertEqual((code, errors), (exit_codes.PENDING, ""))
        self.assertEqual(out, "delete: test_old/OldTests.test_y.fx\n  there is no test/test_old.py\n"
                              "delete: test_x/XTests.test_gone.fx\n  test/test_x.py has no XTests.test_gone\n"
                              "stale 2, delete 2\n  fxpect prune --delete\n")
        self.assertEqual(self.fxpect("--move")[0], exit_codes.PENDING)
        self.assertEqual(len(self.stored()), 3)
        code, out, _ = self.fxpect("--delete")
        self.assertEqual((code, out.splitlines()[-1]), (exit_codes.OK, "stale 2, deleted 2"))
        self.assertEqual(self.stored(), kept)
        self.assertFalse((self.root / "fixtures/test_old").exists())
        self.assertEqual(self.fxpect("--delete"), (0, "stale 0\n", ""))

    def test_added_tests_are_unknown(self):
        """The files of a class to which tests may be added are never stale."""
        self.define(XTests=[], more="def add(case):\n    setattr(case, 'test_y', print)\nadd(XTests)\n")
        code, out, _ = self.fxpect("--delete")
        self.assertEqual(code, exit_codes.OK)
        self.assertIn("unknown: test_x.py XTests: 1 stored files", out)
        self.assertEqual((list(self.stored()), self.answer()[1]["unknown"]), ([OLD], [OLD]))

    def test_what_cannot_be_read_is_kept(self):
        """A stale file that is corrupt is kept, and the code is 6; the others go."""
        self.write("fixtures/test_x/Gone.test_y.fx", "<<<<<<< ours\n")
        self.store("test_x/Gone.test_z.fx")
        code, out, _ = self.fxpect("--delete")
        self.assertEqual(code, exit_codes.CORRUPT)
        self.assertIn("keep: test_x/Gone.test_y.fx\n  test/test_x.py has no Gone.test_y, and what is stored ", out)
        self.assertEqual(list(self.stored()), ["test_x/Gone.test_y.fx", OLD])

    def test_hostile_names(self):
        """A path that is that of no test is not looked at, and printed on one line."""
        for name in (b"test_x/foo.fx", b"test_x/A.b\nc.fx", b"test_x/A.\xff.fx", b"test_x/...fx"):
            Path(os.fsdecode(os.path.join(os.fsencode(self.root / "fixtures"), name))).write_text("# fxpect 1\n")
        before = self.stored()
        code, out, _ = self.fxpect("--delete")
        self.assertEqual((code, self.stored()), (exit_codes.OK, before))
        self.assertEqual(len(out.splitlines()), 5, out)
        self.assertTrue(out.isascii())
        self.assertEqual(out.count("not looked at: expected the"), 4)

    def test_links_are_left_alone(self):
        """A stale link is not deleted, nor what it leads to, within the folder or out of it."""
        outside = self.write("outside/X.fx", (self.root / "fixtures" / OLD).read_text())
        (self.root / "fixtures/test_x/Gone.test_a.fx").symlink_to("XTests.test_y.fx")
        (self.root / "fixtures/test_x/Gone.test_b.fx").symlink_to(outside)
        (self.root / "fixtures/test_gone").symlink_to(outside.parent)
        before = self.stored()
        code, out, _ = self.fxpect("--delete")
        self.assertEqual((code, self.stored()), (exit_codes.CORRUPT, before))
        self.assertIn("not deleted: expected a file; got a link", out)
        self.assertIn("keep: test_x/Gone.test_b.fx", out)
        self.assertTrue(outside.exists())


class MoveTests(PruneCase):

    def check_moved(self, new):
        """Check that the file is moved to ``new`` with all its cases, as that of another test."""
        self.assertEqual(list(self.stored()), [new])
        document = parse_bytes(self.stored()[new])
        self.assertEqual(({case.key for case in document.cases}, document.why), ({ONE.key, TWO.key}, "works"))
        folder, _, name = new.rpartition("/")
        self.assertEqual(document.test, f"{folder}.py {name.removesuffix('.fx')}")
        self.assertEqual(self.fxpect(), (0, "stale 0\n", ""))

    def test_renamed_class(self):
        """A test without a file that proposes the cases of a stale one is where it moves to, only with --move."""
        self.renamed()
        code, out, _ = self.fxpect("--delete")
        self.assertEqual(code, exit_codes.PENDING)
        self.assertEqual(out, f"move: {OLD} to {NEW}\n  test/test_x.py has no XTests.test_y; test_x.py YTests.test_y "
                              "proposes its cases\nstale 1, move 1\n  fxpect prune --move\n")
        self.assertEqual(list(self.stored()), [OLD])
        self.assertEqual(self.fxpect("--move")[0], exit_codes.OK)
        self.check_moved(NEW)

    def test_moved_file(self):
        """A test file that was moved takes its stored files along."""
        (self.root / "test/test_x.py").unlink()
        self.define("test/deep/test_z.py", XTests=["test_y"])
        self.propose("XTests", "test_y", ONE, TWO, file="test/deep/test_z.py")
        self.assertEqual(self.fxpect("--move", "--delete")[0], exit_codes.OK)
        self.check_moved("deep/test_z/XTests.test_y.fx")
        self.assertFalse((self.root / "fixtures/test_x").exists())

    def test_half_of_the_cases(self):
        """Half of the cases are enough; fewer are none of its."""
        self.renamed(ONE, THREE)
        self.assertEqual([plan["to"] for plan in self.answer()[1]["stale"]], [NEW])
        self.store(OLD, ONE, TWO, Case.make("other", after="b"))
        self.assertEqual([(plan["action"], plan["to"]) for plan in self.answer()[1]["stale"]], [("delete", "")])

    def test_a_test_that_has_a_file(self):
        """Cases that a test with a file proposes move nowhere."""
        self.store(NEW, THREE)
        self.renamed()
        self.assertEqual([plan["action"] for plan in self.answer()[1]["stale"]], ["delete"])

    def test_a_proposal_of_a_test_that_is_gone(self):
        """A proposal of a test that is itself gone is no place to move to."""
        self.propose("ZTests", "test_y", ONE, TWO)
        self.define(YTests=["test_other"])
        self.assertEqual([plan["action"] for plan in self.answer()[1]["stale"]], ["delete"])

    def test_duplicated_keys(self):
        """Where two tests propose the same cases the method's name decides; where it cannot, a person does."""
        self.define(YTests=["test_y", "test_a", "test_b"])
        for method in ("test_a", "test_b"):
            self.propose("YTests", method, ONE, TWO)
        code, out, _ = self.fxpect("--move", "--delete")
        self.assertEqual((code, list(self.stored())), (exit_codes.PENDING, [OLD]))
        self.assertIn("each of these proposes its cases: test_x.py YTests.test_a, test_x.py YTests.test_b", out)
        self.propose("YTests", "test_y", ONE, TWO)
        self.assertEqual(self.fxpect("--move")[0], exit_codes.OK)
        self.check_moved(NEW)

    def test_two_files_for_one_test(self):
        """Where two stale files have the cases that one test proposes, neither is moved or deleted."""
        self.store("test_x/WTests.test_y.fx", ONE, TWO)
        self.renamed()
        before = self.stored()
        code, out, _ = self.fxpect("--move", "--delete")
        self.assertEqual((code, self.stored()), (exit_codes.PENDING, before))
        self.assertEqual(out.count("several stale files may be those of test_x.py YTests.test_y"), 2)

    def test_called_alike(self):
        """A test that proposes nothing is where a file moves to if its class is gone, and it alone is called alike."""
        self.define(YTests=["test_y", "test_z"])
        code, out, _ = self.fxpect("--delete")
        self.assertEqual((code, list(self.stored())), (exit_codes.PENDING, [OLD]))
        self.assertIn(f"move: {OLD} to {NEW}\n", out)
        self.assertIn("test_x.py YTests.test_y is called alike, and stores nothing: run it afterwards", out)
        self.define("test/deep/test_z.py", XTests=["test_y"])
        code, out, _ = self.fxpect("--move", "--delete")
        self.assertEqual((code, list(self.stored())), (exit_codes.PENDING, [OLD]))
        self.assertIn("stores nothing: run it afterwards: deep/test_z.py XTests.test_y, test_x.py YTests.test_y\n", out)
        self.define(ZTests=["test_z"])
        self.assertEqual(self.fxpect("--move")[0], exit_codes.OK)
        self.check_moved("deep/test_z/XTests.test_y.fx")

    def test_not_called_alike(self):
        """A test of another name, one beside the class that lost it, or one that proposes other cases, is another."""
        for classes in ({"YTests": ["test_other"]}, {"XTests": ["test_other"], "YTests": ["test_y"]}):
            with self.subTest(classes):
                self.define(**classes)
                self.assertEqual([plan["action"] for plan in self.answer()[1]["stale"]], ["delete"])
        self.renamed(THREE)
        self.assertEqual([plan["action"] for plan in self.answer()[1]["stale"]], ["delete"])

    def test_proposed_path_outside(self):
        """A proposal that names a path out of the folder is no place to move to."""
        self.define(YTests=["test_z"])
        self.propose("YTests", "test_z", ONE, TWO)
        for file in (self.root / ".fxpect/pending").rglob("*.jsonl"):
            file.write_text(file.read_text().replace("test_x/YTests.test_z.fx", "../test/test_x/YTests.test_z.fx"))
        code, answer = self.answer("--move")
        self.assertEqual((code, [plan["action"] for plan in answer["stale"]]), (exit_codes.PENDING, ["delete"]))


class RefusalTests(PruneCase):

    def test_unreadable_test_file(self):
        """While a test file cannot be read nothing is proposed: its tests may be those that are missed."""
        self.define(XTests=["test_other"])
        self.write("test/test_bad.py", "def :")
        for words in ((), ("--delete",)):
            code, errors = self.refused(*words)
            self.assertEqual(code, exit_codes.CORRUPT)
            self.assertIn("expected test files that can be read", errors)
            self.assertIn("\n  test/test_bad.py: line 1: invalid syntax", errors)

    def test_part_of_the_suite(self):
        """Where only a part of the tests is named, that is refused; all of them may be named."""
        self.define("test/deep/test_z.py", ZTests=["test_z"])
        for part in ("test/deep", "test/deep/test_z.py"):
            code, errors = self.refused(part, "--delete")
            self.assertEqual(code, exit_codes.USAGE)
            self.assertIn(f"expected the whole suite; got {part}, without test/test_x.py", errors)
        self.assertIn("expected a folder or a file of tests; got 'nowhere'", self.refused("nowhere")[1])
        self.assertEqual(self.fxpect("test", "--delete"), (0, "stale 0\n", ""))

    def test_no_tests_at_all(self):
        """A checkout without tests is misuse, not a reason to delete."""
        (self.root / "test/test_x.py").unlink()
        code, errors = self.refused("--delete")
        self.assertEqual(code, exit_codes.USAGE)
        self.assertIn("expected the tests of the stored files in", errors)

    def test_ci(self):
        """In CI what is stale is listed, and nothing is moved or deleted."""
        self.define(XTests=["test_other"])
        with mock.patch.dict(os.environ, {"CI": "true"}):
            for word in ("--delete", "--move"):
                code, errors = self.refused(word)
                self.assertEqual(code, exit_codes.REFUSED)
                self.assertIn("fxpect prune with --move or --delete is refused", errors)
            self.assertEqual(self.fxpect()[0], exit_codes.PENDING)

    def test_read_only_tree(self):
        """What cannot be written is said: the lock with 2; a file, which stays, with 4. Listing needs no lock."""
        self.define(XTests=["test_other"])
        denied = OSError(30, "Read-only file system")
        with mock.patch("fxpect.commands.prune.locked", side_effect=denied):
            self.assertEqual(self.fxpect()[0], exit_codes.PENDING)
            code, errors = self.refused("--delete")
        self.assertEqual(code, exit_codes.USAGE)
        self.assertIn("expected a project that can be read and written; got [Errno 30] Read-only file system", errors)
        with mock.patch.object(Path, "unlink", side_effect=denied):
            code, out, _ = self.fxpect("--delete")
        self.assertEqual((code, list(self.stored())), (exit_codes.PENDING, [OLD]))
        self.assertIn("not deleted: [Errno 30] Read-only file system", out)

    def test_killed_between_the_two_steps(self):
        """A move that was killed half way leaves the new file whole, and a second one takes the old one away."""
        self.renamed()
        with mock.patch.object(Path, "unlink", side_effect=KeyboardInterrupt):
            self.assertEqual(self.fxpect("--move")[0], exit_codes.INTERRUPTED)
        self.assertEqual(list(self.stored()), [OLD, NEW])
        self.assertIn(f"move: {OLD} to {NEW}", self.fxpect("--delete")[1])
        self.assertEqual(self.fxpect("--move")[0], exit_codes.OK)
        self.assertEqual(list(self.stored()), [NEW])


if __name__ == "__main__":
    unittest.main()
