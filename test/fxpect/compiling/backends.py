"""A backend of torch.compile that keeps every graph it is given, and runs passes over them on the way."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch._dynamo
from torch.utils._python_dispatch import _disable_current_modes

from fxpect.capture import capture
from fxpect.capture.calls import clone
from fxpect.capture.results import clean_copy
from fxpect.capture.symbols import hint
from fxpect.examples import Example
from fxpect.execution import Execution, Pass, as_pass, run_pass

DYNAMO, FORWARD, BACKWARD = "dynamo", "forward", "backward"


class RecordedGraph:
    """One graph that a backend was given: as it came, what it was called with, and what a pass made of it.

    ``level`` is "dynamo" for a torch-level graph, "forward" or "backward" for an ATen graph of AOT autograd.
    ``execution`` is the run of the backend's pass, None without one. ``broke`` says that the graph ends in a
    graph break, ``reason`` what dynamo says of its end.
    """

    def __init__(self, gm: torch.fx.GraphModule, values: Sequence[Any], level: str):
        self.level = level
        self.graph_module = clean_copy(gm)
        self.execution: Execution | None = None
        end = getattr(gm, "compile_subgraph_reason", None)
        self.broke: bool = bool(getattr(end, "graph_break", False))
        self.reason: str = str(getattr(end, "reason", ""))
        self._values = _own(values, _sizes(gm, values)) if level == DYNAMO else ()

    @functools.cached_property
    def example(self) -> Example:
        """The graph with its inputs, to stand in the place of a model in every verb."""
        return capture(self.graph_module, self._values, capture="dynamo" if self.level == DYNAMO else "make_fx")

    @property
    def text(self) -> str:
        """The canonical text of the graph as it came."""
        return self.example.text

    @property
    def after_text(self) -> str:
        """The canonical text of what the backend ran: the graph after the pass, where there is one."""
        return self.text if self.execution is None else self.execution.after_text

    def __repr__(self) -> str:
        return f"RecordedGraph[{self.level}]\n{self.text}"


class RecordingBackend:
    """A backend for ``torch.compile`` that keeps what it is given, in order.

        backend = RecordingBackend(my_pass)
        torch.compile(f, backend=backend)(x)
        backend.texts                          the graphs, as canonical text
        backend.graphs[0].example              the first one, for a verb: assertPreserves(other_pass, example)

    ``pass_`` runs over every torch-level graph, in any form that ``fxpect.as_pass`` takes, and what it makes is
    what runs. With ``aot=True`` AOT autograd takes the graphs apart (a mapping: with these options, such as
    ``decompositions``); ``forward`` and ``backward`` keep its ATen graphs, and ``aten_pass`` runs over each of
    them. Everything runs eagerly in the end. Raises what ``fxpect.run_pass`` raises for a pass that crashes.
    """

    def __init__(self, pass_: Any = None, *, aot: bool | Mapping[str, Any] = False, aten_pass: Any = None):
        self.pass_ = _pass_or_none(pass_)
        self.aten_pass = _pass_or_none(aten_pass)
        self.aot = aot
        self.clear()

    def clear(self) -> None:
        """Forget the graphs."""
        self.graphs: list[RecordedGraph] = []
        self.forward: list[RecordedGraph] = []
        self.backward: list[RecordedGraph] = []

    @property
    def texts(self) -> list[str]:
        """The canonical texts of the torch-level graphs."""
        return [graph.text for graph in self.graphs]

    def __call__(self, gm: torch.fx.GraphModule, example_inputs: Sequence[Any]) -> Callable[..., Any]:
        """Keep the graph and return what runs in its place; torch.compile calls this."""
        module = self._record(self.graphs, gm, example_inputs, DYNAMO, self.pass_)
        if self.aot is False:
            return module.forward
        return self._through_aot(module, example_inputs)

    def _record(self, graphs: list[RecordedGraph], gm: torch.fx.GraphModule, values: Sequence[Any], level: str,
                pass_: Pass | None) -> torch.fx.GraphModule:
        with _disable_current_modes():  # AOT autograd compiles under a mode that takes fake tensors alone
            graph = RecordedGraph(gm, values, level)
            graphs.append(graph)
            if pass_ is None:
                return gm
            graph.execution = run_pass(pass_, graph.example)
        return graph.execution.after

    def _through_aot(self, gm: torch.fx.GraphModule, example_inputs: Sequence[Any]) -> Callable[..., Any]:
        from functorch.compile import make_boxed_func, min_cut_rematerialization_partition
        from torch._dynamo.backends.common import aot_autograd

        def compiler(graphs: list[RecordedGraph], level: str) -> Callable[..., Any]:
            def compile_one(inner: torch.fx.GraphModule, values: Sequence[Any]) -> Callable[..., Any]:
                return make_boxed_func(self._record(graphs, inner, values, level, self.aten_pass).forward)

            return compile_one

        options = dict(self.aot) if isinstance(self.aot, Mapping) else {}
        # As aot_eager does, so that the graphs are those of the backend that people debug with.
        usual = {"partition_fn": min_cut_rematerialization_partition, "keep_inference_input_mutations": True}
        return aot_autograd(fw_compiler=compiler(self.forward, FORWARD), bw_compiler=compiler(self.backward, BACKWARD),
                            **{**usual, **options})(gm, example_inputs)


def _pass_or_none(pass_: Any) -> Pass | None:
    return None if pass_ is None else as_pass(pass_)


def _own(values: Sequence[Any], sizes: Mapping[Any, int]) -> tuple[Any, ...]:
    """Return inputs that later writes do not reach; a size is the number that it was traced with."""
    memo: dict[int, Any] = {}
    return tuple(clone(value, memo) if isinstance(value, torch.Tensor)
                 else sizes.get(value.node.expr) or hint(value) if isinstance(value, torch.SymInt)
                 else value for value in values)


def _sizes(gm: torch.fx.GraphModule, values: Sequence[Any]) -> dict[Any, int]:
    """Return the real sizes of the tensors by their symbols: an unbacked size has no hint of its own."""
    sizes: dict[Any, int] = {}
    for node, value in zip(gm.graph.find_nodes(op="placeholder"), values, strict=False):
        fake = node.meta.get("example_value")
        if isinstance(fake, torch.Tensor) and isinstance(value, torch.Tensor):
            sizes.update({symbolic.node.expr: size for symbolic, size in zip(fake.shape, value.shape, strict=False)
                          if isinstance(symbolic, torch.SymInt)})
    return sizes
