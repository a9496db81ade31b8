"""``fxpect merge``: make one file of a stored file with the markers of a merge conflict, the union of its cases by key.

A case that both sides gave a result keeps its graph before, its must: and its title, and loses the result: run its
test, and accept what that proposes. Nothing is guessed. With the common ancestor in the markers (``git config
merge.conflictStyle diff3``) what only one side changed is that side's. As a merge driver of git it needs no markers:

    git config merge.fxpect.driver "fxpect merge --driver %O %A %B %P"      and in .gitattributes: *.fx merge=fxpect

Exit codes: 0, 2 misuse, 3 in CI, 4 where cases are to be run again, 6 a side cannot be read: its file stays as it is.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
from pathlib import Path

from fxpect.commands import exit_codes
from fxpect.commands.owners import printable
from fxpect.commands.selecting import add_common
from fxpect.errors import FixtureError, FxpectError
from fxpect.fixtures.atomic import locked, sweep, write_atomic
from fxpect.fixtures.format import Document, format_document, parse_bytes
from fxpect.fixtures.merge import Merged, has_markers, merge, sides
from fxpect.fixtures.paths import accept_lock, inside
from fxpect.fixtures.reading import read_data
from fxpect.fixtures.store import Store
from fxpect.fixtures.switches import refuse_in_ci

_CONFLICT = 1  # what git takes for a conflict that a person has to look at


@dataclasses.dataclass(frozen=True)
class Row:
    """What became of one file; ``message`` is the reason where it was not merged."""

    path: str
    merged: Merged | None = None
    message: str = ""

    @property
    def fields(self) -> dict:
        """Return the row as a program wants it."""
        merged = self.merged
        return {"path": self.path, "message": self.message, "cases": len(merged.document.cases) if merged else 0,
                "again": dict(merged.again) if merged else {}, "notes": merged.notes if merged else ()}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fxpect merge``."""
    parser.add_argument("files", nargs="*", metavar="FILE",
                        help="stored files (default: all below the fixtures folder that hold conflict markers)")
    parser.add_argument("--driver", nargs=4, metavar=("BASE", "OURS", "THEIRS", "PATH"),
                        help="for git: put the union of three versions into OURS")
    add_common(parser)


def main(arguments: argparse.Namespace) -> int:
    """Merge what is in conflict, and say what is to be run again; returns the exit code."""
    if arguments.driver:
        return _drive(*arguments.driver)
    refuse_in_ci("fxpect merge")
    store = Store.at(arguments.fixtures)
    with locked(accept_lock(store.root)):
        sweep(store.root, deep=True)
        rows = [_merge_file(store.root, path) for path in _conflicted(store, arguments.files)]
    if arguments.json:
        print(json.dumps([row.fields for row in rows], indent=1, sort_keys=True))
    else:
        print("\n".join(line for row in rows for line in _lines(row)) or "no stored file holds conflict markers")
    if any(row.merged is None for row in rows):
        return exit_codes.CORRUPT
    return exit_codes.PENDING if any(row.merged and row.merged.again for row in rows) else exit_codes.OK


def _conflicted(store: Store, files: list[str]) -> list[str]:
    """Return the paths of the stored files to merge; raises ``FxpectError`` where one that was named is none."""
    there = [path for path in store.paths() if _marked(store.root, path)]
    if not files:
        return there
    named = {name: next((path for path in there if (store.root / path).resolve() == Path(name).resolve()
                         or path == name), "") for name in files}
    for name, path in named.items():
        if not path:
            raise FxpectError(f"expected a stored file with conflict markers; got {name}")
    return sorted(set(named.values()))


def _marked(root: Path, path: str) -> bool:
    try:
        return has_markers(read_data(root, path) or b"")
    except FxpectError:
        return False  # status and verify say what is wrong with it


def _merge_file(root: Path, path: str) -> Row:
    try:
        file = inside(root, path)
        base, ours, theirs = sides(read_data(root, path) or b"", file)
        merged = merge(base, ours, theirs, file)
        write_atomic(file, format_document(merged.document, file).encode())
    except (OSError, FxpectError) as error:
        return Row(path, message=str(error))
    return Row(path, merged)


def _lines(row: Row) -> list[str]:
    if row.merged is None:
        return [f"not merged: {printable(row.path)}", f"  {printable(row.message)}"]
    document = row.merged.document
    lines = [f"merged: {printable(row.path)}: {len(document.cases)} case{'s' * (len(document.cases) != 1)}"]
    lines += [f"  look at {printable(note)}" for note in row.merged.notes]
    for key, reason in row.merged.again:
        case = document.case(key)
        lines.append(f"  run again: {key}  {case.title if case else ''}".rstrip() + f"  ({reason})")
    if row.merged.again:
        file, _, name = document.test.partition(" ")
        lines.append(f"  fxpect run test/{file} -k {name}, then fxpect review")
    return lines


def _drive(base: str, ours: str, theirs: str, path: str) -> int:
    """Put the union into the file OURS, as git asks; where that cannot be, what git itself would put there."""
    try:
        before, *both = (Path(name).read_bytes() for name in (base, ours, theirs))
        documents = [parse_bytes(data, path) for data in both]
        merged = merge(_ancestor(before), documents[0], documents[1], path)
        write_atomic(Path(ours), format_document(merged.document, path).encode())
    except (OSError, FxpectError) as error:
        print(f"fxpect merge: {printable(str(error))}")
        subprocess.run(["git", "merge-file", "-L", "ours", "-L", "base", "-L", "theirs", ours, base, theirs],
                       check=False)
        return _CONFLICT
    row = Row(path, merged)
    if merged.again or merged.notes:
        print("\n".join(_lines(row)))
    return _CONFLICT if merged.again else exit_codes.OK


def _ancestor(data: bytes) -> Document | None:
    try:
        return parse_bytes(data)
    except FixtureError:
        return None  # both sides made the file, or the ancestor was broken
