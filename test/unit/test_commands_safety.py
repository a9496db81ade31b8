"""Whatever happens to a command while it works: each stored file is old or new, and a second try finishes the work."""

import contextlib
import errno
import importlib
import io
import itertools
import os
import resource
import shutil
import signal
import tempfile
import traceback
import unittest
from unittest import mock

from fxpect.commands import exit_codes
from fxpect.commands.main import main
from fxpect.errors import FixtureError, FxpectError, RefusedError
from fxpect.fixtures.case import Case
from fxpect.fixtures.format import Document, format_document
from fxpect.fixtures.pending import Pending
from fxpect.fixtures.store import Store
from test.unit.projects import ONE, THREE, TWO, ProjectCase

FILES = ("test_y", "test_z")
CHANGED = Case.make(ONE.before, after="c = torch.relu(x)")
NOBODY = 65534
CRASHED = 70  # no code of the commands: an exception came out of one
CONFLICT = "<<<<<<< ours\n{}\n=======\n{}\n>>>>>>> theirs\n"
# Every function through which the library changes a file or a folder.
WRITES = ("open", "write", "fsync", "replace", "unlink", "mkdir", "rmdir", "fchmod")
COMMANDS = {
    "accept": ("accept", "--all"),
    "accept from": ("accept", "--all", "--from", "other.json"),
    "review": ("review", "--accept", "1", "2"),
    "reject": ("reject", "--all"),
    "migrate": ("migrate",),
    "merge": ("merge",),
    "prune move": ("prune", "--move", "--delete"),
    "prune delete": ("prune", "--delete"),
}


