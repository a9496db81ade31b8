"""Read a graph text back into a GraphModule, through ``ast`` alone: nothing in the text is ever evaluated."""

from __future__ import annotations

import ast
import textwrap
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

from fxpect.errors import GraphTextError
from fxpect.text import constructors, modules, propagation
from fxpect.text.annotations import MISSING, TypeReader
from fxpect.text.packing import pack, packed_value
from fxpect.text.signature import read_signature
from fxpect.text.symbols import SymbolTable
from fxpect.text.targets import check_method, has_no_result, is_readable_attribute, resolve_target
from fxpect.text.values import ValueReader, dotted

_MAX_CHARACTERS = 50_000_000
_MAX_BRACKETS = 150


def parse_graph(text: str, *, meta_key: str | None = None, sizes: dict[str, int] | None = None) -> GraphModule:
    """Return the GraphModule that a graph text describes, with fake values in the metadata of its nodes.

    ``meta_key`` is "val" or "example_value"; without it "val" when the text calls ATen operators. ``sizes`` gives
    example sizes for symbols. Where only the inputs are typed, the other types come from propagation.
    Raises GraphTextError, with the line, for a text that is not a graph; UnknownTargetError for a forbidden callable.
    """
    if meta_key not in (None, "val", "example_value"):
        raise GraphTextError(f'parse_graph: expected meta_key "val" or "example_value"; got {meta_key!r}')
    function = _syntax(text)
    mode = propagation.new_fake_mode()
    symbols = SymbolTable(mode.shape_env, sizes)
    shared = _Shared(TypeReader(mode, symbols), symbols)
    key = meta_key or _guess_key(text)
    module, wanting = _GraphReader(shared, key).module(function, top=True)
    mode.static_shapes = not symbols.used
    if function.decorator_list:
        module.meta[modules.SIGNATURE] = read_signature(function.decorator_list)
    if wanting:
        try:
            propagation.propagate(module, meta_key=key, mode=mode, only_missing=True)
        except Exception as error:
            raise GraphTextError(f"the graph does not fit the types of its inputs: {_told(error)}") from error
    elif not symbols.used:
        propagation.share_views(module, key, mode)
    return module


def _told(error: Exception) -> str:
    """Return an error with its notes, which name the node."""
    return "; ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])


def _guess_key(text: str) -> str:
    return "val" if "torch.ops.aten." in text or "torch.ops.prims." in text else "example_value"


def _syntax(text: str) -> ast.FunctionDef:
    """Return the one function of the text; every way in which Python can refuse it becomes a GraphTextError."""
    if not isinstance(text, str):
        raise GraphTextError(f"parse_graph: expected a text; got {type(text).__name__}")
    if len(text) > _MAX_CHARACTERS:
        raise GraphTextError(f"expected at most {_MAX_CHARACTERS} characters; got {len(text)}")
    text = textwrap.dedent(text)
    _check_brackets(text)
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise GraphTextError(f"not valid Python: {error.msg}", error.lineno) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise GraphTextError(f"not valid Python: {type(error).__name__}: {error}") from None
    if len(tree.body) != 1 or not isinstance(tree.body[0], ast.FunctionDef):
        raise GraphTextError(f"expected one function definition; got {len(tree.body)} statements", 1)
    return tree.body[0]


def _check_brackets(text: str) -> None:
    """Refuse deep nesting before Python's own parser meets it."""
    depth = 0
    for number, line in enumerate(text.split("\n"), 1):
        for letter in line:
            if letter in "([{":
                depth += 1
                if depth > _MAX_BRACKETS:
                    raise GraphTextError(f"expected at most {_MAX_BRACKETS} nested brackets", number)
            elif letter in ")]}" and depth:
                depth -= 1
    for number, line in enumerate(text.split("\n"), 1):
        for sign in ("-", "~", "+", "not "):
            if sign * 500 in line.replace(" ", "") or sign * 500 in line:
                raise GraphTextError("expected at most 500 signs in a row", number)


class _Shared:
    """What all graphs of one text have in common."""

    def __init__(self, types: TypeReader, symbols: SymbolTable):
        self.types, self.symbols = types, symbols


