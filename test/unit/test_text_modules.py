"""Attributes and submodules: what a text tells of their values, and what is built from it."""

import unittest

import torch
from torch import nn
from torch.fx import Graph, GraphModule, symbolic_trace

import fxpect
from fxpect import T
from fxpect.campaign.finding import Parcel
from fxpect.capture import capture
from fxpect.errors import GraphTextError
from fxpect.passes.modules import ConvNorm, seeded
from fxpect.text.parser import parse_graph
from fxpect.text.printer import graph_text


def calling(module):
    """Return the graph of one call of a module."""
    graph = Graph()
    graph.output(graph.call_module("m", (graph.placeholder("x"),)))
    return GraphModule({"m": module}, graph)


def reading(**tensors):
    """Return a graph that returns these buffers."""
    root, graph = nn.Module(), Graph()
    graph.placeholder("x")
    for name, tensor in tensors.items():
        root.register_buffer(name, tensor)
    graph.output([graph.get_attr(name) for name in tensors])
    return GraphModule(root, graph)


def declared(text):
    """Return the lines that declare attributes and submodules."""
    return [line.strip() for line in text.splitlines() if line.strip().startswith("self")]


class StateTests(unittest.TestCase):
    """A norm that has seen data is not a new one."""

    maxDiff = None

    def assertLaw(self, text):
        self.assertEqual(graph_text(parse_graph(text)), text)

    def test_statistics_are_told(self):
        """Statistics and scales that are no longer new are told by their kind, without the numbers of the run."""
        text = graph_text(symbolic_trace(seeded(ConvNorm)))
        norm = parse_graph(text).norm

        self.assertLaw(text)
        self.assertEqual(declared(text)[1:], [
            "self.norm = torch.nn.BatchNorm2d(4).eval()",
            'self.norm.weight: "f32[4](parameter=True)"', 'self.norm.bias: "f32[4](parameter=True)"',
            'self.norm.running_mean: "f32[4]"', 'self.norm.running_var: "f32[4]" = "positive"'])
        self.assertEqual(graph_text(symbolic_trace(seeded(ConvNorm, seed=1))), text)
        for name, new in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            self.assertFalse(bool((getattr(norm, name) == new).any()), name)
        self.assertIsInstance(norm.weight, nn.Parameter)
        self.assertTrue((norm.running_var > 0).all())

    def test_variances_that_are_not_positive(self):
        """One number where all are equal, the numbers themselves where they are few."""
        for values, told in ((torch.zeros(2), "[0.0, 0.0]"), (torch.zeros(20), "0.0")):
            module = nn.BatchNorm1d(len(values)).eval()
            module.running_var.copy_(values)
            text = graph_text(calling(module))

            self.assertIn(f'self.m.running_var: "f32[{len(values)}]" = {told}', text)
            self.assertLaw(text)

    def test_new_norms_are_silent(self):
        """What torch fills a new norm with is not told, in a module that holds norms neither."""
        for module in (nn.BatchNorm2d(4), nn.InstanceNorm1d(3, affine=True, track_running_stats=True), nn.LayerNorm(4),
                       nn.BatchNorm1d(2, affine=False), nn.BatchNorm1d(2, track_running_stats=False),
                       nn.MultiheadAttention(4, 2)):
            text = graph_text(calling(module))

            self.assertEqual(len(declared(text)), 1, text)
            self.assertLaw(text)

    def test_batches_that_were_seen(self):
        """A count of batches is part of the state: with momentum=None it decides the next average."""
        module = nn.BatchNorm1d(2, momentum=None)
        module(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
        text = graph_text(calling(module))

        self.assertIn('self.m.num_batches_tracked: "i64[]" = 1', text)
        self.assertEqual(parse_graph(text).m.num_batches_tracked, 1)

    def test_large_statistics_keep_their_kind(self):
        """Of many numbers the kind is told, so that a variance stays positive."""
        module = seeded(nn.BatchNorm2d, 64)
        text = graph_text(calling(module))
        parsed = parse_graph(text).m

        self.assertIn('self.m.running_var: "f32[64]" = "positive"', text)
        self.assertLaw(text)
        self.assertTrue((parsed.running_var > 0).all())
        self.assertTrue(torch.isfinite(parsed(torch.rand(2, 64, 3, 3))).all())

    def test_module_and_its_parameter_are_one(self):
        """A graph that calls a module and reads its weight, in either order, has one weight."""
        for first in ("call", "read"):
            root, graph = seeded(ConvNorm), Graph()
            x = graph.placeholder("x")
            nodes = {"read": lambda graph=graph: graph.get_attr("norm.weight"),
                     "call": lambda graph=graph, x=x: graph.call_module("norm", (x,))}
            made = {name: nodes[name]() for name in sorted(nodes, key=lambda name, first=first: name != first)}
            graph.output((made["call"], made["read"]))
            text = graph_text(GraphModule(root, graph), order="program")
            parsed = parse_graph(text)

            lines = declared(text)
            self.assertEqual(lines[0], "self.norm = torch.nn.BatchNorm2d(4).eval()")
            self.assertEqual(lines.count('self.norm.weight: "f32[4](parameter=True)"'), 1)
            self.assertIs(parsed(torch.rand(1, 4, 2, 2))[1], parsed.norm.weight)
            self.assertEqual(graph_text(parsed, order="program"), text)

    def test_recurrent_modules(self):
        """Modules whose constructor takes *args are built with the arguments they had."""
        for module in (nn.LSTM(2, 3, num_layers=2, proj_size=1), nn.GRU(2, 3, bias=False, batch_first=True),
                       nn.RNN(2, 3, nonlinearity="relu", bidirectional=True)):
            text = graph_text(calling(module))
            parsed = parse_graph(text)

            self.assertLaw(text)
            self.assertEqual(repr(parsed.m), repr(module))
            self.assertEqual({name: value.shape for name, value in parsed.m.state_dict().items()},
                             {name: value.shape for name, value in module.state_dict().items()})

    def test_weight_of_a_recurrent_module_is_the_one_it_computes_with(self):
        """A parameter that is declared beside its module replaces it where the module keeps a list of them."""
        text = ('def forward(self, x: "f32[4, 2]"):\n    self.m = torch.nn.LSTM(2, 3)\n'
                '    self.m.weight_ih_l0: "f32[12, 2](parameter=True)"\n    m = self.m(x)\n'
                "    weight = self.m.weight_ih_l0\n    return (m, weight)\n")
        module = parse_graph(text).m

        self.assertIs(module._flat_weights[0], module.weight_ih_l0)


class NumberTests(unittest.TestCase):
    """What a text tells of the elements of a tensor."""

    def told(self, **tensors):
        text = graph_text(reading(**tensors))
        self.assertEqual(graph_text(parse_graph(text)), text)
        return [line.partition(": ")[2] for line in declared(text)], parse_graph(text)

    def test_small_tensors_are_told_exactly(self):
        """All digits that a number needs, and no more."""
        small = torch.tensor([0.1, 1 / 3, -0.0, float("inf"), 0.11197919398546219])
        lines, parsed = self.told(a=small, b=torch.tensor(3), c=torch.tensor([1 + 2j]))

        self.assertEqual(lines[0], '"f32[5]" = [0.1, 0.33333334, -0.0, math.inf, 0.111979194]')
        self.assertTrue(torch.equal(parsed.a, small) and torch.equal(parsed.c, torch.tensor([1 + 2j])))

    def test_large_tensors(self):
        """One number where all are equal, else the kind, else nothing; texts of what is read back are the same."""
        generator = torch.Generator().manual_seed(0)
        normal = torch.randn(5, 5, generator=generator)
        zeros = torch.zeros(5, 5)
        zeros[0, 0] = -0.0
        told = {
            "0.1": torch.full((5, 5), 0.1), "-0.0": torch.full((5, 5), -0.0), "7": torch.full((5, 5), 7),
            "True": torch.ones(5, 5, dtype=torch.bool), '"positive"': normal.abs().half() + 0.1,
            '"index:40"': torch.arange(40), '"integers"': (normal * 9).long()}
        untold = [normal, normal > 0, zeros, torch.where(normal > 0, -torch.inf, normal), normal + 1j * normal,
                  torch.arange(25) % 4, normal.to(torch.float8_e4m3fn), nn.Parameter(torch.ones(5, 5))]
        tensors = [*told.values(), (normal * 2).round(), *untold]
        lines, parsed = self.told(**{f"b{number}": tensor for number, tensor in enumerate(tensors)})

        self.assertEqual([line.partition('" = ')[2] for line in lines], [*told, '"integers"', *[""] * len(untold)])
        self.assertEqual(int(parsed.b5.max()), 39)

    def test_attributes_of_one_type_differ(self):
        """Two parameters of one shape have other elements, so that a pass that mixes them up is seen."""
        text = ('def forward(self, x: "f32[4]"):\n    self.a: "f32[4](parameter=True)"\n'
                '    self.b: "f32[4](parameter=True)"\n    a = self.a\n    b = self.b\n    return (a, b)\n')
        first, second = parse_graph(text), parse_graph(text)

        self.assertFalse(torch.equal(first.a, first.b))
        self.assertTrue(torch.equal(first.a, second.a) and torch.equal(first.b, second.b))

    def test_sparse_and_quantized_tensors(self):
        """Of these a text holds the type alone; what is read has no elements, or zeros, and no accident."""
        for tensor in (torch.eye(3).to_sparse(), torch.quantize_per_tensor(torch.ones(2, 40), 0.5, 0, torch.qint8)):
            lines, parsed = self.told(a=tensor)

            self.assertNotIn(" = ", lines[0])
            for name in ("shape", "dtype", "layout"):
                self.assertEqual(getattr(parsed.a, name), getattr(tensor, name))
            dense = parsed.a.to_dense() if parsed.a.is_sparse else parsed.a.dequantize()
            self.assertFalse(dense.any())

    def test_numbers_that_do_not_fit(self):
        """A kind or number that the type cannot have is an error with its line."""
        for given, told in (('"f32[20]" = "index:3"', "needs an integer dtype"), ('"f32[20]" = "sevens"', "sevens"),
                            ('"i64[20]" = 1.5', "no value of torch.int64"), ('"f32[20]" = [1.0]', "shape")):
            with self.assertRaisesRegex(GraphTextError, f"line 2: these numbers do not fit the type: .*{told}"):
                parse_graph(f'def forward(self, x):\n    self.a: {given}\n    a = self.a\n    return a\n')


class CrossingTests(unittest.TestCase):
    """A finding that is told as a text is still one."""

    def test_forgotten_statistics_are_found_again(self):
        """A pass that drops a norm is caught on the text of its example, as it is on the live module."""
        def drop_norm(module):
            for node in module.graph.find_nodes(op="call_module", target="norm"):
                node.replace_all_uses_with(node.args[0])
                module.graph.erase_node(node)
            return module

        for channels in (4, 32):
            model = seeded(lambda channels=channels: WideNorm(channels))
            example = capture(model, (T(2, channels, 4),), capture="symbolic")
            for found in (example, Parcel.of(example).example()):
                with self.subTest(channels=channels), self.assertRaisesRegex(AssertionError, "numerics.* drop_norm"):
                    fxpect.assert_preserves(drop_norm, found, capture="symbolic")


class WideNorm(nn.Module):
    """A norm of many channels."""

    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x):
        return self.norm(x)


if __name__ == "__main__":
    fxpect.run_tests()
