"""Specs: one description gives the tensor, the text, the sizes; and the same bytes everywhere."""

from __future__ import annotations

import copy
import hashlib
import itertools
import math
import pickle
import unittest

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fxpect.errors import SpecError
from fxpect.specs import (
    DTYPE_NAMES,
    DTYPES,
    KINDS,
    LAYOUTS,
    Dim,
    Same,
    T,
    TensorSpec,
    View,
    default_sizes,
    dtype_of,
    parse_spec,
    ranges,
    realize,
    spec_of,
)

SHAPES = ((), (0,), (1,), (3,), (2, 2), (0, 4), (4, 0), (2, "B"), (2, 3, 4, 5), (2, 3, 1, 4, 2))
ALL_KINDS = (None, *KINDS, "index:5", 2, True, -1.5, math.nan, -math.inf, -0.0, 1j, [[1, 0], [2, 3]])
ALL_LAYOUTS = (None, *LAYOUTS, (1, 3), (0, 1), (2, 2))


def bits(tensor: torch.Tensor) -> bytes:
    """Return the elements in order, as bytes."""
    flat = tensor.detach().clone(memory_format=torch.contiguous_format).reshape(-1)
    return bytes(flat.view(torch.uint8).tolist()) if flat.numel() else b""


def every_spec():
    """Yield every spec that dtypes, layouts, kinds and shapes allow."""
    for dtype, layout, kind, shape in itertools.product(DTYPES, ALL_LAYOUTS, ALL_KINDS, SHAPES):
        try:
            yield T(*shape, dtype=dtype, layout=layout, values=kind)
        except SpecError:
            continue


@st.composite
def specs(draw: st.DrawFn) -> TensorSpec:
    """Draw any spec that can be built."""
    sizes = st.one_of(st.integers(0, 5), st.sampled_from(["B", "C", "2*B", "B+C-1", "N//2"]),
                      st.builds(Dim, st.sampled_from("DE"), min=st.integers(0, 3),
                                max=st.one_of(st.none(), st.integers(3, 9))))
    kinds = st.one_of(st.sampled_from(ALL_KINDS), st.integers(-300, 300), st.floats(), st.complex_numbers())
    shape = draw(st.lists(sizes, max_size=5))
    fields = {"dtype": draw(st.sampled_from(list(DTYPES))), "layout": draw(st.sampled_from(ALL_LAYOUTS)),
              "values": draw(kinds), "requires_grad": draw(st.booleans()),
              "seed": draw(st.one_of(st.none(), st.integers()))}
    for dropped in ((), ("values",), ("values", "layout"), ("values", "layout", "requires_grad")):
        try:
            return T(*shape, **{name: value for name, value in fields.items() if name not in dropped})
        except SpecError:
            continue
    return T(*shape)


