"""torch.compile itself: in place and wrapped, whole graphs, stances, options, and what stays the user's own.

Mirrors test/dynamo/test_compile.py of PyTorch. It guards that every way to compile a model hands the backend the
same graph, that compiling leaves no trace in what is saved, that errors of the user stay the user's, and that
``fullgraph`` and a stance never fall back in silence. It would have caught ``Module.compile()`` of torch's own
modules running eagerly (https://github.com/pytorch/pytorch/issues/150915, mended by
https://github.com/pytorch/pytorch/pull/185722) and a frame that is skipped without a word
(https://github.com/pytorch/pytorch/issues/132923).
"""

import copy
import functools
import inspect
import io
import operator
import pickle
import warnings

import torch
from hypothesis import strategies as st
from torch._inductor.fx_passes import pre_grad
from torch.fx.passes.dialect.common.cse_pass import CSEPass

import fxpect
from fxpect import Dim, T
from fxpect.capture import capture
from fxpect.compiling import CompileLog, Reason, RecordingBackend, graphs_of, munge

explore = functools.partial(fxpect.explore, max_examples=5)
SIZES = st.integers(1, 5)
LAYERS = {"linear": lambda: torch.nn.Linear(4, 4), "relu": torch.nn.ReLU, "tanh": torch.nn.Tanh,
          "norm": lambda: torch.nn.LayerNorm(4), "gelu": torch.nn.GELU}  # fmt: skip
STACKS = st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, max_size=3)


class Joined(torch.nn.Module):
    """Layers, and then a join of two results below a relu."""

    def __init__(self, names=("linear",)):
        super().__init__()
        self.layers = torch.nn.ModuleList(LAYERS[name]() for name in names)
        self.calls = 0

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return torch.relu(torch.cat([x, x + 1], dim=-1))


class Broken(torch.nn.Module):
    """A graph break between two operators."""

    def forward(self, x):
        x = x.sin()
        torch._dynamo.graph_break()
        return x.cos()


def skipped(x):
    """A function that dynamo gives up on: a graph break inside of a loop."""
    for _ in range(2):
        torch._dynamo.graph_break()
    return x + 1


