"""No false alarm: harmless passes over generated graphs, and rewrites that differ by rounding alone.

Beside each stands what must not be excused: the same graphs with a small real error.
"""

import operator
import random
import unittest
from unittest import mock

import torch
from torch.nn.functional import layer_norm

from fxpect.examples import Example
from fxpect.oracles.judge import judge
from fxpect.oracles.nudging import NudgedRun
from fxpect.specs import T

SIZE = 4
DTYPES = (torch.float32, torch.float32, torch.float16, torch.bfloat16, torch.float64)
VALUES = ("normal", "normal", "halves", "integers", "positive", "uniform", "ties")
UNARY = (torch.relu, torch.tanh, torch.sigmoid, torch.exp, torch.neg, torch.abs, torch.sin, torch.sqrt, torch.floor)
BINARY = (operator.add, operator.sub, operator.mul, operator.truediv, torch.matmul, torch.maximum)
REDUCTIONS = (torch.sum, torch.mean, torch.amax)


def generated(seed):
    """Return an example of three to nine random operators over square matrices of one dtype."""
    draw, graph = random.Random(seed), torch.fx.Graph()
    values = [graph.placeholder(f"x{i}") for i in range(3)]
    for _ in range(draw.randint(3, 9)):
        values.append(_operator(draw, graph, values))
    graph.output(tuple(values[-2:]))
    dtype = draw.choice(DTYPES)
    specs = tuple(T(SIZE, SIZE, dtype=dtype, values=draw.choice(VALUES), seed=seed + i) for i in range(3))
    return Example(torch.fx.GraphModule({}, graph), specs, capture="dynamo")


def _operator(draw, graph, values):
    one, other = draw.choice(values), draw.choice(values)
    kind = draw.random()
    if kind < 0.3:
        return graph.call_function(draw.choice(UNARY), (one,))
    if kind < 0.65:
        return graph.call_function(draw.choice(BINARY), (one, other))
    if kind < 0.75:
        return graph.call_function(torch.softmax, (one,), {"dim": draw.choice([0, 1, -1])})
    if kind < 0.85:
        return graph.call_function(draw.choice(REDUCTIONS), (values[0],), {"dim": draw.choice([0, 1]), "keepdim": True})
    if kind < 0.9:
        return graph.call_function(torch.where, (graph.call_function(operator.gt, (one, other)), one, other))
    return graph.call_function(operator.truediv, (one, draw.choice([2, 3.0, 7])))


def replacing(target, build):
    """Return a graph pass that replaces each call of a target by what ``build(call, node)`` makes, if anything."""

    def rewrite(graph):
        for node in list(graph.find_nodes(op="call_function", target=target)):
            with graph.inserting_before(node):
                new = build(lambda fn, *args, **kwargs: graph.call_function(fn, args, kwargs), node)
            if new is not None:
                node.replace_all_uses_with(new)
                graph.erase_node(node)

    return rewrite


def nothing(gm):
    """Do nothing."""


def dead_code(graph):
    """Remove what nobody uses."""
    graph.eliminate_dead_code()


def renamed(gm):
    """Return the same graph under other names."""
    graph = torch.fx.Graph()
    mapping = {}
    for node in gm.graph.nodes:
        mapping[node] = graph.node_copy(node, mapping.__getitem__)
        if node.op not in ("placeholder", "output"):
            mapping[node].name = f"renamed_{node.name}"
    return torch.fx.GraphModule(gm, graph)


def reciprocal(call, node):
    divisor = node.args[1]
    if isinstance(divisor, (int, float)):
        return call(operator.mul, node.args[0], 1.0 / divisor)
    return call(operator.mul, node.args[0], call(torch.reciprocal, divisor))


def summed_product(call, node):
    one, other = call(torch.unsqueeze, node.args[0], 2), call(torch.unsqueeze, node.args[1], 0)
    return call(torch.sum, call(operator.mul, one, other), 1)


def spelled_softmax(call, node):
    x, dim = node.args[0], node.kwargs["dim"]
    powers = call(torch.exp, call(operator.sub, x, call(torch.amax, x, dim, True)))
    return call(operator.truediv, powers, call(torch.sum, powers, dim=dim, keepdim=True))


def summed_mean(call, node):
    return call(torch.sum, call(operator.truediv, node.args[0], SIZE), **node.kwargs)


def spelled_sigmoid(call, node):
    return call(torch.reciprocal, call(operator.add, call(torch.exp, call(torch.neg, node.args[0])), 1))


