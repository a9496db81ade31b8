"""Compare two graph texts modulo renaming, and say in words what changed before showing lines."""

from __future__ import annotations

import difflib
import re
from collections import Counter, defaultdict
from dataclasses import dataclass

from fxpect.errors import GraphTextError
from fxpect.text.matching import Matching
from fxpect.text.statements import HOLE, Function, Value, read

SAME, NAMES, ORDER, CHANGED = "same", "names only", "order only", "changed"
_MOST_CLAUSES = 12
_MOST_NAMES = 3
_CLOSE = '"]'  # of self["layers.1"]


@dataclass(frozen=True)
class Diff:
    """The difference of two graph texts.

    ``kind`` is "same", "names only", "order only" or "changed"; ``summary`` says it in words; ``lines`` is a unified
    diff in which the second text carries the names of the first, so that only real changes show.
    """

    kind: str
    summary: str
    lines: list[str]
    limit: int = 200
    rest: str = "Diff.lines has them all"

    def __str__(self) -> str:
        shown = self.lines[:self.limit]
        more = len(self.lines) - len(shown)
        return "\n".join([self.summary, *shown, *([f"... {more} more lines: {self.rest}"] if more else [])])


def graph_diff(first: str, second: str, *, limit: int = 200, rest: str | None = None) -> Diff:
    """Return what changed from the first graph text to the second.

    ``str()`` of the result shows at most ``limit`` lines and then ``rest``, which should say where the whole is.
    Raises GraphTextError when one of them is not a graph text.
    """
    pointer = rest or "Diff.lines has them all"
    ours, theirs = read(first), read(second)
    if first == second:
        return Diff(SAME, "no change", [], limit, pointer)
    clauses, kind = _compare(ours, theirs, "")
    renamed = _Renamed().lines(theirs, ours)
    lines = list(difflib.unified_diff(_shown(ours), renamed, "before", "after", n=1, lineterm=""))
    if len(clauses) > _MOST_CLAUSES:
        clauses = [*clauses[:_MOST_CLAUSES], f"{len(clauses) - _MOST_CLAUSES} more changes"]
    return Diff(kind, "; ".join(clauses) or "spacing only", lines, limit, pointer)


def in_words(first: str, second: str) -> str:
    """Return in words how two texts differ; by their length alone where one of them is no graph text."""
    try:
        return graph_diff(first, second).summary
    except GraphTextError:
        return f"{len(first.splitlines())} lines before, {len(second.splitlines())} lines after"


def aligned(first: str, second: str) -> tuple[list[str], list[str]]:
    """Return the lines of both graph texts, an input on each, those of the second under the names of the first.

    Raises GraphTextError when one of them is not a graph text.
    """
    ours, theirs = read(first), read(second)
    return _shown(ours), _Renamed().lines(theirs, ours)


def _compare(ours: Function, theirs: Function, where: str) -> tuple[list[str], str]:
    """Return the clauses for two functions and the graphs nested in them, and the strongest kind of change."""
    matching = Matching(ours, theirs)
    clauses = [*_notes(ours, theirs), *_inputs(matching, ours, theirs), *_added(matching, ours, theirs),
               *_replaced(matching), *_rewired(matching), *_types(matching)]
    kind = CHANGED if clauses else SAME
    moved = matching.moved()
    if not clauses and moved:
        kind, clauses = ORDER, [f"order only: {_count(moved, 'line')} moved"]
    elif not clauses and [value.name for value in ours.values] != [value.name for value in theirs.values]:
        kind, clauses = NAMES, [_names(matching, ours)]
    if where:
        clauses = [f"in {where}: {clause}" for clause in clauses]
    known = {child.name: child for child in theirs.nested}
    for child in ours.nested:
        other = known.pop(child.name, None)
        inner, strength = ([f"-graph {child.name}"], CHANGED) if other is None else _compare(child, other, child.name)
        clauses, kind = clauses + inner, max(kind, strength, key=(SAME, NAMES, ORDER, CHANGED).index)
    if known:
        clauses, kind = clauses + [f"+graph {name}" for name in known], CHANGED
    return clauses, kind