class Trap:
    """Counts the writing calls of this process, and does something at the one with a number."""

    def __init__(self, number, do):
        self.left, self.do = number, do
        for name in WRITES:
            setattr(os, name, self.wrapped(name, getattr(os, name)))

    def wrapped(self, name, real):
        def call(*arguments, **options):
            writes = name != "open" or (len(arguments) > 1 and arguments[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            if writes:
                self.left -= 1
                if not self.left:
                    if name == "write":  # half of it has reached the disk
                        real(arguments[0], bytes(arguments[1])[:len(arguments[1]) // 2])
                    self.do()
            return real(*arguments, **options)

        return call


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def full():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def setUpModule():
    # Once, and not in each child, of which some may not read the library.
    for name in ("accept", "diff", "merge", "migrate", "prune", "reject", "review", "status", "verify"):
        importlib.import_module(f"fxpect.commands.{name}")
    importlib.import_module("filelock")
    if os.access("/dev/shm", os.W_OK):  # thousands of files are made and removed: in memory where that can be
        unittest.enterModuleContext(mock.patch.object(tempfile, "tempdir", "/dev/shm"))


class SafetyCase(ProjectCase):

    def setUp(self):
        super().setUp()
        self.enterContext(mock.patch("importlib.metadata.version", return_value="2.13.0"))

    def prepare(self, name):
        """Make a project in which a command has something to do in two files."""
        for folder in ("test", "fixtures", ".fxpect"):
            shutil.rmtree(self.root / folder, ignore_errors=True)
        (self.root / "test").mkdir()
        self.define(XTests=FILES)
        for method in FILES:
            self.store(f"test_x/XTests.{method}.fx", ONE, TWO)
        if name in ("accept", "accept from", "review", "reject"):
            for method in FILES:
                self.propose("XTests", method, CHANGED, TWO, THREE)
        if name == "accept from":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                main(["status", "--json"])
            self.write("other.json", out.getvalue())
            shutil.rmtree(self.root / ".fxpect")
        for method in FILES:
            file = self.root / f"fixtures/test_x/XTests.{method}.fx"
            if name == "migrate":
                file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
            if name == "merge":
                file.write_text(file.read_text() + "\n" + CONFLICT.format(*(
                    format_document(Document("-").with_cases({case.key: case})).partition("\n\n")[2]
                    for case in LATE)))
        if name == "prune move":
            self.define(YTests=FILES)
            for method in FILES:
                self.propose("YTests", method, ONE, TWO)
        if name == "prune delete":
            self.define(XTests=["test_other"])
        self.kept = self.root / "kept"
        shutil.rmtree(self.kept, ignore_errors=True)
        self.kept.mkdir()
        for folder in ("fixtures", ".fxpect"):
            if (self.root / folder).exists():
                shutil.copytree(self.root / folder, self.kept / folder)

    def again(self):
        """Go back to what the last prepare made."""
        for folder in ("fixtures", ".fxpect"):
            shutil.rmtree(self.root / folder, ignore_errors=True)
            if (self.kept / folder).exists():
                shutil.copytree(self.kept / folder, self.root / folder)

    def child(self, words, before=lambda: None):
        """Run a command in a process of its own after ``before``; return its process and the pipe that it prints to."""
        reader, writer = os.pipe()
        process = os.fork()
        if process:
            os.close(writer)
            return process, reader
        code = CRASHED
        try:
            with open(writer, "w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                try:
                    os.fsync = lambda descriptor: None  # it is for a machine that dies, and takes long
                    before()
                    code = main(list(words))
                except BaseException:
                    traceback.print_exc()
        finally:
            os._exit(code)

    def end(self, child):
        """Return how a child ended, a signal below 0, and what it printed."""
        process, reader = child
        with open(reader) as file:
            text = file.read()
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        self.assertNotEqual(code, CRASHED, text)
        return code, text

    def state(self):
        """Return every stored file's bytes, and what is pending."""
        return self.stored(), [entry.text for entry in Store(self.root / "fixtures").pending.live()]

    def finished(self, words):
        """Return what a command that nothing disturbs makes of the prepared project, and the code it ends with."""
        code, _ = self.end(self.child(words))
        found = self.state()
        self.again()
        return code, found

    def check_files(self, old, new):
        """Check that each file is old or new: none is a mixture, cut short or left over, and none is nowhere."""
        found = {path: data for path, data in self.stored().items() if ".fxpect-" not in path}
        for path, data in found.items():
            self.assertIn(data, (old.get(path), new.get(path)), path)
        for path in old.keys() & new.keys():
            self.assertIn(path, found)
        if new and not old.keys() & new.keys():  # a move: what is not there yet is where it was
            for source, target in zip(sorted(old), sorted(new), strict=True):
                self.assertTrue(source in found or target in found)


LATE = sorted((case for case in (Case.make(f"p{number} = torch.relu(x)", after="d") for number in range(99))
               if case.key > max(ONE.key, TWO.key)), key=lambda case: case.key)[:2]


class InterruptedTests(SafetyCase):

    def each_point(self, do):
        """Disturb every command at each of its writes; yield its words, how it ended, and the undisturbed end."""
        for name, words in COMMANDS.items():
            self.prepare(name)
            old = self.stored()
            code, new = self.finished(words)
            self.assertNotEqual((old, True), (new[0], name != "reject"))
            for number in itertools.count(1):
                ended, text = self.end(self.child(words, lambda number=number: Trap(number, do)))
                with self.subTest(name, number=number):
                    self.check_files(old, new[0])
                    yield name, ended, text, number
                    self.end(self.child(words))
                    found = self.state()
                    if name == "review" and found != new:  # its numbers are those of what is left
                        self.end(self.child(("accept", "--all")))
                        found = self.state()
                    self.assertEqual(found, new)
                    self.assertEqual([path for path in found[0] if ".fxpect-" in path], [])
                self.again()
                if ended == code and number > self.fewest:
                    break
            self.assertGreater(number, self.fewest, name)

    def test_killed_at_any_write(self):
        """After kill -9 before or in the middle of any write each file is old or new, and a second try ends it."""
        self.fewest = 5
        for name, ended, text, number in self.each_point(die):
            self.assertTrue(ended == -signal.SIGKILL or ended >= 0, (name, number, ended, text))

    def test_full_disk_at_any_write(self):
        """When the disk is full at any write the command says so, or could do without, and nothing is lost."""
        self.fewest = 5
        for name, ended, text, number in self.each_point(full):
            told = "No space left on device" in text
            self.assertTrue(told if ended not in (0, 4) else True, (name, number, ended, text))

    def test_files_that_may_not_grow(self):
        """With a limit on the size of files the system itself refuses each write; the command says so."""
        for name, words in COMMANDS.items():
            self.prepare(name)
            old = self.stored()
            _, new = self.finished(words)
            for size in (0, 40):
                with self.subTest(name, size=size):
                    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
                    ended, text = self.end(self.child(words, lambda size=size, top=limits[1]: resource.setrlimit(
                        resource.RLIMIT_FSIZE, (size, top))))
                    self.check_files(old, new[0])
                    if name not in ("prune delete", "reject"):
                        self.assertIn("File too large", text)
                        self.assertNotEqual(ended, 0)
                self.again()


class TogetherTests(SafetyCase):

    def test_two_at_once(self):
        """Any two commands at once leave what one after the other leaves, in one of the two orders."""
        for first, second in itertools.combinations_with_replacement(
                ("accept", "reject", "prune delete", "migrate"), 2):
            self.prepare("accept")
            words = [COMMANDS[first], COMMANDS[second]]
            orders = []
            for order in (words, words[::-1]):
                for one in order:
                    self.end(self.child(one))
                orders.append(self.state())
                self.again()
            for _ in range(3):
                for child in [self.child(one) for one in words]:
                    code, text = self.end(child)
                    self.assertNotIn("Traceback", text)
                with self.subTest(first=first, second=second):
                    self.assertIn(self.state(), [*orders, self.between(orders)])
                self.again()

    def between(self, orders):
        """Return what is left where a reject came while an accept was at work: all is stored, nothing is pending."""
        return max((stored for stored, _ in orders), key=lambda stored: sum(map(len, stored.values()))), []

    def test_merge_and_migrate_and_move_at_once(self):
        """Of two merges, two migrations and two moves one does the work, and the other finds it done."""
        for name in ("merge", "migrate", "prune move"):
            self.prepare(name)
            _, new = self.finished(COMMANDS[name])
            for child in [self.child(COMMANDS[name]) for _ in range(3)]:
                self.assertIn(self.end(child)[0], (0, 4))
            self.assertEqual(self.state()[0], new[0])

    def test_eight_processes_propose_at_once(self):
        """Eight test processes that propose for the same tests lose nothing, also while another one accepts."""
        self.prepare("migrate")
        self.again()

        def propose(first):
            for number in range(12):
                case = Case.make(f"g{first} {number}", options=f"n={first * 100 + number}", after="b")
                Store.for_test(self.root / "test/test_x.py", "XTests", FILES[number % 2]).settle(
                    case, torch_version="2.13.0", why="eight")

        children = [self.child(["status"], lambda first=first: propose(first)) for first in range(8)]
        accepting = [self.child(COMMANDS["accept"]) for _ in range(4)]
        for child in accepting:
            self.end(child)
        for child in children:
            self.end(child)
        entries, problems = Pending(self.root / "fixtures").all()
        stored = [case.options for _, document in Store(self.root / "fixtures").documents() for case in document.cases]
        found = {entry.case.options for entry in entries} | set(stored)
        wanted = {f"n={first * 100 + number}" for first in range(8) for number in range(12)}
        self.assertEqual((problems, wanted - found, len(stored)), ([], set(), len(set(stored)) + 3))


class ReadOnlyTests(SafetyCase):

    @contextlib.contextmanager
    def read_only(self):
        """Let nobody write in the project; a child gives up the rights of a superuser."""
        paths = [self.root, *self.root.rglob("*")]
        try:
            for path in paths:
                path.chmod(0o555 if path.is_dir() else 0o444)
            yield
        finally:
            for path in paths:
                path.chmod(0o755 if path.is_dir() else 0o644)

    def in_read_only(self, words):
        """Run a command as somebody who has no special rights."""
        def give_up():
            if not os.getuid():
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)

        return self.end(self.child(words, give_up))

    def test_what_writes_is_refused_and_what_reads_works(self):
        """Each writing command says that it may not write, and leaves every byte; the reading ones answer."""
        for name, words in COMMANDS.items():
            self.prepare(name)
            before, pending = self.state()
            with self.subTest(name), self.read_only():
                ended, text = self.in_read_only(words)
                self.assertEqual(self.stored(), before)
                self.assertIn(ended, (1, 2, 4, 6), text)
                self.assertIn("Permission denied", text)
                for reading in (["status"], ["diff"], ["review"], ["verify"], ["prune"], ["migrate", "--dry-run"]):
                    code, text = self.in_read_only(reading)
                    nothing = reading[0] in ("diff", "review") and not pending
                    self.assertIn(code, (2,) if nothing else (0, 4, 6), (reading, text))
                    self.assertNotIn("Permission denied", text)


class HostileTests(SafetyCase):
    """What a stored file can be instead of a stored file."""

    def test_what_cannot_be_trusted_is_never_written(self):
        """No command rewrites, moves or deletes a file that it cannot read, nor what a link leads to; each says so."""
        outside = self.root / "outside"
        for name, words in COMMANDS.items():
            self.prepare(name)
            file = self.root / "fixtures/test_x/XTests.test_y.fx"
            good = file.read_bytes()
            for kind in ("no UTF-8", "a megabyte", "link out", "broken link", "folder", "pipe", "link to a folder"):
                with self.subTest(name, kind=kind):
                    outside.write_bytes(good)
                    file.unlink()
                    data = {"no UTF-8": good[:40] + b"\xff" + good[40:], "a megabyte": good + b"#" * 1_000_000}
                    data = data.get(kind)
                    if data:
                        file.write_bytes(data)
                    elif kind == "pipe":
                        os.mkfifo(file)
                    elif kind == "folder":
                        file.mkdir()
                    elif kind == "link to a folder":
                        shutil.copytree(file.parent, self.root / "elsewhere", dirs_exist_ok=True)
                        shutil.rmtree(file.parent)
                        file.parent.symlink_to(self.root / "elsewhere")
                    else:
                        file.symlink_to(outside if kind == "link out" else self.root / "nowhere")
                    ended, text = self.end(self.child(words))
                    self.assertIn(ended, (0, 1, 4, 6), text)
                    self.assertEqual(outside.read_bytes(), good)
                    self.assertTrue(os.path.lexists(file) or kind == "link to a folder")
                    self.assertTrue(data is None or file.read_bytes() == data)
                    self.assertFalse((self.root / "nowhere").exists())
                    reads = ("accept", "accept from", "review", *(["migrate"] if kind != "link to a folder" else []))
                    if name in reads and kind != "folder":
                        self.assertNotEqual(ended, 0, text)
                        self.assertIn("XTests.test_y.fx", text)
                    self.assertEqual(self.end(self.child(["verify"]))[0], exit_codes.CORRUPT)
                if file.parent.is_symlink():
                    file.parent.unlink()
                self.again()

    def test_names_that_differ_by_case_alone(self):
        """Where a file system takes them for one, the other test's file is an error; verify tells before that."""
        self.prepare("migrate")
        self.define(XTests=FILES, Xtests=["test_Y"])
        self.again()
        self.end(self.child(["migrate"]))
        self.store("test_x/Xtests.test_Y.fx", ONE)
        code, text = self.end(self.child(["verify"]))
        self.assertEqual(code, exit_codes.CORRUPT)
        self.assertIn("corrupt: test_x/Xtests.test_Y.fx: expected a name that differs from XTests.test_y.fx by more "
                      "than its case", text)
        file = self.root / "fixtures/test_x/Xtests.test_Y.fx"
        file.unlink()
        file.symlink_to("XTests.test_y.fx")  # what a lookup gives where case makes no difference
        before = self.stored()
        with self.assertRaisesRegex(FixtureError, "expected the cases of 'test_x.py Xtests.test_Y'; got those of"):
            self.propose("Xtests", "test_Y", TWO)
        self.assertEqual(self.stored(), before)

    def test_checkout_with_crlf(self):
        """Every command reads what a checkout with CRLF holds; what is written ends in LF, and no case is lost."""
        for name in ("accept", "review", "prune move", "merge"):
            self.prepare(name)
            _, new = self.finished(COMMANDS[name])
            for path in (self.root / "fixtures/test_x").iterdir():
                path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
            self.end(self.child(COMMANDS[name]))
            self.assertEqual(self.state(), new)


class SwitchTests(SafetyCase):

    def test_only_a_clear_yes_of_a_person_writes(self):
        """EXPECTTEST_ACCEPT unset, no, misspelled, or yes in CI never writes below fixtures, whatever is proposed."""
        for value, ci, refused in (
                (None, "", None), ("", "", None), ("0", "", None), ("false", "", None), ("False", "", None),
                ("off", "", None), ("no", "", FxpectError), ("flase", "", FxpectError), (" 1", "", FxpectError),
                ("2", "", FxpectError), ("y", "", FxpectError), ("ture", "", FxpectError), ("0", "true", None),
                ("1", "true", RefusedError), ("true", "1", RefusedError), ("1", "yes", RefusedError)):
            self.prepare("migrate")
            self.again()
            before = self.stored()
            environment = {"CI": ci} if value is None else {"CI": ci, "EXPECTTEST_ACCEPT": value}
            with self.subTest(environment), mock.patch.dict(os.environ, environment):
                if value is None:
                    os.environ.pop("EXPECTTEST_ACCEPT")
                with self.assertRaises(refused) if refused else contextlib.nullcontext():
                    self.propose("XTests", "test_y", CHANGED, THREE)
                self.assertEqual(self.stored(), before)
                if not refused:
                    self.assertEqual(len(Store(self.root / "fixtures").pending.live()), 2)
        with mock.patch.dict(os.environ, {"EXPECTTEST_ACCEPT": "1"}):
            self.prepare("accept")
        self.assertEqual(len(Store(self.root / "fixtures").read("test_x/XTests.test_y.fx").cases), 3)


if __name__ == "__main__":
    unittest.main()
