"""From the expression of a pattern to a graph that it matches, by trying arguments on fake tensors."""

from __future__ import annotations

import dataclasses
import itertools
import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree

from fxpect.text.propagation import propagate

SHAPES = ((4, 4), (4, 4, 4), (4, 4, 4, 4), (4,), ())
TRIES_PER_NODE = 400
# What else to try first, one after the other, where a pass declines the likeliest arguments.
TURNS: tuple[dict[str, tuple], ...] = (
    {}, {"other": (2.0,)}, {"dim": (0, [0])}, {"shapes": ((1, 4), (4, 4), (4,))}, {"shapes": ((1, 4, 4),)},
    {"sections": ([1, 1, 1, 1],)}, {"shapes": ((64, 64),)}, {"sections": ([1, 3],), "dim": (1,)},
    {"shapes": ((4, 1), (4, 4)), "index": ()}, {"shapes": ((4, 2, 4),), "dim": (1,)},
)
# Candidates by the name of a parameter, before what its type says.
BY_NAME: dict[str, tuple] = {
    "dim": (1, 0, -1, [1], [0]), "dims": ([1, 0], [0, 2, 1], [1]), "start": (0, 1), "step": (1,), "end": (2,),
    "dtype": (torch.float32, torch.float64), "size": ([4, 4], [16]), "shape": ([4, 4], [16]),
    "split_sizes": ([2, 2], [1, 3]), "split_size": (2,), "stride": ([1, 1],), "padding": ([0, 0],),
    "dilation": ([1, 1],), "output_padding": ([0, 0],), "groups": (1,), "high": (4,), "length": (4,),
    "device": (torch.device("cpu"),), "layout": (torch.strided,), "keepdim": (True, False),
}
BY_TYPE: dict[str, tuple] = {
    "int": (1, 0, 2), "float": (2.0, 0.5), "number": (2.0, 1), "bool": (False, True),
    "List[int]": ([1], [4, 4], [1, 0]), "str": ("",),
}
# What a torch function or a method, which have no schema, take besides a tensor.
CALLS: dict[Any, tuple] = {
    torch.split: ([2, 2], 1), "split": (2,), torch.unbind: (0,), "unbind": (0,), "squeeze": (0,),
    torch.squeeze: (1,),
    "reshape": ((2, 8),), torch.reshape: ((2, 8),), "clamp": (-1, 1), torch.clamp: (-1, 1), "detach": (),
    torch.cat: (1,), torch.stack: (0,),
}


class Unbuildable(Exception):
    """No arguments were found with which the pattern's operators run."""


@dataclasses.dataclass(eq=False)
class _Open:
    """An argument that the pattern leaves open; ``name`` where it must be the same everywhere."""

    name: str | None = None


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """A candidate: a new input of this shape."""

    shape: tuple[int, ...]


def build(pattern: Any, meta_key: str, turn: int = 0) -> torch.fx.GraphModule:
    """Return a graph whose last nodes are what ``pattern`` describes, every node with its fake value.

    ``turn`` is a place in ``TURNS``. Raises ``Unbuildable``.
    """
    builder = _Builder(TURNS[turn])
    builder.close(builder.roots(pattern), torch.ops.aten.neg.default if meta_key == "val" else torch.neg)
    gm = torch.fx.GraphModule({}, builder.graph)
    with FakeTensorMode():
        inputs = [torch.empty(node.meta["shape"]) for node in gm.graph.find_nodes(op="placeholder")]
        propagate(gm, inputs, meta_key=meta_key)
    return gm


