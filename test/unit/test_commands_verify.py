"""``fxpect verify``: it ends with 0 where all is well, and names each fault with what to do about it."""

import configparser
import os
import subprocess
import sys
import unittest
from pathlib import Path
from unittest import mock

import fxpect
from fxpect.commands import exit_codes
from fxpect.fixtures.case import Case
from test.unit.projects import ONE, THREE, TWO, ProjectCase

LIBRARY = str(Path(fxpect.__file__).parents[1])
CHECKOUT = Path(__file__).resolve().parents[2]
PATH = "test_x/XTests.test_y.fx"


class VerifyCase(ProjectCase):

    command = "verify"

    def setUp(self):
        super().setUp()
        self.define(XTests=["test_y"])

    def assertFault(self, code, *parts, kind="corrupt"):
        """Check that the command finds one fault, on one line that holds ``parts``, and ends with ``code``."""
        got, out, errors = self.fxpect()
        lines = [line for line in out.splitlines() if not line.startswith("unknown: ")]
        self.assertEqual((got, errors, len(lines)), (code, "", 2), out)
        for part in (f"{kind}: ", *parts):
            self.assertIn(part, lines[0])
        self.assertIn("faults 1", lines[1])


class WellTests(VerifyCase):

    def test_all_is_well(self):
        """A project whose files have tests and are sound gives 0 and counts them, in CI too; so does an empty one."""
        self.assertEqual(self.fxpect(), (0, "stored files 0, cases 0, faults 0, unknown 0\n", ""))
        self.store(PATH, ONE, TWO, must=["has torch.relu"])
        self.write("fixtures/known_torch_bugs.toml", "format = 1\n")
        self.write("fixtures/graph_text/other.txt", "\tanything")
        with mock.patch.dict(os.environ, {"CI": "true"}):
            self.assertEqual(self.fxpect(), (0, "stored files 1, cases 2, faults 0, unknown 0\n", ""))

    def test_the_project_itself(self):
        """The stored files of this project are sound, each has its test or one that the source cannot show."""
        os.chdir(CHECKOUT)
        with mock.patch.dict(os.environ, {"FXPECT_PENDING": str(self.root / "pending")}):
            code, answer = self.answer()
        self.assertEqual((code, answer["faults"]), (0, []))
        self.assertGreater(answer["owned"], 100)
        self.assertEqual({str(Path(path).parent) for path in answer["unknown"]}, {"passes/test_rewrites"})

    def test_lint_verifies_the_project(self):
        """The environment that CI runs first verifies the stored files, with nothing but what it installs."""
        tox = configparser.ConfigParser(interpolation=None)
        tox.read(CHECKOUT / "tox.ini")
        lint = tox["testenv:lint"]
        self.assertIn("python -m fxpect verify", lint["commands"].split("\n"))
        self.assertIn("packaging", lint["deps"].split())
        program = ("import sys\nfor name in ('torch', 'filelock', 'hypothesis', 'expecttest', 'numpy', 'jinja2'):\n"
                   "    sys.modules[name] = None\nfrom fxpect.commands.main import main\nsys.exit(main(['verify']))")
        environment = {**os.environ, "PYTHONPATH": LIBRARY, "FXPECT_PENDING": str(self.root / "pending"), "CI": "true"}
        done = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True,
                              env=environment)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)

    def test_places(self):
        """Tests are found below test and tests, beside the fixtures, and from a folder below."""
        self.define("tests/deep/test_t.py", TTests=["test_t"])
        self.define("test_beside.py", BTests=["test_b"])
        self.define("test/checks.py", CTests=["test_c"])
        for path in (PATH, "deep/test_t/TTests.test_t.fx", "test_beside/BTests.test_b.fx", "checks/CTests.test_c.fx"):
            self.store(path)
        os.chdir(self.root / "tests" / "deep")
        self.assertEqual(self.fxpect()[:2], (0, "stored files 4, cases 4, faults 0, unknown 0\n"))

    def test_fixtures_elsewhere(self):
        """Where FXPECT_FIXTURES names a folder without tests beside it, the tests are those of the current one."""
        self.store(PATH)
        (self.root / "below").mkdir()
        with mock.patch.dict(os.environ, {"FXPECT_FIXTURES": "../fixtures"}):
            os.chdir(self.root / "below")
            self.assertEqual(self.fxpect()[0], exit_codes.OK)
        os.chdir(self.root)
        (self.root / "elsewhere").mkdir()
        os.rename("fixtures", "elsewhere/golden")
        with mock.patch.dict(os.environ, {"FXPECT_FIXTURES": "elsewhere/golden"}):
            self.assertEqual(self.fxpect()[0], exit_codes.OK)
            self.define(XTests=["test_other"])
            self.assertFault(exit_codes.PENDING, "test/test_x.py has no XTests.test_y", kind="stale")

    def test_needs_no_torch(self):
        """Both commands work where importing torch fails."""
        self.store(PATH)
        self.write("broken/torch.py", "raise ImportError('no torch here')")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(self.root / "broken"), LIBRARY])}
        for command in ("verify", "prune"):
            ran = subprocess.run([sys.executable, "-m", "fxpect", command], capture_output=True, text=True,
                                 env=environment)
            self.assertEqual((ran.returncode, ran.stderr), (0, ""), ran.stdout)

    def test_read_only_tree(self):
        """Nothing is written, not even a lock, also where runs have proposed before."""
        self.store(PATH)
        (self.root / ".fxpect/pending").mkdir(parents=True)
        with mock.patch("os.open", side_effect=OSError("Read-only file system")), \
                mock.patch("os.mkdir", side_effect=OSError("Read-only file system")):
            self.assertEqual(self.fxpect()[0], exit_codes.OK)
        self.assertEqual(list((self.root / ".fxpect/pending").iterdir()), [])


