"""The script of a finding: it rebuilds the case exactly, and exits 1 with the bug, 0 without, 2 if it cannot tell."""

import importlib
import operator
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import torch
from torch import nn
from torch.fx import Graph, GraphModule, symbolic_trace

from fxpect import T
from fxpect.capture import capture
from fxpect.errors import CheckFailure
from fxpect.examples import Example
from fxpect.execution import as_pass
from fxpect.oracles.difference import same_bits
from fxpect.specs.aliases import Same, View
from fxpect.standalone.running import run_script
from fxpect.standalone.script import standalone_script
from fxpect.text.constructors import hooked
from fxpect.text.targets import register_target, target_name

NO_FXPECT = "import runpy, sys; sys.modules['fxpect'] = None; runpy.run_path(sys.argv[1], run_name='__main__')"
ATEN = torch.ops.aten


def keep(gm):
    return gm


def twice(x):
    return x * 2


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.bn(self.conv(x))


def traced(module, *inputs):
    return Example(symbolic_trace(module), inputs, "symbolic")


def calling(module, *inputs):
    """Return the example of one call of a module, whatever it is."""
    graph = Graph()
    graph.output(graph.call_module("m", (graph.placeholder("x"),)))
    return Example(GraphModule({"m": module}, graph), inputs, "symbolic")


class ScriptCase(unittest.TestCase):
    """Makes scripts and runs them in this process."""

    maxDiff = None

    def script(self, example, source="the_pass = lambda gm: gm", oracle="numerics", **options):
        failure = CheckFailure(oracle, "what was found", pass_name="keep", cause=oracle)
        return standalone_script(as_pass(keep), example, failure, pass_source=source, **options)

    def run_with(self, example, source, oracle="numerics"):
        """Return the exit code, and the last line of the output."""
        code, output = run_script(self.script(example, source, oracle))
        return code, output.strip().splitlines()[-1]

    def built(self, example, **options):
        """Return the graph module and the arguments that the script makes."""
        namespace = {"__name__": "script"}
        exec(self.script(example, **options).partition("\ntry:\n    found")[0], namespace)
        return namespace["build"](), namespace["make_args"]()

    def assertTold(self, example, wrong, said, right="the_pass = lambda gm: gm", oracle="numerics"):
        """The script exits 1 with the bug, which it tells, and 0 with the mended pass."""
        code, line = self.run_with(example, wrong, oracle)
        self.assertEqual((code, line[:6]), (1, "FAILS:"), line)
        self.assertIn(said, line)
        self.assertEqual(self.run_with(example, right, oracle), (0, "OK"))


