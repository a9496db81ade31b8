"""Graph breaks: the graphs that a function is cut into, what passes from one to the next, and passes over each.

Mirrors test/dynamo/test_subgraphs.py of PyTorch, which counts frames and operators. Guards that a break loses no
operator, no value and no grad mode, that a function continues where it was left whichever way it came there, and
that a pass sees each part as a graph of its own. Would have caught a corrupted stack of the frames above a break
(https://github.com/pytorch/pytorch/pull/177408), a continuation that breaks again
(https://github.com/pytorch/pytorch/pull/189594), continuations that nobody asked for
(https://github.com/pytorch/pytorch/pull/166586) and frames compiled in the wrong order
(https://github.com/pytorch/pytorch/pull/179844).
"""

import contextlib
import functools
import io
import itertools
import logging
import warnings
from unittest import mock

import torch
from hypothesis import strategies as st
from torch._dynamo import graph_break
from torch._dynamo.testing import unsupported  # noqa: F401 - a line of a generated function
from torch._inductor.fx_passes import pre_grad

import fxpect
from fxpect import T
from fxpect.compiling import RecordingBackend, call_in_turn, graphs_of

explore = functools.partial(fxpect.explore, max_examples=6)
SIZES = st.integers(1, 5)
OPERATORS = {"sin": "x = x.sin()", "relu": "x = torch.relu(x)", "mul": "x = x * 2", "add": "x = x + y",
             "cat": "x = torch.cat([x, y])", "sub": "x = x - 1"}  # fmt: skip
STEPS = st.lists(st.sampled_from(sorted(OPERATORS)), min_size=2, max_size=6)
BREAK = "graph_break()"
BREAKS = {"graph_break()": "Call to `torch._dynamo.graph_break()`", "print(1)": "Failed to trace builtin operator",
          "unsupported(x, x)": "Attempted to call function marked as skipped"}  # fmt: skip
sink_cat = pre_grad.sink_cat_after_pointwise


def function_of(lines, parameters="x, y"):
    """Return the function with these lines, straight on: dynamo leaves a loop that breaks to eager as a whole."""
    scope = dict(globals())
    exec(f"def function({parameters}):\n    " + "\n    ".join(lines), scope)
    return scope["function"]


def operators(graph):
    """Return the names of the operators of a recorded graph, in order."""
    return [getattr(node.target, "__name__", node.target) for node in graph.graph_module.graph.nodes
            if node.op.startswith("call_")]  # fmt: skip


def placeholders(graph):
    """Return how many inputs a recorded graph has."""
    return len(graph.graph_module.graph.find_nodes(op="placeholder"))


class SubGraphTests(fxpect.CompileTestCase):
    """A straight program with breaks: the parts are the program, cut where it breaks."""

    @explore(STEPS, st.lists(st.integers(1, 5), max_size=3, unique=True), max_examples=8)
    def test_parts_are_the_whole(self, steps, places):
        """The operators of the parts, one after the other, are those of the program without breaks."""
        places = sorted(place for place in places if place < len(steps))
        lines = [OPERATORS[step] for step in steps]
        whole = self.assertCompiles(function_of([*lines, "return x"]), T(1), T(1), graphs=1)
        for place in reversed(places):
            lines.insert(place, BREAK)

        parts = self.assertCompiles(function_of([*lines, "return x"]), T(1), T(1), graphs=len(places) + 1)

        self.assertEqual(sum(map(operators, parts.graphs), []), operators(whole.graphs[0]))
        self.assertEqual([len(operators(graph)) for graph in parts.graphs],
                         [end - start for start, end in itertools.pairwise([0, *places, len(steps)])])  # fmt: skip
        self.assertText(parts.text)

    @explore(st.sampled_from(["", BREAK]), st.sampled_from(["relu", "tanh"]), SIZES)
    def test_pass_sees_each_part(self, between, name, size):
        """A join and the relu below it are rewritten where one graph holds both, and stay where a break parts them."""
        function = function_of(["x = torch.cat([x, y], dim=-1)", between or "pass", f"return torch.{name}(x)"])
        operator, ops = getattr(torch, name), {"torch.cat": (1, 1)}
        backend = RecordingBackend(sink_cat)

        parts = self.assertCompiles(function, T(2, size), T(2, 3), backend=backend, graphs=2 if between else 1)

        if between:
            self.assertUnchanged(sink_cat, parts.graphs[0].example, ops=ops, label="join")
            self.assertUnchanged(sink_cat, parts.graphs[1].example, ops={operator: (1, 1)}, label="operator")
        else:
            self.assertRewrites(sink_cat, parts.graphs[0].example, ops=ops | {operator: (1, 2)}, label="both")
        self.assertEqual([graph.text == graph.after_text for graph in parts.graphs], [True] * 2 if between else [False])

    @explore(st.sampled_from(sorted(BREAKS)), st.integers(0, 2))
    def test_reasons(self, line, place):
        """Each kind of break says why; at the very start of a function it leaves no graph before it."""
        lines = ["x = x.sin()", "x = x * y"]
        lines.insert(place, line)

        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch has advice about C functions
            parts = self.assertCompiles(function_of([*lines, "return x"]), T(3), T(3))

        self.assertEqual([one.reason.title for one in parts.breaks], [BREAKS[line]])
        self.assertEqual([operators(graph) for graph in parts.graphs],
                         [part for part in (["sin", "mul"][:place], ["sin", "mul"][place:]) if part])  # fmt: skip

    @explore(st.integers(1, 4), st.integers(1, 4))
    def test_loop_that_breaks(self, count, factor):
        """A loop with a break inside is left to eager as a whole, and says so; so is what follows it."""

        def function(x, y):
            for i in range(count):
                x = x * factor + i
                graph_break()
            return x + y

        parts = self.assertCompiles(function, T(3), T(3), graphs=0)

        self.assertEqual([one.skipped for one in parts.breaks], [True])


