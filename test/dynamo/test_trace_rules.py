"""Trace rules: which functions become an operator of the graph, which are traced through, and which break it.

Mirrors test/dynamo/test_trace_rules.py of PyTorch. Guards that each rule names something that exists and is heeded,
that every operator of one tensor is captured as itself, and that a function is taken as its file, its rule and its
decorator say, with what that means for a pass over the graph. Would have caught frames that are never compiled again
after one call under a dispatch mode (https://github.com/pytorch/pytorch/issues/190286, in 2.13), operators that ran
eagerly when they were compiled alone (https://github.com/pytorch/pytorch/issues/168284), a decorator that rules did
not heed (https://github.com/pytorch/pytorch/issues/98847) and breaks without a reason
(https://github.com/pytorch/pytorch/issues/150435). Pinned, since both torches have it: rules for functions that are
gone or hidden behind a cache, and code in a skipped file that is not compiled though it was asked for
(https://github.com/pytorch/pytorch/issues/132923, https://github.com/pytorch/pytorch/issues/144820).
"""

import _bisect
import contextlib
import copy
import functools
import itertools
import math
import operator
import re
import types
import warnings
from pathlib import Path
from unittest import mock

import torch
from hypothesis import strategies as st
from torch._dynamo import trace_rules
from torch._dynamo.exc import InternalTorchDynamoError, Unsupported
from torch._dynamo.utils import istype
from torch._dynamo.variables import (
    PolyfilledFunctionVariable,
    SkipFunctionVariable,
    TorchInGraphFunctionVariable,
    UserFunctionVariable,
)
from torch._dynamo.variables.builder import VariableBuilder
from torch._inductor.fx_passes import pre_grad
from torch.fx.passes.dialect.common.cse_pass import CSEPass
from torch.utils.flop_counter import FlopCounterMode

import fxpect
from fxpect import T
from fxpect.compiling import RecordingBackend, call_in_turn, graphs_of, munge, source_module
from fxpect.text.targets import target_name

explore = functools.partial(fxpect.explore, max_examples=5)
SIZES = st.integers(1, 4)
SMALL = st.integers(2, 4)
TORCH = tuple(map(int, torch.__version__.split(".")[:2]))
SKIPPED = "Attempted to call function marked as skipped (gb0007)"
FOLDER = Path(torch.__file__).parent
sink_cat = pre_grad.sink_cat_after_pointwise

# A library of its own file, since rules are about files and names.
LIBRARY = '''
import torch


def activate(x):
    return torch.relu(x)


def join(x, y):
    return activate(torch.cat([x, y], dim=-1))


def draw(x):
    return x + torch.rand(x.shape)


class Layer(torch.nn.Module):
    def forward(self, x, y):
        return join(x, y) * 2
'''


class RulesTestCase(fxpect.CompileTestCase):
    """Tests without the advice that torch has for every builtin it does not trace."""

    def setUp(self):
        super().setUp()
        self.enterContext(warnings.catch_warnings(action="ignore"))


@contextlib.contextmanager
def library():
    """Import the library; its functions may be called by graph texts."""
    with source_module(LIBRARY, "ruled_library") as module:
        for function in (module.join, module.draw):
            fxpect.register_target(function)
        yield module


@contextlib.contextmanager
def skipped(module):
    """Take the file of a module for one that dynamo skips."""
    directories = mock.patch.object(trace_rules, "SKIP_DIRS", list(trace_rules.SKIP_DIRS))
    with directories, mock.patch.object(trace_rules, "SKIP_DIRS_RE", trace_rules.SKIP_DIRS_RE):
        trace_rules.add(module.__name__)
        yield


@contextlib.contextmanager
def rules(more):
    """Add rules by name to those that torch has."""
    manual, *others = trace_rules.torch_name_rule_map
    uncached = trace_rules.get_torch_obj_rule_map.__wrapped__
    with mock.patch.object(trace_rules, "torch_name_rule_map", [manual | more, *others]), \
            mock.patch.object(trace_rules, "get_torch_obj_rule_map", functools.cache(uncached)):  # fmt: skip
        yield


