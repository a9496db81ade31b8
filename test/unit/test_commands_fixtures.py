"""The commands status, diff, accept and reject: what they print, store and return."""

import contextlib
import importlib.metadata
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import fxpect
from fxpect.commands import exit_codes
from fxpect.commands.main import main
from fxpect.fixtures.case import Case
from fxpect.fixtures.format import Document, format_document, parse_bytes
from fxpect.fixtures.store import Store
from test.unit.projects import ENVIRONMENT

LIBRARY = str(Path(fxpect.__file__).parents[1])
BEFORE, AFTER, OTHER = "a = torch.relu(x)", "a = torch.cat([x])", "a = torch.sum(x)"
NEW, OLD = Case.make("n", options="o=1", after="c", title="new"), Case.make(BEFORE, after=AFTER, title="old")


class CommandsCase(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.here = Path(folder.name).resolve()
        (self.here / "test").mkdir()
        (self.here / "fixtures").mkdir()
        self.fx = self.here / "fixtures/test_x/X.test_y.fx"
        patch = mock.patch.dict(os.environ, ENVIRONMENT)
        patch.start()
        self.addCleanup(patch.stop)

    def store(self, *cases):
        """Store some cases by hand."""
        document = Document("test_x.py X.test_y", "works").with_cases({case.key: case for case in cases})
        self.fx.parent.mkdir(exist_ok=True)
        self.fx.write_text(format_document(document))

    def propose(self, *cases, method="test_y", torch="2.13.0"):
        """Execute a test that gives these cases."""
        stored = Store.for_test(self.here / "test/test_x.py", "X", method)
        for case in cases:
            stored.settle(case, torch_version=torch, why="works")

    def two(self):
        """Store one case; propose another and a change of it."""
        self.store(OLD)
        self.propose(NEW, Case.make(BEFORE, after=OTHER, title="old"))

    def fxpect(self, *words):
        """Run a command; return exit code, output and errors."""
        out, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            code = main([words[0], "--fixtures", str(self.here), *words[1:]])
        return code, out.getvalue(), errors.getvalue()

    def read(self, *words):
        """Run a command with --json; return exit code and answer."""
        code, out, _ = self.fxpect(*words, "--json")
        return code, json.loads(out)

    def cases(self):
        """Return the stored cases' results by key."""
        return {case.key: case.after for case in parse_bytes(self.fx.read_bytes()).cases}


class StatusTests(CommandsCase):

    def test_nothing_pending(self):
        """Without proposals the status is 0 and counts what is stored."""
        self.store(OLD)
        self.assertEqual(self.fxpect("status"),
                         (0, "pending 0, stored files 1, cases 1, corrupt 0, notes 0\n", ""))

    def test_lists_what_is_pending_by_test(self):
        """Each test is named once, over its proposals, with the next commands below."""
        self.two()

        code, out, _ = self.fxpect("status")

        self.assertEqual(code, exit_codes.OK)
        self.assertEqual(out.count("test_x.py X.test_y\n"), 1)
        self.assertIn(f"  {NEW.key}  new case  torch 2.13  new\n", out)
        self.assertIn(f"  {OLD.key}  after changed  torch 2.13  old\n", out)
        self.assertTrue(out.endswith("  fxpect diff\n  fxpect accept --all\n"))

    def test_json_says_all(self):
        """The JSON has pending, corrupt, notes and counts; an outdated proposal says so."""
        self.two()
        self.store(OLD.with_text("", "edited"))

        code, answer = self.read("status")

        self.assertEqual((code, answer["files"], answer["cases"], answer["corrupt"]), (0, 1, 1, []))
        self.assertEqual({row["key"]: (row["kind"], row["outdated"]) for row in answer["pending"]},
                         {NEW.key: ("new case", False), OLD.key: ("after changed", True)})
        self.assertIn("(outdated: run the test again)", self.fxpect("status")[1])

    def test_corrupt_file_is_named_with_its_line(self):
        """A stored file that cannot be trusted is listed with path and line, and the exit code is 6."""
        self.store(OLD)
        self.fx.write_text(self.fx.read_text() + ">>>>>>> theirs\n")

        code, out, _ = self.fxpect("status")

        self.assertEqual(code, exit_codes.CORRUPT)
        self.assertIn(f"corrupt: {self.fx}:10: expected no marker of a merge conflict", out)
        self.assertEqual(self.read("status")[1]["corrupt"][0]["path"], "test_x/X.test_y.fx")

    def test_notes_remark_what_is_allowed(self):
        """A file without intent, an idle check and a case without a result are remarked, not refused."""
        self.store(Case.make(BEFORE, must=["not torch.bmm"]))
        self.fx.write_text(self.fx.read_text().replace("why: works\n", ""))

        code, out, _ = self.fxpect("status", "--notes")

        self.assertEqual(code, exit_codes.OK)
        for part in ("no why: line", "must not torch.bmm: the graph before does not call it",
                     "no result is stored"):
            self.assertIn(part, out)


class DiffTests(CommandsCase):

    def test_shows_every_change(self):
        """Without words every proposal is shown: a new case as a whole, a change as a difference."""
        self.two()

        code, out, _ = self.fxpect("diff")

        self.assertEqual(code, exit_codes.OK)
        self.assertIn(f"    ## {NEW.key}  new\n    options: o=1\n", out)
        self.assertIn("  the graph after is not the stored one\n    after:\n", out)

    def test_text_shows_lines(self):
        """--text gives the changed lines."""
        self.two()
        out = self.fxpect("diff", OLD.key, "--text")[1]
        self.assertIn(f"    -{AFTER}\n    +{OTHER}\n", out)
        self.assertNotIn(NEW.key, out)

    def test_words_may_be_keys_or_tests(self):
        """A key, its start, and every name of the test choose the same; an unknown word is misuse."""
        self.two()
        for word in (OLD.key, OLD.key[:4]):
            self.assertEqual([row["key"] for row in self.read("diff", word)[1]], [OLD.key])
        for word in ("test_x.py X.test_y", "X.test_y", "X", "test_y", "test_x.py", "test/test_x.py",
                     "test_x/X.test_y.fx", "fixtures/test_x/X.test_y.fx", "test/test_x.py::X::test_y"):
            with self.subTest(word=word):
                self.assertEqual(len(self.read("diff", word)[1]), 2)
        for word in ("test", "X.test", "0" * 10, OLD.key[:3]):
            with self.subTest(word=word):
                code, out, errors = self.fxpect("diff", word)
                self.assertEqual((code, out), (exit_codes.USAGE, ""))
                self.assertIn(f"got {word}, which matches nothing", errors)

    def test_long_difference_is_capped_with_a_pointer(self):
        """At most so many lines are shown, and how to see the rest."""
        self.propose(Case.make("n", after="\n".join(map(str, range(300)))))
        key = self.read("status")[1]["pending"][0]["key"]
        out = self.fxpect("diff")[1]
        self.assertIn(f"more lines: fxpect diff {key} --lines 0", out)
        self.assertLess(len(out.split("\n")), 210)
        self.assertIn("    299", self.fxpect("diff", "--lines", "0")[1])

    def test_long_graphs_are_shown_whole_on_demand(self):
        """--lines 0 shows every changed line of two graphs, however many."""
        graphs = ["\n".join(["def forward(self, x):", *(f"    v{n} = torch.{word}(x, {n})" for n in range(300)),
                            "    return (v0,)"]) for word in ("add", "sub")]
        old = Case.make(graphs[0], after=graphs[0])
        self.store(old)
        self.propose(Case.make(graphs[0], after=graphs[1]))
        out = self.fxpect("diff", "--lines", "0")[1]
        self.assertNotIn("more lines", out.splitlines()[-1])
        self.assertEqual(out.count("    +    v"), 300)

    def test_changed_capture_shows_both_graphs(self):
        """Where the graph before changed, its difference stands first."""
        self.store(OLD)
        self.propose(Case.make("b = torch.relu(x)", after=OTHER, title="old"))
        out = self.fxpect("diff", "--text")[1]
        self.assertLess(out.index("before:\n"), out.index("after:\n"))
        self.assertIn(f"-{BEFORE}\n    +b = torch.relu(x)\n", out)


class AcceptTests(CommandsCase):

    def test_accepts_one_by_key(self):
        """One key stores that case alone; the other stays pending."""
        self.two()

        code, out, _ = self.fxpect("accept", OLD.key[:5])

        self.assertEqual(code, exit_codes.OK)
        self.assertEqual(out, f"accepted: {OLD.key}  after changed  torch 2.13  old\n  test_x.py X.test_y\n")
        self.assertEqual(self.cases(), {OLD.key: OTHER})
        self.assertEqual([row["key"] for row in self.read("status")[1]["pending"]], [NEW.key])

    def test_accepts_all_with_intent(self):
        """--all stores everything, --why the intent of files without one, and the next --all has nothing to do."""
        self.propose(NEW)

        code, answer = self.read("accept", "--all", "--why", "a reason")

        self.assertEqual((code, [row["status"] for row in answer]), (0, ["accepted"]))
        self.assertEqual(self.cases(), {NEW.key: "c"})
        self.assertIn("\nwhy: a reason\n", self.fx.read_text())
        self.assertEqual(self.fxpect("accept", "--all")[0], exit_codes.USAGE)

    def test_intent_of_a_person_is_kept(self):
        """A file that says what its test is for keeps that, and --why says so; --replace-why writes the new one."""
        self.two()
        _, out, _ = self.fxpect("accept", NEW.key, "--why", "a reason")
        self.assertIn("\nwhy: works\n", self.fx.read_text())
        self.assertTrue(out.endswith("why: kept in 1 file, which says what it is for; --replace-why writes yours\n"))
        code, out, _ = self.fxpect("accept", OLD.key, "--why", "a  reason", "--replace-why")
        self.assertIn("\nwhy: a reason\n", self.fx.read_text())
        self.assertNotIn("why", out)
        self.propose(Case.make("z", after="z"))
        self.assertEqual(self.fxpect("accept", "--all", "--replace-why")[0], exit_codes.USAGE)

    def test_checks_are_given_and_taken(self):
        """--must gives what is accepted a check that it meets; --drop-must takes one from a case and from its file."""
        self.store(OLD)
        self.fx.write_text(self.fx.read_text().replace("why: works\n", "why: works\nmust: not torch.sum\n"))
        self.propose(Case.make(BEFORE, after=OTHER))
        text = self.fx.read_text()
        code, out, _ = self.fxpect("accept", "--all")
        self.assertEqual((code, self.fx.read_text()), (exit_codes.FAILURES, text))
        self.assertIn("\n  --drop-must 'not torch.sum', or m in fxpect review, takes the check out\n", out)
        for words, wanted in ((["--must", "nott torch.sum"], exit_codes.USAGE), (["--must", "count torch.sum >= 0"], 2),
                              (["--drop-must", "not torch.cat"], exit_codes.USAGE),
                              (["--drop-must", "not torch.sum", "--must", "has torch.cat"], exit_codes.FAILURES)):
            self.assertEqual(self.fxpect("accept", "--all", *words)[0], wanted)
            self.assertEqual(self.fx.read_text(), text)
        words = ["--drop-must", "not  torch.sum", "--must", "has torch.sum"]
        self.assertEqual(self.fxpect("accept", "--all", *words)[0], 0)
        document = parse_bytes(self.fx.read_bytes())
        self.assertEqual((document.must, document.cases[0].must), ((), ("has torch.sum",)))
        self.propose(Case.make(BEFORE, after=AFTER))
        self.assertEqual(self.fxpect("accept", "--all", "--drop-must", "has torch.sum")[0], 0)
        self.assertEqual(parse_bytes(self.fx.read_bytes()).cases, (Case.make(BEFORE, after=AFTER, title="old"),))

    def test_accepts_by_test_and_torch(self):
        """--test and --torch narrow what is accepted; a key that several tests have needs them."""
        self.propose(NEW)
        self.propose(NEW, method="test_z")
        self.propose(Case.make("m", options="o=1", after="d"), method="test_z", torch="2.15.0")

        code, _, errors = self.fxpect("accept", NEW.key)
        self.assertEqual(code, exit_codes.USAGE)
        self.assertIn(f"to be one case; got 2:\n  {NEW.key} --test 'test_x.py X.test_y'", errors)
        self.assertEqual(self.fxpect("accept", NEW.key, "--test", "test_z")[0], exit_codes.OK)
        self.assertEqual([row["status"] for row in self.read("accept", "--torch", "2.15", "--all")[1]],
                         ["accepted"])
        self.assertEqual([row["test"] for row in self.read("status")[1]["pending"]], ["test_x.py X.test_y"])

    def test_version_section(self):
        """--version-section stores the text beside the old one."""
        self.store(OLD)
        self.propose(Case.make(BEFORE, after=OTHER, title="old"), torch="2.15.0")
        self.assertEqual(self.fxpect("accept", "--all", "--version-section")[0], exit_codes.OK)
        self.assertIn("after torch>=2.15:\n    a = torch.sum(x)\n", self.fx.read_text())

    def test_exit_codes(self):
        """Nothing chosen is 2, CI 3, a corrupt file 6, an outdated proposal 7, a broken check 1."""
        self.two()
        self.assertEqual(self.fxpect("accept")[0], exit_codes.USAGE)
        self.assertEqual(self.fxpect("accept", "--all", OLD.key)[0], exit_codes.USAGE)
        with mock.patch.dict(os.environ, {"CI": "true"}):
            code, _, errors = self.fxpect("accept", "--all")
            self.assertEqual(code, exit_codes.REFUSED)
            self.assertIn("fxpect accept is refused", errors)
        text = self.fx.read_text()
        self.fx.write_text(text + "=======\n")
        self.assertEqual(self.fxpect("accept", "--all")[0], exit_codes.CORRUPT)
        self.store(OLD.with_text("", "edited"))
        code, out, _ = self.fxpect("accept", OLD.key)
        self.assertEqual((code, out.startswith("outdated: "), self.cases()), (7, True, {OLD.key: "edited"}))
        self.fx.write_text(text.replace("why: works\n", "why: works\nmust: not torch.sum\n"))
        self.propose(Case.make(BEFORE, after=OTHER))
        code, out, _ = self.fxpect("accept", OLD.key)
        self.assertEqual(code, exit_codes.FAILURES)
        self.assertIn("must not torch.sum: expected none", out)
        with contextlib.redirect_stderr(io.StringIO()), self.assertRaises(SystemExit) as caught:
            main(["accept", "--alll"])
        self.assertEqual(caught.exception.code, exit_codes.USAGE)


class FromTests(CommandsCase):
    """Proposals that were made on another machine, where torch 2.13 is installed here."""

    def setUp(self):
        super().setUp()
        self.enterContext(mock.patch("importlib.metadata.version", return_value="2.13.0+cpu"))

    def elsewhere(self, *cases, torch="2.15.0", name="other.json"):
        """Run the test on another machine with the same stored file; return what its status says."""
        with tempfile.TemporaryDirectory() as folder:
            here, self.here = self.here, Path(folder).resolve()
            try:
                shutil.copytree(here, self.here, dirs_exist_ok=True)
                self.propose(*cases, torch=torch)
                (here / name).write_text(self.fxpect("status", "--json")[1])
                shutil.copytree(self.here / ".fxpect/pending", here / f"{name}.pending")
            finally:
                self.here = here
        return str(here / name)

    def test_what_status_says_and_what_the_folder_holds(self):
        """Either is accepted as a section of the other torch; what is pending here is neither stored nor forgotten."""
        self.store(OLD)
        text = self.fx.read_text()
        file = self.elsewhere(Case.make(BEFORE, after=OTHER, title="old"))
        self.propose(NEW)
        for origin in (file, f"{file}.pending", str(next(Path(f"{file}.pending").glob("*/*.jsonl")))):
            with self.subTest(origin):
                self.fx.write_text(text)
                code, out, errors = self.fxpect("accept", "--all", "--from", origin)
                self.assertEqual((code, errors), (0, ""))
                self.assertEqual(out, f"accepted: {OLD.key}  after changed  torch 2.15  old\n  test_x.py X.test_y\n")
                case, = parse_bytes(self.fx.read_bytes()).cases
                self.assertEqual((case.after, case.afters), (AFTER, (("torch>=2.15", OTHER),)))
        self.assertEqual([row["key"] for row in self.read("status")[1]["pending"]], [NEW.key])

    def test_the_same_torch_is_plain(self):
        """What another machine with this torch proposes takes the place of the stored text."""
        self.store(OLD)
        file = self.elsewhere(Case.make(BEFORE, after=OTHER, title="old"), torch="2.13.1")
        self.assertEqual(self.fxpect("accept", OLD.key, "--from", file)[0], 0)
        self.assertEqual(self.cases(), {OLD.key: OTHER})

    def test_stored_text_that_differs_here_is_outdated(self):
        """What the other machine compared with must be stored here: else 7, and nothing is written."""
        self.store(OLD)
        file = self.elsewhere(Case.make(BEFORE, after=OTHER, title="old"))
        self.store(OLD.with_text("", "edited"))
        text = self.fx.read_bytes()
        code, out, _ = self.fxpect("accept", "--all", "--from", file)
        self.assertEqual((code, self.fx.read_bytes()), (exit_codes.OUTDATED, text))
        self.assertIn("run the tests again", out)

    def test_machines_that_disagree(self):
        """Two machines with one torch and two results are refused, and with two torches both are stored."""
        self.store(OLD)
        text = self.fx.read_text()
        changed, other = (Case.make(BEFORE, after=after, title="old") for after in (OTHER, "a = torch.neg(x)"))
        one, same, later = (self.elsewhere(case, torch=torch, name=torch) for case, torch in (
            (changed, "2.14.0"), (other, "2.14.1"), (other, "2.15.0")))
        code, out, _ = self.fxpect("accept", "--all", "--from", one, same)
        self.assertEqual((code, self.fx.read_text()), (exit_codes.FAILURES, text))
        self.assertIn("expected one text; got 2 under torch 2.14", out)
        self.assertEqual(self.fxpect("accept", "--all", "--from", one, "--from", later)[0], 0)
        case, = parse_bytes(self.fx.read_bytes()).cases
        self.assertEqual(dict(case.afters), {"torch>=2.14": OTHER, "torch>=2.15": "a = torch.neg(x)"})

    def test_what_is_no_proposal_is_refused(self):
        """A file that is missing, no text, cut short, or holds something else is misuse, and nothing is stored."""
        self.store(OLD)
        file = Path(self.elsewhere(Case.make(BEFORE, after=OTHER, title="old")))
        good, line = file.read_text(), next(Path(f"{file}.pending").glob("*/*.jsonl")).read_text()
        for data in (b"\xff", b"", b"{}", b"[]", b'{"pending": 1}', good[:-20].encode(), line[:-20].encode(),
                     b"[" * 100_000, good.replace('"digest"', '"digits"').encode(), None,
                     good.replace(OLD.key, "0" * 10).encode(), b'{"pending": []}'):
            with self.subTest(data and data[:40]):
                file.unlink(missing_ok=True) if data is None else file.write_bytes(data)
                code, out, errors = self.fxpect("accept", "--all", "--from", str(file))
                self.assertEqual((code, out), (exit_codes.USAGE, ""))
                self.assertIn("fxpect accept: expected ", errors)
                self.assertEqual(self.cases(), {OLD.key: AFTER})
        file.write_text(good.replace("test_x/X.test_y.fx", "../X.test_y.fx"))
        self.assertEqual(self.fxpect("accept", "--all", "--from", str(file))[0], exit_codes.CORRUPT)
        self.assertFalse((self.here / "X.test_y.fx").exists())

    def test_selection_and_ci(self):
        """A key or a torch that is not there is 2, CI is 3."""
        file = self.elsewhere(NEW)
        for words in (["--all", "--torch", "2.14"], ["0000000000"], []):
            self.assertEqual(self.fxpect("accept", "--from", file, *words)[0], exit_codes.USAGE)
        with mock.patch.dict(os.environ, {"CI": "true"}):
            self.assertEqual(self.fxpect("accept", "--from", file, "--all")[0], exit_codes.REFUSED)
        self.assertFalse(self.fx.exists())

    def test_without_torch(self):
        """Where no torch is installed one torch's proposals are plain, and two that differ need sections."""
        changed, other = Case.make(BEFORE, after=OTHER, title="old"), Case.make(BEFORE, after="new", title="old")
        self.store(OLD)
        one, two = self.elsewhere(changed, name="1"), self.elsewhere(other, torch="2.16.0", name="2")
        with mock.patch("importlib.metadata.version", side_effect=importlib.metadata.PackageNotFoundError):
            code, out, _ = self.fxpect("accept", "--all", "--from", one, two)
            self.assertEqual(code, exit_codes.FAILURES)
            self.assertIn("accept them with --version-section", out)
            self.assertEqual(self.fxpect("accept", "--all", "--from", one)[0], 0)
        self.assertEqual(self.cases(), {OLD.key: OTHER})


class RejectTests(CommandsCase):

    def test_rejects_what_is_named(self):
        """One key forgets that proposal, --all the rest; nothing is stored and then nothing matches."""
        self.two()
        old = self.fx.read_bytes()

        self.assertEqual(self.fxpect("reject", NEW.key)[0], exit_codes.OK)
        self.assertEqual([row["key"] for row in self.read("reject", "--all")[1]], [OLD.key])

        self.assertEqual(self.fx.read_bytes(), old)
        self.assertEqual(self.fxpect("reject", "--all")[0], exit_codes.USAGE)
        self.assertEqual(self.fxpect("diff")[0], exit_codes.USAGE)


class WholeTests(CommandsCase):

    def test_no_command_imports_torch(self):
        """In a process of its own, without a terminal, the commands work and torch is not imported."""
        self.two()
        program = ("import sys\nfrom fxpect.commands.main import main\n"
                   "lines = ('status', 'diff --text', 'reject --all', 'status')\n"
                   "codes = [main(words.split()) for words in lines]\n"
                   "assert 'torch' not in sys.modules, 'torch'\nassert codes == [0, 0, 0, 0], codes")
        done = subprocess.run([sys.executable, "-c", program], cwd=self.here, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": LIBRARY})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout.endswith("pending 0, stored files 1, cases 1, corrupt 0, notes 0\n"))

    def test_exit_code_table_is_complete(self):
        """Every exit code stands in the table once, and the table prints as the README has it."""
        codes = {value for name,
                 value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)}
        self.assertEqual([code for code, _ in exit_codes.TABLE], sorted(codes))
        head = exit_codes.markdown().split("\n")[:3]
        self.assertEqual(head, ["| code | meaning |", "| --- | --- |", "| 0 | all is well |"])


if __name__ == "__main__":
    unittest.main()
