"""Whose stored files are: the test of each path is looked for in the source of its file; nothing is imported."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from fxpect.errors import FixtureError, FxpectError
from fxpect.fixtures.paths import FIXTURES_VARIABLE, place_of, test_of
from fxpect.loading import find
from fxpect.pages.defined import Classes, read_source

OWNED, STALE, UNKNOWN, UNREAD = "owned", "stale", "unknown", "unread"
_TEST_FOLDERS = ("test", "tests")


@dataclasses.dataclass(frozen=True)
class Owner:
    """What is known of the test of a stored file.

    ``state`` is "owned" (the test is there), "stale" (it is not), "unknown" (its file may make it while it is
    loaded), or "unread" (its file cannot be read). ``file`` is where the test is, or would be; ``message`` says why.
    """

    path: str
    state: str
    file: Path
    message: str = ""

    @property
    def test(self) -> str:
        """Return the test's name as the stored file has it."""
        return test_of(self.path)


class Owners:
    """The tests of the project that a fixtures folder belongs to: ``test`` and ``tests`` beside it, and files there.

    Where ``FXPECT_FIXTURES`` names a folder that has no tests beside it, the project is the current folder. ``seen``
    are the only folders and files that may be looked at, where a caller names some.
    """

    def __init__(self, root: Path, seen: Sequence[str] = ()):
        beside = any((root.parent / name).is_dir() for name in _TEST_FOLDERS)
        named = os.environ.get(FIXTURES_VARIABLE, "")
        self.base = Path.cwd() if named and Path(named).absolute() == root and not beside else root.parent
        self.folders = [self.base / name for name in _TEST_FOLDERS if (self.base / name).is_dir()]
        self.seen = {word: Path(word).resolve() for word in seen}
        missing = [word for word, path in self.seen.items() if not path.exists()]
        if missing:
            raise FxpectError(f"expected a folder or a file of tests; got {missing[0]!r}")
        self._read: dict[Path, Classes | str | None] = {}

    def files(self) -> list[Path]:
        """Return all test files of the project, sorted."""
        beside = [path for path in self.base.glob("test*.py") if path.is_file()]
        below = find([str(folder) for folder in self.folders]) if self.folders else []
        return sorted({*beside, *(Path(file.path) for file in below)})

    def unread(self) -> list[tuple[Path, str]]:
        """Return each test file that cannot be read, with the reason."""
        read = ((path, self._classes(path)) for path in self.files())
        return [(path, classes) for path, classes in read if isinstance(classes, str)]

    def tests(self) -> Iterator[str]:
        """Yield where each test that the sources show would be stored, below the fixtures folder."""
        for path in self.files():
            classes = self._classes(path)
            if isinstance(classes, Classes):
                for node in classes.cases():
                    for method in classes.methods(node):
                        yield place_of(path, node.name, method.name).path

    def owner(self, path: str) -> Owner:
        """Return what is known of the test of one stored file; raises ``FixtureError`` for a path of no test.

        Raises ``FxpectError`` where the test is outside of what may be seen, or where there are no tests at all.
        """
        test_of(path)
        name = str(PurePosixPath(path).parent) + ".py"
        tops = [*self.folders, *([] if PurePosixPath(name).parts[0] in _TEST_FOLDERS else [self.base])]
        places = [top / name for top in tops] or [self.base / name]
        file = next((place for place in places if self._classes(place) is not None), places[0])
        if self.seen and not any(file.resolve().is_relative_to(seen) for seen in self.seen.values()):
            raise FxpectError(f"expected the whole suite; got {', '.join(self.seen)}, without {self.shown(file)}, "
                              f"for which {ascii(path)} is stored\n  leave the names out, or name all folders of tests")
        owner, _, method = PurePosixPath(path).stem.rpartition(".")
        classes = self._classes(file)
        if classes is None:
            if not self.files():
                raise FxpectError(f"expected the tests of the stored files in {self.base}; got none\n"
                                  "  cd to the checkout that has both")
            return Owner(path, STALE, file, f"there is no {self.shown(file)}")
        if isinstance(classes, str):
            return Owner(path, UNREAD, file, f"{self.shown(file)} cannot be read: {classes}")
        has = classes.has(owner, method)
        if has is None:
            return Owner(path, UNKNOWN, file, f"{self.shown(file)} may add {owner}.{method} while it is loaded")
        return Owner(path, OWNED, file) if has else Owner(
            path, STALE, file, f"{self.shown(file)} has no {owner}.{method}")

    def shown(self, file: Path) -> str:
        """Return a test file's path as it is printed: from the project's folder."""
        return printable(file.relative_to(self.base).as_posix() if file.is_relative_to(self.base) else str(file))

    def _classes(self, file: Path) -> Classes | str | None:
        """Return what a file defines, why that cannot be read, or None where there is no such file."""
        if file not in self._read:
            try:
                os.lstat(file)
                self._read[file] = Classes(read_source(file)[0])
            except (FileNotFoundError, NotADirectoryError):
                self._read[file] = None
            except (OSError, ValueError, FxpectError) as error:
                self._read[file] = str(error)
        return self._read[file]


def owners_of(owners: Owners, paths: Sequence[str]) -> tuple[list[Owner], list[tuple[str, str]]]:
    """Return the owner of each stored file, and for a path that is that of no test the path and the reason."""
    found, nameless = [], []
    for path in paths:
        try:
            found.append(owners.owner(path))
        except FixtureError as error:
            nameless.append((path, str(error)))
    return found, nameless


def unknown_lines(found: Sequence[Owner]) -> list[str]:
    """Return a line for each class whose tests the source does not show, with how many files it may own."""
    counts: dict[str, int] = {}
    for one in found:
        if one.state == UNKNOWN:
            name = one.test.rpartition(".")[0]
            counts[name] = counts.get(name, 0) + 1
    return [f"{printable(name)}: {count} stored files; its tests may be added while its file is loaded, so none is "
            "called stale" for name, count in counts.items()]


def printable(text: str) -> str:
    """Return a text on one line that every terminal can print: whatever is not printable is escaped."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