class SpecTextTests(unittest.TestCase):

    def test_repr_is_torchs_own_notation(self):
        """A spec prints as torch prints types, with what is not plain behind it."""
        self.assertEqual(repr(T(2, "B", 8)), "f32[2, B, 8]")
        self.assertEqual(repr(T()), "f32[]")
        self.assertEqual(repr(T(Dim("B", 1, 9), "2*B + 1", dtype="i64")), "i64[B(min=1, max=9), 2*B+1]")
        self.assertEqual(repr(T(2, 8, values="special", layout="transposed", requires_grad=True, seed=3)),
                         'f32[2, 8](values="special", layout="transposed", requires_grad=True, seed=3)')
        self.assertEqual(repr(T(2, 2, values=[[1, 2], [3, 4.5]], layout=(1, 2))),
                         "f32[2, 2](values=[[1.0, 2.0], [3.0, 4.5]], layout=(1, 2))")

    def test_plain_spellings_are_one(self):
        """A default spelled out is the default; a dtype has one meaning under all its names."""
        self.assertEqual(T(3, dtype="f32", layout="contiguous", values="normal"), T(3))
        self.assertEqual(T(3, dtype=torch.int64, values="integers"), T(3, dtype="int64"))
        self.assertEqual(dtype_of("torch.bfloat16"), dtype_of("bf16"))

    @settings(max_examples=300, deadline=None)
    @given(specs())
    def test_every_spec_reads_back(self, spec: TensorSpec):
        """repr, JSON, pickle and deepcopy each give the spec back, equal and with an equal hash."""
        for again in (parse_spec(repr(spec)), TensorSpec.from_json(spec.to_json()),
                      pickle.loads(pickle.dumps(spec)), copy.deepcopy(spec)):
            self.assertEqual(again, spec)
            self.assertEqual(hash(again), hash(spec))
            self.assertEqual(repr(again), repr(spec))

    def test_signed_zero_nan_and_types_tell_specs_apart(self):
        """Fill values that compare equal but are not the same make different specs; nan equals itself."""
        self.assertNotEqual(T(2, values=0.0), T(2, values=-0.0))
        self.assertEqual(T(2, values=math.nan), T(2, values=float("nan")))
        self.assertNotEqual(T(2, dtype="i64", values=1), T(2, values=1.0))

    def test_aliases_and_dims_read_back(self):
        """Same, View and Dim have a text too."""
        for spec in (Same(3), View(0), View(1, start=2), View(1, 2, 1), Dim("B"), Dim("B", 2, 9), Dim("2*B")):
            self.assertEqual(parse_spec(repr(spec)), spec)

    def test_other_texts_are_refused(self):
        """A text that is no spec is a SpecError that shows it, and nothing in it is evaluated."""
        for text in ("", "f32", "f32[", "f33[2]", "f32[2](color=3)", "f32[2](3)", "f32[-1]", "f32[2.5]",
                     "Same(-1)", "Same(0, 1)", "f32[2](values=__import__('os'))", "f32[2](seed='x')",
                     "f32[x.y]", "__import__('os')[2]", "f32[B(min=0, step=2)]", "f32[2](values=1+1)",
                     "[" * 5000, "f32[f(2)]"):
            with self.subTest(text=text[:40]), self.assertRaises(SpecError):
                parse_spec(text)


class ConstructionTests(unittest.TestCase):

    def test_what_does_not_fit_is_refused_at_once(self):
        """A contradiction is a SpecError that names both sides."""
        cases = {
            "dtype among": lambda: T(2, dtype="float8"),
            "size of 0": lambda: T(-1),
            "size of 0 or": lambda: T(2.0),
            "size of 0 or more": lambda: T(True),
            "name or an expression": lambda: T("1+1"),
            "expression such as": lambda: T("B B"),
            "needs 2 dims or more": lambda: T(2, layout="transposed"),
            "4 or 5 dims": lambda: T(2, 3, layout="channels_last"),
            "expected 2 strides": lambda: T(2, 3, layout=(1,)),
            "fixed shape": lambda: T("B", layout=(1,)),
            "layout among": lambda: T(2, layout="sparse"),
            "floating dtype": lambda: T(2, dtype="i64", values="halves"),
            "no value of": lambda: T(2, dtype="u8", values=-1),
            "integer dtype": lambda: T(2, values="index:3"),
            "N from 1 to 128": lambda: T(2, dtype="i8", values="index:300"),
            "no meaning": lambda: T(2, dtype="b8", values="positive"),
            "values among": lambda: T(2, values="odd"),
            "of the shape": lambda: T(2, 2, values=[1, 2, 3]),
            "named dim": lambda: T("B", values=[1]),
            "cannot hold a list": lambda: T(2, layout="expanded", values=[1, 2]),
            "requires_grad needs": lambda: T(2, dtype="i64", requires_grad=True),
            "int as seed": lambda: T(2, seed=1.5),
        }
        for message, build in cases.items():
            with self.subTest(message=message), self.assertRaisesRegex(SpecError, message):
                build()

    def test_replace_checks_again(self):
        """replace returns another spec, and refuses what would not fit."""
        spec = T(2, 3, layout="transposed")
        self.assertEqual(spec.replace(shape=(4, 5)), T(4, 5, layout="transposed"))
        with self.assertRaises(SpecError):
            spec.replace(shape=(4,))

    def test_sizes_of_a_dynamic_spec(self):
        """Named dims show in dims and is_dynamic; with_sizes fixes them; numel asks for that."""
        spec = T(2, "B", "2*B")
        self.assertEqual((spec.dims, spec.is_dynamic, spec.ndim), ((Dim("B"), Dim("2*B")), True, 3))
        self.assertEqual(spec.with_sizes({"B": 4}), T(2, 4, 8))
        self.assertEqual(spec.with_sizes({"B": 4}).numel, 64)
        with self.assertRaisesRegex(SpecError, "no fixed number"):
            spec.numel  # noqa: B018
        self.assertEqual(T(2, 3).with_sizes({"B": 4}), T(2, 3))