@contextlib.contextmanager
def substituted(original, polyfill):
    """Trace ``polyfill`` in the place of ``original``; nothing of it is left behind the with."""
    tables = [VariableBuilder._id_dispatch(), trace_rules.get_torch_obj_rule_map(),
              PolyfilledFunctionVariable._get_polyfill_handlers()]  # fmt: skip
    ids = trace_rules._polyfilled_function_ids
    with contextlib.ExitStack() as stack:
        for table in tables:
            stack.enter_context(mock.patch.dict(table))
        stack.enter_context(mock.patch.object(ids, "function_ids", set(ids())))
        yield torch.compiler.substitute_in_graph(original)(polyfill)


def one_tensor_functions():
    """Return the public functions of torch that make one tensor of a positive square one, by name."""
    x, found = positive(), {}
    known = torch.overrides.get_testing_overrides()
    for space in (torch, torch.nn.functional, torch.linalg, torch.special, torch.fft):
        for name in sorted(set(dir(space)) - {"fbgemm_pack_gemm_matrix_fp16"}):  # needs FBGEMM, and makes no tensor
            function = getattr(space, name)
            if name[0] != "_" and name[-1] != "_" and isinstance(function, FUNCTIONS) and function in known:
                with contextlib.suppress(Exception):
                    if isinstance(function(x.clone()), torch.Tensor):
                        found[f"{space.__name__}.{name}"] = function
    return found


FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType)
# The sizes of their results are in the data, or they look at the data.
DATA_DEPENDENT = ["torch.argwhere", "torch.nonzero", "torch.unique", "torch.unique_consecutive"]
UNCAPTURED = ["torch.corrcoef", "torch.cov"]
METHODS_LEFT = {
    "argwhere", "nonzero",  # the size is in the data
    "corrcoef", "cov",  # they look at the data
    "random_", "requires_grad_",  # refused
    "to_mkldnn", "to_sparse", "to_sparse_csc", "to_sparse_csr",  # layouts that are not traced
}  # fmt: skip


def positive(size=3):
    """Return a symmetric positive definite matrix."""
    x = torch.arange(1.0, 1 + size * size).reshape(size, size) / 10
    return x @ x.T + torch.eye(size)


def calls(graph):
    """Return what a recorded graph calls, in order."""
    return [node.target for node in graph.graph_module.graph.nodes if node.op.startswith("call_")]


