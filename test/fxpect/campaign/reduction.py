"""Reduction: the fewest edits, then the smallest graph, that still fail in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from torch.utils import _pytree as pytree

from fxpect.errors import CheckFailure
from fxpect.examples import Example
from fxpect.oracles.judge import Result
from fxpect.strategies.directions import operands, structure
from fxpect.strategies.draft import Draft, Edit, Inapplicable
from fxpect.strategies.near import step

MAX_TRIES = 16


def reduce(example: Example, failure: CheckFailure, bases: list[Example],
           judge: Callable[[Example], Result]) -> tuple[Example, CheckFailure, tuple[str, ...]]:
    """Return a smaller example that fails with the same cause, its failure, and what was taken out of it.

    First edits are left out one at a time, replayed on the innocent example; then they are replayed where sizes are
    fixed, which reads better; then outputs are dropped, operators and unread inputs taken out while the failure
    stays. What the steps were is kept from the first two.
    """
    tries = 0

    def fails(candidate: Example) -> CheckFailure | None:
        nonlocal tries
        tries += 1
        result = judge(candidate)
        if result.discarded:
            return None
        return next((f for f in result.failures if f.cause == failure.cause), None)

    for simpler in (_fewer_edits, _fixed_sizes):
        for candidate in simpler(example, bases):
            found = fails(candidate)
            if found is not None:
                example, failure = candidate, found
                break
    taken_out: tuple[str, ...] = ()
    shrunk = True
    while shrunk and tries < MAX_TRIES:
        shrunk = False
        for what, candidate in _smaller_graphs(example):
            if tries >= MAX_TRIES:
                break
            found = fails(candidate)
            if found is not None:
                example, failure, shrunk = candidate, found, True
                taken_out = (*taken_out, what)
                break
    return example, failure, taken_out


def _fewer_edits(example: Example, bases: list[Example]) -> Iterator[Example]:
    """Yield the example with one edit alone, then with one edit left out, from each innocent example."""
    path = example.path
    if len(path) < 2:
        return
    shorter = [(edit,) for edit in path] + [(*path[:i], *path[i + 1:]) for i in range(len(path))]
    for base in bases:
        yield from _replayed(example, base, shorter)


def _fixed_sizes(example: Example, bases: list[Example]) -> Iterator[Example]:
    """Yield the same edits of each innocent example whose sizes are fixed, for an example whose sizes are open."""
    if example.path and example.is_dynamic:
        for base in bases:
            if not base.is_dynamic:
                yield from _replayed(example, base, [example.path])


def _replayed(example: Example, base: Example, paths: Iterable[tuple[Edit, ...]]) -> Iterator[Example]:
    """Yield what each of the paths leads to from a base, where it can be gone."""
    for path in paths:
        try:
            candidate = base
            for edit in path:
                candidate = step(candidate, edit, outside=example.outside)
        except Inapplicable:
            continue
        yield candidate


def _smaller_graphs(example: Example) -> Iterator[tuple[str, Example]]:
    """Yield the example with less in it, each with what was taken out; what its steps were stays."""
    draft = Draft(example)
    for direction in (operands.outputs, structure.removed, _unread_inputs):
        for edit in direction(draft):
            if "dropped" not in edit.what and "removed" not in edit.what:
                continue
            try:
                smaller = step(example, edit, outside=example.outside)
            except Inapplicable:
                continue
            if _size(smaller) < _size(example):
                yield edit.what, smaller.replace(edits=example.edits, triggers=example.triggers, path=example.path)


def _unread_inputs(draft: Draft) -> Iterator[Edit]:
    """Offer to leave out each tensor that nothing reads, such as one of a call that was taken out.

    The inputs that are open sizes stay: dynamo lifts each of them, read or not.
    """
    for node in draft.placeholders:
        if not node.users and draft.tensor(node) is not None:
            def apply(smaller: Draft, name: str = node.name) -> None:
                smaller.drop_input(smaller.node(name))

            yield Edit("structure", f"{node.name} removed, nothing read instead", "input removed", apply)


def _size(example: Example) -> tuple[int, int]:
    """Return how many nodes a graph has, and outputs: a write stays where nothing reads it any more."""
    graph = example.graph_module.graph
    return len(graph.nodes), len(pytree.tree_leaves(graph.output_node().args))
