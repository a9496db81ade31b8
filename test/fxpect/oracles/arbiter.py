"""Tell a wrong number from a rounded one, knowing only the graph before the pass."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch

from fxpect.oracles.difference import Difference, element_difference, roughly_equal, same_bits
from fxpect.oracles.nudging import NudgedRun
from fxpect.oracles.observe import Key, Observation
from fxpect.oracles.rounding import ACCUMULATING, CleanNode, CleanRun, base_name, reads_bits
from fxpect.oracles.widening import ExactRun, widen, widen_args

SAMPLES = 6
# How many are tried, until the difference is explained.
COUNTS = (0, 2, SAMPLES)
# How far from the truth the rewritten graph may be: times the error of the graph itself, times its movement
# under a nudge, and units in the last place of the value.
OWN_ERROR = 2.0
MULTIPLE = 8.0
MULTIPLE_WHERE_EXACT = 2.0
ULPS = 4.0
# A gradient of more than this part of the largest number may overflow in another order.
MARGIN = 4
# The upper bits of a NaN, by the integer that may hold them: of half, float32, float64, and bfloat16 (all its bits).
_NAN_BITS = {torch.int8: (0x7E, 0x7F), torch.int16: (0x7E00, 0x7FC0, 0x7FF8, 0x7FFF),
             torch.int32: (0x7FC00000, 0x7FF80000), torch.int64: (0x7FF8000000000000,)}

# What is wrong, and the elements where it is.
Wrong = tuple[str, torch.Tensor]


class Arbiter:
    """Judges values of the graph after a pass against what rounding does to the graph before it.

    The truth is a float64 run; the room for noise is how far the graph itself is from it, natively and in
    ``SAMPLES`` runs whose inputs and rounded results are moved by one ulp. An element outside that room is
    still noise where nudging ``rewritten``, the graph after the pass, reaches the value expected (a rounded
    number on its way into a floor or a comparison). Nothing runs until two values differ. Cannot tell a
    real error that is smaller than a few times that room.
    """

    def __init__(
        self,
        gm: torch.fx.GraphModule,
        run: Callable[..., Observation],
        rewritten: Arbiter | None = None,
    ):
        """Judge ``gm``, which ``run(**options)`` runs with the options of ``observe``."""
        self.gm, self.run, self.rewritten = gm, run, rewritten
        self._runs: list[Observation] = []

    @functools.cached_property
    def clean(self) -> dict[torch.fx.Node, CleanNode]:
        """What every node gave, run natively, marked with what rounded."""
        runs: list[CleanRun] = []

        def make(gm: torch.fx.GraphModule) -> CleanRun:
            runs.append(CleanRun(gm))
            return runs[-1]

        self.run(interpreter=make)
        return runs[0].nodes

    @functools.cached_property
    def truth(self) -> dict[Key, Any]:
        """Every value of the float64 run; empty where the graph has no such form."""
        clean, default = self.clean, torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            seen = self.run(copies=widen_args, interpreter=lambda gm: ExactRun(gm, clean))
        finally:
            torch.set_default_dtype(default)
        if seen.error is not None:
            for node in clean.values():
                node.rounds, node.exact = True, False
            return {}
        return seen.values()

    def samples(self, count: int) -> list[dict[Key, Any]]:
        """Every value of each of the first ``count`` nudged runs that did not fail."""
        clean, _ = self.clean, self.truth
        for salt in range(2 + len(self._runs), 2 + count):
            self._runs.append(self.run(interpreter=functools.partial(NudgedRun, clean=clean, salt=salt)))
        # A backward that the graph before cannot run either leaves no gradients to compare; the outputs still count.
        return [one.values() for one in self._runs[:count] if one.error is None]

    def samples_of(self, key: Key, like: torch.Tensor, count: int = SAMPLES) -> list[torch.Tensor]:
        """Return the nudged values under a key that have the form of ``like``."""
        return [s[key].detach() for s in self.samples(count) if _alike(s.get(key), like)]

    def judge(self, key: Key, before: torch.Tensor, after: torch.Tensor) -> Difference | None:
        """Return the difference between two tensors of equal form that rounding cannot explain, or None."""
        if same_bits(before, after):
            return None
        before, after = before.detach(), after.detach()
        if before.is_quantized or before.layout != torch.strided:
            agree = not before.is_quantized and roughly_equal(before, after)
            return None if agree else Difference("values", repr(before), repr(after))
        numbers = self._real_numbers if before.is_floating_point() or before.is_complex() else self._whole_numbers
        # Another sample explains more and never less, so that most need none of them, or few.
        for count in COUNTS:
            wrong = [one for one in numbers(key, before, after, count) if bool(one[1].any())]
            if not wrong:
                return None
        kind, where = wrong[0]
        return element_difference(kind, where, before, after)

    def _whole_numbers(self, key: Key, before: torch.Tensor, after: torch.Tensor, count: int) -> Iterator[Wrong]:
        """Integers and booleans must be equal, but where rounding alone already changes them."""
        family = torch.stack([t.to(torch.float64) for t in (before, *self.samples_of(key, before, count))])
        low, high = family.amin(0), family.amax(0)
        width, value = high - low, after.to(torch.float64)
        # A floor that flips moves by one, and so may the rewritten graph; the bits of a rounded number move freely.
        # Of a number that cancels many do.
        multiple = MULTIPLE**2 if any(map(reads_bits, self.gm.graph.nodes)) else MULTIPLE
        width = torch.where(width > 1, multiple * width, width)
        wrong = (before != after) & ((width == 0) | (value < low - width) | (value > high + width))
        wrong &= ~(_holds_nan(before) & _holds_nan(after))
        if count == SAMPLES and bool(wrong.any()) and self.rewritten is not None:
            for sample in self.rewritten.samples_of(key, before):
                wrong &= sample != before
        yield "values", wrong

    def _real_numbers(self, key: Key, before: torch.Tensor, after: torch.Tensor, count: int) -> Iterator[Wrong]:
        """NaN and infinities must stay where they are, finite numbers within the room, zeros keep signs."""
        samples = self.samples_of(key, before, count)
        said = self.truth.get(key)
        truth = said.detach() if said is not None and _alike(said, before) else widen(before)
        whole = self._adds_complex_products
        kind_before, kind_after = _kind(before, whole), _kind(after, whole)
        settled = torch.ones_like(kind_before, dtype=torch.bool)
        for sample in samples:
            settled &= _kind(sample, whole) == kind_before
        # Where the graph before overflows though the truth does not, another order of additions gives another overflow,
        # and a gradient, a sum over all that is read, may overflow or not even near the end of the range. A NaN that
        # came of an overflow, infinity less infinity, is nobody's wish.
        overflows = (kind_before != 0) & torch.isfinite(truth)
        settled &= ~overflows | (kind_after == 0) & (kind_before != 3) & (not self._overflows_by_order)
        if any(node.contested for node in self.clean.values()):
            settled.zero_()
        if key[0] == "grad":
            settled &= ~overflows & ((kind_before != 0) | (truth.abs() <= torch.finfo(before.dtype).max / MARGIN))
        moved = settled & (kind_before != kind_after)
        room = _room(before, truth, samples, MULTIPLE_WHERE_EXACT if self._exact(key) else MULTIPLE)
        if key[0] == "grad" and before.numel():  # it sums what is not seen here, of the order of the largest
            room += torch.finfo(before.dtype).eps * torch.where(torch.isfinite(truth), truth.abs(), 0.0).amax()
        centre = torch.where(torch.isfinite(truth), truth, widen(before))
        far = (kind_before == 0) & (kind_after == 0) & ((widen(after) - centre).abs() > room)
        if count == SAMPLES and bool((moved | far).any()) and self.rewritten is not None:
            for sample in self.rewritten.samples_of(key, before):
                reached = (_kind(sample, whole) == kind_before) & (
                    (kind_before != 0) | ((widen(sample) - centre).abs() <= room)
                )
                moved, far = moved & ~reached, far & ~reached
        yield "nan", moved & ((kind_before == 3) | (kind_after == 3))
        yield "inf", moved & (kind_after != 0)
        yield "overflow", moved
        yield "values", far
        if not before.is_complex():
            yield "signed-zero", _zero_signs(before, after, truth, samples)

    @functools.cached_property
    def _overflows_by_order(self) -> bool:
        """Whether values went out of range on the way to what is in range, and none did that stays outside."""
        nodes = self.clean.values()
        return any(node.strayed for node in nodes) and not any(node.overflowed for node in nodes)

    @functools.cached_property
    def _adds_complex_products(self) -> bool:
        """Whether complex products may be added: kernels differ in which parts of a complex infinity become NaN."""
        return any(base_name(node) in ACCUMULATING for node in self.gm.graph.nodes if node.op.startswith("call_")) and \
            any(value.is_complex() for node in self.clean.values() for value in node.values)

    def _exact(self, key: Key) -> bool:
        output = self.gm.graph.find_nodes(op="output")[0]
        return self.clean[output].exact if key[0] == "output" and output in self.clean else False


def _alike(value: Any, like: torch.Tensor) -> bool:
    return isinstance(value, torch.Tensor) and value.shape == like.shape


def _kind(tensor: torch.Tensor, whole: bool = False) -> torch.Tensor:
    """Return 0 where finite, 1 where +inf (or a complex inf), 2 where -inf, 3 where NaN; for ``whole`` only 0 and 3."""
    if whole:
        return torch.where(torch.isfinite(tensor), 0, 3).to(torch.int8)
    kind = torch.isinf(tensor).to(torch.int8)
    if not tensor.is_complex():
        kind += (tensor == -torch.inf).to(torch.int8)
    return torch.where(torch.isnan(tensor), 3, kind)


def _holds_nan(tensor: torch.Tensor) -> torch.Tensor:
    """Return where the bits of an integer are those of a NaN as arithmetic makes it, whose sign nothing promises."""
    bits = _NAN_BITS.get(tensor.dtype)
    if bits is None:
        return torch.zeros_like(tensor, dtype=torch.bool)
    sign = torch.iinfo(tensor.dtype).min
    return torch.isin(tensor, torch.tensor([*bits, *(sign + nan for nan in bits)], device=tensor.device))


def _room(before: torch.Tensor, truth: torch.Tensor, samples: list[torch.Tensor], multiple: float) -> torch.Tensor:
    """Return how far from the truth each element may be; infinite where a nudge makes it NaN or infinite."""
    wide = widen(before)
    truth = torch.where(torch.isfinite(truth), truth, wide)
    moved = torch.zeros_like(truth, dtype=torch.float64)
    for sample in samples:
        far = (widen(sample) - wide).abs()
        moved = torch.maximum(moved, torch.where(far.isnan(), torch.inf, far))
    info = torch.finfo(before.dtype)
    return (
        OWN_ERROR * (wide - truth).abs()
        + multiple * moved
        + ULPS * (info.eps * truth.abs() + info.smallest_normal * info.eps)
    )


def _zero_signs(
    before: torch.Tensor, after: torch.Tensor, truth: torch.Tensor, samples: list[torch.Tensor]
) -> torch.Tensor:
    """Mark zeros of another sign where everything else is equal and the truth is a zero of the first sign."""
    sign = torch.signbit(before)
    wrong = (before == 0) & (after == 0) & (sign != torch.signbit(after)) & (truth == 0)
    wrong &= torch.signbit(truth) == sign
    for sample in samples:
        wrong &= (sample == 0) & (torch.signbit(sample) == sign)
    same = (before == after) | (before.isnan() & after.isnan())
    return wrong & same.all()
