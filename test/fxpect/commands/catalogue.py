"""``fxpect catalogue``: write pages that show each test, its claim, its stored graphs and what is related.

The tests are read, not run, and torch is not needed. The pages work from the disk; open index.html. Exit codes:
0, 1 where a test file cannot be read, 2 misuse, 6 where a stored file is corrupt.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fxpect.commands import exit_codes
from fxpect.errors import FxpectError
from fxpect.loading import find
from fxpect.pages.render import render
from fxpect.pages.suite import read_suite
from fxpect.pages.writing import write_pages

DEFAULT_OUT = Path(".fxpect", "catalogue")
DEFAULT_TESTS = "test"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fxpect catalogue``."""
    parser.add_argument("targets", nargs="*", metavar="TARGET",
                        help=f"a folder, a file, or a dotted name of tests (default: {DEFAULT_TESTS})")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, metavar="DIR",
                        help=f"where the pages go; other files there are left alone (default: {DEFAULT_OUT})")


def main(arguments: argparse.Namespace) -> int:
    """Write the pages and say what could not be read; returns the exit code."""
    targets = arguments.targets or [DEFAULT_TESTS]
    if not arguments.targets and not Path(DEFAULT_TESTS).is_dir():  # Python has a package of that name
        raise FxpectError(f"no {DEFAULT_TESTS} in {Path.cwd()}: name the tests to show, as in\n"
                          "    fxpect catalogue path/to/my/tests")
    files = find(targets)
    if not files:
        raise FxpectError(f"expected test files, such as test_x.py; got none in {', '.join(targets)}")
    suite = read_suite(files)
    pages = render(suite)
    removed = write_pages(arguments.out, pages)
    tests = [test for file in suite.files for test in file.tests]
    cases = sum(len(test.stored.cases) for test in tests if test.stored)
    print(f"files {len(suite.files)}, tests {len(tests)}, cases {cases}, pages {len(pages)}"
          f"{f', old pages removed {len(removed)}' if removed else ''}\n  open {arguments.out / 'index.html'}")
    unread = [f"{file.path}: {file.problem}" for file in suite.files if file.problem]
    corrupt = [test.problem for test in tests if test.problem]
    for problem in (*unread, *corrupt):
        print(f"cannot be read: {problem}", file=sys.stderr)
    return exit_codes.CORRUPT if corrupt else exit_codes.FAILURES if unread else exit_codes.OK
