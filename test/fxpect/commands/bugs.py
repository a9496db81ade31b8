"""``fxpect bugs``: list the known bugs of torch's passes, and see whether each is still there.

With ``--confirm`` each bug that the installed torch should have is looked for twice: by the oracles, and by
its stand-alone script, which needs torch alone. Exit codes: 0, 1 where one is fixed or shows itself in another
way, 2 misuse, 6 where the table cannot be trusted.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import io
import json
import os
import pathlib
from typing import TYPE_CHECKING, Any

from fxpect.commands import exit_codes
from fxpect.errors import FxpectError

if TYPE_CHECKING:
    from fxpect.passes.known_bugs import Confirmation, KnownBug


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``fxpect bugs``."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these bugs, or the bugs of these passes")
    parser.add_argument("--confirm", action="store_true", help="look for each on the torch that is installed")
    parser.add_argument("--write", type=pathlib.Path, metavar="DIR", help="write each one's stand-alone script there")
    parser.add_argument("--fixtures", type=pathlib.Path, metavar="DIR", help="the folder that holds the table")
    parser.add_argument("--json", action="store_true", help="print JSON lines")


def main(args: argparse.Namespace) -> int:
    """List or confirm the bugs of the table; returns the exit code."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from fxpect.passes.known_bugs import CHANGED, FIXED, THERE, confirm, load, table_path

    bugs = selected(load(table_path(args.fixtures)), args.names)
    counts: collections.Counter[str] = collections.Counter()
    for bug in bugs:
        answer = confirm(bug) if args.confirm or args.write else None
        if answer is not None and answer.status == THERE:
            script = script_of(answer)
            if args.write is not None:
                args.write.mkdir(parents=True, exist_ok=True)
                (args.write / f"{bug.id}.py").write_text(script, encoding="utf-8")
            if args.confirm:
                answer = checked(answer, script)
        if answer is not None:
            counts[answer.status] += 1
        print(json.dumps(_record(bug, answer), sort_keys=True) if args.json else _line(bug, answer))
    if not args.json:
        words = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
        print(f"\n{len(bugs)} bugs of {len({bug.pass_name for bug in bugs})} passes" + (f": {words}" if words else ""))
    return exit_codes.FAILURES if counts[FIXED] or counts[CHANGED] else exit_codes.OK


def selected(bugs: tuple[KnownBug, ...], names: list[str]) -> list[KnownBug]:
    """Return the bugs of that id or pass, all where no name is given; raises ``FxpectError`` for an unknown one."""
    def fits(bug: KnownBug, name: str) -> bool:
        return name in (bug.id, bug.pass_name, bug.pass_name.rpartition(".")[2])

    for name in names:
        if not any(fits(bug, name) for bug in bugs):
            raise FxpectError(f"expected a bug or a pass of the table; got {name!r}\n  fxpect bugs")
    return [bug for bug in bugs if not names or any(fits(bug, name) for name in names)]


def script_of(answer: Confirmation) -> str:
    """Return the stand-alone script of a bug that is there."""
    from fxpect.passes.firing import pass_of
    from fxpect.standalone.script import standalone_script

    assert answer.failure is not None
    return standalone_script(pass_of(answer.bug.entry), answer.bug.example(), answer.failure)


def checked(answer: Confirmation, script: str) -> Confirmation:
    """Return the answer, or one that says that the script does not fail as it should."""
    from fxpect.passes.known_bugs import CHANGED, Confirmation

    code, output = run_script(script)
    if code == exit_codes.FAILURES:
        return answer
    last = (output.strip().splitlines() or ["no output"])[-1]
    return Confirmation(answer.bug, CHANGED, f"expected its script to exit 1; got {code!r}: {last}", answer.failure)


def run_script(script: str) -> tuple[Any, str]:
    """Run a stand-alone script in this process; returns its exit code and its output."""
    output = io.StringIO()
    code: Any = None
    with contextlib.redirect_stdout(output):
        try:
            exec(compile(script, "<script>", "exec"), {"__name__": "__main__"})
        except SystemExit as end:
            code = end.code
        except Exception as error:
            code = f"{type(error).__name__}: {error}"
    return code, output.getvalue()


def _record(bug: KnownBug, answer: Confirmation | None) -> dict[str, Any]:
    """Return a bug, and what was found out, as plain data."""
    record = dataclasses.asdict(bug)
    if answer is not None:
        record |= {"status": answer.status, "message": answer.message}
    return record


def _line(bug: KnownBug, answer: Confirmation | None) -> str:
    head = f"{answer.status:<10}" if answer is not None else ""
    line = f"{head}{bug}"
    if answer is not None and answer.status in ("fixed", "changed"):
        line += f"\n{'':<10}{answer.message}"
    return line
