"""Compile packages: code that was compiled, saved and loaded runs where it fits, and nowhere else.

Mirrors test/dynamo/test_package.py of PyTorch. It guards deployments that compile once: what is loaded computes what
was saved, with the parameters of the module that loads it, for every input that was seen and for none beyond the
guards, and not for other source. It would have caught https://github.com/pytorch/pytorch/issues/157721,
https://github.com/pytorch/pytorch/pull/187736 and https://github.com/pytorch/pytorch/pull/196505. Everything
runs on the eager backend: Inductor needs a C++ compiler, the variants for CUDA a GPU.
"""

import functools
import re
import tempfile
from pathlib import Path
from unittest import mock

import torch
from hypothesis import strategies as st
from torch._dynamo.package import DiskDynamoStore, SystemInfo, load_guards_state
from torch.fx.passes.dialect.common.cse_pass import CSEPass

import fxpect
from fxpect.compiling import RecordingBackend, graphs_of, save_package, source_module

explore = functools.partial(fxpect.explore, max_examples=5)
SIZES = st.integers(2, 5)
SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)
OPERATORS = ("sin", "cos", "neg", "relu", "exp", "abs", "double", "square")
RECOMPILE = "Detected recompile when torch.compile stance is 'fail_on_recompile'"


def chain(x, names):
    """Apply operators by name, one after the other, and compute one product twice."""
    for name in names:
        x = getattr(x, name)()
    return x * 3 + x * 3


def plus_size(x):
    return x * 2 + x.shape[0]


def breaks(x, count):
    x = x * 2
    if count > 0:
        torch._dynamo.graph_break()
        x = x.sin()
    if count > 1:
        torch._dynamo.graph_break()
        x = x + count
    return x


def outer(x):
    return inner(x + 1) * 2


def inner(x):
    torch._dynamo.graph_break()
    return x.cos()


def yields(x):
    for part in (x * i for i in range(3)):
        x = x + part
    return x


class Layer(torch.nn.Module):
    """A layer with a parameter and a buffer."""

    def __init__(self, size=3):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(size))
        self.register_buffer("shift", torch.randn(size))

    def forward(self, x):
        return x * self.weight + self.shift


def runs_layer(layer, x):
    return layer(x)


class TestPackage(fxpect.PassTestCase):
    """Save, load, run; each test under a stance in which compiling anew is an error."""

    @explore(st.lists(st.sampled_from(OPERATORS), max_size=4), SHAPES)
    def test_basic_fn(self, names, shape):
        """Before it is installed the call fails, then it gives the very values; the graph is the usual one."""
        x = torch.randn(shape)
        saved = save_package(chain, (x, names))
        loaded = saved.load()

        with self.assertRaisesRegex(RuntimeError, RECOMPILE):
            loaded(x, names)
        with loaded:
            self.assertTrue(torch.equal(loaded(x, names), chain(x, names)))
        with self.assertRaisesRegex(RuntimeError, RECOMPILE):
            loaded(x, names)

        graph = graphs_of(chain, x, names).graphs[0]
        self.assertEqual(saved.backend.texts, [graph.text])
        self.assertRewrites(CSEPass(), graph.example, ops={"operator.mul": (2, 1)})

    @explore(st.lists(st.sampled_from(OPERATORS), min_size=1, max_size=4), SHAPES)
    def test_pass_before_saving(self, names, shape):
        """What a pass made of the graph is what is saved: fewer products, the same values."""
        x = torch.randn(shape)
        backend = RecordingBackend(CSEPass())

        with save_package(chain, (x, names), backend=backend).load() as loaded:
            self.assertTrue(torch.equal(loaded(x, names), chain(x, names)))

        (graph,) = loaded.backends.values()
        self.assertOps(module_of(graph), {"operator.mul": 1})
        self.assertOps(backend.graphs[0].example, {"operator.mul": 2})
        self.assertOps(backend.graphs[0].execution, {"operator.mul": 1})

    @explore(st.integers(2, 5), st.integers(0, 3), st.integers(1, 9))
    def test_dynamic_shape(self, low, wide, size):
        """A size inside of the range that was marked runs, one outside is refused."""
        x = torch.randn(low, 2)
        torch._dynamo.mark_dynamic(x, 0, min=low, max=low + wide)
        y = torch.randn(size, 2)

        with save_package(plus_size, (x,)).load() as loaded:
            if low <= size <= low + wide:
                self.assertTrue(torch.equal(loaded(y), plus_size(y)))
            else:
                with self.assertRaisesRegex(RuntimeError, RECOMPILE):
                    loaded(y)

    @explore(st.integers(0, 2), SIZES)
    def test_graph_breaks(self, count, size):
        """There is one saved graph for each graph, the functions that resume included, and all of them run."""
        x = torch.randn(size)
        saved = save_package(breaks, (x, count))

        self.assertEqual(len(graphs_of(breaks, x, count).breaks), count)
        with saved.load() as loaded:
            self.assertEqual((len(loaded.backends), len(saved.backend.graphs)), (count + 1, count + 1))
            self.assertTrue(torch.equal(loaded(x, count), breaks(x, count)))
            with self.assertRaisesRegex(RuntimeError, RECOMPILE):
                loaded(x, count + 3)

    def test_break_in_a_called_function(self):
        """A break inside of a function that is called is resumed in both functions.

        Once in a process: 2.13 leaves the loaded code of the function that is called in place.
        """
        x = torch.randn(3)
        with torch._dynamo.config.patch(nested_graph_breaks=False), save_package(outer, (x,)).load() as loaded:
            self.assertTrue(torch.equal(loaded(x), outer(x)))
            self.assertEqual(len(loaded.backends), 3)

    @explore(SIZES)
    def test_code_with_generator(self, size):
        """Code with a generator inside is saved and loaded."""
        x = torch.randn(size)

        with save_package(yields, (x,)).load() as loaded:
            self.assertTrue(torch.equal(loaded(x), yields(x)))

    @explore(st.lists(st.integers(2, 9), min_size=1, max_size=3, unique=True), st.integers(2, 9))
    def test_recompilations(self, sizes, other):
        """All sizes that were compiled are served after loading, another one is not."""
        inputs = [torch.randn(size) for size in sizes]

        with save_package(plus_size, *[(x,) for x in inputs], dynamic=False).load() as loaded:
            for x in inputs:
                self.assertTrue(torch.equal(loaded(x), plus_size(x)))
            if other not in sizes:
                with self.assertRaisesRegex(RuntimeError, RECOMPILE):
                    loaded(torch.randn(other))

    @explore(SIZES, SIZES)
    def test_nn_module(self, size, rows):
        """Parameters and buffers are those of the module that is given after loading; none is baked in."""
        one, other, x = Layer(size), Layer(size), torch.randn(rows, size)

        with save_package(runs_layer, (one, x)).load() as loaded:
            self.assertTrue(torch.equal(loaded(one, x), one(x)))
            self.assertTrue(torch.equal(loaded(other, x), other(x)))
            with torch.no_grad():
                one.weight.mul_(2)
            self.assertTrue(torch.equal(loaded(one, x), one(x)))

    @explore(st.lists(st.sampled_from(OPERATORS), min_size=1, max_size=3), SHAPES)
    def test_lazy_backward(self, names, shape):
        """Gradients through what was loaded are those of eager."""
        x = torch.randn(shape, requires_grad=True)

        with save_package(chain, (x, names)).load() as loaded:
            (got,) = torch.autograd.grad(loaded(x, names).sum(), x)

        (expected,) = torch.autograd.grad(chain(x, names).sum(), x)
        self.assertTrue(torch.equal(got, expected))

    @explore(st.permutations([0, 1]), SIZES)
    def test_two_packages(self, counts, size):
        """Of two packages of one function the one that is installed last is in place; the guards stay its own."""
        x = torch.randn(size)
        one, other = (save_package(breaks, (x, count)).load() for count in counts)

        with one, other:
            self.assertTrue(torch.equal(other(x, counts[1]), breaks(x, counts[1])))
            with self.assertRaisesRegex(RuntimeError, RECOMPILE):
                other(x, counts[0])


