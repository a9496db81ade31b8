"""Choose the names of values: an operator's own name with an ordinal per operator, a cleaned source for an input."""

from __future__ import annotations

import functools
import keyword
import re
from collections.abc import Iterable, Iterator

_RESERVED = frozenset(keyword.kwlist) | frozenset(
    "torch operator math self abs bool complex divmod float getattr int isinstance len max min pow range round slice "
    "sum tuple list dict str opaque SymInt SymFloat SymBool Ellipsis NotImplemented".split())
_SYMBOL = re.compile(r"(s|u|zf|zuf)\d+$")
_NOT_WORD = re.compile(r"\W+")
_HELD = re.compile(r"_(?:modules|parameters|buffers)_")


class Names:
    """Hand out the names of one graph, each once.

    ``roots`` are the first words of its dotted callables, ``bases`` the words that its operators are named after.
    """

    def __init__(self, roots: Iterable[str], bases: Iterable[str]):
        self._taken = set(_RESERVED).union(roots)
        self._bases = frozenset(bases)
        self._streams: dict[str, Iterator[str]] = {}

    def reserve(self, base: str) -> str:
        """Return a name for an input: ``base``, or ``base_1`` and so on where it is taken."""
        name, number = base, 0
        while name in self._taken:
            number += 1
            name = f"{base}_{number}"
        self._taken.add(name)
        return name

    def stream(self, base: str) -> Iterator[str]:
        """Return the names of the results of one operator in turn: ``base``, ``base_1``, ``base_2`` ..."""
        found = self._streams.get(base)
        if found is None:
            found = self._streams[base] = self._names(base)
        return found

    def _names(self, base: str) -> Iterator[str]:
        if base not in self._taken:
            yield base
        number = 1
        while True:
            name = f"{base}_{number}"
            if name not in self._taken and name not in self._bases:
                yield name
            number += 1


@functools.cache
def word(text: str) -> str:
    """Return ``text`` as an identifier that is no symbol of a size and no Python keyword."""
    name = _NOT_WORD.sub("_", text) or "value"
    if name[0].isdigit():
        name = "_" + name
    return name + "_" if _SYMBOL.match(name) or keyword.iskeyword(name) else name


@functools.cache
def source_word(target: str) -> str:
    """Return an input's name without what dynamo adds: ``L_self_modules_fc_parameters_weight_`` gives ``fc_weight``."""
    name = target.lstrip("*")
    if name[:2] in ("L_", "l_") and name.endswith("_") and len(name) > 3:
        name = name[2:].rstrip("_")
        name = _HELD.sub("_", _HELD.sub("_", name))
        name = name.removeprefix("self_") or name
    return word(name or "value")
