"""The proposals that a command was asked for: by key, by test, or all."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from fxpect.errors import FxpectError
from fxpect.fixtures.case import KEY_LENGTH
from fxpect.fixtures.pending import Entry

MIN_KEY_LENGTH = 4
_LIST = "  fxpect status lists what is pending"


def add_selection(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add ``KEY...``, ``--test``, ``--all``, ``--torch``, ``--fixtures`` and ``--json`` to a command.

    Where ``required``, the command does nothing until it is told what.
    """
    parser.add_argument("keys", nargs="*", metavar="KEY" if required else "KEY|TEST",
                        help="a case's key, or its first characters" + ("" if required else ", or a test"))
    parser.add_argument("--test", action="append", default=[], metavar="TEST",
                        help="Class.method, Class, method, the test's file, or its stored file")
    parser.add_argument("--torch", metavar="X.Y", help="only what runs under this torch proposed")
    if required:
        parser.add_argument("--all", action="store_true", help="everything that is pending")
    add_common(parser)


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add ``--fixtures`` and ``--json``."""
    parser.add_argument("--fixtures", metavar="FOLDER",
                        help="the fixtures folder, or a folder of the project (default: found from here)")
    parser.add_argument("--json", action="store_true", help="print JSON for a program to read")


def names_of(entry: Entry) -> set[str]:
    """Return everything that ``--test`` may call the entry's test."""
    file, _, name = entry.test.partition(" ")
    owner, _, method = name.rpartition(".")
    return {entry.test, file, name, owner, method, entry.path, f"fixtures/{entry.path}", f"test/{file}",
            f"{file}::{name}", f"{file}::{owner}::{method}", f"test/{file}::{owner}::{method}"}


def _by_key(entries: list[Entry], word: str) -> list[Entry]:
    if not MIN_KEY_LENGTH <= len(word) <= KEY_LENGTH:
        return []
    found = [entry for entry in entries if entry.key.startswith(word.lower())]
    subjects = sorted({(entry.key, entry.test) for entry in found})
    if len(subjects) > 1:
        raise FxpectError(f"expected {word!r} to be one case; got {len(subjects)}:\n"
                          + "\n".join(f"  {key} --test '{test}'" for key, test in subjects))
    return found


def select(entries: Iterable[Entry], arguments: argparse.Namespace, *,
           words_may_be_tests: bool = False) -> list[Entry]:
    """Return the entries that the arguments name; raises ``FxpectError`` where a word matches none."""
    pending = list(entries)
    if not pending:
        raise FxpectError("expected a proposal; got none: nothing is pending")
    everything = getattr(arguments, "all", not arguments.keys)
    if not (everything or arguments.keys or arguments.test):
        raise FxpectError(f"expected KEY, --test TEST or --all; got none of them\n{_LIST}")
    if getattr(arguments, "all", False) and arguments.keys:
        raise FxpectError(f"expected KEY or --all, not both; got {arguments.keys}")
    chosen = pending
    if arguments.torch:
        same = [entry for entry in chosen if entry.torch_minor == arguments.torch]
        chosen = _some(same, f"--torch {arguments.torch}")
    if arguments.test:
        found = [_some([entry for entry in chosen if word in names_of(entry)], f"--test {word}")
                 for word in arguments.test]
        chosen = [entry for group in found for entry in group]
    if arguments.keys:
        named = []
        for word in arguments.keys:
            hits = _by_key(chosen, word)
            if not hits and words_may_be_tests:
                hits = [entry for entry in chosen if word in names_of(entry)]
            named += _some(hits, word)
        chosen = named
    return list(dict.fromkeys(chosen))


def _some(found: list[Entry], word: str) -> list[Entry]:
    if not found:
        raise FxpectError(f"expected something that is pending; got {word}, which matches nothing\n"
                          f"{_LIST}")
    return found


def heading(entry: Entry) -> str:
    """Return one line for an entry: key, kind, torch, title."""
    torch = f"torch {entry.torch_minor}" if entry.torch else ""
    return "  ".join(part for part in (entry.key, entry.kind, torch, entry.case.title) if part)


def summary(entry: Entry) -> dict[str, str]:
    """Return an entry as a program wants it."""
    names = ("test", "path", "key", "kind", "reason", "section", "compared", "torch", "run")
    return {**{name: getattr(entry, name) for name in names}, "title": entry.case.title}
