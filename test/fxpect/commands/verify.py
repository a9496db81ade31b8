"""``fxpect verify``: check that every stored file can be trusted and has a test, and that nothing is pending.

Nothing is run or imported: tests are looked for in the source, and torch is not needed. One line for each fault says
what to do. Exit codes: 0, 2 misuse, 4 where proposals or stale files are left, 6 where a stored file cannot be trusted
or a test file cannot be read.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from fxpect.commands import exit_codes
from fxpect.commands.owners import OWNED, STALE, UNKNOWN, UNREAD, Owner, Owners, owners_of, printable, unknown_lines
from fxpect.commands.selecting import add_common, heading
from fxpect.errors import FixtureError, FxpectError
from fxpect.fixtures.bugs import TABLE, entries
from fxpect.fixtures.format import Document, format_document
from fxpect.fixtures.lint import faults
from fxpect.fixtures.paths import SUFFIX, test_of
from fxpect.fixtures.store import Store

CORRUPT, PENDING = "corrupt", "pending"


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing that is wrong: ``kind`` is "corrupt", "stale" or "pending", ``path`` the file that it is in."""

    kind: str
    path: str
    message: str

    def __str__(self) -> str:
        return printable(f"{self.kind}: {self.path}: {'; '.join(map(str.strip, self.message.splitlines()))}")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fxpect verify``."""
    add_common(parser)


def main(arguments: argparse.Namespace) -> int:
    """Print what is wrong, one line each; returns the exit code."""
    store = Store.at(arguments.fixtures)
    owners = Owners(store.root)
    found, nameless = owners_of(owners, store.paths())
    wrong = [Fault(CORRUPT, path, f"{message}: rename or delete it") for path, message in nameless]
    wrong += [*_alike(store.paths()), *_hidden(store.root), *_unowned(owners, found), *_table(store.root)]
    wrong += _left(store)
    files = cases = 0
    for path, document in store.documents():
        files += 1
        if isinstance(document, Document):
            cases += len(document.cases)
            wrong += [Fault(CORRUPT, path, message) for message in _stored(store.root, path, document)]
            wrong += [Fault(PENDING, path, f"{case.key}: no result is stored: run its test, then fxpect accept")
                      for case in document.cases if case.result == (None, (), None)]
        else:
            wrong.append(Fault(CORRUPT, path, f"{document}: mend it, or take it from git"))
    wrong.sort(key=lambda fault: (fault.path, fault.kind))
    unknown = [one.path for one in found if one.state == UNKNOWN]
    if arguments.json:
        print(json.dumps({"faults": [dataclasses.asdict(fault) for fault in wrong], "unknown": unknown,
                          "owned": sum(one.state == OWNED for one in found), "files": files, "cases": cases},
                         indent=1, sort_keys=True))
    else:
        for line in [*map(str, wrong), *(f"unknown: {line}" for line in unknown_lines(found))]:
            print(line)
        print(f"stored files {files}, cases {cases}, faults {len(wrong)}, unknown {len(unknown)}")
    kinds = {fault.kind for fault in wrong}
    return exit_codes.CORRUPT if CORRUPT in kinds else exit_codes.PENDING if kinds else exit_codes.OK


def _stored(root: Path, path: str, document: Document) -> Iterator[str]:
    """Yield what is wrong with a stored file that can be read."""
    try:
        if document.test != test_of(path):
            yield f"expected the cases of {test_of(path)!r} at this path; got those of {document.test!r}: move it"
    except FixtureError:
        pass  # the path is a fault of its own
    data = (root / path).read_bytes()
    yield from faults(document, len(data))
    try:
        expected = format_document(document)
    except FixtureError as error:
        yield f"{error}: write it so that it does"
        return
    if data != expected.encode():
        yield _difference(data.decode(), expected)


def _difference(text: str, expected: str) -> str:
    """Return how a text differs from the one that is printed for what it means."""
    if "\r" in text and text.replace("\r\n", "\n") == expected:
        return ("expected lines that end in LF; got CRLF: fxpect migrate writes LF, and git config core.autocrlf input "
                "keeps it")
    got, wanted = text.split("\n"), expected.split("\n")
    pairs = zip([*got, None], [*wanted, None], strict=False)
    number, (one, other) = next((number, pair) for number, pair in enumerate(pairs, 1) if pair[0] != pair[1])
    return f"line {number}: expected the canonical text, {_line(other)}; got {_line(one)}: fxpect migrate writes it so"


def _line(text: str | None) -> str:
    return "no more lines" if text is None else repr(text)


def _alike(paths: Iterable[str]) -> Iterator[Fault]:
    """Yield the paths that a file system which ignores case, or how a letter is composed, takes for another one."""
    seen: dict[str, str] = {}
    for path in paths:
        folded = unicodedata.normalize("NFC", path).casefold()
        other = seen.setdefault(folded, path)
        if other != path:
            yield Fault(CORRUPT, path, f"expected a name that differs from {Path(other).name} by more than its case: "
                                       "some checkouts can hold only one of them: rename the test")


def _hidden(root: Path) -> Iterator[Fault]:
    """Yield folders in the place of files, and those below which nothing is looked at: links, and unreadable ones."""
    unreadable: list[OSError] = []
    for folder, names, _ in os.walk(root, onerror=unreadable.append):
        for name in names:
            if Path(folder, name).is_symlink():
                yield Fault(CORRUPT, Path(folder, name).relative_to(root).as_posix(),
                            "expected a folder; got a link, which is not followed: put the files themselves there")
            elif name.endswith(SUFFIX):
                yield Fault(CORRUPT, Path(folder, name).relative_to(root).as_posix(),
                            "expected a stored file; got a folder: rename or delete it")
    for error in unreadable:
        if not isinstance(error, FileNotFoundError):  # no fixtures yet
            yield Fault(CORRUPT, str(error.filename), f"expected a folder that can be read; got {error}")


def _unowned(owners: Owners, found: list[Owner]) -> Iterator[Fault]:
    """Yield the stored files without a test, and the test files that cannot be read."""
    for one in found:
        if one.state == STALE:
            yield Fault(STALE, one.path, f"{one.message}: fxpect prune says whether it has moved")
    unread = dict(owners.unread()) | {one.file: one.message for one in found if one.state == UNREAD}
    for file, message in unread.items():
        yield Fault(CORRUPT, owners.shown(file), f"{message}: mend it, so that its tests are seen")


def _table(root: Path) -> Iterator[Fault]:
    """Yield what is wrong with the table of known bugs, where there is one."""
    try:
        entries((root / TABLE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError, FxpectError) as error:
        yield Fault(CORRUPT, TABLE, f"{error}: mend the entry")


def _left(store: Store) -> Iterator[Fault]:
    """Yield what runs have proposed and nobody has answered."""
    if not store.pending.files():  # asking for more takes a lock, which a tree that is read-only refuses
        return
    try:
        live, unreadable = store.pending.live(), store.pending.all()[1]
    except OSError as error:
        raise FxpectError(f"expected proposals that can be read; got {error}") from None
    for path, group in itertools.groupby(live, key=lambda entry: entry.path):
        first, *others = group
        what = f"{len(others) + 1} proposals" if others else heading(first)
        yield Fault(PENDING, path, f"{what}: fxpect review")
    for message in unreadable:
        yield Fault(PENDING, str(store.pending.folder), f"{message}: delete that line")
