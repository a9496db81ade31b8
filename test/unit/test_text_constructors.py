"""The call that builds a module of torch.nn: which arguments it has, which modules have none, what it builds."""

import unittest

import torch
from torch import nn
from torch.fx import Graph, GraphModule

from fxpect.errors import GraphTextError
from fxpect.text.constructors import MODULES, Kind, hooked, tensors_of
from fxpect.text.parser import parse_graph
from fxpect.text.printer import graph_text

LAYER = dict(dim_feedforward=5, dropout=0.25, activation="gelu", layer_norm_eps=1e-3, batch_first=True)
# One set of arguments for each class that needs some.
ARGUMENTS = {
    **{f"{kind}{n}d": ((2,), {}) for kind in ("AvgPool", "MaxPool", "MaxUnpool", "AdaptiveAvgPool", "AdaptiveMaxPool",
                                              "ConstantPad", "ReflectionPad", "ReplicationPad", "ZeroPad",
                                              "CircularPad", "BatchNorm", "InstanceNorm")
       for n in (1, 2, 3)},
    **{f"{kind}{n}d": ((4, 2, 3), dict(stride=2, padding=1, bias=False)) for kind in ("Conv", "ConvTranspose")
       for n in (1, 2, 3)},
    **{f"Lazy{kind}{n}d": ((2, 3), {}) for kind in ("Conv", "ConvTranspose") for n in (1, 2, 3)},
    **{f"ConstantPad{n}d": ((1, 0.5), {}) for n in (1, 2, 3)}, **{f"LPPool{n}d": ((1.5, 2), {}) for n in (1, 2, 3)},
    **{kind: ((2, 3), {}) for kind in ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell", "Linear", "Embedding",
                                       "Threshold", "Unflatten", "NonDynamicallyQuantizableLinear")},
    "Bilinear": ((2, 3, 4), dict(bias=False)), "EmbeddingBag": ((5, 2), dict(mode="sum")),
    "AdaptiveLogSoftmaxWithLoss": ((4, 10, [2, 5]), {}), "ChannelShuffle": ((2,), {}), "CrossMapLRN2d": ((2,), {}),
    "LocalResponseNorm": ((2,), {}), "Fold": (((4, 4), (2, 2)), {}), "Unfold": ((2,), {}),
    "FractionalMaxPool2d": ((2,), dict(output_ratio=(0.5, 0.5))), "FractionalMaxPool3d": ((2,), dict(output_size=2)),
    "GroupNorm": ((2, 4), {}), "LayerNorm": ((4,), dict(bias=False)), "RMSNorm": ((4,), {}),
    "SyncBatchNorm": ((2,), {}), "LazyLinear": ((3,), {}), "PixelShuffle": ((2,), {}), "PixelUnshuffle": ((2,), {}),
    "MultiheadAttention": ((4, 2), dict(bias=False, add_bias_kv=True)),
    "RNNBase": (("LSTM", 2, 3), {}), "RNNCellBase": ((2, 3, True, 4), {}), "Unflatten": ((1, (2, 2)), {}),
    "UpsamplingBilinear2d": ((), dict(scale_factor=2.0)), "LinearCrossEntropyLoss": ((4, 3), dict(bias=True)),
    "Transformer": ((4, 2, 2, 3), LAYER), "TransformerEncoderLayer": ((4, 2), LAYER),
    "TransformerDecoderLayer": ((4, 2), {**LAYER, "bias": False})}
ENCODER = nn.TransformerEncoderLayer(4, 2, **LAYER)
STACKS = {"TransformerEncoder": ((ENCODER, 2), dict(norm=nn.LayerNorm(4))),
          "TransformerDecoder": ((nn.TransformerDecoderLayer(4, 2, 5), 2), {})}


def calling(module):
    """Return the graph of one call of a module."""
    graph = Graph()
    graph.output(graph.call_module("m", (graph.placeholder("x"),)))
    return GraphModule({"m": module}, graph)


def kinds(module):
    return {name: Kind.of(tensor) for name, tensor in tensors_of(module)}


