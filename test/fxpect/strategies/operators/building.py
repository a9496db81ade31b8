"""A program under construction: a graph that grows by one typed call at a time, its choices drawn from outside."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Graph, Node
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.fx.node import map_arg

from fxpect.errors import SpecError
from fxpect.specs import TensorSpec
from fxpect.strategies.draft import FUNCTIONAL_CAPTURES

WIDE = (torch.float32, torch.float64)
FLOATS = (*WIDE, torch.float16, torch.bfloat16)
INTEGERS = (torch.int64, torch.int32, torch.uint8, torch.int8, torch.int16)
NUMBERS = (*FLOATS, *INTEGERS)
BOOL = (torch.bool,)
REAL = (*NUMBERS, *BOOL)
COMPLEX = (torch.complex64, torch.complex128)
ANY = (*REAL, *COMPLEX)
SHAPES = ((4, 4), (4,), (2, 3), (2, 4, 4), (), (1, 4), (3, 1), (2, 3, 4, 4), (2, 2, 2), (8,), (1, 3, 8, 8), (0, 4),
          (1,))
# Layout and values of a new input; the plain one first, and most often.
VARIANTS = ((None, None), (None, None), (None, "halves"), ("transposed", None), (None, "positive"),
            ("strided", None), ("offset", "halves"), (None, "ties"), ("expanded", None), (None, "ones"))
MAX_NUMEL, MAX_RANK, MAX_PIECES = 4096, 6, 4
_FAKE_LOG = logging.getLogger("torch._subclasses.fake_tensor")

Fits = Callable[[tuple[int, ...]], bool]


class Unfit(Exception):
    """A call that finds no operands here, or that torch does not type; the program goes on without it."""


class Builder:
    """A growing graph, and what the rows of the table ask for: operands that fit, dims, constants.

    ``draw()`` gives an int of 16 bits, one for each choice whatever there is to choose from, so that a program
    stays what it is when an earlier call is taken away; 0 is the plain choice. ``inputs`` describes the placeholders.
    """

    def __init__(self, draw: Callable[[], int], capture: str, specs: Sequence[TensorSpec] = ()):
        self._draw = draw
        self.functional = capture in FUNCTIONAL_CAPTURES
        self.meta_key = "example_value" if capture == "dynamo" else "val"
        self.graph = Graph()
        self.mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
        self.inputs: list[TensorSpec] = []
        self.placeholders: list[Node] = []
        self.values: list[Node] = []
        self._new: list[Node] = []
        self._number = 0
        self._numbers: dict[Node, int] = {}
        for spec in specs:
            self.add_input(spec)
        self._new.clear()

    # ------------------------------------------------------------------ choosing

    def pick(self, options: Sequence[Any]) -> Any:
        """Return one of ``options``; the first is the plain one."""
        return options[self._draw() % len(options)]

    def one_of(self, *options: Any) -> Any:
        """Return one of the arguments; the first is the plain one."""
        return self.pick(options)

    def tensor(self, kinds: Sequence[torch.dtype] = REAL, ranks: Sequence[int] = range(MAX_RANK),
               fits: Fits | None = None) -> Node:
        """Return a value of one of these dtypes and ranks, the latest first, or a new input."""
        def fitting(shape: tuple[int, ...]) -> bool:
            return len(shape) in ranks and (fits is None or fits(shape))

        return self._value(kinds, fitting, [shape for shape in SHAPES if fitting(shape)])

    def sized(self, kinds: Sequence[torch.dtype], *pattern: int | None) -> Node:
        """Return a value of this shape, or a new input; None in the pattern stands for any size."""
        def fits(shape: tuple[int, ...]) -> bool:
            return len(shape) == len(pattern) and all(want in (None, size) for want, size in zip(pattern, shape))

        shapes = [tuple(free if size is None else size for size in pattern) for free in (4, 2, 3)]
        return self._value(kinds, fits, list(dict.fromkeys(shapes)))

    def like(self, node: Node, kinds: Sequence[torch.dtype] | None = None) -> Node:
        """Return a value of the shape of ``node``, and of its dtype unless ``kinds`` says otherwise."""
        return self.sized(kinds or (self.dtype(node),), *self.shape(node))

    def partner(self, node: Node, kinds: Sequence[torch.dtype] | None = None) -> Node:
        """Return a value that broadcasts with ``node``, of its dtype unless ``kinds`` says otherwise."""
        own = self.shape(node)
        shapes = [own, own[-1:], (1,) * len(own), (), (*own[:-1], 1)[:len(own)]]
        return self._value(kinds or (self.dtype(node),), lambda shape: _broadcast(own, shape), shapes)

    def indices(self, count: int, *shape: int) -> Node:
        """Return a new input of int64 indices below ``count``; raises ``Unfit`` where there is none."""
        if count < 1:
            raise Unfit("no index into an empty dim")
        return self.add_input(TensorSpec(shape, torch.int64, values=f"index:{count}"))

    def dim(self, node: Node, spare: int = 0) -> int:
        """Return a dim of ``node``, from the front or the back; ``spare`` allows one past the end."""
        rank = len(self.shape(node)) + spare
        return self.pick((*range(rank), *range(-rank, 0))) if rank else self.one_of(0, -1)

    def dims(self, node: Node) -> list[int]:
        """Return one dim or two different ones as a list."""
        rank = len(self.shape(node))
        if not rank:
            return []
        return self.pick([*([i] for i in range(rank)), [-1], *([i, j] for i in range(rank) for j in range(i)),
                          [*range(rank)]])

    def val(self, node: Node) -> torch.Tensor:
        """Return the fake tensor of a value."""
        return node.meta[self.meta_key]

    def shape(self, node: Node) -> tuple[int, ...]:
        """Return the shape of a value."""
        return tuple(self.val(node).shape)

    def dtype(self, node: Node) -> torch.dtype:
        """Return the dtype of a value."""
        return self.val(node).dtype

    def shares_places(self, node: Node) -> bool:
        """Return whether elements of a value share a place in memory, so that none may be written to."""
        value = self.val(node)
        return any(stride == 0 and size > 1 for stride, size in zip(value.stride(), value.shape))

    def overlapping(self, node: Node, other: Node) -> bool:
        """Return whether two values lie in one storage."""
        return self.val(node).untyped_storage()._cdata == self.val(other).untyped_storage()._cdata

    # ------------------------------------------------------------------ growing

    def add_input(self, spec: TensorSpec) -> Node:
        """Add a placeholder and return it."""
        if self.placeholders:
            place = self.graph.inserting_after(self.placeholders[-1])
        else:
            place = self.graph.inserting_before(next(iter(self.graph.nodes), None))
        with place:
            node = self.graph.placeholder(f"x{len(self.placeholders)}")
        stride = None if spec.layout is None else spec.example().stride()
        with self.mode:
            value = torch.empty(spec.size(), dtype=spec.dtype) if stride is None else \
                torch.empty_strided(spec.size(), stride, dtype=spec.dtype)
        node.meta[self.meta_key] = value.requires_grad_(spec.requires_grad)
        self.placeholders.append(node)
        self.inputs.append(spec)
        self.values.append(node)
        self._numbers[node] = self._number
        self._new.append(node)
        return node

    def add(self, op: str, target: Any, args: tuple, kwargs: dict[str, Any]) -> Node:
        """Append a call, typed; raises ``Unfit`` where torch refuses it."""
        try:
            node = self.graph.create_node(op, target, args, kwargs)
        except Exception as error:
            raise Unfit(str(error)) from error
        self._new.append(node)
        found = node.meta[self.meta_key] = self._run(node)
        if isinstance(found, torch.Tensor):
            if found.numel() > MAX_NUMEL or found.dim() > MAX_RANK or found.layout is not torch.strided:
                raise Unfit("too large")
            self.values.append(node)
            self._numbers[node] = self._number
        return node

    def attempt(self, step: Callable[[Builder], None]) -> bool:
        """Run ``step``; where it raises ``Unfit``, leave the graph as it was and return False."""
        self._new.clear()
        self._number = self._draw() // 4
        values, inputs = len(self.values), len(self.inputs)
        try:
            step(self)
        except (Unfit, SpecError):
            for node in reversed(self._new):
                if node.op != "placeholder":
                    self.graph.erase_node(node)
            for node in self.placeholders[inputs:]:
                self.graph.erase_node(node)
            del self.placeholders[inputs:], self.inputs[inputs:]
            self.values[:] = [node for node in self.values[:values + len(self._new)] if node not in self._new]
            return False
        return True

    # ------------------------------------------------------------------ inside

    def _value(self, kinds: Sequence[torch.dtype], fits: Fits, shapes: Sequence[tuple[int, ...]]) -> Node:
        """Return a new input once in four times, else the value whose number is nearest to the drawn one.

        Places in a list would shift when an earlier call is taken away; numbers stay, and the program shrinks.
        """
        wanted, place = divmod(self._draw(), 4)
        if place < 3:
            found = [node for node in reversed(self.values) if self.dtype(node) in kinds and fits(self.shape(node))]
            if found:
                return min(found, key=lambda node: abs(self._numbers[node] - wanted))
        if not shapes:
            raise Unfit("no shape fits")
        return self._invent(kinds, shapes, wanted)

    def _invent(self, kinds: Sequence[torch.dtype], shapes: Sequence[tuple[int, ...]], choice: int) -> Node:
        choice, which = divmod(choice, len(shapes))
        shape = tuple(shapes[which])
        choice, which = divmod(choice, len(kinds) + 2)
        dtype = kinds[max(which - 2, 0)]        # the first one most often
        layout, values = VARIANTS[choice % len(VARIANTS)]
        if not dtype.is_floating_point:
            values = None
        try:
            spec = TensorSpec(shape, dtype, layout, values)
        except SpecError:       # such as "transposed" for a vector
            spec = TensorSpec(shape, dtype)
        return self.add_input(spec)

    def _run(self, node: Node) -> Any:
        args, kwargs = map_arg(node.args, self.val), map_arg(node.kwargs, self.val)
        quiet, _FAKE_LOG.disabled = _FAKE_LOG.disabled, True
        try:
            with self.mode, torch.set_grad_enabled(not self.functional):
                if node.op == "call_method":
                    return getattr(args[0], node.target)(*args[1:], **kwargs)
                return node.target(*args, **kwargs)
        except Exception as error:
            raise Unfit(f"{type(error).__name__}: {error}") from error
        finally:
            _FAKE_LOG.disabled = quiet


def _broadcast(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return all(a == b or a == 1 or b == 1 for a, b in zip(reversed(one), reversed(other)))
