"""An example on the workbench: a graph that edits change and fake tensors re-type."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeGuard

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Node
from torch.fx._lazy_graph_module import _make_graph_module, _use_lazy_graph_module
from torch.fx.node import _side_effectful_functions

from fxpect import contracts
from fxpect.autocast import autocast_kept
from fxpect.examples import Example, copy_graph_module, copy_tensor
from fxpect.specs import Dim, Same, TensorSpec, spec_of
from fxpect.strategies.signatures import recorded
from fxpect.strategies.trial import UNCHECKED, Call, Trial, call_node, trying
from fxpect.text.packing import inputs_of, packing, packing_code

_FAKE_LOG = logging.getLogger("torch._subclasses.fake_tensor")
FUNCTIONAL_CAPTURES = frozenset({"aten", "joint", "make_fx", "export", "export-nonstrict"})


class Inapplicable(Exception):
    """An edit that does not fit this graph; the draft is thrown away."""


@dataclasses.dataclass(frozen=True)
class Edit:
    """One step away from an example: ``what`` reads "cat.dim: -1 -> 0"; ``apply`` changes a draft.

    ``trigger`` is the step without the values that do not matter, so that equal causes meet: "cat.dim changed", and
    after ", " in which way. ``rank`` is 0 for an ordinary value, 1 for an odd one, 2 for one that few models have.
    """

    direction: str
    what: str
    trigger: str
    apply: Callable[[Draft], None]
    rank: int = 0

    def __repr__(self) -> str:
        return f"{self.direction}: {self.what}"


class Draft:
    """A private copy of an example's graph and inputs, with the tools that edits need.

    With ``reading`` nothing is copied: only to look for edits. ``contract`` is what the edited graph must keep;
    with ``outside`` it promises nothing, and a step that breaks the real one is marked. ``functional`` says
    that the stage speaks ATen, before it says anything of writes.
    """

    def __init__(self, example: Example, *, outside: bool = False, reading: bool = False):
        self.capture = example.capture
        self.meta_key = example.meta_key
        self.functional = example.capture in FUNCTIONAL_CAPTURES
        self.promises = example.promises
        self.contract = self.promises.loosened() if outside else self.promises
        self.sizes = dict(example.sizes)
        self.inputs = [spec_of(v) if isinstance(v, torch.Tensor) else v for v in example.inputs]
        self._inputs_given = list(self.inputs)
        if reading:
            self.gm = example.graph_module
            self._nodes = {node.name: node for node in self.gm.graph.nodes}
        else:
            self.gm, self._nodes = _light_copy(example.graph_module)
        self.graph = self.gm.graph
        self._given = {node: Call(node.op, node.target, node.args, node.kwargs) for node in self._nodes.values()}
        self._dead = {node for node in self._given if not node.users}  # the innocent model's own dead code
        self._sided = self.promises.joint and any(contracts.SIDE in node.meta for node in self._given)
        self._nested = {node: self._operand_types(node) for node in self._given
                        if isinstance(node.target, torch._ops.HigherOrderOperator)}
        self._touched: set[Node] = set()
        self._stale_inputs = False

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

    def is_number(self, node: Node) -> bool:
        """Whether a node's value is a number: arithmetic of sizes, which no tensor operator stands for."""
        return isinstance(self.val(node), (int, float, torch.SymInt, torch.SymFloat))

    @property
    def placeholders(self) -> list[Node]:
        """The placeholders, in order."""
        return self.graph.find_nodes(op="placeholder")

    @property
    def output(self) -> Node:
        """The output node."""
        return self.graph.output_node()

    @functools.cached_property
    def trial(self) -> Trial:
        """The values of the graph as it stands, to try edits on."""
        return Trial(self.gm, self._computed())

    def sample(self, spec: Any) -> Any:
        """Return a real value that a spec describes."""
        sizes = tuple(self.sizes.items())
        return _real(spec, sizes if spec.is_dynamic else ()) if isinstance(spec, TensorSpec) else spec

    def calls(self) -> list[Node]:
        """Return the nodes that compute something, in program order."""
        return [n for n in self.graph.nodes if n.op in ("call_function", "call_method", "call_module")]

    def tensors(self) -> list[Node]:
        """Return every node whose value is one tensor, in program order."""
        return [n for n in self.graph.nodes if n.op != "output" and self.tensor(n) is not None]

    def may_be_returned(self, node: Node) -> bool:
        """Whether the contract lets a value be an output: of a joint graph only what the forward computes."""
        return not (self.contract.joint and (node.meta.get(contracts.SIDE) == contracts.BACKWARD
                                             or contracts.is_tangent(node)))

    def returned(self) -> list[Node]:
        """Return the nodes among the outputs."""
        return [n for n in self.output.all_input_nodes]

    # ------------------------------------------------------------------ changing

    def touch(self, node: Node) -> None:
        """Say that ``node`` changed, so that it and what reads it is typed again; new arguments tell it themselves."""
        self._touched.add(node)

    def touch_inputs(self) -> None:
        """Say that specs of inputs changed, so that what reads these is typed again."""
        self._stale_inputs = True

    def set_args(self, node: Node, args: Iterable[Any], kwargs: dict[str, Any] | None = None) -> None:
        """Replace the arguments of a call; nodes of the example stand for those of this draft."""
        given = tuple(args), node.kwargs if kwargs is None else kwargs
        node.args, node.kwargs = torch.fx.map_arg(
            given, lambda read: read if read.graph is self.graph else self.node(read.name))
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

    def repeat(self, call: Node) -> Node:
        """Add a call once more, right after it, and return the new one."""
        return self.insert(call, call.op, call.target, call.args, dict(call.kwargs))

    def keep_dead(self, node: Node) -> None:
        """Leave a call in the graph though nothing reads it."""
        self._dead.add(node)

    def add_input(self, spec: Any, hint: str = "x") -> Node:
        """Add a placeholder described by ``spec`` and return it: the last, in a joint graph the last primal.

        A primal that is added asks for no gradient.
        """
        held = self.placeholders
        joint = self.contract.joint
        place = next((i for i, node in enumerate(held) if joint and contracts.is_tangent(node)), len(held))
        point = held[place] if place < len(held) else held[-1].next if held else next(iter(self.graph.nodes))
        taken = {n.target for n in held} | set(self._nodes)
        name = next(f"{hint}_{i}" for i in range(1, 1000) if f"{hint}_{i}" not in taken)
        with self.graph.inserting_before(point):
            node = self.graph.placeholder(name)
        symbols = self._symbols()
        self.inputs.insert(place, spec)
        self._inputs_given.insert(place, spec)
        self._type_placeholder(node, spec, symbols)
        if self.contract.joint:
            node.meta[contracts.SIDE] = contracts.FORWARD
            self.output.args = (type(self.output.args[0])([*self.output_list(), None]),)
        self._nodes[node.name] = node
        return node

    def drop_input(self, node: Node) -> None:
        """Take out a placeholder that neither a call nor another input reads; not where outputs answer to inputs."""
        place, read = self.placeholders.index(node), [getattr(spec, "index", None) for spec in self.inputs]
        if node.users or self.contract.joint or place in read:
            raise Inapplicable(f"input {place} is needed")
        self.graph.erase_node(node)
        for specs in (self.inputs, self._inputs_given):
            del specs[place]
            specs[:] = [dataclasses.replace(spec, index=spec.index - 1)
                        if isinstance(spec, Same) and spec.index > place else spec for spec in specs]

    def add_output(self, node: Node) -> None:
        """Return ``node`` as well: after the present outputs, in a joint graph before them, as one of the forward."""
        value = self.output_list()
        value.insert(0 if self.contract.joint else len(value), node)
        self.output.args = (value if isinstance(self.output.args[0], list) else tuple(value),)

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
        """Type the graph again and return it as an example.

        Raises ``Inapplicable`` when it does not type, or breaks the contract.
        """
        self._drop_dead()
        self._check_order()
        self._check_packing()
        unrecorded = self._record()
        try:
            self._retype()
        except Inapplicable:
            raise
        except Exception as error:
            raise Inapplicable(f"{type(error).__name__}: {error}") from error
        self._forward_first()
        breach = self._breach(base) or unrecorded
        if breach and self.contract is self.promises:
            raise Inapplicable(f"outside of what {self.capture} graphs are: {breach}")
        return Example(self.gm, tuple(self.inputs), self.capture, self.sizes, (*base.edits, repr(edit)),
                       (*base.triggers, edit.trigger), None, base.outside or bool(breach), (*base.path, edit),
                       self.promises)

    def _drop_dead(self) -> None:
        for node in reversed(list(self.graph.nodes)):
            if node.users or node in self._dead or node.op in ("output", "placeholder"):
                continue
            if node.op == "get_attr" or not is_effect(node):
                self._touched.discard(node)
                self.graph.erase_node(node)

    def _check_order(self) -> None:
        """Refuse a step that uses a value before it is made, as when a write is moved above its operand."""
        made: set[Node] = set()
        for node in self.graph.nodes:
            if not made.issuperset(node.all_input_nodes):
                raise Inapplicable(f"{node.name} would use a value before it is made")
            made.add(node)

    def _check_packing(self) -> None:
        """Refuse a step that leaves another number of outputs than the generated code packs; tell it new inputs."""
        spec = packing(self.graph)
        if spec is None:
            return
        if spec.num_leaves != len(self.output_list()):
            raise Inapplicable(f"{spec.num_leaves} outputs are packed")
        self.graph.set_codegen(packing_code(inputs_of(self.graph), spec))

    def _record(self) -> str:
        """Spell what the step changed as the dispatcher records it; outside the contract say what is not spelled so."""
        if not self.promises.recorded:
            return ""
        for node in self.graph.nodes:
            if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
                continue
            if not self._is_edited(node):
                continue
            form = recorded(node.target, node.args, node.kwargs)
            if form is None or repr(form) == repr((node.args, node.kwargs)):
                continue
            if not self.contract.recorded:
                return f"{node.name} is not spelled as the dispatcher records it"
            node.args, node.kwargs = form
        return ""

    def _breach(self, base: Example) -> str:
        if self.promises.inference:
            for old, new in zip(base.inputs, self.inputs):
                if getattr(new, "requires_grad", False) and not getattr(old, "requires_grad", False):
                    return "an input requires grad"
        return self.promises.breach(self.gm, self.inputs, self.meta_key)

    # ------------------------------------------------------------------ typing

    def _retype(self) -> None:
        """Run what changed, and what reads it, on fake tensors. Where a write is among that, all is made anew, since
        the fake tensors that did not change are those of the base.
        """
        changed = self._changed()
        if not changed and not self._wrote():
            return
        if not UNCHECKED.isdisjoint(node.target for node in changed):
            raise Inapplicable("torch does not check the sizes of an operator that is given others")
        self._run_for_real(changed)
        symbolic = any(isinstance(spec, TensorSpec) and spec.is_dynamic for spec in self.inputs)
        with self._typing_context(), _same_symbols(self.fake_mode.shape_env if symbolic else None):
            held = self._own_placeholders() if self._writes(changed) else {}
            contexts: dict[Node, Any] = {}
            for node in self.graph.nodes:
                # What has no type on record, such as a nested graph, is made for those that read it.
                untyped = self.meta_key not in node.meta and not contracts.writes(node)
                if not _is_call(node) or not (held or node in changed or untyped):
                    continue
                value = call_node(node, self.gm, lambda read: contexts.get(read, self.val(read)), self._fake)
                if getattr(value, "dtype", None) is torch.complex32:
                    raise Inapplicable("few operators know complex halves")
                if contracts.switches_mode(node):
                    contexts[node] = value
                else:
                    node.meta = {**self._side(node), self.meta_key: value}
            for node, (shape, stride) in held.items():
                now = self.val(node)
                if (now.shape, now.stride()) != (shape, stride):
                    raise Inapplicable(f"the shape of {node.name} is changed in place")
        for node, types in self._nested.items():
            if node in changed and self._operand_types(node) != types:
                raise Inapplicable(f"the graph inside {node.name} is of other types")

    def _forward_first(self) -> None:
        """Move new calls of the forward before the backward: the partitioners cut a joint graph where it begins."""
        if self._sided:
            first: Node | None = None
            for node in filter(_is_call, list(self.graph.nodes)):
                if node.meta.get(contracts.SIDE) == contracts.BACKWARD:
                    first = first or node
                elif first is not None and not contracts.is_copy(node):
                    first.prepend(node)

    def _side(self, node: Node) -> dict[str, str]:
        """Return the mark that AOTAutograd gives each node of a joint graph: of the forward, or of the backward."""
        if not self._sided:
            return {}
        read = {operand.meta.get(contracts.SIDE) for operand in node.all_input_nodes}
        if contracts.is_copy(node):
            return {contracts.SIDE: contracts.EPILOGUE}
        late = contracts.BACKWARD in read
        return {contracts.SIDE: contracts.BACKWARD if late else node.meta.get(contracts.SIDE, contracts.FORWARD)}

    def _operand_types(self, node: Node) -> list[str]:
        """Return the types of the tensors that a higher-order operator hands to the graphs inside it."""
        values = [self.tensor(operand) for operand in node.all_input_nodes]
        return [f"{value.dtype}{tuple(value.shape)}{value.stride()}" for value in values if value is not None]

    def _changed(self) -> set[Node]:
        """Type the inputs that changed, and return them, the calls that changed, and what depends on these."""
        changed = set(self._touched)
        if self._stale_inputs:
            symbols = self._symbols()
            given = [*self._inputs_given, *(None for _ in self.inputs)]
            for node, spec, old in zip(self.placeholders, self.inputs, given):
                if spec is not old or isinstance(spec, Same):
                    self._type_placeholder(node, spec, symbols)
                    changed.add(node)
        for node in self.graph.nodes:
            if _is_call(node) and (self._is_edited(node) or not changed.isdisjoint(node.all_input_nodes)):
                changed.add(node)
        return changed

    def _is_edited(self, node: Node) -> bool:
        """Whether a call is not the one that the example has."""
        given = self._given.get(node)
        return given is None or not (node.args is given.args and node.kwargs is given.kwargs
                                     and node.target is given.target)

    def _writes(self, changed: set[Node]) -> bool:
        """Whether one of these calls may write, or did, or one after the first of them, or any switches a mode."""
        begun = False
        for node in self.graph.nodes:
            begun = begun or node in changed
            if begun and contracts.writes(node) or contracts.switches_mode(node):
                return True
        return self._wrote()

    def _wrote(self) -> bool:
        """Whether a call that may have written is gone or another: what it wrote to may have another shape again."""
        left = set(self.graph.nodes)
        return any(contracts.writes(call) for node, call in self._given.items()
                   if call.op in ("call_function", "call_method") and (node not in left or self._is_edited(node)))

    def _own_placeholders(self) -> dict[Node, tuple[Any, Any]]:
        """Give every input a fake tensor of this draft's own, aliases included, and return their shapes."""
        held = {}
        for node, spec in zip(self.placeholders, self.inputs, strict=True):
            value = self.val(node)
            if not isinstance(value, torch.Tensor):
                continue
            if isinstance(spec, Same):
                value = spec.alias(self.val(self.placeholders[spec.index]))
            else:
                grad = spec.requires_grad if isinstance(spec, TensorSpec) else value.requires_grad
                value = value.detach().requires_grad_(grad)
            node.meta = {**node.meta, self.meta_key: value}
            held[node] = value.shape, value.stride()
        return held

    def _run_for_real(self, changed: set[Node]) -> None:
        """Refuse what types and does not run, such as a product of two dtypes, and an ``out=`` that is resized.

        It comes before symbolic sizes are typed: torch 2.13 dies of a segmentation fault where it types batch_norm of
        a vector with a symbolic size.
        """
        self._computed(self._needed(changed))

    def _computed(self, needed: set[Node] | None = None) -> dict[Node, Any]:
        """Run these calls, or all, on real values and return what they give; with a write all are run."""
        effects = any(contracts.writes(node) or contracts.trains(node) or contracts.switches_mode(node)
                      for node in self.graph.nodes)
        values = self._real_inputs(effects)
        gm = self.gm  # its parameters, buffers and modules are those of the base
        if effects and any(node.op in ("get_attr", "call_module") for node in self.graph.nodes):
            gm = copy_graph_module(gm)
        with trying(), autocast_kept():
            for node in self.graph.nodes:
                if not _is_call(node) or not effects and needed is not None and node not in needed:
                    continue
                out = node.kwargs.get("out")
                buffer = values[out] if isinstance(out, Node) else None
                shape = getattr(buffer, "shape", None)
                values[node] = call_node(node, gm, values.__getitem__)
                given = {values[read].shape for read in node.all_input_nodes if isinstance(values[read], torch.Tensor)}
                if shape != getattr(buffer, "shape", None) or _is_wrapper(node) and any(
                        each.shape not in given for each in values[node] if isinstance(each, torch.Tensor)):
                    raise Inapplicable(f"{node.name} resizes its out=")
        return values

    def _needed(self, changed: set[Node]) -> set[Node]:
        """Return these nodes and all that they are made from."""
        needed = set(changed)
        for node in reversed(self.graph.nodes):
            if node in needed:
                needed.update(node.all_input_nodes)
        return needed

    def _real_inputs(self, own: bool) -> dict[Node, Any]:
        """Return the input values by placeholder; ``own`` says that they will be written to."""
        if any(isinstance(spec, (Same, torch.Tensor)) for spec in self.inputs):
            return dict(zip(self.placeholders, Example(self.gm, tuple(self.inputs), sizes=self.sizes).realize()))
        sizes = tuple(self.sizes.items())
        values = {}
        for node, spec in zip(self.placeholders, self.inputs, strict=True):
            value = spec.size(self.sizes) if isinstance(spec, Dim) else spec
            if isinstance(spec, TensorSpec):
                value = _real(spec, sizes if spec.is_dynamic else ())
                value = copy_tensor(value) if own else value
            values[node] = value
        return values

    @contextlib.contextmanager
    def _typing_context(self):
        grad = torch.no_grad() if self.functional else torch.enable_grad()
        # A step that does not type is thrown away; torch would write a traceback for each to the log.
        quiet, _FAKE_LOG.disabled = _FAKE_LOG.disabled, True
        try:
            with self.fake_mode, grad, autocast_kept():
                yield
        finally:
            _FAKE_LOG.disabled = quiet

    def _fake(self, tensor: torch.Tensor) -> torch.Tensor:
        with self.fake_mode:
            fake = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=tensor.device)
        return fake.requires_grad_(tensor.requires_grad)

    def _type_placeholder(self, node: Node, spec: Any, symbols: dict[str, Any]) -> None:
        value = spec
        if isinstance(spec, TensorSpec):
            value = self._symbolic(spec, symbols) if spec.is_dynamic else self._fake(_real(spec, ()))
        elif isinstance(spec, Same):
            with self.fake_mode:
                value = spec.alias(self.val(self.placeholders[spec.index]))
        elif isinstance(spec, torch.Tensor):
            value = self._fake(spec)
        elif isinstance(spec, Dim):
            return
        node.meta = {**self._side(node), self.meta_key: value}

    def _symbolic(self, spec: TensorSpec, symbols: dict[str, Any]) -> torch.Tensor:
        """Return a fake tensor of a spec with named dims, each as the symbol that the capture gave it."""
        if spec.layout is not None:
            raise Inapplicable("a layout of symbolic sizes")
        try:
            shape = [size if isinstance(size, int) else symbols[str(size)] for size in spec.shape]
        except KeyError as error:
            raise Inapplicable(f"no symbol for {error.args[0]}") from error
        with self.fake_mode:
            value = torch.empty(shape, dtype=spec.dtype)
        return value.requires_grad_(spec.requires_grad)

    def _symbols(self) -> dict[str, Any]:
        """Return the symbol of each named dim of the inputs as they were."""
        found = {}
        for node, spec in zip(self.placeholders, self._inputs_given):
            held = self.tensor(node)
            if isinstance(spec, TensorSpec) and spec.is_dynamic and held is not None and held.dim() == len(spec.shape):
                found.update({str(size): symbol for size, symbol in zip(spec.shape, held.shape)
                              if not isinstance(size, int)})
        return found

    @functools.cached_property
    def fake_mode(self) -> FakeTensorMode:
        """The fake mode of the graph's values."""
        for node in self.graph.nodes:
            value = self.val(node)
            if isinstance(value, torch.Tensor) and hasattr(value, "fake_mode"):
                return value.fake_mode
        return FakeTensorMode(allow_non_fake_inputs=True)


