"""``fxpect review``: one question for all cases with the same edit, answered by single keys or by commands."""

import contextlib
import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
import unittest
from pathlib import Path
from unittest import mock

import fxpect
from fxpect.commands import exit_codes
from fxpect.commands.main import main
from fxpect.fixtures import accept
from fxpect.fixtures.case import Case
from fxpect.fixtures.format import Document, format_document, parse_bytes
from fxpect.fixtures.store import Store
from test.unit.projects import ProjectCase

TERMINAL = {"PYTHON_COLORS": "", "NO_COLOR": "", "FORCE_COLOR": "", "TERM": "xterm"}
LIBRARY = str(Path(fxpect.__file__).parents[1])
PATIENCE_SECONDS = 30
PROMPT = "? help > "
ASK = "Enter to go on > "
# A session leader with the terminal of its standard input for its own, so that Ctrl-C interrupts it.
# Ctrl-C counts, also where the tests run in the background of a shell, which ignores it there.
CHILD = ("import fcntl, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
         "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
         "from fxpect.commands.main import main\ncode = main(sys.argv[1:])\n"
         "assert 'torch' not in sys.modules, 'torch'\nsys.exit(code)")
NAMES = ("x", "left", "arg0_1", "primals_1", "inputs")


def graph(number, call="", last="relu", reverse=False):
    """Return one of many programs around a relu, with a call after it; names, sizes, users and order differ."""
    x, size = NAMES[number % len(NAMES)], number + 2
    relu, others = f"relu_{number}", [f"v{place}" for place in range(number % 4)]
    lines = [f'    {relu}: "f32[{size}]" = torch.{last}({x})']
    lines += [f'    new{number}: "f32[{size}]" = {call.format(relu)}'] if call else []
    users = [f'    {name}: "f32[{size}]" = torch.cos({x})' for name in others]
    result = f"new{number}" if call else relu
    body = [*users, *lines] if reverse else [*lines, *users]
    head, tail = f'def forward(self, {x}: "f32[{size}]"):', f"    return ({', '.join([result, *others])},)"
    return "\n".join([head, *body, tail])


def key_in(shown):
    """Return the key of the case that is shown as an example."""
    return shown.partition("for example: ")[2][:10]


class Terminal:
    """A person at ``fxpect review``: reads until a text stands there, then presses a key."""

    def __init__(self, here, *words, ahead="", **environment):
        self.master, slave = pty.openpty()
        os.write(self.master, ahead.encode())
        self.mode = termios.tcgetattr(slave)
        self.child = subprocess.Popen(
            [sys.executable, "-c", CHILD, "review", "--fixtures", str(here), *words], stdin=slave, stdout=slave,
            stderr=slave, start_new_session=True, env={**os.environ, "PYTHONPATH": LIBRARY, **environment})
        os.close(slave)
        self.text, self.seen = "", 0

    def read(self):
        """Add what comes next; return whether anything did."""
        if not select.select([self.master], [], [], PATIENCE_SECONDS)[0]:
            raise AssertionError(f"nothing came; until then:\n{self.text}")
        try:
            data = os.read(self.master, 65536)
        except OSError:  # the child has closed its end
            data = b""
        self.text += data.decode().replace("\r\n", "\n")
        return bool(data)

    def wait(self, part=PROMPT):
        """Return what was printed since the last call up to ``part``."""
        while part not in self.text[self.seen:]:
            if not self.read():
                raise AssertionError(f"{part!r} never came:\n{self.text}")
        start, self.seen = self.seen, self.text.index(part, self.seen) + len(part)
        return self.text[start:self.seen]

    def press(self, key, prompt=PROMPT):
        """Wait for the prompt, press a key; return what stood before the prompt."""
        shown = self.wait(prompt)
        os.write(self.master, key.encode())
        return shown

    def end(self, key=""):
        """Return the exit code, and what was printed since the last wait; ``key`` answers any further question."""
        start = self.seen
        while self.read():
            if PROMPT in self.text[self.seen:]:
                if not key:
                    raise AssertionError(f"expected an end; got another question:\n{self.text}")
                self.press(key)
        return self.child.wait(PATIENCE_SECONDS), self.text[start:]

    def close(self):
        """Take the terminal away and leave no process behind."""
        os.close(self.master)
        self.child.kill()
        self.child.wait()


