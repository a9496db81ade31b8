"""``fxpect review``: answer what is pending, one question for all cases that make the same edit.

In a terminal single keys answer. Elsewhere, and with ``--json``, the groups are printed with the commands that settle
each: ``--accept`` and ``--reject`` take numbers, or names, which stay when other groups are settled. Exit codes: 0, 1
refused by a check, 2 nothing matches, 3 in CI, 6 a stored file is corrupt, 7 outdated.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence

from fxpect.commands import accept, exit_codes, reject
from fxpect.commands.diff import capped, changes, difference, stored_case, told
from fxpect.commands.grouping import Group, groups_of, pick, said
from fxpect.commands.keys import END, can_ask, read_key, read_line
from fxpect.commands.selecting import add_selection, heading, select, summary
from fxpect.errors import FxpectError
from fxpect.fixtures.accept import OUTDATED, Outcome
from fxpect.fixtures.accept import reject as forget_all
from fxpect.fixtures.must import parse_check
from fxpect.fixtures.pending import Entry
from fxpect.fixtures.store import Store
from fxpect.fixtures.switches import in_ci, refuse_in_ci
from fxpect.report.progress import painter, wants_color

MAX_LINES = 24
MAX_TESTS = 8
GONE = "no longer pending"
KEYS = {
    "a": "accept the group",
    "c": "accept the case that is shown",
    "t": "accept the group's cases of the test that is shown",
    "A": "accept all that is left, after a question",
    "s": "skip the group: it stays pending",
    "r": "reject the group: its proposals are thrown away",
    "m": "edit the must: checks of what is accepted next",
    "n": "show the next case of the group",
    "l": "show every line, and every test",
    "q": "quit: what is left stays pending",
    "?": "show these keys",
}
_PROMPT = "a accept  c case  t test  A all  s skip  r reject  m must  n next  l long  q quit  ? help > "
_ASK = "a check to add, -N to take out the N-th, Enter to go on > "


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fxpect review``."""
    add_selection(parser, required=False)
    parser.add_argument("--accept", nargs="+", default=[], metavar="GROUP", help="accept groups by number or name")
    parser.add_argument("--reject", nargs="+", default=[], metavar="GROUP", help="throw groups away")
    accept.add_manner(parser)
    parser.add_argument("--lines", type=int, default=MAX_LINES, metavar="N",
                        help=f"show at most N lines of an example, 0 for all lines and tests (default: {MAX_LINES})")
    parser.add_argument("--color", choices=("auto", "always", "never"), default="auto",
                        help="default: auto, which honours NO_COLOR and FORCE_COLOR")


def main(arguments: argparse.Namespace) -> int:
    """Ask, or settle what was named, or print the groups; returns the exit code."""
    named = arguments.accept or arguments.reject
    asking = not named and not arguments.json and can_ask() and not in_ci()
    if named:
        refuse_in_ci("fxpect review --accept or --reject")
    store = Store.at(arguments.fixtures)
    groups = groups_of(store, select(store.pending.live(), arguments, words_may_be_tests=True))
    if asking:
        return Session(store, groups, arguments).run()
    if named:
        return _settle(store, groups, arguments)
    if arguments.json:
        print(json.dumps([_row(store, number, group) for number, group in enumerate(groups, 1)],
                         indent=1, sort_keys=True))
        return exit_codes.OK
    paint = painter(wants_color(sys.stdout, arguments.color))
    for number, group in enumerate(groups, 1):
        print("\n".join([*shown(store, group, f"{number}/{len(groups)}", arguments.lines, paint), "",
                         f"  {_command(arguments)} --accept {group.name}",
                         f"  {_command(arguments)} --reject {group.name}", ""]))
    return exit_codes.OK


def _command(arguments: argparse.Namespace) -> str:
    """Return the command that chooses the same proposals again."""
    given = (("--fixtures", [arguments.fixtures]), ("--torch", [arguments.torch]), ("--test", arguments.test))
    options = [word for name, values in given for value in values if value for word in (name, value)]
    return shlex.join(["fxpect", "review", *arguments.keys, *options])