class BuildTests(ScriptCase):
    """The graph and its modules are those of the example."""

    def assertSameState(self, example, gm):
        state, found = example.graph_module.state_dict(), gm.state_dict()
        self.assertEqual(list(found), list(state))
        for name, tensor in state.items():
            self.assertTrue(torch.equal(found[name], tensor), name)
        kinds = [[type(value) for value in module.parameters()] for module in (example.graph_module, gm)]
        self.assertEqual(kinds[0], kinds[1])

    def test_a_module_and_its_weight_are_one(self):
        """A graph may call a module and read its weight: the weight it reads is that of the module."""
        graph = Graph()
        weight, x = graph.get_attr("conv.weight"), graph.placeholder("x")
        graph.output((graph.call_module("conv", (x,)), weight, graph.get_attr("bn.running_mean")))
        example = Example(GraphModule(Block(), graph), (T(1, 2, 4, 4),), "symbolic")
        graph.call_module("bn", (x,))
        gm, args = self.built(example)

        self.assertIs(gm(*args)[1], gm.conv.weight)
        self.assertIs(type(gm.conv.weight), nn.Parameter)
        self.assertEqual(self.run_with(example, "the_pass = lambda gm: gm"), (0, "OK"))

    def test_state_of_norms(self):
        """Statistics that a norm has learned are there to the last bit, and so is the mode."""
        block = Block()
        for _ in range(3):
            block(torch.randn(5, 2, 4, 4))
        for model in (block, block.eval()):
            example = traced(model, T(1, 2, 4, 4))
            gm, args = self.built(example)

            self.assertSameState(example, gm)
            self.assertEqual((gm.bn.training, gm.training), (model.training, model.training))
            self.assertTrue(torch.equal(gm(*args), example.build()(*args)))

    def test_hooks(self):
        """A module with a hook that negates has it in the script; other scripts say nothing of hooks."""
        for model in (hooked(nn.Linear(3, 3), "output"), hooked(hooked(nn.Linear(3, 3), "output"), "input").eval()):
            example = traced(nn.Sequential(model), T(2, 3))
            gm, args = self.built(example)
            self.assertSameState(example, gm)
            self.assertEqual(gm.get_submodule("0").training, model.training)
            self.assertTrue(torch.equal(gm(*args), example.build()(*args)))
            self.assertEqual(self.run_with(example, "the_pass = lambda gm: gm"), (0, "OK"))
        self.assertNotIn("hook", self.script(traced(nn.Sequential(nn.Linear(3, 3)), T(2, 3))))

    def test_many_elements(self):
        """State of many elements is packed, not replaced; one that is shared is one."""
        bn = nn.BatchNorm1d(700)
        bn.running_var.uniform_(0.5, 2)
        example = traced(nn.Sequential(nn.Linear(100, 700), bn), T(2, 100))
        gm, _ = self.built(example)
        self.assertSameState(example, gm)

        tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        tied[1].weight = tied[0].weight
        gm, _ = self.built(traced(tied, T(2, 3)))
        self.assertIs(gm.get_parameter("0.weight"), gm.get_parameter("1.weight"))

    def test_too_many_elements(self):
        """What would fill the script keeps its dtype, its shape and its kind of values."""
        wide = nn.Module()
        for name, tensor in (("a", torch.rand(600, 700) + 1), ("b", torch.randint(3, 9, (3000, 900)))):
            wide.register_buffer(name, tensor)
        graph = Graph()
        x = graph.placeholder("x")
        graph.output([x, graph.get_attr("a"), graph.get_attr("b")])
        example = Example(GraphModule(wide, graph), (T(2),), "make_fx")
        gm, _ = self.built(example)

        self.assertLess(len(self.script(example)), 1 << 20)
        self.assertEqual((gm.a.shape, gm.b.shape, gm.b.dtype), (wide.a.shape, wide.b.shape, torch.int64))
        self.assertTrue(bool((gm.a > 0).all()))
        self.assertEqual((int(gm.b.min()), int(gm.b.max())), (3, 8))

    def test_other_modules(self):
        """Recurrent modules, attention and losses compute the same; a module of torch that no call builds is there."""
        from torch.ao.nn.intrinsic import ConvReLU2d

        modules = [(nn.GRU(3, 4), T(2, 3)), (nn.TransformerEncoderLayer(4, 2, 5).eval(), T(3, 4)),
                   (ConvReLU2d(nn.Conv2d(2, 3, 1), nn.ReLU()), T(1, 2, 3, 3)),
                   (nn.utils.fuse_conv_bn_eval(nn.Conv2d(2, 3, 1, bias=False).eval(), nn.BatchNorm2d(3).eval()),
                    T(1, 2, 3, 3))]
        for module, spec in modules:
            example = calling(module, spec)
            gm, args = self.built(example)

            self.assertEqual(repr(gm.m), repr(module))
            self.assertSameState(example, gm)
            self.assertEqual(self.run_with(example, "the_pass = lambda gm: gm"), (0, "OK"))

    def test_a_module_of_the_user(self):
        """A module of the user is a line to fill in; until then nothing can be told."""
        text = self.script(calling(Block(), T(1, 2, 4, 4)))
        line = next(line for line in text.splitlines() if "FILL IN" in line)
        self.assertEqual(line, f"    root['m'] = ...  # FILL IN: the module that stands here, a {__name__}.Block")

        code, output = run_script(text)
        self.assertEqual(code, 2)
        self.assertIn("CANNOT TELL: the graph does not run without the pass", output)

    def test_names(self):
        """Values named after what the script itself calls so have names of their own there."""
        names = ["graph", "root", "build", "build_0", "fill", "math", "operator", "args", "found", "the_pass"]
        graph = Graph()
        graph.output(tuple(graph.placeholder(name) for name in names))
        example = Example(GraphModule({}, graph), (T(2),) * len(names), "make_fx")

        self.assertEqual(self.run_with(example, "the_pass = lambda gm: gm"), (0, "OK"))
        gm, args = self.built(example)
        self.assertEqual([node.target for node in gm.graph.find_nodes(op="placeholder")], names)
        self.assertTrue(all(one is other for one, other in zip(gm(*args), args, strict=True)))

    def test_tensors_that_are_not_dense(self):
        """A sparse or a quantized buffer is there, and a plain attribute."""
        root, graph = nn.Module(), Graph()
        root.register_buffer("sparse", torch.eye(3).to_sparse())
        root.register_buffer("quantized", torch.quantize_per_tensor(torch.rand(3), 0.5, 1, torch.qint8))
        root.number = 3
        x = graph.placeholder("x")
        graph.output([x, *(graph.get_attr(name) for name in ("sparse", "quantized", "number"))])
        gm, args = self.built(Example(GraphModule(root, graph), (T(2),), "make_fx"))
        _, sparse, quantized, number = gm(*args)

        self.assertTrue(torch.equal(sparse.to_dense(), torch.eye(3)))
        self.assertTrue(torch.equal(quantized, root.quantized))
        self.assertEqual((sparse.layout, number), (torch.sparse_coo, 3))

    def test_nested_graphs_and_late_operators(self):
        """Graphs in graphs are functions of their own; operators that torch registers late are imported."""
        def model(x):
            return torch.cond(x.sum() > 0, lambda y: y.sin(), lambda y: y.cos(), (x,)).relu()

        example = capture(model, T(2, 3), capture="export")
        text = self.script(example)
        self.assertIn("import torch._higher_order_ops\n", text)
        gm, args = self.built(example)
        self.assertTrue(torch.equal(gm(*args)[0], model(*args)))

        importlib.import_module("torch.ao.quantization.fx._decomposed")
        graph = Graph()
        graph.output(graph.call_function(torch.ops.quantized_decomposed.quantize_per_tensor.default,
                                         (graph.placeholder("x"), 0.5, 0, -8, 8, torch.int8)))
        text = self.script(Example(GraphModule({}, graph), (T(4),), "make_fx"))
        self.assertIn("import torch.ao.quantization.fx._decomposed\n", text)

    def test_registered_functions(self):
        """A function that a test registered is imported from its module."""
        from fxpect.text import targets
        known, names = dict(targets._registered), dict(targets._registered_names)
        self.addCleanup(lambda: (targets._registered.clear(), targets._registered.update(known),
                                 targets._registered_names.clear(), targets._registered_names.update(names),
                                 targets._target_name.cache_clear()))
        register_target(twice)
        graph = Graph()
        graph.output(graph.call_function(twice, (graph.placeholder("x"),)))
        example = Example(GraphModule({}, graph), (T(4),), "make_fx")

        self.assertIn(f"import {__name__}\n", self.script(example))
        self.assertIn(f"graph.call_function({target_name(twice)}, (x,), {{}})", self.script(example))