class TraceRuleTests(RulesTestCase):
    """The tables of rules."""

    def test_skipfiles_inlinelist(self):
        """Every module of the lists is the beginning of a file of torch, but for those that are stored."""
        dead = []
        files = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.py")}
        for name in ("LEGACY_MOD_INLINELIST", "MOD_INLINELIST", "MOD_SKIPLIST"):
            for module in sorted(getattr(trace_rules, name)):
                start = module.removeprefix("torch.").replace(".", "/")
                if not any(file.startswith(start) for file in files):
                    dead.append(f"{name} {module}")

        self.assertText("\n".join(dead))

    def test_torch_name_rule_map_updated(self):
        """Each rule is for something that torch has, but for stored names; those of other devices need a build."""
        device = re.compile("cud[an]|nccl|rocm|xpu|mps|mtia|_scatter|_gather|_broadcast|storage_access|deleter", re.I)

        gone = [name for table in trace_rules.torch_name_rule_map for name in table
                if ".py#" not in name and trace_rules.load_object(name) is None]  # fmt: skip

        self.assertText("\n".join(sorted(name for name in gone if not device.search(name))))

    def test_rules_are_heeded(self):
        """Looked up, each object of the tables has its rule; a cached function, under its own name, has not."""
        unheeded = []
        for table in trace_rules.torch_name_rule_map:
            for name, rule in table.items():
                value = None if ".py#" in name else trace_rules.load_object(name)
                if value is not None and trace_rules.lookup(value) is not rule:
                    cached = isinstance(value, functools._lru_cache_wrapper)
                    unheeded.append(f"{name}: {rule.__name__}{', cached' if cached else ''}")

        self.assertText("\n".join(unheeded))

    def test_lookup(self):
        """The rules of a sample."""
        sample = [torch.sin, torch.nn.functional.relu, torch.Tensor.add_, torch.ops.aten.sin.default, torch.is_tensor,
                  torch.is_grad_enabled, torch.compiler.is_compiling, math.sqrt, torch.manual_seed, torch.get_rng_state,
                  torch.autograd.grad, torch.autograd.backward, torch.nn.Linear.forward, torch.func.vmap, istype,
                  torch.optim.SGD.step, torch.optim.lr_scheduler.LRScheduler.step, torch.export.export, copy.deepcopy,
                  re.match, operator.add, len, _bisect.bisect_left, torch.save,
                  torch.nn.utils.rnn.pack_padded_sequence, torch.distributions.Normal.log_prob]  # fmt: skip

        self.assertText("\n".join(f"{target_name(one)}: {trace_rules.lookup(one).__name__}" for one in sample))

    def test_almost_impossible_missing_name(self):
        """An object whose name cannot be asked for is skipped, and raises nothing."""

        class Weird:
            def __getattribute__(self, name):
                if name == "__name__":
                    raise AttributeError("no name")

        found = set()

        self.assertIs(trace_rules.lookup_inner(Weird(), name=None, reasons=found), SkipFunctionVariable)
        self.assertEqual(found, {"cannot determine source file (likely a C extension or builtin)"})

    def test_no_special_handlers_for_torch_non_c_bindings(self):
        """Functions in Python whose calls are cached as operators have no handler of their own, but for stored ones."""
        named = {}
        for function, handler in TorchInGraphFunctionVariable._get_handlers().items():
            dot = "#" if isinstance(function, (staticmethod, types.MethodType)) else "."
            named[f"{function.__module__}{dot}{function.__name__}"] = handler.__name__

        handled = named.keys() & trace_rules.torch_non_c_binding_in_graph_functions.keys()

        self.assertText("\n".join(f"{name}: {named[name]}" for name in sorted(handled)))

    def test_skip_reasons(self):
        """What is skipped says why."""
        sample = [istype, torch.manual_seed, torch.optim.lr_scheduler.LRScheduler.step, torch.export.export, re.match,
                  torch.nn.utils.rnn.pack_padded_sequence, _bisect.bisect_left]  # fmt: skip

        lines = [f"{value.__qualname__}: {re.sub(r'python3.[0-9]+/', '', munge(trace_rules.get_skip_reason(value)))}"
                 for value in sample]  # fmt: skip

        self.assertText("\n".join(lines))

    @explore(st.booleans(), SIZES, max_examples=3)
    def test_force_inline_torch_function(self, ruled, size):
        """A helper of dynamo itself breaks the graph; with a rule it is traced through and leaves nothing."""

        def model(x):
            return x + 1 if istype(x, torch.Tensor) else x - 1

        with rules({"torch._dynamo.utils.istype": UserFunctionVariable} if ruled else {}):
            parts = self.assertCompiles(model, T(size), graphs=1, fullgraph=ruled)

        self.assertEqual(calls(parts.graphs[0]), [operator.add])
        self.assertEqual([str(one.reason) for one in parts.breaks], [] if ruled else [SKIPPED])

    @explore(st.sets(st.sampled_from(["join", "activate"])), st.booleans(), SIZES, max_examples=8)
    def test_force_inline_custom_function(self, inlined, skip, size):
        """In a skipped file the functions with a rule are traced through, as far as each caller is."""
        with library() as module, skipped(module) if skip else contextlib.nullcontext(), \
                rules({f"ruled_library.{name}": UserFunctionVariable for name in inlined}):  # fmt: skip
            parts = self.assertCompiles(lambda x, y: module.join(x, y) * 2, T(2, size), T(2, 3))

        whole = not skip or len(inlined) == 2
        # In a function that is inlined up to a break, what stands before it is left to eager as what follows is.
        expected = [[torch.cat, torch.relu, operator.mul]] if whole else [[operator.mul]]
        self.assertEqual([calls(graph) for graph in parts.graphs], expected)
        met = 0 if whole else 1 + ("join" in inlined)
        self.assertEqual([str(one.reason) for one in parts.breaks], [SKIPPED] * met)


