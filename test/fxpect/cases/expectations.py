"""The strict table of expected failures of a backend: what fails, why, and on which torch.

    ["AcmeTests.test_softmax"]
    reason = "no kernel for softmax"
    torch = ">=2.14"                 # optional; every torch without it
    match = "softmax"                # optional; a regular expression that the failure must hold

One table a test, or a list of tables (``[["AcmeTests.test_softmax"]]``) whose torch ranges do not meet. A
test that is listed and passes is a failure; so is one that fails in another way, and an entry for no test.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import tomllib
from pathlib import Path
from typing import Any

import torch
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from fxpect.errors import FixtureError

_KEYS = ("reason", "torch", "match")


@dataclasses.dataclass(frozen=True)
class Expectation:
    """One expected failure: of which test, why, on which torch, and what its message must hold."""

    test: str
    reason: str
    torch: str = ""
    match: str = ""
    path: str = ""

    def applies(self, version: str) -> bool:
        """Say whether the failure is expected on this torch; a nightly build counts as the release."""
        return not self.torch or SpecifierSet(self.torch).contains(Version(version).base_version)

    def fits(self, error: BaseException) -> bool:
        """Say whether an exception is the expected one."""
        return not self.match or re.search(self.match, f"{type(error).__name__}: {error}") is not None

    def __str__(self) -> str:
        where = f" on torch {self.torch}" if self.torch else ""
        return f"{self.test} is expected to fail{where}: {self.reason} ({self.path})"


class Expectations:
    """The table of one file, read once."""

    def __init__(self, entries: tuple[Expectation, ...]):
        self.entries = entries

    @classmethod
    def read(cls, path: Path) -> Expectations:
        """Read a table; raises ``FixtureError`` for what is not understood."""
        return _read(path.resolve(), path.stat().st_mtime_ns)

    def of(self, test: str, version: str | None = None) -> Expectation | None:
        """Return the failure that is expected of a test (``"Class.method"``) on this torch, or None."""
        version = str(torch.__version__) if version is None else version
        found = [entry for entry in self.entries if entry.test == test and entry.applies(version)]
        if len(found) > 1:
            raise FixtureError(f"expected one entry of {test} for torch {version}; got {len(found)}", found[0].path)
        return found[0] if found else None

    def check_names(self, owner: str, methods: set[str]) -> None:
        """Raise ``FixtureError`` for an entry of the class ``owner`` that names none of its tests."""
        for entry in self.entries:
            name, _, method = entry.test.rpartition(".")
            if name == owner and method not in methods:
                raise FixtureError(f"expected a test of {owner}; got {entry.test!r}, which is none", entry.path)


@functools.lru_cache(maxsize=32)
def _read(path: Path, _: int) -> Expectations:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FixtureError(str(error), path) from None
    return Expectations(
        tuple(
            _entry(path, test, given)
            for test, value in table.items()
            for given in (value if isinstance(value, list) else [value])
        )
    )


def _entry(path: Path, test: str, given: Any) -> Expectation:
    if not isinstance(given, dict) or not re.fullmatch(r"\w+\.\w+", test):
        raise FixtureError(f'expected tables such as ["Class.test_method"]; got {test!r} = {given!r}', path)
    unknown = [key for key in given if key not in _KEYS]
    if unknown or not all(isinstance(value, str) for value in given.values()):
        raise FixtureError(f"{test}: expected the strings {', '.join(_KEYS)}; got {given!r}", path)
    if not given.get("reason", "").strip():
        raise FixtureError(f"{test}: expected a reason", path)
    try:
        SpecifierSet(given.get("torch", ""))
        re.compile(given.get("match", ""))
    except (InvalidSpecifier, re.error) as error:
        raise FixtureError(f"{test}: {error}", path) from None
    return Expectation(test, path=str(path), **given)
