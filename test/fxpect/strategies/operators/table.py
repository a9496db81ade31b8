"""The operator table, and which of its rows a capture's contract allows."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable

import torch

from fxpect.errors import FxpectError
from fxpect.strategies.draft import FUNCTIONAL_CAPTURES
from fxpect.strategies.operators import (
    indexing,
    joining,
    making,
    pointwise,
    products,
    reducing,
    shaping,
    writing,
)
from fxpect.strategies.operators.rows import Operator

# The plainest rows come first: that is where programs shrink to.
OPERATORS: tuple[Operator, ...] = (*pointwise.ROWS, *shaping.ROWS, *reducing.ROWS, *joining.ROWS, *products.ROWS,
                                   *indexing.ROWS, *making.ROWS, *writing.ROWS)
NAMES = {operator.name: operator for operator in OPERATORS}
TAGS = tuple(sorted({tag for operator in OPERATORS for tag in operator.tags}))


def select(capture: str, ops: Iterable[str] | None = None, without: Iterable[str] = ()) -> tuple[Operator, ...]:
    """Return the rows that graphs of this capture may hold and that ``ops`` names, by name or by tag.

    Raises ``FxpectError`` for a word that is neither, and where nothing is left.
    """
    wanted, refused = None if ops is None else _words(ops), _words(without)
    rows = tuple(row for row in allowed(capture) if (wanted is None or {row.name, *row.tags} & wanted)
                 and not {row.name, *row.tags} & refused)
    if not rows:
        raise FxpectError(f"programs: the capture {capture!r} has none of the operators {sorted(wanted or ())}")
    return rows


@functools.cache
def allowed(capture: str) -> tuple[Operator, ...]:
    """Return the rows that graphs of this capture hold: functional ones for ATen, decomposed ones after AOT."""
    if capture not in FUNCTIONAL_CAPTURES:
        return tuple(row for row in OPERATORS if row.function is not None)
    rows = tuple(row for row in OPERATORS if row.overload is not None)
    if capture.startswith("export"):
        return rows
    rows = tuple(row for row in rows if not _is_composite(row.overload))
    if capture == "make_fx":
        return rows
    from torch._inductor.decomposition import select_decomp_table

    decomposed = select_decomp_table()
    return tuple(row for row in rows if row.overload not in decomposed)


def _is_composite(overload: torch._ops.OpOverload) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(overload.name(), "CompositeImplicitAutograd")


def _words(words: Iterable[str]) -> set[str]:
    words = {words} if isinstance(words, str) else set(words)
    known = {*NAMES, *TAGS}
    for word in sorted(words):
        if word not in known:
            near = difflib.get_close_matches(word, known, 3)
            hint = f"; nearest: {', '.join(near)}" if near else f"; tags: {', '.join(TAGS)}"
            raise FxpectError(f"programs: no operator or tag {word!r}{hint}")
    return words
