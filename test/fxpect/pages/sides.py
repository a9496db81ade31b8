"""Two graph texts side by side, line by line, with what differs inside a line marked too."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

# Every page that shows two texts side by side takes the lines from sides.html, their looks from sides.css.
TEMPLATES = Path(__file__).parent / "templates"
_WORD = re.compile(r"\w+|\s+|.", re.DOTALL)
# Below this likeness two lines are different lines, and marking nearly every word would only be noise.
_ALIKE = 0.5
_MAX_PAIRS = 2500  # of more, lines stand beside each other as they come
Pieces = tuple[tuple[str, bool], ...]


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of each side as ``(text, differs)`` pieces; None where a side has no line here."""

    before: Pieces | None
    after: Pieces | None
    same: bool = False


def rows(before: str, after: str) -> list[Row]:
    """Return the lines of both texts, those that belong together in one row."""
    old, new = before.split("\n"), after.split("\n")
    found: list[Row] = []
    for kind, *ends in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        left, right = old[ends[0]:ends[1]], new[ends[2]:ends[3]]
        if kind == "equal":
            found += [Row(((line, False),), ((line, False),), same=True) for line in left]
        else:
            found += _changed(left, right)
    return found


def changes(found: Sequence[Row]) -> tuple[int, int]:
    """Return how many lines are only in the text before, and only in the one after."""
    return (sum(not row.same and row.before is not None for row in found),
            sum(not row.same and row.after is not None for row in found))


def _changed(left: list[str], right: list[str]) -> Iterator[Row]:
    """Yield the rows of lines that differ: those that are alike beside each other, the others alone."""
    at = [0, 0]
    for i, j in [*_alike(left, right), (len(left), len(right))]:
        yield from (Row(((line, False),), None) for line in left[at[0]:i])
        yield from (Row(None, ((line, False),)) for line in right[at[1]:j])
        if i < len(left):
            yield Row(*_inside(left[i], right[j]))
        at = [i + 1, j + 1]


def _alike(left: list[str], right: list[str]) -> list[tuple[int, int]]:
    """Return which lines stand beside each other, so that in sum they are as alike as their order allows."""
    if len(left) * len(right) > _MAX_PAIRS:
        return [(at, at) for at in range(min(len(left), len(right)))]
    best = [[0.0] * (len(right) + 1) for _ in range(len(left) + 1)]
    like = [[0.0] * len(right) for _ in left]
    for j, line in reversed(list(enumerate(right))):
        matcher = difflib.SequenceMatcher(None, [], _WORD.findall(line.strip()), autojunk=False)
        for i in reversed(range(len(left))):
            matcher.set_seq1(_WORD.findall(left[i].strip()))
            ratio = matcher.ratio()
            like[i][j] = ratio if ratio >= _ALIKE else -1.0
            best[i][j] = max(best[i + 1][j], best[i][j + 1], best[i + 1][j + 1] + like[i][j])
    pairs, i, j = [], 0, 0
    while i < len(left) and j < len(right):
        if like[i][j] > 0 and best[i][j] == best[i + 1][j + 1] + like[i][j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs


def _inside(old: str, new: str) -> tuple[Pieces, Pieces]:
    """Return both lines in pieces, the words that differ marked where the lines are alike."""
    a, b = _WORD.findall(old), _WORD.findall(new)
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    if matcher.ratio() < _ALIKE:
        return ((old, False),), ((new, False),)
    codes = matcher.get_opcodes()
    return (tuple(("".join(a[i:j]), kind != "equal") for kind, i, j, _, _ in codes if i < j),
            tuple(("".join(b[i:j]), kind != "equal") for kind, _, _, i, j in codes if i < j))