def _notes(ours: Function, theirs: Function) -> list[str]:
    """Return what changed among declarations, ranges and the signature."""
    before, after = Counter(ours.notes), Counter(theirs.notes)
    gone, new = list((before - after).elements()), list((after - before).elements())
    both = set(map(_declared, gone)) & set(map(_declared, new))
    lines = [f"{sign}{line}" for sign, notes in (("-", gone), ("+", new)) for line in notes if _declared(line) in both]
    return [*(f"declared otherwise: {line}" for line in _few(lines)),
            *(f"{words}: {', '.join(_few(_outermost(notes, both)))}"
              for words, notes in (("no longer declared", gone), ("newly declared", new)) if _outermost(notes, both))]


def _declared(line: str) -> str:
    """Return what a note declares: ``self.w`` of ``self.w: "f32[2]"``."""
    return re.split(r" = |: ", line, maxsplit=1)[0]


def _outermost(notes: list[str], known: set[str]) -> list[str]:
    """Return what notes declare, but not what ``known`` holds, nor a part of something among them."""
    names = dict.fromkeys(name for name in map(_declared, notes) if name not in known)
    roots = tuple(f"{name.removesuffix(_CLOSE)}." for name in names)
    return [name for name in names if not name.startswith(roots)]


def _inputs(matching: Matching, ours: Function, theirs: Function) -> list[str]:
    clauses = []
    gone = [ours.values[place].name for place in range(ours.inputs) if place not in matching.forward]
    new = [theirs.values[place].name for place in range(theirs.inputs) if place not in matching.backward]
    if gone or new:
        clauses.append("inputs: " + ", ".join([f"-{name}" for name in gone] + [f"+{name}" for name in new]))
    order = [matching.forward[place] for place in range(ours.inputs) if place in matching.forward]
    if order != sorted(order):
        clauses.append("inputs in another order")
    return clauses


def _added(matching: Matching, ours: Function, theirs: Function) -> list[str]:
    """Say which calls came and went, and after what."""
    came: dict[str, list[str]] = defaultdict(list)
    for place in range(theirs.inputs, len(theirs.values)):
        if place not in matching.backward:
            value = theirs.values[place]
            near = [ours.values[matching.backward[item]].name for item in value.inputs if item in matching.backward]
            came[value.word].append(near[0] if near else "")
    went = Counter(ours.values[place].word for place in range(ours.inputs, len(ours.values))
                   if place not in matching.forward)
    clauses = []
    for word, after in came.items():
        known = list(dict.fromkeys(name for name in after if name))
        clauses.append(f"+{len(after)} {word}" + (f" after {', '.join(_few(known))}" if known else ""))
    return clauses + [f"-{count} {word}" for word, count in went.items()]


def _replaced(matching: Matching) -> list[str]:
    """Say which calls became others: another operator, other constants, another way to pass an argument."""
    groups: Counter[str] = Counter()
    for one in matching.changed:
        before, after = matching.first[one], matching.second[matching.forward[one]]
        if before.name == "return":
            text = "the output has another form"
        elif before.word != after.word:
            text = f"{before.word} became {after.word}"
        elif before.template.partition("(")[0] != after.template.partition("(")[0]:
            text = f"{before.template.partition('(')[0]} became {after.template.partition('(')[0]}"
        else:
            text = f"arguments of {before.word}: {_arguments(before)} became {_arguments(after)}"
        groups[text] += 1
    return [text if count == 1 else f"{count} times {text}" for text, count in groups.items()]


def _arguments(value: Value) -> str:
    text = value.template.partition("(")[2]
    return f"({text}" if len(text) <= 60 else f"({text[:57]}..."


