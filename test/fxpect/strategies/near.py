"""Near misses: examples one or a few edits away from an innocent model's own graph."""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

from fxpect.capture import capture as capture_model
from fxpect.contracts import Contract
from fxpect.errors import FxpectError
from fxpect.examples import Example
from fxpect.strategies.directions import (
    arguments,
    arrangement,
    attributes,
    inputs,
    literals,
    members,
    modules,
    mutation,
    operands,
    pieces,
    regrouped,
    runs,
    spelling,
    strides,
    structure,
)
from fxpect.strategies.draft import Draft, Edit, Inapplicable
from fxpect.strategies.trial import trying

DEFAULT_CAPTURE = "export"
DIRECTIONS = {
    "extra_users": operands.extra_users,
    "keywords": arguments.keywords,
    "dtypes": inputs.dtypes,
    "values": arguments.values,
    "writes": mutation.writes,
    "operands": operands.operands,
    "copies": structure.copies,
    "defaults": arguments.defaults,
    "sizes": inputs.sizes,
    "spellings": spelling.spellings,
    "sections": pieces.sections,
    "outputs": operands.outputs,
    "reads": pieces.reads,
    "inserted": structure.inserted,
    "operand_lists": operands.operand_lists,
    "members": members.members,
    "input_values": inputs.values,
    "modules": modules.configurations,
    "modes": modules.modes,
    "sharing": modules.sharing,
    "single_site": arguments.single_site,
    "fresh_operands": operands.fresh_operands,
    "random": structure.random_operators,
    "out": arguments.out_buffer,
    "in_place": mutation.in_place_spelling,
    "epilogue": mutation.epilogue,
    "exchanged": structure.exchanged,
    "together": arguments.together,
    "literals": literals.literals,
    "regrouped": regrouped.regrouped,
    "runs": runs.runs,
    "equations": arguments.equations,
    "gradients": inputs.gradients,
    "layouts": inputs.layouts,
    "absent_operands": operands.absent_operands,
    "one_input": operands.one_input,
    "removed": structure.removed,
    "neighbours": structure.neighbours,
    "ranks": inputs.ranks,
    "sequences": arguments.sequences,
    "order": arrangement.order,
    "tensors_for_numbers": operands.tensors_for_numbers,
    "restrided": strides.restrided,
    "regions": arrangement.regions,
    "signature": arrangement.signature,
    "attributes": attributes.attributes,
    "everything": attributes.everything,
    "unread_inputs": arrangement.unread_inputs,
}


def edits(example: Example, directions: tuple[str, ...] | None = None,
          errors: list[tuple[str, Exception]] | None = None, *, outside: bool = False) -> dict[str, list[Edit]]:
    """Return every edit that ``example`` offers, by direction; raises ``FxpectError`` for an unknown one.

    ``outside`` adds those that leave the contract of the example's stage.

    A direction that cannot read an odd graph is a flaw of that direction: it raises, or where ``errors`` is
    given is noted there and offers what it had until then.
    """
    draft = Draft(example, outside=outside, reading=True)
    found: dict[str, list[Edit]] = {}
    for name in directions or DIRECTIONS:
        if name not in DIRECTIONS:
            raise FxpectError(f"direction={name!r} is not one of {', '.join(DIRECTIONS)}")
        found[name] = []
        try:
            with trying():
                found[name].extend(DIRECTIONS[name](draft))
        except Exception as error:
            if errors is None:
                raise
            errors.append((name, error))
    return found


def step(example: Example, edit: Edit, *, outside: bool = False) -> Example:
    """Return ``example`` after one edit, typed again; ``example`` itself stays as it is.

    Raises ``Inapplicable`` where it does not type, or breaks the contract of its stage; with ``outside`` what
    breaks it is returned, marked.
    """
    draft = Draft(example, outside=outside)
    try:
        edit.apply(draft)
    except Inapplicable:
        raise
    except Exception as error:  # torch refuses the step while it is taken, such as a size that does not fit
        raise Inapplicable(f"{type(error).__name__}: {error}") from error
    return draft.finish(edit, example)