commuted = replacing(operator.add, lambda call, node: call(operator.add, *reversed(node.args)))
ROUNDING = {
    "a division as a product": replacing(operator.truediv, reciprocal),
    "a matrix product as a sum": replacing(torch.matmul, summed_product),
    "softmax in steps": replacing(torch.softmax, spelled_softmax),
    "a mean as a sum of parts": replacing(torch.mean, summed_mean),
    "sigmoid in steps": replacing(torch.sigmoid, spelled_sigmoid),
}
WRONG = {
    "half precision inside": replacing(
        torch.matmul,
        lambda call, node: call(
            torch.Tensor.to,
            call(torch.matmul, *(call(torch.Tensor.to, arg, torch.float16) for arg in node.args)),
            torch.float32,
        ),
    ),
    "a factor of 1.0001": replacing(
        torch.sigmoid, lambda call, node: call(operator.mul, call(torch.sigmoid, *node.args), 1.0001)
    ),
    "a third as 0.33333": replacing(
        operator.truediv, lambda call, node: call(operator.mul, node.args[0], 0.33333) if node.args[1] == 3.0 else None
    ),
    ">= for >": replacing(operator.gt, lambda call, node: call(operator.ge, *node.args)),
}


class NoiseTests(unittest.TestCase):
    def test_harmless_passes(self):
        """Doing nothing, removing dead code, renaming and commuting a sum raise no alarm on 200 graphs."""
        changed = 0
        for seed in range(200):
            example = generated(seed)
            for pass_ in (nothing, dead_code, renamed, commuted):
                result = judge(pass_, example)
                changed += result.changed
                self.assertEqual([str(failure) for failure in result.failures], [], f"seed {seed}\n{example}")
        self.assertGreater(changed, 60)

    def test_rewrites_that_round_differently(self):
        """Five rewrites that are equal but for rounding raise no alarm on 80 graphs."""
        changed = 0
        for seed in range(1000, 1080):
            example = generated(seed)
            for name, pass_ in ROUNDING.items():
                result = judge(pass_, example, oracles=("numerics",), severity={"numerics:stride": "off"})
                changed += result.changed
                self.assertEqual([str(failure) for failure in result.failures], [], f"{name}, seed {seed}\n{example}")
        self.assertGreater(changed, 60)

    def test_what_half_precision_rounds_to_zero(self):
        """Dividing after the conversion to float32 is nearer to the truth than zeros are; ten times too much is not."""
        text = """def forward(self, x: "f16[3, 4]"):
            div = torch.div(x, 2147483648)
            float_1 = div.float()
            amax = float_1.amax(1, keepdim=True)
            sub = torch.sub(float_1, amax)
            return (sub,)"""

        def later(factor):
            def rewrite(graph):
                (div,) = graph.find_nodes(op="call_function", target=torch.div)
                (wide,) = graph.find_nodes(op="call_method", target="float")
                with graph.inserting_after(wide):
                    new = graph.call_function(torch.div, (wide, 2147483648 / factor))
                wide.replace_all_uses_with(new, delete_user_cb=lambda user: user is not new)
                wide.args = div.args[:1]
                graph.erase_node(div)
            return rewrite

        example = Example.from_text(text, T(3, 4, dtype=torch.float16), capture="dynamo")
        for factor, causes in ((1, []), (10, ["numerics:values"])):
            with self.subTest(factor=factor):
                found = judge(later(factor), example, oracles=("numerics",)).failures
                self.assertEqual([failure.cause for failure in found], causes)

    def test_errors_that_reach_an_output(self):
        """Four small errors are found on every generated float32 graph on which they move an output for certain."""
        x, y = T(8, 8, dtype=torch.float32), T(8, 8, dtype=torch.float32, values="integers")
        models = {
            "half precision inside": lambda x, y: torch.matmul(x, y) + y,
            "a factor of 1.0001": lambda x, y: torch.sigmoid(x) @ y,
            "a third as 0.33333": lambda x, y: torch.softmax((x @ y) / 3.0, -1),
            ">= for >": lambda x, y: torch.where(y > 1, x, y),
        }
        for name, pass_ in WRONG.items():
            for seed in range(10):
                example = Example(
                    torch.fx.symbolic_trace(models[name]),
                    (x.replace(seed=seed), y.replace(seed=seed + 50)),
                    capture="dynamo",
                )
                with self.subTest(error=name, seed=seed):
                    result = judge(pass_, example)
                    self.assertIn("numerics:values", [failure.cause for failure in result.failures])

    def test_products_that_overflow_in_another_order(self):
        """Infinities of either sign meet or not as the products are added; where all are of one sign they stay."""

        def example(of, dtype=torch.float32):
            graph = torch.fx.Graph()
            values = [graph.call_function(of, (graph.placeholder(name),)) for name in "xy"]
            graph.output((graph.call_function(torch.relu, (graph.call_function(torch.matmul, tuple(values)),)),))
            return Example(torch.fx.GraphModule({}, graph),
                           (T(4, 6, values="roots", dtype=dtype), T(6, 5, values="roots", dtype=dtype, seed=1)),
                           capture="dynamo")

        def backwards(call, node):
            return call(torch.matmul, *(call(torch.flip, value, [dim]) for value, dim in zip(node.args, (1, 0))))

        def smaller(call, node):
            return call(torch.matmul, call(torch.mul, node.args[0], 1e-30), node.args[1])

        for of in (torch.sin, torch.neg, torch.abs):
            for dtype in (torch.float32, torch.float64):
                result = judge(replacing(torch.matmul, backwards), example(of, dtype))
                self.assertEqual(result.failures, [], (of, dtype))
        self.assertNotEqual(judge(replacing(torch.matmul, smaller), example(torch.abs)).failures, [])

    def test_bits_of_what_rounds(self):
        """The bits of a number that cancels move freely with the order of its sum; those of an exact one do not."""

        def example(values):
            graph = torch.fx.Graph()
            x, y, z = map(graph.placeholder, "xyz")
            added = graph.call_function(torch.add, (graph.call_function(torch.matmul, (x, y)), z))
            graph.output((graph.call_method("view", (added, torch.int32)),))
            return Example(torch.fx.GraphModule({}, graph),
                           tuple(T(8, 8, values=values, seed=seed) for seed in range(3)), capture="dynamo")

        def in_parts(call, node):
            x, y = node.args
            return call(torch.sum, call(torch.mul, call(torch.unsqueeze, x, -1), y), -2)

        def shifted(call, node):
            return call(torch.add, call(torch.matmul, *node.args), 1e-3)

        self.assertEqual(judge(replacing(torch.matmul, in_parts), example("normal")).failures, [])
        self.assertNotEqual(judge(replacing(torch.matmul, shifted), example("integers")).failures, [])

    def test_gradients_that_cancel(self):
        """A gradient of zero may be one of rounding, as long as it is small beside the others of the same input."""
        graph = torch.fx.Graph()
        x, y = map(graph.placeholder, "xy")
        graph.output((graph.call_function(torch.einsum, ("ij,jk->ik", x, y)),))
        example = Example(torch.fx.GraphModule({}, graph), (
            T(4, 4, layout="expanded", requires_grad=True), T(4, 4, layout="expanded", requires_grad=True)),
            capture="dynamo")

        def product(scale):
            return lambda call, node: call(torch.matmul, call(torch.mul, node.args[1], scale), node.args[2])

        self.assertEqual(judge(replacing(torch.einsum, product(1.0)), example).failures, [])
        self.assertNotEqual(judge(replacing(torch.einsum, product(1.001)), example).failures, [])

    def test_what_needs_no_sample_runs_none(self):
        """A quotient as a product is as near to the truth; for a wrong one numbers are moved."""
        class Counted(NudgedRun):
            def __init__(self, *args, **kwargs):
                asked.append(self)
                super().__init__(*args, **kwargs)

        graph = torch.fx.Graph()
        graph.output((graph.call_function(torch.div, (graph.placeholder("x"), 3.0)),))
        example = Example(torch.fx.GraphModule({}, graph), (T(8, 8),), capture="dynamo")
        for factor, wrong in ((1 / 3, False), (0.5, True)):
            asked = []
            by_product = replacing(torch.div, lambda call, node, factor=factor: call(torch.mul, node.args[0], factor))
            with self.subTest(factor=factor), mock.patch("fxpect.oracles.arbiter.NudgedRun", Counted):
                self.assertEqual(bool(judge(by_product, example).failures), wrong)
                self.assertEqual(bool(asked), wrong)

    def test_layer_norm_in_steps(self):
        """A layer norm written out holds; with another epsilon it does not."""

        def written_out(epsilon):
            def build(call, node):
                x = node.args[0]
                centred = call(operator.sub, x, call(torch.mean, x, -1, True))
                variance = call(torch.mean, call(operator.mul, centred, centred), -1, True)
                return call(operator.mul, centred, call(torch.rsqrt, call(operator.add, variance, epsilon)))

            return replacing(layer_norm, build)

        # The bits of a rounded number are no more certain than the number is.
        models = (lambda x: layer_norm(x, (16,)), lambda x: layer_norm(x, (16,)).view(torch.int16))
        for seed in range(40):
            example = Example(
                torch.fx.symbolic_trace(models[seed % 2]), (T(64, 16, seed=seed // 2),), capture="dynamo"
            )
            self.assertEqual(judge(written_out(1e-5), example).failures, [])
            self.assertNotEqual(judge(written_out(3e-5), example).failures, [])


if __name__ == "__main__":
    unittest.main()