def inner_most(x, y):
    x = x.sin()
    graph_break()
    return x * y


def inner_more(x, y):
    return inner_most(x + 1, y) - 1


def inner_yet_more(x, y):
    return inner_more(x + 2, y) - 2


class NestedGraphBreakTests(fxpect.CompileTestCase):
    """A break inside a function that is inlined."""

    FUNCTIONS = (inner_most, inner_more, inner_yet_more)

    @explore(st.integers(0, 2), st.booleans(), SIZES)
    def test_depth(self, depth, nested, size):
        """With nested breaks all frames are cut at once, in two; without, each frame that is left is cut apart."""
        with torch._dynamo.config.patch(nested_graph_breaks=nested):
            parts = self.assertCompiles(self.FUNCTIONS[depth], T(size), T(size), graphs=2 if nested else 2 * depth + 2)

        self.assertEqual(len(parts.breaks), 1 if nested else depth + 1)
        self.assertEqual(sum(map(operators, parts.graphs), []), ["add"] * depth + ["sin", "mul"] + ["sub"] * depth)
        self.assertText(parts.text)

    @explore(st.integers(1, 3), SIZES)
    def test_values_on_the_stack(self, count, size):
        """Operands that wait while another one is computed and breaks come through, in their order."""

        def function(x, y):
            waiting = [x + 3 * i for i in range(count)]
            return torch.stack([*waiting, inner_most(x, y), *waiting[::-1]])

        for nested in (True, False):
            with torch._dynamo.config.patch(nested_graph_breaks=nested), self.subTest(nested=nested):
                parts = self.assertCompiles(function, T(size), T(size))

                self.assertEqual(operators(parts.graphs[-1])[-1], "stack")


class LiveValueTests(fxpect.CompileTestCase):
    """What passes from one part to the next is what it still reads."""

    @explore(st.lists(st.integers(0, 3), min_size=1, max_size=5), SIZES)
    def test_inputs_of_the_rest(self, reads, size):
        """Four values are there at the break; the rest takes those that it reads, each of them once."""
        lines = ["a, b, c, d = x + 1, x * 2, y - 1, x * y", BREAK, f"return {' + '.join('abcd'[i] for i in reads)} * 2"]

        parts = self.assertCompiles(function_of(lines), T(size), T(size), graphs=2)

        self.assertEqual(placeholders(parts.graphs[1]), len(set(reads)))
        self.assertText(parts.text)

    @explore(st.sampled_from(["tuple", "list", "dict"]), SIZES)
    def test_containers(self, kind, size):
        """Tensors inside a container are inputs of the rest, each of them once, and the container stays itself."""
        kept = {"tuple": "(a, a, b)", "list": "[a, a, b]", "dict": "{0: a, 1: a, 2: b}"}[kind]
        lines = ["a, b = x + 1, x * 2", f"kept = {kept}", BREAK, "return kept[0] * kept[1] + kept[2], kept"]

        parts = self.assertCompiles(function_of(lines), T(size), T(size), graphs=2)

        self.assertEqual(placeholders(parts.graphs[1]), 2)

    @explore(SIZES, st.integers(0, 2), max_examples=4)
    def test_written_before_the_break(self, size, views):
        """A write before the break is seen behind it, through the input and through views of it."""
        lines = ["y = x.view(-1)"] * views + ["x.add_(1)", BREAK, "x.mul_(2)", "return y * 2"]

        self.assertCompiles(function_of(lines), T(size), T(size), graphs=2)


