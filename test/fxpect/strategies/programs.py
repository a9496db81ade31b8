"""Random programs: typed graphs grown from an operator table, one call at a time."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from hypothesis import reject
from hypothesis import strategies as st
from torch.fx._lazy_graph_module import _make_graph_module, _use_lazy_graph_module

from fxpect.capture import CAPTURES
from fxpect.errors import FxpectError
from fxpect.examples import Example
from fxpect.specs import TensorSpec
from fxpect.strategies.operators.building import MAX_PIECES, Builder, Unfit
from fxpect.strategies.operators.rows import Operator
from fxpect.strategies.operators.table import select

_CHOICE = st.integers(0, 2**16 - 1)


def programs(ops: Iterable[str] | None = None, *, capture: str = "dynamo", min_size: int = 1, max_size: int = 8,
             inputs: Sequence[TensorSpec] = (), without: Iterable[str] = ()) -> st.SearchStrategy[Example]:
    """Return a strategy of random programs of ``min_size`` to ``max_size`` operators, as examples.

    ``ops`` and ``without`` name operators or tags ("view", "reduction", "random", "inplace", ...). The graph
    speaks the dialect of ``capture`` and keeps its contract. It takes ``inputs`` first and one more wherever
    nothing fits; without ``inputs``, only what it uses. Shrinks toward fewer and plainer calls.
    Raises ``FxpectError`` for an unknown word or capture, and for sizes or specs that make no sense.
    """
    if capture not in CAPTURES:
        raise FxpectError(f"programs: expected a capture among {', '.join(CAPTURES)}; got {capture!r}")
    if not 0 < min_size <= max_size:
        raise FxpectError(f"programs: expected 0 < min_size <= max_size; got {min_size!r} and {max_size!r}")
    wrong = [spec for spec in inputs if not isinstance(spec, TensorSpec) or spec.is_dynamic]
    if wrong:
        raise FxpectError(f"programs: expected specs of fixed shape as inputs; got {wrong[0]!r}")
    return _programs(select(capture, ops, without), capture, min_size, max_size, tuple(inputs))


@st.composite
def _programs(draw: st.DrawFn, rows: tuple[Operator, ...], capture: str, min_size: int, max_size: int,
              specs: tuple[TensorSpec, ...]) -> Example:
    builder = Builder(lambda: draw(_CHOICE), capture, specs)
    size = sum(draw(st.lists(_step(builder, rows), min_size=min_size, max_size=max_size)))
    for row in rows:        # a call that fits nothing costs a step, not the example
        if size >= min_size:
            break
        size += builder.attempt(functools.partial(append, row=row))
    if size < min_size:
        reject()
    return finish(builder, capture, len(specs))


@st.composite
def _step(draw: st.DrawFn, builder: Builder, rows: tuple[Operator, ...]) -> bool:
    row = rows[draw(st.integers(0, len(rows) - 1))]
    return builder.attempt(functools.partial(append, row=row))


def append(builder: Builder, row: Operator) -> None:
    """Append a call of this operator, and what reads the pieces of its result; raises ``Unfit``."""
    args, kwargs = row.arguments(builder)
    op, target = row.target(builder.functional)
    node = builder.add(op, target, args, kwargs)
    result = node.meta[builder.meta_key]
    if isinstance(result, torch.Tensor):
        return
    if not isinstance(result, (tuple, list)) or not result:
        if "inplace" in row.tags:       # an item assignment returns nothing
            return
        raise Unfit("no tensor comes of it")
    tensors = [i for i, piece in enumerate(result[:MAX_PIECES]) if isinstance(piece, torch.Tensor)]
    for i in builder.one_of(tensors, tensors[:1], tensors[-1:]):
        builder.add("call_function", operator.getitem, (node, i), {})


def finish(builder: Builder, capture: str, fixed: int = 0) -> Example:
    """Return the program as an example: what nobody reads is returned, and perhaps one value that is read."""
    graph = builder.graph
    for i in reversed(range(fixed, len(builder.placeholders))):
        if not builder.placeholders[i].users:
            builder.values.remove(builder.placeholders[i])
            graph.erase_node(builder.placeholders.pop(i))
            del builder.inputs[i]
    results: list[Any] = [node for node in builder.values if not node.users and node.op != "placeholder"]
    others = [node for node in builder.values if node not in results]
    if others and (builder.one_of(False, False, False, True) or not results):
        results.append(builder.pick(others[::-1]))
    graph.output(tuple(results)).meta[builder.meta_key] = tuple(node.meta[builder.meta_key] for node in results)
    with _use_lazy_graph_module(True):
        module = _make_graph_module({}, graph, "Program")
    return Example(module, tuple(builder.inputs), capture)