class InGraphTests(RulesTestCase):
    """Functions of torch that become an operator of the graph."""

    def test_functions_of_one_tensor(self):
        """Every public function of one tensor is captured as itself, all of them in one graph."""
        functions = one_tensor_functions()
        captured = [functions[name] for name in functions if name not in DATA_DEPENDENT + UNCAPTURED]

        def model(x):
            return [function(x) for function in captured]

        graph = graphs_of(model, positive(), fullgraph=True).graphs[0]

        self.assertGreater(len(captured), 200)
        names = {function: name for name, function in functions.items()}
        self.assertEqual([names[target] for target in calls(graph)], [names[function] for function in captured])

    @explore(st.sampled_from(UNCAPTURED))
    def test_functions_that_look_at_the_data(self, name):
        """A function whose kernel asks for a value of its input breaks the graph, and says so."""
        function = getattr(torch, name.removeprefix("torch."))

        parts = self.assertCompiles(lambda x: function(x) + 1, positive())

        self.assertEqual([one.reason.title for one in parts.breaks], ["Data dependent operator"])

    @explore(st.sampled_from(DATA_DEPENDENT), SIZES)
    def test_sizes_that_are_in_the_data(self, name, size):
        """A function whose result has a size that only the data knows makes a symbol of the graph."""
        function = getattr(torch, name.removeprefix("torch."))

        parts = self.assertCompiles(function, T(size, values="ones"), graphs=1, fullgraph=True)

        self.assertIs(calls(parts.graphs[0])[0], function)
        self.assertText(parts.text)

    def test_methods_of_one_tensor(self):
        """So is every public method that needs no argument, by its name."""
        x, captured = positive(), []
        for name in sorted(dir(torch.Tensor)):
            method = getattr(torch.Tensor, name)
            if name[0] != "_" and isinstance(method, types.MethodDescriptorType) and name not in METHODS_LEFT:
                with contextlib.suppress(Exception):
                    if isinstance(method(x.clone()), torch.Tensor):
                        captured.append(name)

        def model(x):
            return [getattr(x.clone(), name)() for name in captured]

        graph = graphs_of(model, positive(), fullgraph=True).graphs[0]

        self.assertGreater(len(captured), 150)
        self.assertEqual(calls(graph), [one for name in captured for one in ("clone", name)])

    @explore(st.sampled_from(["sin", "exp", "sigmoid", "sum", "softplus", "square", "cumsum"]), SMALL, SIZES)
    def test_common_subexpressions(self, name, count, size):
        """Equal calls are one for CSE: a function of torch has no effect."""
        space = torch.nn.functional if name == "softplus" else torch
        function = functools.partial(getattr(space, name), **({"dim": 0} if name == "cumsum" else {}))

        def model(x):
            return functools.reduce(operator.add, [function(x) for _ in range(count)])

        graph = graphs_of(model, T(size), fullgraph=True).graphs[0]

        self.assertRewrites(CSEPass(), graph.example, ops={getattr(space, name): (count, 1)})

    def test_functions_that_break(self):
        """What changes random generators, runs a backward or resizes is called between two graphs, as eager does."""
        size, state, leaf = 2, torch.get_rng_state(), T(2, requires_grad=True)
        programs = {
            "manual_seed": (lambda x: (torch.manual_seed(1), x + torch.rand(size))[1], T(size)),
            "set_rng_state": (lambda x, state: (torch.set_rng_state(state), x + torch.rand(size))[1], T(size), state),
            "get_rng_state": (lambda x: (x.sin(), torch.get_rng_state()), T(size)),
            "fork_rng": (forked, T(size)),
            "backward": (lambda x: (torch.autograd.backward(x.sin().sum()), x + 1)[1], leaf),
            "resize_as_": (lambda x, y: torch.resize_as_(x.clone(), y) + 1, T(size), T(size)),
        }
        lines = []

        for name, (program, *inputs) in programs.items():
            with self.subTest(name=name):
                parts = self.assertCompiles(program, *inputs)
                lines += [f"{name}:", *(f"    {line}" for line in parts.outline)]

        self.assertText("\n".join(lines))


