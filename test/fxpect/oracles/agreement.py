"""Two runs that leave an oracle nothing to ask, told quickly: for many inputs of one rewrite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from fxpect.oracles.difference import same_bits
from fxpect.oracles.evidence import Evidence
from fxpect.oracles.memory import copy_args, storage_key
from fxpect.oracles.observe import generated_code, seeded
from fxpect.oracles.tracing import leaves_memory_unset


class QuickLook:
    """Two graphs that are run on one list of arguments after another, by their generated code and without gradients."""

    def __init__(self, evidence: Evidence):
        self.evidence = evidence
        self.sides = [generated_code(gm) for gm in (evidence.before, evidence.after)]
        self.needs_more = bool(evidence.state_before or evidence.state_after or any(evidence.epilogues)) or any(
            leaves_memory_unset(node) for node in evidence.after.graph.nodes
        )
        self.seed = evidence.seed if evidence.expected.drew or evidence.ran.drew else None

    def agrees(self, args: Sequence[Any]) -> bool:
        """Whether both graphs do the same with ``args``, bit for bit, and nothing that needs a closer look.

        True says that numerics, effects and structure hold for these arguments, which are used up. False says
        nothing: a graph raises, anything differs, the modules own tensors or a graph reads memory that nobody wrote.
        """
        if self.needs_more:
            return False
        ran = []
        with torch.no_grad(), seeded(self.seed) as start:
            for call, own in zip(self.sides, (copy_args(args), list(args)), strict=True):
                if start is not None:
                    torch.default_generator.set_state(start)
                try:
                    leaves, spec = _flat(call(*own))
                except Exception:
                    return False
                ran.append(([*own, *leaves], spec, None if start is None else torch.default_generator.get_state()))
        (values, spec, random), (others, other_spec, other_random) = ran
        if spec != other_spec or len(values) != len(others):
            return False
        if random is not None and not torch.equal(random, other_random):
            return False
        return all(map(_same, values, others)) and _sharing(values) == _sharing(others)


def _flat(outputs: Any) -> tuple[Sequence[Any], Any]:
    if type(outputs) is tuple and all(type(leaf) is torch.Tensor for leaf in outputs):
        return outputs, len(outputs)
    return pytree.tree_flatten(outputs)


def _same(one: Any, other: Any) -> bool:
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        return type(one) is type(other) and isinstance(one, (int, str, type(None))) and one == other
    return (
        one.dtype == other.dtype
        and one.shape == other.shape
        and one.layout == other.layout == torch.strided
        and one.stride() == other.stride()
        and one.device == other.device
        and one.requires_grad == other.requires_grad
        and same_bits(one, other)
    )


def _sharing(values: Sequence[Any]) -> list[tuple[int, int, int]]:
    """Return for each tensor the first that has its storage, the first that is the very tensor, and its offset."""
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    storages, objects = [storage_key(tensor) for tensor in tensors], list(map(id, tensors))
    return [
        (storages.index(storage), objects.index(ident), tensor.storage_offset())
        for storage, ident, tensor in zip(storages, objects, tensors, strict=True)
    ]
