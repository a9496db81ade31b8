"""Two graphs as one: each value once, with what it is in both, and the part of it that is worth drawing."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator

from fxpect.text.matching import Matching
from fxpect.text.statements import HOLE, Function, Value

SAME, CHANGED, FIRST, SECOND = "same", "changed", "first", "second"
# A graph of so many values is drawn whole; of a larger one what differs, and what is near to it.
MAX_DRAWN = 120
_NEAR = 2
Edge = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Node:
    """A value of one graph or of both; ``state`` is "same", "changed", "first" or "second" (only there).

    ``first`` and ``second`` are what the value is there, as (name, expression, type), None where it is not.
    """

    state: str
    first: tuple[str, str, str] | None
    second: tuple[str, str, str] | None

    @property
    def is_size(self) -> bool:
        """Whether it is a number that stands for a size, which nearly every other value may read."""
        return all(told is None or told[2].startswith("SymInt") for told in (self.first, self.second))


@dataclasses.dataclass(frozen=True)
class Union:
    """The values of both graphs, and the edges from a value to its user, in the first graph and in the second."""

    title: str
    nodes: tuple[Node, ...]
    first: frozenset[Edge]
    second: frozenset[Edge]

    @property
    def differs(self) -> bool:
        """Whether anything in it is not the same in both graphs."""
        return self.first != self.second or any(node.state != SAME for node in self.nodes)

    def marked(self) -> list[int]:
        """Return the values that differ, and those that an edge in one graph alone belongs to."""
        ends = {end for edge in self.first ^ self.second for end in edge}
        return [at for at, node in enumerate(self.nodes) if node.state != SAME or at in ends]

    def near(self) -> list[int]:
        """Return the values to draw, in order: all, or those that differ with what is next to them.

        Sizes that are the same in both are not drawn: the expressions name them, and their edges hide all else.
        """
        sizes = {at for at, node in enumerate(self.nodes) if node.is_size and node.state == SAME}
        if len(self.nodes) - len(sizes) <= MAX_DRAWN:
            return [at for at in range(len(self.nodes)) if at not in sizes]
        beside: dict[int, list[int]] = collections.defaultdict(list)
        for one, other in sorted(self.first | self.second):
            if not sizes & {one, other}:
                beside[one].append(other)
                beside[other].append(one)
        chosen = dict.fromkeys([at for at in self.marked() if at not in sizes][:MAX_DRAWN])
        edge = list(chosen)
        for _ in range(_NEAR):
            # A value that everybody reads would bring the whole graph in.
            edge = [other for one in edge if len(beside[one]) <= MAX_DRAWN // 4 for other in beside[one]
                    if other not in chosen]
            for other in edge:
                if len(chosen) < MAX_DRAWN:
                    chosen[other] = None
        return sorted(chosen)


def unions(ours: Function, theirs: Function) -> Iterator[Union]:
    """Yield the two graphs as one, then each pair of graphs nested in them; of nested ones those that differ."""
    yield _union(ours, theirs, "")
    yield from _nested(ours, theirs, "")


def _nested(ours: Function, theirs: Function, path: str) -> Iterator[Union]:
    known = {child.name: child for child in theirs.nested}
    empty = Function("")
    pairs = [(child, known.pop(child.name, empty)) for child in ours.nested]
    for child, other in [*pairs, *((empty, child) for child in known.values())]:
        title = f"{path}{child.name or other.name}"
        union = _union(child, other, title)
        if union.differs:
            yield union
        yield from _nested(child, other, f"{title}.")


def _union(ours: Function, theirs: Function, title: str) -> Union:
    matching = Matching(ours, theirs)
    place = {}  # of a value of the second graph among the nodes
    nodes = []
    for at, value in enumerate(ours.values):
        other = matching.forward.get(at)
        if other is None:
            nodes.append(Node(FIRST, _shown(value, ours), None))
            continue
        place[other] = at
        theirs_too = theirs.values[other]
        same = value.template == theirs_too.template and value.type == theirs_too.type
        nodes.append(Node(SAME if same else CHANGED, _shown(value, ours), _shown(theirs_too, theirs)))
    for at, value in enumerate(theirs.values):
        if at not in place:
            place[at] = len(nodes)
            nodes.append(Node(SECOND, None, _shown(value, theirs)))
    return Union(title, tuple(nodes), frozenset(_edges(ours, range(len(ours.values)))),
                 frozenset(_edges(theirs, [place[at] for at in range(len(theirs.values))])))


def _edges(function: Function, place: Iterable[int]) -> Iterator[Edge]:
    places = list(place)
    for at, value in enumerate(function.values):
        yield from ((places[source], places[at]) for source in value.inputs)


def _shown(value: Value, function: Function) -> tuple[str, str, str]:
    """Return name, expression and type of a value as a person reads them."""
    pieces = value.template.split(HOLE)
    expression = value.template
    if len(pieces) == len(value.inputs) + 1:
        names = [function.values[source].name for source in value.inputs]
        expression = pieces[0] + "".join(name + piece for name, piece in zip(names, pieces[1:]))
    return value.name, expression.removeprefix("torch.ops."), value.type or ""
