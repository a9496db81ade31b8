"""Match the values of two graphs whatever their names: first what is computed alike, then by neighbours."""

from __future__ import annotations

import difflib
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Any

from fxpect.text.statements import Function

_FEW = 1500


class Matching:
    """The pairs of two graphs: ``forward`` maps a position in the first to one in the second, ``backward`` back.

    Two values of a pair have the same template, except those in ``changed``, which only stand in the same place.
    """

    def __init__(self, first: Function, second: Function):
        self.first, self.second = first.values, second.values
        self.forward: dict[int, int] = {}
        self.backward: dict[int, int] = {}
        self.changed: set[int] = set()
        self._users = [_users(first), _users(second)]
        self._match_inputs(first.inputs, second.inputs)
        if self.first and self.second and self.first[-1].name == self.second[-1].name == "return":
            self._returns = (len(self.first) - 1, len(self.second) - 1)
        else:
            self._returns = (-1, -1)
        up, down = self._digests()
        for digests in ([list(zip(up[side], down[side])) for side in (0, 1)], up, down):
            self._match_equal(*digests)
        if self._returns[0] >= 0 and self._returns[0] not in self.forward:
            self._pair(*self._returns)
            if not self._same_template(*self._returns):
                self.changed.add(self._returns[0])
        self._spread(list(self.forward.items()))
        self._align()
        self._spread(list(self.forward.items()))
        self._pair_changed()

    def _pair(self, one: int, other: int) -> None:
        self.forward[one], self.backward[other] = other, one

    def _same_template(self, one: int, other: int) -> bool:
        return self.first[one].template == self.second[other].template

    def _match_inputs(self, ours: int, theirs: int) -> None:
        """Pair inputs by name, then what is left over by type, then in order."""
        for key in (lambda value: value.name, lambda value: value.type, lambda value: None):
            waiting: dict[Any, deque[int]] = defaultdict(deque)
            for place in range(theirs):
                if place not in self.backward:
                    waiting[key(self.second[place])].append(place)
            for place in range(ours):
                if place not in self.forward and waiting[key(self.first[place])]:
                    self._pair(place, waiting[key(self.first[place])].popleft())

    def _digests(self) -> tuple[list[list[int]], list[list[int]]]:
        """Return for each value a number for all that it is computed from, and one for all that is made of it."""
        numbers: dict[tuple, int] = {}

        def number(key: tuple) -> int:
            return numbers.setdefault(key, len(numbers))

        up, down = [], []
        for side, values in enumerate((self.first, self.second)):
            above: list[int] = []
            for place, value in enumerate(values):
                if value.template.startswith(("input", "*input", "**input")):
                    pair = place if side == 0 else self.backward.get(place, -1 - place)
                    above.append(number(("input", pair)))
                else:
                    above.append(number((value.template, *[above[item] for item in value.inputs])))
            below = [0] * len(values)
            for place in range(len(values) - 1, -1, -1):
                uses = sorted((below[user], position) for user, position in self._users[side][place])
                below[place] = number(("below", values[place].template, *uses))
            up.append(above)
            down.append(below)
        return up, down

    def _match_equal(self, ours: list, theirs: list) -> None:
        waiting: dict = defaultdict(deque)
        for place, digest in enumerate(theirs):
            if place not in self.backward:
                waiting[digest].append(place)
        for place, digest in enumerate(ours):
            if place not in self.forward and waiting.get(digest):
                self._pair(place, waiting[digest].popleft())

    def _spread(self, pairs: list[tuple[int, int]]) -> None:
        """From pairs that are known, pair their arguments and users where these do the same."""
        queue = deque(pairs)
        while queue:
            one, other = queue.popleft()
            found: list[tuple[int, int]] = []
            if len(self.first[one].inputs) == len(self.second[other].inputs) and one not in self.changed:
                found += zip(self.first[one].inputs, self.second[other].inputs)
            theirs: dict[tuple[str, int], deque[int]] = defaultdict(deque)
            for user, position in self._users[1][other]:
                if user not in self.backward:
                    theirs[self.second[user].template, position].append(user)
            for user, position in self._users[0][one]:
                if user not in self.forward and theirs.get((self.first[user].template, position)):
                    found.append((user, theirs[self.first[user].template, position].popleft()))
            for pair in found:
                if pair[0] not in self.forward and pair[1] not in self.backward and self._same_template(*pair):
                    self._pair(*pair)
                    queue.append(pair)

    def _left(self) -> tuple[list[int], list[int]]:
        return ([place for place in range(len(self.first)) if place not in self.forward],
                [place for place in range(len(self.second)) if place not in self.backward])

    def _align(self) -> None:
        """Pair what is left over in order of the lines, where it does the same."""
        ours, theirs = self._left()
        if len(ours) > _FEW or len(theirs) > _FEW:
            self._match_equal([value.template for value in self.first], [value.template for value in self.second])
            return
        matcher = difflib.SequenceMatcher(
            None, [self.first[place].template for place in ours], [self.second[place].template for place in theirs],
            autojunk=False)
        for block in matcher.get_matching_blocks():
            for step in range(block.size):
                self._pair(ours[block.a + step], theirs[block.b + step])

    def _pair_changed(self) -> None:
        """Pair a value with the one that took its place: the same users, or the same arguments, another call."""
        for key in (self._place_among_users, self._place_among_inputs):
            ours, theirs = self._left()
            waiting: dict[tuple, deque[int]] = defaultdict(deque)
            for place in theirs:
                waiting[key(1, place)].append(place)
            for place in ours:
                mark = key(0, place)
                if mark and waiting.get(mark):
                    self._pair(place, waiting[mark].popleft())
                    self.changed.add(place)

    def _place_among_users(self, side: int, place: int) -> tuple:
        mapped = [(self.forward.get(user, None) if side == 0 else user, position)
                  for user, position in self._users[side][place]]
        return tuple(sorted(mapped)) if all(user is not None for user, _ in mapped) else ()

    def _place_among_inputs(self, side: int, place: int) -> tuple:
        values = self.first if side == 0 else self.second
        mapped = [self.forward.get(item, -1) if side == 0 else item for item in values[place].inputs]
        return () if -1 in mapped else tuple(mapped)

    def rewired(self) -> list[tuple[int, int, int, int]]:
        """Return (user, position, value before, value after) where a paired user reads another value now."""
        found = []
        for one, other in self.forward.items():
            ours, theirs = self.first[one].inputs, self.second[other].inputs
            if len(ours) == len(theirs):
                found += [(one, position, before, after) for position, (before, after) in enumerate(zip(ours, theirs))
                          if self.forward.get(before) != after]
        return found

    def moved(self) -> int:
        """Return how many paired lines stand in another order: all but the longest run that kept its order."""
        return len(self.forward) - len(longest_increasing(self.forward[place] for place in sorted(self.forward)))


def _users(function: Function) -> list[list[tuple[int, int]]]:
    users: list[list[tuple[int, int]]] = [[] for _ in function.values]
    for place, value in enumerate(function.values):
        for position, source in enumerate(value.inputs):
            users[source].append((place, position))
    return users


def longest_increasing(numbers: Iterable[int]) -> list[int]:
    """Return the last items of the best increasing runs; its length is that of the longest one."""
    import bisect

    tails: list[int] = []
    for number in numbers:
        place = bisect.bisect_left(tails, number)
        tails[place:place + 1] = [number]
    return tails
