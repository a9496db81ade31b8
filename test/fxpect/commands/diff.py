"""``fxpect diff``: show what proposals change, in words and then in lines.

Exit codes: 0, or 2 where nothing is pending or nothing matches.
"""

from __future__ import annotations

import argparse
import contextlib
import json

from fxpect.commands import exit_codes
from fxpect.commands.selecting import add_selection, heading, select, summary
from fxpect.errors import FxpectError
from fxpect.fixtures.accept import outdated
from fxpect.fixtures.case import Case
from fxpect.fixtures.compare import line_diff
from fxpect.fixtures.format import Document, format_case
from fxpect.fixtures.pending import BEFORE_CHANGED, CASE_GONE, NEW_CASE, Entry
from fxpect.fixtures.store import Store
from fxpect.text.diff import graph_diff

MAX_LINES = 200
# Here two results of a pass are compared, not the graphs before and after it.
_HEADS = {"--- before": "--- stored", "+++ after": "+++ this run"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fxpect diff``."""
    add_selection(parser, required=False)
    parser.add_argument("--text", action="store_true", help="lines only; renamed nodes are not matched first")
    parser.add_argument("--lines", type=int, default=MAX_LINES, metavar="N",
                        help=f"show at most N lines of each case, 0 for all (default: {MAX_LINES})")


def main(arguments: argparse.Namespace) -> int:
    """Print the difference that each chosen proposal makes; returns the exit code."""
    store = Store.at(arguments.fixtures)
    chosen = select(store.pending.live(), arguments, words_may_be_tests=True)
    old = outdated(store.root, chosen)
    shown = [(entry, difference(store, entry, arguments.text)) for entry in chosen]
    if arguments.json:
        rows = [{**summary(entry), "diff": text, "outdated": entry in old} for entry, text in shown]
        print(json.dumps(rows, indent=1, sort_keys=True))
        return exit_codes.OK
    test = None
    for entry, text in shown:
        if entry.test != test:
            test = entry.test
            print(test)
        print(f"  {heading(entry)}\n  {entry.reason}")
        if entry in old:
            print("  outdated: run the test again")
        print("\n".join(f"    {line}" for line in capped(text, arguments.lines, entry.key)))
    return exit_codes.OK


def capped(text: str, limit: int, key: str) -> list[str]:
    """Return at most ``limit`` lines, 0 being all, and how to see the others."""
    lines = text.split("\n")
    if limit <= 0 or len(lines) <= limit:
        return lines
    return [*lines[:limit], f"... {len(lines) - limit} more lines: fxpect diff {key} --lines 0"]


def stored_case(store: Store, entry: Entry) -> tuple[Document | None, Case | None]:
    """Return the file that an entry is for and the case that it was compared with, None for what is not there."""
    try:
        document = store.read(entry.path)
    except FxpectError:
        return None, None  # corrupt or gone: status says so, and a diff against nothing is still of use
    return document, document.case(entry.compared)


def changes(store: Store, entry: Entry) -> list[tuple[str, str, str]]:
    """Return name, stored text and proposed text of each part that the entry changes; none where nothing is stored."""
    stored = None if entry.kind == NEW_CASE else stored_case(store, entry)[1]
    if stored is None:
        return []
    if entry.kind == CASE_GONE:
        return [("the case", format_case(stored).rstrip("\n"), "")]
    found = [("before", stored.before, entry.case.before)] if entry.kind == BEFORE_CHANGED else []
    expected = stored.raises or dict(stored.afters).get(entry.section, stored.after) or ""
    name = f"after {entry.section}" if entry.section else "after"
    return [*found, (name, expected, entry.case.raises or entry.case.after or "")]


def difference(store: Store, entry: Entry, text_only: bool = False) -> str:
    """Return what accepting the entry changes: the graph after, and the one before where that changed."""
    lines = []
    for name, expected, got in changes(store, entry):
        words, changed = told(expected, got, text_only)
        lines += [f"{name}:", *([words] if words else []), *changed]
    return "\n".join(lines) or format_case(entry.case).rstrip("\n")


def told(expected: str, got: str, text_only: bool = False) -> tuple[str, list[str]]:
    """Return words and lines for the difference of two texts, modulo renaming where they can be read as graphs.

    There are no words where one of them is no graph, such as an error that is now expected: lines say what there is.
    """
    if expected == got:
        return "no change", []
    if not text_only:
        with contextlib.suppress(FxpectError):
            found = graph_diff(expected, got)
            return found.summary, [_HEADS.get(line, line) for line in found.lines]
    return "", line_diff(expected, got, limit=1_000_000).split("\n")
