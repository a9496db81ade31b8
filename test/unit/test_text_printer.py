"""The text of a graph is canonical, lossless, and the same on every torch.

``fixtures/graph_text`` holds the text of each capture of each model. ``FXPECT_WRITE_GRAPH_TEXTS=1`` writes them anew;
the tests must then pass, unchanged, on every supported torch.
"""

import math
import operator
import os
import random
import statistics
import subprocess
import sys
import textwrap
import time
import unittest
from pathlib import Path

import sympy
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Graph, GraphModule

from fxpect.errors import FxpectError
from fxpect.text.diff import graph_diff
from fxpect.text.effects import has_effect
from fxpect.text.parser import parse_graph
from fxpect.text.printer import graph_text
from test.unit import graphs, models

torch.set_num_threads(1)
ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "fixtures" / "graph_text"


class LawTests(unittest.TestCase):
    """What must hold for every graph."""

    maxDiff = None

    @settings(max_examples=50, deadline=None)
    @given(graphs.recipes, st.integers(0, 2**32))
    def test_names_and_legal_order_do_not_show(self, recipe, seed):
        """Other node names and another legal order of the nodes give the same text."""
        module = graphs.build(recipe, typed=False)

        self.assertEqual(graph_text(graphs.rearranged(module, seed)), graph_text(module))

    @settings(max_examples=40, deadline=None)
    @given(graphs.recipes, st.integers(0, 10**6))
    def test_every_edit_shows(self, recipe, number):
        """Swapped operands, another constant or type of it, container, overload, a missing keyword: all show."""
        module = graphs.build(recipe, typed=False)
        edits = graphs.edits(module)
        assume(edits)
        before = graph_text(module)
        name, edit = edits[number % len(edits)]

        edit()

        self.assertNotEqual(graph_text(module), before, name)

    @settings(max_examples=25, deadline=None)
    @given(graphs.recipes, st.integers(0, 10**6), st.sampled_from(["add_!", "write!", "dropout!"]))
    def test_order_of_effects_shows(self, recipe, number, effect):
        """A read that moves across a write shows in the text."""
        recipe = [*recipe, graphs.Step("relu", number, 0, 0), graphs.Step(effect, number, 1, 0), graphs.Step("sub", 30,
                                                                                                             1, 0)]
        module = graphs.build(recipe, typed=False)
        nodes = list(module.graph.nodes)
        write = [node for node in nodes if graphs.is_effect(node)][-1]
        reads = [node for node in nodes[:nodes.index(write)] if node.target == "relu" and not any(
            user in nodes[:nodes.index(write) + 1] for user in node.users)]
        assume(reads)
        before = graph_text(module)

        write.append(reads[-1])

        self.assertNotEqual(graph_text(module), before)

    def test_models_have_their_stored_text(self):
        """Each capture of each model prints the stored bytes, whatever the version of torch."""
        write = os.environ.get("FXPECT_WRITE_GRAPH_TEXTS") == "1"
        stored = {path.name for path in FIXTURES.glob("*.txt")}
        expected = {f"{name}.{capture}.txt" for name, capture in models.names()}
        if write:
            FIXTURES.mkdir(parents=True, exist_ok=True)
            for name in stored - expected:
                (FIXTURES / name).unlink()
        else:
            self.assertEqual(stored, expected)
        for name, capture in models.names():
            with self.subTest(model=name, capture=capture):
                text = graph_text(models.captured(name, capture).graph)
                path = FIXTURES / f"{name}.{capture}.txt"
                if write:
                    path.write_text(text, encoding="utf-8", newline="\n")
                self.assertEqual(text, path.read_text(encoding="utf-8"))

    def test_twentieth_capture_has_the_text_of_the_first(self):
        """Nothing that counts up in a process reaches the text."""
        for name, capture in (("branch", "dynamo"), ("counter", "symbolic")):
            first = graph_text(models.capture_anew(name, capture).graph)
            for _ in range(18):
                models.capture_anew(name, capture)

            self.assertEqual(graph_text(models.capture_anew(name, capture).graph), first)

    def test_hash_seed_does_not_show(self):
        """Processes with other hash seeds print the stored bytes."""
        cases = [("dynamic", "dynamo"), ("repeated", "symbolic"), ("in_place", "dynamo")]
        script = f"from test.unit import models\nfrom fxpect.text.printer import graph_text\nfor case in {cases!r}:\n" \
                 "    print(graph_text(models.captured(*case).graph))\n"
        expected = "".join((FIXTURES / f"{name}.{capture}.txt").read_text(encoding="utf-8") + "\n" for name,
                           capture in cases)
        runs = [subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed,
                                                                      "PYTHONPATH":
                                 os.pathsep.join([str(ROOT), str(ROOT / "test")])}, stdout=subprocess.PIPE, text=True)
                for seed in ("1", "42")]
        for run in runs:
            self.assertEqual(run.communicate()[0], expected)

    def test_canonical_names_of_torch_do_not_show(self):
        """Where dynamo can rename and reorder its output, the body of a graph keeps its text."""
        if not hasattr(torch._dynamo.config, "canonicalize_output_graph_node_order"):
            self.assertFalse(hasattr(torch._dynamo.config, "canonicalize_output_graph_node_order"))
            return
        for name in ("in_place", "many_outputs", "repeated", "unbacked"):
            model, inputs = models.build(name)
            case = models.CASES[name]
            with torch._dynamo.config.patch(canonicalize_output_graph_node_order=True, capture_scalar_outputs=True):
                program = torch.export.export(model, inputs, strict=True, dynamic_shapes=case.dynamic
                                              and case.dynamic())

            self.assertEqual(graph_text(program), graph_text(models.captured(name, "export").graph))

    def test_inserting_one_node_changes_few_lines(self):
        """One node put into a graph of 60 changes at most 8 lines of the text, and 3 of the diff, in the median."""
        changed, shown = [], []
        for seed in range(60):
            chooser = random.Random(seed)
            module = sixty_nodes(chooser)
            before = graph_text(module)
            node = chooser.choice([node for node in module.graph.nodes if node.op == "call_function" and node.users])
            with module.graph.inserting_after(node):
                clone = module.graph.call_function(torch.clone, (node,))
            next(iter(node.users)).replace_input_with(node, clone)
            after = graph_text(module)
            changed.append(changed_lines(before, after))
            shown.append(sum(line[0] in "+-" and line[:3] not in ("+++", "---") for line in graph_diff(before,
                                                                                                       after).lines))

        self.assertLessEqual(statistics.median(changed), 8)
        self.assertLessEqual(statistics.median(shown), 3)

    def test_costs_less_than_print_readable(self):
        """Printing is not slower than torch's own readable print, and linear in the nodes."""
        chooser = random.Random(0)
        small, large = sixty_nodes(chooser, 300), sixty_nodes(chooser, 3000)

        self.assertLess(cost(lambda: graph_text(small)), cost(lambda: small.print_readable(print_output=False)))
        self.assertLess(cost(lambda: graph_text(large)), 20 * cost(lambda: graph_text(small)))