class ReviewCase(ProjectCase):

    def setUp(self):
        super().setUp()
        self.enterContext(mock.patch.dict(os.environ, TERMINAL))

    def change(self, changes, method="test_y", torch="2.13.0"):
        """Store cases that the pass left alone, and run a test in which it makes something of them."""
        cases = {before: Case.make(before, after=before, title=f"case {at}") for at, (before, _) in enumerate(changes)}
        path = self.file(method)
        path.parent.mkdir(exist_ok=True)
        path.write_text(format_document(Document(f"test_x.py X.{method}", "works").with_cases(
            {case.key: case for case in cases.values()})))
        stored = Store.for_test(self.root / "test/test_x.py", "X", method)
        for before, after in changes:
            stored.settle(Case.make(before, after=after, title=cases[before].title), torch_version=torch)

    def clones(self, numbers, method="test_y"):
        """Let a pass put a clone after each relu."""
        self.change([(graph(number, reverse=number % 2 == 0), graph(number, "torch.clone({})", reverse=number % 2 == 0))
                     for number in numbers], method)

    def two_groups(self):
        """Three cases of one edit, two of another one."""
        self.clones(range(3))
        self.change([(graph(number), graph(number, "torch.neg({})")) for number in (7, 8)], "test_z")

    def file(self, method="test_y"):
        return self.root / f"fixtures/test_x/X.{method}.fx"

    def stored(self, method="test_y"):
        """Return which calls the stored results of a test hold."""
        return sorted(word for case in parse_bytes(self.file(method).read_bytes()).cases
                      for word in ("clone", "neg") if f"torch.{word}" in case.after)

    def edit(self):
        """Let another person change every stored result of a test."""
        document = parse_bytes(self.file().read_bytes())
        edited = [case.with_text("", case.after.replace("torch.relu", "torch.tanh")) for case in document.cases]
        self.file().write_text(format_document(document.with_cases({case.key: case for case in edited})))
        return self.file().read_bytes()

    def pending(self):
        return len(Store(self.root / "fixtures").pending.live())

    def main(self, words):
        """Run a command without a terminal; return exit code, output and errors."""
        out, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            code = main(words)
        return code, out.getvalue(), errors.getvalue()

    def fxpect(self, *words):
        return self.main(["review", "--fixtures", str(self.root), *words])

    def groups(self, *words):
        """Return what --json says of the groups."""
        return json.loads(self.fxpect("--json", *words)[1])

    def terminal(self, *words, **environment):
        """Start ``fxpect review`` in a terminal."""
        person = Terminal(self.root, *words, **environment)
        self.addCleanup(person.close)
        return person