def round_robin(groups: dict[str, list[Edit]], rng: random.Random) -> Iterator[Edit]:
    """Yield every edit once, one of each direction in turn, shuffled within a direction by ``rng``.

    Within a direction an edit whose trigger was not seen yet comes before one whose trigger was; an odd value
    waits as many turns as its rank says.
    """
    queues = []
    for group in groups.values():
        group = list(group)
        rng.shuffle(group)
        seen: dict[str, int] = {}
        ranked = []
        for edit in group:
            seen[edit.trigger] = seen.get(edit.trigger, 0) + 1
            ranked.append((seen[edit.trigger] + edit.rank, edit.rank, edit))
        ranked.sort(key=lambda item: item[:2])
        queues.append([edit for _, _, edit in ranked])
    position = 0
    while any(position < len(queue) for queue in queues):
        for queue in queues:
            if position < len(queue):
                yield queue[position]
        position += 1


def near(model: Any, *specs: Any, capture: str | None = None, dynamic: Any = None,
         directions: tuple[str, ...] | None = None, max_edits: int = 2, outside: bool = False,
         contract: Contract | None = None) -> st.SearchStrategy[Example]:
    """Return a strategy of examples up to ``max_edits`` edits away from the model's own graph.

    The model is captured once, on the first draw: as ``capture`` says, else as the test class that explores the
    strategy does, else by "export". Examples keep ``contract``, by default that of the capture; ``outside`` also
    gives those that break it, marked ``example.outside``. Shrinks toward the unedited model.
    """
    @functools.cache
    def strategy(name: str) -> st.SearchStrategy[Example]:
        @functools.cache
        def base() -> Example:
            example = capture_model(model, specs, capture=name, dynamic=dynamic).portable()
            return example.replace(contract=contract) if contract is not None else example

        @functools.cache
        def singles() -> list[Edit]:
            return list(round_robin(edits(base(), directions, outside=outside), random.Random(0)))

        return _near(base, singles, tuple(directions or DIRECTIONS), max_edits, outside)

    found = strategy(capture or DEFAULT_CAPTURE)
    if capture is None:
        found.for_capture = strategy  # what an exploring test class asks for
    return found


_COUNTS = (0, 1, 1, 1, 1, 1, 1, 2, 3, 4)  # one edit is the rule, and none the smallest example


@st.composite
def _near(draw: Any, base: Callable[[], Example], singles: Callable[[], list[Edit]], directions: tuple[str, ...],
          max_edits: int, outside: bool) -> Example:
    example = base()
    for taken in range(min(max_edits, _COUNTS[draw(st.integers(0, len(_COUNTS) - 1))])):
        rng = random.Random(draw(st.integers(0, 2**32 - 1)))  # Hypothesis itself draws small numbers far more often
        example = _walk(example, directions, rng, outside) if taken else \
            _one_of(example, singles(), rng.random(), outside)
    return example


def _one_of(example: Example, ordered: list[Edit], place: float, outside: bool) -> Example:
    """Take the edit at a place between 0 and 1, or the nearest after it that types; the first are likelier.

    These are one of each direction and kind: what has many variants, such as a number, does not hide the rest.
    """
    start = int(len(ordered) * place**2)
    for edit in ordered[start:start + 4]:
        with contextlib.suppress(Inapplicable):
            return step(example, edit, outside=outside)
    return example


def _walk(example: Example, directions: tuple[str, ...], rng: random.Random, outside: bool) -> Example:
    """Take an edit that types, of the first direction in a random order that has one: few draws are wasted."""
    for name in rng.sample(directions, len(directions)):
        groups: dict[str, list[Edit]] = {}
        for edit in edits(example, (name,), outside=outside)[name]:
            groups.setdefault(edit.trigger, []).append(edit)
        # Each kind of edit is as likely, however many ways there are to make it.
        for trigger in rng.sample(list(groups), min(4, len(groups))):
            with contextlib.suppress(Inapplicable):
                return step(example, rng.choice(groups[trigger]), outside=outside)
    return example
