"""Which tests the classes of a file define, told from the source alone, and where the source cannot tell.

A test that the file makes while it is loaded (``setattr``, a decorator, a base of another file, a class made by a
call) is not seen. Where that may have happened the answer is "not known", never "no".
"""

from __future__ import annotations

import ast
import collections
import importlib.util
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from fxpect.errors import FxpectError
from fxpect.pages.naming import Names, dotted

Function = ast.FunctionDef | ast.AsyncFunctionDef
# Packages whose own classes bring no tests to those that derive from them.
_WITHOUT_TESTS = ("unittest", "fxpect", "torch", "expecttest")
# The same for what decorates a method: it may replace the method, and adds none beside it.
_WITHOUT_MORE = (*_WITHOUT_TESTS, "hypothesis", "functools", "contextlib", "staticmethod", "classmethod", "property")
# Calls that are given a class and leave it as it is.
_HARMLESS = ("super", "isinstance", "issubclass", "fxpect.run_tests", "unittest.main")
# Calls by which a file makes classes, or anything at all, under names that its source need not hold.
_MAKERS = ("globals", "vars", "locals", "exec", "eval", "setattr", "__import__", "types.new_class",
           "dataclasses.make_dataclass", "importlib.import_module")
_LOOPS = (ast.For, ast.AsyncFor, ast.While, ast.Match)