def forked(x):
    with torch.random.fork_rng():
        y = x + torch.rand(x.shape)
    return y * torch.rand(x.shape)


class SingleOpCompileTests(RulesTestCase):
    """torch.compile of a function of torch itself."""

    @explore(st.sampled_from(["exp", "relu", "softplus", "Tensor.sin", "aten.cos.default", "sin_"]), SIZES,
             max_examples=6)  # fmt: skip
    def test_top_level_function(self, name, size):
        """It is captured as inside of a function: one operator."""
        function = {"softplus": torch.nn.functional.softplus, "Tensor.sin": torch.Tensor.sin,
                    "aten.cos.default": torch.ops.aten.cos.default}.get(name) or getattr(torch, name)  # fmt: skip

        alone = self.assertCompiles(function, T(size), graphs=1, fullgraph=True)
        inside = self.assertCompiles(lambda x: function(x), T(size), graphs=1, fullgraph=True)

        self.assertEqual(len(calls(alone.graphs[0])), 1)
        self.assertEqual(calls(alone.graphs[0]), calls(inside.graphs[0]))


class WhatAPassSeesTests(RulesTestCase):
    """The same function under each rule."""

    RULES = ("default", "allowed in graph", "disabled", "skipped file", "skipped file, traced all the same", "by name")

    @contextlib.contextmanager
    def ruled(self, rule):
        """Return the library with a rule for ``join``."""
        with library() as module, contextlib.ExitStack() as stack:
            if rule == "allowed in graph":
                torch.compiler.allow_in_graph(module.join)
            elif rule == "disabled":
                module.join = torch.compiler.disable(module.join)
            elif rule == "by name":
                stack.enter_context(rules({"ruled_library.join": TorchInGraphFunctionVariable}))
            elif rule.startswith("skipped"):
                stack.enter_context(skipped(module))
                stack.enter_context(torch._dynamo.config.patch(dont_skip_tracing="traced" in rule))
            yield module

    @explore(st.sampled_from(RULES), SIZES, max_examples=12)
    def test_cat_and_relu(self, rule, size):
        """A pass rewrites what was traced through; an opaque function, or one that runs eagerly, it leaves alone."""
        with self.ruled(rule) as module:
            function = module.join
            parts = self.assertCompiles(lambda x, y: module.join(x, y) * 2, T(2, size), T(2, 3), graphs=1)
            example = parts.graphs[0].example

            traced = rule in ("default", "skipped file, traced all the same")
            if traced:
                self.assertRewrites(sink_cat, example, label=rule, ops={"torch.cat": (1, 1), "torch.relu": (1, 2)})
            else:
                opaque = int(rule in ("allowed in graph", "by name"))
                self.assertUnchanged(sink_cat, example, label=rule, ops={"torch.relu": (0, 0)})
                self.assertEqual(calls(parts.graphs[0]), [function] * opaque + [operator.mul])
            self.assertEqual(len(parts.breaks), int(rule in ("disabled", "skipped file")))