class ControlFlowTests(fxpect.CompileTestCase):
    """Branches on values of tensors."""

    @explore(st.integers(1, 3))
    def test_paths_join(self, count):
        """After all 2**n ways through n branches there are 2n + 1 graphs: paths join again behind each branch."""
        lines = []
        for i in range(count):
            lines += [f"if x[{i}] > 0:", f"    y = y + {i}", "else:", f"    y = y * {i + 2}"]
        function = function_of([*lines, "return y"])
        ways = [(torch.tensor(signs), torch.ones(2)) for signs in itertools.product([1.0, -1.0], repeat=count)]

        calls = call_in_turn(function, *ways)

        self.assertEqual(sum(call.graphs for call in calls), 2 * count + 1)
        for way, call in zip(ways, calls, strict=True):
            self.assertTrue(torch.equal(call.value, function(*way)))

    @explore(st.sampled_from(["ones", "negative"]), SIZES, st.booleans())
    def test_one_branch(self, values, size, rest):
        """The condition is one graph, the branch taken with what follows it another."""
        lines = ["if x.sum() > 0:", "    x = torch.relu(torch.cat([x, y]))", "else:", "    x = x.cos() - y"]
        function = function_of([*lines, "return x * 2" if rest else "return x"])

        parts = self.assertCompiles(function, torch.full((size,), 1.0 if values == "ones" else -1.0), T(size), graphs=2)

        taken = ["cat", "relu"] if values == "ones" else ["cos", "sub"]
        self.assertEqual([operators(graph) for graph in parts.graphs], [["sum", "gt"], taken + ["mul"] * rest])
        self.assertEqual([one.reason.title for one in parts.breaks], ["Data-dependent branching"])
        verb = self.assertRewrites if values == "ones" else self.assertUnchanged
        verb(sink_cat, parts.graphs[1].example, label=f"{values} {rest}")

    @explore(st.lists(st.sampled_from([1.0, -1.0]), min_size=2, max_size=5))
    def test_paths_are_kept(self, signs):
        """Each branch is compiled when it is taken first, and never again."""
        function = function_of(["if x.sum() > 0:", "    return y.sin()", "return y.cos()"])

        calls = call_in_turn(function, *[(torch.full((2,), sign), torch.ones(2)) for sign in signs])

        new = [sign not in signs[:i] for i, sign in enumerate(signs)]
        self.assertEqual([call.graphs for call in calls], [1 + new[0], *map(int, new[1:])])


class GradModeTests(fxpect.CompileTestCase):
    """Grad mode on both sides of a break."""

    MODES = st.lists(st.sampled_from(["no_grad", "enable_grad"]), min_size=1, max_size=3)

    @explore(MODES, SIZES)
    def test_blocks_span_the_break(self, modes, size):
        """Nested blocks hold on both sides; each value requires a gradient as it does eagerly."""
        lines, indent = ["z = x * 1"], ""
        for mode in modes:
            lines.append(f"{indent}with torch.{mode}():")
            indent += "    "
        lines += [f"{indent}a = x.sin()", f"{indent}{BREAK}", f"{indent}b = x.cos()", "return a, b, x * y + z"]

        parts = self.assertCompiles(function_of(lines), T(size, requires_grad=True), T(size), graphs=2)

        a, b, rest = parts.value
        self.assertEqual([a.requires_grad, b.requires_grad], [modes[-1] == "enable_grad"] * 2)
        self.assertTrue(rest.requires_grad)
        self.assertText(parts.text)

    @explore(st.lists(st.booleans(), min_size=1, max_size=3), st.integers(0, 3))
    def test_mode_is_left(self, flags, place):
        """A mode that a function sets holds behind the break, and behind the function."""
        lines = [f"torch.set_grad_enabled({flag})" for flag in flags]
        lines.insert(min(place, len(lines)), BREAK)
        function = function_of(["x = x.sin()", *lines, "return x.cos()"])

        parts = self.assertCompiles(function, T(3, requires_grad=True), T(3))

        self.assertEqual(parts.value.requires_grad, flags[-1])


class IteratorTests(fxpect.CompileTestCase):
    """An iterator that was begun before the break goes on behind it."""

    ITERATORS = {"range": "iter(range(1, 5))", "list": "iter([1, 2, 3, 4])", "tuple": "iter((1, 2, 3, 4))",
                 "zip": "(a * b for a, b in [(1, 2), (3, 4), (5, 6), (7, 8)])", "map": "map(int, [1, 2, 3, 4])",
                 "enumerate": "iter([i + j for i, j in enumerate([1, 2, 3, 4])])",
                 "reversed": "reversed([1, 2, 3, 4])"}  # fmt: skip

    @explore(st.sampled_from(sorted(ITERATORS)), st.integers(0, 4), max_examples=8)
    def test_rest_of_an_iterator(self, kind, taken):
        """What was taken before the break is gone behind it, and all that is left comes."""
        lines = [f"i = {self.ITERATORS[kind]}", *["x = x + next(i)"] * taken, BREAK, "for n in i:", "    x = x * n"]

        parts = self.assertCompiles(function_of([*lines, "return x + y"]), T(3), T(3))

        if kind != "zip":  # dynamo breaks anew for a generator that was begun
            self.assertEqual(sum(map(operators, parts.graphs), []), ["add"] * taken + ["mul"] * (4 - taken) + ["add"])


