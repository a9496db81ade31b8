"""``fxpect status``: list what the last runs propose, and the stored files that cannot be trusted.

What ``--json`` prints holds the proposals in full: ``fxpect accept --from FILE`` takes them on another machine.
Exit codes: 0, or 6 where a stored file is corrupt.
"""

from __future__ import annotations

import argparse
import dataclasses
import json

from fxpect.commands import exit_codes
from fxpect.commands.selecting import add_common, heading, summary
from fxpect.fixtures.accept import outdated
from fxpect.fixtures.format import Document
from fxpect.fixtures.lint import remarks
from fxpect.fixtures.pending import Entry
from fxpect.fixtures.store import Store


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fxpect status``."""
    add_common(parser)
    parser.add_argument("--notes", action="store_true", help="also what is allowed but deserves a remark")


def main(arguments: argparse.Namespace) -> int:
    """Print what is pending and what is corrupt; returns the exit code."""
    store = Store.at(arguments.fixtures)
    entries, (_, unreadable) = store.pending.live(), store.pending.all()
    corrupt, notes, files, cases = [], [], 0, 0
    for path, document in store.documents():
        files += 1
        if isinstance(document, Document):
            cases += len(document.cases)
            notes += [f"{path}: {remark}" for remark in remarks(document)]
        else:
            corrupt.append({"path": path, "message": str(document)})
    old = outdated(store.root, entries)
    if arguments.json:
        pending = [{**dataclasses.asdict(entry), **summary(entry), "outdated": entry in old} for entry in entries]
        print(json.dumps({"pending": pending, "corrupt": corrupt, "unreadable": unreadable, "notes": notes,
                          "files": files, "cases": cases}, indent=1, sort_keys=True))
    else:
        _print(entries, old, [*(item["message"] for item in corrupt), *unreadable])
        if arguments.notes:
            print("".join(f"note: {note}\n" for note in notes), end="")
        print(f"pending {len(entries)}, stored files {files}, cases {cases}, corrupt {len(corrupt)}, "
              f"notes {len(notes)}")
        if entries:
            print("  fxpect review\n  fxpect diff\n  fxpect accept --all")
    return exit_codes.CORRUPT if corrupt else exit_codes.OK


def _print(entries: list[Entry], old: set[Entry], problems: list[str]) -> None:
    test = None
    for entry in entries:
        if entry.test != test:
            test = entry.test
            print(test)
        print(f"  {heading(entry)}{'  (outdated: run the test again)' if entry in old else ''}")
    for problem in problems:
        print(f"corrupt: {problem}")
