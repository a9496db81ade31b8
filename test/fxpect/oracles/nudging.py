"""Run a graph with its numbers moved by one unit in the last place: how much of a result is noise.

This is Monte Carlo arithmetic. An input, and the result of every node that rounds, moves by one ulp, and
equal numbers move equally, so exact ties stay ties. A comparison, an argmax or a floor whose operands are
exact is not rounding: it keeps its clean result, so that ``>`` in the place of ``>=`` is never noise.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from fxpect.oracles.memory import storage_key, whole
from fxpect.oracles.rounding import CleanNode, base_name, reads_bits, tensors_in
from fxpect.oracles.state import state_of

_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
# Functions from reals to reals that are not continuous; what gives integers or booleans is found by dtype.
_JUMPS = frozenset(
    "floor ceil round trunc fix frac sign sgn fmod remainder floor_divide floordiv mod heaviside"
    " hardshrink threshold mode nextafter fake_quantize_per_tensor_affine".split()
)


class NudgedRun(torch.fx.Interpreter):
    """Runs a graph in its own types, with every input and every rounded result moved by at most one ulp."""

    def __init__(self, gm: torch.fx.GraphModule, clean: dict[torch.fx.Node, CleanNode], salt: int):
        super().__init__(gm)
        self.extra_traceback = False
        self.clean, self.salt = clean, salt
        self.moved: set[int] = set()
        for tensor in state_of(gm).values():
            self._nudge_source(tensor)

    def run_node(self, node: torch.fx.Node) -> Any:
        """Run one node and nudge what it gave."""
        clean = self.clean[node]
        if clean.generator is not None:
            torch.default_generator.set_state(clean.generator)
        result = super().run_node(node)
        found = tensors_in(result)
        if node.op == "output" or not found:
            return result
        if node.op in ("placeholder", "get_attr"):
            for tensor in found:
                self._nudge_source(tensor)
        elif _jumps(node, clean) and all(self.clean[arg].exact for arg in node.all_input_nodes):
            for tensor, value in zip(found, clean.values, strict=False):
                _overwrite(tensor, value)
        elif clean.rounds and (clean.inplace or not self._is_window(node, found)):
            for tensor in found:
                nudge(tensor, self.salt)
        return result

    def _nudge_source(self, tensor: torch.Tensor) -> None:
        if storage_key(tensor) not in self.moved:
            self.moved.add(storage_key(tensor))
            nudge_storage(tensor, self.salt)

    def _is_window(self, node: torch.fx.Node, found: list[torch.Tensor]) -> bool:
        operands = {storage_key(t) for arg in node.all_input_nodes for t in tensors_in(self.env[arg])}
        return any(storage_key(t) in operands for t in found)


def nudge(tensor: torch.Tensor, salt: int) -> None:
    """Move every finite non-zero element by one ulp, equal numbers alike; in place, unseen by autograd.

    An even salt moves every number the other way than the odd one above it.
    """
    data = tensor.data
    if data.is_complex():
        data = torch.view_as_real(data.resolve_conj()) if not data.is_conj() else data.imag
    if not data.is_floating_point() or data.itemsize not in _BITS or data.layout != torch.strided:
        return
    bits = data.view(_BITS[data.itemsize])
    mixed = (bits.to(torch.int64) * 2654435761 + (salt // 2) * 40503) ^ (bits.to(torch.int64) >> 7)
    step = (((mixed >> 16) & 1) * 2 - 1).to(bits.dtype) * (1 if salt % 2 else -1)
    ordinary = torch.isfinite(data) & (data != 0) & (data.abs() < torch.finfo(data.dtype).max)
    if not any(stride == 0 and size > 1 for stride, size in zip(data.stride(), data.shape, strict=True)):
        bits.add_(torch.where(ordinary, step, 0))


def nudge_storage(tensor: torch.Tensor, salt: int) -> None:
    """Nudge all memory behind a tensor once, so that inputs that alias stay equal."""
    if tensor.layout == torch.strided and (tensor.is_floating_point() or tensor.is_complex()):
        nudge(whole(tensor), salt)


def _overwrite(tensor: torch.Tensor, value: torch.Tensor) -> None:
    if tensor.shape == value.shape:
        with contextlib.suppress(RuntimeError):  # memory that a write cannot reach keeps its nudged result
            tensor.data.copy_(value)


def _jumps(node: torch.fx.Node, clean: CleanNode) -> bool:
    """Whether the smallest change of an operand can change the result a lot."""
    return reads_bits(node) or base_name(node) in _JUMPS or \
        any(not (v.is_floating_point() or v.is_complex()) for v in clean.values)
