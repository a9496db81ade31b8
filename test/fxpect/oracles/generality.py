"""Oracle: the graph after the pass is right at every size, not only at the one it was captured with."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any

import torch

from fxpect.errors import CheckFailure, SpecError
from fxpect.examples import Example
from fxpect.oracles.effects import find_effects
from fxpect.oracles.evidence import ERROR, Evidence, raise_first, severity_of
from fxpect.oracles.metadata import find_metadata
from fxpect.oracles.numerics import find_numerics
from fxpect.oracles.shapes import fits_symbols
from fxpect.oracles.structure import find_disagreement
from fxpect.specs import Dim, TensorSpec
from fxpect.specs.dims import ranges

# Tried where the range allows: the sizes that torch itself treats apart, small ones, and a larger odd one.
SIZES = (0, 1, 2, 3, 4, 7, 13)
AT_MOST = 12
AT_SIZE = "generality:at-size:"
_SYMBOLIC = (torch.SymInt, torch.SymFloat, torch.SymBool)


def check_generality(evidence: Evidence, example: Example, learned: tuple[str, str] | None = None) -> None:
    """Raise when the graph is right only at the sizes it was captured with.

    No raw symbolic number among the arguments; nothing ``learned`` of the sizes while the pass ran (kind and
    words, from ``shapes.Assumptions``); the same outputs, effects and metadata at other sizes of every named
    dim. Sizes that the graph before does not take are left out. Misses: sizes that are not tried (``SIZES``,
    a dozen at most).
    """
    raise_first(find_raw_symbols(evidence))
    raise_first(find_generality(evidence, example, learned))


def find_generality(
    evidence: Evidence,
    example: Example,
    learned: tuple[str, str] | None = None,
    known: Container[str | None] = (),
) -> Iterator[CheckFailure]:
    """Yield what ties the graph to some sizes: new assumptions, then failures at other sizes.

    Failures whose cause is among ``known`` ones, met at the first size already, are left out.
    """
    if learned:
        yield evidence.failure(
            "generality",
            f"new-{learned[0]}",
            f"expected a pass that assumes nothing new of the sizes; got {learned[1]}",
        )
    met: set[str] = set()
    for sizes in other_sizes(example):
        for failure in _at(evidence, example, sizes):
            cause = failure.cause or ""
            if cause not in met and cause.removeprefix(AT_SIZE) not in known:
                met.add(cause)
                yield failure


def find_raw_symbols(evidence: Evidence) -> Iterator[CheckFailure]:
    """Yield the nodes that hold a symbolic number itself where the node that computes it belongs."""
    found = [(node, symbol) for node in evidence.after.graph.nodes for symbol in _raw((node.args, node.kwargs))]
    if not found or any(_raw((node.args, node.kwargs)) for node in evidence.before.graph.nodes):
        return
    for node, symbol in dict(reversed(found)).items():
        yield evidence.failure(
            "generality",
            "raw-symbol",
            f"expected sizes to be nodes or integers; got {type(symbol).__name__} {symbol} among the arguments",
            node=node.name,
        )


def _raw(value: Any) -> list[Any]:
    """Return the symbolic numbers inside an argument; one that is true or false is not asked which."""
    if isinstance(value, (tuple, list)):
        return [symbol for item in value for symbol in _raw(item)] if value else []
    if isinstance(value, dict):
        return [symbol for item in value.values() for symbol in _raw(item)] if value else []
    if isinstance(value, slice):
        return _raw((value.start, value.stop, value.step))
    return [value] if isinstance(value, _SYMBOLIC) else []


def other_sizes(example: Example) -> Iterator[dict[str, int]]:
    """Yield sizes for the named dims, all that the specs allow: one dim at a time, then all at once."""
    dims = ranges(dim for spec in example.inputs for dim in _dims(spec))
    allowed = {
        name: [size for size in (*SIZES, dim.max) if size is not None and dim.allows(size)]
        for name, dim in dims.items()
    }
    alone = [{**example.sizes, name: size} for name, sizes in allowed.items() for size in sizes]
    together = (
        [
            {name: sizes[min(i, len(sizes) - 1)] for name, sizes in allowed.items()}
            for i in range(max(map(len, allowed.values()), default=0))
        ]
        if len(allowed) > 1
        else []
    )
    tried = [dict(example.sizes)]
    for sizes in (*together, *alone):
        if sizes not in tried and len(tried) <= AT_MOST:
            tried.append(sizes)
            yield sizes


def _dims(spec: Any) -> Iterable[Dim]:
    if isinstance(spec, TensorSpec):
        return spec.dims
    return (spec,) if isinstance(spec, Dim) else ()


_FINDERS: tuple[Callable[[Evidence], Iterator[CheckFailure]], ...] = (
    find_disagreement,
    find_numerics,
    find_effects,
    find_metadata,
)


def _at(evidence: Evidence, example: Example, sizes: dict[str, int]) -> Iterator[CheckFailure]:
    """Yield what fails at these sizes; nothing where the graph before the pass does not run at them."""
    try:
        args = example.realize(sizes=sizes, seed=evidence.seed)
    except SpecError:
        return
    allowed = example.exported.range_constraints if example.exported is not None else None
    if not fits_symbols(evidence.before, args, evidence.meta_key, allowed):
        return
    there = evidence.at(args)
    if there.expected.error is not None:
        return
    where = ", ".join(f"{name}={size}" for name, size in sizes.items())
    for find in _FINDERS:
        for failure in find(there):
            if severity_of(failure) == ERROR:
                cause = AT_SIZE.partition(":")[2] + (failure.cause or "")
                yield evidence.failure("generality", cause, f"at {where}: {failure.message}", node=failure.node)
        if there.actual.error is not None:
            return
