"""The environment switches of the test classes, read strictly: an unknown value is an error, never a yes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from fxpect.errors import FxpectError
from fxpect.fixtures.switches import ACCEPT_VARIABLE, accept_requested, refuse_in_ci

EXAMPLES_VARIABLE = "FXPECT_EXAMPLES"
SEED_VARIABLE = "FXPECT_SEED"
HARVEST_VARIABLE = "FXPECT_HARVEST"


def number(variable: str, default: int, least: int = 0) -> int:
    """Return the whole number in an environment variable; raises ``FxpectError`` for anything else."""
    value = os.environ.get(variable, "").strip()
    if not value:
        return default
    if not value.isdecimal() or int(value) < least:
        raise FxpectError(f"expected {variable} to be a whole number of {least} or more; got {value!r}")
    return int(value)


@contextlib.contextmanager
def accepting(*, allowed: bool) -> Iterator[bool]:
    """Let expecttest see ``EXPECTTEST_ACCEPT`` only where it says yes, and never for a generated example.

    Gives whether it does. expecttest takes any non-empty value for a yes, "0" included. Raises
    ``RefusedError`` for a yes in CI.
    """
    wanted = accept_requested() and allowed
    if wanted:
        refuse_in_ci("EXPECTTEST_ACCEPT")
    value = os.environ.pop(ACCEPT_VARIABLE, None)
    try:
        if wanted and value is not None:
            os.environ[ACCEPT_VARIABLE] = value
        yield wanted
    finally:
        if value is not None:
            os.environ[ACCEPT_VARIABLE] = value
