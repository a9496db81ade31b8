"""What a run shows, what it leaves alone, which memory overlaps, and how rounding is measured."""

import functools
import unittest

import torch

from fxpect.oracles.arbiter import Arbiter
from fxpect.oracles.memory import copy_args, overlap, overlaps_itself, same_window
from fxpect.oracles.nudging import nudge
from fxpect.oracles.observe import observe, weights
from fxpect.oracles.rounding import base_name
from fxpect.oracles.state import borrowed_state, state_of
from fxpect.oracles.widening import widen_args

aten = torch.ops.aten


def traced(fn):
    return torch.fx.symbolic_trace(fn)


def arbiter_of(fn, *args):
    """Return the arbiter of a function, or of a graph, at these arguments."""
    graph = fn if isinstance(fn, torch.fx.GraphModule) else traced(fn)
    return Arbiter(graph, functools.partial(observe, graph, list(args)))


class ObserveTests(unittest.TestCase):
    def test_arguments_are_left_alone(self):
        """A graph that writes to its input writes to a copy; the observation has both."""
        x = torch.zeros(3)
        seen = observe(traced(lambda x: x.add_(1)), [x])
        self.assertTrue(torch.equal(x, torch.zeros(3)))
        self.assertTrue(torch.equal(seen.args[0], torch.ones(3)))
        self.assertTrue(torch.equal(seen.initial[0], torch.zeros(3)))

    def test_errors_are_kept(self):
        """What the graph raises is kept in the observation."""
        self.assertIsInstance(observe(traced(lambda x: x.view(7)), [torch.zeros(3)]).error, RuntimeError)

    def test_same_seed_same_draws(self):
        """Two runs from one seed draw the same numbers, two seeds other ones; drawing is noticed."""
        graph, x = traced(lambda x: torch.rand_like(x)), torch.zeros(8)
        one, again, other = observe(graph, [x]), observe(graph, [x]), observe(graph, [x], seed=1)
        self.assertTrue(torch.equal(one.leaves[0], again.leaves[0]))
        self.assertFalse(torch.equal(one.leaves[0], other.leaves[0]))
        self.assertTrue(one.drew)
        self.assertFalse(observe(traced(lambda x: x + 1), [x]).drew)

    def test_gradients(self):
        """Gradients are those of a fixed weighted sum of the outputs; None where an input plays no part."""
        x, y = torch.ones(3).requires_grad_(), torch.ones(3).requires_grad_()
        seen = observe(traced(lambda x, y: x * 2), [x, y], grads=True)
        expected = 2 * weights((3,), torch.float32, torch.device("cpu"))
        self.assertTrue(torch.equal(seen.grads["input", 0], expected))
        self.assertIsNone(seen.grads["input", 1])
        self.assertIsNone(observe(traced(lambda x, y: x * 2), [x, y]).grads)

    def test_values_by_key(self):
        """Every value of a run has a key: outputs, inputs, attributes."""
        module = torch.nn.BatchNorm1d(2)
        seen = observe(traced(torch.nn.Sequential(module)), [torch.randn(4, 2)])
        self.assertEqual({key[0] for key in seen.values()}, {"output", "input", "state"})
        self.assertTrue(torch.equal(module.running_mean, torch.zeros(2)))
        self.assertFalse(torch.equal(seen.state["0.running_mean"], torch.zeros(2)))


class StateTests(unittest.TestCase):
    def test_tied_tensors_stay_tied(self):
        """A tensor that two attributes share is lent as one copy, and comes back itself."""
        module = torch.nn.Module()
        module.a = module.b = torch.nn.Parameter(torch.ones(2))
        own = module.a
        with borrowed_state(module) as lent:
            self.assertIs(lent["a"], lent["b"])
            self.assertIsNot(module.a, own)
            self.assertIsInstance(module.a, torch.nn.Parameter)
        self.assertIs(module.a, own)
        self.assertEqual(sorted(state_of(module)), ["a", "b"])


