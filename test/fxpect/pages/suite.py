"""What the tests of a suite are, read from their files and stored cases; nothing is imported and nothing runs.

Seen are the methods ``test*`` of classes that have a base which the file does not define, or that derive from such
a class of the file. What a file makes while it is loaded is not; a class that ``setattr`` may add to is marked.
"""

from __future__ import annotations

import ast
import dataclasses
import os
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fxpect.errors import FixtureError, FxpectError
from fxpect.fixtures.format import Document
from fxpect.fixtures.paths import SUFFIX, place_of
from fxpect.fixtures.store import Store
from fxpect.loading import SuiteFile
from fxpect.pages.defined import Classes, Function, parse, read_source


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
        return ast.get_docstring(parse(path.read_bytes())) or ""
    except (OSError, SyntaxError, ValueError):
        return ""  # a folder needs no docstring, and runners say what is wrong with a package


def _read_file(path: Path, top: str, module: str, shown: str) -> TestFile:
    file = TestFile(shown, Path(top).as_posix(), module)
    try:
        tree, text = read_source(path)
    except FxpectError as error:
        return dataclasses.replace(file, problem=str(error))
    reader = _Reader(path, tree, text.split("\n"))
    classes = tuple(reader.classes())
    return dataclasses.replace(
        file, purpose=ast.get_docstring(tree) or "", imports=tuple(_imports(tree)), classes=classes,
        helpers=tuple(reader.helpers({one.name for one in classes})), names=reader.around(classes),
        is_script=_is_script(tree), stale=tuple(_stale(path, reader)))


class _Reader(Classes):
    """One parsed file: what its classes are, and which of them hold tests."""

    def __init__(self, path: Path, tree: ast.Module, lines: Sequence[str]):
        super().__init__(tree)
        self.path, self.lines = path, lines

    def classes(self) -> Iterator[TestClass]:
        """Yield the classes that hold tests."""
        for node in self.cases():
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
        return frozenset().union(*(self.names.of(node) for node in self.tree.body
                                   if getattr(node, "name", "") not in owners))

    def test(self, owner: ast.ClassDef, node: Function) -> Test:
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


def _imports(tree: ast.Module) -> Iterator[str]:
    """Yield a line for each import at the top of the file."""
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield ast.unparse(node)


def _is_script(tree: ast.Module) -> bool:
    return any(isinstance(node, ast.If) and "__name__" in ast.unparse(node.test) for node in tree.body)


def _stale(path: Path, reader: Classes) -> Iterator[str]:
    """Yield the stored files of this test file whose test is surely not here."""
    probe = place_of(path, "Class", "test")
    folder = probe.file.parent
    for file in sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else ():
        owner, _, method = file.stem.rpartition(".")
        if reader.has(owner, method) is False:
            yield file.relative_to(probe.root).as_posix()
