"""The drift report as one page that needs nothing else: causes with the graphs of both runs drawn side by side."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fxpect import __version__
from fxpect.drift.comparing import KINDS, SAME, Drift
from fxpect.drift.drawing import Picture, pictures_of
from fxpect.drift.grouping import Group, groups_of
from fxpect.drift.telling import headline
from fxpect.errors import FxpectError
from fxpect.pages.sides import TEMPLATES as SIDES
from fxpect.pages.sides import Row, rows
from fxpect.text.diff import aligned

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
# Beyond this many boxes a page becomes slow to open; later causes have their text alone, and say so.
MAX_BOXES = 6000
MAX_ROWS = 300
_AROUND = 3
# What each kind means to a reader who meets the word for the first time.
MEANINGS = {
    "bug new": "something fails, or a known bug of torch shows, that did not before",
    "numerics": "the graphs compute something else, by more than rounding",
    "pass drift": "of the same graph the pass makes another one",
    "capture drift": "the graph that the pass is given is another",
    "bug fixed": "something failed, or a known bug of torch showed, that does so no more",
    "only in one": "the other run does not have the test or the case",
    "order only": "the same lines in another order",
    "names only": "the same graph with other names",
}


@dataclasses.dataclass(frozen=True)
class Shown:
    """One cause as it is shown: its rows with the equal ones folded (a number stands for so many), its pictures."""

    group: Group
    rows: tuple[Row | int, ...]
    more_rows: int
    pictures: tuple[Picture, ...]
    undrawn: bool


def page(drifts: Sequence[Drift]) -> str:
    """Return the page of one or more pairs of runs; raises ``FxpectError`` where jinja2 is not installed."""
    environment = _environment()
    looks, style, script = (path.read_text(encoding="utf-8") for path in (
        SIDES / "sides.css", TEMPLATES / "drift.css", TEMPLATES / "drift.js"))
    style = looks + style
    budget = [MAX_BOXES]
    shown = [(drift, [_shown(group, budget) for group in groups_of(drift.differences)]) for drift in drifts]
    return environment.get_template("drift.html").render(
        shown=shown, headline=headline, kinds=KINDS, meanings=MEANINGS, same=SAME, version=__version__, style=style,
        script=script, style_hash=_hash(style), script_hash=_hash(script))


def _hash(text: str) -> str:
    """Return the name under which a page may allow a text to run: nothing that a graph holds has it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _shown(group: Group, budget: list[int]) -> Shown:
    example = group.example
    if not group.compares_texts:
        return Shown(group, (), 0, (), False)
    found = compared(example.first, example.second)
    pictures = tuple(pictures_of(example.first, example.second))
    boxes = sum(len(side.boxes) for picture in pictures for side in picture.sides)
    undrawn = bool(pictures) and boxes > budget[0]
    if undrawn:
        pictures = ()
    else:
        budget[0] -= boxes
    return Shown(group, tuple(found[:MAX_ROWS]), max(len(found) - MAX_ROWS, 0), pictures, undrawn)


def compared(first: str, second: str) -> list[Row | int]:
    """Return the lines of two texts side by side, each run of equal ones as their number but for those around a change.
    """
    sides = first.rstrip("\n"), second.rstrip("\n")
    with contextlib.suppress(FxpectError):
        ours, theirs = aligned(first, second)
        sides = "\n".join(ours), "\n".join(theirs)
    found = rows(*sides)
    changed = [at for at, row in enumerate(found) if not row.same]
    shown = {near for at in changed for near in range(at - _AROUND, at + _AROUND + 1)}
    folded: list[Row | int] = []
    for at, row in enumerate(found):
        if at in shown:
            folded.append(row)
        elif folded and isinstance(folded[-1], int):
            folded[-1] += 1
        else:
            folded.append(1)
    return folded


def _environment() -> Environment:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError:
        raise FxpectError("expected jinja2, which writes the page; it is not installed\n  pip install jinja2") from None

    def is_fold(row: Any) -> bool:
        return isinstance(row, int)

    environment = Environment(loader=FileSystemLoader([TEMPLATES, SIDES]), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    environment.tests["fold"] = is_fold
    return environment
