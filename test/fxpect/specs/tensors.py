"""The description of one input tensor, from which the tensor itself is made."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import torch

from fxpect.errors import SpecError
from fxpect.specs.dims import Dim, default_sizes
from fxpect.specs.layouts import check_layout, lay_out, overlaps, stored_shape
from fxpect.specs.values import check_kind, default_kind, make_values

DTYPES = {"f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16,
          "i64": torch.int64, "i32": torch.int32, "i16": torch.int16, "i8": torch.int8, "u8": torch.uint8,
          "b8": torch.bool, "c64": torch.complex64, "c128": torch.complex128}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_DEFAULTS = {"values": None, "layout": None, "requires_grad": False, "seed": None}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class TensorSpec:
    """A tensor to be: its shape, dtype, layout, kind of values, and whether it requires grad.

    Made with ``T(...)``. Two specs are equal when their ``repr`` is, which ``parse_spec`` reads back.
    ``shape`` holds ints and ``Dim``s; ``layout`` and ``values`` are None for the plain ones; ``seed``
    pins the values whatever seed the caller of ``example`` gives.
    """

    shape: tuple[int | Dim, ...]
    dtype: torch.dtype = torch.float32
    layout: str | tuple[int, ...] | None = None
    values: Any = None
    requires_grad: bool = False
    seed: int | None = None

    def __post_init__(self):
        set_field = object.__setattr__
        set_field(self, "shape", tuple(_size(size) for size in self.shape))
        set_field(self, "dtype", dtype_of(self.dtype))
        set_field(self, "layout", check_layout(self.layout, self.shape))
        set_field(self, "values", check_kind(self.values, self.dtype, self.shape))
        if isinstance(self.values, tuple) and overlaps(self.layout, self.shape):
            raise SpecError(f"layout {self.layout!r} puts elements in one place; it cannot hold a list")
        if self.requires_grad not in (True, False):
            raise SpecError(f"expected requires_grad to be True or False; got {self.requires_grad!r}")
        if self.requires_grad and not (self.dtype.is_floating_point or self.dtype.is_complex):
            raise SpecError(f"requires_grad needs a floating or complex dtype; got {self.dtype}")
        if self.seed is not None and (type(self.seed) is not int):
            raise SpecError(f"expected an int as seed; got {self.seed!r}")

    @property
    def dims(self) -> tuple[Dim, ...]:
        """The dynamic dims, in order."""
        return tuple(size for size in self.shape if isinstance(size, Dim))

    @property
    def is_dynamic(self) -> bool:
        """Whether any dim has a name."""
        return bool(self.dims)

    @property
    def ndim(self) -> int:
        """The number of dims."""
        return len(self.shape)

    @property
    def numel(self) -> int:
        """The number of elements; raises ``SpecError`` for a shape with named dims."""
        if self.is_dynamic:
            raise SpecError(f"{self!r} has no fixed number of elements; ask with_sizes(...).numel")
        return math.prod(self.size())

    @property
    def kind(self) -> Any:
        """The kind of values, with the default spelled out."""
        return default_kind(self.dtype) if self.values is None else self.values

    def replace(self, **changes: Any) -> TensorSpec:
        """Return a spec with these fields changed; raises ``SpecError`` where they do not fit together."""
        return dataclasses.replace(self, **changes)

    def with_sizes(self, sizes: Mapping[str, int] | None = None) -> TensorSpec:
        """Return the spec of fixed shape that these sizes give; sizes left out get their default."""
        return self.replace(shape=self.size(sizes)) if self.is_dynamic else self

    def size(self, sizes: Mapping[str, int] | None = None) -> tuple[int, ...]:
        """Return the shape in numbers; raises ``SpecError`` for a size that is negative or out of range."""
        sizes = default_sizes(self.dims, sizes) if self.is_dynamic else {}
        shape = tuple(size.size(sizes) if isinstance(size, Dim) else size for size in self.shape)
        if any(size < 0 for size in shape):
            raise SpecError(f"{self!r}: expected sizes of 0 and more; got {list(shape)} for {dict(sizes)}")
        return shape

    def example(self, sizes: Mapping[str, int] | None = None, *, seed: int = 0,
                device: torch.device | str = "cpu") -> torch.Tensor:
        """Return a fresh leaf tensor; equal arguments give equal bytes on every torch.

        ``sizes`` gives named dims their size; one left out gets its default, which two specs that
        share several names need not agree on: pass ``default_sizes`` of all of them.
        """
        shape = self.size(sizes)
        recipe = seed if self.seed is None else f"pinned {self.seed}"
        values = make_values(self.kind, self.dtype, stored_shape(self.layout, shape), recipe)
        with torch.no_grad():
            tensor = lay_out(values, self.layout, shape)
        return tensor.to(device).detach().requires_grad_(self.requires_grad)

    def to_json(self) -> str:
        """Return the spec as one line of JSON."""
        return json.dumps(repr(self))

    @staticmethod
    def from_json(text: str) -> TensorSpec:
        """Read a spec back from ``to_json``; raises ``SpecError`` for anything else."""
        from fxpect.specs.reading import parse_spec

        spec = parse_spec(json.loads(text))
        if not isinstance(spec, TensorSpec):
            raise SpecError(f"expected the JSON of a tensor spec; got {text}")
        return spec

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TensorSpec) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        shape = ", ".join(str(size) for size in self.shape)
        extras = [f"{name}={repr(value) if type(value) is tuple and name == 'layout' else _literal(value)}"
                  for name, default in _DEFAULTS.items() if (value := getattr(self, name)) is not default]
        return f"{DTYPE_NAMES[self.dtype]}[{shape}]" + (f"({', '.join(extras)})" if extras else "")


def T(*shape: int | str | Dim, dtype: torch.dtype | str | None = None,
      layout: str | tuple[int, ...] | None = None, values: Any = None, requires_grad: bool = False,
      seed: int | None = None) -> TensorSpec:
    """Return the spec of an input tensor: ``T(2, "B", 8)`` is ``f32[2, B, 8]``.

    A shape entry is a size, the name of a dynamic dim ("B", also "2*B"), or a ``Dim`` with a range.
    ``dtype`` defaults to float32 ("f32", "float32" and ``torch.float32`` are one). ``layout`` is
    "transposed", "channels_last", "expanded" (a stride of 0), "strided", "offset", or strides.
    ``values`` is "normal" (the default of floats), "integers" (of ints; small), "halves" (exact
    arithmetic), "positive", "uniform", "zeros", "ones", "special" (nan, inf, -0.0 among others),
    "extreme", "ties", "large" (the difference of two overflows), "roots" (the product of two does),
    "close" (large, with small differences), "index:N", one number, or a nested list. Raises
    ``SpecError`` where they clash.
    """
    dtype = torch.float32 if dtype is None else dtype_of(dtype)
    return TensorSpec(tuple(map(_size, shape)), dtype, layout, values, requires_grad, seed)


def dtype_of(dtype: torch.dtype | str) -> torch.dtype:
    """Return the dtype that "f32", "float32", "torch.float32" or ``torch.float32`` means."""
    found = dtype
    if isinstance(dtype, str):
        found = DTYPES.get(dtype) or getattr(torch, dtype.removeprefix("torch."), None)
    if not isinstance(found, torch.dtype) or found not in DTYPE_NAMES:
        raise SpecError(f"expected a dtype among {', '.join(DTYPES)}; got {dtype!r}")
    return found


def _size(size: Any) -> int | Dim:
    if isinstance(size, Dim):
        return size
    if isinstance(size, str):
        return Dim(size)
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise SpecError(f"expected a size of 0 or more, or the name of a dynamic dim; got {size!r}")
    return int(size)


def _literal(value: Any) -> str:
    """Return the values as Python: lists as lists, complex numbers by their two parts."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, complex):
        return f"complex({value.real!r}, {value.imag!r})"
    return f'"{value}"' if isinstance(value, str) else repr(value)