def sixty_nodes(chooser, count=60):
    """Return a random graph of ``count`` nodes in which nothing is dead."""
    graph = Graph()
    values = [graph.placeholder(name) for name in "xyz"]
    for _ in range(count):
        target = chooser.choice([torch.add, torch.mul, torch.relu, torch.sub, torch.exp, torch.maximum])
        near = [chooser.choice(values[-6:]) for _ in range(1 if target in (torch.relu, torch.exp) else 2)]
        values.append(graph.call_function(target, tuple(near)))
    graph.output(tuple(value for value in values if not value.users))
    return GraphModule({}, graph)


def changed_lines(before, after):
    """Return how many lines a plain diff removes and adds."""
    import difflib

    return sum(line[0] in "+-" for line in difflib.ndiff(before.splitlines(), after.splitlines()))


def cost(function):
    """Return the least processor time of five calls."""
    times = []
    for _ in range(5):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def graph_of(make, *names):
    """Return the text of a graph that ``make`` fills from its inputs; what it returns is the output."""
    graph = Graph()
    graph.output(make(graph, *[graph.placeholder(name) for name in names]))
    return graph_text(graph)


class FormTests(unittest.TestCase):
    """How the parts of a graph are written."""

    maxDiff = None

    def check(self, text, expected):
        self.assertEqual(text, textwrap.dedent(expected))

    def test_kinds_of_nodes(self):
        """Functions, methods, modules, attributes, inputs and the output each have one form."""

        class Model(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.GELU(approximate="tanh"))
                self.weight = torch.nn.Parameter(torch.ones(2))
                self.eval()

            def forward(self, x, y=None):
                return {"out": self.layers(x).add(self.weight, alpha=2), "more": [torch.relu(x), x.shape]}

        self.check(graph_text(torch.fx.symbolic_trace(Model())), '''\
            def forward(self, x, y=None):
                self["layers.0"] = torch.nn.Linear(2, 2, bias=False).eval()
                self["layers.1"] = torch.nn.GELU(approximate='tanh').eval()
                self.weight: "f32[2](parameter=True)"
                layers_0 = self["layers.0"](x)
                layers_1 = self["layers.1"](layers_0)
                weight = self.weight
                add = layers_1.add(weight, alpha=2)
                relu = torch.relu(x)
                getattr_1 = getattr(x, 'shape')
                return {'out': add, 'more': [relu, getattr_1]}
            ''')

    def test_names(self):
        """Values are named after operators with an ordinal each; inputs after their source; nothing is shadowed."""

        def make(g, x, cat, weight, torch_, s5):
            a = g.call_function(torch.cat, ([x, cat],))
            b = g.call_function(torch.cat, ([a, weight],))
            c = g.call_function(torch.ops.aten.sum.dim_IntList, (b, [0]))
            d = g.call_method("sum", (c,))
            e = g.call_function(operator.and_, (d, torch_))
            return g.call_function(torch.add, (e, s5))

        self.check(graph_of(make, "L_x_", "cat", "L_self_modules_fc_0_parameters_weight_", "torch", "s5"), '''\
            def forward(self, x, cat, fc_0_weight, torch_1, s5_):
                cat_1 = torch.cat([x, cat])
                cat_2 = torch.cat([cat_1, fc_0_weight])
                sum_1 = torch.ops.aten.sum.dim_IntList(cat_2, [0])
                sum_2 = sum_1.sum()
                and_ = operator.and_(sum_2, torch_1)
                add = torch.add(and_, s5_)
                return add
            ''')

    def test_constants(self):
        """Each constant has its own spelling."""
        spellings = [
            (math.inf, "math.inf"), (-math.inf, "-math.inf"), (-0.0, "-0.0"), (1.0, "1.0"), (None, "None"),
            (..., "..."),
            (torch.float16, "torch.float16"), (torch.device("cuda:1"), 'torch.device("cuda:1")'), (True, "True"),
            (torch.channels_last, "torch.channels_last"), (torch.sparse_coo, "torch.sparse_coo"),
            (math.nan, "math.nan"),
            (complex(1, -0.0), "complex(1.0, -0.0)"), ("it's", '"it\'s"'), ((1,), "(1,)"), ([()], "[()]"),
            ({"k": [1]}, "{'k': [1]}"),
            (torch.ops.aten.add.Tensor, "torch.ops.aten.add.Tensor"), (slice(1, None), "slice(1, None, None)"),
            (object, 'opaque("builtins.object")'), (threading_lock(), 'opaque("_thread.lock")'),
            (range(2), "range(0, 2, 1)")]
        for value, spelling in spellings:
            with self.subTest(spelling):
                graph = Graph()
                graph.output(graph.placeholder("x"))
                graph.output_node().args = ((value,),) if not isinstance(value, (slice, dict, list)) else ([value],)
                self.assertIn(spelling, graph_text(graph))

    def test_types(self):
        """dtype, sizes, strides where not row-major, device, and requires_grad of inputs are in the type."""
        cases = [
            (lambda: torch.empty(2, 3), "f32[2, 3]"), (lambda: torch.empty((), dtype=torch.int64), "i64[]"),
            (lambda: torch.empty(2, 3).t(), "f32[3, 2](stride=(1, 3))"), (lambda: torch.empty(4)[::2],
                                                                          "f32[2](stride=(2,))"),
            (lambda: torch.empty(1, 3).t(), "f32[3, 1]"), (lambda: torch.empty(0, 3), "f32[0, 3]"),
            (lambda: torch.empty(2, dtype=torch.bool, device="meta"), "b8[2](device='meta')"),
            (lambda: torch.empty(2, device="cuda:1", dtype=torch.bfloat16), "bf16[2](device='cuda:1')"),
            (lambda: torch.empty(2, requires_grad=True), "f32[2](requires_grad=True)"),
            (lambda: torch.nn.Parameter(torch.empty(2)), "f32[2](requires_grad=True)"),
            (lambda: torch.nn.Parameter(torch.empty(2, 3).t(), requires_grad=False),
             "f32[3, 2](stride=(1, 3))"),
            (lambda: torch.empty(2, dtype=torch.float8_e4m3fn), "float8_e4m3fn[2]"),
            (lambda: (torch.empty(2), [torch.empty(1), None, 3]), "(f32[2], [f32[1], None, 3])"),
            (lambda: (torch.empty(2),), "(f32[2],)"),
            (lambda: 2.5, "2.5"), (lambda: True, "True")]
        for make, expected in cases:
            with self.subTest(expected):
                graph = Graph()
                node = graph.placeholder("x")
                with FakeTensorMode(allow_non_fake_inputs=True):
                    node.meta["val"] = make()
                graph.output(node)
                text = graph_text(graph)

                self.check(text, f'''\
                    def forward(self, x: "{expected}"):
                        return x
                    ''')
                self.assertEqual(graph_text(parse_graph(text)), text)
        self.assertNotIn(":", graph_text(graph, types=False).partition("\n")[0][:-1])

    def test_sparse_results(self):
        """A result in a sparse layout has that in its type, beside dense ones of the same sizes too."""
        graph = Graph()
        x, mode = graph.placeholder("x"), FakeTensorMode()
        with mode:
            dense = x.meta["val"] = torch.empty(4, 4)
            for layout in (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc):
                blocks = (2, 2) if layout in (torch.sparse_bsr, torch.sparse_bsc) else None
                node = graph.call_method("to_sparse", (x,), {"layout": layout, "blocksize": blocks})
                node.meta["val"] = dense.to_sparse(layout=layout, blocksize=blocks)
        graph.output(node)
        text = graph_text(graph)

        for layout in ("coo", "csr", "csc", "bsr", "bsc"):
            self.assertIn(f': "f32[4, 4](layout=torch.sparse_{layout})" = x.to_sparse(', text)
        self.assertEqual(graph_text(parse_graph(text)), text)
        computed = parse_graph(text)(torch.eye(4))
        self.assertEqual((computed.layout, computed.to_dense().tolist()), (torch.sparse_bsc, torch.eye(4).tolist()))

    def test_missing_types_are_marked(self):
        """A value without a type in a typed graph shows a question mark; a write that returns nothing does not."""
        module = parse_graph('def f(self, x: "f32[2]"):\n    y: "f32[2]" = torch.relu(x)\n    z: "f32[2]" = '
                             'torch.exp(y)\n    return z\n')
        relu = list(module.graph.nodes)[1]
        relu.meta.clear()
        with module.graph.inserting_after(relu):
            module.graph.call_function(operator.setitem, (relu, 0, 1.0))

        self.check(graph_text(module), '''\
            def forward(self, x: "f32[2]"):
                relu: "?" = torch.relu(x)
                setitem = operator.setitem(relu, 0, 1.0)
                exp: "f32[2]" = torch.exp(relu)
                return exp
            ''')

    def test_long_signatures_take_a_line_each(self):
        """Where the inputs do not fit on a line, each has its own."""
        text = graph_of(lambda g, *inputs: inputs[0], *[f"a_rather_long_name_{n}" for n in range(9)])

        self.assertEqual(text.splitlines()[:3], ["def forward(", "    self,", "    a_rather_long_name_0,"])
        self.assertEqual(graph_text(parse_graph(text)), text)

    def test_symbols(self):
        """Symbols are numbered as they appear, with their ranges; expressions are in terms of these."""
        text = graph_text(models.captured("dynamic", "export").graph)

        self.assertIn('x: "f32[s0, s1]", y: "f32[s0, s2]"', text)
        self.assertIn('    s0: "2 <= s0 <= 64"\n    s1: "2 <= s1"\n    s2: "2 <= s2"\n', text)
        self.assertIn('"f32[s0, s1 + s2]"', text)

    def test_symbolic_numbers_that_are_known(self):
        """A symbolic number without a symbol is the number, as a type and as an argument, to the last digit."""
        from torch.fx.experimental.sym_node import SymNode
        from torch.fx.experimental.symbolic_shapes import ShapeEnv

        environment = ShapeEnv()
        for number in (8.0, 0.1, 1 / 3, 2.5e-7, -1.0):
            symbolic = torch.SymFloat(SymNode(sympy.Float(number), environment, float, number))
            graph = Graph()
            x = graph.placeholder("x")
            x.meta["val"] = symbolic
            graph.output(graph.call_function(torch.sym_max, (x, symbolic)))
            text = graph_text(graph)

            self.assertIn(f'x: "{number!r}"', text)
            self.assertIn(f"torch.sym_max(x, {number!r})", text)
            self.assertEqual(graph_text(parse_graph(text)), text)

    def test_printing_adds_no_guard(self):
        """Reading symbolic sizes and strides leaves the shape environment as it was."""
        program = models.captured("dynamic", "export").graph
        value = next(node.meta["val"] for node in program.graph.nodes if "val" in node.meta)
        environment = value.fake_mode.shape_env
        before = (len(environment.guards), dict(environment.replacements), environment._version_counter)

        graph_text(program)

        self.assertEqual((len(environment.guards), dict(environment.replacements), environment._version_counter),
                         before)

    def test_signature_of_a_program(self):
        """Parameters, buffers, constants and what is written back stand above the graph of a program, and are kept."""
        text = graph_text(models.captured("counter", "export").graph)

        self.assertEqual([line for line in text.splitlines() if line.startswith("@")],
                         ['@buffer("b_count", "count")', '@buffer("b_scale", "scale", persistent=False)',
                          '@constant_tensor("c_lifted_tensor_0", "lifted_tensor_0")'])
        functional = models.captured("counter", "export").graph.run_decompositions({})
        self.assertIn('@buffer_mutation(0, "count")\n', graph_text(functional))
        self.assertEqual(graph_text(parse_graph(graph_text(functional))), graph_text(functional))

    def test_nested_graphs(self):
        """A nested graph is a def of its own, under the name of its attribute without counters."""
        self.check(graph_text(models.captured("branch", "export").graph), '''\
            def forward(self, x: "f32[3]", y: "f32[3]"):
                def true_graph(self, x: "f32[3]", mul: "f32[3]"):
                    sin: "f32[3]" = torch.ops.aten.sin.default(x)
                    add: "f32[3]" = torch.ops.aten.add.Tensor(sin, mul)
                    return (add,)
                def false_graph(self, x: "f32[3]", mul: "f32[3]"):
                    sub: "f32[3]" = torch.ops.aten.sub.Tensor(x, 1)
                    cos: "f32[3]" = torch.ops.aten.cos.default(sub)
                    return (cos,)
                sum_1: "f32[]" = torch.ops.aten.sum.default(x)
                gt: "b8[]" = torch.ops.aten.gt.Scalar(sum_1, 0)
                true_graph = self.true_graph
                false_graph = self.false_graph
                mul: "f32[3]" = torch.ops.aten.mul.Tensor(y, 2)
                cond: "(f32[3],)" = torch.ops.higher_order.cond(gt, true_graph, false_graph, (x, mul))
                getitem: "f32[3]" = operator.getitem(cond, 0)
                return (getitem,)
            ''')

    def test_saved_and_loaded_program_has_the_same_text(self):
        """Saving turns operand tuples of cond into lists; the text does not follow."""
        import io

        for name in ("branch", "loop", "mlp", "dynamic"):
            program = models.captured(name, "export").graph
            buffer = io.BytesIO()
            torch.export.save(program, buffer)
            buffer.seek(0)

            self.assertEqual(graph_text(torch.export.load(buffer)), graph_text(program))

    def test_operand_lists_become_tuples_and_keywords_stay(self):
        """The operands of cond are a tuple in the text either way; its keyword arguments are kept."""

        def make(g, x):
            return g.call_function(torch.ops.higher_order.cond, (x, [x]), {"operands": [x]})

        self.assertIn("torch.ops.higher_order.cond(x, (x,), operands=[x])", graph_of(make, "x"))

    def test_modules_without_a_constructor_are_opaque(self):
        """A user's module, or one built from objects, is named but cannot be read back."""

        class Own(torch.nn.Module):
            def forward(self, x):
                return x

        class Tracer(torch.fx.Tracer):
            def is_leaf_module(self, module, name):
                return True

        root = torch.nn.Sequential(Own(), torch.nn.Linear(2, 2, dtype=torch.float64), torch.nn.MultiheadAttention(4, 2))
        text = graph_text(GraphModule(root, Tracer().trace(torch.nn.Sequential(*list(root)[:2]))))

        self.assertIn(f'self["0"] = opaque("{__name__}.FormTests.', text)
        self.assertIn('self["1"] = torch.nn.Linear(2, 2, dtype=torch.float64)', text)

    def test_misuse(self):
        """Something that is no graph, an unknown order, and a value used before it is computed are errors at once."""
        for wrong in (3, torch.nn.Linear(2, 2), None):
            with self.assertRaisesRegex(FxpectError, "expected a GraphModule"):
                graph_text(wrong)
        graph = Graph()
        x = graph.placeholder("x")
        relu = graph.call_function(torch.relu, (x,))
        exp = graph.call_function(torch.exp, (relu,))
        graph.output(exp)
        with self.assertRaisesRegex(FxpectError, 'expected order="canonical"'):
            graph_text(graph, order="random")
        exp.append(relu)
        with self.assertRaisesRegex(FxpectError, "relu is used before it is computed"):
            graph_text(graph, order="program")