class MemoryTests(unittest.TestCase):
    def test_copies_alias_alike(self):
        """Copies of arguments that alias do so too, at the same strides and offsets."""
        base = torch.arange(12.0)
        window, same = base[2:8].view(2, 3).t(), base
        copies = copy_args([base, window, same, 5])
        self.assertIs(copies[0], copies[2])
        self.assertEqual((copies[1].stride(), copies[1].storage_offset(), copies[3]), ((1, 3), 2, 5))
        copies[0][2] = -1
        self.assertEqual(copies[1][0, 0].item(), -1)
        self.assertEqual(base[2].item(), 2)

    def test_widened_copies_alias_alike(self):
        """The same holds for copies in float64."""
        base = torch.arange(4.0)
        wide, window, index = widen_args([base, base[1:3], torch.tensor([1])])
        self.assertEqual((wide.dtype, window.dtype, index.dtype), (torch.float64, torch.float64, torch.int64))
        wide[1] = 9
        self.assertEqual(window[0].item(), 9)

    def test_overlap_is_by_element(self):
        """Windows overlap where they share an element, not where they share a storage."""
        base = torch.zeros(4, 4)
        for one, other, expected in (
            (base[0], base[1], False),
            (base[0], base[:, 0], True),
            (base[:, 0], base[:, 1], False),
            (base[::2], base[1::2], False),
            (base, base[3], True),
            (base[0], base[0].clone(), False),
            (base[0][:0], base, False),
            (base[0].expand(3, 4), base[:, 3], True),
            (base.view(torch.uint8)[0, 4:8], base[0, 1:2], True),
            (base.view(torch.uint8)[0, 4:8], base[0, :1], False),
        ):
            with self.subTest(one=(one.shape, one.storage_offset()), other=(other.shape, other.storage_offset())):
                self.assertEqual(overlap(one, other), expected)
                self.assertEqual(overlap(other, one), expected)

    def test_overlap_within_one_tensor(self):
        """A tensor overlaps itself where two of its elements are the same memory."""
        base = torch.zeros(4, 4)
        for tensor, expected in (
            (base.t(), False),
            (base[:, ::2], False),
            (base[:, :1].expand(4, 3), True),
            (base.as_strided((2, 2), (3, 3)), True),
            (base[:0].expand(0, 4), False),
            (base[:1].expand(1, 4), False),
        ):
            with self.subTest(shape=tensor.shape, stride=tensor.stride()):
                self.assertEqual(overlaps_itself(tensor), expected)

    def test_same_window(self):
        """Windows of two runs are the same where offset, shape and telling strides are."""
        a, b = torch.zeros(2, 3), torch.ones(2, 3)
        self.assertTrue(same_window(a[:1], b[:1].as_strided((1, 3), (7, 1))))
        self.assertFalse(same_window(a[0], b[1]))


class RoundingTests(unittest.TestCase):
    def test_nudge(self):
        """A nudge moves every number by one ulp, equal ones alike, the next salt the other way; zeros stay."""
        for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
            with self.subTest(dtype=dtype):
                x = torch.tensor([1.5, 1.5, -3.0, 0.0, float("inf"), float("nan")], dtype=dtype)
                up, down = x.clone(), x.clone()
                nudge(up, 2)
                nudge(down, 3)
                self.assertEqual(up[0], up[1])
                self.assertNotEqual(up[0], x[0])
                self.assertLess((up[:3] - x[:3]).abs().max().item(), 4 * torch.finfo(dtype).eps)
                self.assertTrue(torch.equal((up - x)[:3], (x - down)[:3]))
                self.assertTrue(torch.equal(up[3:5], x[3:5]))

    def test_exact_graphs_have_no_noise(self):
        """A graph that computes exactly is known to; one that divides by three is not."""
        x = torch.tensor([1.0, 2.0, 4.0])
        for fn, exact in ((lambda x: x * 2 + 1, True), (lambda x: x / 3, False)):
            arbiter = arbiter_of(fn, x)
            _ = arbiter.truth
            output = arbiter.gm.graph.output_node().args[0]
            self.assertEqual(arbiter.clean[output].exact, exact)

    def test_truth(self):
        """The truth is the float64 run of the same draws, through dtypes that the graph spells out."""

        def fn(x):
            return (x.to(torch.float16).float() / 3 + torch.rand_like(x)) * torch.ones(2, dtype=torch.float32)

        x = torch.tensor([1.0, 2.0])
        graph = traced(fn)
        truth = arbiter_of(graph, x).truth["output", 0]
        native = observe(graph, [x]).leaves[0]
        self.assertEqual(truth.dtype, torch.float64)
        self.assertFalse(torch.equal(truth, native.double()))
        self.assertLess((truth - native).abs().max().item(), 1e-6)

    def test_operators_without_a_wide_form(self):
        """Where an operator means something else in float64, it runs on rounded operands."""
        truth = arbiter_of(lambda x: x.view(torch.int32), torch.tensor([1.5])).truth["output", 0]
        self.assertEqual(truth.tolist(), torch.tensor([1.5]).view(torch.int32).tolist())

    def test_default_dtype_is_put_back(self):
        """Measuring leaves the default dtype as it was."""
        _ = arbiter_of(lambda x: x / 3, torch.ones(2)).truth
        self.assertEqual(torch.get_default_dtype(), torch.float32)

    def test_names_of_calls(self):
        """A call is named alike in every spelling."""
        graph = torch.fx.Graph()
        x = graph.placeholder("x")
        nodes = (
            graph.call_function(aten.add.Tensor, (x, x)),
            graph.call_method("add_", (x, x)),
            graph.call_function(torch.add, (x, x)),
        )
        self.assertEqual({base_name(node) for node in nodes}, {"add"})


if __name__ == "__main__":
    unittest.main()