class StaleTests(VerifyCase):

    def test_deleted_test(self):
        """A stored file whose method, class or file is gone is stale; the code is 4."""
        self.store(PATH)
        for wanted, change in (("test/test_x.py has no XTests.test_y", lambda: self.define(XTests=["test_z"])),
                               ("test/test_x.py has no XTests.test_y", lambda: self.define(YTests=["test_y"])),
                               ("there is no test/test_x.py", (self.root / "test/test_x.py").unlink)):
            with self.subTest(wanted):
                change()
                if wanted.startswith("there"):
                    self.define("test/test_other.py")
                self.assertFault(4, PATH, wanted, "fxpect prune", kind="stale")

    def test_no_tests_at_all(self):
        """Without any test file nothing is called stale: it is misuse."""
        self.store(PATH)
        (self.root / "test/test_x.py").unlink()
        code, out, errors = self.fxpect()
        self.assertEqual((code, out), (exit_codes.USAGE, ""))
        self.assertIn("expected the tests of the stored files in", errors)

    def test_added_tests_are_unknown(self):
        """The files of tests that are added while their file is loaded are called unknown, never stale."""
        self.define(XTests=[], more="for name in 'ab':\n    setattr(XTests, f'test_{name}', print)\n")
        self.store(PATH)
        code, out, _ = self.fxpect()
        self.assertEqual(code, exit_codes.OK)
        self.assertIn("unknown: test_x.py XTests: 1 stored files; its tests may be added while its file is loaded", out)
        self.assertEqual(self.answer()[1]["unknown"], [PATH])

    def test_unreadable_test_file(self):
        """A test file that cannot be read is a fault: whether its tests are there cannot be told."""
        self.store(PATH)
        self.write("test/test_x.py", "def :")
        self.assertFault(6, "test/test_x.py", "line 1: invalid syntax", "mend it")
        self.define(XTests=["test_y"])
        self.write("test/test_other.py", "x = '\0'")
        self.assertFault(6, "test/test_other.py", "null bytes")

    def test_pending(self):
        """A proposal is a fault until it is answered, and so is a line that cannot be read."""
        self.propose("XTests", "test_y", ONE)
        self.assertFault(4, f"{PATH}: {ONE.key}  new case  torch 2.13: fxpect review", kind="pending")
        self.propose("XTests", "test_y", ONE, TWO)
        self.assertFault(4, f"{PATH}: 2 proposals: fxpect review", kind="pending")
        self.write(".fxpect/pending/run1/1.jsonl", "{}\n")
        for path in (self.root / ".fxpect/pending/run1").glob("*.jsonl"):
            if path.name != "1.jsonl":
                path.unlink()
        self.assertFault(4, "1.jsonl:1: ", "delete that line", kind="pending")

    def test_pending_that_cannot_be_read(self):
        """Where the lock of the proposals cannot be taken, that is said."""
        self.propose("XTests", "test_y", ONE)
        with mock.patch("fxpect.fixtures.pending.locked", side_effect=OSError("Read-only file system")):
            code, _, errors = self.fxpect()
        self.assertEqual(code, exit_codes.USAGE)
        self.assertIn("expected proposals that can be read; got Read-only file system", errors)