class ArgumentTests(ScriptCase):
    """The arguments are those of the example."""

    def assertSameArguments(self, *inputs):
        graph = Graph()
        nodes = [graph.placeholder(f"x{i}") for i in range(len(inputs))]
        graph.output(tuple(nodes))
        example = Example(GraphModule({}, graph), inputs, "make_fx")
        expected, (_, found) = example.realize(seed=3), self.built(example, seed=3)
        self.assertEqual(len(found), len(expected))
        for one, other in zip(expected, found, strict=True):
            if not isinstance(one, torch.Tensor):
                self.assertEqual(repr(other), repr(one))
                continue
            for name in ("shape", "dtype", "layout", "requires_grad", "is_leaf"):
                self.assertEqual(getattr(other, name), getattr(one, name), name)
            self.assertEqual((other.stride(), other.storage_offset()), (one.stride(), one.storage_offset()))
            self.assertTrue(same_bits(one, other))
        return found

    def test_values(self):
        """Few elements and many, of every dtype, with NaN and infinities."""
        self.assertSameArguments(
            T(3), T(40, 40), T(4, values="special"), T(30, 30, values="special"), T(30, 30, dtype=torch.bfloat16),
            T(600, dtype=torch.int64, values="index:9"), T(600, dtype=torch.bool), T(25, 25, dtype=torch.complex64),
            T(2, requires_grad=True), T(0, 3), T(), 3, -0.0, float("inf"), True, "sum", torch.float16, (1, [2, None]))

    def test_layouts(self):
        """Transposed, expanded, windows on more memory, overlapping rows."""
        base = torch.rand(6, 5)
        self.assertSameArguments(
            base.t(), base[1:, ::2], base[:, :1].expand(6, 4), base.as_strided((2, 2), (3, 3)),
            torch.rand(40, 30).t(), base.as_strided((2, 2), (0, 3), 4), T(4, 6, layout="transposed"),
            T(4, 6, layout="offset"), T(4, 6, layout="strided"), T(4, 6, layout="expanded"))

    def test_aliases(self):
        """An input may be another one, or a view of it."""
        found = self.assertSameArguments(T(4, 3), Same(0), View(0, start=1), View(0, start=1, dim=1))

        self.assertIs(found[1], found[0])
        self.assertEqual({t.untyped_storage().data_ptr() for t in found}, {found[0].untyped_storage().data_ptr()})