class DimTests(unittest.TestCase):

    def test_expressions_compute(self):
        """A derived dim computes from the names it uses, and from nothing else."""
        self.assertEqual(Dim("2*B+C//2-1").size({"B": 3, "C": 5}), 7)
        self.assertEqual(Dim("2*B+C").names, ("B", "C"))
        with self.assertRaisesRegex(SpecError, "no size given for C"):
            Dim("B+C").size({"B": 3})
        with self.assertRaisesRegex(SpecError, "division by zero"):
            Dim("B//C").size({"B": 3, "C": 0})

    def test_ranges_bind(self):
        """A size outside the range is refused; so is a range without a size of 2, or on an expression."""
        with self.assertRaisesRegex(SpecError, "from 2 to 9; got 10"):
            Dim("B", 2, 9).size({"B": 10})
        for build in (lambda: Dim("B", 0, 1), lambda: Dim("B", 5, 4), lambda: Dim("2*B", 1), lambda: Dim("3"),
                      lambda: Dim("B", -1), lambda: Dim("B.c"), lambda: Dim("")):
            with self.assertRaises(SpecError):
                build()

    def test_ranges_of_one_name_meet(self):
        """The range of a name is what all its uses allow, and a contradiction is an error."""
        self.assertEqual(ranges([Dim("B", 2), Dim("2*B"), Dim("B", 0, 9)]), {"B": Dim("B", 2, 9)})
        with self.assertRaises(SpecError):
            ranges([Dim("B", 8), Dim("B", 0, 7)])

    def test_default_sizes_tell_names_apart(self):
        """Names get different sizes of 2 and more, whatever their order, within their ranges."""
        dims = [Dim(name) for name in "ABCDEFGHIJKL"]
        sizes = default_sizes(dims)
        self.assertEqual(len(set(sizes.values())), 12)
        self.assertTrue(all(size >= 2 for size in sizes.values()))
        self.assertEqual(default_sizes([Dim("B", 100, 101), Dim("C", 2, 2)]), {"B": 100, "C": 2})
        self.assertEqual(default_sizes([Dim("B")], {"B": 0}), {"B": 0})

    def test_a_dim_does_not_change(self):
        """A Dim is a value: equal, hashable, frozen."""
        self.assertEqual({Dim("B"): 1}[Dim("B")], 1)
        with self.assertRaises(AttributeError):
            Dim("B").max = 3