class AllowInGraphTests(RulesTestCase):
    """torch.compiler.allow_in_graph, and the ways to forbid."""

    @explore(SMALL, SIZES)
    def test_effects_are_not_seen(self, count, size):
        """CSE takes equal calls of an opaque function for one, also where it draws: the numbers become equal."""
        with library() as module:
            torch.compiler.allow_in_graph(module.draw)
            graph = graphs_of(lambda x: [module.draw(x) for _ in range(count)], T(size), fullgraph=True).graphs[0]

            self.assertEqual(calls(graph), [module.draw] * count)
            with self.assertRaisesRegex(fxpect.CheckFailure, "pass CSEPass"):
                self.assertPreserves(CSEPass(), graph.example)

    @explore(st.booleans(), SIZES, max_examples=3)
    def test_disallow_in_graph(self, again, size):
        """A function of torch that is disallowed breaks the graph, until it is allowed again; the method does not."""
        torch._dynamo.disallow_in_graph(torch.sin)
        try:
            if again:
                torch._dynamo.allow_in_graph(torch.sin)
            parts = self.assertCompiles(lambda x: torch.sin(x + 1) * x.sin(), T(size))
        finally:
            torch._dynamo.allow_in_graph(torch.sin)

        whole = [operator.add, torch.sin, "sin", operator.mul]
        self.assertEqual([calls(graph) for graph in parts.graphs], [whole] if again else [whole[:1], whole[2:]])

    def test_disallow_what_was_never_allowed(self):
        """A function that was not allowed cannot be disallowed: the message says to leave it as it is."""
        with library() as module, self.assertRaisesRegex(RuntimeError, "expected to be used on an already allowed"):
            torch._dynamo.disallow_in_graph(module.join)

    @explore(SIZES, max_examples=2)
    def test_forbid_in_graph(self, size):
        """A forbidden function is an error as soon as it is met, also where breaks are allowed."""
        with library() as module:
            torch._dynamo.forbid_in_graph(module.join)

            with self.assertRaisesRegex(AssertionError, "Attempt to trace forbidden callable <function join"):
                self.assertCompiles(lambda x: module.join(x, x), T(size))


class DisableTests(RulesTestCase):
    """torch.compiler.disable."""

    @explore(st.booleans(), st.integers(0, 2), SIZES, max_examples=6)
    def test_recursive(self, recursive, before, size):
        """The function runs eagerly; what it calls is compiled, unless the decorator is recursive."""
        with library() as module:
            disabled = torch.compiler.disable(module.join, recursive=recursive)

            def model(x, y):
                for _ in range(before):
                    x = x + 1
                return disabled(x, y) * 2

            parts = self.assertCompiles(model, T(2, size), T(2, 3), graphs=(before > 0) + (not recursive) + 1)

        inner = [] if recursive else [[torch.relu]]
        outer = [[operator.add] * before] if before else []
        self.assertEqual([calls(graph) for graph in parts.graphs], [*outer, *inner, [operator.mul]])

    @explore(st.sampled_from(["object", "class", "method"]), SIZES)
    def test_modules(self, kind, size):
        """A module that is disabled, itself, by its class or by its method, runs eagerly between two graphs."""
        with library() as module:
            disabled = torch.compiler.disable(module.Layer) if kind == "class" else module.Layer
            layer = disabled()
            if kind == "method":
                layer.forward = torch.compiler.disable(layer.forward)
            called = torch.compiler.disable(layer) if kind == "object" else layer

            parts = self.assertCompiles(lambda x, y: called(x.sin(), y) + 1, T(2, size), T(2, 3), graphs=2)

        self.assertEqual([calls(graph) for graph in parts.graphs], [["sin"], [operator.add]])

    def test_reason(self):
        """The reason that the decorator gives is in the message of fullgraph."""
        with library() as module:
            disabled = torch.compiler.disable(module.join, reason="it talks to a server")

            with self.assertRaises(Unsupported) as caught:
                self.assertCompiles(lambda x: disabled(x, x), T(2), fullgraph=True)

        self.assertIn("it talks to a server", str(caught.exception))


