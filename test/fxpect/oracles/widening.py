"""Run a graph in float64: the truth that rounded numbers are measured against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from fxpect.oracles.difference import same_bits
from fxpect.oracles.memory import copy_args, storage_key, whole
from fxpect.oracles.rounding import ACCUMULATING, CleanNode, base_name, tensors_in

# A float64 result further than this from the native one (relative, largest elements) is another function.
FAR = 0.05
_WIDENING = frozenset({"float", "half", "bfloat16", "double"})


class ExactRun(torch.fx.Interpreter):
    """Runs a graph in float64, and marks the clean nodes that rounded.

    A node that has no float64 form, or that draws random numbers, runs in its own types on rounded operands.
    """

    def __init__(self, gm: torch.fx.GraphModule, clean: dict[torch.fx.Node, CleanNode]):
        super().__init__(gm)
        self.extra_traceback = False
        self.clean = clean

    def run_node(self, node: torch.fx.Node) -> Any:
        """Run one node in float64 and compare it with the clean run."""
        clean = self.clean[node]
        with self._set_current_node(node):
            args, kwargs = self.fetch_args_kwargs_from_env(node)
            if node.op in ("placeholder", "get_attr", "output"):
                result = getattr(self, node.op)(node.target, args, kwargs)
            else:
                result = self._call(node, args, kwargs, clean)
        self._compare(node, clean, result)
        return result

    def _call(self, node: torch.fx.Node, args: Any, kwargs: Any, clean: CleanNode) -> Any:
        if clean.generator is None:
            try:
                wide = _wide_call(self, node, args, kwargs)
                found = tensors_in(wide)
                if _same_form(found, clean.values) and (clean.inplace or all(map(_near, found, clean.values))
                                                        or self._is_the_same_function(node, args, kwargs, clean)):
                    if base_name(node) in ACCUMULATING and not all(map(_is_finite, clean.values)):
                        clean.contested = self._is_contested(node, args, kwargs, found, clean)
                    return pytree.tree_map_only(torch.Tensor, widen, wide)
            except Exception:
                pass
        else:
            torch.default_generator.set_state(clean.generator)
        return self._narrow_call(node, args, kwargs)

    def _is_the_same_function(self, node: torch.fx.Node, args: Any, kwargs: Any, clean: CleanNode) -> bool:
        """Whether the float64 form gives the native result where its operands are what they are natively.

        A quotient that half precision rounds to zero is far from the native one, and so is all that is made of it.
        """
        native = {id(wide): widen(value)
                  for operand in node.all_input_nodes
                  for wide, value in zip(tensors_in(self.env[operand]), self.clean[operand].values, strict=False)}
        args, kwargs = pytree.tree_map_only(torch.Tensor, lambda wide: native.get(id(wide), wide), (args, kwargs))
        coarse = [torch.finfo(value.dtype).smallest_normal if value.is_floating_point() else 0.0
                  for value in clean.values]
        return all(map(_near, tensors_in(_wide_call(self, node, args, kwargs)), clean.values, coarse))

    def _is_contested(self, node: torch.fx.Node, args: Any, kwargs: Any, wide: list[torch.Tensor],
                      clean: CleanNode) -> bool:
        """Whether the products of an element overflow though their sum does not, or those of either sign do.

        Of products of absolute values the sum and the true sum tell what those of either sign come to. Halves are
        added in float32, where none overflows.
        """
        args, kwargs = pytree.tree_map_only(torch.Tensor, torch.abs, (args, kwargs))
        kwargs = pytree.tree_map_only((int, float), abs, kwargs)
        for total, value, native in zip(tensors_in(_wide_call(self, node, args, kwargs)), wide, clean.values):
            most = torch.finfo(native.dtype).max
            if native.dtype == value.dtype:  # nothing is wider: where its products overflow, nobody knows the sum
                if self._takes_finite(node) and not _is_finite(total):
                    return True
                continue
            more, less = (total + value.abs()) / 2, (total - value.abs()) / 2
            if native.itemsize >= torch.float32.itemsize and bool(
                    ((less > most) | (more > most) & (value.abs() <= most)).any()):
                return True
        return False

    def _takes_finite(self, node: torch.fx.Node) -> bool:
        """Whether all that a node was given natively is finite."""
        return all(_is_finite(value) for arg in node.all_input_nodes for value in self.clean[arg].values)

    def _narrow_call(self, node: torch.fx.Node, args: Any, kwargs: Any) -> Any:
        """Run the node on operands rounded to their types in the graph; writes reach the wide ones."""
        types = {
            id(wide): value.dtype
            for operand in node.all_input_nodes
            for wide, value in zip(tensors_in(self.env[operand]), self.clean[operand].values, strict=False)
        }
        pairs: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}

        def narrow(wide: torch.Tensor) -> torch.Tensor:
            if id(wide) not in pairs:
                small = wide.to(types.get(id(wide), wide.dtype))
                pairs[id(wide)] = wide, small, small.detach().clone()
            return pairs[id(wide)][1]

        args, kwargs = pytree.tree_map_only(torch.Tensor, narrow, (args, kwargs))
        result = getattr(self, node.op)(node.target, args, kwargs)
        for wide, small, old in pairs.values():
            if small is not wide and not (small.shape == old.shape and same_bits(small, old)):
                with torch.no_grad():
                    wide.copy_(small)
        back = {id(small): wide for wide, small, _ in pairs.values()}
        return pytree.tree_map_only(torch.Tensor, lambda t: back.get(id(t), widen(t)), result)

    def _compare(self, node: torch.fx.Node, clean: CleanNode, result: Any) -> None:
        wide = tensors_in(result)
        clean.rounds = not _same_form(wide, clean.values) or not all(map(_equal_values, wide, clean.values))
        if node.op not in ("placeholder", "get_attr"):
            clean.rounds |= any(map(_uses_all_bits, clean.values))
        if self._takes_finite(node):
            made = [_infinities(*pair) for pair in zip(wide, clean.values)]
            clean.strayed, clean.overflowed = (any(column) for column in zip(*made)) if made else (False, False)
        clean.exact = not clean.rounds and all(self.clean[arg].exact for arg in node.all_input_nodes)
        if clean.inplace and not clean.exact:
            for arg in node.all_input_nodes:
                self.clean[arg].exact = False


def widen(tensor: torch.Tensor) -> torch.Tensor:
    """Return a floating tensor as float64 and a complex one as complex128; others as they are."""
    if tensor.is_floating_point():
        return tensor.to(torch.float64)
    return tensor.to(torch.complex128) if tensor.is_complex() else tensor


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the widest dtype of the same sort."""
    if dtype.is_floating_point:
        return torch.float64
    return torch.complex128 if dtype.is_complex else dtype


