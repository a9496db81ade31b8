"""``run_tests``: the entry of a test file that is run as a script."""

from __future__ import annotations

import os
import sys
import unittest
from collections.abc import Sequence
from typing import Any

from fxpect.errors import FxpectError, RefusedError
from fxpect.fixtures.switches import ACCEPT_VARIABLE, accept_requested, refuse_in_ci

OK, FAILURES, USAGE, NOTHING_RAN = 0, 1, 2, 5
REFUSED = 3
INTERRUPTED = 130


def run_tests(argv: Sequence[str] | None = None, *, module: Any = "__main__", exit: bool = True) -> int:
    """Run the tests of the calling file and end the process with 0 ok, 1 failures, 2 usage or 5 nothing ran.

    The arguments are those of ``unittest``, and ``--accept``, which accepts every expected text that the run
    proposes (3: refused in CI). With ``exit=False`` the code is returned.
    """
    arguments = list(sys.argv if argv is None else argv)
    code = _run(arguments, module)
    if exit:
        sys.exit(code)
    return code


def _run(arguments: list[str], module: Any) -> int:
    accept = "--accept" in arguments
    arguments = [argument for argument in arguments if argument != "--accept"]
    old = os.environ.get(ACCEPT_VARIABLE)
    try:
        if accept or accept_requested():
            refuse_in_ci("--accept" if accept else ACCEPT_VARIABLE)
        if accept:
            os.environ[ACCEPT_VARIABLE] = "1"
        return _run_unittest(arguments, module)
    except RefusedError as error:
        print(error, file=sys.stderr)
        return REFUSED
    except FxpectError as error:
        print(error, file=sys.stderr)
        return USAGE
    finally:
        if accept:
            os.environ.pop(ACCEPT_VARIABLE, None)
            if old is not None:
                os.environ[ACCEPT_VARIABLE] = old


class _Program(unittest.TestProgram):
    """unittest's own program, which says whether a name on the command line is none."""

    def createTests(self, *args: Any, **kwargs: Any) -> None:
        super().createTests(*args, **kwargs)
        names = getattr(self, "testNames", None) or ()
        unknown = [name for name in names if not self._stands_for_tests(name)]
        if unknown:
            raise FxpectError(f"expected names of tests such as Class.test_method; got {', '.join(unknown)}")

    def _stands_for_tests(self, name: str) -> bool:
        loader = unittest.TestLoader()
        loader.loadTestsFromName(name, self.module)
        return not loader.errors


def _run_unittest(arguments: list[str], module: Any) -> int:
    try:
        # A loader of its own: unittest leaves the patterns of -k in the one that the whole process shares.
        program = _Program(module=module, argv=arguments, exit=False, testLoader=unittest.TestLoader())
    except SystemExit as stop:  # --help, and arguments that unittest does not know
        return stop.code if isinstance(stop.code, int) else USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    result = program.result
    if not result.wasSuccessful():
        return FAILURES
    return OK if result.testsRun > len(result.skipped) else NOTHING_RAN