class _Builder:
    """One graph in the making; ``values`` are tensors on the device "meta", which tell quickly what fits."""

    def __init__(self, preferred: dict[str, tuple]):
        self.preferred = preferred
        self.graph = torch.fx.Graph()
        self.values: dict[torch.fx.Node, Any] = {}
        self.named: dict[str, Any] = {}
        self.shared: dict[Any, torch.fx.Node] = {}
        self.count = itertools.count()

    def roots(self, pattern: Any) -> list[torch.fx.Node]:
        """Build every output of the pattern."""
        from torch._inductor.pattern_matcher import MultiOutputPattern, RepeatedExpr

        if isinstance(pattern, MultiOutputPattern):
            return [self.value(each, 0) for each in pattern.outputs if each is not None]
        if isinstance(pattern, RepeatedExpr):
            return [self.value(pattern.inner_pattern, place) for place in range(2)]
        return [self.value(pattern, 0)]

    def close(self, roots: list[torch.fx.Node], end: Any) -> None:
        """Give every root one more user, so that none is an output itself."""
        results: list[torch.fx.Node] = []
        for root in roots:
            value = self.values[root]
            pieces = [root] if isinstance(value, torch.Tensor) else \
                [self.call(operator.getitem, (root, i), {}) for i in range(len(value))]
            results += [self.call(end, (piece,), {}) if self.values[piece].dtype != torch.bool else piece
                        for piece in pieces]
        self.graph.output(tuple(results))

    def value(self, pattern: Any, place: int) -> Any:
        """Return the node, the constant or the open argument for a pattern.

        ``place`` tells the members of a list apart: what has one user is built anew for each.
        """
        from torch._inductor import pattern_matcher as pm

        if isinstance(pattern, (list, tuple)):
            return type(pattern)(self.value(item, place) for item in pattern)
        if isinstance(pattern, pm.ListOf):
            return self._members(pattern.pattern)
        if isinstance(pattern, (pm.KeywordArg, pm.ExclusiveKeywordArg)):
            return self.named.get(pattern.name, _Open(pattern.name))
        if not isinstance(pattern, pm.PatternExpr):
            return pattern
        if not isinstance(pattern, pm._TargetExpr):
            return _Open()
        key = (pattern, 0 if pattern.users is pm.MULTIPLE else place)
        if key not in self.shared:
            self.shared[key] = self._node(pattern, place)
        return self.shared[key]

    def _members(self, pattern: Any) -> list[torch.fx.Node]:
        """Build a list: of all pieces where its members are pieces of something, else of two."""
        members = [self._node(pattern, 0)]
        source = members[0].args[0] if members[0].target is operator.getitem else None
        while source is None and isinstance(members[0].args[0], torch.fx.Node) and \
                members[0].args[0].target is operator.getitem:
            source = members[0].args[0].args[0]
        count = len(self.values[source]) if source is not None else 2
        return members + [self._node(pattern, i) for i in range(1, count)]

    def _node(self, pattern: Any, place: int) -> torch.fx.Node:
        from torch._inductor.pattern_matcher import _TargetArgsExpr

        given = None
        if isinstance(pattern, _TargetArgsExpr):
            given = tuple(self.value(arg, place) for arg in pattern.args), \
                {name: self.value(arg, place) for name, arg in pattern.kwargs.items()}
        for target in _targets(pattern.fns):
            args, kwargs = given or (_required(target), {})
            for choice in self._choices(target, args, kwargs, place):
                node = self._try(target, args, kwargs, choice)
                if node is not None:
                    return node
        raise Unbuildable(f"no arguments found for {pattern!r}")

    def _choices(self, target: Any, args: tuple, kwargs: dict, place: int) -> Iterator[dict[_Open, Any]]:
        """Yield values for the open arguments, the likeliest first."""
        pools: dict[_Open, tuple] = {}
        for where, item in [*enumerate(args), *kwargs.items()]:
            for leaf in pytree.tree_leaves(item):
                if isinstance(leaf, _Open):
                    pools[leaf] = _candidates(target, where, place, leaf is not item, self.preferred)
        return (dict(zip(pools, values, strict=True))
                for values in itertools.islice(itertools.product(*pools.values()), TRIES_PER_NODE))

    def _try(self, target: Any, args: tuple, kwargs: dict, choice: dict[_Open, Any]) -> torch.fx.Node | None:
        """Return the node for this call, or None where it does not run."""
        def fake(item: Any) -> Any:
            item = choice.get(item, item) if isinstance(item, _Open) else item
            return torch.empty(item.shape, device="meta") if isinstance(item, _Tensor) else item

        try:
            value = self._run(target, *pytree.tree_map(fake, (args, kwargs)))
        except Exception:  # whatever it raises, these arguments do not fit
            return None
        leaves = [value] if isinstance(value, torch.Tensor) else value
        if not isinstance(leaves,
                          (tuple, list)) or not all(isinstance(leaf, torch.Tensor) for leaf in leaves):
            return None
        final = {leaf: self._placeholder(item.shape) if isinstance(item, _Tensor) else item
                 for leaf, item in choice.items()}
        self.named.update({leaf.name: item for leaf, item in final.items() if leaf.name})
        args, kwargs = pytree.tree_map(lambda item: final[item] if isinstance(item, _Open) else item,
                                       (args, kwargs))
        return self.call(target, args, kwargs)

    def call(self, target: Any, args: tuple, kwargs: dict) -> torch.fx.Node:
        """Append a call with its value."""
        op = "call_method" if isinstance(target, str) else "call_function"
        node = self.graph.create_node(op, target, args, kwargs)
        self.values[node] = self._run(target, args, kwargs)
        return node

    def _run(self, target: Any, args: tuple, kwargs: dict) -> Any:
        args, kwargs = torch.fx.map_arg((args, kwargs), self.values.__getitem__)
        return getattr(args[0], target)(*args[1:], **kwargs) if isinstance(target, str) else target(*args,
                                                                                                    **kwargs)

    def _placeholder(self, shape: tuple[int, ...]) -> torch.fx.Node:
        first = next((node for node in self.graph.nodes if node.op != "placeholder"), None)
        with self.graph.inserting_before(first):
            node = self.graph.placeholder(f"x{next(self.count)}")
        node.meta["shape"] = shape
        self.values[node] = torch.empty(shape, device="meta")
        return node


