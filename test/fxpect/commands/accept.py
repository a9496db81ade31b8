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
import importlib.metadata
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from fxpect.commands import exit_codes
from fxpect.commands.selecting import add_selection, heading, select, summary
from fxpect.fixtures.accept import CORRUPT, OUTDATED, REFUSED, Outcome, accept
from fxpect.fixtures.pending import live, read_proposals
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
    """Add ``--why`` and ``--version-section``, which say how proposals are stored."""
    parser.add_argument("--why", default="", metavar="TEXT", help="the line that says what the tests are for")
    parser.add_argument("--version-section", action="store_true",
                        help="store as 'after torch>=X.Y:', X.Y being the run's torch")


def main(arguments: argparse.Namespace) -> int:
    """Accept the chosen proposals and print what became of each; returns the exit code."""
    refuse_in_ci("fxpect accept")
    store = Store.at(arguments.fixtures)
    if arguments.origins:
        # Where two machines disagree under one torch, neither has overtaken the other: accept refuses both.
        proposed = [entry for origin in arguments.origins for entry in live(read_proposals(origin))]
    else:
        proposed = store.pending.live()
    outcomes = accept(store.root, select(proposed, arguments), why=arguments.why, deep_sweep=True,
                      version_section=arguments.version_section, here=_torch_here() if arguments.origins else "")
    tell(outcomes, arguments.json)
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


def code_of(outcomes: Iterable[Outcome]) -> int:
    """Return the exit code for what became of proposals."""
    statuses = {outcome.status for outcome in outcomes}
    return next((code for status, code in _CODES if status in statuses), exit_codes.OK)