class _GraphReader:
    """Read one function into one GraphModule."""

    def __init__(self, shared: _Shared, meta_key: str):
        self.shared, self.meta_key = shared, meta_key
        self.root = torch.nn.Module()
        self.graph = Graph(self.root)
        self.names: dict[str, Any] = {}
        self.attributes: set[str] = set()
        self.reader = ValueReader(self.names, shared.symbols.number)
        self.typed_inputs = 0
        self.inputs = 0
        self.typed = 0
        self.untyped: list[Node] = []
        self.done = False

    def module(self, function: ast.FunctionDef, top: bool = False) -> tuple[GraphModule, bool]:
        """Return the module, and whether its types are to be propagated because the text gives those of inputs only."""
        body = list(function.body)
        if top:
            body = self._declare_symbols(body)
        self._parameters(function)
        for statement in body:
            if self.done:
                raise GraphTextError("expected nothing after return", statement.lineno)
            self._statement(statement)
        if not self.done and not (len(body) == 1 and isinstance(body[0], ast.Pass)):
            raise GraphTextError("expected a return statement at the end", function.lineno)
        try:
            graph_module = GraphModule(self.root, self.graph)
        except Exception as error:
            raise GraphTextError(f"torch cannot compile this graph: {error}", function.lineno) from error
        wanting = self.typed == 0 and self.typed_inputs == self.inputs > 0
        if self.typed_inputs and not (top and wanting):
            for node in self.untyped:  # known to have no type, as one marked with "?" is not
                node.meta[self.meta_key] = None
        return graph_module, wanting

    def _declare_symbols(self, body: list[Any]) -> list[Any]:
        while body and _is_range(body[0]):
            statement = body.pop(0)
            self.shared.symbols.declare(statement.target.id, _annotation(statement.annotation), statement.lineno)
        return body

    def _parameters(self, function: ast.FunctionDef) -> None:
        given = function.args
        if given.posonlyargs or given.kwonlyargs or not given.args or given.args[0].arg != "self":
            raise GraphTextError("expected def forward(self, ...) with plain arguments", function.lineno)
        defaults = [None] * (len(given.args) - len(given.defaults)) + list(given.defaults)
        listed = [("", argument, default) for argument, default in zip(given.args, defaults)][1:]
        listed += [(star, argument, None) for star, argument in (("*", given.vararg), ("**", given.kwarg)) if argument]
        for star, argument, default in listed:
            args = () if default is None else (self.reader.read(default),)
            self._check_new(argument.arg, argument.lineno)
            node = self.graph.create_node("placeholder", star + argument.arg, args, {}, name=argument.arg)
            self.names[argument.arg] = node
            self.inputs += 1
            if argument.annotation is not None:
                self.typed_inputs += 1
                self._type(node, argument.annotation)

    def _statement(self, statement: ast.stmt) -> None:
        line = statement.lineno
        if isinstance(statement, ast.FunctionDef):
            child, wanting = _GraphReader(self.shared, self.meta_key).module(statement)
            self._attach(statement.name, child, line)
        elif isinstance(statement, ast.Return):
            inside = packed_value(statement.value)
            if inside is not None:
                pack(self.graph, self.reader.read(inside))
            else:
                self.graph.output(None if statement.value is None else self.reader.read(statement.value))
            self.done = True
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
            target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
            if isinstance(statement, ast.Assign) and len(statement.targets) != 1:
                raise GraphTextError("expected one name on the left", line)
            annotation = statement.annotation if isinstance(statement, ast.AnnAssign) else None
            path = _attribute_path(target)
            if path is not None:
                self._declare(path, annotation, statement.value, line)
            elif isinstance(target, ast.Name) and statement.value is not None:
                self._check_new(target.id, line)
                self._define(target.id, annotation, statement.value, line)
            else:
                raise GraphTextError("expected name = call", line)
        elif not isinstance(statement, ast.Pass):
            raise GraphTextError(f"expected name = call, a declaration or return; got {type(statement).__name__}", line)

    def _check_new(self, name: str, line: int) -> None:
        if name in self.names or name == "self":
            raise GraphTextError(f"{name} is defined twice", line)

    def _attach(self, path: str, value: Any, line: int) -> None:
        if path in self.attributes:
            raise GraphTextError(f"self.{path} is declared twice", line)
        self.attributes.add(path)
        modules.place(self.root, path, value, line)

    def _declare(self, path: str, annotation: Any, value: Any, line: int) -> None:
        """Make the attribute or submodule of a line such as ``self.weight: "f32[4, 4]"``."""
        if annotation is not None:
            made = self.shared.types.tensor(_annotation(annotation), line, real=True)
            modules.fill(made, None if value is None else self.reader.read(value), path, line)
            self._attach(path, made, line)
            return
        other = _attribute_path(value) if value is not None else None
        if other is not None:
            if other not in self.attributes:
                raise GraphTextError(f"self.{other} is not declared", line)
            self._attach(path, modules.attribute_of(self.root, other), line)
        else:
            read = constructors.read_constructor(value, self.reader) if constructors.is_constructor(value) \
                else self.reader.read(value)
            self._attach(path, read, line)

    def _define(self, name: str, annotation: Any, value: Any, line: int) -> None:
        path = _attribute_path(value)
        if path is not None:
            self._check_attribute(path, line)
            node = self.graph.create_node("get_attr", path, name=name)
        elif isinstance(value, ast.Call):
            node = self._call(name, value, line)
        else:
            raise GraphTextError("expected a call or an attribute of self on the right", line)
        self.names[name] = node
        if annotation is not None:
            self._type(node, annotation)
            self.typed += 1
        elif node.op != "get_attr" and not (node.op == "call_function" and has_no_result(node.target)):
            self.untyped.append(node)

    def _check_attribute(self, path: str, line: int) -> None:
        if path not in self.attributes:
            raise GraphTextError(f'self.{path} is not declared; write self.{path}: "f32[2, 8]" before it is used', line)

    def _call(self, name: str, call: ast.Call, line: int) -> Node:
        path = _attribute_path(call.func)
        kwargs = {}
        for item in call.keywords:
            if item.arg is None:
                raise GraphTextError("expected keyword arguments by name, not **", line)
            kwargs[item.arg] = self.reader.read(item.value)
        if any(isinstance(item, ast.Starred) for item in call.args):
            raise GraphTextError("expected arguments one by one, not *", line)
        args = [self.reader.read(item) for item in call.args]
        if path is not None:
            self._check_attribute(path, line)
            return self.graph.create_node("call_module", path, tuple(args), kwargs, name=name)
        qualified = dotted(call.func)
        if qualified is not None and qualified.partition(".")[0] not in self.names:
            target = resolve_target(qualified, line)
            if target is getattr and (len(args) < 2 or not is_readable_attribute(args[1])):
                raise GraphTextError(f"expected getattr of a plain attribute such as shape; got {args[1:2]}", line)
            return self.graph.create_node("call_function", target, tuple(args), kwargs, name=name)
        if not isinstance(call.func, ast.Attribute):
            raise GraphTextError(f"expected a qualified callable; got {qualified or type(call.func).__name__}", line)
        method = check_method(call.func.attr, line)
        receiver = self.reader.read(call.func.value)
        return self.graph.create_node("call_method", method, (receiver, *args), kwargs, name=name)

    def _type(self, node: Node, annotation: Any) -> None:
        text = _annotation(annotation)
        if text == MISSING:
            return
        node.meta[self.meta_key] = self.shared.types.value(text, annotation.lineno)


def _is_range(statement: ast.stmt) -> bool:
    """Say whether a line declares a symbol: ``s0: "2 <= s0"``."""
    return isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value is None


def _annotation(tree: Any) -> str:
    if not isinstance(tree, ast.Constant) or not isinstance(tree.value, str):
        raise GraphTextError('expected a type in quotes, such as "f32[2, 8]"', tree.lineno)
    return tree.value


def _attribute_path(tree: Any) -> str | None:
    """Return ``a.b`` for ``self.a.b`` and for ``self["a.b"]``, None for anything else."""
    if isinstance(tree, ast.Subscript) and isinstance(tree.value, ast.Name) and tree.value.id == "self":
        return tree.slice.value if isinstance(tree.slice, ast.Constant) and isinstance(tree.slice.value, str) else None
    name = dotted(tree) if isinstance(tree, ast.Attribute) else None
    return name[5:] if name is not None and name.startswith("self.") else None
