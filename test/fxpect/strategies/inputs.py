"""Strategy: inputs for one fixed model, drawn as a few choices per tensor and never element by element."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

import hypothesis
import torch
from hypothesis import strategies as st
from torch.utils import _pytree as pytree

from fxpect.errors import SpecError
from fxpect.specs import LAYOUTS, Dim, TensorSpec, default_sizes, dtype_of, ranges, realize
from fxpect.specs.realizing import dims_of

_SIZES = (2, 1, 0, 3, 4, 5, 7, 8, 16, 17)
_PLAIN_KINDS = ("normal", "integers", "halves", "positive", "ones", "zeros", "ties", "uniform")
_HARD_KINDS = ("special", "extreme")


class DrawnInputs(tuple):
    """The arguments for one call: real tensors, with the ``specs`` that make the very same ones again."""

    specs: tuple

    def __new__(cls, values: Iterable[Any], specs: Iterable[Any]) -> DrawnInputs:
        """Return the tuple of ``values``, made from ``specs``."""
        made = super().__new__(cls, values)
        made.specs = tuple(specs)
        return made

    def __repr__(self) -> str:
        return f"DrawnInputs{self.specs!r}"


def inputs(*specs: Any, dtypes: Sequence[torch.dtype | str] = (), layouts: bool = True,
           values: bool = True, special: bool = False) -> st.SearchStrategy[DrawnInputs]:
    """Return a strategy of argument tuples for a model that takes ``specs``, nested as they are.

    Named dims take legal sizes, 0, 1 and primes among them. A tensor whose spec pins no layout, no
    values or no seed gets any (``layouts=False`` and ``values=False`` keep the plain ones; nan, inf
    and the limits of the dtype come with ``special=True``), and one of ``dtypes`` where given.
    Constants, real tensors and aliases stay. Shrinks toward the specs as they are.
    """
    leaves, tree = pytree.tree_flatten(specs)
    allowed = ranges(dim for leaf in leaves for dim in dims_of(leaf))
    plain = default_sizes(dim for leaf in leaves for dim in dims_of(leaf))
    sizes = [st.sampled_from(_sizes(dim, plain[name])) for name, dim in allowed.items()]
    kinds = (*_PLAIN_KINDS, *_HARD_KINDS) if special else _PLAIN_KINDS
    options = ([dtype_of(dtype) for dtype in dtypes], LAYOUTS if layouts else (), kinds if values else ())
    variants = [st.sampled_from(_variants(leaf, *options)) for leaf in leaves if isinstance(leaf, TensorSpec)]
    seeds = st.integers(0, 2 ** 16)

    @st.composite
    def draw_inputs(draw: st.DrawFn) -> DrawnInputs:
        chosen = {name: draw(size) for name, size in zip(allowed, sizes, strict=True)}
        drawn = iter([draw(variant) for variant in variants])
        seed = draw(seeds)
        try:
            fixed = [_fix(next(drawn), chosen, 100 * seed + i) if isinstance(leaf, TensorSpec) else
                     leaf.size(chosen) if isinstance(leaf, Dim) else leaf for i, leaf in enumerate(leaves)]
            made = realize(fixed, chosen)
        except SpecError:                   # such as B-1 where B is 0
            hypothesis.reject()
        return DrawnInputs(pytree.tree_unflatten(made, tree), pytree.tree_unflatten(fixed, tree))

    return draw_inputs()


def _fix(spec: TensorSpec, sizes: dict[str, int], seed: int) -> TensorSpec:
    return spec.replace(shape=spec.size(sizes), seed=seed if spec.seed is None else spec.seed)


def _sizes(dim: Dim, plain: int) -> list[int]:
    """Return the sizes to try, the plain one first."""
    bounds = [dim.min, dim.min + 1] + ([] if dim.max is None else [dim.max - 1, dim.max])
    return [size for size in dict.fromkeys((plain, *_SIZES, *bounds)) if size >= 0 and dim.allows(size)]


def _variants(spec: TensorSpec, dtypes: list[torch.dtype], layouts: Sequence[str],
              kinds: Sequence[str]) -> list[TensorSpec]:
    """Return ``spec`` and then what it may become: first other values, then other layouts, then dtypes."""
    found = [spec]
    for dtype in dict.fromkeys((spec.dtype, *dtypes)):
        for layout in (spec.layout, *(layouts if spec.layout is None else ())):
            for kind in (spec.values, *(kinds if spec.values is None else ())):
                grad = spec.requires_grad and (dtype.is_floating_point or dtype.is_complex)
                with contextlib.suppress(SpecError):
                    found.append(spec.replace(dtype=dtype, layout=layout, values=kind, requires_grad=grad))
    return list(dict.fromkeys(found))
