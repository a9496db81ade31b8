"""The strategy ``inputs``: few choices, never elements, and a plain counter-example."""

from __future__ import annotations

import unittest

import torch
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from fxpect.specs import Dim, Same, T
from fxpect.strategies.inputs import DrawnInputs, inputs

QUICK = settings(max_examples=200, database=None, deadline=None, derandomize=True, phases=[Phase.generate],
                 suppress_health_check=list(HealthCheck))


def drawn(strategy: st.SearchStrategy) -> list[DrawnInputs]:
    """Return what 200 draws give, the same in each run."""
    found: list[DrawnInputs] = []
    QUICK(given(strategy)(lambda values: found.append(values)))()
    return found


def plain(values: DrawnInputs) -> list:
    """Return the specs of ``values`` without their seeds."""
    return [spec.replace(seed=None) for spec in values.specs]


class InputsTests(unittest.TestCase):

    def test_tensors_have_what_their_specs_say(self):
        """Each draw is real tensors, and the specs beside them make the very same tensors again."""
        for values in drawn(inputs(T("B", 3), [T("B", dtype="i64")], dtypes=["f16"])):
            (x, (i,)), (x_spec, (i_spec,)) = values, values.specs
            self.assertTrue(torch.equal(x_spec.example(), x) and torch.equal(i_spec.example(), i))
            self.assertEqual((x_spec.example().stride(), x.shape[0]), (x.stride(), i.shape[0]))

    def test_named_dims_take_every_kind_of_size(self):
        """0, 1, primes and the limits of the range come up; sizes outside it and derived ones never break."""
        sizes = {values[0].shape[0] for values in drawn(inputs(T("B"), T("2*B")))}
        self.assertLessEqual({0, 1, 2, 3, 7, 17}, sizes)
        self.assertEqual({values[0].shape[0] for values in drawn(inputs(T(Dim("B", 3, 6))))}, {3, 4, 5, 6})
        self.assertTrue(all(y.shape[0] == x.shape[0] - 1 for x, y in drawn(inputs(T("B"), T("B-1")))))

    def test_what_a_spec_pins_stays(self):
        """Pinned values, layout and seed are kept; dtypes vary only when asked; fixed sizes never."""
        pinned = T(2, 3, layout="transposed", values="halves", seed=5)
        self.assertEqual({values.specs[0] for values in drawn(inputs(pinned))}, {pinned})
        self.assertEqual({(v[0].dtype, tuple(v[0].shape)) for v in drawn(inputs(T(2, 3)))},
                         {(torch.float32, (2, 3))})
        self.assertEqual({v[0].dtype for v in drawn(inputs(T(2), dtypes=["f64", "i64"]))},
                         {torch.float32, torch.float64, torch.int64})
        unlaid = drawn(inputs(T(2, 3), layouts=False, values=False))
        self.assertEqual({(v.specs[0].layout, v.specs[0].values) for v in unlaid}, {(None, None)})

    def test_layouts_and_values_vary(self):
        """Every layout and every kind that fits comes up; nan and infinity only when asked."""
        any_of = drawn(inputs(T(2, 3)))
        self.assertEqual({v.specs[0].layout for v in any_of},
                         {None, "transposed", "expanded", "strided", "offset"})
        self.assertLessEqual({None, "integers", "halves", "ones", "zeros", "ties"},
                             {v.specs[0].values for v in any_of})
        self.assertTrue(all(v[0].isfinite().all() for v in any_of))
        self.assertFalse(all(v[0].isfinite().all() for v in drawn(inputs(T(2, 3), special=True))))

    def test_constants_nesting_and_aliases_stay(self):
        """What is no tensor spec passes through; nesting is kept; Same is the very tensor."""
        tensor = torch.ones(2)
        for a, (b, c), d, e in drawn(inputs(T(2), (Same(0), 3), tensor, {"n": Dim("N")})):
            self.assertIs(a, b)
            self.assertEqual(c, 3)
            self.assertIs(d, tensor)
            self.assertIsInstance(e["n"], int)

    def test_shrinks_to_the_specs_themselves(self):
        """What fails always shrinks to the plain specs; what needs one change keeps that one alone."""
        strategy = inputs(T("B", 4), T("B", 4))
        quick = settings(database=None, deadline=None, derandomize=True)
        always = find(strategy, lambda values: True, settings=quick)
        self.assertEqual(plain(always), [T(11, 4), T(11, 4)])
        strided = find(strategy, lambda values: not values[1].is_contiguous(), settings=quick)
        self.assertEqual(plain(strided), [T(11, 4), T(11, 4, layout="transposed")])
        empty = find(strategy, lambda values: values[0].numel() == 0, settings=quick)
        self.assertEqual(plain(empty), [T(0, 4), T(0, 4)])

    def test_repr_shows_specs_not_elements(self):
        """A counter-example prints as a line."""
        self.assertEqual(repr(find(inputs(T(2)), lambda values: True)), "DrawnInputs(f32[2](seed=0),)")

    def test_a_few_choices_whatever_the_size(self):
        """The number of choices that Hypothesis makes does not grow with the elements."""
        def choices(size: int) -> int:
            counts: list[int] = []

            def body(data: st.DataObject) -> None:
                data.draw(inputs(T(size, size)))
                counts.append(len(data.conjecture_data.choices))

            QUICK(given(st.data())(body))()
            return max(counts)

        self.assertEqual(choices(64), choices(2))
        self.assertLessEqual(choices(64), 2)


if __name__ == "__main__":
    unittest.main()