def _settle(store: Store, groups: Sequence[Group], arguments: argparse.Namespace) -> int:
    """Accept and reject the groups that were named, all of which must be there."""
    taken, thrown = pick(groups, arguments.accept), pick(groups, arguments.reject)
    thrown = [entry for entry in thrown if entry not in taken]
    accept.check_manner(store, taken, arguments)
    outcomes = accept_shown(store, taken, arguments) if taken else []
    forget_all(store.root, thrown)
    if arguments.json:
        rows = [Outcome(entry, "rejected") for entry in thrown]
        accept.tell([*outcomes, *rows], True)
    else:
        accept.tell(outcomes, False)
        reject.tell(thrown, False)
        accept.tell_why(store, outcomes, arguments)
    return accept.code_of(outcomes)


def accept_shown(store: Store, entries: Sequence[Entry], arguments: argparse.Namespace) -> list[Outcome]:
    """Accept those proposals that still stand as they were shown, and say of the others why not."""
    live = store.pending.live()
    same = {_proposal(entry): entry for entry in live}
    subjects = {_subject(entry) for entry in live}
    outcomes = accept.store_all(store, [same[_proposal(entry)] for entry in entries if _proposal(entry) in same],
                                arguments)
    for entry in entries:
        if _proposal(entry) not in same:
            again = _subject(entry) in subjects
            outcomes.append(Outcome(entry, OUTDATED, "expected the proposal that was shown; got another one since")
                            if again else Outcome(entry, GONE, "it was settled elsewhere, or a run passed"))
    return outcomes


def _subject(entry: Entry) -> tuple[str, ...]:
    return entry.path, entry.key, entry.torch_minor


def _proposal(entry: Entry) -> tuple[str, ...]:
    """Return what a later run repeats of a proposal where it comes to the same."""
    return *_subject(entry), entry.kind, entry.section, entry.compared, entry.digest, entry.text


def _row(store: Store, number: int, group: Group) -> dict:
    return {"number": number, "name": group.name, "kind": group.kind, "outdated": group.outdated,
            "words": "; ".join(said(store, group.example)), "example": group.example.key,
            "diff": difference(store, group.example), "cases": [summary(entry) for entry in group.entries]}


def shown(store: Store, group: Group, number: str, limit: int, paint: Callable[[str, str], str],
          example: Entry | None = None) -> list[str]:
    """Return the lines that show a group: in words, then the difference of one case, then the tests."""
    example = example or group.example
    words = [paint(f"  {text}", "yellow") for text in said(store, example)]
    role = "for example" if len(group.entries) > 1 else "it is"
    lines = [paint(f"group {number}  {group.title}", "bold"), *words, "", f"  {role}: {heading(example)}",
             f"    {example.test}"]
    lines += [f"    {line}" for line in capped(_body(store, example, paint), limit, example.key)]
    names = [f"    {test}  {count}" for test, count in group.tests.items()]
    more = len(names) - MAX_TESTS if limit else 0
    if more > 1:
        names = [*names[:MAX_TESTS], f"    ... {more} more tests: --lines 0, or the key l"]
    return [*lines, "", "  tests, and how many cases of each:", *names]


def _body(store: Store, example: Entry, paint: Callable[[str, str], str]) -> str:
    """Return the changed lines of each part, painted; of a new case, all that would be stored."""
    parts = changes(store, example)
    if not parts:
        return difference(store, example)
    lines = []
    for name, expected, got in parts:
        lines += [f"{name}:"] if len(parts) > 1 else []
        lines += [_painted(line, paint) for line in told(expected, got)[1]]
    return "\n".join(lines)


def _painted(line: str, paint: Callable[[str, str], str]) -> str:
    color = "bold" if line.startswith(("---", "+++", "@@")) else {"+": "green", "-": "red"}.get(line[:1])
    return paint(line, color) if color else line


