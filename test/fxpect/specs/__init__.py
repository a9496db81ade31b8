"""What a model is given: specs from which tensors, dynamic shapes and strategies come."""

from __future__ import annotations

from fxpect.specs.aliases import Same, View
from fxpect.specs.dims import Dim, default_sizes, ranges
from fxpect.specs.layouts import LAYOUTS
from fxpect.specs.reading import parse_spec, spec_of
from fxpect.specs.realizing import realize
from fxpect.specs.tensors import DTYPE_NAMES, DTYPES, T, TensorSpec, dtype_of
from fxpect.specs.values import KINDS

__all__ = ["DTYPES", "DTYPE_NAMES", "Dim", "KINDS", "LAYOUTS", "Same", "T", "TensorSpec", "View",
           "default_sizes", "dtype_of", "parse_spec", "ranges", "realize", "spec_of"]
