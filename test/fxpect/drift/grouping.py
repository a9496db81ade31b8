"""Differences that come of the same change are one group, so that forty equal edits are read once."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Iterable

from fxpect.drift.comparing import KINDS, ONE_SIDE, Difference
from fxpect.errors import FxpectError
from fxpect.fixtures.compare import line_diff
from fxpect.text.diff import graph_diff

_NAME_LENGTH = 8


@dataclasses.dataclass(frozen=True)
class Group:
    """Differences of one kind with one cause; ``name`` is made of both, and so the same in every report."""

    kind: str
    cause: tuple[str, ...]
    differences: tuple[Difference, ...]

    @functools.cached_property
    def name(self) -> str:
        """A few digits that name the group."""
        recipe = "\0".join((self.kind, *self.cause))
        return hashlib.sha256(recipe.encode("utf-8", "replace")).hexdigest()[:_NAME_LENGTH]

    @functools.cached_property
    def example(self) -> Difference:
        """The difference with the shortest texts, which stands for all of them."""
        return min(self.differences, key=lambda one: len(one.first) + len(one.second))

    @property
    def passes(self) -> list[str]:
        """The passes that it is about, sorted."""
        return sorted({one.pass_name for one in self.differences} - {""})

    @property
    def title(self) -> str:
        """The passes that it is about, or where there is none the test of the example."""
        return ", ".join(self.passes) or self.example.test

    @property
    def tests(self) -> dict[tuple[str, str], list[Difference]]:
        """The differences by file and test."""
        found: dict[tuple[str, str], list[Difference]] = {}
        for one in self.differences:
            found.setdefault((one.file, one.test), []).append(one)
        return found

    @property
    def count(self) -> str:
        """How many cases of how many tests."""
        cases, tests = len(self.differences), len(self.tests)
        words = f"{tests} test{'s' * (tests != 1)}"
        whole = all(not one.case for one in self.differences)
        return words if whole else f"{cases} case{'s' * (cases != 1)} of {words}"

    @property
    def compares_texts(self) -> bool:
        """Whether there are two texts that differ; of a case that only one run has there is one."""
        return self.kind != ONE_SIDE and self.example.first != self.example.second


def groups_of(differences: Iterable[Difference]) -> list[Group]:
    """Return the differences in groups of equal causes: the strongest kind first, the largest first in it."""
    found: dict[tuple[str, tuple[str, ...]], list[Difference]] = {}
    for one in differences:
        found.setdefault((one.kind, one.cause), []).append(one)
    groups = [Group(*key, tuple(members)) for key, members in found.items()]
    return sorted(groups, key=lambda group: (KINDS.index(group.kind), -len(group.differences)))


def lines_of(one: Difference) -> list[str]:
    """Return the lines that differ between the two texts, the second under the names of the first; no heading."""
    if one.first == one.second:
        return []
    with contextlib.suppress(FxpectError):
        return graph_diff(one.first, one.second).lines[2:]
    return line_diff(one.first, one.second, limit=1_000_000).split("\n")[2:]
