"""The minifier: a failing graph made small, and the script that it writes to show the failure.

Mirrors test/dynamo/test_minifier.py of PyTorch, whose tests compile a chain with one relu for backends that fail on
a relu. Guards that what is left still fails in the same way and cannot be made smaller, that nothing is written
where nothing fails, and that the script rebuilds the graph with its modules, shapes and values, or refuses.

Would have caught https://github.com/pytorch/pytorch/issues/156437, https://github.com/pytorch/pytorch/issues/93594
and https://github.com/pytorch/torchdynamo/issues/1377 (scripts that do not run, or not show the failure). The
device that autocast is told of is tested on the CPU; other devices need a GPU, and Inductor's minifier a compiler.
"""

import argparse
import contextlib
import functools
import io
import logging
import re
import tempfile
from pathlib import Path
from unittest import mock

import torch
from hypothesis import strategies as st
from torch._dynamo.debug_utils import InputReader, NNModuleToString
from torch._dynamo.repro import after_dynamo
from torch._dynamo.repro.after_dynamo import generate_dynamo_fx_repro_string
from torch._functorch.fx_minifier import minifier
from torch._inductor.fx_passes import pre_grad

import fxpect
from fxpect import T
from fxpect.capture import capture
from fxpect.passes.catalogue import applies

explore = functools.partial(fxpect.explore, max_examples=10)
FEW = st.integers(0, 5)
KINDS = {"compile": "ReluCompileError", "runtime": "ReluRuntimeError", "accuracy": "AccuracyError"}


def chain(before, after, *, relu=True):
    """Return a function of sines, a relu or not, and cosines."""

    def model(x):
        for _ in range(before):
            x = torch.sin(x)
        if relu:
            x = torch.relu(x)
        for _ in range(after):
            x = torch.cos(x)
        return x + 1 if before + after + relu == 0 else x

    return model


