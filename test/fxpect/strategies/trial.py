"""Whether an edit can type: what it changes is run on real values before the step is offered.

A step copies the graph, runs it and types it anew; a trial runs the changed calls, and those after them until the
types are the old ones again. Calls of the same types are tried once, until ``forget``.
"""

from __future__ import annotations

import contextlib
import functools
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch.fx import Node

from fxpect import contracts
from fxpect.autocast import autocast_kept
from fxpect.strategies.signatures import base_name, signatures

# Torch does not check the sizes that these are given: another one corrupts the memory of the process (2.13.0, 2.15.0).
UNCHECKED = frozenset({torch.ops.aten.mkldnn_rnn_layer.default})
MAX_KNOWN = 20_000
_known: dict[Any, Any] = {}


class _Refused(str):
    """Why a call was refused, in the place of what it would give."""


class Call(NamedTuple):
    """What a node calls, or would call; an argument may be a real tensor where an input would be added."""

    op: str
    target: Any
    args: tuple = ()
    kwargs: Mapping[str, Any] = {}


class Trial:
    """The values that an example's graph computes, on which its edits are tried.

    ``values`` gives each node its value; what an in-place call does to the values of others is not followed.
    """

    def __init__(self, gm: torch.fx.GraphModule, values: Mapping[Node, Any]):
        self.gm = gm
        self.values = values
        self._calls = [(node, node.all_input_nodes) for node in gm.graph.nodes
                       if node.op not in ("placeholder", "output")]

    def value(self, call: Call, given: Mapping[Node, Any] | None = None) -> Any:
        """Return what a call gives; raises what it raises."""
        return self._run(call, _Chain(given or {}, self.values))

    def fits(self, given: Mapping[Node, Any] | None = None, calls: Mapping[Node, Call] | None = None,
             edges: Mapping[Node, Mapping[Node, Any]] | None = None) -> bool:
        """Return whether the graph runs with other values, other calls, or other values on single edges.

        ``given`` is a value for a node, ``calls`` a call in its place, ``edges`` what one reader reads for a node.
        """
        now = dict(given or {})
        calls, edges = calls or {}, edges or {}
        if not (calls or edges or any(form(value) != form(self.values[node]) for node, value in now.items())):
            return True
        for node, operands in self._calls:
            if node in now or node not in calls and node not in edges and now.keys().isdisjoint(operands):
                continue
            call = calls.get(node) or Call(node.op, node.target, node.args, node.kwargs)
            load = _Chain(edges.get(node, {}), now, self.values)
            if isinstance(call.target, torch._ops.HigherOrderOperator):
                # The graph inside it is of the types that it was given.
                if any(form(load[read]) != form(self.values[read]) for read in operands):
                    return False
                continue
            try:
                value = self._run(call, load)
            except Exception:  # whatever it says: the step would say it again
                return False
            if form(value) != form(self.values[node]):
                now[node] = value
        return True

    def follows(self, call: Call, node: Node) -> bool:
        """Return whether what a new call gives may be read in the place of a node."""
        try:
            value = self.value(call)
        except Exception:
            return False
        return self.fits({node: value})

    def takes(self, call: Call, before: Node) -> bool:
        """Return whether the graph runs with a call more before a node; what it writes to or reshapes stays so."""
        now = {node: _own(value) for node, value in self.values.items() if node.op in ("placeholder", "get_attr")}
        calls = [(node, Call(node.op, node.target, node.args, node.kwargs)) for node, _ in self._calls
                 if node.op != "get_attr"]
        place = next((i for i, (node, _) in enumerate(calls) if node is before), len(calls))
        calls.insert(place, (before, call))
        try:
            with torch.no_grad(), autocast_kept():  # a region that is begun may not be ended
                for node, made in calls:
                    args, kwargs = torch.fx.map_arg((made.args, dict(made.kwargs)), now.__getitem__)
                    now[node] = self._call(made, args, kwargs, own=_same)
        except Exception:  # as above
            return False
        return True

    def _run(self, call: Call, load: Mapping[Node, Any]) -> Any:
        if call.target in UNCHECKED:
            raise TypeError("sizes that torch does not check")
        args, kwargs = torch.fx.map_arg((call.args, dict(call.kwargs)), load.__getitem__)
        if call.op in ("get_attr", "call_module") or isinstance(call.target, torch.nn.Module) or \
                _holds_indices((args, kwargs)):
            return self._call(call, args, kwargs)
        key = call.op, call.target, form(args), form(kwargs)
        if key not in _known:
            if len(_known) > MAX_KNOWN:
                _known.clear()
            try:
                _known[key] = self._call(call, args, kwargs)
            except Exception as error:
                _known[key] = _Refused(str(error))
        found = _known[key]
        if isinstance(found, _Refused):
            raise TypeError(found)
        return found

    def _call(self, call: Call, args: tuple, kwargs: dict[str, Any], own: Callable[[Any], Any] | None = None) -> Any:
        if isinstance(call.target, torch._ops.OpOverload):
            _check_kinds(call.target, args, kwargs)
        check = _CHECKS.get(base_name(call.target))
        if check is not None:
            check(args, kwargs)
        if call.op == "call_module" or contracts.writes(call):
            args, kwargs = (own or _own)(args), (own or _own)(kwargs)
        out = kwargs.get("out")
        shape = getattr(out, "shape", None)
        node = types.SimpleNamespace(op=call.op, target=call.target, args=args, kwargs=kwargs)
        value = call_node(node, self.gm, None, torch.clone if call.op == "call_module" else _same)
        if shape != getattr(out, "shape", None):
            raise TypeError("it resizes its out=")
        return value


