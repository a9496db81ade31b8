"""einops under torch.compile and export: its patterns become plain tensor operators, the same on every release.

Mirrors test/dynamo/test_einops.py of PyTorch, which runs one model through several releases of einops. Guards
that dynamo traces einops through its caches and string handling, that nothing of einops is left in the graph (from
0.8.2 on; one node a call before), and what the operators are.

Would have caught https://github.com/pytorch/pytorch/issues/153476 and
https://github.com/pytorch/pytorch/issues/157601 (einops broke under dynamo),
https://github.com/arogozhnikov/einops/issues/377 (dynamic sizes) and
https://github.com/pytorch/pytorch/pull/173611. What an invalid pattern says differs between 2.13 and 2.15.
"""

import functools
import math
import os
import unittest
import warnings

import torch
from hypothesis import strategies as st
from torch._dynamo.exc import Unsupported

import fxpect
from fxpect import Dim, T
from fxpect.compiling import call_in_turn, graphs_of
from fxpect.passes.catalogue import applies, find
from fxpect.passes.firing import pass_of

try:
    import einops
    from einops.layers.torch import EinMix, Rearrange, Reduce
except ImportError:
    einops = None

explore = functools.partial(fxpect.explore, max_examples=6)
early_patterns = pass_of(find("joint.early_patterns"))
MISSING = "einops is not installed: pip install einops"
needs_einops = unittest.skipIf(einops is None and not os.environ.get("CI"), MISSING)


class EinopsTestCase(fxpect.PreGradPassTestCase):
    """A test that needs einops: skipped without it, but not in CI, where tox has installed it."""

    def setUp(self):
        super().setUp()
        if einops is None:
            self.fail(MISSING)


@st.composite
def patterns(draw):
    """Draw a rearrangement: the left side, the right side, and the size of every axis by its letter."""
    count = draw(st.integers(1, 4))
    letters = "abcd"[:count]
    sizes = {letter: draw(st.integers(1, 4)) for letter in letters}
    return side(draw, letters), side(draw, "".join(draw(st.permutations(letters)))), sizes


def side(draw, letters):
    """Draw how the axes of one side are grouped."""
    words, place = [], 0
    while place < len(letters):
        size = draw(st.integers(1, len(letters) - place))
        words.append(letters[place] if size == 1 else f"({' '.join(letters[place:place + size])})")
        place += size
    return " ".join(words)


def shape_of(pattern, sizes):
    """Return the shape of a tensor whose axes are grouped like that."""
    words = pattern.replace(")", "|").replace("(", "|").split("|")
    shape = []
    for i, word in enumerate(words):
        parts = [sizes[letter] for letter in word.split()]
        shape += [math.prod(parts)] if i % 2 else parts
    return shape


def targets_of(example):
    """Return the names of what the graph calls."""
    nodes = example.graph_module.graph.nodes
    return [str(getattr(node.target, "__name__", node.target)) for node in nodes if node.op.startswith("call_")]


