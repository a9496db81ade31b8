"""The cases of a running test, kept for ``fxpect compare`` where the run was asked to (``fxpect run --graphs``).

As with the tally, whoever adds need not say which test it was: the runner takes what there is after every test.
Texts and values cost time, so that whoever would add them asks ``kept.wanted`` first.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from fxpect.records import CaseRun


class Kept:
    """Records of cases in the order in which they came; safe to add to from several threads."""

    def __init__(self) -> None:
        self.wanted = False
        self._cases: list[CaseRun] = []
        self._lock = threading.Lock()

    def add(self, case: CaseRun) -> None:
        """Keep one case, where cases are wanted."""
        if self.wanted:
            with self._lock:
                self._cases.append(case)

    def take(self) -> tuple[CaseRun, ...]:
        """Return what was kept since the last ``take`` and start again with nothing."""
        with self._lock:
            taken, self._cases = tuple(self._cases), []
        return taken

    @contextlib.contextmanager
    def wanting(self, wanted: bool) -> Iterator[None]:
        """Want cases for a while, or do not."""
        old, self.wanted = self.wanted, wanted
        try:
            yield
        finally:
            self.wanted = old


kept = Kept()