def _rewired(matching: Matching) -> list[str]:
    """Say which values lost users to another value; exchanged operands get their own word."""
    by_user: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for user, _, before, after in matching.rewired():
        by_user[user].append((before, after))
    clauses: list[str] = []
    lost: Counter[str] = Counter()
    swapped: Counter[str] = Counter()
    for user, pairs in by_user.items():
        if user not in matching.changed and sorted(matching.forward.get(before, -1) for before, _ in pairs) == sorted(
                after for _, after in pairs):
            swapped[matching.first[user].name] += 1
        else:
            lost.update(matching.first[before].name for before, _ in pairs)
    clauses += [f"operands of {name} exchanged" for name in _few(list(swapped))]
    clauses += [f"{_count(count, 'user')} of {name} rewired" for name, count in lost.most_common(_MOST_CLAUSES)]
    if len(lost) > _MOST_CLAUSES:
        clauses.append(f"users of {len(lost) - _MOST_CLAUSES} other values rewired")
    return clauses


def _types(matching: Matching) -> list[str]:
    changed = [(matching.first[one].name, matching.first[one].type, matching.second[other].type)
               for one, other in matching.forward.items()
               if one not in matching.changed and matching.first[one].type != matching.second[other].type]
    if changed and not any(value.type for value in matching.second):
        return ["no types any more"]
    if len(changed) == 1:
        return [f"type of {changed[0][0]}: {changed[0][1]} became {changed[0][2]}"]
    names = _few([name for name, _, _ in changed])
    return [f"types of {len(changed)} values ({', '.join(names)})"] if changed else []


def _names(matching: Matching, ours: Function) -> str:
    pairs = [(matching.first[one].name, matching.second[other].name) for one, other in matching.forward.items()]
    changed = [f"{before} is {after}" for before, after in pairs if before != after]
    inputs = sum(matching.first[place].name != matching.second[matching.forward[place]].name
                 for place in range(ours.inputs) if place in matching.forward)
    return f"names only: {', '.join(_few(changed))}" + (f" ({_count(inputs, 'input')} renamed)" if inputs else "")


def _few(items: list[str]) -> list[str]:
    more = len(items) - _MOST_NAMES
    return items if more <= 1 else [*items[:_MOST_NAMES], f"{more} more"]


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


class _Renamed:
    """Spell a graph with the names that its values have in the other one."""

    def lines(self, function: Function, other: Function, depth: int = 0) -> list[str]:
        """Return the lines of ``function`` with the names of ``other``."""
        matching = Matching(other, function)
        taken = {value.name for value in other.values}
        names: list[str] = []
        for place, value in enumerate(function.values):
            name = value.name
            if place in matching.backward:
                name = other.values[matching.backward[place]].name
            elif name in taken:
                base = re.sub(r"_\d+$", "", name)
                number = 1
                while f"{base}_new{number}" in taken:
                    number += 1
                name = f"{base}_new{number}"
                taken.add(name)
            names.append(name)
        known = {child.name: child for child in other.nested}
        nested = []
        for child in function.nested:
            nested += self.lines(child, known.get(child.name, child), depth + 1)
        return _spell(function, names, nested, depth)


def _shown(function: Function, depth: int = 0) -> list[str]:
    nested = [line for child in function.nested for line in _shown(child, depth + 1)]
    return _spell(function, [value.name for value in function.values], nested, depth)


def _spell(function: Function, names: list[str], nested: list[str], depth: int) -> list[str]:
    """Return the lines of a function, an input on each line, under the given names."""
    pad = "    " * depth
    lines = [pad + note for note in function.notes if note.startswith("@")]
    lines.append(f"{pad}def {function.name}(self):")
    lines += [f"{pad}    {note}" for note in function.notes if not note.startswith("@")]
    for place, value in enumerate(function.values):
        if place == function.inputs:
            lines += nested
        right = _filled(value, names)
        mark = "" if value.type is None else f': "{value.type}"'
        if value.name == "return" and place == len(function.values) - 1:
            lines.append(f"{pad}    return {right}")
        elif place < function.inputs:
            lines.append(f"{pad}    {names[place]}{mark} {right}")
        else:
            lines.append(f"{pad}    {names[place]}{mark} = {right}")
    return lines


def _filled(value: Value, names: list[str]) -> str:
    if not value.inputs:
        return value.template
    pieces = value.template.split(HOLE)
    if len(pieces) != len(value.inputs) + 1:
        return value.template
    return pieces[0] + "".join(names[source] + piece for source, piece in zip(value.inputs, pieces[1:]))