class VerdictTests(ScriptCase):
    """Each oracle that a script holds tells a wrong pass from the mended one."""

    def test_values(self):
        """Wrong numbers are told, and what the pass raises."""
        example = capture(lambda x: x.relu() + 1, T(3, 4), capture="export")
        self.assertTold(example, "def the_pass(gm):\n    for node in gm.graph.nodes:\n"
                                 "        if node.target is torch.ops.aten.add.Tensor:\n"
                                 "            node.args = (node.args[0], 2)\n    return gm", "output 0: float32[3, 4]")
        self.assertTold(example, "def the_pass(gm):\n    raise ValueError('no such node')",
                        "ValueError: ['no such node']", oracle="crash")

    def test_the_sign_of_zero_beside_a_nan(self):
        """Where an input holds a negative zero its sign counts, with a NaN beside it too; elsewhere it does not."""
        erase = ("def the_pass(gm):\n    for node in gm.graph.nodes:\n"
                 "        if node.target is torch.ops.aten.add.Tensor:\n"
                 "            node.replace_all_uses_with(node.args[0])\n            gm.graph.erase_node(node)\n"
                 "    return gm")
        nan = float("nan")
        for values in ([nan, -0.0], [-0.0, 1.0]):
            self.assertTold(capture(lambda x: x + 0, torch.tensor(values), capture="make_fx"), erase,
                            "the sign of zero differs")
        flipped = capture(lambda x: (x * -1) + 0, torch.tensor([nan, 0.0]), capture="make_fx")
        self.assertEqual(self.run_with(flipped, erase), (0, "OK"))
        self.assertTold(capture(lambda x: x + 0, torch.tensor([nan, 1.0, -0.0]), capture="make_fx"),
                        "def the_pass(gm):\n    for node in gm.graph.nodes:\n"
                        "        if node.target is torch.ops.aten.add.Tensor:\n"
                        "            node.args = (node.args[0], 1)\n    return gm", "output 0")

    def test_writes(self):
        """A buffer that is no longer written, or written where it was not, is told; fused weights are no write."""
        example = traced(Block(), T(2, 2, 4, 4))
        frozen = "def the_pass(gm):\n    gm.bn.momentum = 0.0\n    return gm"
        self.assertTold(example, frozen, "the write of bn.running_mean 0", oracle="effects")
        fuse = ("def the_pass(gm):\n    from torch.fx.experimental.optimization import fuse\n    return fuse(gm)")
        self.assertEqual(self.run_with(traced(Block().eval(), T(2, 2, 4, 4)), fuse), (0, "OK"))

    def test_inputs_and_aliases(self):
        """A write to an input and an output that became an alias are told; two windows that do not meet are not."""
        example = capture(lambda x: (x + 1, x.clone()), T(4), capture="make_fx")
        self.assertTold(example, "def the_pass(gm):\n    for node in gm.graph.nodes:\n"
                                 "        if node.target is torch.ops.aten.add.Tensor:\n"
                                 "            node.target = torch.ops.aten.add_.Tensor\n    return gm",
                        "before", oracle="effects")
        unclone = ("def the_pass(gm):\n    for node in gm.graph.nodes:\n"
                   "        if node.target is torch.ops.aten.clone.default:\n"
                   "            node.replace_all_uses_with(node.args[0])\n            gm.graph.erase_node(node)\n"
                   "    return gm")
        self.assertTold(example, unclone, "aliases", oracle="effects")
        halves = Graph()
        x = halves.placeholder("x")
        parts = halves.call_function(torch.split, (x, 2))
        copies = [halves.call_function(ATEN.clone.default, (halves.call_function(operator.getitem, (parts, i)),))
                  for i in (0, 1)]
        made = halves.call_function(torch.cat, (copies,))
        halves.output((halves.call_function(torch.narrow, (made, 0, 0, 2)),
                       halves.call_function(torch.clone, (halves.call_function(torch.narrow, (made, 0, 2, 2)),))))
        apart = Example(GraphModule({}, halves), (T(4),), "make_fx")
        unclone = unclone.replace("torch.ops.aten.clone.default", "torch.clone")
        self.assertEqual(self.run_with(apart, unclone), (0, "OK"))

    def test_inputs_and_their_defaults(self):
        """An input that lost its default, or its name, is told."""
        for change, told in (("args = ()", "inputs [('x', None)] before, [('x',)] after"),
                             ("target = 'y'", "inputs [('x', None)] before, [('y', None)] after")):
            forget = f"def the_pass(gm):\n    next(iter(gm.graph.nodes)).{change}\n    return gm"
            text = "def forward(self, x=None):\n    neg = torch.neg(x)\n    return neg"
            self.assertTold(Example.from_text(text, T(3), capture="symbolic"), forget, told, oracle="structure")

    def test_leaves_and_the_very_input(self):
        """An output that is the input itself, where a view of it was, is told."""
        text = ('def forward(self, x: "f32[2, 3](requires_grad=True)"):\n    view = x.view(3, 2)\n'
                "    view_1 = view.view(2, 3)\n    return (view_1,)")
        short_cut = ("def the_pass(gm):\n    gm.graph.output_node().args = ((next(iter(gm.graph.nodes)),),)\n"
                     "    return gm")
        self.assertTold(Example.from_text(text, T(2, 3, requires_grad=True), capture="dynamo"), short_cut,
                        "outputs that are leaves, and which input each is: ([False], [None]) before, "
                        "([True], [0]) after", oracle="effects")

    def test_gradients(self):
        """The gradient of an input, and that of a parameter, are told."""
        cut = ("def the_pass(gm):\n    node = next(n for n in gm.graph.nodes if n.op == 'get_attr')\n"
               "    with gm.graph.inserting_after(node):\n        new = gm.graph.call_method('detach', (node,))\n"
               "    node.replace_all_uses_with(new, delete_user_cb=lambda user: user is not new)\n    return gm")
        graph = Graph()
        x, weight = graph.placeholder("x"), graph.get_attr("weight")
        graph.output(graph.call_function(nn.functional.linear, (x, weight)))
        example = Example(GraphModule(nn.Linear(3, 2), graph), (T(4, 3, requires_grad=True),), "symbolic")

        self.assertTold(example, cut, "the gradient of weight", oracle="gradients")

    def test_a_graph_without_a_backward(self):
        """Where the backward of the graph before fails, or autograd refuses its writes, the rest is told all the same.

        A backward that fails after the pass alone is told.
        """
        spoiled = traced(lambda x: x.sqrt().mul_(2) + 1, T(3, values="positive", requires_grad=True))
        refused = traced(lambda x: x.mul_(2) + 1, T(3, requires_grad=True))
        for example in (spoiled, refused):
            self.assertEqual(self.run_with(example, "the_pass = lambda gm: gm"), (0, "OK"))
            self.assertTold(example, "def the_pass(gm):\n    for node in gm.graph.nodes:\n"
                                     "        if node.target is operator.add:\n"
                                     "            node.args = (node.args[0], 2)\n    return gm", "output 0")
        self.assertTold(traced(lambda x: x.sqrt().mul(2) + 1, T(3, values="positive", requires_grad=True)),
                        "def the_pass(gm):\n    for node in gm.graph.nodes:\n        if node.target == 'mul':\n"
                        "            node.target = 'mul_'\n    return gm",
                        "the backward does not run: RuntimeError", oracle="gradients")

    def test_metadata_and_structure(self):
        """Recorded types that do not hold, a use before its definition, and code that is not the nodes, are told."""
        example = capture(lambda x: x.relu() + 1, T(3, 4), capture="export")
        self.assertTold(example, "def the_pass(gm):\n    for node in gm.graph.nodes:\n"
                                 "        if node.target is torch.ops.aten.relu.default:\n"
                                 "            node.meta['val'] = node.meta['val'].t()\n    return gm",
                        "recorded torch.float32 [4, 3]", oracle="metadata")
        self.assertTold(example, "def the_pass(gm):\n    first, *_, last = [n for n in gm.graph.nodes\n"
                                 "                       if n.op == 'call_function']\n    last.append(first)\n"
                                 "    return gm", "was used before it has been defined", oracle="structure")

    def test_code_that_does_not_run(self):
        """Where the code does not run, structure tells so, and the others go by the nodes."""
        example = capture(lambda x: x.relu() + 1, T(3, 4), capture="export")
        source = ("class Applied:\n    __name__ = 'applied'\n\n    def __call__(self, module, x):\n"
                  "        return module(x)\n\n"
                  "def the_pass(gm):\n    for node in gm.graph.nodes:\n"
                  "        if node.target is torch.ops.aten.relu.default:\n"
                  "            node.target, node.args = Applied(), (torch.nn.ReLU(), node.args[0])\n    return gm")

        self.assertEqual(self.run_with(example, source), (0, "OK"))
        self.assertEqual(self.run_with(example, source, "structure")[0], 1)
        wrong = source.replace("return module(x)", "return module(x) + 1")
        self.assertEqual(self.run_with(example, wrong)[0], 1)
        failing = source.replace("return module(x)", "raise ValueError('by the nodes')")
        self.assertIn("ValueError: ['by the nodes']", self.run_with(example, failing, "crash")[1])

    def test_what_cannot_be_told(self):
        """Exit code 2: a line to fill in, an oracle of fxpect alone, a pass that torch lacks, a graph that fails."""
        example = capture(lambda x: x.relu(), T(3), capture="export")
        asked = "".join(self.script(example, source=None).partition("the_pass = ")[1:])
        self.assertTrue(asked.startswith(f"the_pass = importlib.import_module({__name__!r}).keep\n"), asked[:80])
        for source, oracle, said in (
                ("the_pass = ...  # FILL IN", "numerics", "fill in the line that is marked"),
                ("the_pass = lambda gm: gm", "honesty", "fxpect alone shows what honesty finds"),
                ("def the_pass(gm):\n    import torch.no_such", "crash", "this torch has no such pass: No module"),
                ("def the_pass(gm):\n    torch.no_such(gm)", "crash", "this torch has no such pass: module 'torch'")):
            code, line = self.run_with(example, source, oracle)
            self.assertEqual((code, line[:13 + len(said)]), (2, f"CANNOT TELL: {said}"))
        broken = traced(nn.Linear(3, 2), T(4, 5))
        self.assertEqual(self.run_with(broken, "the_pass = lambda gm: gm")[0], 2)