class ScalarTests(fxpect.CompileTestCase):
    """item() of a tensor that was computed."""

    @explore(st.sampled_from(["f32", "i64"]), SIZES, max_examples=4)
    def test_item(self, dtype, size):
        """Captured it is a symbol of one graph; else the graph ends there and the number is a constant of the next."""
        function = function_of(["return y * x.sum().item() + 1"])

        with torch._dynamo.config.patch(capture_scalar_outputs=True):
            one = self.assertCompiles(function, T(size, dtype=dtype), T(3), graphs=1)
        with mock.patch.object(logging.getLogger("torch._dynamo.variables.tensor"), "disabled", True):  # has advice
            two = self.assertCompiles(function, T(size, dtype=dtype), T(3), graphs=2)

        self.assertEqual(operators(one.graphs[0]), [*operators(two.graphs[0]), "item", *operators(two.graphs[1])])
        self.assertText(one.text)
        self.assertTrue(torch.equal(one.value, two.value))


class DuckShapeTests(fxpect.CompileTestCase):
    """Sizes that are equal when a function is compiled."""

    @explore(st.integers(2, 4), st.integers(2, 4), st.booleans())
    def test_equal_sizes_are_one_symbol(self, first, second, duck):
        """Equal dynamic sizes share a symbol, and the graph is bound to equal ones; without duck shapes never."""
        function = function_of(["return torch.relu(x * 2), y + 1"])
        shared = duck and first == second
        sizes = [(first, second), (first + 1, second + 1), (first + 2, second)]

        with torch.fx.experimental._config.patch(use_duck_shape=duck):
            text = graphs_of(function, T(first), T(second), dynamic=True).graphs[0].text
            calls = call_in_turn(function, *[(torch.ones(a), torch.ones(b)) for a, b in sizes], dynamic=True)

        self.assertEqual(text.count("SymInt("), 1 if shared else 2)
        self.assertEqual([call.compiled for call in calls], [True, False, shared])

    @explore(st.integers(2, 4), st.integers(2, 4))
    def test_pass_at_other_sizes(self, first, second):
        """A pass over the dynamic graph of one call holds for other sizes of the same symbols."""
        function = function_of(["return torch.relu(torch.cat([x, y]))"])

        graph = graphs_of(function, T(first), T(second), dynamic=True).graphs[0]

        self.assertRewrites(sink_cat, graph.example, ops={"torch.cat": (1, 1), "torch.relu": (1, 2)})


class LongProgramTests(fxpect.CompileTestCase):
    """A program whose byte code needs jumps and constants beyond one byte."""

    @explore(st.integers(257, 400), st.booleans(), max_examples=2)
    def test_long_expression(self, count, broken):
        """Hundreds of additions are one graph; behind a break in their middle each part has its own."""
        lines = ["x = x + y"] * count
        if broken:
            lines.insert(count // 2, BREAK)

        parts = self.assertCompiles(function_of([*lines, "return x"]), T(2), T(2), graphs=1 + broken)

        self.assertEqual(sum(len(operators(graph)) for graph in parts.graphs), count)


class ExplainTests(fxpect.CompileTestCase):
    """torch._dynamo.explain counts what a backend is given."""

    @explore(STEPS, st.integers(0, 2))
    def test_counts(self, steps, breaks):
        """Its graphs, breaks and functions are those that are captured."""
        lines = [OPERATORS[step] for step in steps]
        for place in range(breaks):
            lines.insert(place + 1, BREAK)
        function = function_of([*lines, "return x"])
        sequence = graphs_of(function, T(1), T(1))

        told = torch._dynamo.explain(function)(torch.ones(1), torch.ones(1))

        self.assertEqual(told.graph_count, len(sequence.graphs))
        self.assertEqual(told.graph_break_count, len(sequence.graphs) - 1)  # two in a row count as one
        called = [[node.target for node in graph.graph_module.graph.nodes if node.op == "call_function"]
                  for graph in sequence.graphs]  # fmt: skip
        self.assertEqual(told.ops_per_graph, called)  # methods are not counted


if __name__ == "__main__":
    fxpect.run_tests()
