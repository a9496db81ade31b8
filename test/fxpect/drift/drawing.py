"""Two graphs drawn beside each other: what is the same stands at the same place in both pictures."""

from __future__ import annotations

import contextlib
import dataclasses
import textwrap

from fxpect.drift.layout import Layout, Point
from fxpect.drift.pairing import CHANGED, FIRST, SAME, SECOND, Edge, Node, Union, unions
from fxpect.errors import FxpectError
from fxpect.text.statements import read

CHARACTER = 7.3  # the width of one in a fixed font of 12 px
LINE = 16
MARGIN = 14
MAX_CHARACTERS = 34
_MAX_LINES = 4
# Each state by a sign, for those who see no colour, and a word, for those who see no picture.
SIGNS = {SAME: "", CHANGED: "≠", FIRST: "−", SECOND: "+"}
WORDS = {SAME: "in both", CHANGED: "changed", FIRST: "only here", SECOND: "only here"}


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of text in a box; ``role`` is "name", "code" or "type"."""

    role: str
    text: str
    x: float
    y: float


@dataclasses.dataclass(frozen=True)
class Box:
    """One value: ``at`` is its number in both pictures, ``told`` all of it in words, ``cut`` what is not drawn of it.
    """

    at: int
    state: str
    x: float
    y: float
    width: float
    height: float
    lines: tuple[Line, ...]
    told: str
    cut: tuple[str, ...]

    @property
    def sign(self) -> str:
        """The sign of its state."""
        return SIGNS[self.state]


@dataclasses.dataclass(frozen=True)
class Arrow:
    """One edge as the path of an SVG; ``alone`` says that the other graph has both ends and not the edge."""

    path: str
    alone: bool


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two pictures."""

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    count: int

    @property
    def marked(self) -> int:
        """How many of the boxes are not the same in the other graph."""
        return sum(box.state != SAME for box in self.boxes)


@dataclasses.dataclass(frozen=True)
class Picture:
    """Two pictures of one size; ``title`` names a nested graph, "" the whole.

    Not drawn are ``sizes`` that are the same in both, and ``left_out`` other values.
    """

    title: str
    width: float
    height: float
    sides: tuple[Side, Side]
    sizes: int
    left_out: int


def pictures_of(first: str, second: str) -> list[Picture]:
    """Return the pictures of two graph texts, and of graphs nested in them that differ; none for other texts.

    Where a nested graph alone differs, it alone is drawn.
    """
    with contextlib.suppress(FxpectError):
        whole, *nested = unions(read(first), read(second))
        return [_picture(union) for union in ([whole] if whole.differs else []) + nested]
    return []


def _picture(union: Union) -> Picture:
    chosen = union.near()
    drawn = set(chosen)
    texts = {at: [_lines(side, union.nodes[at]) if side else [] for side in (union.nodes[at].first,
                                                                              union.nodes[at].second)]
             for at in chosen}
    room = {at: (max(len(text) for side in sides for _, text in side) * CHARACTER + 2 * MARGIN,
                 max(len(side) for side in sides) * LINE + MARGIN) for at, sides in texts.items()}
    edges = [edge for edge in union.first | union.second if drawn.issuperset(edge)]
    layout = Layout(room, edges)
    sides = tuple(_side(union, layout, texts, number) for number in (0, 1))
    sizes = sum(node.is_size for at, node in enumerate(union.nodes) if at not in drawn)
    return Picture(union.title, layout.width + 2 * MARGIN, layout.height + 2 * MARGIN, (sides[0], sides[1]),
                   sizes, len(union.nodes) - len(chosen) - sizes)


def _side(union: Union, layout: Layout, texts: dict[int, list[list[tuple[str, str]]]], number: int) -> Side:
    here, there = (union.first, union.second) if number == 0 else (union.second, union.first)
    boxes = []
    for at, sides in texts.items():
        node, lines = union.nodes[at], sides[number]
        if lines:
            boxes.append(_box(union, layout, at, node, lines, number))
    arrows = tuple(Arrow(_path(layout.routes.get(edge) or _straight(edge, layout)), _is_alone(edge, there, union))
                   for edge in sorted(here) if texts.keys() >= set(edge))
    count = sum((node.first, node.second)[number] is not None for node in union.nodes)
    return Side(tuple(boxes), arrows, count)


def _box(union: Union, layout: Layout, at: int, node: Node, lines: list[tuple[str, str]], number: int) -> Box:
    (x, y), (width, height) = layout.boxes[at], layout.sizes[at]
    x, y = x + MARGIN, y + MARGIN
    told = (node.first, node.second)[number]
    assert told is not None
    name, expression, kind = told
    here = union.first if number == 0 else union.second
    # A value that is drawn without all of its neighbours says so, since it would seem to have no others.
    sides = {"above": [one for one, other in here if other == at], "below": [other for one, other in here if one == at]}
    cut = tuple(side for side, others in sides.items()
                if any(one not in layout.boxes and not union.nodes[one].is_size for one in others))
    placed = tuple(Line(role, text, x + MARGIN, y + MARGIN / 2 + LINE * (row + 0.78))
                   for row, (role, text) in enumerate(lines))
    words = f"{WORDS[node.state]}: {name} = {expression}" + (f", {kind}" if kind else "")
    return Box(at, node.state, x, y, width, height, placed, words, cut)


def _is_alone(edge: Edge, there: frozenset[Edge], union: Union) -> bool:
    return edge not in there and all(union.nodes[end].state in (SAME, CHANGED) for end in edge)


def _lines(told: tuple[str, str, str], node: Node) -> list[tuple[str, str]]:
    """Return what stands in a box, in lines; an expression that changed is shown in full as far as there is room."""
    name, expression, kind = told
    width = MAX_CHARACTERS
    code = textwrap.wrap(expression, width, subsequent_indent="  ", break_on_hyphens=False) or [""]
    most = 1 if node.state == SAME else _MAX_LINES
    if len(code) > most:
        code = [*code[:most - 1], f"{code[most - 1][:width - 1]}…"]
    rows = [("name", _cut(name)), *(("code", line) for line in code)]
    return rows + ([("type", _cut(kind))] if kind else [])


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS - 1]}…"


def _straight(edge: Edge, layout: Layout) -> list[Point]:
    """Return the way of an edge that leads up: from the side of one box to the side of the other."""
    ends = [(layout.boxes[at][0] + layout.sizes[at][0], layout.boxes[at][1] + layout.sizes[at][1] / 2) for at in edge]
    return [ends[0], (max(ends)[0] + 12, (ends[0][1] + ends[1][1]) / 2), ends[1]]


def _path(points: list[Point]) -> str:
    moved = [(x + MARGIN, y + MARGIN) for x, y in points]
    parts = [f"M{moved[0][0]:.0f} {moved[0][1]:.0f}"]
    for (x, y), (to_x, to_y) in zip(moved, moved[1:]):
        middle = (y + to_y) / 2
        parts.append(f"C{x:.0f} {middle:.0f} {to_x:.0f} {middle:.0f} {to_x:.0f} {to_y:.0f}")
    return "".join(parts)
