"""Values as text and back, as a stored case holds them."""

import math
import unittest

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fxpect import Dim, Same, T
from fxpect.cases.givens import read_value, value_text
from fxpect.errors import FxpectError
from fxpect.specs import View

PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8))
NESTED = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.tuples(inner, inner), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


class GivenTests(unittest.TestCase):
    @settings(deadline=None, derandomize=True, database=None, max_examples=100)
    @given(NESTED)
    def test_plain_values_come_back(self, value):
        """Constants, nested in lists, tuples and dicts, come back as they were."""
        self.assertEqual(read_value(value_text(value)), value)

    def test_specs_and_torchs_own_come_back(self):
        """Specs, aliases, dims, dtypes, layouts and memory formats come back, also inside tuples."""
        values = [
            T(2, "B", 8, dtype="f16", layout="transposed", values="special", requires_grad=False, seed=3),
            T(),
            T("2*B", Dim("K", min=2, max=9)),
            Same(0),
            View(0, 1, 0),
            Dim("B"),
            torch.float16,
            torch.channels_last,
            torch.strided,
            complex(1, -2),
            T(0, dtype="b8"),
        ]
        for value in [*values, tuple(values), {"x": values[0]}, [T(), T()]]:
            with self.subTest(value=value):
                self.assertEqual(repr(read_value(value_text(value))), repr(value))

    def test_infinities_and_nan(self):
        """inf, -inf and nan come back."""
        self.assertEqual(read_value(value_text((math.inf, -math.inf))), (math.inf, -math.inf))
        self.assertTrue(math.isnan(read_value(value_text(math.nan))))

    def test_real_tensor_becomes_its_spec(self):
        """A real tensor is written as the spec that describes it."""
        self.assertEqual(read_value(value_text(torch.ones(2, 3))), T(2, 3, values="ones"))

    def test_what_cannot_be_stored(self):
        """A function, an object and a set are refused by name; nothing is evaluated when text is read."""
        for value in (len, object(), {1, 2}, [print]):
            with self.subTest(value=value), self.assertRaisesRegex(FxpectError, "which no stored case can hold"):
                value_text(value)
        for text in ("__import__('os')", "open('x')", "torch.load", "a.b", "1 +", "f33[2]"):
            with self.subTest(text=text), self.assertRaises(FxpectError):
                read_value(text)


if __name__ == "__main__":
    unittest.main()