class ExampleTests(unittest.TestCase):

    def test_every_combination_makes_its_tensor(self):
        """Each spec makes a leaf of its dtype and shape, with the same bytes in every version and run."""
        digest, count = hashlib.sha256(), 0
        for spec in every_spec():
            made = spec.example()
            self.assertEqual((made.dtype, tuple(made.shape)), (spec.dtype, spec.size()), spec)
            self.assertTrue(made.is_leaf, spec)
            digest.update(f"{spec!r} {tuple(made.stride())} {made.storage_offset()} ".encode() + bits(made))
            count += 1
        self.assertGreater(count, 7000)
        self.assertEqual(digest.hexdigest()[:16], "0cb986b380284b67")

    def test_seeds(self):
        """Another seed gives other values; a seed in the spec pins them; the global generator stays put."""
        before = torch.get_rng_state()
        spec = T(4, 8)
        self.assertTrue(torch.equal(spec.example(seed=1), spec.example(seed=1)))
        self.assertFalse(torch.equal(spec.example(seed=1), spec.example(seed=2)))
        pinned = spec.replace(seed=7)
        self.assertTrue(torch.equal(pinned.example(seed=1), pinned.example(seed=2)))
        self.assertFalse(torch.equal(pinned.example(), spec.example(seed=7)))
        self.assertTrue(torch.equal(torch.get_rng_state(), before))

    def test_layouts_lie_as_they_say(self):
        """Each layout has its strides, holds the values of the plain one, and is found again by spec_of."""
        strides = {"transposed": (1, 4), "expanded": (0, 1), "strided": (12, 2), "offset": (6, 1),
                   (1, 9): (1, 9)}
        for layout, expected in strides.items():
            made = T(4, 6, layout=layout).example()
            self.assertEqual(made.stride(), expected)
            self.assertEqual(made.storage_offset(), 1 if layout == "offset" else 0)
            if layout != "expanded":
                self.assertTrue(torch.equal(made, T(4, 6).example()), layout)
            self.assertEqual(spec_of(made).layout, layout)
        made = T(2, 3, 4, 5, layout="channels_last").example()
        self.assertTrue(made.is_contiguous(memory_format=torch.channels_last))
        self.assertTrue(T(1, layout="expanded").example().stride() == (1,))

    def test_exact_kinds_are_exact(self):
        """Integers are small whole numbers and halves multiples of 1/2, in every dtype that holds them."""
        for dtype in ("f16", "bf16", "f32", "f64"):
            integers = T(64, dtype=dtype, values="integers").example().double()
            self.assertTrue(torch.equal(integers, integers.round()) and integers.abs().max() <= 4)
            halves = T(64, dtype=dtype, values="halves").example().double() * 2
            self.assertTrue(torch.equal(halves, halves.round()) and halves.abs().max() <= 8)
            uniform = T(4096, dtype=dtype, values="uniform").example()
            self.assertTrue(0 <= uniform.min() and uniform.max() < 1)
            self.assertGreater(T(4096, dtype=dtype, values="positive").example().min(), 0)

    def test_normal_is_near_normal(self):
        """The default values have mean 0 and variance 1, and repeat rarely."""
        values = T(20000, dtype="f64").example()
        self.assertLess(abs(values.mean().item()), 0.03)
        self.assertLess(abs(values.var().item() - 1), 0.03)
        self.assertGreater(len(values.unique()), 15000)

    def test_special_holds_one_of_each(self):
        """From four elements on, nan, both infinities and -0.0 are there, for any seed."""
        for seed in range(50):
            values = T(4, values="special").example(seed=seed)
            zero = (values == 0) & values.signbit()
            found = (values.isnan(), values == math.inf, values == -math.inf, zero)
            self.assertTrue(all(one.any() for one in found), seed)

    def test_extreme_reaches_the_limits(self):
        """Extreme values are the largest, the smallest and their neighbours."""
        for dtype in ("f16", "bf16", "f32", "f64", "i8", "i32", "i64", "u8"):
            values = T(200, dtype=dtype, values="extreme").example()
            limits = torch.finfo(values.dtype) if values.is_floating_point() else torch.iinfo(values.dtype)
            self.assertTrue((values == limits.max).any() and (values == limits.min).any(), dtype)
            self.assertGreaterEqual(len(values.unique()), 4)

    def test_big_values_are_finite_and_two_of_them_are_not(self):
        """Of "large" two differ by more than there is, of "roots" each product overflows, "close" are units apart."""
        for dtype in ("f16", "bf16", "f32", "f64"):
            large, roots, close = (T(40, dtype=dtype, values=kind).example() for kind in ("large", "roots", "close"))
            self.assertTrue(all(values.isfinite().all() for values in (large, roots, close)), dtype)
            self.assertTrue((large.max() - large.min()).isinf())
            self.assertEqual((large.abs() > 100).sum(), 2)
            self.assertTrue((roots * roots).isinf().all() and (roots < 0).any() and (roots + roots).isfinite().all())
            self.assertTrue((close > 2).all() and close.max() - close.min() <= 8)
            self.assertTrue((close + torch.finfo(close.dtype).eps == close).all())
        self.assertEqual(T(1, values="large").example().isfinite().tolist(), [True])
        with self.assertRaisesRegex(SpecError, "needs a floating dtype"):
            T(2, dtype="i64", values="large")

    def test_indices_stay_below(self):
        """index:N gives every integer below N and no other."""
        values = T(300, dtype="i64", values="index:7").example()
        self.assertEqual(values.unique().tolist(), list(range(7)))

    def test_given_values_are_kept(self):
        """A number fills the tensor; a list is the tensor, in any layout without overlap."""
        self.assertEqual(T(2, dtype="i32", values=3).example().tolist(), [3, 3])
        self.assertTrue(T(2, values=-0.0).example().signbit().all())
        for layout in (None, "transposed", "strided", "offset", (1, 5)):
            made = T(2, 2, values=[[1, 2], [3, 4]], layout=layout).example()
            self.assertEqual(made.tolist(), [[1, 2], [3, 4]])

    def test_gradients(self):
        """requires_grad gives a leaf that collects a gradient, strided or not."""
        for layout in (None, "transposed", "expanded", "strided"):
            made = T(2, 3, requires_grad=True, layout=layout).example()
            (made * 2).sum().backward()
            self.assertTrue(torch.equal(made.grad, torch.full((2, 3), 2.0)))

    def test_sizes_reach_the_tensor(self):
        """Sizes give named dims their value, 0 and 1 included; a negative size is refused."""
        self.assertEqual(tuple(T("B", "2*B").example({"B": 0}).shape), (0, 0))
        self.assertEqual(tuple(T("B", "B+1", layout="transposed").example({"B": 1}).shape), (1, 2))
        with self.assertRaisesRegex(SpecError, "from 0; got -1"):
            T("B-2").example({"B": 1})


