"""The graphs that one call becomes under torch.compile, with the graph breaks between them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

import torch
import torch._dynamo
from torch._dynamo.symbolic_convert import InstructionTranslatorBase
from torch.utils import _pytree as pytree
from torch.utils._sympy.numbers import int_oo

from fxpect.compiling.backends import RecordedGraph, RecordingBackend
from fxpect.compiling.messages import Reason
from fxpect.errors import FxpectError
from fxpect.specs import Dim, TensorSpec, default_sizes
from fxpect.specs.realizing import dims_of, realize


@dataclasses.dataclass(frozen=True)
class Break:
    """A graph break: why, and whether it leaves a whole function to eager."""

    reason: Reason

    @property
    def skipped(self) -> bool:
        """Whether dynamo gave up on the whole function."""
        return self.reason.skipped

    def __str__(self) -> str:
        return f"{'function skipped' if self.skipped else 'graph break'}: {self.reason}"


@dataclasses.dataclass(frozen=True)
class GraphSequence:
    """What one call was made of, in order, and what it returned."""

    events: tuple[RecordedGraph | Break, ...]
    value: Any
    backend: RecordingBackend

    @property
    def graphs(self) -> list[RecordedGraph]:
        """The graphs alone."""
        return [event for event in self.events if isinstance(event, RecordedGraph)]

    @property
    def breaks(self) -> list[Break]:
        """The graph breaks alone."""
        return [event for event in self.events if isinstance(event, Break)]

    @property
    def outline(self) -> list[str]:
        """One line an event: ``"graph: sin, add"`` with the operators, ``"graph break: title (id)"``."""
        return [str(event) if isinstance(event, Break) else f"graph: {', '.join(_operators(event))}"
                for event in self.events]

    @property
    def text(self) -> str:
        """The texts of the graphs, each break as a comment between them."""
        return "\n".join(f"# {event}\n" if isinstance(event, Break) else event.text for event in self.events)


def graphs_of(function: Callable[..., Any], *inputs: Any, kwargs: Mapping[str, Any] | None = None,
              dynamic: bool | None = None, fullgraph: bool = False, pass_: Any = None,
              aot: bool | Mapping[str, Any] = False, backend: RecordingBackend | None = None) -> GraphSequence:
    """Call ``function`` once under torch.compile and return its graphs and graph breaks, in order.

    ``inputs`` are specs, tensors and constants, nested as the function takes them; the dims that a spec names are
    marked dynamic, with their ranges. ``pass_`` and ``aot`` are those of ``RecordingBackend``. Dynamo is reset
    before and after. Raises what the function raises, and dynamo's own errors where ``fullgraph`` forbids a
    break.
    """
    if backend is None:
        backend = RecordingBackend(pass_, aot=aot)
    elif pass_ is not None or aot:
        raise FxpectError("expected pass_= and aot=, or a backend= that has them; got both")
    args, keywords = real_inputs(inputs, kwargs or {}, dynamic)
    torch._dynamo.reset()
    try:
        with watched_breaks(backend) as breaks:
            value = torch.compile(function, backend=backend, dynamic=dynamic, fullgraph=fullgraph)(*args, **keywords)
    finally:
        torch._dynamo.reset()
    return GraphSequence(tuple(in_order(backend.graphs, breaks)), value, backend)


def real_inputs(inputs: tuple[Any, ...], kwargs: Mapping[str, Any], dynamic: bool | None = None) -> tuple[tuple, dict]:
    """Return the real arguments for specs, nested alike; named dims are marked dynamic unless ``dynamic=False``."""
    leaves, tree = pytree.tree_flatten((tuple(inputs), dict(kwargs)))
    sizes = default_sizes(dim for leaf in leaves for dim in dims_of(leaf))
    values = realize(leaves, sizes)
    for leaf, value in zip(leaves, values, strict=True):
        if isinstance(leaf, TensorSpec) and dynamic is not False:
            for place, dim in enumerate(leaf.shape):
                if isinstance(dim, Dim):
                    # torch 2.13 takes no lower bound alone.
                    torch._dynamo.mark_dynamic(value, place, min=dim.min, max=int_oo if dim.max is None else dim.max)
    return pytree.tree_unflatten(values, tree)


@contextlib.contextmanager
def watched_breaks(backend: RecordingBackend) -> Iterator[list[tuple[int, Break]]]:
    """Collect each graph break with the number of graphs that ``backend`` had been given when it was met.

    Listens where dynamo logs a break, which it does before it hands over the graph that ends there.
    """
    breaks: list[tuple[int, Break]] = []
    log = InstructionTranslatorBase.log_graph_break

    def listening(translator: Any, code_options: Any, reason: str = "", *args: Any, **kwargs: Any) -> Any:
        breaks.append((len(backend.graphs), Break(Reason.read(reason))))
        return log(translator, code_options, reason, *args, **kwargs)

    with mock.patch.object(InstructionTranslatorBase, "log_graph_break", listening):
        yield breaks


def in_order(graphs: list[RecordedGraph], breaks: list[tuple[int, Break]]) -> Iterator[RecordedGraph | Break]:
    """Yield graphs and breaks as they came: a graph that ends in a break stands before it."""
    for place in range(len(graphs) + 1):
        here = [one for met, one in breaks if met == place]
        if place == len(graphs):
            yield from here
            return
        graph = graphs[place]
        last = here.pop() if graph.broke and here else None
        yield from here
        yield graph
        if last is not None:
            yield last
        elif graph.broke:  # a break that dynamo does not log
            yield Break(Reason(graph.reason.split("\n")[0]))


def _operators(graph: RecordedGraph) -> list[str]:
    return [getattr(node.target, "__name__", str(node.target)) for node in graph.graph_module.graph.nodes
            if node.op in ("call_function", "call_method", "call_module")]