class SubstituteInGraphTests(RulesTestCase):
    """torch.compiler.substitute_in_graph: what dynamo traces in the place of a function that it cannot trace."""

    @staticmethod
    def bisect(a, x, lo=0, hi=None, *, key=None):
        """What bisect_left of Python's C module does."""
        return sum(1 for one in a if one < x)

    @explore(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.integers(0, 5), SIZES)
    def test_builtin(self, numbers, place, size):
        """A builtin breaks the graph; its substitute leaves the number that it gives."""
        numbers = sorted(numbers)

        def model(x):
            return x * (_bisect.bisect_left(numbers, place) + 1)

        without = self.assertCompiles(model, T(size), graphs=1)
        with substituted(_bisect.bisect_left, self.bisect):
            parts = self.assertCompiles(model, T(size), graphs=1, fullgraph=True)

        self.assertEqual([str(one.reason) for one in without.breaks], [SKIPPED])
        self.assertText(parts.text)

    @explore(st.booleans(), SIZES)
    def test_operators(self, right, size):
        """Operators of a substitute are there for passes; one that computes something else is found by its values."""
        with library() as module, skipped(module):
            calls_of_original = []

            def original(x, y):
                calls_of_original.append((x, y))
                return module.join(x, y)

            def polyfill(x, y):
                return torch.relu(torch.cat([x, y] if right else [y, x], dim=-1))

            with substituted(original, polyfill) as wrapped:
                def model(x, y):
                    return original(x, y) * 2

                self.assertTrue(torch.equal(wrapped(torch.ones(2), torch.ones(1)), torch.ones(3)))
                self.assertEqual(len(calls_of_original), 1)  # called directly it is the original
                if right:
                    parts = self.assertCompiles(model, T(2, size), T(2, size), fullgraph=True)
                    self.assertRewrites(sink_cat, parts.graphs[0].example, ops={"torch.relu": (1, 2)})
                else:
                    with self.assertRaisesRegex(fxpect.CheckFailure, "output 0: Tensor-likes are not"):
                        self.assertCompiles(model, T(2, size), T(2, size), fullgraph=True)

    def test_refused(self):
        """Another signature, a second substitute and what torch has a rule for are refused."""
        with substituted(_bisect.bisect_left, self.bisect), self.assertRaisesRegex(ValueError, "Duplicate"):
            torch.compiler.substitute_in_graph(_bisect.bisect_left)(self.bisect)
        with self.assertRaisesRegex(TypeError, "Signature mismatch"), substituted(positive, lambda width: width):
            pass
        with self.assertRaisesRegex(ValueError, "Duplicate .* different rules"), \
                substituted(torch.sin, lambda *args, **kwargs: None):  # fmt: skip
            pass


class AssumeConstantResultTests(RulesTestCase):
    """torch.compiler.assume_constant_result."""

    @explore(st.lists(st.integers(1, 4), min_size=1, max_size=4), SIZES)
    def test_number(self, numbers, size):
        """The number of the first call is in the graph, and stays there when the function would give another."""
        settings = {}

        @torch.compiler.assume_constant_result
        def factor():
            return settings["factor"]

        def model(x):
            return x * factor()

        settings["factor"] = numbers[0]
        graph = graphs_of(model, T(size), fullgraph=True).graphs[0]
        steps = [step for number in numbers
                 for step in (functools.partial(settings.update, factor=number), (torch.ones(size),))]  # fmt: skip

        answers = call_in_turn(model, *steps)

        self.assertGraph(graph.example)
        self.assertEqual([answer.compiled for answer in answers], [True] + [False] * (len(numbers) - 1))
        self.assertTrue(all(torch.equal(answer.value, torch.full((size,), 1.0 * numbers[0])) for answer in answers))

    @explore(st.integers(1, 4), SIZES)
    def test_tensor(self, factor, size):
        """A tensor becomes an attribute of the graph, also one that was made of an input: later inputs get it, too."""
        @torch.compiler.assume_constant_result
        def scale(x):
            return x * factor

        def model(x):
            return x + scale(x)

        parts = self.assertCompiles(model, T(size), graphs=1, fullgraph=True)
        first, second = call_in_turn(model, (torch.ones(size),), (torch.zeros(size),))

        (attribute,) = parts.graphs[0].graph_module.graph.find_nodes(op="get_attr")
        self.assertTrue(attribute.target.startswith("scale"))
        self.assertTrue(torch.equal(first.value, torch.full((size,), 1.0 + factor)))
        self.assertTrue(torch.equal(second.value, torch.full((size,), 1.0 * factor)))  # eagerly it would be 0

    @explore(st.integers(1, 4), st.booleans(), SIZES, max_examples=3)
    def test_method(self, value, inside, size):
        """A method sees the object as it is; of an object that the traced code made, it sees no attribute yet."""
        class Holder:
            def __init__(self, value):
                self.value = value

            @torch.compiler.assume_constant_result
            def get(self):
                return self.value

        holder = Holder(value)
        if inside:
            with self.assertRaisesRegex(InternalTorchDynamoError, "'Holder' object has no attribute 'value'"):
                self.assertCompiles(lambda x: x * Holder(value).get(), T(size))
        else:
            parts = self.assertCompiles(lambda x: x * holder.get(), T(size), fullgraph=True)
            self.assertEqual(calls(parts.graphs[0]), [operator.mul])