class ConstructorTests(unittest.TestCase):
    """What is built from a text is what was printed, but for the numbers of its parameters."""

    maxDiff = None

    def assertBuiltAgain(self, module):
        """The module has a call, which builds the same; returns the lines that declare it, and what is built."""
        text = graph_text(calling(module))
        built = parse_graph(text).m
        self.assertNotIn("opaque", text)
        self.assertEqual(graph_text(calling(built)), text)
        self.assertEqual((type(built), repr(built), kinds(built)), (type(module), repr(module), kinds(module)))
        return [line.strip() for line in text.splitlines() if line.strip().startswith("self")], built

    def test_every_class(self):
        """Each class of torch.nn is built again, in training and evaluation mode."""
        arguments = {**ARGUMENTS, **STACKS}
        for name, kind in MODULES.items():
            args, kwargs = arguments.get(name, ((), {}))
            with self.subTest(name):
                self.assertBuiltAgain(kind(*args, **kwargs))
                _, built = self.assertBuiltAgain(kind(*args, **kwargs).eval())
                self.assertFalse(any(inner.training for inner in built.modules()))

    def test_arguments_that_are_kept_elsewhere(self):
        """Arguments are told that a module keeps under no name of their own."""
        cases = {
            nn.MultiheadAttention(4, 2, bias=False): "MultiheadAttention(4, 2, bias=False, kdim=4, vdim=4)",
            nn.MultiheadAttention(4, 2, add_bias_kv=True):
                "MultiheadAttention(4, 2, add_bias_kv=True, kdim=4, vdim=4)",
            nn.TransformerEncoderLayer(4, 2, 5, activation=nn.Tanh(), bias=False):
                "TransformerEncoderLayer(4, 2, dim_feedforward=5, activation=torch.nn.Tanh(), bias=False)",
            nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, batch_first=True), 3, mask_check=False):
                "TransformerEncoder(torch.nn.TransformerEncoderLayer(4, 2, batch_first=True), 3, mask_check=False)",
            nn.Transformer(4, 2, 1, 2, dropout=0.5, norm_first=True):
                "Transformer(d_model=4, nhead=2, num_encoder_layers=1, num_decoder_layers=2, dropout=0.5, "
                "norm_first=True)"}
        for module, told in cases.items():
            self.assertEqual(self.assertBuiltAgain(module)[0], [f"self.m = torch.nn.{told}"])

    def test_computes_the_same(self):
        """With the numbers of the parameters a transformer that was read back computes what it did."""
        model = nn.Transformer(4, 2, 1, 1, 5, bias=False, batch_first=True).eval()
        built = self.assertBuiltAgain(model)[1]
        built.load_state_dict(model.state_dict())
        x = torch.rand(1, 3, 4)

        self.assertTrue(torch.equal(built(x, x), model(x, x)))

    def test_tensors_as_arguments(self):
        """The weights of a loss are ones in the call, and have their numbers in a line of their own."""
        lines, built = self.assertBuiltAgain(nn.CrossEntropyLoss(weight=torch.tensor([0.5, 2.0])))

        self.assertEqual(lines, ["self.m = torch.nn.CrossEntropyLoss(weight=torch.ones(2, dtype=torch.float32))",
                                 'self.m.weight: "f32[2]" = [0.5, 2.0]'])
        self.assertEqual(built.weight.tolist(), [0.5, 2.0])
        for module in (nn.BCEWithLogitsLoss(pos_weight=torch.full((20,), 3.0)), nn.NLLLoss(torch.rand(64).double()),
                       nn.FractionalMaxPool2d(2, output_size=2, _random_samples=torch.tensor([[[0.25, 0.5]]]))):
            lines, built = self.assertBuiltAgain(module)
            self.assertEqual(len(lines), 2, lines)
        self.assertTrue(torch.equal(built._random_samples, module._random_samples))

    def test_tensors_of_another_kind(self):
        """A frozen parameter, one of another dtype, and a parameter that became a buffer are told."""
        frozen, mixed, folded = nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2), nn.Linear(2, 2, bias=False)
        mixed.bias = nn.Parameter(mixed.bias.double())
        del folded.weight
        folded.register_buffer("weight", torch.eye(2))
        for module, told in (
                (frozen, ['self.m.weight: "f32[2, 2](parameter=True, requires_grad=False)"',
                          'self.m.bias: "f32[2](parameter=True, requires_grad=False)"']),
                (mixed, ['self.m.bias: "f64[2](parameter=True)"']),
                (folded, ['self.m.weight: "f32[2, 2]" = [[1.0, 0.0], [0.0, 1.0]]']),
                (nn.Embedding.from_pretrained(torch.ones(3, 2)),
                 ['self.m.weight: "f32[3, 2](parameter=True, requires_grad=False)"'])):
            self.assertEqual(self.assertBuiltAgain(module)[0][1:], told)

    def test_dtypes(self):
        """The dtype is an argument, of a norm that has buffers alone too; a class without that argument has lines."""
        self.assertEqual(self.assertBuiltAgain(nn.BatchNorm1d(2, affine=False).double())[0],
                         ["self.m = torch.nn.BatchNorm1d(2, affine=False, dtype=torch.float64)"])
        self.assertEqual(self.assertBuiltAgain(nn.LSTM(2, 3, dtype=torch.float64))[0],
                         ["self.m = torch.nn.LSTM(2, 3, dtype=torch.float64)"])
        lines, _ = self.assertBuiltAgain(nn.TransformerEncoder(ENCODER, 1).double())
        self.assertIn("dtype=torch.float64), 1)", lines[0])


    def test_hooks(self):
        """Hooks that negate are written and built again, and run; one of anybody else's is opaque."""
        x = torch.ones(2, 3)
        for where, mode in (("output", ""), ("input", ""), ("input", ".eval()")):
            module = hooked(nn.Identity().train(not mode), where)
            lines, built = self.assertBuiltAgain(module)
            self.assertEqual(lines, [f'self.m = torch.nn.Identity().hooked("{where}"){mode}'])
            self.assertTrue(torch.equal(built(x), -x))
        lines, built = self.assertBuiltAgain(hooked(hooked(nn.Identity(), "output"), "input"))
        self.assertEqual(lines, ['self.m = torch.nn.Identity().hooked("input").hooked("output")'])
        self.assertTrue(torch.equal(built(x), x))
        for wrong in ('hooked("weight")', "hooked()", 'hooked("output", "input")', 'hooked(where="output")'):
            with self.assertRaisesRegex(GraphTextError, r'line 2: expected a module and .hooked\("input"\)'):
                parse_graph(f"def forward(self, x):\n    self.m = torch.nn.Identity().{wrong}\n    "
                            "m = self.m(x)\n    return m\n")


