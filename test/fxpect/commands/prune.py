"""``fxpect prune``: list the stored files whose test is gone, and with --move or --delete move or delete them.

Nothing is run or imported: tests are looked for in the source. Where the source cannot tell whether a test is there,
its file is never called stale. A stale file is to be moved to a test that has no file: one for which runs propose at
least half of its cases, else, where the class is gone, the only one that is called alike. --delete leaves such a file
alone, and also one that cannot be read. The cases of a test that is there are those of its runs, and none is called
stale. Exit codes: 0, 2 misuse or not the whole suite, 3 in CI, 4 where stale files are left, 6 where a test file or a
stale file cannot be read.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import difflib
import json
from collections.abc import Iterable
from pathlib import Path

from fxpect.commands import exit_codes
from fxpect.commands.owners import OWNED, STALE, UNKNOWN, Owner, Owners, owners_of, printable, unknown_lines
from fxpect.commands.selecting import add_common
from fxpect.errors import FixtureError, FxpectError
from fxpect.fixtures.atomic import locked, sweep, write_atomic
from fxpect.fixtures.case import Case
from fxpect.fixtures.format import format_document
from fxpect.fixtures.paths import accept_lock, inside, test_of
from fxpect.fixtures.store import Store
from fxpect.fixtures.switches import refuse_in_ci

MAX_NAMES = 3
MOVE, DELETE, KEEP = "move", "delete", "keep"
_DONE = {MOVE: "moved", DELETE: "deleted"}


@dataclasses.dataclass
class Plan:
    """What is to become of one stale file: ``action`` is "move" (to ``to``), "delete" or "keep"."""

    path: str
    action: str
    reason: str
    to: str = ""
    problem: str = ""
    done: bool = False

    def __str__(self) -> str:
        word = _DONE[self.action] if self.done else self.action
        lines = [f"{word}: {printable(self.path)}{f' to {printable(self.to)}' if self.to else ''}",
                 f"  {printable(self.reason)}"]
        return "\n".join([*lines, *([f"  {printable(self.problem)}"] if self.problem else [])])


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fxpect prune``."""
    parser.add_argument("tests", nargs="*", metavar="PATH",
                        help="the folders that hold all tests (default: test and tests beside the fixtures folder)")
    parser.add_argument("--move", action="store_true", help="move the files whose test has another name now")
    parser.add_argument("--delete", action="store_true", help="delete the files that are to be moved nowhere")
    add_common(parser)


def main(arguments: argparse.Namespace) -> int:
    """Print what is stale, and do what was asked for; returns the exit code."""
    store = Store.at(arguments.fixtures)
    writes = arguments.move or arguments.delete
    if writes:
        refuse_in_ci("fxpect prune with --move or --delete")
    with locked(accept_lock(store.root)) if writes else contextlib.nullcontext():
        if writes:
            sweep(store.root, deep=True)
        owners = Owners(store.root, arguments.tests)
        found, nameless = owners_of(owners, store.paths())
        _refuse_unread(owners)
        plans = _plans(store, owners, found)
        for plan in plans:
            if (arguments.move and plan.action == MOVE) or (arguments.delete and plan.action == DELETE):
                _do(store.root, plan)
    unknown = [one.path for one in found if one.state == UNKNOWN]
    if arguments.json:
        print(json.dumps({"stale": [dataclasses.asdict(plan) for plan in plans], "unknown": unknown,
                          "nameless": [path for path, _ in nameless]}, indent=1, sort_keys=True))
    else:
        _print(plans, [*(f"unknown: {line}" for line in unknown_lines(found)),
                       *(f"not looked at: {printable(message)}" for _, message in nameless)])
    if any(plan.action == KEEP for plan in plans):
        return exit_codes.CORRUPT
    return exit_codes.OK if all(plan.done for plan in plans) else exit_codes.PENDING


def _print(plans: list[Plan], others: list[str]) -> None:
    for line in [*map(str, plans), *others]:
        print(line)
    counts = collections.Counter(_DONE[plan.action] if plan.done else plan.action for plan in plans)
    print(", ".join([f"stale {len(plans)}", *(f"{word} {count}" for word, count in sorted(counts.items()))]))
    if counts[MOVE]:
        print("  fxpect prune --move")
    if counts[DELETE]:
        print("  fxpect prune --delete")


def _refuse_unread(owners: Owners) -> None:
    """Raise ``FixtureError`` where a test file cannot be read: what is stored for it would seem stale or new."""
    unread = owners.unread()
    if unread:
        lines = [f"{owners.shown(file)}: {printable(message)}" for file, message in unread]
        raise FixtureError("expected test files that can be read, to tell which tests are gone; got\n  "
                           + "\n  ".join(lines))