def _targets(fns: Any) -> list[Any]:
    """The functions that a pattern stands for: overloads rather than packets, the usual ones first."""
    chosen = [fn for fn in fns if not isinstance(fn, torch._ops.OpOverloadPacket)]
    usual = {"default": 0, "Tensor": 1}
    return sorted(chosen, key=lambda fn: usual.get(getattr(fn, "_overloadname", "default"), 2))


def _required(target: Any) -> tuple:
    """Open arguments for a call of which the pattern says nothing."""
    if isinstance(target, torch._ops.OpOverload):
        return tuple(_Open() for argument in target._schema.arguments
                     if not argument.has_default_value() and not argument.kwarg_only)
    if target in CALLS:
        tensor = [_Open(), _Open()] if target in (torch.cat, torch.stack) else _Open()
        return (tensor, *CALLS[target])
    raise Unbuildable(f"no arguments known for {getattr(target, '__name__', target)}")


def _candidates(target: Any, where: int | str, place: int, nested: bool,
                preferred: dict[str, tuple]) -> tuple:
    """What may stand at a position or keyword of a call, the preferred first."""
    tensors = tuple(_Tensor(shape) for shape in (*preferred.get("shapes", ()), *SHAPES))
    if target is operator.getitem:
        return tensors if where == 0 else (place,)
    if not isinstance(target, torch._ops.OpOverload):
        if where == 0 or nested:
            return tensors
        defaults = CALLS.get(target, ())
        known = defaults[where - 1:where] if isinstance(where, int) else ()
        first = preferred.get("sections" if target is torch.split and where == 1 else str(where), ())
        return (*first, *known, *BY_NAME.get(str(where), ()), 1, 0, [2, 2], [1, 1], (2, 4), *tensors)
    found = next((a for i, a in enumerate(target._schema.arguments) if where in (i, a.name)), None)
    if found is None:
        return (None,)
    kind = str(found.type)
    kind = kind[len("Optional["):-1] if kind.startswith("Optional[") else kind
    first = preferred.get("sections" if found.name == "split_sizes" else found.name, ())
    if "Tensor" in kind:
        return (*first, *tensors) if kind == "Tensor" or nested else ([*tensors[:1]],)
    return (*first, *(BY_NAME.get(found.name) or BY_TYPE.get(kind) or (None,)))
