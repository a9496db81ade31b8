"""An example on the workbench: a graph that edits change and fake tensors re-type."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Node
from torch.fx._lazy_graph_module import _make_graph_module, _use_lazy_graph_module

from fxpect.examples import Example, copy_tensor
from fxpect.specs import Dim, Same, TensorSpec, spec_of

_FAKE_LOG = logging.getLogger("torch._subclasses.fake_tensor")
FUNCTIONAL_CAPTURES = frozenset({"aten", "joint", "make_fx", "export", "export-nonstrict"})


class Inapplicable(Exception):
    """An edit that does not fit this graph; the draft is thrown away."""


@dataclasses.dataclass(frozen=True)
class Edit:
    """One step away from an example: ``what`` reads "cat.dim: -1 -> 0"; ``apply`` changes a draft.

    ``trigger`` is the step without the values that do not matter, so that equal causes meet.
    """

    direction: str
    what: str
    trigger: str
    apply: Callable[[Draft], None]

    def __repr__(self) -> str:
        return f"{self.direction}: {self.what}"


class Draft:
    """A private copy of an example's graph and inputs, with the tools that edits need."""

    def __init__(self, example: Example):
        self.capture = example.capture
        self.meta_key = example.meta_key
        self.sizes = dict(example.sizes)
        self.inputs = [spec_of(v) if isinstance(v, torch.Tensor) else v for v in example.inputs]
        self.gm, self._nodes = _light_copy(example.graph_module)
        self.graph = self.gm.graph
        self.fake_mode = self._find_fake_mode()
        self.functional = example.capture in FUNCTIONAL_CAPTURES
        self._first_dirty: Node | None = None
        self._stale_from_start = False

    # ------------------------------------------------------------------ looking

    def node(self, name: str) -> Node:
        """Return the node that had this name in the example."""
        try:
            return self._nodes[name]
        except KeyError:
            raise Inapplicable(f"no node {name}") from None

    def val(self, node: Node) -> Any:
        """Return the fake value of a node, or None."""
        return node.meta.get(self.meta_key)

    def tensor(self, value: Any) -> torch.Tensor | None:
        """Return the fake tensor behind an argument, or None when it is not a tensor."""
        found = self.val(value) if isinstance(value, Node) else None
        return found if isinstance(found, torch.Tensor) else None

    @property
    def placeholders(self) -> list[Node]:
        """The placeholders, in order."""
        return self.graph.find_nodes(op="placeholder")

    @property
    def output(self) -> Node:
        """The output node."""
        return self.graph.output_node()

    def calls(self) -> list[Node]:
        """Return the nodes that compute something, in program order."""
        return [n for n in self.graph.nodes if n.op in ("call_function", "call_method", "call_module")]

    def tensors(self) -> list[Node]:
        """Return every node whose value is one tensor, in program order."""
        return [n for n in self.graph.nodes if n.op != "output" and self.tensor(n) is not None]

    def returned(self) -> list[Node]:
        """Return the nodes among the outputs."""
        return [n for n in self.output.all_input_nodes]

    # ------------------------------------------------------------------ changing

    def touch(self, node: Node) -> None:
        """Say that ``node`` changed, so that it and what follows is typed again."""
        if self._first_dirty is None or node < self._first_dirty:
            self._first_dirty = node

    def touch_inputs(self) -> None:
        """Say that an input's spec changed, so that everything is typed again."""
        self._stale_from_start = True

    def set_args(self, node: Node, args: Iterable[Any], kwargs: dict[str, Any] | None = None) -> None:
        """Replace the arguments of a call."""
        node.args = tuple(args)
        if kwargs is not None:
            node.kwargs = kwargs
        self.touch(node)

    def insert(self, after: Node | None, op: str, target: Any, args: tuple = (), kwargs: dict | None = None,
               before: Node | None = None) -> Node:
        """Add a call after (or before) a node and return it; after a placeholder means after the last one."""
        if before is None:
            assert after is not None
            if after.op == "placeholder":
                after = self.placeholders[-1]
            before = after.next
        with self.graph.inserting_before(before):
            new = self.graph.create_node(op, target, args, kwargs or {})
        self.touch(new)
        return new

    def add_input(self, spec: Any, hint: str = "x") -> Node:
        """Add a placeholder described by ``spec`` and return it."""
        last = self.placeholders[-1] if self.placeholders else None
        point = last.next if last is not None else next(iter(self.graph.nodes))
        taken = {n.target for n in self.placeholders} | set(self._nodes)
        name = next(f"{hint}_{i}" for i in range(1, 1000) if f"{hint}_{i}" not in taken)
        with self.graph.inserting_before(point):
            node = self.graph.placeholder(name)
        self.inputs.append(spec)
        self._type_placeholder(node, spec)
        self._nodes[node.name] = node
        return node

    def add_output(self, node: Node) -> None:
        """Return ``node`` as well, after the present outputs."""
        value = self.output.args[0]
        if isinstance(value, Node):
            value = (value,)
        if not isinstance(value, (tuple, list)):
            raise Inapplicable("outputs that are not a sequence")
        self.output.args = ((*value, node),) if isinstance(value, tuple) else ([*value, node],)

    def output_list(self) -> list[Any]:
        """Return the returned values as a list; raises ``Inapplicable`` for a dict."""
        value = self.output.args[0]
        if isinstance(value, Node):
            return [value]
        if not isinstance(value, (tuple, list)):
            raise Inapplicable("outputs that are not a sequence")
        return list(value)

    def method(self, function: Any, overload: Any) -> tuple[str, Any]:
        """Return (op, target) of an operator in the dialect of this stage: torch function or ATen overload."""
        return ("call_function", overload if self.functional else function)

    # ------------------------------------------------------------------ finishing

    def finish(self, edit: Edit, base: Example) -> Example:
        """Type the graph again and return it as an example; raises ``Inapplicable`` when it does not type."""
        self._drop_dead()
        self._check_order()
        try:
            self._retype()
        except Inapplicable:
            raise
        except Exception as error:
            raise Inapplicable(f"{type(error).__name__}: {error}") from error
        return Example(self.gm, tuple(self.inputs), self.capture, self.sizes, (*base.edits, repr(edit)),
                       (*base.triggers, edit.trigger), None, base.outside, (*base.path, edit))

    def _drop_dead(self) -> None:
        for node in reversed(list(self.graph.nodes)):
            if node.users or node.op in ("output", "placeholder"):
                continue
            if node.op == "get_attr" or not is_effect(node):
                if self._first_dirty is node:  # its successor is the first that changed now
                    self._first_dirty = node.next
                self.graph.erase_node(node)

    def _check_order(self) -> None:
        """Refuse a step that uses a value before it is made, as when a write is moved above its operand."""
        made: set[Node] = set()
        for node in self.graph.nodes:
            if not made.issuperset(node.all_input_nodes):
                raise Inapplicable(f"{node.name} would use a value before it is made")
            made.add(node)

    def _retype(self) -> None:
        if self._stale_from_start:
            for node, spec in zip(self.placeholders, self.inputs, strict=True):
                self._type_placeholder(node, spec)
        elif self._first_dirty is None:
            return
        if self.fake_mode.shape_env is not None:
            self._run_for_real()
        dirty = self._stale_from_start
        with self._typing_context():
            for node in self.graph.nodes:
                dirty = dirty or node is self._first_dirty
                if node.op == "output":
                    return
                if node.op == "placeholder" or (not dirty and self.meta_key in node.meta):
                    continue
                node.meta = {self.meta_key: self._run(node)}

    def _run_for_real(self) -> None:
        """Refuse what does not run, before symbolic sizes see it: torch 2.13 dies of a segmentation fault
        where it types batch_norm of a vector with a symbolic size.
        """
        args = Example(self.gm, tuple(self.inputs), self.capture, self.sizes).realize()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.fx.Interpreter(self.gm).run(*args)

    @contextlib.contextmanager
    def _typing_context(self):
        grad = torch.no_grad() if self.functional else torch.enable_grad()
        # A step that does not type is thrown away; torch would write a traceback for each to the log.
        quiet, _FAKE_LOG.disabled = _FAKE_LOG.disabled, True
        try:
            with self.fake_mode, grad:
                yield
        finally:
            _FAKE_LOG.disabled = quiet

    def _run(self, node: Node) -> Any:
        args = torch.fx.map_arg(node.args, self.val)
        kwargs = torch.fx.map_arg(node.kwargs, self.val)
        if node.op == "call_function":
            return node.target(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], node.target)(*args[1:], **kwargs)
        attribute = self.gm
        for part in node.target.split("."):
            attribute = getattr(attribute, part)
        if node.op == "get_attr":
            return self._fake(attribute) if isinstance(attribute, torch.Tensor) else attribute
        state = {name: self._fake(value) for name, value in
                 [*attribute.named_parameters(), *attribute.named_buffers()]}
        return torch.func.functional_call(attribute, state, args, kwargs)

    def _fake(self, tensor: torch.Tensor) -> torch.Tensor:
        with self.fake_mode:
            fake = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=tensor.device)
        return fake.requires_grad_(tensor.requires_grad)

    def _type_placeholder(self, node: Node, spec: Any) -> None:
        value = spec
        if isinstance(spec, TensorSpec):
            if spec.is_dynamic:
                return
            value = self._fake(spec.example(self.sizes, seed=0))
        elif isinstance(spec, Same):
            value = self.val(self.placeholders[spec.index])
        elif isinstance(spec, torch.Tensor):
            value = self._fake(spec)
        elif isinstance(spec, Dim):
            return
        node.meta = {self.meta_key: value}

    def _find_fake_mode(self) -> FakeTensorMode:
        for node in self.graph.nodes:
            value = self.val(node)
            if isinstance(value, torch.Tensor) and hasattr(value, "fake_mode"):
                return value.fake_mode
        return FakeTensorMode(allow_non_fake_inputs=True)