class InPlaceCompilationTests(fxpect.PreGradPassTestCase):
    """module.compile() is torch.compile(module), and leaves the module what it was."""

    @explore(STACKS, SIZES)
    def test_same_graph_as_wrapped(self, names, size):
        """In place and wrapped, the backend is given one and the same graph; passes find the same in it."""
        model, x = Joined(names), torch.randn(size, 4)
        expected = model(x)
        wrapped = graphs_of(model, x).graphs[0]
        backend = RecordingBackend(pre_grad.sink_cat_after_pointwise)

        model.compile(backend=backend)
        got = model(x)

        self.assertEqual(backend.texts, [wrapped.text])
        self.assertTrue(torch.allclose(got, expected))
        self.assertRewrites(pre_grad.sink_cat_after_pointwise, backend.graphs[0].example,
                            ops={"torch.cat": (1, 1), "torch.relu": (1, 2)})  # fmt: skip

    def test_modules_of_torch(self):
        """A module of torch's own gets a graph in place too, from 2.15 on; 2.13 runs it eagerly without a word."""
        lines, x = [], torch.randn(2, 4)
        for name, make in LAYERS.items():
            torch._dynamo.reset()
            model, backend = make(), RecordingBackend()
            expected = model(x)

            model.compile(backend=backend)

            self.assertTrue(torch.allclose(model(x), expected))
            lines.append(f"{name}: {len(backend.graphs)} in place, {len(graphs_of(make(), x).graphs)} wrapped")
        self.assertText("\n".join(lines))

    @explore(STACKS)
    def test_what_is_saved(self, names):
        """State, pickles, torch.save and copies of a compiled module are those of the module itself."""
        model, x = Joined(names).eval(), torch.randn(2, 4)
        expected, state = model(x), copy.deepcopy(model.state_dict())
        backend = RecordingBackend()
        model.compile(backend=backend)
        model(x)
        buffer = io.BytesIO()
        torch.save(model, buffer)
        buffer.seek(0)
        fresh = Joined(names).eval()
        fresh.load_state_dict(model.state_dict())

        loaded = [torch.load(buffer, weights_only=False), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)]

        self.assertEqual(list(model.state_dict()), list(state))
        self.assertIsNotNone(model._compiled_call_impl)
        made = len(backend.graphs)
        for other in [*loaded, fresh]:
            self.assertIsNone(other._compiled_call_impl)
            self.assertTrue(torch.allclose(other(x), expected))
        self.assertEqual(len(backend.graphs), made)

    @explore(STACKS, st.booleans())
    def test_wrapped_state(self, names, nested):
        """The state of a wrapped module loads into the module under the names that it has there."""
        model = Joined(names)
        wrapped = torch.compile(model, backend="eager")

        plain = {key.removeprefix("_orig_mod."): value for key, value in wrapped.state_dict().items()}
        other = Joined(names)
        other.load_state_dict(plain)

        self.assertEqual(list(plain), list(model.state_dict()))
        x = torch.randn(2, 4)
        self.assertTrue(torch.allclose(other(x), wrapped(x)))

    def test_compilation_callbacks(self):
        """A module compiled in place tells the start and the end of each graph, a break included."""
        model = Broken()
        model.compile(backend="eager")

        with CompileLog() as log:
            model(torch.ones(3))
            model(torch.ones(3))

        self.assertEqual(log.compilations, ["DYNAMO 0/0", "DYNAMO 1/0"])

    @explore(st.sampled_from([NameError, AttributeError, IndexError, TypeError, KeyError]), st.booleans())
    def test_errors_stay_the_users(self, kind, in_place):
        """An error of the model comes out as the type that it is eagerly, with its message."""
        raises = {NameError: lambda x: x + missing, AttributeError: lambda x: x.nothing,  # noqa: F821
                  IndexError: lambda x: list(x)[9], TypeError: lambda x: x + len(3),
                  KeyError: lambda x: {}["a"]}[kind]  # fmt: skip
        model = torch.nn.Module()
        model.forward = raises
        with self.assertRaises(kind) as eager:
            raises(torch.ones(2))
        call = torch.compile(raises, backend="eager") if not in_place else model
        if in_place:
            model.compile(backend="eager")

        with self.assertRaises(kind) as raised:
            call(torch.ones(2))

        self.assertEqual(str(raised.exception), str(eager.exception))

    def test_script_modules_are_refused(self):
        """A scripted module can be compiled neither in place nor wrapped."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scripted = torch.jit.script(torch.nn.Linear(2, 2))

        for compile_it in (lambda: scripted.compile(), lambda: torch.compile(scripted)):
            with self.assertRaises(RuntimeError) as raised:
                compile_it()
            self.assertRegex(str(raised.exception), "not support(ed on ScriptModules| compiling torch.jit.script)")

    @explore(SIZES, SIZES)
    def test_sparse_round_trip(self, rows, columns):
        """A tensor that is made sparse and dense again keeps its values, whatever breaks on the way."""
        def model(x):
            return (x.to_sparse() * 2).to_dense() + 1

        x = torch.randint(0, 3, (rows, columns)).float()

        sequence = graphs_of(model, x)

        self.assertTrue(torch.equal(sequence.value, x * 2 + 1))
        self.assertText("\n".join(sequence.outline))


class WaysToCompileTests(fxpect.PassTestCase):
    """Other things than modules: functions in functions, methods, callable objects, exported programs."""

    capture = "dynamo"

    @explore(SIZES, st.sampled_from(["function", "method", "object", "partial", "nested", "lambda"]))
    def test_same_graph(self, size, way):
        """However the code is reached, the graph is the same and a second call makes no other.

        The input of an object that is called goes through a wrapper, which calls it args_0.
        """
        def function(x):
            return torch.sin(x) + torch.sin(x)

        class Holder:
            def method(self, x):
                return torch.sin(x) + torch.sin(x)

            __call__ = method

        ways = {"function": function, "method": Holder().method, "object": Holder(),
                "partial": functools.partial(function), "lambda": lambda x: torch.sin(x) + torch.sin(x),
                "nested": torch.compile(function, backend="eager")}  # fmt: skip
        backend = RecordingBackend()
        compiled = torch.compile(ways[way], backend=backend)
        x = torch.randn(size)

        values = [compiled(x), compiled(x)]

        self.assertEqual([text.replace("args_0", "x") for text in backend.texts], graphs_of(function, x).backend.texts)
        self.assertTrue(all(torch.equal(value, function(x)) for value in values))
        self.assertRewrites(CSEPass(), backend.graphs[0].example, ops={"torch.sin": (2, 1)})

    @explore(STACKS, st.booleans())
    def test_exported_program(self, names, strict):
        """Compiling the module of an exported program gives AOT the operators that the model itself traces to."""
        model = Joined(names)
        batch = Dim("B", 2, 8)
        example = capture(model, (T(batch, 4),), capture="export" if strict else "export-nonstrict")
        module = example.exported.module()
        x = torch.randn(3, 4)

        with torch.no_grad():
            sequence = graphs_of(module, x, aot=True)

        self.assertTrue(torch.allclose(sequence.value, model(x), atol=1e-6))
        self.assertEqual(len(sequence.backend.forward), 1)
        traced = capture(model, (T(3, 4),), capture="make_fx")
        self.assertEqual(calls(sequence.backend.forward[0].graph_module), calls(traced.graph_module))


def calls(gm):
    """Return the ATen operators of a graph, sorted, without those that only check sizes or take a tuple apart."""
    targets = [node.target for node in gm.graph.nodes if node.op == "call_function"]
    return sorted(str(target) for target in targets if target not in (operator.ge, operator.le, operator.getitem)
                  and not str(target).startswith(("aten._assert", "aten.sym")))  # fmt: skip


class PublicTorchCompilerTests(fxpect.TestCase):
    """torch.compiler says no more and no less than what it stands for."""

    def test_signatures(self):
        """A public function takes what the private one takes, in order; disable has one argument more there."""
        for name, more in {"reset": [], "allow_in_graph": [], "list_backends": [], "assume_constant_result": [],
                           "disable": ["wrapping"]}.items():  # fmt: skip
            with self.subTest(name):
                public = inspect.signature(getattr(torch.compiler, name)).parameters
                private = inspect.signature(getattr(torch._dynamo, name)).parameters

                self.assertEqual([*map(str, public.values()), *(str(private[one]) for one in more)],
                                 list(map(str, private.values())))  # fmt: skip

    def test_backends(self):
        """The public list holds the backends that are neither for debugging nor experimental, in order."""
        public, everything = torch.compiler.list_backends(), torch.compiler.list_backends(exclude_tags=())

        self.assertLessEqual({"cudagraphs", "inductor", "openxla", "tvm"}, set(public))
        self.assertLessEqual({"aot_eager", "eager", "eager_noexcept", "pre_dispatch_eager", *public}, set(everything))
        self.assertEqual((public, everything), (sorted(public), sorted(everything)))
        self.assertFalse({"aot_eager", "eager"} & set(public))

    def test_options(self):
        """What torch.compile takes and refuses, in its own words."""
        lines = []
        for options in ({"mode": "x"}, {"backend": "nope"}, {"mode": "default", "options": {"a": 1}},
                        {"options": {"nope": 1}}, {"backend": "eager", "mode": "default"},
                        {"backend": "eager", "options": {"a": 1}}, {"mode": "max-autotune-no-cudagraphs"},
                        {"dynamic": "x"}):  # fmt: skip
            torch._dynamo.reset()
            try:
                torch.compile(lambda x: x.sin(), **options)
                answer = "taken"
            except Exception as error:
                answer = f"{type(error).__name__}: {munge(error)}".partition(", known options are")[0]
            lines.append(f"{options}: {answer}")

        self.assertText("\n".join(lines))


class FullgraphTests(fxpect.TestCase):
    """fullgraph=True is one graph, or an error that says why not."""

    @explore(STACKS, SIZES)
    def test_one_graph(self, names, size):
        """A model without a break is one graph."""
        sequence = graphs_of(Joined(names), T(size, 4), fullgraph=True)

        self.assertEqual((len(sequence.graphs), sequence.breaks), (1, []))

    def test_nothing_to_compile(self):
        """A function without an operator is no error: no graph, and with fullgraph one that is empty."""
        for fullgraph, count in ((False, 0), (True, 1)):
            sequence = graphs_of(lambda x: x, T(3), fullgraph=fullgraph)

            self.assertEqual((len(sequence.graphs), sequence.breaks), (count, []))

    @explore(st.sampled_from(["break", "skipped", "branch", "inner"]))
    def test_break_is_an_error(self, why):
        """The error is the reason that the same function has for its break without fullgraph."""
        functions = {"break": Broken().forward, "skipped": skipped, "inner": lambda x: Broken()(x) + 1,
                     "branch": lambda x: x.sin() if x.sum() > 0 else x.cos()}  # fmt: skip
        expected = graphs_of(functions[why], T(3)).breaks[0].reason

        with self.assertRaises(torch._dynamo.exc.Unsupported) as raised:
            graphs_of(functions[why], T(3), fullgraph=True)

        reason = Reason.read(raised.exception)
        self.assertEqual((reason.title, reason.id), (expected.title, expected.id))

    @explore(st.booleans())
    def test_error_on_graph_break(self, wanted):
        """The region that asks for errors gets them, the region that does not goes on."""
        compiled = torch.compile(skipped, backend="eager")

        def run():
            with torch._dynamo.error_on_graph_break(wanted):
                return compiled(torch.ones(2))

        if wanted:
            with self.assertRaises(torch._dynamo.exc.Unsupported):
                run()
        else:
            self.assertTrue(torch.equal(run(), torch.full((2,), 2.0)))


class StanceTests(fxpect.TestCase):
    """What a stance does to the first call, and to one of another size."""

    OUTCOMES = {
        ("default", True): 1, ("default", False): 1, ("force_eager", True): 0, ("force_eager", False): 0,
        ("eager_on_recompile", True): 0, ("eager_on_recompile", False): 0, ("fail_on_recompile", True): None,
        ("fail_on_recompile", False): None,
    }  # fmt: skip

    @explore(st.sampled_from(sorted(OUTCOMES)), SIZES, max_examples=8)
    def test_outcomes(self, outcome, size):
        """As many graphs as the table says are made, and the values are right; None is an error with the name."""
        stance, first = outcome
        backend = RecordingBackend()
        compiled = torch.compile(Joined().forward, backend=backend, dynamic=False)
        if not first:
            compiled(torch.ones(size, 4))
        made, x = len(backend.graphs), torch.ones(size + 1, 4)

        with torch.compiler.set_stance(stance):
            if self.OUTCOMES[outcome] is None:
                with self.assertRaisesRegex(RuntimeError, "Detected recompile when .*'fail_on_recompile'.*'forward'"):
                    compiled(x)
                return
            value = compiled(x)

        self.assertEqual(len(backend.graphs) - made, self.OUTCOMES[outcome])
        self.assertEqual(value.shape, (size + 1, 8))

    @explore(st.sampled_from(["force_eager", "eager_on_recompile", "fail_on_recompile"]), SIZES)
    def test_what_is_compiled_still_runs(self, stance, size):
        """A call that fits runs what was compiled, but where all is eager; nothing is made."""
        backend, ran, model, x = RecordingBackend(), [], Joined(), torch.ones(size, 4)

        def counting(gm, example_inputs):
            inner = backend(gm, example_inputs)
            return lambda *args: ran.append("graph") or inner(*args)

        compiled = torch.compile(model, backend=counting)
        compiled(x)
        ran.clear()

        with torch.compiler.set_stance(stance):
            value = compiled(x)

        self.assertEqual((len(backend.graphs), ran), (1, [] if stance == "force_eager" else ["graph"]))
        self.assertTrue(torch.equal(value, model(x)))


if __name__ == "__main__":
    fxpect.run_tests()