class AloneTests(ScriptCase):
    """A script runs by itself."""

    def test_without_fxpect(self):
        """In a process that has torch alone the script exits 1 with the bug, and 0 when its module is mended."""
        block = Block()
        block(torch.randn(3, 2, 4, 4) + 1)
        example = traced(block.eval(), T(1, 2, 4, 4))
        wrong = ("def drop_norm(gm):\n    for node in gm.graph.nodes:\n        if node.target == 'bn':\n"
                 "            node.replace_all_uses_with(node.args[0])\n    return gm\n")
        with tempfile.TemporaryDirectory() as folder:
            text = self.script(example, "import importlib\n\nthe_pass = importlib.import_module('my_pass').drop_norm")
            Path(folder, "script.py").write_text(text)
            for source, expected, said in ((wrong, 1, "FAILS: output 0"), (wrong.replace("'bn'", "'no'"), 0, "OK")):
                Path(folder, "my_pass.py").write_text(source)
                environment = {**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
                done = subprocess.run([sys.executable, "-c", NO_FXPECT, str(Path(folder, "script.py"))],
                                      capture_output=True, text=True, cwd=folder, env=environment)

                self.assertEqual(done.returncode, expected, done.stdout + done.stderr)
                self.assertIn(said, done.stdout.splitlines()[-1])


if __name__ == "__main__":
    unittest.main()