class Session:
    """The questions that are left, and what the answers came to."""

    def __init__(self, store: Store, groups: Sequence[Group], arguments: argparse.Namespace):
        self.store, self.waiting, self.arguments = store, list(groups), arguments
        self.total, self.number, self.at = len(groups), 1, 0
        self.outcomes: list[Outcome] = []
        self.rejected = 0
        self.given = tuple(arguments.must), tuple(arguments.drop_must)
        self.paint = painter(wants_color(sys.stdout, arguments.color))

    def run(self) -> int:
        """Ask until nothing is left or the person has enough; returns the exit code."""
        self.show()
        while self.waiting:
            key = read_key(self.paint(_PROMPT, "bold"))
            if key in ("q", END):
                break
            self.answer(key)
        done = sum(outcome.done for outcome in self.outcomes)
        print(f"accepted {done}, rejected {self.rejected}, not accepted {len(self.outcomes) - done}, "
              f"pending {len(self.store.pending.live())}")
        return accept.code_of(self.outcomes)

    @property
    def group(self) -> Group:
        """Return the group that is asked about."""
        return self.waiting[0]

    @property
    def example(self) -> Entry:
        """Return the case that is shown."""
        first = self.group.example
        ordered = [first, *(entry for entry in self.group.entries if entry != first)]
        return ordered[self.at % len(ordered)]

    def show(self, limit: int | None = None) -> None:
        """Show the group that is asked about, if there is one."""
        if self.waiting:
            limit = self.arguments.lines if limit is None else limit
            print("\n" + "\n".join(shown(self.store, self.group, f"{self.number}/{self.total}", limit, self.paint,
                                         self.example)) + "\n")

    def answer(self, key: str) -> None:
        """Do what one key says."""
        if key == "a":
            self.accept(self.group.entries)
        elif key == "c":
            self.accept([self.example])
        elif key == "t":
            self.accept([entry for entry in self.group.entries if entry.test == self.example.test])
        elif key == "A":
            self.accept_all()
        elif key == "s":
            self.drop(self.group.entries)
        elif key == "r":
            forget_all(self.store.root, self.group.entries)
            self.rejected += len(self.group.entries)
            self.drop(self.group.entries)
        elif key == "m":
            self.edit_checks()
        elif key in ("n", "l"):
            self.at += key == "n"
            self.show(0 if key == "l" else None)
        else:
            if key != "?":
                print(f"expected one of the keys below; got {key!r}")
            print("\n".join(f"  {name}  {text}" for name, text in KEYS.items()))

    def accept(self, entries: Sequence[Entry]) -> None:
        """Accept cases of the group, tell what came of them, and go on with what is left of it."""
        self.take(entries)
        self.drop(entries)

    def accept_all(self) -> None:
        """Accept every group that is left, once the person has said so."""
        entries = [entry for group in self.waiting for entry in group.entries]
        question = f"accept all {len(entries)} cases of the {len(self.waiting)} groups that are left? y or n > "
        if read_key(self.paint(question, "bold")) == "y":
            shown, rest = entries[:len(self.group.entries)], entries[len(self.group.entries):]
            self.waiting = []
            self.take(shown)
            self.forget_edits()
            self.take(rest)

    def edit_checks(self) -> None:
        """Ask for the checks that the group's cases are to get or to lose when they are accepted."""
        document, case = stored_case(self.store, self.example)
        while True:
            lines = [*(case.must if case else ()), *(document.must if document else ())]
            there = list(dict.fromkeys([*(line for line in lines if line not in self.arguments.drop_must),
                                        *self.arguments.must]))
            print("\n".join([f"  {number}  must: {line}" + ("" if line in lines else "  (new)")
                             for number, line in enumerate(there, 1)]) or "  no checks yet")
            word = read_line(_ASK)
            if not word:
                return
            try:
                self.edit_check(word, there)
            except FxpectError as error:
                print(error)

    def edit_check(self, word: str, there: Sequence[str]) -> None:
        """Add the check that was typed, or take out the one whose number was."""
        if not word.startswith("-"):
            self.arguments.must.append(parse_check(" ".join(word.split())).line)
            return
        number = word[1:].strip()
        if not number.isdecimal() or not 0 < int(number) <= len(there):
            raise FxpectError(f"expected -1 to -{len(there)}; got {word!r}")
        line = there[int(number) - 1]
        if line in self.arguments.must:
            self.arguments.must.remove(line)
        else:
            self.arguments.drop_must.append(line)

    def forget_edits(self) -> None:
        """Go back to the checks that the command was started with: an edit is for one group."""
        self.arguments.must, self.arguments.drop_must = list(self.given[0]), list(self.given[1])

    def take(self, entries: Sequence[Entry]) -> None:
        """Accept proposals, and list those that could not be."""
        outcomes = accept_shown(self.store, entries, self.arguments)
        self.outcomes += outcomes
        print(self.paint(f"accepted {sum(outcome.done for outcome in outcomes)} of {len(outcomes)}", "green"))
        accept.tell([outcome for outcome in outcomes if not outcome.done], False)
        accept.tell_why(self.store, outcomes, self.arguments)

    def drop(self, entries: Sequence[Entry]) -> None:
        """Go on with what is left of the group, or with the next one."""
        rest = self.group.without(entries)
        self.at = 0
        if rest.entries:
            self.waiting[0] = rest
        else:
            self.waiting.pop(0)
            self.number += 1
            self.forget_edits()
        self.show()