class CorruptTests(VerifyCase):

    def test_files_that_cannot_be_read(self):
        """A conflict, a wrong key, what is no UTF-8, a wrong order and a key twice are named with their line; 6."""
        good = self.store(PATH, ONE, TWO).read_bytes()
        first, second = sorted((ONE.key, TWO.key))
        head, *cases = good.split(b"\n## ")
        swapped = b"\n## ".join([head, cases[1].rstrip(b"\n") + b"\n", cases[0]])
        twice = b"\n## ".join([head, cases[0], cases[0]])
        for data, said in ((good + b"<<<<<<< ours\n", "expected no marker of a merge conflict"),
                           (good.replace(first.encode(), b"0" * 10), "expected the key of what is written under it"),
                           (good.replace(b"works", b"w\xffrks"), ":3: expected UTF-8"),
                           (swapped, f"expected cases sorted by key; got {first} after {second}"),
                           (twice, "expected each key once"), (b"", "# fxpect 1")):
            with self.subTest(said):
                (self.root / "fixtures" / PATH).write_bytes(data)
                self.assertFault(6, PATH, said, "mend it, or take it from git")

    def test_form(self):
        """What is understood but is not the canonical text is a fault: line ends, spaces, the order of sections."""
        sections = Case.make("a", afters=[("torch<2.14", "b"), ("torch>=2.14", "c")])
        text = self.store(PATH, sections).read_bytes()
        head, old, new = text.partition(b"after torch<2.14:")[0], b"after torch<2.14:\n    b\n", \
            b"after torch>=2.14:\n    c\n"
        self.assertEqual(text, head + old + new)
        for data, said in ((text.replace(b"\n", b"\r\n"), "got CRLF: fxpect migrate writes LF"),
                           (text.replace(b"works\n", b"works  \n"), "line 3: expected the canonical text, "
                            "'why: works'; got 'why: works  ': fxpect migrate writes it so"),
                           (text + b"\n", "got ''"), (text[:-1], "no more lines"),
                           (head + new + old, "'after torch<2.14:'; got 'after torch>=2.14:'")):
            with self.subTest(said):
                (self.root / "fixtures" / PATH).write_bytes(data)
                self.assertFault(6, PATH, said)

    def test_another_test(self):
        """A file that holds the cases of another test than its path says was copied by hand."""
        self.define(XTests=["test_y", "test_z"])
        self.store(PATH, test="test_x.py XTests.test_z")
        self.assertFault(6, "expected the cases of 'test_x.py XTests.test_y' at this path; got those of")

    def test_hostile_names(self):
        """A name that is that of no test is a fault, printed on one line whatever its bytes are."""
        for name in (b"test_x/foo.fx", b"top.fx", b"test_x/A.b\nc.fx", b"test_x/A.\xff.fx", b"test_x/...fx",
                     "test_x/A.\u202etest.fx".encode(), b"test_x/A.b c.fx", b"test_x/.fx"):
            with self.subTest(name):
                path = self.store(PATH).rename(self.root / "fixtures/tmp")
                file = os.path.join(os.fsencode(self.root / "fixtures"), name)
                os.rename(path, file)
                code, out, _ = self.fxpect()
                os.unlink(file)
                self.assertEqual(code, exit_codes.CORRUPT)
                self.assertIn("rename or delete it", out)
                self.assertTrue(out.isascii() and all(len(line) < 500 for line in out.splitlines()), out)
                self.assertRegex(out, r"^corrupt: [^\n]*\n(corrupt: [^\n]*\n)*stored files 1, ")

    def test_links(self):
        """A link out of the folder, a broken one and a linked folder are faults."""
        outside = self.write("outside/X.fx", "# fxpect 1\n")
        folder = self.root / "fixtures/test_x"
        folder.mkdir()
        for target, said in ((outside, "got a link to"), (folder / "nowhere.fx", "broken link")):
            with self.subTest(said):
                (folder / "XTests.test_y.fx").symlink_to(target)
                self.assertFault(6, said)
                (folder / "XTests.test_y.fx").unlink()
        (self.root / "fixtures/linked").symlink_to(outside.parent)
        self.assertFault(6, "linked: expected a folder; got a link, which is not followed")

    def test_special_file(self):
        """What is no regular file is named, and not waited for."""
        (self.root / "fixtures/test_x").mkdir()
        os.mkfifo(self.root / "fixtures" / PATH)
        self.assertFault(6, "expected a regular file")

    def test_caps(self):
        """Too many cases, lines or bytes, and no case at all, are faults."""
        big = "\n".join(f"a{number} = torch.relu(x)" for number in range(300))
        long = [Case.make(f"a = torch.relu(x{number})", after="a = torch.relu(" + "x" * 5000 + ")")
                for number in range(20)]
        many = [Case.make(f"x{number}", after="y") for number in range(41)]
        for cases, said in (([Case.make("x", after=big)], "at most 250 lines in a case; got 30"),
                            (many, "at most 40 cases; got 41"), (long, "at most 65536 bytes; got 10")):
            with self.subTest(said):
                self.store(PATH, *cases)
                self.assertFault(6, PATH, said)
        self.write(f"fixtures/{PATH}", "# fxpect 1\ntest: test_x.py XTests.test_y\n")
        self.assertFault(6, "expected a case; got none: delete the file")

    def test_must(self):
        """A must: that cannot fail, or that the stored graph breaks, is a fault; one that holds is none."""
        raises = Case.make("x", raises="ValueError: no")
        self.store(PATH, ONE, TWO, must=["count torch.relu == same"])
        self.assertEqual(self.fxpect()[0], exit_codes.OK)
        self.store(PATH, Case.make("x", raises="ValueError: no", must=["has torch.relu"]), THREE)
        self.assertFault(6, "expected a check that can fail; got must: in")
        self.store(PATH, raises, must=["has torch.relu"])
        self.assertFault(6, "expected a check that can fail; got must: in a file whose cases all raise")
        self.store(PATH, ONE, must=["not torch.relu"])
        self.assertFault(6, f"{ONE.key}: must not torch.relu: expected none of torch.relu; got 1")
        text = (self.root / "fixtures" / PATH).read_text()
        self.write(f"fixtures/{PATH}", text.replace("not torch.relu", "count torch.relu >= 0"))
        self.assertFault(6, "expected a check that can hold and fail")

    def test_known_bugs(self):
        """The table of known bugs is strict: it is TOML, of its format, each entry whole."""
        for text, said in (("format =", "expected TOML"), ("format = 2\n", "expected format = 1"),
                           ("format = 1\nbug = [3]\n", "bug 1: expected a table of fields"),
                           ("format = 1\n[[bug]]\nid = 'a-b'\n", "bug a-b: expected before")):
            with self.subTest(said):
                self.write("fixtures/known_torch_bugs.toml", text)
                code, out, _ = self.fxpect()
                self.assertEqual(code, exit_codes.CORRUPT)
                self.assertRegex(out, f"^corrupt: known_torch_bugs.toml: .*({said})")
        (self.root / "fixtures/known_torch_bugs.toml").write_bytes(b"\xff")
        self.assertFault(6, "known_torch_bugs.toml", "can't decode")

    def test_the_worst_decides(self):
        """Of several faults each is printed, in JSON too, and the worst gives the code."""
        self.store(PATH)
        self.store("test_x/Gone.test_y.fx")
        self.write("fixtures/test_x/Gone.test_z.fx", "<<<<<<< ours\n")
        code, answer = self.answer()
        self.assertEqual(code, exit_codes.CORRUPT)
        self.assertEqual([(fault["kind"], fault["path"]) for fault in answer["faults"]],
                         [("stale", "test_x/Gone.test_y.fx"), ("corrupt", "test_x/Gone.test_z.fx"),
                          ("stale", "test_x/Gone.test_z.fx")])
        self.assertEqual((answer["files"], answer["cases"], answer["owned"]), (3, 2, 1))


if __name__ == "__main__":
    unittest.main()