class GroupTests(ReviewCase):

    def test_sixty_cases_with_one_cause_are_one_question(self):
        """Sixty programs of twelve tests that all got a clone: one group, little to read, one key, all stored."""
        for number in range(12):
            self.clones(range(5 * number, 5 * number + 5), f"test_{number}")
        person = self.terminal("--why", "relu is cloned")

        shown = person.press("a")
        code, rest = person.end()

        self.assertIn("group 1/1  60 cases of 12 tests  after changed  torch 2.13", shown)
        self.assertIn("after: +1 clone after relu_", shown)
        self.assertLess(shown.count("\n"), 40)
        self.assertEqual((code, self.pending()), (exit_codes.OK, 0), rest)
        self.assertIn("accepted 60 of 60", rest)
        for number in range(12):
            self.assertEqual(self.stored(f"test_{number}"), ["clone"] * 5)
            self.assertIn("why: works\n", self.file(f"test_{number}").read_text())
        self.assertIn("why: kept in 12 files, which say what they are for", rest)

    def test_different_edits_are_different_groups(self):
        """Another call, another constant and another operator before it are groups of their own, the largest first."""
        self.clones(range(3))
        edits = [("torch.neg({})", "relu"), ("torch.clone({}, 1)", "relu"), ("torch.clone({})", "sin")]
        self.change([(graph(number, last=last), graph(number, call, last=last))
                     for number, (call, last) in enumerate(edits, 10)], "test_z")

        groups = self.groups()

        self.assertEqual([len(group["cases"]) for group in groups], [3, 1, 1, 1])
        self.assertEqual([group["number"] for group in groups], [1, 2, 3, 4])
        self.assertEqual(len({group["name"] for group in groups}), 4)

    def test_new_cases_are_grouped_by_what_the_pass_does(self):
        """Of cases that were never stored, those in which the pass makes the same edit are one group."""
        test = Store.for_test(self.root / "test/test_x.py", "X", "test_new")
        for number, call in enumerate(["torch.clone({})"] * 3 + ["torch.neg({})"]):
            test.settle(Case.make(graph(number), after=graph(number, call)), torch_version="2.13.0")

        groups = self.groups()

        self.assertEqual([(group["kind"], len(group["cases"])) for group in groups], [("new case", 3), ("new case", 1)])
        self.assertRegex(groups[0]["words"], r"^the pass: \+1 clone after relu_\d")

    def test_changed_capture_and_errors_are_grouped(self):
        """A capture that changed the same way is one group, and so are passes that now raise the same error."""
        cases = [Case.make(graph(number), after=graph(number), title=f"case {number}") for number in range(4)]
        self.change([(case.before, case.before) for case in cases])
        test = Store.for_test(self.root / "test/test_x.py", "X", "test_y")
        for number, case in enumerate(cases[:2]):
            after = graph(number, "torch.clone({})")
            test.settle(Case.make(after, after=after, title=case.title), after_on_stored=case.after,
                        torch_version="2.13.0")
        for case in cases[2:]:
            test.settle(Case.make(case.before, raises="ValueError: no", title=case.title), torch_version="2.13.0")

        groups = self.groups()

        self.assertEqual({group["kind"]: len(group["cases"]) for group in groups},
                         {"before changed": 2, "after changed": 2})
        self.assertTrue(any(group["words"].startswith("before: +1 clone") for group in groups))