class SkippedCodeTests(RulesTestCase):
    """Code that dynamo skipped once."""

    @explore(st.lists(st.booleans(), min_size=1, max_size=4), max_examples=8)
    def test_dispatch_mode(self, modes):
        """Under a dispatch mode a call is not compiled; 2.13 never compiles the code again, 2.15 the next time."""
        backend = RecordingBackend()
        compiled = torch.compile(lambda x: x.sin(), backend=backend)

        for mode in modes:
            with FlopCounterMode(display=False) if mode else contextlib.nullcontext():
                compiled(torch.ones(3))

        compiles = not all(modes) if TORCH >= (2, 15) else not modes[0]
        self.assertEqual(len(backend.graphs), int(compiles))

    @explore(st.lists(st.booleans(), min_size=1, max_size=4), max_examples=8)
    def test_condition(self, breaks):
        """A call that cannot be resumed marks the code, whatever the next call would do, until dynamo is reset."""
        def model(x, broken):
            try:
                if broken:
                    torch._dynamo.graph_break()
            finally:
                x = x + 1
            return x

        backend = RecordingBackend()
        compiled = torch.compile(model, backend=backend, dynamic=False)
        for broken in breaks:
            self.assertTrue(torch.equal(compiled(torch.ones(3), broken), torch.full((3,), 2.0)))

        self.assertEqual(len(backend.graphs), int(not breaks[0]))
        torch._dynamo.reset()
        compiled(torch.ones(3), False)
        self.assertEqual(len(backend.graphs), int(not breaks[0]) + 1)


class TestModuleSurviveSkipFiles(RulesTestCase):
    """What is compiled explicitly, in a file that dynamo skips."""

    @explore(st.sampled_from(["function", "module", "compile()"]), st.booleans(), SIZES, max_examples=6)
    def test_module_survive_skip_files(self, kind, skip, size):
        """It is compiled wherever it stands, but for a file that the user had skipped: there it runs eagerly."""
        backend = RecordingBackend()
        with library() as module, skipped(module) if skip else contextlib.nullcontext():
            layer = module.Layer()
            if kind == "compile()":
                layer.compile(backend=backend)
                compiled = layer
            else:
                compiled = torch.compile({"function": module.join, "module": layer}[kind], backend=backend)
            value = compiled(torch.ones(size), torch.ones(2))

        self.assertTrue(torch.equal(value, torch.full((size + 2,), 1.0 if kind == "function" else 2.0)))
        self.assertEqual(len(backend.graphs), int(not skip))

    @explore(st.integers(1, 3), SIZES)
    def test_modules_of_torch(self, depth, size):
        """Modules of torch itself are compiled, though their folder is one that is skipped."""
        chain = torch.nn.Sequential(*itertools.chain.from_iterable(
            (torch.nn.Linear(size, size), torch.nn.ReLU()) for _ in range(depth)))  # fmt: skip

        parts = self.assertCompiles(chain, T(2, size), graphs=1, fullgraph=True)

        self.assertEqual(calls(parts.graphs[0]), [torch._C._nn.linear, torch.nn.functional.relu] * depth)


if __name__ == "__main__":
    fxpect.run_tests()