def threading_lock():
    """Return an object that no text can hold."""
    import threading

    return threading.Lock()


class OrderTests(unittest.TestCase):
    """What may move, and what may not."""

    maxDiff = None

    def calls(self, text):
        return [line.split(" = ")[1] for line in text.splitlines() if " = " in line]

    def test_values_come_before_their_first_use(self):
        """Independent values are ordered by where they are used, not by where they were made."""

        def make(g, x, y):
            late, early = g.call_method("cos", (y,)), g.call_method("sin", (x,))
            g.call_method("tan", (y,))
            return g.call_function(torch.sub, (early, late))

        self.assertEqual(self.calls(graph_of(make, "x", "y")), ["x.sin()", "y.cos()", "torch.sub(sin, cos)", "y.tan()"])

    def test_program_order_is_kept_on_demand(self):
        """order="program" shows the nodes as they stand."""
        graph = Graph()
        x = graph.placeholder("x")
        cos, sin = graph.call_method("cos", (x,)), graph.call_method("sin", (x,))
        graph.output((sin, cos))

        self.assertEqual(self.calls(graph_text(graph)), ["x.sin()", "x.cos()"])
        self.assertEqual(self.calls(graph_text(graph, order="program")), ["x.cos()", "x.sin()"])

    def test_nothing_crosses_a_mutation(self):
        """A read before a write through a view stays before it, though nothing connects the two."""

        def make(g, x):
            read = g.call_method("sum", (x,))
            view = g.call_function(operator.getitem, (x, 0))
            g.call_method("mul_", (view, 2))
            after = g.call_method("sum", (x,))
            return (after, read)

        self.assertEqual(self.calls(graph_of(make, "x")), ["x.sum()", "operator.getitem(x, 0)", "getitem.mul_(2)",
                                                           "x.sum()"])

    def test_attributes_are_no_reads(self):
        """Where an attribute was fetched does not show, not even across a write."""

        def build(first):
            graph = Graph(torch.nn.Module())
            graph.owning_module.weight = torch.nn.Parameter(torch.ones(2))
            x = graph.placeholder("x")
            weight = graph.get_attr("weight") if first else None
            graph.call_method("add_", (x, 1))
            graph.output(graph.call_function(torch.mul, (x, weight or graph.get_attr("weight"))))
            return graph_text(GraphModule(graph.owning_module, graph))

        self.assertEqual(build(True), build(False))

    def test_which_calls_have_effects(self):
        """Mutation, random numbers, assertions and modes hold their place; the same calls without these do not."""
        F_ = F
        aten, root = torch.ops.aten, torch.nn.Module()
        root.norm, root.linear, root.drop = torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 2), torch.nn.Dropout(0.5).eval()
        root.relu = torch.nn.ReLU(inplace=True)
        graph = Graph(root)
        x = graph.placeholder("x")
        call, method = graph.call_function, graph.call_method
        effects = [
            call(aten.add_.Tensor, (x, x)), call(aten.copy_.default, (x, x)), call(aten.add.out, (x, x), {"out": x}),
            call(operator.setitem, (x, 0, x)), call(operator.iadd, (x, x)), method("relu_", (x,)), method("__setitem__",
                                                                                                          (x, 0, 1)),
            method("bernoulli", (x,)), call(F_.relu, (x,), {"inplace": True}), call(F_.relu, (x, True)),
            call(F_.dropout, (x,)),
            call(F_.dropout, (x, 0.5, True)), call(torch.mul, (x, x), {"out": x}), call(torch.rand, (3,)),
            call(torch.relu_, (x,)),
            call(aten.dropout.default, (x, 0.5, True)), call(aten.rand_like.default, (x,)), call(torch._check, (True,)),
            call(aten._assert_scalar.default, (x, "m")), call(F_.batch_norm, (x, x, x), {"training": True}),
            call(aten.batch_norm.default, (x, None, None, x, x, True, 0.1, 1e-5, False)),
            call(torch._C._set_grad_enabled, (False,)),
            call(F_.embedding, (x, x), {"max_norm": 1.0}), call(F_.scaled_dot_product_attention, (x, x, x),
                                                                {"dropout_p": 0.1}),
            call(torch.ops.higher_order.wrap, (x,)), call(print, (x,)), graph.call_module("norm", (x,)),
            graph.call_module("relu", (x,))]
        pure = [
            call(aten.add.Tensor, (x, x)), call(operator.getitem, (x, 0)), call(operator.is_not, (x, None)),
            call(operator.invert, (x,)),
            method("relu", (x,)), method("__and__", (x, x)), method("__invert__", (x,)), call(F_.relu, (x,)),
            call(F_.relu, (x, False)),
            call(F_.dropout, (x, 0.5, False)), call(aten.dropout.default, (x, 0.5, False)), call(torch.mul, (x, x)),
            call(F_.batch_norm, (x, x, x), {"training": False}), call(F_.batch_norm, (x, None, None),
                                                                      {"training": True}),
            call(aten.batch_norm.default, (x, None, None, x, x, False, 0.1, 1e-5, False)), call(F_.embedding, (x, x)),
            call(F_.scaled_dot_product_attention, (x, x, x)), call(torch.sym_max, (x, 2)), call(getattr, (x, "shape")),
            call(math.floor, (x,)), call(torch.zeros, (2,)), graph.call_module("linear", (x,)),
            graph.call_module("drop", (x,)),
            graph.get_attr("linear.weight"), call(torch.linalg.norm, (x,)), call(torch.fft.fft, (x,)),
            call(F_.gelu, (x,))]
        for node in effects:
            self.assertTrue(has_effect(node), node.format_node())
        for node in pure:
            self.assertFalse(has_effect(node), node.format_node())

    def test_dead_values_have_one_order(self):
        """Values that nothing uses are told apart by what they compute, in any order of making them."""

        def build(order):
            graph = Graph()
            x = graph.placeholder("x")
            for number in order:
                inner = graph.call_function(torch.add, (x, number % 3))
                graph.call_function(torch.exp, (inner,))
                graph.call_function((torch.sin, torch.cos)[number % 2], (inner,))
            graph.output(graph.call_function(torch.relu, (x,)))
            return graph_text(graph)

        for order in ((5, 3, 1, 4, 2, 0), (2, 0, 1, 5, 3, 4)):
            self.assertEqual(build(order), build(range(6)))


if __name__ == "__main__":
    unittest.main()
