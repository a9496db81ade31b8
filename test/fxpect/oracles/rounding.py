"""How far rounding alone moves a graph: a clean run, a float64 run, and runs that are nudged by one ulp.

The nudged runs are Monte Carlo arithmetic. An input, and the result of every node that rounds, moves by
at most one unit in the last place, and equal numbers move equally, so exact ties stay ties. A comparison,
an argmax or a floor whose operands are exact is not rounding: it keeps its clean result, so that ``>``
in the place of ``>=`` is never taken for noise.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from fxpect.oracles.difference import same_bits
from fxpect.oracles.memory import copy_args, storage_key
from fxpect.oracles.state import state_of

_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
# Functions from reals to reals that are not continuous; what gives integers or booleans is found by dtype.
_JUMPS = frozenset("floor ceil round trunc fix frac sign sgn fmod remainder floor_divide floordiv mod heaviside"
                   " hardshrink threshold mode nextafter fake_quantize_per_tensor_affine".split())

# A float64 result further than this from the native one (relative, largest elements) is not the same function.
FAR = 0.05


def base_name(node: torch.fx.Node) -> str:
    """Return the bare name of what a node calls: "add" for aten.add.Tensor, torch.add, operator.add, x.add_."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        name = target._schema.name.partition("::")[2]
    elif node.op == "call_module":
        name = type(node.graph.owning_module.get_submodule(target)).__name__.lower()
    elif isinstance(target, str):
        name = target.rpartition(".")[2]
    else:
        name = getattr(target, "__name__", type(target).__name__)
    return name.rstrip("_") if not name.startswith("__") else name.strip("_")


def tensors_in(value: Any) -> list[torch.Tensor]:
    """Return the tensors of a node's result, nested ones too."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


@dataclasses.dataclass
class CleanNode:
    """What a node gave in the clean run: copies of its result's tensors, the generator's state if it drew.

    ``exact`` says that neither it nor anything before it rounded (found out by the float64 run).
    """

    values: list[torch.Tensor]
    generator: torch.Tensor | None = None
    inplace: bool = False
    rounds: bool = False
    exact: bool = True


class CleanRun(torch.fx.Interpreter):
    """Runs a graph as it is and keeps what every node gave."""

    def __init__(self, gm: torch.fx.GraphModule):
        super().__init__(gm)
        self.extra_traceback = False
        self.nodes: dict[torch.fx.Node, CleanNode] = {}

    def run_node(self, node: torch.fx.Node) -> Any:
        """Run one node, and keep copies of its tensors and the state of the generator it drew from."""
        start = torch.default_generator.get_state()
        result = super().run_node(node)
        drew = not torch.equal(start, torch.default_generator.get_state())
        found = tensors_in(result)
        operands = {id(t) for arg in node.all_input_nodes for t in tensors_in(self.env[arg])} \
            if node.op != "output" else set()
        self.nodes[node] = CleanNode([t.detach().clone() for t in found], start if drew else None,
                                     any(id(t) in operands for t in found))
        return result


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
                if _same_form(found, clean.values) and (clean.inplace or all(map(_near, found, clean.values))):
                    return pytree.tree_map_only(torch.Tensor, widen, wide)
            except Exception:  # noqa: S110  no float64 form: it runs in its own types below
                pass
        else:
            torch.default_generator.set_state(clean.generator)
        return self._narrow_call(node, args, kwargs)

    def _narrow_call(self, node: torch.fx.Node, args: Any, kwargs: Any) -> Any:
        """Run the node on operands rounded to the types they have in the graph; writes reach the wide ones."""
        types = {id(wide): value.dtype for operand in node.all_input_nodes for wide, value
                 in zip(tensors_in(self.env[operand]), self.clean[operand].values, strict=False)}
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
        clean.exact = not clean.rounds and all(self.clean[arg].exact for arg in node.all_input_nodes)
        if clean.inplace and not clean.exact:
            for arg in node.all_input_nodes:
                self.clean[arg].exact = False


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
            copy = base.as_strided(copy.shape, copy.stride(), copy.storage_offset()).detach() \
                .requires_grad_(copy.requires_grad)
        made[id(arg)] = copy
    return [made[id(arg)] for arg in args]


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


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return all memory behind a tensor as one row of its dtype."""
    size = tensor.untyped_storage().nbytes() // tensor.itemsize
    return tensor.detach().as_strided((size,), (1,), 0)


def _overwrite(tensor: torch.Tensor, value: torch.Tensor) -> None:
    if tensor.shape == value.shape:
        with contextlib.suppress(RuntimeError):  # memory that a write cannot reach keeps its nudged result
            tensor.data.copy_(value)


def _jumps(node: torch.fx.Node, clean: CleanNode) -> bool:
    """Whether the smallest change of an operand can change the result a lot."""
    if base_name(node) == "view" and any(isinstance(arg, torch.dtype) for arg in node.args):
        return True
    return base_name(node) in _JUMPS or any(not (v.is_floating_point() or v.is_complex()) for v in clean.values)


_WIDENING = frozenset({"float", "half", "bfloat16", "double"})


def _wide_call(run: torch.fx.Interpreter, node: torch.fx.Node, args: Any, kwargs: Any) -> Any:
    if node.op == "call_method" and node.target in _WIDENING:
        return args[0].double()
    args, kwargs = pytree.tree_map_only(torch.dtype, wide_dtype, (args, kwargs))
    return getattr(run, node.op)(node.target, args, kwargs)


def _same_form(wide: list[torch.Tensor], values: list[torch.Tensor]) -> bool:
    return len(wide) == len(values) and all(
        w.shape == v.shape and wide_dtype(w.dtype) == wide_dtype(v.dtype) for w, v in zip(wide, values, strict=True))


def _uses_all_bits(value: torch.Tensor) -> bool:
    """Whether a float64 result must be taken for a rounded one: nothing wider can tell."""
    if widen(value).dtype != value.dtype or not (value.is_floating_point() or value.is_complex()):
        return False
    parts = torch.view_as_real(value.resolve_conj()) if value.is_complex() else value
    return not _equal_values(parts, parts.to(torch.float32))


def _near(wide: torch.Tensor, value: torch.Tensor) -> bool:
    """Whether a float64 result is recognisably the same: else the operator means something else in float64."""
    value = widen(value)
    if not (value.is_floating_point() or value.is_complex()):
        return True
    finite = torch.isfinite(value)
    if not torch.equal(finite, torch.isfinite(wide)):
        return False
    value, wide = value[finite], wide[finite]
    return not value.numel() or bool((wide - value).abs().max() <= FAR * value.abs().max())


def _equal_values(wide: torch.Tensor, value: torch.Tensor) -> bool:
    value = widen(value)
    return torch.equal(wide, value) or bool(((wide == value) | (wide.isnan() & value.isnan())).all())
