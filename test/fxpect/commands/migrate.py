"""``fxpect migrate``: write stored files in today's spelling, where that is proved to change nothing else.

A file of an older format, one that is not canonical and one with CRLF at its ends of lines is written anew; read back
it must be the same document. What cannot be proved, or read, stays byte for byte and is named. Graphs stay as they
are: where they are printed otherwise today, a run proposes that and ``fxpect review`` shows it as one group. Exit
codes: 0, 1 refused, 3 in CI, 4 where ``--dry-run`` finds something to do, 6 a stored file is corrupt.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
from collections import Counter

from fxpect.commands import exit_codes
from fxpect.commands.owners import printable
from fxpect.commands.selecting import add_common
from fxpect.fixtures.atomic import locked, sweep
from fxpect.fixtures.migrate import CORRUPT, CURRENT, REFUSED, TO_MIGRATE, migrate
from fxpect.fixtures.paths import accept_lock
from fxpect.fixtures.store import Store
from fxpect.fixtures.switches import refuse_in_ci

# The worst decides.
_CODES = ((CORRUPT, exit_codes.CORRUPT), (REFUSED, exit_codes.FAILURES), (TO_MIGRATE, exit_codes.PENDING))


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fxpect migrate``."""
    parser.add_argument("--dry-run", action="store_true", help="write nothing, and say what would be written")
    add_common(parser)


def main(arguments: argparse.Namespace) -> int:
    """Write what is not spelled as today, and print what became of each file; returns the exit code."""
    write = not arguments.dry_run
    if write:
        refuse_in_ci("fxpect migrate")
    store = Store.at(arguments.fixtures)
    with locked(accept_lock(store.root)) if write else contextlib.nullcontext():
        if write:
            sweep(store.root, deep=True)
        found = [migrate(store.root, path, write=write) for path in store.paths()]
    if arguments.json:
        print(json.dumps([dataclasses.asdict(one) for one in found], indent=1, sort_keys=True))
    else:
        for one in found:
            if one.status != CURRENT:
                print(f"{one.status}: {printable(one.path)}")
                print(f"  {printable(one.message)}\n" * bool(one.message), end="")
        counts = Counter(one.status for one in found)
        print(", ".join([f"stored files {len(found)}", *(f"{word} {count}" for word, count in sorted(counts.items()))]))
        if counts[TO_MIGRATE]:
            print("  fxpect migrate")
    statuses = {one.status for one in found}
    return next((code for status, code in _CODES if status in statuses), exit_codes.OK)