@contextlib.contextmanager
def _same_symbols(environment: Any) -> Iterator[None]:
    """Leave the symbols of a base as they are; raises ``Inapplicable`` where a step would fix or equate any."""
    if environment is None:
        yield
        return
    known, guards = dict(environment.replacements), len(environment.guards)
    ranges = {symbol: environment.var_to_range[symbol] for symbol in environment.var_to_range}
    try:
        yield
        if any(symbol in ranges for symbol in environment.replacements if symbol not in known):
            raise Inapplicable("it would fix a symbolic size")
    finally:
        for symbol in [s for s in environment.replacements if s in ranges and s not in known]:
            del environment.replacements[symbol]
        environment.replacements.update(known)
        environment.var_to_range.update(ranges)
        del environment.guards[guards:]
        environment._replacements_version_counter += 1  # a symbol keeps what it was replaced by until this moves
        environment._update_version_counter()


def is_static(value: torch.Tensor | None) -> TypeGuard[torch.Tensor]:
    """Whether this is a tensor whose sizes are all numbers."""
    return value is not None and all(isinstance(size, int) for size in value.shape)


def is_effect(node: Node) -> bool:
    """Whether removing this call could be seen: it writes, draws random numbers, or checks something."""
    if node.op == "call_module":
        return False
    if node.op == "call_method":
        return node.target.endswith("_") and not node.target.endswith("__") or node.target == "__setitem__"
    target = node.target
    if isinstance(target, torch._ops.OpOverload):  # what gives nothing is there for what it does: asserts, profiling
        return target._schema.is_mutable or not target._schema.returns or target in _side_effectful_functions
    name = getattr(target, "__name__", "")
    return "out" in node.kwargs or (name.endswith("_") and not name.endswith("__")) or name == "setitem" \
        or node.kwargs.get("inplace") is True or not isinstance(target, torch._ops.OpOverload) and node.is_impure()


@functools.lru_cache(maxsize=512)
def _real(spec: TensorSpec, sizes: tuple[tuple[str, int], ...]) -> torch.Tensor:
    return spec.example(dict(sizes), seed=0)


def _is_wrapper(node: Node) -> bool:
    """Whether a call is of an operator that mutates, made functional: it gives what it wrote to."""
    return node.target in (torch.ops.higher_order.auto_functionalized, torch.ops.higher_order.auto_functionalized_v2)


def _is_call(node: Node) -> bool:
    return node.op not in ("placeholder", "output")


def _light_copy(gm: torch.fx.GraphModule) -> tuple[torch.fx.GraphModule, dict[str, Node]]:
    """Copy the graph and its metadata; attributes are shared."""
    graph = torch.fx.Graph()
    mapping: dict[Node, Node] = {}
    graph.graph_copy(gm.graph, mapping)
    old = gm.graph.output_node()
    mapping[old] = graph.output(torch.fx.map_arg(old.args[0], mapping.__getitem__))
    graph.set_codegen(copy.copy(gm.graph._codegen))
    with _use_lazy_graph_module(True):
        clone = _make_graph_module(gm, graph)
    return clone, {old.name: new for old, new in mapping.items()}
