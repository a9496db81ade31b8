"""Planted bugs: a correct pass with a few words of its source changed, and what must find it."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import linecache
import sys
from collections.abc import Callable
from typing import Any

from test.quality.correct_passes import CORRECT


@dataclasses.dataclass(frozen=True, eq=False)
class Planted:
    """One bug: ``changes`` replaces words in the source of the correct pass ``base``, each met exactly once.

    ``oracle`` is the one that must report it, ``directions`` those of ``near`` of which each alone leads there, or
    several of them together ("dtypes + input_values"); none where the innocent model itself shows it. ``only`` names
    what nothing else can stand in for: an oracle without which the bug is not found, or a direction. ``helper`` is the
    function of the same module whose source is changed, where that is not the pass itself. ``model`` and ``inputs``
    replace those of the pass. ``within`` is how many examples are enough in its directions. ``outside`` says that only
    graphs show it that the stage never meets.
    """

    name: str
    base: str
    changes: tuple[tuple[str, str], ...]
    oracle: str
    directions: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    helper: str = ""
    model: Any = None
    inputs: tuple[Any, ...] = ()
    within: int = 40
    outside: bool = False

    @functools.cached_property
    def function(self) -> Callable[..., Any]:
        """The pass with the bug in it."""
        correct = CORRECT[self.base].function
        module = sys.modules[correct.__module__]
        namespace = dict(vars(module))
        names = list(dict.fromkeys((self.helper or self.base, self.base)))
        sources = {name: inspect.getsource(getattr(module, name)) for name in names}
        for old, new in self.changes:
            count = sum(source.count(old) for source in sources.values())
            if count != 1:
                raise ValueError(f"{self.name}: expected {old!r} once in {' and '.join(names)}; got it {count} times")
            sources = {name: source.replace(old, new) for name, source in sources.items()}
        for name, source in sources.items():
            file = f"<{self.name}: {name}>"
            linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
            exec(compile(source, file, "exec", dont_inherit=False), namespace)
        return namespace[self.base]

    @property
    def capture(self) -> str:
        """The graph that the pass is given."""
        return CORRECT[self.base].capture

    @property
    def start(self) -> tuple[Any, tuple[Any, ...]]:
        """The innocent model and its inputs."""
        return (self.model, self.inputs) if self.model is not None else CORRECT[self.base].models[0]