@contextlib.contextmanager
def quiet():
    """Keep what the minifier prints and logs off the screen."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def run_script(path):
    """Return what a written script defines, without the part that runs it and the configuration that it would set."""
    scope = {"__name__": "script"}
    text = re.sub(r"^torch\._\w+\.config\..*$", "", Path(path).read_text(encoding="utf-8"), flags=re.MULTILINE)
    exec(compile(text, str(path), "exec"), scope)
    return scope


def operators(gm):
    """Return the functions that a graph calls, in order."""
    return [node.target for node in gm.graph.nodes if node.op == "call_function"]


class MinifierTests(fxpect.TestCase):
    """A backend fails after dynamo: the launcher is written, and run, it leaves the one node that matters."""

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def compile(self, model, kind):
        """Compile and run a model for the backend that fails on a relu in one way; returns what it raises."""
        torch._dynamo.reset()
        level = 4 if kind == "accuracy" else 2
        settings = {"repro_after": "dynamo", "repro_level": level, "debug_dir_root": str(self.folder)}
        with torch._dynamo.config.patch(settings), quiet():
            try:
                torch.compile(model, backend=f"relu_{kind}_error_TESTING_ONLY")(torch.ones(3))
            except Exception as error:
                return error
        return None

    def minify(self, kind):
        """Run the launcher that was written; returns what the smallest script defines."""
        (launcher,) = self.folder.rglob("minifier_launcher.py")
        found = run_script(launcher)
        options = argparse.Namespace(accuracy="accuracy" if kind == "accuracy" else "", autocast=False, only_fwd=False,
                                     save_dir=None, backend=f"relu_{kind}_error_TESTING_ONLY")  # fmt: skip
        torch._dynamo.reset()
        with contextlib.chdir(self.folder), quiet():
            after_dynamo.repro_minify(options, found["mod"], found["load_args"])
        return run_script(self.folder / "repro.py")

    def clear(self):
        """Forget what the example before wrote."""
        for path in [*self.folder.rglob("minifier_launcher.py"), *self.folder.glob("repro.py")]:
            path.unlink()

    @explore(FEW, FEW, st.sampled_from(["compile", "accuracy"]))
    def test_relu_alone_is_left(self, before, after, kind):
        """Whatever stands around it, one relu is what remains, and the backend fails on it as on the whole."""
        self.clear()

        error = self.compile(chain(before, after), kind)
        script = self.minify(kind)

        self.assertIn(KINDS[kind], f"{type(error).__name__}: {error}")
        minimal = torch.fx.symbolic_trace(script["mod"])
        self.assertEqual(operators(minimal), [torch.relu])
        again = self.compile(script["mod"], kind)
        self.assertIn(KINDS[kind], f"{type(again).__name__}: {again}")
        self.assertGraph(minimal)

    @explore(FEW, FEW, max_examples=2)
    def test_runtime_error(self, before, after):
        """The backend that fails when it runs writes its assertion into the very graph: nothing is made smaller."""
        self.clear()

        error = self.compile(chain(before, after), "runtime")
        with self.assertRaisesRegex(Exception, "ReluRuntimeError"):
            self.minify("runtime")

        self.assertIn("ReluRuntimeError", str(error))
        text = (self.folder / "repro.py").read_text(encoding="utf-8")
        found = [text.count(f"torch.{name}(") for name in ("sin", "_assert", "cos")]
        self.assertEqual(found, [before, 1, after])
        with self.assertRaisesRegex(AssertionError, "ReluRuntimeError"):
            run_script(self.folder / "repro.py")["mod"](torch.ones(3))

    @explore(FEW, FEW, st.sampled_from(sorted(KINDS)))
    def test_backends_pass_without_a_relu(self, before, after, kind):
        """Without a relu nothing fails and nothing is written."""
        self.clear()

        self.assertIsNone(self.compile(chain(before, after, relu=False), kind))

        self.assertEqual([*self.folder.rglob("minifier_launcher.py"), *self.folder.glob("repro.py")], [])

    def test_input_that_is_no_leaf(self):
        """An input that is computed from one that requires grad is rebuilt as such."""
        x = torch.ones(3, requires_grad=True) + 1
        settings = {"repro_after": "dynamo", "repro_level": 2, "debug_dir_root": str(self.folder)}

        with torch._dynamo.config.patch(settings), quiet():
            with self.assertRaisesRegex(Exception, "TestingOnlyCompileError"):
                torch.compile(lambda x: x + 1, backend="non_leaf_compile_error_TESTING_ONLY")(x)

        (launcher,) = self.folder.rglob("minifier_launcher.py")
        reader = InputReader(save_dir=str(launcher.parent / "checkpoints"))
        with quiet():
            run_script(launcher)["load_args"](reader)
        self.assertEqual([(value.requires_grad, value.is_leaf) for value in reader.args], [(True, False)])


@st.composite
def graphs(draw):
    """Draw a program over one input: for each step its operator, and the steps before that it reads."""
    count = draw(st.integers(2, 7))
    return [(draw(st.sampled_from("sctr")), draw(st.integers(0, i)), draw(st.integers(0, i))) for i in range(count)]


UNARY = {"s": torch.sin, "c": torch.cos, "t": torch.tanh, "r": torch.relu}


def program(steps):
    """Return the drawn program: each step an operator of the sum of two values before it."""

    def model(x):
        values = [x]
        for name, left, right in steps:
            values.append(UNARY[name](values[left] + values[right]))
        return values[-1] + 0 * sum(values)

    return model


class FxMinifierTests(fxpect.PreGradPassTestCase):
    """The minifier itself, with conditions of a user's own."""

    @staticmethod
    def minimal(example, fails):
        """Return the smallest graph that the minifier finds, and its inputs."""
        with quiet():
            return minifier(example.build(), example.realize(), module_fails=fails, dump_state=lambda gm, inputs: None)

    @explore(graphs(), st.sets(st.sampled_from("sctr"), min_size=1, max_size=2).map(sorted))
    def test_smallest_part(self, steps, names):
        """A condition on operators leaves a part of the graph that holds each once, and no other of their kind."""
        wanted = {UNARY[name] for name in names}
        example = capture(program(steps), (T(2),), capture="dynamo")

        def fails(gm, inputs):
            return wanted <= set(operators(gm))

        if not fails(example.graph_module, ()):
            with self.assertRaisesRegex(RuntimeError, "did not fail the tester"):
                self.minimal(example, fails)
            return
        gm, inputs = self.minimal(example, fails)

        left = [target for target in operators(gm) if target in UNARY.values()]
        self.assertEqual(sorted(left, key=str), sorted(wanted, key=str))
        self.assertEqual(len(inputs), len(gm.graph.find_nodes(op="placeholder")))
        gm(*inputs)

    @explore(st.integers(0, 3), st.integers(0, 3), max_examples=4)
    def test_what_a_pass_rewrites(self, before, after):
        """Asked for what a pass rewrites, it leaves the pattern of the pass, which is then judged alone."""

        def model(x, y):
            for _ in range(before):
                x = torch.sin(x)
            z = torch.relu(torch.cat([x, y], dim=-1))
            for _ in range(after):
                z = torch.cos(z)
            return z

        def fails(gm, inputs):
            found = fxpect.run_pass(pre_grad.sink_cat_after_pointwise, capture(gm, inputs, capture="dynamo"))
            return found.changed

        gm, inputs = self.minimal(capture(model, (T(2, 3), T(2, 2)), capture="dynamo"), fails)

        ops = {"torch.cat": (1, 1), "torch.relu": (1, 2), "torch.sin": (0, 0), "torch.cos": (0, 0)}
        example = capture(gm, inputs, capture="dynamo")
        self.assertRewrites(pre_grad.sink_cat_after_pointwise, example, ops=ops)


