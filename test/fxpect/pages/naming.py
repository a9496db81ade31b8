"""Which operators, passes and APIs a piece of Python refers to, told from its names alone."""

from __future__ import annotations

import ast
import dataclasses
import functools
import re
import unittest
from collections.abc import Iterable, Iterator

OPERATOR, PASS, API = KINDS = ("operator", "pass", "API")
# Where the passes of torch live: what stands before the name under which people know a pass.
_PASSES = {"torch._inductor.fx_passes.": "", "torch.fx.passes.": "torch.fx.passes.",
           "torch._export.passes.": "torch._export.passes."}
_STAGES = "pre_grad|joint|post_grad|freezing|fx|export|functorch"
_NAMESPACES = "aten|prims|inductor|higher_order|quantized"
_IN_STRING = re.compile(rf"(?:torch|{_STAGES}|{_NAMESPACES})(?:\.[a-zA-Z_]\w*)+")
_AS_OPERATOR = re.compile(rf"(?:{_NAMESPACES})\.")
_AS_PASS = re.compile(rf"(?:{_STAGES})\.\w+")
_OPS = "torch.ops."
_MAX_OPERATOR_PARTS = 3  # aten, add, Tensor; what follows is an attribute of the overload
_VALUES = {"torch.device"}  # called in a graph text to spell a constant


@dataclasses.dataclass(frozen=True, order=True)
class Keyword:
    """An operator, a pass or an API, by the name that a person would look for."""

    kind: str
    name: str


def dotted(node: ast.AST) -> str:
    """Return ``a.b.c`` for such an expression, else ``""``."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


class Names:
    """The names of one file: what its imports stand for, and what its own functions and values refer to."""

    def __init__(self, tree: ast.Module):
        self.aliases = dict(_aliases(tree))
        self.values: dict[str, ast.AST] = {}
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                self.values[node.name] = node
            elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                self.values[node.targets[0].id] = node.value
        for name, value in self.values.items():
            meant = dotted(value)
            if meant.partition(".")[0] in self.aliases:  # aten = torch.ops.aten
                self.aliases[name] = self.resolve(meant)

    def resolve(self, name: str) -> str:
        """Return the dotted name in full, as far as the imports of the file tell."""
        root, dot, rest = name.partition(".")
        return self.aliases.get(root, root) + dot + rest

    def of(self, node: ast.AST) -> frozenset[str]:
        """Return every dotted name that ``node`` refers to, through the functions and values of the file too."""
        found: set[str] = set()
        waiting, seen = [node], {id(node)}
        while waiting:
            for name, is_string in _mentioned(waiting.pop()):
                root = name.partition(".")[0]
                if is_string or root == "self":
                    found.add(name)
                elif root in self.aliases:
                    found.add(self.resolve(name))
                elif root in self.values and id(self.values[root]) not in seen:
                    seen.add(id(self.values[root]))
                    waiting.append(self.values[root])
        return frozenset(found)


def _aliases(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.partition(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (root, root)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _mentioned(node: ast.AST) -> Iterator[tuple[str, bool]]:
    """Yield the longest dotted names in ``node``, and with True the strings that are such names of torch."""
    whole = dotted(node)
    if whole:
        yield whole, False
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, str) and _IN_STRING.fullmatch(node.value):
            yield node.value, True
    else:
        for child in ast.iter_child_nodes(node):
            yield from _mentioned(child)


@functools.lru_cache(maxsize=4096)
def targets(text: str) -> frozenset[str]:
    """Return the operators that a graph text calls; a text that is no graph calls none."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    if not all(isinstance(node, ast.FunctionDef) for node in tree.body):
        return frozenset()
    names = {dotted(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found = set()
    for name in names:
        root, _, rest = name.partition(".")
        if root in ("torch", "operator", "math"):
            is_class = name.rpartition(".")[2][0].isupper() and not name.startswith(_OPS)  # it spells a submodule
            if name not in _VALUES and not is_class:
                found.add(_operator(name))
        elif rest and "." not in rest and root != "self":
            found.add(f"Tensor.{rest}")
    return frozenset(found)


def _operator(name: str) -> str:
    if not name.startswith(_OPS):
        return name
    return ".".join(name.removeprefix(_OPS).split(".")[:_MAX_OPERATOR_PARTS])


def keywords(names: Iterable[str], operators: Iterable[str], called: frozenset[str]) -> tuple[Keyword, ...]:
    """Return the keywords, sorted, of what refers to ``names`` and stores graphs that call ``operators``.

    ``called`` are the operators of every stored graph: what some graph calls is an operator wherever it is named.
    """
    found = {Keyword(OPERATOR, name) for name in operators}
    for name in names:
        keyword = _keyword(name, called)
        if keyword is not None:
            found.add(keyword)
    return tuple(sorted(found))


def _keyword(name: str, called: frozenset[str]) -> Keyword | None:
    if ".__" in name:
        return None
    if name in called or _AS_OPERATOR.match(name):
        return Keyword(OPERATOR, name)
    if name.startswith(_OPS):
        short = _operator(name)
        return Keyword(OPERATOR, short) if "." in short else None
    for prefix, kept in _PASSES.items():
        if name.startswith(prefix):
            short = name.removeprefix(prefix)
            return Keyword(PASS, kept + short) if "." in short else None
    if _AS_PASS.fullmatch(name):
        return Keyword(PASS, name)
    if name.startswith(("torch.", "fxpect.")):
        return Keyword(API, name)
    method = name.removeprefix("self.")
    if name.startswith("self.assert") and "." not in method and not hasattr(unittest.TestCase, method):
        return Keyword(API, method)
    return None
