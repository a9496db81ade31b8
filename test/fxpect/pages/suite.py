"""What the tests of a suite are, read from their files and stored cases; nothing is imported and nothing runs.

Seen are the methods ``test*`` of classes that have a base which the file does not define, or that derive from such
a class of the file. What a file makes while it is loaded is not; a class that ``setattr`` may add to is marked.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import os
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fxpect.errors import FixtureError
from fxpect.fixtures.format import Document
from fxpect.fixtures.paths import SUFFIX, place_of
from fxpect.fixtures.store import Store
from fxpect.loading import SuiteFile
from fxpect.pages.naming import Names, dotted

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclasses.dataclass(frozen=True)
class Test:
    """One test method: its docstring is its claim.

    ``names`` are the dotted names that it, and what it uses of its file, refers to. ``problem`` says why the stored
    cases cannot be read, ``""`` where they can.
    """

    owner: str
    name: str
    claim: str
    line: int
    source: str
    decorators: tuple[str, ...]
    names: frozenset[str]
    stored: Document | None
    problem: str

    @property
    def id(self) -> str:
        """Return ``Class.method``."""
        return f"{self.owner}.{self.name}"


@dataclasses.dataclass(frozen=True)
class TestClass:
    """A class of tests; ``grows`` where the file adds tests to it while it is loaded."""

    name: str
    claim: str
    bases: tuple[str, ...]
    line: int
    tests: tuple[Test, ...]
    grows: bool


@dataclasses.dataclass(frozen=True)
class Helper:
    """A function or class that the tests of a file share."""

    name: str
    claim: str
    line: int


@dataclasses.dataclass(frozen=True)
class TestFile:
    """One file of tests; ``path`` is as it is shown, ``top`` the folder that its module name starts from.

    ``names`` are the dotted names that it refers to outside of the classes of tests. ``problem`` says why the file
    cannot be read, ``stale`` names the stored files whose test is not here.
    """

    path: str
    top: str
    module: str
    purpose: str = ""
    imports: tuple[str, ...] = ()
    classes: tuple[TestClass, ...] = ()
    helpers: tuple[Helper, ...] = ()
    names: frozenset[str] = frozenset()
    is_script: bool = False
    problem: str = ""
    stale: tuple[str, ...] = ()

    @property
    def tests(self) -> list[Test]:
        """Return the tests of all classes, in order."""
        return [test for owner in self.classes for test in owner.tests]


@dataclasses.dataclass(frozen=True)
class Suite:
    """Test files, and the docstring of each folder that is a package; paths are relative to one folder."""

    files: tuple[TestFile, ...]
    folders: dict[str, str]


def read_suite(files: Iterable[SuiteFile]) -> Suite:
    """Return what ``files`` and their stored cases hold; whatever cannot be read is told where it stands."""
    found = sorted({(Path(file.path), Path(file.top), file.module) for file in files})
    here = Path.cwd().resolve()
    if not all(path.is_relative_to(here) for path, _, _ in found):
        here = Path(os.path.commonpath([path.parent for path, _, _ in found]))
    read = tuple(_read_file(path, os.path.relpath(top, here), module, path.relative_to(here).as_posix())
                 for path, top, module in found)
    folders = {parent for file in read for parent in Path(file.path).parents}
    return Suite(read, {folder.as_posix(): _purpose(here / folder / "__init__.py") for folder in sorted(folders)})


def _purpose(path: Path) -> str:
    try:
        return ast.get_docstring(_parse(path.read_bytes())) or ""
    except (OSError, SyntaxError, ValueError):
        return ""  # a folder needs no docstring, and runners say what is wrong with a package


def _parse(data: bytes) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as an escape that Python does not know: not asked here
        return ast.parse(data)


def _read_file(path: Path, top: str, module: str, shown: str) -> TestFile:
    file = TestFile(shown, Path(top).as_posix(), module)
    try:
        data = path.read_bytes()
        tree = _parse(data)
        text = importlib.util.decode_source(data)
    except SyntaxError as error:
        return dataclasses.replace(file, problem=f"line {error.lineno}: {error.msg}")
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        return dataclasses.replace(file, problem=str(error) or type(error).__name__)
    reader = _Reader(path, tree, text.split("\n"))
    classes = tuple(reader.classes())
    return dataclasses.replace(
        file, purpose=ast.get_docstring(tree) or "", imports=tuple(_imports(tree)), classes=classes,
        helpers=tuple(reader.helpers({one.name for one in classes})), names=reader.around(classes),
        is_script=_is_script(tree), stale=tuple(_stale(path, classes)))


class _Reader:
    """One parsed file: what its classes are, and which of them hold tests."""

    def __init__(self, path: Path, tree: ast.Module, lines: Sequence[str]):
        self.path, self.lines, self.body = path, lines, tree.body
        self.defined = {node.name: node for node in _definitions(tree.body)}
        self.names = Names(tree)
        self.growing = set(_growing(tree))

    def classes(self) -> Iterator[TestClass]:
        """Yield the classes that hold tests."""
        for node in self.defined.values():
            if isinstance(node, ast.ClassDef) and self.is_case(node):
                methods, grows = self.methods(node), node.name in self.growing
                if methods or grows:
                    bases = tuple(ast.unparse(base) for base in node.bases)
                    yield TestClass(node.name, ast.get_docstring(node) or "", bases, node.lineno,
                                    tuple(self.test(node, method) for method in methods), grows)

    def helpers(self, cases: set[str]) -> Iterator[Helper]:
        """Yield the functions and classes that hold no tests."""
        for node in self.defined.values():
            if node.name not in cases and node.name != "load_tests":
                yield Helper(node.name, ast.get_docstring(node) or "", node.lineno)

    def around(self, classes: Iterable[TestClass]) -> frozenset[str]:
        """Return the names that the file refers to outside of ``classes``."""
        owners = {one.name for one in classes}
        return frozenset().union(*(self.names.of(node) for node in self.body
                                   if getattr(node, "name", "") not in owners))

    def bases(self, node: ast.ClassDef) -> list[ast.ClassDef]:
        """Return the bases that the file defines, before the class itself."""
        before = [self.defined.get(base.id) for base in node.bases if isinstance(base, ast.Name)]
        return [base for base in before if isinstance(base, ast.ClassDef) and base.lineno < node.lineno]

    def is_case(self, node: ast.ClassDef) -> bool:
        """Say whether the class has a base from elsewhere, or a base that has one."""
        local = self.bases(node)
        return len(local) < len(node.bases) or any(self.is_case(base) for base in local)

    def methods(self, node: ast.ClassDef) -> list[_Function]:
        """Return the test methods, those of the bases first; a later one of the same name counts."""
        found: dict[str, _Function] = {}
        for base in reversed(self.bases(node)):
            found.update((method.name, method) for method in self.methods(base))
        for method in _definitions(node.body):
            if not isinstance(method, ast.ClassDef) and method.name.startswith("test"):
                found[method.name] = method
        return list(found.values())

    def test(self, owner: ast.ClassDef, node: _Function) -> Test:
        """Return what is known of one test."""
        stored, problem = None, ""
        try:
            read = Store.for_test(self.path, owner.name, node.name)
            stored = read.document if read.exists else None
        except FixtureError as error:
            problem = str(error)
        first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
        return Test(owner.name, node.name, ast.get_docstring(node) or "", node.lineno,
                    textwrap.dedent("\n".join(self.lines[first - 1:node.end_lineno])),
                    tuple(ast.unparse(one) for one in node.decorator_list),
                    self.names.of(node) | self._around(owner), stored, problem)

    def _around(self, owner: ast.ClassDef) -> frozenset[str]:
        """Return the names that a class uses beside its tests: its bases, fixtures and values."""
        parts: list[ast.AST] = [*owner.bases, *owner.decorator_list]
        parts += [node for node in owner.body if not getattr(node, "name", "").startswith("test")]
        own = frozenset().union(*map(self.names.of, parts))
        return own.union(*(self._around(base) for base in self.bases(owner)))


def _definitions(body: Iterable[ast.stmt]) -> Iterator[_Function | ast.ClassDef]:
    """Yield the functions and classes of a body, those under ``if``, ``try`` and ``with`` too."""
    for node in body:
        if isinstance(node, _Function | ast.ClassDef):
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


def _imports(tree: ast.Module) -> Iterator[str]:
    """Yield a line for each import at the top of the file."""
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield ast.unparse(node)


def _is_script(tree: ast.Module) -> bool:
    return any(isinstance(node, ast.If) and "__name__" in ast.unparse(node.test) for node in tree.body)


def _stale(path: Path, classes: Iterable[TestClass]) -> Iterator[str]:
    """Yield the stored files of this test file that none of its tests owns."""
    probe = place_of(path, "Class", "test")
    folder = probe.file.parent
    owned = {f"{test.id}{SUFFIX}" for owner in classes for test in owner.tests}
    grown = tuple(f"{owner.name}." for owner in classes if owner.grows)
    for file in sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else ():
        if file.name not in owned and not (grown and file.name.startswith(grown)):
            yield file.relative_to(probe.root).as_posix()