class ReproGenerationTests(fxpect.TestCase):
    """The script for a graph defines a module that is the graph again, and inputs like the given ones."""

    def script(self, gm, args, **options):
        """Write the script for a graph; returns what it defines."""
        text = generate_dynamo_fx_repro_string(gm, args, "eager", stable_output=True, **options)
        scope = {"__name__": "script"}
        exec(compile(text, "<script>", "exec"), scope)
        return text, scope

    @explore(graphs())
    def test_graph_comes_back(self, steps):
        """The module of the script computes what the graph computes, by the same operators."""
        example = capture(program(steps), (T(3),), capture="dynamo")
        args = example.realize()

        _, scope = self.script(example.build(), args)

        rebuilt = torch.fx.symbolic_trace(scope["mod"])
        self.assertEqual(len(rebuilt.graph.nodes), len(example.graph_module.graph.nodes))
        self.assertEqual(fxpect.graph_text(rebuilt, types=False).partition("\n")[2],
                         fxpect.graph_text(example.graph_module, types=False).partition("\n")[2])  # fmt: skip
        torch.testing.assert_close(scope["mod"](*args), example.graph_module(*args), rtol=0, atol=0)

    @explore(st.sampled_from(["f32", "f64", "i64", "bool", "f16", "c64"]), st.sampled_from([(2, 3), (1,), (), (0, 2)]),
             st.booleans(), st.booleans(), max_examples=8)  # fmt: skip
    def test_inputs_come_back(self, dtype, shape, saved, transposed):
        """Shape, strides and dtype are those of the inputs, and with a folder to save to the values too."""
        spec = T(*shape, dtype=dtype)
        gm = torch.fx.symbolic_trace(torch.nn.Identity())
        (value,) = capture(gm, (spec,), capture="symbolic").realize()
        value = value.t() if transposed and value.dim() == 2 else value

        with tempfile.TemporaryDirectory() as folder, quiet():
            _, scope = self.script(gm, [value], save_dir=folder if saved else None)
            reader = InputReader(save_dir=folder if saved else None)
            scope["load_args"](reader)

        (found,) = reader.args
        self.assertEqual((found.dtype, found.shape, found.stride()), (value.dtype, value.shape, value.stride()))
        if saved:
            self.assertTrue(torch.equal(found, value))

    @explore(st.integers(1, 4), st.integers(1, 4), st.booleans(), max_examples=4)
    def test_modules_and_state(self, width, features, bias):
        """Modules are rebuilt by their constructors; parameters and buffers keep shape and dtype, not their values."""
        graph = torch.fx.Graph()
        x = graph.placeholder("x")
        y = graph.call_module("linear", (x,))
        y = graph.call_function(torch.mul, (y, graph.get_attr("scale")))
        graph.output(graph.call_function(torch.add, (y, graph.get_attr("shift"))))
        root = torch.nn.Module()
        root.linear = torch.nn.Linear(width, features, bias=bias)
        root.register_buffer("scale", torch.full((features,), 7, dtype=torch.int64))
        root.shift = torch.nn.Parameter(torch.full((features,), 9.0, dtype=torch.float64))
        gm = torch.fx.GraphModule(root, graph)

        text, scope = self.script(gm, [torch.ones(2, width)])

        def shapes(module):
            tensors = [*module.named_parameters(), *module.named_buffers()]
            return {name: (type(value), value.dtype, value.shape) for name, value in tensors}

        self.assertEqual(shapes(scope["mod"]), shapes(gm))
        self.assertIn(f"Linear(in_features={width}, out_features={features}, bias={bias})", text)
        self.assertEqual(scope["mod"](torch.ones(2, width)).shape, (2, features))

    def test_stored_script(self):
        """The whole script, as it is stored: 2.15 imports one module more."""
        example = capture(chain(1, 1), (T(3),), capture="dynamo")

        text, _ = self.script(example.build(), example.realize())

        self.assertEqual("import math\n" in text, applies(">=2.15"))
        self.assertText(re.sub(r"\n{3,}", "\n\n", text).strip("\n"))

    @explore(st.sampled_from(["own", "text that is no Python", "list"]), max_examples=3)
    def test_module_that_cannot_be_written(self, kind):
        """A module that no constructor call makes again is refused, not written as a script that does not run."""

        class Own(torch.nn.Module):
            def forward(self, x):
                return x

            def __repr__(self):
                return "<lambda>()" if kind == "text that is no Python" else "Own()"

        graph = torch.fx.Graph()
        graph.output(graph.call_module("inner", (graph.placeholder("x"),)))
        inner = torch.nn.Sequential(torch.nn.ReLU()) if kind == "list" else Own()
        gm = torch.fx.GraphModule({"inner": inner}, graph)

        with quiet():
            self.assertFalse(NNModuleToString.can_convert_to_string(gm))
            with self.assertRaisesRegex(AssertionError, "Cannot convert module to string"):
                self.script(gm, [torch.ones(2)])

    def test_input_that_cannot_be_written(self):
        """An input that is neither a tensor nor an integer is refused by name."""
        with self.assertRaisesRegex(TypeError, "arg is neither SymInt/int nor torch.Tensor, word"):
            self.script(torch.fx.symbolic_trace(torch.nn.Identity()), ["word"])


class TestAutocastDeviceDetection(fxpect.TestCase):
    """The script runs under an autocast for the device of its inputs."""

    @explore(st.booleans(), st.booleans(), max_examples=4)
    def test_autocast_for_the_cpu(self, autocast, accuracy):
        """Inputs on the CPU give an autocast for the CPU, on or off as the graph was compiled."""
        module = torch.fx.symbolic_trace(torch.nn.ReLU())
        options = argparse.Namespace(accuracy="accuracy" if accuracy else "", autocast=autocast, only_fwd=True,
                                     save_dir=None, backend="eager")  # fmt: skip

        with (
            mock.patch.object(after_dynamo, "run_load_args", lambda *_: [torch.ones(2)]),
            mock.patch("torch.amp.autocast", wraps=torch.amp.autocast) as seen,
            quiet(),
        ):
            after_dynamo.repro_run(options, module, None)

        self.assertIn(mock.call("cpu", enabled=autocast), seen.mock_calls)


if __name__ == "__main__":
    fxpect.run_tests()
