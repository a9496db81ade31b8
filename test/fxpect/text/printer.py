"""Print a graph as canonical, lossless Python text; ``parse_graph`` reads it back."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.fx import Node

from fxpect.errors import FxpectError
from fxpect.text import modules
from fxpect.text.annotations import INPUT, MISSING, TypeWriter
from fxpect.text.naming import Names, source_word, word
from fxpect.text.order import canonical_order, scan
from fxpect.text.packing import PACK, packed, packing
from fxpect.text.symbols import SymbolNames
from fxpect.text.targets import has_no_result, target_name
from fxpect.text.values import value_writer

_INDENT = "    "
_WIDTH = 110
_SYMBOL_NAME = re.compile(r"\b(?:s|u|zf|zuf)\d+\b")
_ON_NODE = re.compile(r"(?<=on node ')\w+(?=')")
_TUPLE_OPERANDS = frozenset(  # saving and loading a program turns the tuples of these into lists
    f"torch.ops.higher_order.{name}" for name in ("cond", "while_loop", "while_loop_stack_output"))

def graph_text(graph: Any, *, order: str = "canonical", types: bool = True) -> str:
    """Return the canonical text of a GraphModule, a Graph, or an ExportedProgram (then with its signature).

    ``order="program"`` keeps the order of the nodes, ``types=False`` leaves the annotations out.
    Raises FxpectError for another kind of object, or a graph that uses a value before it is computed.
    """
    if order not in ("canonical", "program"):
        raise FxpectError(f'graph_text: expected order="canonical" or "program"; got {order!r}')
    signature = getattr(graph, "graph_signature", None)
    module = graph.graph_module if signature is not None else graph
    if isinstance(module, torch.fx.Graph):
        owner = module.owning_module
        module = owner if owner is not None and getattr(owner, "graph", None) is module else _Bare(module)
    if not isinstance(getattr(module, "graph", None), torch.fx.Graph):
        raise FxpectError("graph_text: expected a GraphModule, a Graph or an ExportedProgram; "
                          f"got {type(graph).__name__}")
    printer = _Printer(module, order, types, SymbolNames())
    with torch._C.DisableTorchFunctionSubclass():  # reading the sizes of a fake tensor costs half as much
        lines = printer.lines("forward", 0)
    if signature is not None:
        from fxpect.text.signature import signature_lines

        header = signature_lines(signature, printer.input_names)
    else:
        header = getattr(module, "meta", {}).get(modules.SIGNATURE, [])
    return "\n".join([*header, *lines, ""])


class _Bare:
    """A graph that no module owns."""

    def __init__(self, graph: torch.fx.Graph):
        self.graph = graph


@functools.cache
def _base(name: str) -> str:
    """Return the word that the results of a call are named after."""
    parts = name.split(".")
    return word(parts[3] if name.startswith("torch.ops.") and len(parts) == 5 else parts[-1])


class _Printer:
    """Print one graph and, through further printers, the graphs nested in it."""

    def __init__(self, module: Any, order: str, types: bool, symbols: SymbolNames):
        self.module, self.order, self.types, self.symbols = module, order, types, symbols
        writer = TypeWriter(symbols)
        self.type_text, self.result_text = writer.text, writer.result
        self.names: dict[Node, str] = {}
        self.input_names: dict[str, str] = {}
        self.texts = value_writer(self.names, symbols.text)
        self.attributes: dict[str, str] = {}
        self.mark_missing = False
        self.meta_keys = ("val", "example_value")

    def lines(self, name: str, depth: int) -> list[str]:
        """Return the lines of ``def name(self, ...)`` at the given depth."""
        found = scan(self.module.graph)
        body = canonical_order(found) if self.order == "canonical" else found.body
        names_of_calls = {key: target_name(target) for key, target in found.functions.items()}
        calls = {key: (name, _base(name)) for key, name in names_of_calls.items()}
        used = modules.used_attributes(self.module, body)
        self.attributes = {path: text for path, text, _ in used.values()}
        bases = [base for _, base in calls.values()] + [word(method) for method in found.methods]
        bases += [_attribute_base(text) for text in self.attributes.values()]
        names = Names({call.partition(".")[0] for call, _ in calls.values()}, bases)
        pad = _INDENT * (depth + 1)
        head = self._head(name, found.inputs, names, depth)
        declared, nested = modules.declare(used, self.type_text, lambda value: self.texts[type(value)](value))
        given = {key: (call, names.stream(base)) for key, (call, base) in calls.items()}
        statements = self._checked(self._statements, body, given, names.stream, pad)
        if any(type(value) is str for node in found.effects for value in node.args):
            statements = self._rename_in_messages(body, statements)
        for output in found.outputs:
            statements.append(f"{pad}return {self._returned(output)}")
        inner = [line for inner_name, child in nested
                 for line in _Printer(child, self.order, self.types, self.symbols).lines(inner_name, depth + 1)]
        symbols = self.symbols.declarations() if depth == 0 and self.types else []
        return [*head, *[pad + line for line in (*symbols, *declared)], *inner, *(statements or [f"{pad}pass"])]

    def _checked(self, write: Callable, *args: Any) -> Any:
        try:
            return write(*args)
        except KeyError as error:
            if error.args and isinstance(error.args[0], Node):
                raise FxpectError(f"graph_text: {error.args[0].name} is used before it is computed, or is not a value "
                                  "of this graph") from None
            raise

    def _returned(self, output: Node) -> str:
        spec = packing(self.module.graph) if output.args else None
        value = output.args[0] if output.args else None
        text = self._checked(self._argument, value if spec is None else packed(value, spec))
        return text if spec is None else f"{PACK}({text})"

    def _argument(self, value: Any) -> str:
        return self.texts[type(value)](value)

    def _head(self, name: str, inputs: list[Node], names: Names, depth: int) -> list[str]:
        """Return the line with the inputs, or a line for each where one would be too long."""
        parts = ["self", *[self._input(node, names) for node in inputs]]
        pad = _INDENT * depth
        line = f"{pad}def {name}({', '.join(parts)}):"
        if len(line) <= _WIDTH:
            return [line]
        return [f"{pad}def {name}(", *[f"{pad}{_INDENT}{part}," for part in parts], f"{pad}):"]

    def _input(self, node: Node, names: Names) -> str:
        value = node.meta.get("val")
        if value is None:
            value = node.meta.get("example_value")
            if value is not None:
                self.meta_keys = ("example_value", "val")
        target = str(node.target)
        base = None
        if _SYMBOL_NAME.fullmatch(target) and isinstance(value, (torch.SymInt, torch.SymFloat)):
            base = self.symbols.text(value)
        name = names.reserve(base if base and base.isidentifier() else source_word(target))
        self.names[node] = self.input_names[node.name] = name
        text = "*" * (len(target) - len(target.lstrip("*"))) + name
        written = self.type_text(value, INPUT) if self.types else None
        if written is not None:
            text, self.mark_missing = f'{text}: "{written}"', True
        if node.args:
            text += f"{' = ' if written is not None else '='}{self._argument(node.args[0])}"
        return text

    def _statements(self, body: list[Node], calls: dict[int, tuple[str, Iterator[str]]],
                    stream: Callable[[str], Iterator[str]], pad: str) -> list[str]:
        names, texts, typed, type_text = self.names, self.texts, self.types, self.result_text
        methods: dict[str, Iterator[str]] = {}
        lines: list[str] = []
        append = lines.append
        key, other_key = self.meta_keys
        for node in body:
            op = node.op
            items = [names[item] if type(item) is Node else texts[type(item)](item) for item in node.args]
            kwargs = node.kwargs
            if kwargs:
                items += [f"{key}={texts[type(item)](item)}" for key, item in kwargs.items()]
            if op == "call_function":
                call, given = calls[id(node.target)]
                if call in _TUPLE_OPERANDS:
                    given_items = [tuple(item) if isinstance(item, list) else item for item in node.args]
                    items[:len(given_items)] = [self._argument(item) for item in given_items]
                right = f"{call}({', '.join(items)})"
            elif op == "call_method":
                call = node.target
                if call not in methods:
                    methods[call] = stream(word(call))
                given = methods[call]
                receiver = items.pop(0)
                if type(node.args[0]) is not Node:
                    receiver = f"({receiver})"
                right = f"{receiver}.{call}({', '.join(items)})"
            else:
                call = right = self.attributes[node.target]
                given = stream(_attribute_base(call))
                if op == "call_module":
                    right = f"{call}({', '.join(items)})"
            name = names[node] = next(given)
            if typed:
                meta = node.meta
                value = meta.get(key)
                if value is None:
                    value = meta.get(other_key)
                written = self._unknown(node) if value is None else type_text(value)
                if written is not None:
                    append(f'{pad}{name}: "{written}" = {right}')
                    continue
            append(f"{pad}{name} = {right}")
        return lines

    def _unknown(self, node: Node) -> str | None:
        """Return the mark for a node without a recorded type in a graph whose inputs have theirs."""
        meta = node.meta
        if not self.mark_missing or node.op == "get_attr":
            return None
        silent = node.op == "call_function" and has_no_result(node.target)
        return None if "val" in meta or "example_value" in meta or silent else MISSING

    def _rename_in_messages(self, body: list[Node], lines: list[str]) -> list[str]:
        """Put canonical names into the messages of assertions.

        They quote symbols of the capture, and the node that is checked: the first argument, under a name that it may
        not have any more.
        """
        for index, node in enumerate(body):
            for message in node.args[1:]:
                if type(message) is str and ("on node '" in message or "Runtime assertion" in message):
                    checked = self.names.get(node.args[0]) if isinstance(node.args[0], Node) else None
                    renamed = message if checked is None else _ON_NODE.sub(checked, message)
                    renamed = _SYMBOL_NAME.sub(lambda found: self.symbols.name_of(found[0]), renamed)
                    lines[index] = lines[index].replace(repr(message), repr(renamed))
        return lines


@functools.cache
def _attribute_base(call: str) -> str:
    """Return the word after which the value of ``self.a.b`` or ``self["a.0"]`` is named."""
    return word(call.removeprefix("self.") if call[4] == "." else call[6:-2])