class CommandTests(ReviewCase):
    """Without a terminal."""

    def test_cases_that_are_gone_are_one_group(self):
        """What a test no longer makes is one question, in words; to accept it takes the cases out."""
        self.change([(graph(number), graph(number)) for number in range(3)])
        Store.for_test(self.root / "test/test_x.py", "X", "test_y").propose_gone("2.13.0")
        out = self.fxpect()[1]
        self.assertIn("group 1/1  3 cases of 1 test  case gone  torch 2.13\n"
                      "  the test no longer makes it: to accept is to take it out\n", out)
        self.assertIn('    -        relu_0: "f32[2]" = torch.relu(x)\n', out)
        self.assertEqual(self.fxpect("--accept", "1")[0], exit_codes.OK)
        self.assertFalse(self.file().exists())

    def test_prints_groups_and_the_commands_that_settle_each(self):
        """Words, one example, the tests, and commands that do what they say."""
        self.two_groups()

        code, out, _ = self.fxpect()

        self.assertEqual(code, exit_codes.OK)
        self.assertRegex(out, r"group 1/2  3 cases of 1 test  after changed  torch 2.13\n  after: \+1 clone after relu")
        self.assertIn("    test_x.py X.test_z  2\n", out)
        self.assertNotIn("\x1b", out)
        commands = [line.split() for line in out.splitlines() if "--reject" in line or "--accept" in line]
        self.assertEqual([words[:2] for words in commands], [["fxpect", "review"]] * 4)
        accepting, rejecting = commands[0], commands[3]
        self.assertEqual(self.main(accepting[1:])[0], exit_codes.OK)
        self.assertEqual((self.stored(), self.pending()), (["clone"] * 3, 2))
        self.assertEqual(self.main(rejecting[1:])[0], exit_codes.OK)
        self.assertEqual((self.stored("test_z"), self.pending()), ([], 0))

    def test_numbers_choose_and_names_stay(self):
        """A number chooses as listed now; a name still means the same group when others are gone, or nothing."""
        self.two_groups()
        first, second = (group["name"] for group in self.groups())

        code, out, _ = self.fxpect("--accept", "1", "--why", "a reason", "--replace-why", "--json")

        self.assertEqual((code, {row["status"] for row in json.loads(out)}), (0, {"accepted"}))
        self.assertIn("why: a reason\n", self.file().read_text())
        for gone in (first, "2", "0", "clone"):
            code, _, errors = self.fxpect("--accept", gone)
            self.assertEqual(code, exit_codes.USAGE)
            self.assertIn(f"expected the number or the name of a group; got '{gone}'", errors)
        self.assertEqual(self.stored("test_z"), [])
        self.assertEqual(self.fxpect("--accept", second)[0], exit_codes.OK)
        self.assertEqual(self.fxpect()[0], exit_codes.USAGE)

    def test_selection_narrows_and_is_part_of_the_commands(self):
        """A test or a torch narrows what is grouped, and the printed command narrows the same way."""
        self.clones(range(2))
        self.clones(range(2, 5), "test_z")

        out = self.fxpect("--test", "X.test_z", "--torch", "2.13")[1]

        self.assertIn("3 cases of 1 test", out)
        command = next(line for line in out.splitlines() if "--accept" in line).split()
        self.assertEqual(self.main(command[1:])[0], exit_codes.OK)
        self.assertEqual((self.stored(), self.stored("test_z")), ([], ["clone"] * 3))

    def test_outdated_and_refused_and_corrupt(self):
        """What was stored since is one group of its own and accepting it 7; a broken check is 1, a broken file 6."""
        self.two_groups()
        name = self.groups()[0]["name"]
        text = self.edit()

        code, out, _ = self.fxpect("--accept", name)

        self.assertEqual((code, self.file().read_bytes()), (exit_codes.OUTDATED, text))
        self.assertIn("run the tests again", out)
        self.assertEqual([group["outdated"] for group in self.groups()], [False, True])
        self.assertIn("group 2/2  3 cases of 1 test  outdated: run the tests again", self.fxpect()[1])
        other = self.file("test_z")
        other.write_text(other.read_text().replace("why: works\n", "why: works\nmust: not torch.neg\n"))
        number = next(str(group["number"]) for group in self.groups() if "neg" in group["words"])
        self.assertEqual(self.fxpect("--accept", number)[0], exit_codes.FAILURES)
        other.write_text(other.read_text() + "=======\n")
        number = next(str(group["number"]) for group in self.groups() if group["cases"][0]["test"].endswith("z"))
        self.assertEqual(self.fxpect("--accept", number)[0], exit_codes.CORRUPT)

    def test_ci_shows_and_settles_nothing(self):
        """In CI the groups are printed, also in a terminal; accepting and rejecting are refused."""
        self.two_groups()
        with mock.patch.dict(os.environ, {"CI": "true"}):
            self.assertEqual(self.fxpect()[0], exit_codes.OK)
            for option in ("--accept", "--reject"):
                self.assertEqual(self.fxpect(option, "1")[0], exit_codes.REFUSED)
            code, out = self.terminal().end()
        self.assertEqual(code, exit_codes.OK)
        self.assertNotIn(PROMPT, out)
        self.assertEqual((self.pending(), self.stored(), self.stored("test_z")), (5, [], []))

    def test_long_examples_are_capped(self):
        """--lines bounds the example, and says how to see the others; 0 shows every line and test."""
        for number in range(12):
            self.clones([number], f"test_{number}")
        short, long = self.fxpect("--lines", "3")[1], self.fxpect("--lines", "0")[1]
        self.assertRegex(short, r"\.\.\. \d+ more lines: fxpect diff \w+ --lines 0")
        self.assertIn("... 4 more tests: --lines 0, or the key l", short)
        self.assertNotIn(" more ", long)
        self.assertIn("X.test_11  1\n", long)


