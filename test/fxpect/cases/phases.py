"""Where a verb is called from: a test of its own, a stored case of an explored test, or a fresh example."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator
from typing import Any

PLAIN, PINNED, FRESH = "plain", "pinned", "fresh"


@dataclasses.dataclass
class Phase:
    """What a verb must know of the exploration around it, and what it leaves there.

    ``given`` is the text of what was drawn, where that is no example (``givens.py``), ``of`` the key of the
    example otherwise, ``drawn`` what ``inputs`` gave. ``compared`` holds the keys of the stored cases that
    verbs compared; ``judged`` and ``discarded`` count verbs of the phase; ``fired`` counts those whose pass
    changed the graph, ``open`` those that leave it open whether it does; ``held`` collects the cases that
    fresh examples came to.
    """

    name: str = PLAIN
    given: str = ""
    of: str = ""
    drawn: tuple[Any, ...] = ()
    compared: set[str] = dataclasses.field(default_factory=set)
    judged: int = 0
    fired: int = 0
    open: int = 0
    discarded: dict[str, int] = dataclasses.field(default_factory=dict)
    held: list[Any] | None = None

    def as_specs(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the specs of inputs that were drawn whole, so that they can be written down; else the inputs."""
        for one in self.drawn:
            if len(one) == len(inputs) and all(given is value for given, value in zip(inputs, one, strict=True)):
                return tuple(one.specs)
        return inputs

    @property
    def fresh(self) -> bool:
        """Whether the example was generated: then a finding is reported after it was made small."""
        return self.name == FRESH


class Discard(Exception):
    """Ends a fresh example that cannot judge any pass."""


_current: contextvars.ContextVar[Phase | None] = contextvars.ContextVar("fxpect_phase", default=None)


def current() -> Phase:
    """Return the phase that a verb is called in."""
    return _current.get() or Phase()


@contextlib.contextmanager
def phase(one: Phase) -> Iterator[Phase]:
    """Make ``one`` the current phase for a while."""
    token = _current.set(one)
    try:
        yield one
    finally:
        _current.reset(token)
