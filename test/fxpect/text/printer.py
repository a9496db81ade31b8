"""Print a graph as canonical, lossless Python text; ``parse_graph`` reads it back."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch.fx import GraphModule, Node

from fxpect.errors import FxpectError
from fxpect.text import modules
from fxpect.text.annotations import MISSING, TypeWriter
from fxpect.text.effects import attribute_of
from fxpect.text.naming import Names, source_word, word
from fxpect.text.order import canonical_order
from fxpect.text.symbols import SymbolNames
from fxpect.text.targets import target_name
from fxpect.text.values import value_text

_INDENT = "    "
_SYMBOL_NAME = re.compile(r"\b(?:s|u|zf|zuf)\d+\b")
_ON_NODE = re.compile(r"(?<=on node ')\w+(?=')")
_SILENT = frozenset(  # nothing comes out of these, so a missing type says nothing
    "torch._C._set_grad_enabled torch.amp.autocast_mode._enter_autocast torch.amp.autocast_mode._exit_autocast "
    "operator.setitem operator.delitem torch._check torch._check_is_size torch._assert torch._assert_async".split())


def graph_text(graph: Any, *, order: str = "canonical", types: bool = True) -> str:
    """Return the canonical text of a GraphModule, a Graph, or an ExportedProgram (then with its signature).

    ``order="program"`` keeps the order of the nodes, ``types=False`` leaves the annotations out.
    """
    if order not in ("canonical", "program"):
        raise FxpectError(f'graph_text: expected order="canonical" or "program"; got {order!r}')
    header: list[str] = []
    if isinstance(graph, torch.export.ExportedProgram):
        from fxpect.text.signature import signature_lines

        module = graph.graph_module
        printer = _Printer(module, order, types, SymbolNames())
        lines = printer.lines("forward", 0)
        header = signature_lines(graph.graph_signature, printer.placeholder_names)
    else:
        module = graph
        if isinstance(graph, torch.fx.Graph):
            module = graph.owning_module
            if module is None or module.graph is not graph:
                module = _Bare(graph)
        if not hasattr(module, "graph"):
            raise FxpectError(f"graph_text: expected a GraphModule or an ExportedProgram; got {type(graph).__name__}")
        printer = _Printer(module, order, types, SymbolNames())
        lines = printer.lines("forward", 0)
        header = list(getattr(module, "meta", None) and module.meta.get(modules.SIGNATURE) or ())
    return "\n".join([*header, *lines]) + "\n"


class _Bare:
    """A graph that no module owns."""

    def __init__(self, graph: torch.fx.Graph):
        self.graph = graph


class _Printer:
    """Print one graph and, through further printers, the graphs nested in it."""

    def __init__(self, module: Any, order: str, types: bool, symbols: SymbolNames):
        self.module, self.order, self.types, self.symbols = module, order, types, symbols
        self.writer = TypeWriter(symbols)
        self.names: dict[Node, str] = {}
        self.placeholder_names: dict[str, str] = {}
        self.by_name: dict[str, str] = {}
        self.targets: dict[Any, tuple[str, str]] = {}
        self.methods: dict[str, str] = {}
        self.attributes: dict[str, str] = {}

    def lines(self, name: str, depth: int) -> list[str]:
        """Return the lines of ``def name(self, ...)`` at the given depth."""
        graph = self.module.graph
        inputs = [node for node in graph.nodes if node.op == "placeholder"]
        outputs = [node for node in graph.nodes if node.op == "output"]
        if self.order == "canonical":
            body = canonical_order(graph)
        else:
            body = [node for node in graph.nodes if node.op not in ("placeholder", "output")]
        self.give = self._start_names(body)
        typed = self.types
        parameters = ["self"]
        any_typed = False
        for node in inputs:
            text, has_type = self._parameter(node)
            any_typed = any_typed or has_type
            parameters.append(text)
        self.missing = MISSING if typed and (any_typed or not inputs) and self._has_types(inputs, body) else None
        pad = _INDENT * (depth + 1)
        attributes = modules.used_attributes(self.module, body)
        declared, nested = modules.declare(self.module, attributes, self.writer, self.symbols, self._constant)
        self.attributes = {path: text for path, text, _ in attributes.values()} if attributes else {}
        statements = self._statements(body, pad)
        for output in outputs:
            statements.append(f"{pad}return {self._value(output.args[0]) if output.args else 'None'}")
        inner: list[str] = []
        for attribute, child in nested:
            inner += _Printer(child, self.order, self.types, self.symbols).lines(attribute, depth + 1)
        top = [pad + line for line in self.symbols.declarations()] if depth == 0 and typed else []
        head = f"{_INDENT * depth}def {name}({', '.join(parameters)}):"
        return [head, *top, *[pad + line for line in declared], *inner, *statements] if outputs or statements else [
            head, *top, *[pad + line for line in declared], *inner, f"{pad}pass"]

    def _has_types(self, inputs: list[Node], body: list[Node]) -> bool:
        """Say whether a node without a type is worth a mark: only in a graph that has types at all."""
        return bool(inputs) or any("val" in node.meta or "example_value" in node.meta for node in body)

    def _start_names(self, body: list[Node]) -> Any:
        roots = set()
        for node in body:
            if node.op == "call_function" and node.target not in self.targets:
                name = target_name(node.target)
                self.targets[node.target] = (name, word(_short_name(name)))
                roots.add(name.partition(".")[0])
        return Names(frozenset(roots)).give

    def _parameter(self, node: Node) -> tuple[str, bool]:
        value = _meta_value(node)
        star = node.target[:len(node.target) - len(node.target.lstrip("*"))]
        base = None
        if isinstance(value, (torch.SymInt, torch.SymFloat)) and _SYMBOL_NAME.fullmatch(node.target):
            base = self.symbols.text(value)
            base = base if base.isidentifier() else None
        name = self.give(base or source_word(node.target))
        self.names[node] = name
        self.placeholder_names[node.name] = self.by_name[node.name] = name
        written = self.writer.text(value, True) if self.types else None
        text = f"{star}{name}" if written is None else f'{star}{name}: "{written}"'
        if node.args:
            text += f" = {self._value(node.args[0])}" if written is not None else f"={self._value(node.args[0])}"
        return text, written is not None

    def _statements(self, body: list[Node], pad: str) -> list[str]:
        names, give, targets, value = self.names, self.give, self.targets, self._value
        typed, write = self.types, self.writer.text
        lines = []
        for node in body:
            op = node.op
            if op == "call_function":
                call, base = targets[node.target]
                items = [names[item] if type(item) is Node else value(item) for item in node.args]
            elif op == "call_method":
                method = node.target
                base = word(method)
                items = [names[item] if type(item) is Node else value(item) for item in node.args]
                call = f"{items.pop(0)}.{method}" if type(node.args[0]) is Node else f"({items.pop(0)}).{method}"
            elif op == "call_module":
                call = self.attributes[node.target]
                base = word(call.removeprefix("self.")) if call[4] == "." else word(node.target)
                items = [value(item) for item in node.args]
            else:
                call = self.attributes[node.target]
                base = word(call.removeprefix("self.")) if call[4] == "." else word(node.target)
                items = None
            if node.kwargs:
                items += [f"{key}={names[item] if type(item) is Node else value(item)}"
                          for key, item in node.kwargs.items()]
            name = names[node] = self.by_name[node.name] = give(base)
            right = call if items is None else f"{call}({', '.join(items)})"
            if typed:
                meta = node.meta
                found = meta.get("val")
                if found is None:
                    found = meta.get("example_value")
                written = write(found) if found is not None else self._unknown(node, call)
                if written is not None:
                    lines.append(f'{pad}{name}: "{written}" = {right}')
                    continue
            lines.append(f"{pad}{name} = {right}")
        return lines

    def _unknown(self, node: Node, call: str) -> str | None:
        """Return the mark for a node whose type is not recorded though types are."""
        if self.missing is None or node.op == "get_attr" or call in _SILENT or "val" in node.meta or "example_value" in node.meta:
            return None
        schema = getattr(node.target, "_schema", None)
        return None if schema is not None and not schema.returns else self.missing

    def _value(self, value: Any) -> str:
        if type(value) is str and ("on node '" in value or "Runtime assertion" in value):
            value = _ON_NODE.sub(lambda found: self.by_name.get(found[0], found[0]), value)
            value = _SYMBOL_NAME.sub(lambda found: self.symbols.name_of(found[0]), value)
        return value_text(value, self._node_name, self.symbols.text)

    def _constant(self, value: Any) -> str:
        return value_text(value, self._node_name, self.symbols.text)

    def _node_name(self, node: Node) -> str:
        name = self.names.get(node)
        if name is None:
            raise FxpectError(f"graph_text: {node.name} is used before it is computed, or belongs to another graph")
        return name


def _meta_value(node: Node) -> Any:
    found = node.meta.get("val")
    return node.meta.get("example_value") if found is None else found


def _short_name(name: str) -> str:
    """Return the part of a qualified name that names its values: ``add`` for ``torch.ops.aten.add.Tensor``."""
    parts = name.split(".")
    return parts[3] if name.startswith("torch.ops.") and len(parts) == 5 else parts[-1]


__all__ = ["graph_text", "attribute_of"]