class KeyTests(ReviewCase):
    """In a terminal."""

    def test_each_key_does_what_the_help_says(self):
        """Help, an unknown key, next, long, one case, skip: and only that case is stored."""
        self.two_groups()
        person = self.terminal()

        first = person.press("?")
        self.assertIn("  q  quit: what is left stays pending", person.press("z"))
        self.assertIn("expected one of the keys below; got 'z'", person.press("n"))
        second = person.press("l")
        self.assertNotEqual(key_in(second), key_in(first))
        person.press("c")
        self.assertIn("2 cases of 1 test", person.press("s"))
        self.assertIn("group 2/2  2 cases", person.press("s"))
        code, rest = person.end()

        self.assertEqual((code, self.stored(), self.stored("test_z"), self.pending()), (0, ["clone"], [], 4))
        self.assertIn("accepted 1, rejected 0, not accepted 0, pending 4", rest)
        accepted = parse_bytes(self.file().read_bytes()).case(key_in(second))
        self.assertIn("torch.clone", accepted.after)

    def test_test_and_reject(self):
        """t accepts the group's cases of one test, r throws the rest of the group away."""
        self.clones(range(2))
        self.clones(range(2, 5), "test_z")
        person = self.terminal()

        self.assertIn("5 cases of 2 tests", person.press("t"))
        self.assertIn("of 1 test ", person.press("r"))
        code, _ = person.end()

        self.assertEqual((code, self.pending()), (0, 0))
        self.assertIn((self.stored(), self.stored("test_z")), ((["clone"] * 2, []), ([], ["clone"] * 3)))

    def test_all_asks_once_more(self):
        """A accepts every group that is left, only after y."""
        self.two_groups()
        person = self.terminal()

        person.press("A")
        question = person.press("n", "y or n > ")
        self.assertIn("accept all 5 cases of the 2 groups that are left?", question)
        self.assertEqual(self.pending(), 5)
        person.press("A")
        person.press("y", "y or n > ")
        self.assertEqual(person.end()[0], 0)
        self.assertEqual((self.stored(), self.stored("test_z"), self.pending()), (["clone"] * 3, ["neg"] * 2, 0))

    def test_checks_are_edited(self):
        """m lists the checks, adds one and takes one out, and they come with what is accepted of the group alone."""
        self.two_groups()
        self.file().write_text(self.file().read_text().replace("why: works\n", "why: works\nmust: not torch.clone\n"))
        person = self.terminal()

        person.press("m")
        self.assertIn("  1  must: not torch.clone\n", person.press("nott torch.neg\n", ASK))
        self.assertIn("expected has T, not T", person.press("-7\n", ASK))
        self.assertIn("expected -1 to -1; got '-7'", person.press("-1\n", ASK))
        self.assertIn("no checks yet", person.press("has torch.sin\n", ASK))
        self.assertIn("  1  must: has torch.sin  (new)\n", person.press("-1\n", ASK))
        person.press("has torch.clone\n", ASK)
        person.press("\n", ASK)
        person.press("a")
        self.assertIn("accepted 3 of 3", person.press("a"))
        code, rest = person.end()

        self.assertEqual((code, self.stored(), self.stored("test_z")), (0, ["clone"] * 3, ["neg"] * 2), rest)
        document, other = (parse_bytes(self.file(name).read_bytes()) for name in ("test_y", "test_z"))
        self.assertEqual((document.must, {case.must for case in document.cases}), ((), {("has torch.clone",)}))
        self.assertEqual({case.must for case in other.cases}, {()})

    def test_a_check_that_is_broken_is_taken_out(self):
        """What a check refuses is told and stays; after m the group is accepted."""
        self.clones(range(2))
        self.file().write_text(self.file().read_text().replace("why: works\n", "why: works\nmust: not torch.clone\n"))
        person = self.terminal()
        person.press("a")
        code, rest = person.end()
        self.assertEqual((code, self.pending()), (exit_codes.FAILURES, 2))
        self.assertIn("must not torch.clone: expected none of torch.clone; got 1", rest)
        self.assertIn("or m in fxpect review, takes the check out", rest)
        person = self.terminal()
        for keys, prompt in (("m", PROMPT), ("-1\n", ASK), ("\n", ASK), ("A", PROMPT), ("y", "y or n > ")):
            person.press(keys, prompt)
        self.assertEqual((person.end()[0], self.stored()), (0, ["clone"] * 2))

    def test_colour_only_where_it_is_wanted(self):
        """A terminal gets colours, NO_COLOR and a dumb one get none."""
        self.two_groups()
        for environment, wanted in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
            with self.subTest(environment):
                person = self.terminal(**environment)
                shown = person.press("q", "help > ")
                self.assertEqual("\x1b[32m+    new" in shown, wanted, shown)
                self.assertEqual("\x1b[31m-    return" in shown, wanted, shown)
                self.assertEqual("\x1b" in shown, wanted, shown)
                self.assertEqual(person.end()[0], exit_codes.OK)

    def test_end_of_input_leaves_everything_pending(self):
        """Ctrl-D, q, and a terminal that goes away change nothing."""
        self.two_groups()
        for key in ("q", "\x04"):
            person = self.terminal()
            person.press(key)
            code, rest = person.end()
            self.assertEqual((code, self.pending()), (exit_codes.OK, 5), rest)
            self.assertIn("pending 5", rest)
        person = self.terminal()
        person.wait()
        os.close(person.master)
        person.master = os.open(os.devnull, os.O_RDONLY)
        person.child.wait(PATIENCE_SECONDS)
        self.assertEqual((self.pending(), self.stored(), self.stored("test_z")), (5, [], []))

    def test_an_arrow_or_a_paste_is_no_answer(self):
        """The letters of what comes in one piece are not taken for keys."""
        self.two_groups()
        person = self.terminal()
        for keys in ("\x1b[A", "aa", "ä"):
            person.press(keys)
        self.assertIn("expected one of the keys below; got 'ä'", person.press("q"))
        self.assertEqual((person.end()[0], self.pending()), (exit_codes.OK, 5))

    def test_a_key_before_the_question_is_no_answer(self):
        """What was typed before a group stood there is dropped."""
        self.two_groups()
        person = self.terminal(ahead="a")
        person.press("q")
        self.assertEqual((person.end()[0], self.pending()), (exit_codes.OK, 5))

    def test_terminal_is_given_back_as_it_was(self):
        """After an answer, and after Ctrl-C, the terminal echoes and reads lines as before."""
        self.two_groups()
        for key in ("q", "\x03"):
            person = self.terminal()
            person.wait()
            self.assertNotEqual(termios.tcgetattr(person.master)[3], person.mode[3])
            os.write(person.master, key.encode())
            person.end()
            self.assertEqual(termios.tcgetattr(person.master)[3], person.mode[3])


