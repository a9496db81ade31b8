"""``fxpect reject``: throw proposals away; fixtures/ stays as it is.

Exit codes: 0, or 2 where nothing is pending or nothing matches.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable

from fxpect.commands import exit_codes
from fxpect.commands.selecting import add_selection, heading, select, summary
from fxpect.fixtures.accept import reject
from fxpect.fixtures.pending import Entry
from fxpect.fixtures.store import Store


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fxpect reject``."""
    add_selection(parser, required=True)


def main(arguments: argparse.Namespace) -> int:
    """Forget the chosen proposals and name them; returns the exit code."""
    store = Store.at(arguments.fixtures)
    chosen = select(store.pending.live(), arguments)
    reject(store.root, chosen)
    tell(chosen, arguments.json)
    return exit_codes.OK


def tell(chosen: Iterable[Entry], as_json: bool) -> None:
    """Print which proposals are gone."""
    if as_json:
        print(json.dumps([summary(entry) for entry in chosen], indent=1, sort_keys=True))
    else:
        for entry in chosen:
            print(f"rejected: {heading(entry)}\n  {entry.test}")
