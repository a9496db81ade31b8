"""Where the boxes of a graph stand: in layers from the inputs down, with few crossings, each box near its neighbours.

The layered drawing of Sugiyama, Tagawa and Toda (1981): layers by the longest path, an order in each by the means of
the neighbours, and places by least squares. Layout engines that know this are large programs in other languages, and
the slowest part of a page; a hundred boxes take these lines a few hundredths of a second.
"""

from __future__ import annotations

import collections
import graphlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

GAP = 24
LAYER_GAP = 44
_SWEEPS = 8
_BEND = 8  # the room that a long edge takes in a layer that it passes
Point = tuple[float, float]


class Layout:
    """Places of boxes: ``boxes`` maps each to its (left, top), ``routes`` each edge to the points it passes.

    ``sizes`` maps each box to (width, height); an edge leads down, from one box to another. Edges that would close a
    circle are left out of ``routes``.
    """

    def __init__(self, sizes: Mapping[int, tuple[float, float]], edges: Iterable[tuple[int, int]]):
        self.sizes: dict[Any, tuple[float, float]] = dict(sizes)
        kept = _without_circles(sizes, sorted(set(edges)))
        layer = _layers(sizes, kept)
        self._chains = {edge: self._chain(edge, layer) for edge in kept}
        self._above: dict[object, list] = collections.defaultdict(list)
        self._below: dict[object, list] = collections.defaultdict(list)
        for chain in self._chains.values():
            for one, other in zip(chain, chain[1:]):
                self._above[other].append(one)
                self._below[one].append(other)
        rows: list[list[object]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
        for box in self.sizes:
            rows[layer[box]].append(box)
        self._order(rows)
        self._place(rows)

    def _chain(self, edge: tuple[int, int], layer: dict[object, int]) -> list[object]:
        """Return the edge as a chain from layer to layer, with a bend in each that it passes."""
        start, end = edge
        bends: list[object] = [(edge, at) for at in range(layer[start] + 1, layer[end])]
        for at, bend in enumerate(bends, layer[start] + 1):
            layer[bend] = at
            self.sizes[bend] = (_BEND, 0)
        return [start, *bends, end]

    def _order(self, rows: list[list[object]]) -> None:
        """Sort each layer by the means of the neighbours in the one before it, down and up again; keep the best."""
        best, fewest = [list(row) for row in rows], _crossings(rows, self._below)
        for sweep in range(_SWEEPS):
            neighbours = self._above if sweep % 2 == 0 else self._below
            place: dict[object, float] = {}
            for row in rows if sweep % 2 == 0 else reversed(rows):
                own = {box: index for index, box in enumerate(row)}
                key = {box: _mean([place[one] for one in neighbours[box]], own[box]) for box in row}
                row.sort(key=lambda box: (key[box], own[box]))
                place.update((box, index) for index, box in enumerate(row))
            crossings = _crossings(rows, self._below)
            if crossings < fewest:
                best, fewest = [list(row) for row in rows], crossings
        rows[:] = best

    def _place(self, rows: list[list[object]]) -> None:
        center: dict[object, float] = {}
        for row in rows:
            at = 0.0
            for box in row:
                center[box] = at + self.sizes[box][0] / 2
                at += self.sizes[box][0] + GAP
        for sweep in range(_SWEEPS):
            # At last both sides count, so that a box stands between what it reads and what reads it.
            sides = [self._above] if sweep % 2 == 0 else [self._below]
            sides = sides if sweep < _SWEEPS - 2 else [self._above, self._below]
            for row in rows if sweep % 2 == 0 else reversed(rows):
                wanted = [_mean([center[one] for side in sides for one in side[box]], center[box]) for box in row]
                widths = [self.sizes[box][0] for box in row]
                center.update(zip(row, spread(wanted, widths)))
        left = min((center[box] - self.sizes[box][0] / 2 for box in center), default=0.0)
        self.boxes: dict[int, Point] = {}
        middle: dict[object, Point] = {}
        top = 0.0
        for row in rows:
            height = max(self.sizes[box][1] for box in row)
            for box in row:
                if not isinstance(box, int):  # an edge leads straight down past the boxes of a layer
                    self.sizes[box] = (_BEND, height)
                x, y = center[box] - left, top + height / 2
                middle[box] = (x, y)
                if isinstance(box, int):
                    self.boxes[box] = (x - self.sizes[box][0] / 2, y - self.sizes[box][1] / 2)
            top += height + LAYER_GAP
        self.height = max(top - LAYER_GAP, 0.0)
        self.width = max((x + self.sizes[box][0] for box, (x, _) in self.boxes.items()), default=0.0)
        self.routes = {edge: self._route(chain, middle) for edge, chain in self._chains.items()}

    def _route(self, chain: Sequence[object], middle: Mapping[object, Point]) -> list[Point]:
        ends = [((x, y - self.sizes[at][1] / 2), (x, y + self.sizes[at][1] / 2))
                for at, (x, y) in ((at, middle[at]) for at in chain)]
        return [ends[0][1], *(point for bend in ends[1:-1] for point in bend), ends[-1][0]]


def _without_circles(boxes: Iterable[int], edges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the edges but for those that close a circle, which two graphs laid over each other may hold."""
    kept = [edge for edge in edges if edge[0] != edge[1]]
    while True:
        before: dict[int, set[int]] = {box: set() for box in boxes}
        for one, other in kept:
            before[other].add(one)
        try:
            graphlib.TopologicalSorter(before).prepare()
            return kept
        except graphlib.CycleError as error:
            circle = error.args[1]  # each before the next one, the first again at the end
            kept.remove((circle[-2], circle[-1]))


def _layers(boxes: Iterable[int], edges: list[tuple[int, int]]) -> dict[object, int]:
    """Return the layer of each box: below all that it reads; what reads nothing stands right above its first user."""
    before: dict[int, set[int]] = {box: set() for box in boxes}
    users: dict[int, list[int]] = collections.defaultdict(list)
    for one, other in edges:
        before[other].add(one)
        users[one].append(other)
    layer: dict[object, int] = {}
    for box in graphlib.TopologicalSorter(before).static_order():
        layer[box] = 1 + max((layer[one] for one in before[box]), default=-1)
    for box in before:
        if not before[box] and users[box]:
            layer[box] = min(layer[user] for user in users[box]) - 1
    return layer


def _mean(numbers: Sequence[float], otherwise: float) -> float:
    return sum(numbers) / len(numbers) if numbers else otherwise


def _crossings(rows: list[list[object]], below: Mapping[object, list]) -> int:
    """Return how many pairs of edges cross; each pair of layers is counted in n log n."""
    import bisect

    crossings = 0
    for row, under in zip(rows, rows[1:]):
        place = {box: index for index, box in enumerate(under)}
        seen: list[int] = []
        for box in row:
            ends = sorted(place[one] for one in below[box])
            crossings += sum(len(seen) - bisect.bisect_right(seen, end) for end in ends)
            for end in ends:
                bisect.insort(seen, end)
    return crossings


def spread(wanted: Sequence[float], widths: Sequence[float]) -> list[float]:
    """Return centers that keep order and gaps and are as near to the wanted ones as that allows, in squares.

    >>> spread([0.0, 0.0, 100.0], [10.0, 10.0, 10.0])
    [-17.0, 17.0, 100.0]
    """
    offsets = [0.0]
    for one, other in zip(widths, widths[1:]):
        offsets.append(offsets[-1] + (one + other) / 2 + GAP)
    blocks: list[list[float]] = []  # [sum of wanted places of the first box, how many boxes]
    for place, offset in zip(wanted, offsets):
        blocks.append([place - offset, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1] = [blocks[-1][0] + total, blocks[-1][1] + count]
    starts = [total / count for total, count in blocks for _ in range(int(count))]
    return [start + offset for start, offset in zip(starts, offsets)]