class MeanwhileTests(ReviewCase):
    """Something else happens between showing and accepting."""

    def test_stored_case_changes(self):
        """A case that was edited since is not overwritten: it is told, and the exit code is 7."""
        self.clones(range(2))
        person = self.terminal()
        person.wait()
        text = self.edit()

        os.write(person.master, b"a")
        code, rest = person.end()

        self.assertEqual((code, self.pending(), self.file().read_bytes()), (exit_codes.OUTDATED, 2, text), rest)
        self.assertIn("accepted 0 of 2", rest)
        self.assertIn("outdated: ", rest)

    def test_another_run_proposes_something_else(self):
        """A proposal that a later run replaced is not accepted; the same one from a later run is."""
        self.clones(range(2))
        person = self.terminal()
        person.wait()
        with mock.patch.dict(os.environ, {"FXPECT_RUN": "run2"}):
            self.change([(graph(0, reverse=True), graph(0, "torch.neg({})", reverse=True)),
                         (graph(1), graph(1, "torch.clone({})"))])

        os.write(person.master, b"a")
        code, rest = person.end()

        self.assertEqual((code, self.stored(), self.pending()), (exit_codes.OUTDATED, ["clone"], 1), rest)
        self.assertIn("expected the proposal that was shown; got another one since", rest)

    def test_two_reviews(self):
        """What one accepted or rejected the other one neither stores again nor brings back."""
        self.two_groups()
        one, two = self.terminal(), self.terminal()
        two.wait()
        one.press("a")
        one.press("r")
        self.assertEqual(one.end()[0], exit_codes.OK)

        os.write(two.master, b"a")
        two.press("a")
        code, rest = two.end()

        self.assertEqual((code, self.pending()), (exit_codes.OK, 0))
        self.assertIn("no longer pending: ", two.text)
        self.assertIn("accepted 0, rejected 0, not accepted 5, pending 0", rest)
        self.assertEqual((self.stored(), self.stored("test_z")), (["clone"] * 3, []))

    def test_ctrl_c_at_a_question(self):
        """What was answered is done, the rest is pending, and the exit code is that of an interrupt."""
        self.two_groups()
        person = self.terminal()
        person.press("a")
        person.press("\x03")
        code, rest = person.end()
        self.assertEqual((code, self.stored(), self.stored("test_z"), self.pending()), (130, ["clone"] * 3, [], 2))
        self.assertIn("fxpect review: interrupted", rest)

    def test_ctrl_c_while_files_are_written(self):
        """Each file is old or new, no proposal is lost, and the next review finishes the work."""
        for number in range(4):
            self.clones([number], f"test_{number}")
        writes = []

        def interrupted(path, data):
            writes.append(path)
            if len(writes) == 3:
                raise KeyboardInterrupt
            atomic(path, data)

        atomic = accept.write_atomic
        with mock.patch.object(accept, "write_atomic", interrupted):
            self.assertEqual(self.fxpect("--accept", "1")[0], exit_codes.INTERRUPTED)

        results = [self.stored(f"test_{number}") for number in range(4)]
        self.assertEqual((results, self.pending()), ([["clone"], ["clone"], [], []], 4))
        self.assertEqual(self.fxpect("--accept", *(group["name"] for group in self.groups()))[0], exit_codes.OK)
        self.assertEqual([self.stored(f"test_{number}") for number in range(4)], [["clone"]] * 4)
        self.assertEqual(self.pending(), 0)

    def test_interrupted_at_any_time(self):
        """Interrupts at twenty moments of an accept leave files that parse and cases that are stored or pending."""
        for number in range(20):
            self.clones([number], f"test_{number}")
        for moment in range(20):
            person = self.terminal()
            person.press("a")
            time.sleep(moment / 400)
            with contextlib.suppress(ProcessLookupError):
                person.child.send_signal(signal.SIGINT)
            person.end("\x03")
            person.close()
            person.master = os.open(os.devnull, os.O_RDONLY)
            pending = {entry.path for entry in Store(self.root / "fixtures").pending.live()}
            for number in range(20):
                path = f"test_x/X.test_{number}.fx"
                self.assertTrue(self.stored(f"test_{number}") == ["clone"] or path in pending, path)
            if not pending:
                break
        if pending:
            self.assertEqual(self.fxpect("--accept", *(group["name"] for group in self.groups()))[0], exit_codes.OK)
        self.assertEqual(sum((self.stored(f"test_{number}") for number in range(20)), []), ["clone"] * 20)


if __name__ == "__main__":
    unittest.main()