def is_effect(node: Node) -> bool:
    """Whether removing this call could be seen: it writes, draws random numbers, or checks something."""
    if node.op == "call_module":
        return False
    if node.op == "call_method":
        return node.target.endswith("_") and not node.target.endswith("__") or node.target == "__setitem__"
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return target._schema.is_mutable
    name = getattr(target, "__name__", "")
    return "out" in node.kwargs or (name.endswith("_") and not name.endswith("__")) or name == "setitem" \
        or node.kwargs.get("inplace") is True or not isinstance(target, torch._ops.OpOverload) and node.is_impure()


def _light_copy(gm: torch.fx.GraphModule) -> tuple[torch.fx.GraphModule, dict[str, Node]]:
    """Copy the graph and its metadata; attributes are shared, since a draft never runs on real tensors."""
    graph = torch.fx.Graph()
    mapping: dict[Node, Node] = {}
    graph.graph_copy(gm.graph, mapping)
    old = gm.graph.output_node()
    mapping[old] = graph.output(torch.fx.map_arg(old.args[0], mapping.__getitem__))
    with _use_lazy_graph_module(True):
        clone = _make_graph_module(gm, graph)
    return clone, {old.name: new for old, new in mapping.items()}


def own_attribute(draft: Draft, path: str, value: Any) -> str:
    """Store an attribute under a free name beside ``path`` and return that name."""
    name = next(f"{path.replace('.', '_')}_{i}" for i in range(1, 1000)
                if not hasattr(draft.gm, f"{path.replace('.', '_')}_{i}"))
    setattr(draft.gm, name, copy_tensor(value) if isinstance(value, torch.Tensor) else value)
    return name