class OpaqueTests(unittest.TestCase):
    """A module that no call of its class builds is named, and is no call."""

    def assertOpaque(self, module):
        text = graph_text(calling(module))
        name = f"{type(module).__module__}.{type(module).__qualname__}"
        self.assertIn(f'self.m = opaque("{name}")', text)
        with self.assertRaisesRegex(GraphTextError, "line 2: .*stands for an object that a text cannot hold"):
            parse_graph(text)

    def test_changed_modules(self):
        """Hooks, another mode within, another module within, an attribute that does not fit the rest."""
        hooked, mode, within, attribute, forward = (nn.Linear(2, 2), nn.TransformerEncoderLayer(4, 2),
                                                    nn.TransformerEncoderLayer(4, 2), nn.Conv2d(2, 2, 3), nn.ReLU())
        hooked.register_forward_hook(lambda module, args, output: output + 1)
        mode.dropout1.eval()
        within.linear1 = nn.Linear(4, 2048, bias=False)
        attribute.transposed = True
        forward.forward = torch.neg
        for module in (hooked, mode, within, attribute, forward):
            self.assertOpaque(module)

    def test_lost_tensors_and_foreign_objects(self):
        """A tensor that is gone, a function of the user as an argument, a parametrization, a stack of no layers."""
        gone = nn.BatchNorm1d(2)
        gone.running_mean = None
        self.assertOpaque(gone)
        self.assertOpaque(nn.TripletMarginWithDistanceLoss(distance_function=lambda x, y: x - y))
        self.assertOpaque(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))
        self.assertOpaque(nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2), 0))
        self.assertOpaque(nn.Transformer(4, 2, custom_encoder=nn.Linear(4, 4)))


class ReadingTests(unittest.TestCase):
    """What is read as a module."""

    def read(self, call):
        return parse_graph(f"def forward(self, x):\n    self.m = {call}\n    m = self.m(x)\n    return (m,)\n").m

    def test_errors(self):
        """Another class, wrong arguments, a module too large and a tensor of other things are errors with the line."""
        for call, said in (
                ("torch.nn.Sequential()", "expected a module of torch.nn; got torch.nn.Sequential"),
                ("torch.nn.Linear(2)", "cannot build torch.nn.Linear: "),
                ("torch.nn.TransformerEncoder(3, 1)", "cannot build torch.nn.TransformerEncoder: "),
                ("torch.nn.Linear(100000, 100000)", "expected at most 268435456 parameters; torch.nn.Linear has"),
                ("torch.nn.NLLLoss(torch.ones(1000000000, dtype=torch.int8))", "expected at most 268435456 parameters"),
                ("torch.nn.NLLLoss(torch.ones(2.5, dtype=torch.int8))", "expected torch.ones with sizes and a dtype"),
                ("torch.nn.NLLLoss(torch.ones(2))", "expected torch.ones with sizes and a dtype"),
                ("torch.nn.NLLLoss(torch.zeros(2))", "expected a constant or a value defined above; got torch.zeros"),
                ("torch.nn.NLLLoss(torch.load('x'))", "expected a constant or a value defined above; got torch.load")):
            with self.subTest(call), self.assertRaisesRegex(GraphTextError, "line 2: ") as caught:
                self.read(call)
            self.assertIn(said, str(caught.exception))

    def test_numbers_come_from_a_seed_of_their_own(self):
        """Two readings have the same parameters, and neither reading nor printing draws from the generator."""
        torch.manual_seed(3)
        state = torch.get_rng_state()
        first, second = self.read("torch.nn.Linear(2, 3)"), self.read("torch.nn.Linear(2, 3)")
        graph_text(calling(first))

        self.assertTrue(torch.equal(first.weight, second.weight))
        self.assertTrue(torch.equal(torch.get_rng_state(), state))

    def test_printing_under_a_mode(self):
        """A mode that is active while a graph is printed sees nothing of it."""
        from torch._subclasses.fake_tensor import FakeTensorMode

        text = graph_text(calling(nn.Linear(7, 3)))
        with FakeTensorMode():
            self.assertEqual(graph_text(calling(nn.Linear(7, 3))), text)
        built = parse_graph(text).m
        self.assertIs(type(built.weight.data), torch.Tensor)


if __name__ == "__main__":
    unittest.main()
