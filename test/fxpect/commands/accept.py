"""``fxpect accept``: write proposals into fixtures/.

A plain accept makes the run's text that of every torch; ``--version-section`` makes it that of the run's
torch and later ones, and keeps what is stored for those before. ``--from`` takes what other machines proposed, as
``fxpect status --json`` or the pending folder has it: compared with the same stored text, or outdated. There a
proposal of another torch than the one installed here leaves what this one expects as it is, and becomes a section
where the two differ. Exit codes: 0 all stored, 1 refused by a
check, 2 nothing matches, 3 in CI, 6 a stored file is corrupt, 7 outdated.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fxpect.commands import exit_codes
from fxpect.commands.selecting import add_selection, heading, select, summary
from fxpect.errors import FixtureError, FxpectError
from fxpect.fixtures.accept import CORRUPT, OUTDATED, REFUSED, Outcome, accept
from fxpect.fixtures.pending import Entry, live, read_proposals
from fxpect.fixtures.store import Store
from fxpect.fixtures.switches import refuse_in_ci
from fxpect.fixtures.versions import minor, release

# The worst decides.
_CODES = ((CORRUPT, exit_codes.CORRUPT), (OUTDATED, exit_codes.OUTDATED), (REFUSED, exit_codes.FAILURES))


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fxpect accept``."""
    add_selection(parser, required=True)
    add_manner(parser)
    parser.add_argument("--from", dest="origins", action="extend", nargs="+", default=[], type=Path, metavar="FILE",
                        help="accept what is proposed there, by another machine or torch, and not what is pending here")


def add_manner(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how proposals are stored."""
    parser.add_argument("--why", default="", metavar="TEXT",
                        help="the line that says what a test is for, where its stored file has none yet")
    parser.add_argument("--replace-why", action="store_true", help="--why also takes the place of a line that is there")
    parser.add_argument("--must", action="append", default=[], metavar="CHECK",
                        help="give the accepted cases a check, such as 'has torch.cat'; what breaks it is refused")
    parser.add_argument("--drop-must", action="append", default=[], metavar="CHECK",
                        help="take a check out of the accepted cases and their files")
    parser.add_argument("--version-section", action="store_true",
                        help="store as 'after torch>=X.Y:', X.Y being the run's torch")


def store_all(store: Store, entries: Sequence[Entry], arguments: argparse.Namespace, **options: Any) -> list[Outcome]:
    """Accept proposals in the manner that the arguments ask for."""
    return accept(store.root, entries, why=arguments.why, replace_why=arguments.replace_why, must=arguments.must,
                  drop=arguments.drop_must, version_section=arguments.version_section, deep_sweep=True, **options)


def check_manner(store: Store, entries: Sequence[Entry], arguments: argparse.Namespace) -> None:
    """Raise ``FxpectError`` where the manner asks for what cannot be done to any of the entries."""
    if arguments.replace_why and not arguments.why.strip():
        raise FxpectError("expected --why TEXT beside --replace-why; got none")
    for line in arguments.drop_must:
        if not any(" ".join(line.split()) in lines for lines in _checks(store, entries)):
            raise FxpectError(f"expected a check of what is accepted; got --drop-must {line!r}, which none of it has")


def _checks(store: Store, entries: Iterable[Entry]) -> Iterator[tuple[str, ...]]:
    """Yield the checks of each file that entries are for, and of each case in it that they are for."""
    keys: dict[str, set[str]] = {}
    for entry in entries:
        keys.setdefault(entry.path, set()).update((entry.key, entry.compared))
    for path, wanted in keys.items():
        with contextlib.suppress(FixtureError):  # accept says what is wrong with it
            document = store.read(path)
            yield document.must
            yield from (case.must for case in document.cases if case.key in wanted)


def main(arguments: argparse.Namespace) -> int:
    """Accept the chosen proposals and print what became of each; returns the exit code."""
    refuse_in_ci("fxpect accept")
    store = Store.at(arguments.fixtures)
    if arguments.origins:
        # Where two machines disagree under one torch, neither has overtaken the other: accept refuses both.
        proposed = [entry for origin in arguments.origins for entry in live(read_proposals(origin))]
    else:
        proposed = store.pending.live()
    chosen = select(proposed, arguments)
    check_manner(store, chosen, arguments)
    outcomes = store_all(store, chosen, arguments, here=_torch_here() if arguments.origins else "")
    tell(outcomes, arguments.json)
    tell_why(store, outcomes, arguments)
    return code_of(outcomes)


def _torch_here() -> str:
    """Return the ``major.minor`` of the torch that is installed, without importing it; "" where there is none."""
    try:
        return minor(release(importlib.metadata.version("torch")))
    except importlib.metadata.PackageNotFoundError:
        return ""


def tell(outcomes: Sequence[Outcome], as_json: bool) -> None:
    """Print what became of each proposal."""
    if as_json:
        print(json.dumps([{**summary(outcome.entry), "status": outcome.status, "message": outcome.message}
                          for outcome in outcomes], indent=1, sort_keys=True))
        return
    for outcome in outcomes:
        print(f"{outcome.status}: {heading(outcome.entry)}\n  {outcome.entry.test}")
        if outcome.message:
            print(f"  {outcome.message}")
    if any(outcome.status == OUTDATED for outcome in outcomes):
        print("  run the tests again, then fxpect diff")


def tell_why(store: Store, outcomes: Iterable[Outcome], arguments: argparse.Namespace) -> None:
    """Print how many of the files that were written keep another intent than the one that was given."""
    why, kept = " ".join(arguments.why.split()), 0
    for path in {outcome.entry.path for outcome in outcomes if outcome.done} if why and not arguments.json else ():
        with contextlib.suppress(FixtureError):
            kept += store.read(path).why != why
    if kept:
        files = "1 file, which says what it is for" if kept == 1 else f"{kept} files, which say what they are for"
        print(f"why: kept in {files}; --replace-why writes yours")


def code_of(outcomes: Iterable[Outcome]) -> int:
    """Return the exit code for what became of proposals."""
    statuses = {outcome.status for outcome in outcomes}
    return next((code for status, code in _CODES if status in statuses), exit_codes.OK)