@needs_einops
class TestEinops(EinopsTestCase):
    """Each function of einops is traced into one graph of plain operators, and computes what it does in eager."""

    @explore(patterns(), max_examples=14)
    def test_rearrange(self, drawn):
        """Any rearrangement and its inverse: reshapes and one permutation each way, and the tensor is back."""
        left, right, sizes = drawn

        def there_and_back(x):
            y = einops.rearrange(x, f"{left} -> {right}", **sizes)
            return y, einops.rearrange(y, f"{right} -> {left}", **sizes)

        x = torch.arange(math.prod(sizes.values()), dtype=torch.float32).reshape(shape_of(left, sizes))
        rearranged, back = torch.compile(there_and_back, backend="eager", fullgraph=True)(x + 0)

        self.assertEqual(list(rearranged.shape), shape_of(right, sizes))
        self.assertTrue(torch.equal(back, x))
        self.assertTrue(torch.equal(rearranged, there_and_back(x)[0]))

    @explore(st.integers(2, 4), st.integers(1, 3), st.integers(1, 4), max_examples=5)
    def test_stored_rearrange(self, heads, batch, width):
        """Heads split off and moved to the front: one reshape and one permute."""

        def split(x):
            return einops.rearrange(x, "b (h w) c -> h w b c", h=heads)

        sequence = graphs_of(split, T(batch, heads * width, 5), fullgraph=True)

        self.assertEqual(sequence.outline, ["graph: reshape, permute"])
        self.assertEqual(list(sequence.value.shape), [heads, width, batch, 5])
        self.assertGraph(sequence.graphs[0].example)

    @explore(st.sampled_from(["mean", "min", "max", "sum", "prod"]), st.sampled_from(["", "a", "b", "c", "a c", "c b"]))
    def test_reduce(self, reduction, kept):
        """Every reduction over any axes: a permutation, where one is due, and a reduction of the last ones."""
        dims = tuple("abc".index(letter) for letter in "abc" if letter not in kept)
        x = torch.arange(24.0).reshape(2, 3, 4) / 7

        sequence = graphs_of(lambda x: einops.reduce(x, f"a b c -> {kept}", reduction), x, fullgraph=True)

        expected = x
        for dim in reversed(dims):
            take = {"min": torch.amin, "max": torch.amax}.get(reduction) or getattr(torch, reduction)
            expected = take(expected, dim=dim)
        if kept == "c b":
            expected = expected.t()
        torch.testing.assert_close(sequence.value, expected)
        self.assertEqual(len(sequence.graphs), 1)
        self.assertGraph(sequence.graphs[0].example)

    @explore(st.integers(1, 4), st.integers(1, 3), st.sampled_from(["k a", "a k", "(a k)", "(k a)"]))
    def test_repeat(self, times, size, right):
        """A new axis is a view until it is joined with another."""
        x = torch.arange(float(size))

        sequence = graphs_of(lambda x: einops.repeat(x, f"a -> {right}", k=times), x, fullgraph=True)

        forms = {"k a": x.expand(times, size), "a k": x[:, None].expand(size, times),
                 "(a k)": x.repeat_interleave(times), "(k a)": x.repeat(times)}  # fmt: skip
        self.assertTrue(torch.equal(sequence.value, forms[right]))
        self.assertIn("expand", targets_of(sequence.graphs[0].example))

    @explore(st.sampled_from(["a b, b c -> c a", "a b, c b -> a c", "a b, a b ->", "a b, c d -> a b c d"]))
    def test_einsum(self, pattern):
        """Named axes become one torch.einsum, its equation in letters."""
        left, right = (side.split(", ") for side in pattern.split(" -> ")) if " -> " in pattern else (
            pattern.removesuffix(" ->").split(", "), [""])  # fmt: skip
        sizes = {"a": 2, "b": 3, "c": 2, "d": 4}
        specs = [T(*[sizes[letter] for letter in words.split()]) for words in left]

        sequence = graphs_of(lambda x, y: einops.einsum(x, y, pattern), *specs, fullgraph=True)

        (node,) = sequence.graphs[0].graph_module.graph.find_nodes(op="call_function", target=torch.einsum)
        equation = f"{','.join(words.replace(' ', '') for words in left)}->{''.join(right).replace(' ', '')}"
        self.assertEqual(renamed(node.args[0]), renamed(equation))

    @explore(st.lists(st.lists(st.integers(1, 3), max_size=2), min_size=1, max_size=3))
    def test_pack_and_unpack(self, tails):
        """What is packed along one axis comes back unpacked, of its own shape."""
        parts = [torch.full((2, *tail), float(i)) for i, tail in enumerate(tails)]

        def there_and_back(*parts):
            packed, shapes = einops.pack(parts, "a *")
            return packed, einops.unpack(packed, shapes, "a *")

        sequence = graphs_of(there_and_back, *parts, fullgraph=True)

        packed, back = sequence.value
        self.assertEqual(list(packed.shape), [2, sum(map(math.prod, tails))])
        torch.testing.assert_close(list(back), parts, rtol=0, atol=0)
        self.assertOps(sequence.graphs[0].example, {"torch.cat": 1})

    @explore(st.sampled_from(["rearrange", "reduce", "repeat", "einsum", "pack", "unpack"]), max_examples=6)
    def test_einops_method(self, name):
        """Nothing of einops is left in the graph, or before 0.8.2 one call."""
        calls = {"rearrange": lambda x: einops.rearrange(x, "a b c -> a c b"),
                 "reduce": lambda x: einops.reduce(x, "a b c -> a b", "min"),
                 "repeat": lambda x: einops.repeat(x, "a b c -> a b c d", d=2),
                 "einsum": lambda x: einops.einsum(x, "a b c -> a c b"),
                 "pack": lambda x: einops.pack([x], "* b")[0],
                 "unpack": lambda x: einops.unpack(x, [(3,), (1,)], "a * c")[0]}  # fmt: skip

        backend = fxpect.compiling.RecordingBackend()
        torch.compile(lambda x: calls[name](x).sin(), backend=backend, fullgraph=True)(torch.ones(3, 4, 5))

        found = [node for node in backend.graphs[0].graph_module.graph.nodes
                 if str(getattr(node.target, "__module__", "")).startswith("einops")]  # fmt: skip
        inlined = tuple(map(int, einops.__version__.split(".")[:3])) >= (0, 8, 2)
        self.assertEqual(len(found), 0 if inlined else 1)

    @explore(st.integers(2, 4), st.integers(1, 3), max_examples=4)
    def test_no_recompile_on_lazy_state(self, first, more):
        """einops fills its caches in the first call; the second compiles nothing, and one more serves all sizes."""
        calls = call_in_turn(
            lambda x: einops.rearrange(x, "a b -> b a"),
            *[(torch.ones(size, 3),) for size in (first, first, *range(first + 3, first + 3 + more))],
        )

        self.assertEqual([one.compiled for one in calls], [True, False, True] + [False] * (more - 1))

    def test_no_warning(self):
        """Tracing einops warns of nothing."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            graphs_of(lambda x: einops.rearrange(x, "... -> (...)"), T(5), fullgraph=True)

    @explore(st.sampled_from(["a b -> a b c", "a (b c) -> a b c", "a b c -> c"]), max_examples=3)
    def test_invalid_pattern(self, pattern):
        """In eager einops says what is wrong. Compiled, 2.15 passes its words on; before, they get lost on the way."""
        x = torch.ones(3, 4)
        given = {"b": 3} if "(" in pattern else {}

        with self.assertRaisesRegex(einops.EinopsError, "Error while processing"):
            einops.rearrange(x, pattern, **given)
        if applies(">=2.15"):
            with self.assertRaisesRegex(Unsupported, "raised exception EinopsError.*Error while processing"):
                graphs_of(lambda x: einops.rearrange(x, pattern, **given), x, fullgraph=True)
        else:
            with self.assertRaisesRegex(Unsupported, "missing sq_concat"):
                graphs_of(lambda x: einops.rearrange(x, pattern, **given), x, fullgraph=True)
        with self.assertRaisesRegex(einops.EinopsError, "Error while processing"):
            graphs_of(lambda x: einops.rearrange(x, pattern, **given), x)


def renamed(equation):
    """Return an equation of einsum with its letters in the order of their first use."""
    names = {}
    return "".join(names.setdefault(c, "abcdefgh"[len(names)]) if c.isalpha() else c for c in equation)


@needs_einops
class EinopsLayerTests(EinopsTestCase, fxpect.ExportTestCase):
    """The layers of einops in a model that is compiled and exported."""

    @staticmethod
    def model(width, features):
        """Return a model of three layers: split, mix, reduce."""
        return torch.nn.Sequential(
            Rearrange("b (t c) -> b t c", c=width),
            EinMix("b t c -> b t d", weight_shape="c d", bias_shape="d", c=width, d=features),
            Reduce("b t d -> b d", "max"),
        )

    @explore(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.booleans(), max_examples=5)
    def test_layers(self, width, features, times, strict):
        """Exported either way, with any number of rows: a reshape, an einsum and a maximum."""
        batch = Dim("B", min=2, max=64)

        program = self.assertExports(self.model(width, features), T(batch, times * width), strict=strict)

        self.assertOps(program, {"aten.einsum.default": 1, "aten.reshape.default": 1, "aten.amax.default": 1})
        self.assertGraph(program, "program")

    @explore(st.integers(1, 3), st.integers(1, 3), max_examples=3)
    def test_layers_compiled(self, width, features):
        """Compiled, weight and bias are inputs, and values and gradients are those of eager."""
        model, x = self.model(width, features), torch.randn(2, 2 * width)

        sequence = graphs_of(model, x, fullgraph=True)

        self.assertEqual(len(sequence.graphs[0].example.placeholders), 3)
        torch.testing.assert_close(sequence.value, model(x))
        found, expected = (torch.autograd.grad(y.sum(), list(model.parameters())) for y in (sequence.value, model(x)))
        torch.testing.assert_close(found, expected)


@needs_einops
class EinopsPassTests(EinopsTestCase):
    """Passes over what einops became."""

    capture = "aten"

    @explore(st.permutations("abc").map("".join), st.integers(1, 3), max_examples=5)
    def test_permutations_that_cancel(self, order, size):
        """A permutation and its inverse are taken out before autograd's graph is compiled."""

        def there_and_back(x):
            moved = einops.rearrange(x, f"a b c -> {' '.join(order)}")
            return einops.rearrange(moved, f"{' '.join(order)} -> a b c") + 1

        permutes = 0 if order == "abc" else 2
        verb = self.assertRewrites if permutes else self.assertPreserves
        verb(early_patterns, there_and_back, T(size, 2, 3), ops={"aten.permute": (permutes, 0)})

    @explore(st.integers(1, 3), st.integers(2, 4), max_examples=4)
    def test_reshapes_that_cancel(self, size, parts):
        """Split and joined again: the pass takes both views out, for every size that fits."""
        rows = Dim("N", min=2, max=32)

        def there_and_back(x):
            split = einops.rearrange(x, "n (p w) -> n p w", p=parts)
            return einops.rearrange(split, "n p w -> n (p w)") * 2

        self.assertRewrites(early_patterns, there_and_back, T(rows, parts * size), ops={"aten.view": (2, 0)})


if __name__ == "__main__":
    fxpect.run_tests()
