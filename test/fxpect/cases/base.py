"""The base class: what ``expecttest.TestCase`` has, and no state handed from one test to the next."""

from __future__ import annotations

import contextvars
import unittest
from collections.abc import Callable
from typing import Any

import expecttest
import torch

from fxpect.cases.checks import Checks
from fxpect.cases.phases import current
from fxpect.cases.state import Randomness, Snapshot, pin_configuration, reset_dynamo, seed_everything
from fxpect.cases.switches import accepting
from fxpect.errors import CheckFailure


class TestCase(Checks, expecttest.TestCase):
    """A test of its own: every one starts from the same state of torch, and what it changes is put back.

        run
            configuration pinned, dynamo reset, generators seeded
            setUp, the test, tearDown, clean-ups     (yours)
            what leaked, named: a failure
            everything put back

    Pinned: ``nested_graph_breaks=True``, ``suppress_errors=False``, the caches of compiled graphs off,
    ``canonicalize_output_graph_node_order=False`` where torch has it, and one thread, which gives the same sums
    on every machine. Put back: grad mode, random generators, default dtype and device, deterministic mode,
    threads, autocast, modes left on a stack, and the configuration of dynamo, Inductor and AOT autograd. Random
    numbers may be drawn; any other change that is left is a failure.
    """

    maxDiff = None
    seed = 0

    def run(self, result: unittest.TestResult | None = None) -> unittest.TestResult | None:
        """Run the test in a state of its own."""
        return self._isolated(lambda: super(TestCase, self).run(result))

    def debug(self) -> None:
        """Run the test in a state of its own, without collecting a result."""
        self._isolated(super().debug)

    def assertExpectedInline(self, actual: str, expect: str, skip: int = 0) -> None:
        """Fail unless ``actual`` is the string in the source, as expecttest does; refused in CI to accept."""
        with accepting(allowed=not current().fresh):
            super().assertExpectedInline(actual, expect, skip + 1)

    def _isolated(self, run: Callable[[], Any]) -> Any:
        before, randomness = Snapshot(), Randomness()
        try:
            # What is set in the configuration inside a copy of the context is gone with it.
            return contextvars.copy_context().run(self._pinned, run)
        finally:
            randomness.restore()
            before.restore()
            reset_dynamo()

    def _pinned(self, run: Callable[[], Any]) -> Any:
        pin_configuration()
        torch.set_num_threads(1)
        reset_dynamo()
        seed_everything(self.seed)
        watch = _Watch()
        self.addCleanup(watch.check)  # the first to be added is the last to run
        try:
            return run()
        finally:
            if not watch.checked:  # a skipped test never gets to its clean-ups
                self.doCleanups()


class _Watch:
    """Notices at the end of a test what differs from its start."""

    def __init__(self) -> None:
        self.snapshot = Snapshot()
        self.checked = False

    def check(self) -> None:
        self.checked = True
        raise_leaks(self.snapshot)


def raise_leaks(snapshot: Snapshot) -> None:
    """Put back what differs from ``snapshot``; raises a ``CheckFailure`` that names it."""
    leaks = snapshot.restore()
    if leaks:
        raise CheckFailure(
            "leaks",
            "expected a test that leaves the state of the process as it was; it changed\n"
            + "\n".join(f"    {leak}" for leak in leaks)
            + "\n  it was put back; in the test, use a with statement or self.addCleanup",
            cause="leaks: " + ", ".join(leak.partition(":")[0] for leak in leaks),
        )