def widen_args(args: Sequence[Any]) -> list[Any]:
    """Return copies of flat arguments in float64 that alias each other as before, strides kept."""
    bases: dict[int, torch.Tensor] = {}
    made: dict[int, Any] = {}
    for arg, copy in zip(args, copy_args(args), strict=True):
        if id(arg) in made:
            continue
        if isinstance(copy, torch.Tensor) and copy.layout == torch.strided and wide_dtype(copy.dtype) != copy.dtype:
            base = bases.setdefault(storage_key(copy), widen(whole(copy)))
            copy = (
                base.as_strided(copy.shape, copy.stride(), copy.storage_offset())
                .detach()
                .requires_grad_(copy.requires_grad)
            )
        made[id(arg)] = copy
    return [made[id(arg)] for arg in args]


def _wide_call(run: torch.fx.Interpreter, node: torch.fx.Node, args: Any, kwargs: Any) -> Any:
    if node.op == "call_method" and node.target in _WIDENING:
        return args[0].double()
    args, kwargs = pytree.tree_map_only(torch.dtype, wide_dtype, (args, kwargs))
    return getattr(run, node.op)(node.target, args, kwargs)


def _same_form(wide: list[torch.Tensor], values: list[torch.Tensor]) -> bool:
    return len(wide) == len(values) and all(
        w.shape == v.shape and wide_dtype(w.dtype) == wide_dtype(v.dtype) for w, v in zip(wide, values, strict=True)
    )


def _uses_all_bits(value: torch.Tensor) -> bool:
    """Whether a float64 result must be taken for a rounded one: nothing wider can tell."""
    if widen(value).dtype != value.dtype or not (value.is_floating_point() or value.is_complex()):
        return False
    parts = torch.view_as_real(value.resolve_conj()) if value.is_complex() else value
    return not _equal_values(parts, parts.to(torch.float32))


def _near(wide: torch.Tensor, value: torch.Tensor, coarse: float = 0.0) -> bool:
    """Whether a float64 result is recognisably the same, but for ``coarse``; else the operator means another thing."""
    value = widen(value)
    if not (value.is_floating_point() or value.is_complex()):
        return True
    finite = torch.isfinite(value)
    if bool((finite & ~torch.isfinite(wide)).any()):  # what is finite in float64 alone overflowed before
        return False
    value, wide = value[finite], wide[finite]
    return not value.numel() or bool((wide - value).abs().max() <= FAR * value.abs().max() + coarse)


def _is_finite(value: torch.Tensor) -> bool:
    return bool(torch.isfinite(value).all())


def _infinities(wide: torch.Tensor, value: torch.Tensor) -> tuple[bool, bool]:
    """Return whether an element is infinite whose truth its dtype has, and whether one is whose truth it has not."""
    if not value.is_floating_point() or wide.shape != value.shape:
        return False, False
    infinite, fits = torch.isinf(value), wide.abs() <= torch.finfo(value.dtype).max
    return bool((infinite & fits).any()), bool((infinite & ~fits).any())


def _equal_values(wide: torch.Tensor, value: torch.Tensor) -> bool:
    value = widen(value)
    return torch.equal(wide, value) or bool(((wide == value) | (wide.isnan() & value.isnan())).all())
