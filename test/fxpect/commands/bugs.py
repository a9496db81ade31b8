"""``fxpect bugs``: list the known bugs of torch's passes and helpers, and see whether each is still there.

With ``--confirm`` each bug that the installed torch should have is looked for by its stand-alone script, which needs
torch alone, and if it is one of a pass by the oracles too. Exit codes: 0, 1 where one is fixed or shows itself in
another way, 2 misuse, 6 where the table cannot be trusted.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fxpect.commands import exit_codes
from fxpect.errors import FxpectError

if TYPE_CHECKING:
    from fxpect.passes.helper_bugs import HelperBug
    from fxpect.passes.known_bugs import Confirmation, KnownBug


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``fxpect bugs``."""
    parser.add_argument("names", nargs="*", metavar="NAME",
                        help="only these bugs, or the bugs of these passes and helpers")
    parser.add_argument("--confirm", action="store_true", help="look for each on the torch that is installed")
    parser.add_argument("--write", type=pathlib.Path, metavar="DIR", help="write each one's stand-alone script there")
    parser.add_argument("--fixtures", type=pathlib.Path, metavar="DIR", help="the folder that holds the table")
    parser.add_argument("--json", action="store_true", help="print JSON lines")


def main(args: argparse.Namespace) -> int:
    """List or confirm the bugs of the table; returns the exit code."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from fxpect.passes.helper_bugs import load_helpers
    from fxpect.passes.known_bugs import CHANGED, FIXED, load, table_path

    path = table_path(args.fixtures)
    bugs = selected((*load(path), *load_helpers(path)), args.names)
    counts: collections.Counter[str] = collections.Counter()
    for bug in bugs:
        status, message, script = _looked_for(bug, args.confirm) if args.confirm or args.write else ("", "", "")
        counts[status] += bool(status)
        if script and args.write is not None:
            args.write.mkdir(parents=True, exist_ok=True)
            (args.write / f"{bug.id}.py").write_text(script, encoding="utf-8")
        print(json.dumps(_record(bug, status, message), sort_keys=True) if args.json else _line(bug, status, message))
    if not args.json:
        words = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()) if status)
        print(f"\n{len(bugs)} bugs of {_places(bugs)}" + (f": {words}" if words else ""))
    return exit_codes.FAILURES if counts[FIXED] or counts[CHANGED] else exit_codes.OK


def selected(bugs: Sequence[KnownBug | HelperBug], names: list[str]) -> list[KnownBug | HelperBug]:
    """Return the bugs of that id, pass or helper, all where no name is given; an unknown one is ``FxpectError``."""
    def fits(bug: KnownBug | HelperBug, name: str) -> bool:
        return name in (bug.id, _place(bug), _place(bug).rpartition(".")[2])

    for name in names:
        if not any(fits(bug, name) for bug in bugs):
            raise FxpectError(f"expected a bug, a pass or a helper of the table; got {name!r}\n  fxpect bugs")
    return [bug for bug in bugs if not names or any(fits(bug, name) for name in names)]


def _place(bug: KnownBug | HelperBug) -> str:
    return getattr(bug, "pass_name", "") or bug.helper  # type: ignore[union-attr]


def _places(bugs: Sequence[KnownBug | HelperBug]) -> str:
    """Return in words of how many passes and helpers these are."""
    helpers = {bug.helper for bug in bugs if hasattr(bug, "helper")}
    passes = {_place(bug) for bug in bugs} - helpers
    return " and ".join(f"{len(names)} {what}" for names, what in ((passes, "passes"), (helpers, "helpers"))
                        if names or what == "passes" and not helpers)


def _looked_for(bug: KnownBug | HelperBug, check_script: bool) -> tuple[str, str, str]:
    """Return whether a bug is there, in words, and its stand-alone script where it is."""
    from fxpect.passes.helper_bugs import HelperBug, confirm_helper
    from fxpect.passes.known_bugs import THERE, confirm

    if isinstance(bug, HelperBug):
        status, message = confirm_helper(bug)
        return status, message, bug.script if status == THERE else ""
    answer = confirm(bug)
    script = script_of(answer) if answer.status == THERE else ""
    if script and check_script:
        answer = checked(answer, script)
    return answer.status, answer.message, script


def script_of(answer: Confirmation) -> str:
    """Return the stand-alone script of a bug that is there."""
    from fxpect.passes.firing import pass_of
    from fxpect.standalone.script import standalone_script

    assert answer.failure is not None
    return standalone_script(pass_of(answer.bug.entry), answer.bug.example(), answer.failure)


def checked(answer: Confirmation, script: str) -> Confirmation:
    """Return the answer, or one that says that the script does not fail as it should."""
    from fxpect.passes.known_bugs import CHANGED, Confirmation
    from fxpect.standalone.running import run_script

    code, output = run_script(script)
    if code == exit_codes.FAILURES:
        return answer
    last = (output.strip().splitlines() or ["no output"])[-1]
    return Confirmation(answer.bug, CHANGED, f"expected its script to exit 1; got {code!r}: {last}", answer.failure)


def _record(bug: KnownBug | HelperBug, status: str, message: str) -> dict[str, Any]:
    """Return a bug, and what was found out, as plain data."""
    return dataclasses.asdict(bug) | ({"status": status, "message": message} if status else {})


def _line(bug: KnownBug | HelperBug, status: str, message: str) -> str:
    line = f"{status:<10}{bug}" if status else str(bug)
    return f"{line}\n{'':<10}{message}" if status in ("fixed", "changed") else line
