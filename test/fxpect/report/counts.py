"""The tally: what a test did beside passing or failing, counted while it runs.

    from fxpect.report import tally

    tally.add("pinned")                                       # one stored case was compared
    tally.add("examples", 30)                                 # thirty generated examples were judged
    tally.add("capture drift", detail="3f9c2a7d1e two inputs")

The runner takes the tally after every test, so whoever adds need not say which test it was. Outside a
runner (pytest, ``python -m unittest``) the numbers only grow, which costs nothing.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping

from fxpect.errors import FxpectError

# Every kind there is, and how the screen names it.
KINDS = {
    "pinned": "pinned cases",
    "examples": "examples explored",
    "discarded": "examples discarded",
    "capture drift": "captures that drifted",
    "pass drift": "passes that changed",
    "known bug": "torch bugs still there",
    "fixed bug": "torch bugs that are gone",
    "proposed": "proposals written",
    "saved": "runs saved",
}


class Tally:
    """Counts by kind, each with the details that were given, as often as they were given.

    ``details`` maps a kind to {detail: how often}. Safe to add to from several threads.
    """

    def __init__(self, counts: Mapping[str, int] | None = None,
                 details: Mapping[str, Mapping[str, int]] | None = None):
        self.counts: Counter[str] = Counter(counts or {})
        self.details: dict[str, Counter[str]] = {
            kind: Counter(given) for kind, given in (details or {}).items()}
        self._lock = threading.Lock()

    def add(self, kind: str, number: int = 1, *, detail: str | None = None) -> None:
        """Count ``number`` more of ``kind``; ``detail`` names the one that a reader would look for.

        Raises FxpectError for a kind that is not in ``KINDS`` or a number below 0.
        """
        if kind not in KINDS:
            raise FxpectError(f"kind={kind!r}: expected one of {', '.join(map(repr, KINDS))}")
        if number < 0:
            raise FxpectError(f"number={number!r}: a tally only grows")
        if not number:
            return
        with self._lock:
            self.counts[kind] += number
            if detail is not None:
                self.details.setdefault(kind, Counter())[detail] += number

    def take(self) -> Tally:
        """Return what was counted since the last ``take`` and start again at zero."""
        with self._lock:
            taken = Tally(self.counts, self.details)
            self.counts.clear()
            self.details.clear()
        return taken

    def __getitem__(self, kind: str) -> int:
        return self.counts[kind]

    def to_dict(self) -> dict:
        """Return plain dicts, sorted, for JSON."""
        details = {kind: dict(sorted(given.items())) for kind, given in sorted(self.details.items())}
        return {"counts": dict(sorted(self.counts.items())), "details": details}

    @classmethod
    def from_dict(cls, data: Mapping) -> Tally:
        """Read back what ``to_dict`` returned."""
        return cls(data.get("counts"), data.get("details"))

    @classmethod
    def total(cls, tallies: Iterable[Tally]) -> Tally:
        """Return the sum of ``tallies``."""
        whole = cls()
        for one in tallies:
            whole.counts.update(one.counts)
            for kind, given in one.details.items():
                whole.details.setdefault(kind, Counter()).update(given)
        return whole


tally = Tally()