def parse(data: bytes) -> ast.Module:
    """Return the tree of a Python source; raises what ``ast.parse`` raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as an escape that Python does not know: not asked here
        return ast.parse(data)


def read_source(path: Path) -> tuple[ast.Module, str]:
    """Return the tree and the text of a file; raises ``FxpectError``, without the path, where it cannot be read."""
    try:
        data = path.read_bytes()
        return parse(data), importlib.util.decode_source(data)
    except SyntaxError as error:
        raise FxpectError(f"line {error.lineno}: {error.msg}") from None
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise FxpectError(str(error) or type(error).__name__) from None


class Classes:
    """The functions and classes of one parsed file, and which of the classes hold which tests."""

    def __init__(self, tree: ast.Module):
        self.tree = tree
        self.defined = {node.name: node for node in _definitions(tree.body)}
        self.growing = set(_growing(tree))
        named = collections.Counter(node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
        self.repeated = {name for name, times in named.items() if times > 1}
        self.names = Names(tree)
        outside = [part for part in tree.body if not isinstance(part, ast.ClassDef)]
        self.reflects = any(self._makes_anything(node) for part in outside for node in ast.walk(part))

    def bases(self, node: ast.ClassDef) -> list[ast.ClassDef]:
        """Return the bases that the file defines, before the class itself."""
        before = [self.defined.get(base.id) for base in node.bases if isinstance(base, ast.Name)]
        return [base for base in before if isinstance(base, ast.ClassDef) and base.lineno < node.lineno]

    def is_case(self, node: ast.ClassDef) -> bool:
        """Say whether the class has a base from elsewhere, or a base that has one."""
        local = self.bases(node)
        return len(local) < len(node.bases) or any(self.is_case(base) for base in local)

    def cases(self) -> Iterator[ast.ClassDef]:
        """Yield the classes that are cases, whether they hold tests or not."""
        yield from (node for node in self.defined.values() if isinstance(node, ast.ClassDef) and self.is_case(node))

    def methods(self, node: ast.ClassDef) -> list[Function]:
        """Return the test methods, those of the bases first; a later one of the same name counts."""
        found: dict[str, Function] = {}
        for base in reversed(self.bases(node)):
            found.update((method.name, method) for method in self.methods(base))
        for method in _definitions(node.body):
            if not isinstance(method, ast.ClassDef) and method.name.startswith("test"):
                found[method.name] = method
        return list(found.values())

    def has(self, owner: str, method: str) -> bool | None:
        """Say whether the class ``owner`` has the test ``method``; None where the source alone cannot tell."""
        node = self.defined.get(owner)
        if not isinstance(node, ast.ClassDef):
            return None if self._may_be_made(owner) else False
        if any(found.name == method for found in self.methods(node)):
            return True
        return None if self._may_gain(node, method) else False

    def _may_be_made(self, owner: str) -> bool:
        """Say whether the file may make a class of that name in another way than by a ``class`` at its top."""
        names = {owner, *owner.split(".")}
        return any(_says(node) in names or self._makes_anything(node) for node in ast.walk(self.tree))

    def _makes_anything(self, node: ast.AST) -> bool:
        if isinstance(node, ast.ImportFrom):
            return any(alias.name == "*" for alias in node.names)
        if not isinstance(node, ast.Call):
            return False
        name = self.names.resolve(dotted(node.func))
        if name == "setattr" and node.args and isinstance(self.defined.get(dotted(node.args[0])), ast.ClassDef):
            return False
        return name in _MAKERS or (name == "type" and len(node.args) > 1)

    def _may_gain(self, node: ast.ClassDef, method: str) -> bool:
        """Say whether a class may have a test that its body does not define as a function."""
        local = self.bases(node)
        foreign = [base for base in node.bases if dotted(base) not in {base.name for base in local}]
        return (self.reflects or node.name in self.growing | self.repeated or bool(node.keywords)
                or self._is_given(node.name)
                or any(self._origin(base) not in _WITHOUT_TESTS for base in foreign)
                or any(self._origin(one) != "unittest" for one in node.decorator_list)
                or any(self._body_may_hold(part, method) for part in node.body)
                or any(self._may_gain(base, method) for base in local))

    def _origin(self, node: ast.expr) -> str:
        """Return the package that a base or a decorator is from, or the name that it has in the file."""
        return self.names.resolve(dotted(node.func if isinstance(node, ast.Call) else node)).partition(".")[0]

    def _body_may_hold(self, part: ast.stmt, method: str) -> bool:
        """Say whether a statement of a class binds ``method`` or may bind anything."""
        if isinstance(part, Function):
            adds = any(self._origin(one) not in _WITHOUT_MORE for one in part.decorator_list)
            return part.name == "__init_subclass__" or (adds and method.startswith(part.name))
        return isinstance(part, _LOOPS) or any(
            _says(node) == method or isinstance(node, _LOOPS) or self._makes_anything(node) for node in ast.walk(part))

    def _is_given(self, name: str) -> bool:
        """Say whether a class is handed to a call, or gets an attribute, outside of any class."""
        for part in self.tree.body:
            for node in ast.walk(part):
                if isinstance(node, ast.Call):
                    given = [*node.args, *(keyword.value for keyword in node.keywords)]
                    if name in map(dotted, given) and self.names.resolve(dotted(node.func)) not in _HARMLESS:
                        return True
                elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and dotted(node.value) == name:
                    return True
        return False


def _says(node: ast.AST) -> str:
    """Return the name that a node is, binds or spells, ``""`` for none."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.ClassDef | Function):
        return node.name
    if isinstance(node, ast.alias):
        return node.asname or node.name
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return ""


def _definitions(body: Iterable[ast.stmt]) -> Iterator[Function | ast.ClassDef]:
    """Yield the functions and classes of a body, those under ``if``, ``try`` and ``with`` too."""
    for node in body:
        if isinstance(node, Function | ast.ClassDef):
            yield node
        elif isinstance(node, ast.If | ast.Try | ast.With):
            handlers = [part for handler in getattr(node, "handlers", ()) for part in handler.body]
            yield from _definitions([*node.body, *handlers, *getattr(node, "orelse", ())])


def _growing(tree: ast.Module) -> Iterator[str]:
    """Yield the names of what ``setattr`` adds to; where only a loop knows, every name that is near it."""
    classes = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    for part in tree.body:
        names = {node.id for node in ast.walk(part) if isinstance(node, ast.Name)}
        for node in ast.walk(part) if "setattr" in names and not isinstance(part, ast.ClassDef) else ():
            if isinstance(node, ast.Call) and dotted(node.func) == "setattr" and node.args:
                owner = dotted(node.args[0])
                yield from [owner] if owner in classes else names
