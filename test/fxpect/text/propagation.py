"""Recompute the metadata of nodes by running them on fake tensors, one node or a whole graph."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx import GraphModule, Node
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.fx.node import map_arg

from fxpect.autocast import autocast_kept
from fxpect.errors import FxpectError
from fxpect.text.effects import attribute_of

RESHAPING_INPLACE = frozenset(
    "t_ transpose_ swapaxes_ swapdims_ squeeze_ unsqueeze_ resize_ resize_as_ set_ as_strided_ detach_ "
    "requires_grad_".split())


def meta_key_of(module: GraphModule) -> str:
    """Return under which key the graph keeps its fake values: "val", or "example_value" as dynamo does."""
    for node in module.graph.nodes:
        if "val" in node.meta:
            return "val"
        if "example_value" in node.meta:
            return "example_value"
    return "val"


def new_fake_mode() -> FakeTensorMode:
    """Return a fake mode in which sizes are numbers until a symbol is made in its shape environment."""
    return FakeTensorMode(shape_env=ShapeEnv(), static_shapes=True, allow_non_fake_inputs=True)


def fake_mode_of(module: GraphModule) -> FakeTensorMode | None:
    """Return the fake mode of the recorded values, None when no node has a fake tensor."""
    for node in module.graph.nodes:
        for key in ("val", "example_value"):
            for value in _flat(node.meta.get(key)):
                if isinstance(value, FakeTensor):
                    return value.fake_mode
    return None


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, (tuple, list)):
        for item in value:
            yield from _flat(item)
    else:
        yield value


@contextlib.contextmanager
def quiet_state(meta_key: str) -> Iterator[None]:
    """Run with gradients as the capture had them, and put every global mode that a graph can switch back."""
    random = torch.get_rng_state()
    try:
        with autocast_kept(), torch.set_grad_enabled(meta_key == "example_value"):
            yield
    finally:
        torch.set_rng_state(random)


def retype(node: Node, meta_key: str, mode: FakeTensorMode) -> Any:
    """Run one node on the recorded values of its arguments, record its own value and return it.

    The arguments must have values already. Raises whatever the operator raises: the node does not type.
    A graph that switches a global mode (autocast, gradients) types as a whole only: see ``propagate``.
    """
    known = {}
    if node.op == "call_method" and node.target in RESHAPING_INPLACE:  # the recorded value of its argument stays
        known = {read: value.view_as(value) for read in node.all_input_nodes
                 if isinstance(value := read.meta.get(meta_key), torch.Tensor)}
    with quiet_state(meta_key), mode:
        return _run(node, meta_key, mode, known)


def propagate(module: GraphModule, fake_inputs: Sequence[Any] | None = None, *, meta_key: str | None = None,
              mode: FakeTensorMode | None = None, only_missing: bool = False) -> None:
    """Recompute the metadata of every node by running the graph on fake tensors.

    ``fake_inputs`` replace the recorded values of the placeholders, one for each. With ``only_missing`` a recorded
    value stays. What is reshaped in place is recorded in its last shape, as Dynamo does it; an input keeps its own.
    Raises FxpectError when an input has no value; an error of an operator names its node in a note.
    """
    key = meta_key or meta_key_of(module)
    if mode is None:
        given = (value.fake_mode for value in _flat(list(fake_inputs or ())) if isinstance(value, FakeTensor))
        mode = next(given, None) or fake_mode_of(module) or new_fake_mode()
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    if fake_inputs is not None:
        if len(fake_inputs) != len(placeholders):
            raise FxpectError(f"propagate: expected {len(placeholders)} inputs; got {len(fake_inputs)}")
        for node, value in zip(placeholders, fake_inputs):
            is_real = isinstance(value, torch.Tensor) and not isinstance(value, FakeTensor)
            node.meta[key] = mode.from_tensor(value, static_shapes=True) if is_real else value
    unknown = [node.name for node in placeholders if key not in node.meta]
    if unknown:
        raise FxpectError(f"propagate: expected a value in meta[{key!r}] of every input; none for {', '.join(unknown)}")
    known: dict[Any, Any] = {}
    reshapes = any(node.target in RESHAPING_INPLACE for node in module.graph.nodes)
    with quiet_state(key), mode:
        for node in module.graph.nodes:
            if node.op == "placeholder" and reshapes and isinstance(node.meta[key], torch.Tensor):
                known[node] = node.meta[key].view_as(node.meta[key])
            if node.op in ("placeholder", "output"):
                continue
            keep = only_missing and key in node.meta
            try:
                result = _run(node, key, mode, known, store=not keep)
                if reshapes:  # what is on record may be of a later shape
                    known[node] = result
            except Exception as error:
                if hasattr(error, "add_note"):
                    error.add_note(f"while propagating through {node.format_node()}")
                raise


def share_views(module: GraphModule, meta_key: str, mode: FakeTensorMode) -> None:
    """Give the views of a graph of ATen operators, whose values are recorded, the memory of what they are views of.

    Passes ask which values share memory. A record that says other than the operator does, or has symbols, stays.
    """
    with quiet_state(meta_key), mode:
        for node in module.graph.nodes:
            if meta_key in node.meta and (node.target is operator.getitem or getattr(node.target, "is_view", False)):
                with contextlib.suppress(Exception):  # the record may be of what the operator refuses
                    viewed = _run(node, meta_key, mode, {}, store=False)
                    if _form(viewed) == _form(node.meta[meta_key]):
                        node.meta[meta_key] = viewed


def _form(value: Any) -> list[Any]:
    return [(item.dtype, tuple(map(int, item.shape)), tuple(map(int, item.stride()))) for item in _flat(value)]


def _run(node: Node, key: str, mode: FakeTensorMode, known: dict[Any, Any], store: bool = True) -> Any:
    """Run one node; ``known`` holds fake attributes by path, and results that metadata cannot hold by node."""

    def load(argument: Node) -> Any:
        if argument.op == "get_attr":
            return _attribute(argument, mode, known)
        if argument in known:
            return known[argument]
        return argument.meta.get(key, argument.meta.get(_OTHER[key]))

    if node.op == "get_attr":
        result = _attribute(node, mode, known)
    else:
        args = map_arg(node.args, load)
        kwargs = map_arg(node.kwargs, load)
        result = _apply(node, args, kwargs, mode)
    if store:
        if mode.shape_env is not None and key in node.meta:
            _keep_symbols(node.meta[key], result, mode.shape_env)
        recorded = _recorded(result, mode)
        if recorded is None:
            node.meta.pop(key, None)
            known[node] = result
        else:
            node.meta[key] = recorded
    return result


def _keep_symbols(old: Any, new: Any, environment: ShapeEnv) -> None:
    """Let a size that only the data knows keep its symbol when its node runs again."""
    for before, after in zip(_sizes(old), _sizes(new)):
        symbols: list[Any] = [getattr(getattr(size, "node", None), "expr", None) for size in (before, after)]
        if None not in symbols and symbols[0] != symbols[1] and all(
                symbol.is_Symbol and symbol.name.startswith("u") for symbol in symbols):
            environment._rename_unbacked_to(symbols[1], symbols[0])


def _sizes(value: Any) -> Iterator[Any]:
    for item in _flat(value):
        yield from item.shape if isinstance(item, torch.Tensor) else (item,)


_OTHER = {"val": "example_value", "example_value": "val"}


def _apply(node: Node, args: Any, kwargs: Any, mode: FakeTensorMode) -> Any:
    if node.op == "call_function":
        return node.target(*args, **kwargs)
    if node.op == "call_method":
        receiver, *rest = args
        return getattr(receiver, node.target)(*rest, **kwargs)
    owner = node.graph.owning_module
    module = attribute_of(owner, node.target)
    if not isinstance(module, torch.nn.Module):
        raise FxpectError(f"propagate: {node.target} is not a submodule")
    state = {name: mode.from_tensor(tensor, static_shapes=True)
             for name, tensor in [*module.named_parameters(), *module.named_buffers()]}
    try:
        return torch.func.functional_call(module, state, tuple(args), kwargs)
    finally:
        for inner in module.modules():  # torch 2.13 and 2.15 put the parameters back, but not into this list
            if isinstance(inner, torch.nn.RNNBase):
                inner._flat_weights = [getattr(inner, name, None) for name in inner._flat_weights_names]


def _attribute(node: Node, mode: FakeTensorMode, known: dict[Any, Any]) -> Any:
    found = known.get(node.target)
    if found is None:
        found = attribute_of(node.graph.owning_module, node.target)
        if isinstance(found, torch.Tensor) and not isinstance(found, FakeTensor):
            found = mode.from_tensor(found, static_shapes=True)
        known[node.target] = found
    return found


def _recorded(value: Any, mode: FakeTensorMode) -> Any:
    """Return what is worth recording of a result: tensors and numbers, in their tuples and lists."""
    if isinstance(value, torch.Tensor):
        return value if isinstance(value, FakeTensor) else mode.from_tensor(value, static_shapes=True)
    if isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool, int, float, bool)):
        return value
    if isinstance(value, (tuple, list)):
        items = [_recorded(item, mode) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return None
