"""Finding tests: the ``load_tests`` hook of a test package, and the files that a name stands for."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import os
import sys
import unittest
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from fxpect.errors import FxpectError

NOTHING_RAN = 5
_open_hooks: list[str] = []


class _NothingRan(unittest.TestCase):
    """Ends the process with 5, as Python 3.12 and later do by themselves when no test ran."""

    def run(self, result: unittest.TestResult | None = None) -> unittest.TestResult | None:
        print("\nNO TESTS RAN", file=sys.stderr)
        raise SystemExit(NOTHING_RAN)

    def runTest(self) -> None:
        """Stand here because a TestCase needs one; ``run`` never gets this far."""


def suite(name: str, file: str, *folders: str) -> Callable:
    """Return the ``load_tests`` hook of the package ``name`` whose ``__init__`` is ``file``.

    The hook loads the test files of ``folders``, or of the package's own folder where none is given.
    """
    here = Path(file).resolve().parent
    top = here.parents[name.count(".")]

    def load_tests(loader: unittest.TestLoader, tests: unittest.TestSuite,
                   pattern: str | None) -> unittest.TestSuite:
        _open_hooks.append(name)
        try:
            for place in [here / folder for folder in folders] or [here]:
                tests.addTests(loader.discover(str(place), pattern or "test*.py", str(top)))
        finally:
            _open_hooks.pop()
        if not _open_hooks and not tests.countTestCases() and sys.version_info < (3, 12):
            tests.addTest(_NothingRan())
        return tests

    return load_tests


@dataclasses.dataclass(frozen=True, order=True)
class SuiteFile:
    """One file of tests: its path, the folder that must be on ``sys.path``, its module name.

    ``only`` restricts it to one class or method (``"Class.test_x"``).
    """

    path: str
    top: str
    module: str
    only: str = ""

    @classmethod
    def at(cls, path: Path, only: str = "") -> SuiteFile:
        """Return the file at ``path``, named from the topmost folder that is a package."""
        path = path.resolve()
        top = path.parent
        while (top / "__init__.py").exists():
            top = top.parent
        return cls(str(path), str(top), ".".join(path.relative_to(top).with_suffix("").parts), only)


def find(targets: Sequence[str]) -> list[SuiteFile]:
    """Return the test files that ``targets`` stand for: folders, files, or dotted names down to one test.

    Raises FxpectError where a target is none of these.
    """
    found: dict[SuiteFile, None] = {}
    for target in targets:
        found.update(dict.fromkeys(_find_one(target)))
    return sorted(found)


def _find_one(target: str) -> list[SuiteFile]:
    path = Path(target)
    if target and path.is_dir():
        return [SuiteFile.at(file) for file in _test_files(path)]
    if path.is_file() and path.suffix == ".py":
        return [SuiteFile.at(path)]
    parts = target.split(".")
    for length in range(len(parts), 0, -1):
        path, rest = Path(*parts[:length]), ".".join(parts[length:])
        if path.name and path.with_suffix(".py").is_file():
            return [SuiteFile.at(path.with_suffix(".py"), rest)]
        if target and path.is_dir() and not rest:
            return [SuiteFile.at(file) for file in _test_files(path)]
    return _find_installed(target)


def _find_installed(name: str) -> list[SuiteFile]:
    """Return the test files of an installed module or package."""
    try:
        named = all(part.isidentifier() for part in name.split("."))
        spec = importlib.util.find_spec(name) if named else None
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.origin:
        raise FxpectError(f"no tests at {name!r}: expected a folder, a file, or a dotted name such as "
                          f"test.unit.test_layers, seen from {os.getcwd()}")
    origin = Path(spec.origin)
    if origin.name == "__init__.py":
        return [SuiteFile.at(file) for file in _test_files(origin.parent)]
    return [SuiteFile(str(origin), str(origin.parents[name.count(".")]), name)]


def _test_files(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            if not entry.name.startswith((".", "_")) and not (entry / "pyvenv.cfg").exists():
                yield from _test_files(entry)
        elif entry.name.startswith("test") and entry.suffix == ".py":
            yield entry


def load(file: SuiteFile, patterns: Iterable[str] = ()) -> dict[str, list[unittest.TestCase]]:
    """Return the tests of ``file`` that match ``patterns``, those of each class together, in order.

    A file with ``setUpModule`` or ``tearDownModule`` is one unit. Imports the file: raises what it raises.
    """
    if sys.path[0] != file.top:
        sys.path.insert(0, file.top)
    module = importlib.import_module(file.module)
    if os.path.realpath(module.__file__ or "") != os.path.realpath(file.path):
        raise FxpectError(f"{file.path}: the name {file.module!r} already means {module.__file__}; "
                          "give one of the folders an __init__.py")
    loader = unittest.TestLoader()
    loader.testNamePatterns = [one if "*" in one else f"*{one}*" for one in patterns] or None
    together = hasattr(module, "setUpModule") or hasattr(module, "tearDownModule")
    units: dict[str, list[unittest.TestCase]] = {}
    for test in _flat(loader.loadTestsFromModule(module)):
        owner = f"{type(test).__module__}.{type(test).__qualname__}"
        within = test.id().removeprefix(f"{file.module}.")
        if file.only and within != file.only and not within.startswith(f"{file.only}."):
            continue
        units.setdefault(file.module if together else owner, []).append(test)
    return units


def _flat(suite: Iterable) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _flat(test)
        else:
            yield test
