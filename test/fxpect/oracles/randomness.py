"""Which nodes draw random numbers, and how much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.utils import _pytree as pytree

from fxpect.oracles.memory import strides_that_show
from fxpect.oracles.observe import observe
from fxpect.oracles.rounding import CleanRun, base_name

if TYPE_CHECKING:
    from fxpect.oracles.evidence import Evidence


def drawn(gm: torch.fx.GraphModule, args: list[Any], seed: int) -> list[tuple[torch.fx.Node, list[torch.Tensor]]]:
    """Return the nodes that draw from the global generator, in order, and the tensors that each gives."""
    runs: list[CleanRun] = []

    def make(module: torch.fx.GraphModule) -> CleanRun:
        runs.append(CleanRun(module))
        return runs[-1]

    observe(gm, args, seed=seed, interpreter=make)
    return [(node, clean.values) for node, clean in runs[0].nodes.items() if clean.generator is not None]


def draws(gm: torch.fx.GraphModule, args: list[Any], seed: int) -> list[tuple[torch.fx.Node, int]]:
    """Return the nodes that draw from the global generator, in order, and how many elements each gives."""
    return [(node, sum(value.numel() for value in values)) for node, values in drawn(gm, args, seed)]


def drawn_in_another_order(evidence: Evidence) -> bool:
    """Whether both graphs draw as much, node by node, only in tensors whose memory is laid out in another way.

    Which number comes where, and how many the generator is asked for, hangs on that.
    """
    before, after = (
        [value.detach() for _, values in drawn(gm, evidence.args, evidence.seed) for value in values]
        for gm in (evidence.before, evidence.after)
    )
    if [value.shape for value in before] != [value.shape for value in after]:
        return False
    return any(strides_that_show(old) != strides_that_show(new) for old, new in zip(before, after, strict=True))


def live(graph: torch.fx.Graph) -> set[torch.fx.Node]:
    """Return the nodes that an output depends on (through arguments; writes in place are not followed)."""
    found: set[torch.fx.Node] = set()
    stack = [graph.output_node()]
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack.extend(node.all_input_nodes)
    return found


def random_outputs(evidence: Evidence) -> set[int]:
    """Return the flat outputs of the graph before the pass that depend on a draw."""
    touched: set[torch.fx.Node] = set()
    clean = evidence.arbiter.clean
    for node in evidence.before.graph.nodes:
        if node not in clean:
            continue
        if clean[node].generator is not None or any(arg in touched for arg in node.all_input_nodes):
            touched.add(node)
            if clean[node].inplace:
                touched.update(node.all_input_nodes)
    leaves = flat_outputs(evidence.before, {node.name: len(given.values) for node, given in clean.items()})
    return {i for i, leaf in enumerate(leaves) if leaf in touched}


def flat_outputs(gm: torch.fx.GraphModule, counts: Mapping[str, int]) -> list[Any]:
    """Return what gives each flat output, a node as often as it gives tensors; ``counts`` are those, by name."""
    output = next(iter(gm.graph.find_nodes(op="output")))  # not always the last node of a graph that a pass made
    leaves = pytree.tree_leaves(output.args[0])
    return [leaf for leaf in leaves for _ in range(counts.get(leaf.name, 1) if isinstance(leaf, torch.fx.Node) else 1)]


def compare_draws(evidence: Evidence) -> tuple[str, str, str | None]:
    """Return (cause, message, node) for two graphs that leave the generator in different states."""
    before = draws(evidence.before, evidence.args, evidence.seed)
    after = draws(evidence.after, evidence.args, evidence.seed)
    said = f"expected draws {_words(before)}; got {_words(after)}"
    if sum(n for _, n in after) > sum(n for _, n in before) or (after and not before):
        return "rng:draws-added", said, after[0][0].name
    alive = live(evidence.before.graph)
    useful = [(node, n) for node, n in before if node in alive]
    if sum(n for _, n in after) < sum(n for _, n in useful):
        kept = {node.name for node, _ in after}
        gone = next((node.name for node, _ in useful if node.name not in kept), None)
        return "rng:draws-merged", f"independent draws became fewer: {said}", gone
    if sum(n for _, n in after) < sum(n for _, n in before):
        return "rng:draws-removed", f"unused draws are gone: {said}", None
    return "rng:consumption", f"the generator ends in another state: {said}", None


def _words(drawn: list[tuple[torch.fx.Node, int]]) -> str:
    return "[" + ", ".join(f"{base_name(node)} x {count}" for node, count in drawn) + "]"
