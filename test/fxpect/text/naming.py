"""Choose the names of values: an operator's own name with an ordinal per operator, a cleaned source for an input."""

from __future__ import annotations

import functools
import keyword
import re

_RESERVED = frozenset(keyword.kwlist) | frozenset(
    "torch operator math self abs bool complex divmod float getattr int isinstance len max min pow range round slice sum "
    "tuple list dict str opaque SymInt SymFloat SymBool Ellipsis NotImplemented".split())
_SYMBOL = re.compile(r"(s|u|zf|zuf)\d+$")
_NOT_WORD = re.compile(r"\W+")
_SOURCE_PARTS = re.compile(r"_(?:modules|parameters|buffers)_")


class Names:
    """Hand out names for one graph, each used once; ``taken`` are the roots of dotted callables in that text."""

    def __init__(self, taken: frozenset[str] = frozenset()):
        self._used: set[str] = set(taken)
        self._next: dict[str, int] = {}

    def give(self, base: str) -> str:
        """Return ``base``, or ``base_1`` and so on where it is used already."""
        used = self._used
        if base not in self._next and base not in used and base not in _RESERVED:
            self._next[base] = 1
            used.add(base)
            return base
        number = self._next.get(base, 1)
        name = f"{base}_{number}"
        while name in used:
            number += 1
            name = f"{base}_{number}"
        self._next[base] = number + 1
        used.add(name)
        return name


@functools.lru_cache(maxsize=None)
def word(text: str) -> str:
    """Return ``text`` as an identifier that is no symbol of a size and no Python keyword."""
    name = _NOT_WORD.sub("_", text) or "value"
    if name[0].isdigit():
        name = "_" + name
    return name + "_" if _SYMBOL.match(name) or name in keyword.kwlist else name


@functools.lru_cache(maxsize=None)
def source_word(target: str) -> str:
    """Return an input's name without what dynamo adds: ``L_self_modules_fc_parameters_weight_`` gives ``fc_weight``."""
    name = target.lstrip("*")
    if name[:2] in ("L_", "l_") and name.endswith("_") and len(name) > 3:
        name = name[2:].rstrip("_")
        name = _SOURCE_PARTS.sub("_", "_" + name.removeprefix("self")).strip("_") if name.startswith("self_") else name
        name = _SOURCE_PARTS.sub("_", name)
    return word(name or "value")
