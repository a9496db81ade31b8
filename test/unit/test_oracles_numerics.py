"""The numerics oracle: what it lets pass, and the message when it does not."""

import itertools
import math
import operator
import unittest

import torch

from fxpect.errors import CheckFailure
from fxpect.oracles.difference import same_bits
from fxpect.oracles.evidence import ERROR, NOTE, Evidence
from fxpect.oracles.memory import copy_args
from fxpect.oracles.numerics import check_numerics, find_numerics
from fxpect.oracles.randomness import flat_outputs

aten = torch.ops.aten


def evidence(before, after, *args, **options):
    """Return the evidence of a rewrite of one traced function into another."""
    return Evidence(torch.fx.symbolic_trace(before), torch.fx.symbolic_trace(after), copy_args(args), **options)


def normal(*shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


class NumericsTests(unittest.TestCase):
    def fails(self, cause, message, before, after, *args, **options):
        """Assert that the oracle raises with this cause and these words."""
        with self.assertRaises(CheckFailure) as caught:
            check_numerics(evidence(before, after, *args, pass_name="rewrite", **options))
        self.assertEqual(caught.exception.cause, f"numerics:{cause}")
        self.assertEqual(caught.exception.pass_name, "rewrite")
        self.assertIn(message, str(caught.exception))
        return caught.exception

    def holds(self, before, after, *args, **options):
        """Assert that the oracle finds neither an error nor a note."""
        self.assertEqual([str(found) for found in find_numerics(evidence(before, after, *args, **options))], [])

    def test_calls_behind_the_output(self):
        """A pass may sort a call behind the output, where it does not run: what changes by it has its node's name."""
        both = evidence(lambda x: x.t_() * 2, lambda x: x * 2, normal(3, 3))
        graph = both.after.graph
        graph.output_node().append(graph.call_method("t_", (graph.find_nodes(op="placeholder")[0],)))
        both.after.recompile()
        with self.assertRaises(CheckFailure) as caught:
            check_numerics(both)
        self.assertEqual((caught.exception.cause, caught.exception.node), ("numerics:values", "mul"))

    def test_equal_outputs_hold(self):
        """The same computation spelled another way holds."""
        self.holds(lambda x, y: torch.relu(x + y), lambda x, y: (y + x).relu(), normal(3, 4), normal(3, 4, seed=1))

    def test_wrong_value_names_index_and_both_numbers(self):
        """A wrong element is reported with its index, both values, and the node that gives it."""
        failure = self.fails(
            "values",
            "output 0: values: expected 2.0; got 3.0 at index [1, 0] (1 of 4 elements)",
            lambda x: x * 1,
            lambda x: x + torch.tensor([[0.0, 0.0], [1.0, 0.0]]),
            torch.full((2, 2), 2.0),
        )
        self.assertEqual(failure.node, "add")

    def test_structure(self):
        """One output more, or a list in the place of a tuple, is reported before any value."""
        self.fails("structure", "expected", lambda x: (x,), lambda x: (x, x), normal(2))
        self.fails("structure", "got", lambda x: (x, x), lambda x: [x, x], normal(2))

    def test_type(self):
        """None in the place of a tensor is a structure; a number in the place of a tensor is a type."""
        self.fails("type", "got float 1.0", lambda x: (x,), lambda x: (1.0,), normal(2))
        self.fails("type", "expected int 1", lambda x: (1,), lambda x: (1.0,), normal(2))

    def test_constant(self):
        """An integer output must be the same integer."""
        self.fails("constant", "expected 1; got 2", lambda x: (x, 1), lambda x: (x, 2), normal(2))

    def test_dtype(self):
        """Another dtype is reported although the values are equal."""
        self.fails(
            "dtype",
            "expected torch.float32; got torch.float64",
            lambda x: x.relu(),
            lambda x: x.relu().double(),
            normal(2),
        )

    def test_shape(self):
        """Another shape is reported although the elements are equal."""
        self.fails(
            "shape", "expected [2, 3]; got [3, 2]", lambda x: x * 1, lambda x: (x * 1).reshape(3, 2), normal(2, 3)
        )

    def test_stride(self):
        """Another stride has a cause of its own; strides of sizes below two cannot be seen."""
        self.fails(
            "stride",
            "expected (3, 1); got (1, 2)",
            lambda x: x + 1,
            lambda x: (x + 1).t().contiguous().t(),
            normal(2, 3),
        )
        self.holds(lambda x: x + 1, lambda x: (x + 1).t().contiguous().t(), normal(1, 3))

    def test_the_meta_device_holds_no_values(self):
        """Tensors of it are equal where their form is; the graph's own code and the interpreter are not told apart."""
        self.assertTrue(same_bits(torch.empty(2, device="meta"), torch.empty(2, device="meta")))
        self.assertFalse(same_bits(torch.empty(2, device="meta"), torch.zeros(2)))

    def test_nan_positions(self):
        """A NaN that is gone is reported, though the rest is equal."""
        x = torch.tensor([1.0, float("inf"), float("nan")])
        self.fails(
            "nan",
            "expected nan; got 0.0 at index [1] (2 of 3 elements)",
            lambda x: x * 0,
            lambda x: torch.zeros_like(x),
            x,
        )
        self.holds(lambda x: x * 2, lambda x: x + x, x)

    def test_new_infinity(self):
        """A finite number that became infinite is reported."""
        self.fails("inf", "got inf", lambda x: x / 2 * 3, lambda x: x * 3 / 2, torch.tensor([2e38, 1.0]))

    def test_calls_after_the_output(self):
        """The outputs of a graph in which a pass put calls behind the output node are still found."""
        gm = torch.fx.symbolic_trace(lambda x: x + 1)
        output = gm.graph.output_node()
        with gm.graph.inserting_after(output):
            gm.graph.call_function(torch.neg, (output.args[0],))
        self.assertEqual([leaf.name for leaf in flat_outputs(gm, {})], ["add"])

    def test_another_overflow(self):
        """Where the graph itself overflows on its way to a finite number, another overflow is no difference."""
        x = torch.tensor([2e38, 1.0])
        self.holds(lambda x: x * 3 - x * 2.5, lambda x: (x * 3 - x) - x * 1.5, x)
        self.fails("nan", "got nan", lambda x: x / 0.0, lambda x: x / 0.0 - x / 0.0, x)

    def test_overflow_by_order(self):
        """A sum that fits its dtype and overflows on the way there may be added up in another order."""
        x = torch.tensor([3e38, 3e38, -3e38, -3e38])
        self.holds(lambda x: x.sum(), lambda x: x[0::3].sum() + x[1:3].sum(), x)
        self.fails("overflow", "expected inf", lambda x: (x + x) / 2, lambda x: x * 1, x[:2])

    def test_lost_overflow(self):
        """An infinity that the pass took away, by computing in a wider type, is reported as overflow."""
        self.fails(
            "overflow",
            "expected inf",
            lambda x: x * x / x,
            lambda x: (x.float() * x / x).half(),
            torch.tensor([3000.0, 1.0], dtype=torch.float16),
        )

    def test_integers_are_exact(self):
        """An integer result must be equal, wrap-around included."""
        x = torch.tensor([100, 27], dtype=torch.int8)
        self.fails("values", "expected -56; got 100", lambda x: x + x, lambda x: torch.maximum(x, x), x)

    def test_boolean_at_a_tie(self):
        """``>=`` in the place of ``>`` is found at an exact tie: a comparison of exact numbers is not rounding."""
        x = torch.tensor([1.0, 2.0])
        self.fails("values", "expected False; got True at index [0]", lambda x: x > 1, lambda x: x >= 1, x)

    def test_integer_that_rounding_moves(self):
        """A floor of a rounded number may come out either way."""
        x = normal(64).abs() + 1
        self.holds(lambda x: torch.floor(x / x), lambda x: torch.floor(x * torch.reciprocal(x)), x)

    def test_signed_zero(self):
        """The sign of a zero is an error where an input holds a negative zero, and a note elsewhere."""
        self.fails("signed-zero", "expected -0.0; got 0.0", lambda x: x * 1, lambda x: x + 0, torch.tensor([-0.0, 1.0]))
        notes = list(find_numerics(evidence(lambda x: x * -1, lambda x: 0 - x, torch.tensor([0.0, 1.0]))))
        self.assertEqual([(note.cause, note.severity) for note in notes], [("numerics:signed-zero", NOTE)])

    def test_error_behind_large_cancellation(self):
        """A small error is found in a sum that does not cancel, though noise of a cancelling one is let pass."""
        big = torch.tensor([[1e4, -1e4, 1.0, 1.0]])
        self.holds(lambda x: x.sum(-1) / 7, lambda x: (x / 7).sum(-1), big)
        self.fails("values", "expected", lambda x: x.sum(-1) / 7, lambda x: x.sum(-1) / 7.001, big)

    def test_epsilon_of_a_norm(self):
        """Another epsilon in a layer norm, 1e-6 for 1e-5, is not taken for rounding."""
        self.fails(
            "values",
            "expected",
            lambda x: torch.nn.functional.layer_norm(x, (8,), eps=1e-5),
            lambda x: torch.nn.functional.layer_norm(x, (8,), eps=1e-6),
            normal(4, 8),
        )

    def test_lower_precision_inside(self):
        """A matrix product taken in half precision is an error in float32."""
        self.fails(
            "values",
            "expected",
            lambda x, y: x @ y,
            lambda x, y: torch.matmul(x.half(), y.half()).float(),
            normal(8, 8),
            normal(8, 8, seed=1),
        )

    def test_higher_precision_inside(self):
        """A half computed in float32 and rounded once is nearer to the truth, and holds."""
        x, y = normal(8, 8, dtype=torch.float16), normal(8, 8, dtype=torch.float16, seed=1)
        self.holds(
            lambda x, y: torch.softmax(x, -1) * y / 3,
            lambda x, y: (torch.softmax(x.float(), -1) * y.float() / 3).half(),
            x,
            y,
        )

    def test_reinterpreted_bits(self):
        """A graph that looks at bits has no float64 form, and is still judged."""
        self.fails(
            "values", "expected", lambda x: x.view(torch.int16).relu(), lambda x: x.relu().view(torch.int16), normal(16)
        )
        self.holds(lambda x: x.view(torch.int16).relu(), lambda x: torch.relu(x.view(torch.int16)), normal(16))

    def test_random_numbers_under_one_seed(self):
        """Equal draws hold; other values of an output that depends on a draw have a cause of their own."""
        self.holds(lambda x: torch.rand_like(x) + x, lambda x: x + torch.rand_like(x), normal(4))
        self.fails(
            "random-values", "expected", lambda x: torch.rand_like(x), lambda x: torch.rand_like(x) / 2, normal(4)
        )
        self.fails(
            "values",
            "expected",
            lambda x: (torch.rand_like(x), x + 1),
            lambda x: (torch.rand_like(x), x + 2),
            normal(4),
        )

    def test_equal_draws_in_another_layout_are_a_note(self):
        """Numbers that stand elsewhere because the tensor they are like has other strides are no wrong numbers."""
        rewritten = evidence(
            lambda x: torch.rand_like(x.t().contiguous()),
            lambda x: torch.rand_like(x.t()),
            normal(3, 4),
        )

        found = [(one.cause, one.severity) for one in find_numerics(rewritten)]

        self.assertEqual(found, [("numerics:random-values", NOTE), ("numerics:stride", ERROR)])

    def test_draws_beside_an_output_of_several_tensors(self):
        """Which output depends on a draw is told where another is a tuple of tensors."""
        self.fails("random-values", "output 2", lambda x: (x.max(0), torch.rand_like(x)),
                   lambda x: (x.max(0), torch.rand_like(x) / 2), normal(4))
        failure = self.fails("values", "output 1", lambda x: (x.max(0), torch.rand_like(x)),
                             lambda x: (x.flip(0).max(0), torch.rand_like(x)), torch.tensor([2.0, 2.0, 1.0]).repeat(2))
        self.assertEqual(failure.node, "max_1")

    def test_python_float_output(self):
        """A float that a graph returns is judged like a tensor."""
        x = normal(32)
        self.holds(lambda x: x.sum().item(), lambda x: x.flip(0).cumsum(0)[-1].item(), x)
        self.fails("values", "expected", lambda x: x.sum().item(), lambda x: x.mean().item(), x)

    def test_bits_of_nan(self):
        """A NaN seen as an integer may have another sign, which kernels choose; no other integer may."""
        x = torch.tensor([math.nan, 1.0])
        for dtype, integer in itertools.product((torch.float16, torch.bfloat16, torch.float32, torch.float64),
                                                (torch.int8, torch.int16, torch.int32, torch.int64)):
            if integer.itemsize > dtype.itemsize or (dtype, integer) == (torch.bfloat16, torch.int8):
                continue  # the lower half of bfloat16's NaN is one of two
            with self.subTest(dtype=dtype, integer=integer):
                self.assertNotEqual(x.view(torch.int32)[0], (-x).view(torch.int32)[0])
                self.holds(lambda x, i=integer: x.view(i), lambda x, i=integer: torch.where(x.isnan(), -x, x).view(i),
                           x.to(dtype))
        self.fails("values", "expected -1; got -2", lambda x: x * 1, lambda x: x - (x < 0).to(torch.int32),
                   torch.tensor([-1, 5], dtype=torch.int32))

    def test_complex_numbers_that_are_not_finite(self):
        """Which part of a sum of complex products is NaN is left open; of one product, and that any is, is not."""
        x, one = torch.tensor([[complex(math.inf, 1)], [complex(1, 2)]]), torch.ones(1, 1, dtype=torch.complex64)
        self.holds(lambda x, one: x @ one, lambda x, one: torch.where((x @ one).isfinite(), x @ one, math.nan), x, one)
        self.fails("nan", "got", lambda x: x * 1, lambda x: x + 0, x)
        self.fails("nan", "got (1+2j)", lambda x, one: x @ one, lambda x, one: (x @ one).flip(0), x, one)

    def test_complex(self):
        """Complex results are judged by their distance, whatever the rounding of one part."""
        x = torch.complex(normal(8, 8), normal(8, 8, seed=1))
        self.holds(lambda x, y: x @ y, lambda x, y: (x.unsqueeze(2) * y.unsqueeze(0)).sum(1), x, x)
        self.fails("values", "expected", lambda x, y: x @ y, lambda x, y: x @ y.conj(), x, x)

    def test_sparse_and_quantized(self):
        """Sparse and quantized outputs are compared by what they stand for."""
        x = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
        self.holds(lambda x: x.to_sparse(), lambda x: (x * 1).to_sparse(), x)
        self.fails("values", "expected tensor(indices", lambda x: x.to_sparse(), lambda x: (x * 2).to_sparse(), x)

        def quantized(x):
            return torch.quantize_per_tensor(x, 0.5, 0, torch.quint8)

        self.holds(quantized, lambda x: quantized(x * 1), x)
        self.fails("values", "quantization_scheme", quantized, lambda x: quantized(x * 2), x)

    def test_writes_in_place_are_followed(self):
        """Rounding is measured through a graph that writes in place."""

        def before(x, y):
            z = x * 3
            z.add_(y)
            return z / 7

        self.holds(before, lambda x, y: (y + operator.mul(3, x)) * (1 / 7), normal(5), normal(5, seed=1))
        self.fails("values", "expected", before, lambda x, y: (y + x * 3) / 7.0001, normal(5), normal(5, seed=1))


if __name__ == "__main__":
    unittest.main()
