"""What changed from one graph text to another, told without the names of values, so that edits can be compared.

Two edits are equal where the same calls came, went or became others, below the same operators and with the same
constants. Who uses the result is left out, and so are its types, where they are as before: a pass that puts a clone
after each relu makes the same edit of graphs that are otherwise quite different.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Container, Iterable, Iterator

from fxpect.errors import GraphTextError
from fxpect.text.matching import Matching
from fxpect.text.statements import HOLE, Function, Value, read

_LONGEST = 400


def edit_of(first: str, second: str) -> tuple[str, ...]:
    """Return what changed from the first text to the second as sorted lines, which are equal for equal edits.

    Where one text alone is a graph the other one says it, such as the error that a pass now raises; where neither is,
    the changed lines do.
    """
    ours, theirs = _graph(first), _graph(second)
    if first == second:
        return ("no change",)
    if ours and theirs:
        return tuple(sorted(_edits(ours, theirs))) or ("spacing only",)
    if ours or theirs:
        return (f"a graph became {second}" if ours else f"{first} became a graph",)
    before, after = Counter(first.split("\n")), Counter(second.split("\n"))
    gone, new = (before - after).elements(), (after - before).elements()
    return tuple([*(f"-{line}" for line in gone), *(f"+{line}" for line in new)]) or ("order only",)


def _graph(text: str) -> Function | None:
    try:
        return read(text)
    except GraphTextError:
        return None


def _edits(ours: Function, theirs: Function) -> list[str]:
    matching = Matching(ours, theirs)
    before, after = _labels(ours.values, matching.forward), _labels(theirs.values, matching.backward)
    notes = Counter(theirs.notes)
    notes.subtract(ours.notes)
    found = [f"{'+' if count > 0 else '-'}{line}" for line, count in notes.items() for _ in range(abs(count))]
    found += [f"+{label}" for place, label in enumerate(after) if place not in matching.backward]
    found += [f"-{label}" for place, label in enumerate(before) if place not in matching.forward]
    found += [f"{_filled(ours.values[one], before)} became {_filled(theirs.values[matching.forward[one]], after)}"
              for one in matching.changed]
    places = [matching.forward[place] for place in range(ours.inputs) if place in matching.forward]
    found += ["inputs in another order"] if places != sorted(places) else []
    found += [*_rewired(matching, before, after), *_types(matching), *_nested(ours, theirs)]
    if not found and matching.moved():
        found = sorted(_moved(matching))
    if not found and [value.name for value in ours.values] != [value.name for value in theirs.values]:
        found = ["names only"]
    return found


def _labels(values: list[Value], paired: Container[int]) -> list[str]:
    """Return a label for each value: the callee of one that stayed, the whole expression of one that did not."""
    labels: list[str] = []
    for place, value in enumerate(values):
        label = value.template.partition("(")[0] if place in paired else _filled(value, labels)
        if len(label) > _LONGEST:  # expressions of expressions: their size is not bounded by that of the text
            label = f"{label[:60]}...{hashlib.sha256(label.encode()).hexdigest()}"
        labels.append(label)
    return labels


def _filled(value: Value, labels: list[str]) -> str:
    return _joined(value.template.split(HOLE), [labels[source] for source in value.inputs])


def _joined(pieces: list[str], labels: Iterable[str]) -> str:
    rest = iter(pieces)
    return next(rest) + "".join(f"<{label}>{piece}" for label, piece in zip(labels, rest))


def _rewired(matching: Matching, before: list[str], after: list[str]) -> Iterator[str]:
    """Say what is read in the place of what; of values that were there all along, also by whom."""
    followed = set()
    for user, position, old, new in matching.rewired():
        text = f"{before[old]} gives way to {after[new]}"
        if old in matching.forward and new in matching.backward:
            yield f"in argument {position} of {before[user]} {text}"
        else:
            followed.add(text)
    yield from followed


def _types(matching: Matching) -> set[str]:
    """Return the dtypes and the shapes that became others, each pair once: most of them follow from the first."""
    found = set()
    for one, other in matching.forward.items():
        old, new = (str(values[place].type).partition("[") for values, place in
                    ((matching.first, one), (matching.second, other)))
        if one not in matching.changed:
            found |= {f"{before} became {after}" for before, after in ((old[0], new[0]), (old[2], new[2]))
                      if before != after}
    return found


def _nested(ours: Function, theirs: Function) -> list[str]:
    known = {child.name: child for child in theirs.nested}
    found = []
    for child in ours.nested:
        other = known.pop(child.name, None)
        found += [f"in a graph: {edit}" for edit in _edits(child, other)] if other else [f"-graph {_calls(child)}"]
    return found + [f"+graph {_calls(child)}" for child in known.values()]


def _calls(function: Function) -> str:
    return "; ".join(value.template for value in function.values)


def _moved(matching: Matching) -> set[str]:
    order = sorted(matching.backward)
    pairs = [(matching.backward[one], matching.backward[two]) for one, two in zip(order, order[1:])]
    return {f"{matching.first[later].template} comes before {matching.first[earlier].template}"
            for later, earlier in pairs if later > earlier}