class _Chain(dict):
    """A value for each node: that of the first mapping which has one."""

    def __init__(self, *maps: Mapping[Node, Any]):
        super().__init__()
        self.maps = maps

    def __missing__(self, node: Node) -> Any:
        return next(mapping[node] for mapping in self.maps if node in mapping)


@contextlib.contextmanager
def trying() -> Iterator[None]:
    """Leave no trace of trials: not in the random state, not on the screen, no history for autograd.

    They draw the same numbers each time: where these are indices, it depends on them what types.
    """
    state = torch.get_rng_state()
    try:
        torch.default_generator.manual_seed(0)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_rng_state(state)


def forget() -> None:
    """Forget which calls were tried: what a search or a test is offered does not depend on those before it."""
    _known.clear()


def form(value: Any) -> Any:
    """Return what decides whether a call types: dtype, sizes, strides; other values as they are written."""
    if isinstance(value, torch.Tensor):
        return (value.dtype, tuple(value.shape), value.stride() if value.layout == torch.strided else value.layout,
                value.is_conj(), value.is_neg())
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, *map(form, value))
    if isinstance(value, dict):
        return tuple((name, form(item)) for name, item in value.items())
    if isinstance(value, (bool, int, float, complex, str, type(None))):
        return type(value).__name__, repr(value)
    return value if isinstance(value, (torch.dtype, torch.device, torch.memory_format, torch.layout)) else repr(value)


def call_node(node: Any, gm: torch.fx.GraphModule, load: Callable[[Node], Any] | None,
              own: Callable[[torch.Tensor], Any] = lambda tensor: tensor) -> Any:
    """Run one node on what ``load`` gives for its operands; ``own`` says what a tensor of the module becomes."""
    if node.op == "get_attr":
        attribute = attribute_at(gm, node.target)
        return own(attribute) if isinstance(attribute, torch.Tensor) else attribute
    args = node.args if load is None else torch.fx.map_arg(node.args, load)
    kwargs = node.kwargs if load is None else torch.fx.map_arg(node.kwargs, load)
    if node.op == "call_function":
        return node.target(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], node.target)(*args[1:], **kwargs)
    return call_module(attribute_at(gm, node.target), args, kwargs, own)


def attribute_at(gm: torch.fx.GraphModule, path: str) -> Any:
    """Return the attribute at a dotted path."""
    return functools.reduce(getattr, path.split("."), gm)


def call_module(module: torch.nn.Module, args: Any, kwargs: Any, own: Callable[[torch.Tensor], Any]) -> Any:
    """Call a module with ``own`` of each of its parameters and buffers."""
    state = {name: own(value) for name, value in [*module.named_parameters(), *module.named_buffers()]}
    return torch.func.functional_call(module, state, args, kwargs)


# ---------------------------------------------------------------------- helpers


def _check_kinds(target: torch._ops.OpOverload, args: tuple, kwargs: dict[str, Any]) -> None:
    """Raise ``TypeError`` for what torch takes and dies of: a tensor as an int, an int as a dtype.

    ``aten.remainder.int`` of two zeros that are tensors without dims divides by zero, ``aten.view.dtype`` of -1 reads
    past its table of dtypes: both end the process (2.13.0, 2.15.0).
    """
    for param, value in (*zip(signatures("call_function", target)[0], args),
                         *((param, kwargs[param.name]) for param in signatures("call_function", target)[0]
                           if param.name in kwargs)):
        if isinstance(value, torch.Tensor) and not param.is_tensor:
            raise TypeError(f"{target}: expected {param.kind} for {param.name}; got a tensor")
        if param.kind.startswith("ScalarType") and not isinstance(value, (torch.dtype, type(None))):
            raise TypeError(f"{target}: expected a dtype for {param.name}; got {value!r}")


def _check_attention(args: tuple, kwargs: dict[str, Any]) -> None:
    """Raise ``TypeError`` where there are not as many keys as values: the fused kernel reads past the shorter ones."""
    given = {**dict(zip(("query", "key", "value"), args)), **kwargs}
    key, value = given.get("key"), given.get("value")
    if isinstance(key, torch.Tensor) and isinstance(value, torch.Tensor) and key.shape[:-1] != value.shape[:-1]:
        raise TypeError(f"attention: expected as many keys as values; got {tuple(key.shape)} and {tuple(value.shape)}")


def _check_batch_norm(args: tuple, kwargs: dict[str, Any]) -> None:
    """Raise ``TypeError`` for a scale of other strides: the backward reads it as if it were contiguous, on a CPU.

    Its gradients are wrong then, and a pass that decomposes it would be blamed for right ones (2.13.0, 2.15.0).
    """
    for value in (*args, *kwargs.values()):
        if isinstance(value, torch.Tensor) and value.dim() == 1 and not value.is_contiguous():
            raise TypeError(f"batch_norm: expected vectors that are contiguous; got strides {value.stride()}")


_CHECKS = {"scaled_dot_product_attention": _check_attention, "batch_norm": _check_batch_norm}


def _same(value: Any) -> Any:
    return value


def _holds_indices(value: Any) -> bool:
    """Whether whole numbers are among the tensors: they may be indices, whose values decide."""
    if isinstance(value, torch.Tensor):
        return not value.dtype.is_floating_point and not value.dtype.is_complex
    return any(map(_holds_indices, value.values() if isinstance(value, dict) else value)) \
        if isinstance(value, (list, tuple, dict)) else False


def _own(value: Any) -> Any:
    """Return arguments with copies of the tensors, strides kept."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, (list, tuple)):
        return (tuple if isinstance(value, tuple) else list)(map(_own, value))
    return {name: _own(item) for name, item in value.items()} if isinstance(value, dict) else value