def _plans(store: Store, owners: Owners, found: Iterable[Owner]) -> list[Plan]:
    """Return what is to become of each stale file."""
    stale = [one for one in found if one.state == STALE]
    if not stale:
        return []
    stored = set(store.paths())
    moved = _cases(store, [one.path for one in found if one.state in (OWNED, UNKNOWN)])
    proposed = _proposed(store, owners, stored)
    tests = set(owners.tests())
    plans, taken = [], collections.Counter[str]()
    for one in stale:
        try:
            cases = store.read(one.path).cases
        except FixtureError as error:
            plans.append(Plan(one.path, KEEP, f"{one.message}, and what is stored cannot be read: {error}"))
            continue
        keys = {case.key for case in cases}
        # A move that was killed half way has written the new file and left the old one.
        targets, why = moved.get((_name(one.path)[1], cases), []), "stores the same cases"
        if not targets:
            targets, why = _targets(one, keys, proposed), "proposes its cases"
        if not targets:
            targets = _alike(one, tests, stored | proposed.keys())
            why = "is called alike, and stores nothing: run it afterwards"
        if len(targets) > 1:
            plans.append(Plan(one.path, MOVE, f"{one.message}; each of these {why}: {', '.join(map(test_of, targets))}",
                              problem="which one it is cannot be told: move it by hand"))
        elif targets:
            plans.append(Plan(one.path, MOVE, f"{one.message}; {test_of(targets[0])} {why}", to=targets[0]))
            taken[targets[0]] += 1
        else:
            plans.append(Plan(one.path, DELETE, one.message + _renamed(one, tests, stored | proposed.keys())))
    for plan in plans:
        if taken[plan.to] > 1:
            plan.problem = f"several stale files may be those of {test_of(plan.to)}: delete all but one by hand"
            plan.to = ""
    return plans


def _cases(store: Store, paths: Iterable[str]) -> dict[tuple[str, tuple[Case, ...]], list[str]]:
    """Return the stored files of tests that are there, by the method and by all they hold."""
    found: dict[tuple[str, tuple[Case, ...]], list[str]] = {}
    for path in paths:
        with contextlib.suppress(FixtureError):
            found.setdefault((_name(path)[1], store.read(path).cases), []).append(path)
    return found


def _proposed(store: Store, owners: Owners, stored: set[str]) -> dict[str, set[str]]:
    """Return the keys that runs propose for each test that has no file."""
    keys: dict[str, set[str]] = {}
    for entry in store.pending.live() if store.pending.files() else ():
        if entry.path not in stored:
            keys.setdefault(entry.path, set()).add(entry.key)
    found, _ = owners_of(owners, sorted(keys))
    return {one.path: keys[one.path] for one in found if one.state in (OWNED, UNKNOWN)}


def _targets(one: Owner, keys: set[str], proposed: dict[str, set[str]]) -> list[str]:
    """Return where a stale file may belong: where most of its keys, at least half, are proposed."""
    shared = {path: len(keys & theirs) for path, theirs in proposed.items()}
    best = max(shared.values(), default=0)
    if not best or 2 * best < len(keys):
        return []
    targets = sorted(path for path, count in shared.items() if count == best)
    same = [path for path in targets if _name(path)[1] == _name(one.path)[1]]  # a class or a file was renamed
    return same if len(same) == 1 else targets


def _alike(one: Owner, tests: set[str], taken: set[str]) -> list[str]:
    """Return the tests, by their paths, that may be a test whose class is gone: its class or its file was renamed."""
    owner, method = _name(one.path)
    here = Path(one.path).parent
    if any(Path(path).parent == here and _name(path)[0] == owner for path in tests):
        return []
    return [path for path in sorted(tests - taken)
            if _name(path) == (owner, method) or (Path(path).parent == here and _name(path)[1] == method)]


def _renamed(one: Owner, tests: set[str], taken: set[str]) -> str:
    """Return what to do before a file is deleted whose class has tests that store nothing: a run tells by its cases."""
    owner, method = _name(one.path)
    alike = [name for path in tests - taken for name in [_name(path)[1]]
             if Path(path).parent == Path(one.path).parent and _name(path)[0] == owner]
    near = difflib.get_close_matches(method, alike, n=MAX_NAMES)
    return f"; run the tests first if it was renamed, such as to {' or '.join(near)}" if near else ""


def _name(path: str) -> tuple[str, str]:
    owner, _, method = Path(path).stem.rpartition(".")
    return owner, method


def _do(root: Path, plan: Plan) -> None:
    """Move or delete one file; what keeps it from being done is the plan's problem. The caller holds the lock."""
    if plan.problem:
        return
    file = root / plan.path
    try:
        if file.is_symlink():
            raise FxpectError("expected a file; got a link, which is left alone")
        if plan.action == MOVE:
            document = dataclasses.replace(Store(root).read(plan.path), test=test_of(plan.to))
            target = inside(root, plan.to)
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(target, format_document(document, target).encode())
            elif Store(root).read(plan.to) != document:
                raise FxpectError(f"expected no other file there; got that of {test_of(plan.to)}, whose head differs")
        file.unlink()
        with contextlib.suppress(OSError):  # others are stored there
            file.parent.rmdir()
        plan.done = True
    except (OSError, FxpectError) as error:
        plan.problem = f"not {_DONE[plan.action]}: {error}"
