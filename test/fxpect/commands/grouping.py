"""Proposals that make the same edit are one group: one question for forty cases with one cause."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

from fxpect.commands.diff import changes, told
from fxpect.errors import FxpectError
from fxpect.fixtures.accept import outdated
from fxpect.fixtures.pending import CASE_GONE, Entry
from fxpect.fixtures.store import Store
from fxpect.text.edits import edit_of

NAME_LENGTH = 6


@dataclasses.dataclass(frozen=True)
class Group:
    """Proposals of one kind with one edit; where ``outdated``, those that must be made again, whatever they are."""

    kind: str
    entries: tuple[Entry, ...]
    outdated: bool = False

    @functools.cached_property
    def name(self) -> str:
        """Return a few digits that name exactly these proposals, whatever else is pending."""
        lines = "\0".join(f"{entry.path} {entry.torch_minor} {entry.digest} {entry.text}" for entry in self.entries)
        return hashlib.sha256(lines.encode("utf-8", "replace")).hexdigest()[:NAME_LENGTH]

    @property
    def example(self) -> Entry:
        """Return the proposal with the shortest text."""
        return min(self.entries, key=lambda entry: len(entry.text))

    @functools.cached_property
    def tests(self) -> Counter[str]:
        """Return how many of the proposals each test made."""
        return Counter(entry.test for entry in self.entries)

    @property
    def title(self) -> str:
        """Return one line: how many cases of how many tests, the kind, the torches."""
        cases = len({(entry.path, entry.key) for entry in self.entries})
        torches = ", ".join(sorted({entry.torch_minor for entry in self.entries} - {""}))
        counts = f"{cases} case{'s' * (cases != 1)} of {len(self.tests)} test{'s' * (len(self.tests) != 1)}"
        state = "outdated: run the tests again" if self.outdated else self.kind
        return "  ".join(part for part in (counts, state, torches and f"torch {torches}") if part)

    def without(self, gone: Iterable[Entry]) -> Group:
        """Return the group of the other proposals."""
        dropped = set(gone)
        return dataclasses.replace(self, entries=tuple(entry for entry in self.entries if entry not in dropped))


def groups_of(store: Store, entries: Sequence[Entry]) -> list[Group]:
    """Return the proposals in groups of equal edits, the largest first; what is outdated comes last."""
    old = outdated(store.root, entries)
    found: dict[tuple, list[Entry]] = {}
    for entry in entries:
        key = ("",) if entry in old else (entry.kind, entry.section, edits(store, entry))
        found.setdefault(key, []).append(entry)
    groups = [Group(key[0], tuple(members), outdated=key == ("",)) for key, members in found.items()]
    return sorted(groups, key=lambda group: (group.outdated, -len(group.entries)))


def edits(store: Store, entry: Entry) -> tuple:
    """Return the edit of each part that a proposal changes."""
    if entry.kind == CASE_GONE:
        return ()  # whatever it holds, it goes
    return tuple((name, edit_of(expected, got)) for name, expected, got in _parts(store, entry))


def said(store: Store, entry: Entry) -> list[str]:
    """Return in words, a line for each part, what a proposal changes; of a new case, what the pass does."""
    if entry.kind == CASE_GONE:
        return ["the test no longer makes it: to accept is to take it out"]
    found = [(name, *told(expected, got)) for name, expected, got in _parts(store, entry)]
    return [f"{name}: {words or f'{len(lines)} lines of a text'}" for name, words, lines in found]


def _parts(store: Store, entry: Entry) -> list[tuple[str, str, str]]:
    return changes(store, entry) or [("the pass", entry.case.before, entry.case.raises or entry.case.after or "")]


def pick(groups: Sequence[Group], names: Iterable[str]) -> list[Entry]:
    """Return the proposals of the groups with these numbers or names; raises ``FxpectError`` where there is none."""
    known = {group.name: group for group in groups} | {str(at): group for at, group in enumerate(groups, 1)}
    chosen: list[Entry] = []
    for name in names:
        if name not in known:
            raise FxpectError(f"expected the number or the name of a group; got {name!r}\n"
                              "  fxpect review shows the groups; one whose proposals changed has another name")
        chosen += known[name].entries
    return list(dict.fromkeys(chosen))