class SpecOfTests(unittest.TestCase):

    def test_kinds_are_inferred(self):
        """A real tensor is described by its dtype, shape, layout and the narrowest kind of its values."""
        self.assertEqual(spec_of(torch.ones(2)), T(2, values="ones"))
        self.assertEqual(spec_of(torch.zeros(2, dtype=torch.bool)), T(2, dtype="b8", values="zeros"))
        self.assertEqual(spec_of(torch.tensor([0, 4])), T(2, dtype="i64", values="index:5"))
        self.assertEqual(spec_of(torch.tensor([-1, 4])), T(2, dtype="i64"))
        self.assertEqual(spec_of(torch.tensor([0.5, 4])), T(2, values="positive"))
        self.assertEqual(spec_of(torch.tensor([-2.0, 4])), T(2, values="integers"))
        self.assertEqual(spec_of(torch.tensor([-0.5, 4])), T(2))
        self.assertEqual(spec_of(torch.tensor([math.nan, 4])), T(2, values="special"))
        self.assertEqual(spec_of(torch.nn.Parameter(torch.randn(2, 3).t())),
                         T(3, 2, layout="transposed", requires_grad=True).replace(values=None))

    def test_whatever_a_spec_makes_can_be_described(self):
        """spec_of keeps dtype, shape and strides of everything that a spec can make."""
        for spec in itertools.islice(every_spec(), 0, None, 7):
            made = spec.example()
            again = spec_of(made)
            self.assertEqual((again.dtype, again.shape), (made.dtype, tuple(made.shape)))
            self.assertEqual(again.example().stride(), made.stride(), spec)

    def test_what_no_spec_describes(self):
        """A sparse tensor, an unknown dtype, and no tensor at all are refused."""
        for value in (torch.eye(2).to_sparse(), torch.zeros(2).to(torch.float8_e5m2), 3):
            with self.assertRaises(SpecError):
                spec_of(value)

    def test_names_of_dtypes_are_torchs(self):
        """The short names are those that torch prints."""
        from torch.utils._dtype_abbrs import dtype_abbrs

        for dtype, name in DTYPE_NAMES.items():
            self.assertEqual(dtype_abbrs[dtype], name)


class RealizeTests(unittest.TestCase):

    def test_aliases(self):
        """Same is the very tensor; View shares its memory from an offset on."""
        x, y, z = realize([T(4, 3), Same(0), View(0, start=1)], {})
        self.assertIs(x, y)
        z.zero_()
        self.assertTrue((x[1:] == 0).all() and (x[0] != 0).any())

    def test_inputs_differ_from_each_other(self):
        """Equal specs at different places get different values; equal calls get equal ones."""
        x, y = realize([T(8), T(8)], {})
        self.assertFalse(torch.equal(x, y))
        self.assertTrue(torch.equal(realize([T(8), T(8)], {})[1], y))

    def test_sizes_are_shared(self):
        """One name is one size, and a Dim on its own is that size as an int."""
        x, n, c = realize([T("B", 2), Dim("B"), "constant"], {"B": 5})
        self.assertEqual((tuple(x.shape), n, c), ((5, 2), 5, "constant"))

    def test_an_alias_points_backwards(self):
        """Same and View need a tensor before them, of a shape that has that part."""
        for wrong in ([Same(0)], [T(2), Same(2), T(2)], [3, Same(0)], [T(2), View(0, start=3)],
                      [T(2), View(0, dim=1)]):
            with self.assertRaises(SpecError):
                realize(wrong, {})


if __name__ == "__main__":
    unittest.main()