class StoreTests(fxpect.TestCase):
    """What is written, and when it is refused."""

    @explore(SHAPES, max_examples=3)
    def test_disk(self, shape):
        """A package on disk is what a package in memory is."""
        x = torch.randn(shape)
        with tempfile.TemporaryDirectory() as folder:
            saved = save_package(plus_size, (x,), store=DiskDynamoStore(folder))
            written = [path for path in Path(folder).rglob("*") if path.is_file()]
            loaded = saved.load()

        self.assertTrue(written)
        with loaded:
            self.assertTrue(torch.equal(loaded(x), plus_size(x)))

    @explore(st.sampled_from(["body", "callee", "comment below", "nothing"]), max_examples=4)
    def test_file_change(self, change):
        """Source that changed between saving and loading is refused, in the function or in one that it calls."""
        source = "def callee(x):\n    return x * 2\n\n\ndef function(x):\n    return callee(x) + 1\n"
        changed = {"body": source.replace("+ 1", "+ 2"), "callee": source.replace("* 2", "* 3"),
                   "comment below": source + "# later\n", "nothing": source}[change]  # fmt: skip
        x = torch.randn(3)
        with tempfile.TemporaryDirectory() as folder:
            with source_module(source, "packaged_module", folder) as module:
                saved = save_package(module.function, (x,))
            with source_module(changed, "packaged_module", folder) as module:
                if change in ("body", "callee"):
                    with self.assertRaisesRegex(RuntimeError, "Source code changes detected for"):
                        saved.load(module.function)
                else:
                    with saved.load(module.function) as loaded:
                        self.assertTrue(torch.equal(loaded(x), x * 2 + 1))

    @explore(st.sampled_from(["python_version", "torch_version"]), max_examples=2)
    def test_other_system(self, field):
        """A package of another Python or torch is refused, and the version that made it is named."""
        saved = save_package(plus_size, (torch.randn(3),))
        system = SystemInfo.current()
        changed = mock.patch.object(SystemInfo, "current", lambda: type(system)(**{**vars(system), field: "0.0"}))

        expected = f"created with a different .* version: {re.escape(str(getattr(system, field)))}"
        with changed, self.assertRaisesRegex(RuntimeError, expected):
            saved.load()
        self.assertTrue(saved.load().backends)

    @explore(st.integers(0, 2), SIZES, max_examples=3)
    def test_two_saves_are_alike(self, count, size):
        """Saved twice, a function has the same codes, guards and graphs; the names of the graphs alone differ."""
        x = torch.randn(size)

        one, other = (save_package(breaks, (x, count)) for _ in range(2))

        self.assertEqual(summary(one.entry), summary(other.entry))
        self.assertEqual(one.backend.texts, other.backend.texts)
        self.assertFalse(one.entry.backend_ids & other.entry.backend_ids)


def summary(entry):
    """Return what two saves of one function have in common: names of codes, and their guards."""
    return [(code.python_code.co_name.rpartition("_at_")[0], len(code.python_code.co_code),
             [sorted(guard.create_fn_name() for guard in load_guards_state(one.guards_state).output_graph.guards)
              for one in code.guarded_codes]) for code in entry.codes]  # fmt: skip


def module_of(saved_graph):
    """Return the graph module of a saved graph."""
    return saved_graph.after_deserialization().__self__


if __name__ == "__main__":
    fxpect.run_tests()
