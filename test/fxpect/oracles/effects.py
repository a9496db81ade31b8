"""Oracle: the graph after the pass leaves the world as the graph before it does."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from fxpect.errors import CheckFailure
from fxpect.oracles.attributes import find_attribute_changes
from fxpect.oracles.difference import form_difference, same_bits
from fxpect.oracles.evidence import ERROR, NOTE, Evidence, raise_first
from fxpect.oracles.memory import overlap, same_window, storage_key
from fxpect.oracles.observe import Key, Observation


def check_effects(evidence: Evidence) -> None:
    """Raise when the runs differ in what they write, what aliases what, or what they draw.

    Inputs and module tensors must hold the same values afterwards, the same pairs of inputs, outputs and
    module tensors must overlap, the generator must be in the same state, and outputs must require grad
    and be leaves alike. Whether an output is the very input, or a view of it, counts where a caller gets
    what the graph returns (``evidence.returns_as_is``); elsewhere it is a note. Misses: writes to memory that
    no input, output or attribute shows; aliasing of tensors above a million elements that only interleave;
    generators other than the CPU's global one.
    """
    raise_first(find_effects(evidence))


def find_effects(evidence: Evidence) -> Iterator[CheckFailure]:
    """Yield every effect that differs: writes first, then aliasing, random numbers, autograd flags."""
    before, after = evidence.expected, evidence.actual
    for i, arg in enumerate(before.args):
        if isinstance(arg, torch.Tensor):
            yield from _written(
                evidence,
                ("input", i),
                f"input {_input_name(evidence, i)}",
                arg,
                after.args[i],
                before.initial[i],
            )
    if evidence.state_before or evidence.before._modules:
        yield from _attributes(evidence, before, after)
    yield from _aliasing(evidence, before, after)
    yield from _random(evidence, before, after)
    for i, (old, new) in enumerate(zip(before.leaves, after.leaves, strict=False)):
        if isinstance(old, torch.Tensor) and isinstance(new, torch.Tensor) and old.requires_grad != new.requires_grad:
            yield evidence.failure(
                "effects",
                "requires-grad",
                f"output {i}: expected requires_grad={old.requires_grad}; got {new.requires_grad}",
                node=evidence.output_name(i),
            )
        elif _is_leaf(old) != (leaf := _is_leaf(new)):
            yield evidence.failure(
                "effects",
                "leaf",
                f"output {i}: expected is_leaf={not leaf}; got {leaf}: a gradient that reaches it "
                f"{'is kept there' if leaf else 'is no longer kept there'}",
                node=evidence.output_name(i),
            )


def _is_leaf(value: object) -> bool:
    """Whether this is a tensor in which autograd collects a gradient."""
    try:
        return isinstance(value, torch.Tensor) and value.requires_grad and value.is_leaf
    except RuntimeError:  # one of several views of what is written to: autograd does not say
        return False


def _attributes(evidence: Evidence, before: Observation, after: Observation) -> Iterator[CheckFailure]:
    """Yield attributes that the run leaves with other values, and what the pass did to the module itself."""
    for path, tensor in before.state.items():
        if path in after.state and path not in evidence.changed_attributes:
            initial = evidence.state_before[path]
            what = f"attribute {path}"
            yield from _written(evidence, ("state", path), what, tensor, after.state[path], initial)
    yield from find_attribute_changes(evidence)


def _input_name(evidence: Evidence, i: int) -> str:
    nodes = evidence.before.graph.find_nodes(op="placeholder")
    return f"{i} ({nodes[i].target})" if i < len(nodes) else str(i)


def _written(
    evidence: Evidence, key: Key, what: str, old: torch.Tensor, new: torch.Tensor, initial: torch.Tensor
) -> Iterator[CheckFailure]:
    form = form_difference(old, new)
    if form is not None:
        yield evidence.failure("effects", f"{key[0]}-{form.kind}", f"{what} after the call: {form}")
        return
    if same_bits(old, new):
        return
    wrong = evidence.arbiter.judge(key, old, new)
    if wrong is None:
        return
    writes = [form_difference(t, initial) is not None or not same_bits(t, initial) for t in (old, new)]
    cause = {(True, False): "not-mutated", (False, True): "mutated"}.get((writes[0], writes[1]), f"{wrong.kind}")
    said = {
        "not-mutated": "the graph before writes to it, the graph after does not; ",
        "mutated": "the graph before leaves it alone, the graph after writes to it; ",
    }.get(cause, "")
    yield evidence.failure("effects", f"{key[0]}-{cause}", f"{what} after the call: {said}{wrong}")


def _named(seen: Observation) -> list[tuple[Key, torch.Tensor]]:
    return [
        (key, value)
        for key, value in seen.values().items()
        if key[0] != "grad" and isinstance(value, torch.Tensor) and value.numel()
    ]


def _shares(seen: Observation) -> bool:
    """Whether any two of the inputs, outputs and attributes of a run lie in one storage."""
    tensors = (*seen.args, *seen.leaves, *seen.state.values())
    keys = [storage_key(value) for value in tensors if isinstance(value, torch.Tensor)]
    return len(set(keys)) < len(keys)


def aliases(seen: Observation) -> dict[tuple[Key, Key], tuple[torch.Tensor, torch.Tensor]]:
    """Return the pairs of inputs, outputs and attributes of a run that overlap, outputs last in each pair."""
    groups: dict[int, list[tuple[Key, torch.Tensor]]] = {}
    for key, tensor in reversed(_named(seen)):
        groups.setdefault(storage_key(tensor), []).append((key, tensor))
    return {
        (key_a, key_b): (a, b)
        for group in groups.values()
        if len(group) > 1
        for n, (key_a, a) in enumerate(group)
        for key_b, b in group[n + 1 :]
        if overlap(a, b)
    }


def _aliasing(evidence: Evidence, before: Observation, after: Observation) -> Iterator[CheckFailure]:
    if not _shares(before) and not _shares(after):
        return
    old, new = aliases(before), aliases(after)
    for pair in sorted(old.keys() ^ new.keys(), key=repr):
        known = all(key in seen.values() for key in pair for seen in (before, after))
        if known:
            yield _alias_failure(evidence, pair, pair in new)
    for pair in sorted(old.keys() & new.keys(), key=repr):
        output, source = pair[1], pair[0]
        if output[0] != "output" or source[0] == "output":
            continue
        (base_a, leaf_a), (base_b, leaf_b) = old[pair], new[pair]
        if leaf_a.shape == leaf_b.shape and not same_window(leaf_a, leaf_b):
            yield evidence.failure(
                "effects",
                "alias-elements",
                f"{_words(output)} is a view of {_words(source)}: expected {_window(leaf_a)}; got {_window(leaf_b)}",
                node=evidence.output_name(output[1]),
            )
        elif (leaf_a is base_a) != (leaf_b is base_b):
            yield evidence.failure(
                "effects",
                "output-identity",
                f"{_words(output)}: expected "
                f"{'the very tensor' if leaf_a is base_a else 'a view'} of {_words(source)}; got "
                f"{'the very tensor' if leaf_b is base_b else 'a view'}",
                node=evidence.output_name(output[1]),
                severity=ERROR if evidence.returns_as_is else NOTE,
            )


def _alias_failure(evidence: Evidence, pair: tuple[Key, Key], is_new: bool) -> CheckFailure:
    source, output = pair
    if {source[0], output[0]} == {"output"}:
        cause = "outputs-alias" if is_new else "outputs-no-longer-alias"
    elif output[0] == "output":
        cause = f"output-aliases-{source[0]}" if is_new else f"output-no-longer-aliases-{source[0]}"
    else:
        cause = "inputs-alias"
    does, did = ("overlap", "do not") if is_new else ("do not overlap", "do")
    node = evidence.output_name(output[1]) if output[0] == "output" else None
    return evidence.failure(
        "effects",
        cause,
        f"{_words(output)} and {_words(source)}: after the pass they {does} in memory; before it they {did}",
        node=node,
    )


def _words(key: Key) -> str:
    return f"{'attribute' if key[0] == 'state' else key[0]} {key[1]}"


def _window(tensor: torch.Tensor) -> str:
    return f"offset {tensor.storage_offset()}, shape {list(tensor.shape)}, stride {tensor.stride()}"


def _random(evidence: Evidence, before: Observation, after: Observation) -> Iterator[CheckFailure]:
    if before.rng is None or after.rng is None or torch.equal(before.rng, after.rng):
        return
    from fxpect.oracles.randomness import compare_draws, drawn_in_another_order

    cause, message, node = compare_draws(evidence)
    severity = NOTE if drawn_in_another_order(evidence) else ERROR
    yield evidence.failure("effects", cause, message, node=node, severity=severity)
