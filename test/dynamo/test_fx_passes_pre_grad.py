"""Inductor's pass_execution_and_save and the passes around it, on generated shapes and dtypes.

Mirrors test/dynamo/test_fx_passes_pre_grad.py of PyTorch, whose one test exports a parameter plus an input and
runs a pass that does nothing. Each of the other classes holds one behaviour. What every generated example must
show is said here; the graphs that stored examples must give are below ``fixtures/``.
"""

import contextlib
import functools
import io
import tempfile
from unittest import mock

import torch
import torch._inductor.utils as inductor_utils
from hypothesis import strategies as st
from torch._inductor import config as inductor_config
from torch._inductor.fx_passes import post_grad, pre_grad
from torch.fx.passes.dialect.common.cse_pass import CSEPass
from torch.fx.passes.graph_manipulation import replace_target_nodes_with
from torch.fx.passes.graph_transform_observer import GraphTransformObserver
from torch.fx.passes.reinplace import reinplace
from torch.fx.passes.shape_prop import ShapeProp

import fxpect
from fxpect import T
from fxpect.capture import capture

aten = torch.ops.aten
linear = torch.nn.functional.linear
SIZES = st.integers(1, 6)
FEW = st.integers(1, 4)
MORE = st.integers(2, 5)
WIDTHS = st.lists(FEW, min_size=2, max_size=4)
DTYPES = st.sampled_from(["f32", "f64", "i64"])
explore = functools.partial(fxpect.explore, max_examples=15)


class ParameterPlusInput(torch.nn.Module):
    """A parameter plus the input; integers make a parameter that needs no gradient."""

    def __init__(self, *shape, dtype=torch.float32):
        super().__init__()
        self.param = torch.nn.Parameter(torch.ones(shape, dtype=dtype), dtype.is_floating_point)

    def forward(self, x):
        return self.param + x


def does_nothing(graph):
    """A pass that changes nothing."""


def exported(*shape):
    """Return the exported graph of a parameter plus an input, both of ``shape``, and the arguments it takes."""
    model, x = ParameterPlusInput(*shape), torch.randn(*shape)
    return export(model, x), (model.param, x)


def export(model, x):
    """Return the graph of a strict export, without the shapes that tracing left under ``tensor_meta``."""
    gm = torch.export.export(model, (x,), strict=True).graph_module
    for node in gm.graph.nodes:
        node.meta.pop("tensor_meta", None)
    return gm


def shapes_of(gm, key):
    """Return the shape that every node has by ``meta[key]``, None for one without."""
    nodes = [node for node in gm.graph.nodes if node.op != "output"]
    return {node.name: list(node.meta[key].shape) if key in node.meta else None for node in nodes}


def runtime_shapes(gm, args):
    """Return the shape that every node really has when the graph runs."""
    shapes = {}

    class Watching(torch.fx.Interpreter):
        def run_node(self, node):
            result = super().run_node(node)
            if node.op != "output":
                shapes[node.name] = list(result.shape)
            return result

    Watching(gm).run(*args)
    return shapes


def by_torch(pass_, gm, args):
    """Run a pass with torch's own helper."""
    inductor_utils.pass_execution_and_save(pass_, gm, args, "a pass of a test")


def by_fxpect(pass_, gm, args):
    """Run a pass with fxpect's helper of the same name, which keeps the graphs."""
    with tempfile.TemporaryDirectory() as folder:
        return fxpect.pass_execution_and_save(pass_, gm, args, "a pass of a test", folder)


HELPERS = {"torch": by_torch, "fxpect": by_fxpect}
HELPER = st.sampled_from(sorted(HELPERS))


class FxPassesPreGradTests(fxpect.ExportTestCase):
    """The test of PyTorch, and what its call does where nothing is mocked."""

    @explore(SIZES, SIZES, max_examples=6)
    def test_pass_execution_and_save(self, rows, columns):
        """Torch's helper takes the strict export of a parameter plus an input, and propagates shapes once."""
        gm, args = exported(rows, columns)
        before = fxpect.graph_text(gm)

        with mock.patch("torch._inductor.utils.ShapeProp.propagate") as propagate:
            by_torch(does_nothing, gm, args[1])

        propagate.assert_called_once()
        self.assertOps(gm, {"aten.add.Tensor": 1})
        self.assertGraph(gm)
        self.assertEqual(fxpect.graph_text(gm), before)

    @explore(SIZES, SIZES, max_examples=6)
    def test_fxpect_propagates_shapes_once(self, rows, columns):
        """The helper of fxpect propagates shapes once too, before the pass runs, and reports no change."""
        gm, args = exported(rows, columns)
        calls = []

        with mock.patch("fxpect.execution.shapes.ShapeProp.propagate", lambda *_: calls.append("shapes")):
            run = by_fxpect(lambda graph: calls.append("pass"), gm, args[1])

        self.assertEqual(calls, ["shapes", "pass"])
        self.assertEqual((run.changed, run.before), (False, run.after))

    @explore(SIZES, max_examples=4)
    def test_bare_tensor_is_taken_for_its_rows(self, columns):
        """Torch's helper unpacks a bare tensor: its two rows are the two inputs, each of one dim too few."""
        gm, args = exported(2, columns)

        by_torch(does_nothing, gm, args[1])

        self.assertEqual(shapes_of(gm, "val")["add"], [2, columns])
        self.assertEqual(shapes_of(gm, "tensor_meta"), dict.fromkeys(shapes_of(gm, "val"), [columns]))

    def test_bare_tensor_of_four_rows(self):
        """PyTorch's own call, not mocked: four rows for two inputs, and every node is said to be (4,)."""
        gm, args = exported(4, 4)

        by_torch(does_nothing, gm, args[1])

        self.assertEqual(set(map(tuple, shapes_of(gm, "val").values())), {(4, 4)})
        self.assertEqual(set(map(tuple, shapes_of(gm, "tensor_meta").values())), {(4,)})

    @explore(SIZES, SIZES, max_examples=6)
    def test_fxpect_takes_a_bare_tensor_for_one_input(self, rows, columns):
        """For the same call the helper of fxpect writes the shapes of the metadata and of a real run."""
        gm, args = exported(rows, columns)

        by_fxpect(does_nothing, gm, args[1])

        self.assertEqual(shapes_of(gm, "tensor_meta"), shapes_of(gm, "val"))
        self.assertEqual(shapes_of(gm, "tensor_meta"), runtime_shapes(gm, args))


class ParameterPlusInputTests(fxpect.ExportTestCase):
    """A parameter plus an input of any shape that broadcasts, whichever way it is exported."""

    @explore(SIZES, SIZES, st.sampled_from(["same", "row", "scalar"]), DTYPES, st.booleans())
    def test_pass_that_does_nothing(self, rows, columns, kind, dtype, strict):
        """The graph is one addition of two inputs, and a pass that does nothing leaves it so."""
        shape = {"same": (rows, columns), "row": (columns,), "scalar": ()}[kind]
        x = T(*shape, dtype=dtype)
        model, way = ParameterPlusInput(rows, columns, dtype=x.dtype), "export" if strict else "export-nonstrict"

        result = self.assertUnchanged(does_nothing, model, x, capture=way, ops={"aten.add.Tensor": (1, 1)})

        self.assertEqual(len(result.execution.after.graph.find_nodes(op="placeholder")), 2)

    @explore(SIZES, SIZES, DTYPES)
    def test_addition_made_a_product(self, rows, columns, dtype):
        """Replacing the addition gives one product of the same operands, and the verbs see the difference."""
        x = T(rows, columns, dtype=dtype, values="integers")
        example = capture(ParameterPlusInput(rows, columns, dtype=x.dtype), (x,))
        param, given = example.realize()

        def multiplies(gm):
            replace_target_nodes_with(gm, "call_function", aten.add.Tensor, "call_function", aten.mul.Tensor)

        execution = fxpect.run_pass(multiplies, example)

        self.assertOps(execution, {"aten.add.Tensor": 0, "aten.mul.Tensor": 1})
        self.assertGraph(execution)
        self.assertTrue(torch.equal(execution.after(param, given)[0], param * given))
        if not torch.equal(param * given, param + given):
            with self.assertRaisesRegex(fxpect.CheckFailure, "numerics"):
                self.assertRewrites(multiplies, example, golden=False)

    @explore(SIZES, SIZES, DTYPES, max_examples=10)
    def test_strict_and_nonstrict_agree(self, rows, columns, dtype):
        """Strict and non-strict export give one graph, of the same shapes and dtypes."""
        x = T(rows, columns, dtype=dtype)
        model = ParameterPlusInput(rows, columns, dtype=x.dtype)

        strict = self.assertExports(model, x, strict=True, label="strict").graph_module
        nonstrict = self.assertExports(model, x, strict=False, label="nonstrict").graph_module

        self.assertEqual(fxpect.graph_text(strict, types=False), fxpect.graph_text(nonstrict, types=False))
        self.assertEqual(shapes_of(strict, "val"), shapes_of(nonstrict, "val"))

    def test_stored_graphs(self):
        """The exported graphs are the stored ones on every torch."""
        for strict in (True, False):
            label = "strict" if strict else "nonstrict"
            self.assertExports(ParameterPlusInput(4, 4), T(4, 4), strict=strict, golden=True, label=label)


class ShapePropagationTests(fxpect.ExportTestCase):
    """What shape propagation writes on the nodes."""

    @explore(SIZES, SIZES, st.booleans())
    def test_writes_what_really_runs(self, rows, columns, wide):
        """Given one argument a placeholder, it writes the shapes of the metadata, which are those of a real run."""
        shape, model = (rows, columns) if wide else (columns,), ParameterPlusInput(rows, columns)
        args = (model.param, torch.randn(*shape))
        gm = export(model, args[1])

        ShapeProp(gm).propagate(*args)

        self.assertGraph(gm)
        self.assertEqual(shapes_of(gm, "tensor_meta"), shapes_of(gm, "val"))
        self.assertEqual(shapes_of(gm, "tensor_meta"), runtime_shapes(gm, args))

    def test_refuses_too_few_arguments(self):
        """Given the input without the parameter, it raises."""
        gm, args = exported(4, 4)

        with contextlib.redirect_stderr(io.StringIO()), self.assertRaisesRegex(RuntimeError, "ShapeProp error.*%x"):
            by_torch(does_nothing, gm, (args[1],))


class HelperTests(fxpect.TestCase):
    """What torch's helper and fxpect's make of what a pass leaves: the same, but for a graph that it returns."""

    @explore(HELPER, SIZES, SIZES, max_examples=10)
    def test_dead_node_is_kept_until_it_is_eliminated(self, helper, rows, columns):
        """A node that nothing uses stands in the text until dead code is eliminated; outputs never change."""
        gm, args = exported(rows, columns)
        before, expected = fxpect.graph_text(gm), gm(*args)

        def adds_dead_node(graph):
            with graph.inserting_before(graph.output_node()):
                graph.call_function(aten.neg.default, (next(iter(graph.nodes)),))

        HELPERS[helper](adds_dead_node, gm, args)

        self.assertOps(gm, {"aten.neg.default": 1})
        self.assertGraph(gm, "dead node")
        self.assertTrue(torch.equal(gm(*args)[0], expected[0]))
        gm.graph.eliminate_dead_code()
        self.assertEqual(fxpect.graph_text(gm), before)

    @explore(HELPER, SIZES, max_examples=6)
    def test_use_before_definition_is_sorted(self, helper, size):
        """A pass that leaves a value below its use gets its nodes sorted, and the graph runs."""
        gm, args = exported(size)

        def negates_below(graph):
            (add,) = graph.find_nodes(op="call_function", target=aten.add.Tensor)
            add.update_arg(0, graph.call_function(aten.neg.default, (add.args[0],)))  # stands behind the output

        HELPERS[helper](negates_below, gm, args)

        order = [node.name for node in gm.graph.nodes]
        self.assertLess(order.index("neg_default"), order.index("add"))
        self.assertEqual(order[-1], "output")
        self.assertGraph(gm, "sorted")
        self.assertTrue(torch.equal(gm(*args)[0], -args[0] + args[1]))

    @explore(HELPER, SIZES, st.sampled_from(["ValueError", "KeyError", "RuntimeError"]), st.text("ab ", min_size=1))
    def test_what_the_pass_raises_comes_through(self, helper, size, kind, message):
        """The exception keeps its type and message, and the graph still is what it was."""
        gm, args = exported(size)
        before, expected = fxpect.graph_text(gm), gm(*args)
        raised = {"ValueError": ValueError, "KeyError": KeyError, "RuntimeError": RuntimeError}[kind](message)

        def raises(graph):
            raise raised

        with self.assertRaises(type(raised)) as caught:
            HELPERS[helper](raises, gm, args)

        self.assertIs(caught.exception, raised)
        self.assertEqual(fxpect.graph_text(gm), before)
        self.assertTrue(torch.equal(gm(*args)[0], expected[0]))

    @explore(SIZES, max_examples=6)
    def test_returned_graph(self, size):
        """Torch's helper drops the graph that a pass returns; fxpect's goes on with it."""

        def returns_fresh_graph(graph):
            fresh = torch.fx.Graph()
            fresh.output(fresh.graph_copy(graph, {}))
            for node in fresh.find_nodes(op="call_function", target=aten.add.Tensor):
                node.target = aten.sub.Tensor
            return fresh

        (dropped, args), (kept, _) = exported(size), exported(size)
        by_torch(returns_fresh_graph, dropped, args)
        by_fxpect(returns_fresh_graph, kept, args)

        self.assertOps(dropped, {"aten.add.Tensor": 1, "aten.sub.Tensor": 0})
        self.assertOps(kept, {"aten.add.Tensor": 0, "aten.sub.Tensor": 1})
        self.assertGraph(dropped, "dropped")
        self.assertGraph(kept, "kept")

    def test_torch_leaves_no_file_and_fxpect_does(self):
        """The file that torch's helper names is gone when it returns; fxpect's record names files that are there."""
        gm, args = exported(2, 3)

        with self.assertLogs("torch._inductor.utils", "INFO") as logs:
            by_torch(does_nothing, gm, args)
        with tempfile.TemporaryDirectory() as folder:
            run = fxpect.pass_execution_and_save(does_nothing, gm, args, "nothing", folder)
            texts = {name: read(path) for name, path in run.paths.items()}

        named = logs.output[0].partition("save before/after graph to ")[2].partition(",")[0]
        self.assertTrue(named)
        with self.assertRaises(FileNotFoundError):
            read(named)
        self.assertEqual(texts["before"], texts["after"])
        self.assertIn("aten.add.Tensor", texts["before"])


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


class IdentityTests(fxpect.PassTestCase):
    """remove_identity takes every nn.Identity out of a traced module."""

    capture = "symbolic"

    @explore(st.lists(st.sampled_from(["identity", "linear"]), min_size=1, max_size=5), SIZES)
    def test_chain(self, kinds, size):
        """Whatever the chain, no identity is left and every linear is."""
        identities, linears = kinds.count("identity"), kinds.count("linear")
        make = {"identity": torch.nn.Identity, "linear": functools.partial(torch.nn.Linear, size, size)}
        # Without an identity torch before 2.12 rebuilds the graph all the same, and drops its metadata.
        verb = self.assertRewrites if identities else self.assertPreserves
        ops = {torch.nn.Identity: (identities, 0), torch.nn.Linear: (linears, linears)}

        verb(pre_grad.remove_identity, torch.nn.Sequential(*(make[kind]() for kind in kinds)), T(2, size), ops=ops)


POINTWISE = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}
OPERATOR = st.sampled_from(sorted(POINTWISE))


class SinkCatTests(fxpect.PreGradPassTestCase):
    """sink_cat_after_pointwise moves a join below the relu or tanh that follows it, and nothing else."""

    @explore(WIDTHS, OPERATOR, st.sampled_from([0, -1]))
    def test_every_piece_gets_the_operator(self, widths, name, dim):
        """k pieces, one join and one relu or tanh become k of them and one join; a sigmoid stays where it is."""
        operator, moved = POINTWISE[name], name != "sigmoid"
        specs = [T(width, 3) if dim == 0 else T(3, width) for width in widths]
        verb = self.assertRewrites if moved else self.assertUnchanged
        ops = {"torch.cat": (1, 1), operator: (1, len(widths) if moved else 1)}

        verb(pre_grad.sink_cat_after_pointwise, lambda *xs: operator(torch.cat(xs, dim=dim)), *specs, ops=ops)

    @explore(WIDTHS, OPERATOR)
    def test_join_with_another_user_stays(self, widths, name):
        """A join that something else reads too is left alone."""
        operator = POINTWISE[name]

        def model(*pieces):
            joined = torch.cat(pieces, dim=-1)
            return operator(joined), joined

        ops = {"torch.cat": (1, 1), operator: (1, 1)}
        self.assertUnchanged(pre_grad.sink_cat_after_pointwise, model, *[T(2, width) for width in widths], ops=ops)


def with_shapes(fusion):
    """Return a permute fusion with the shape propagation that it relies on."""

    def fuse(gm, example_inputs):
        ShapeProp(gm).propagate(*example_inputs)
        return fusion(gm)

    fuse.__name__ = fusion.__name__
    return fuse


class PermuteFusionTests(fxpect.PreGradPassTestCase):
    """A permute of the last two dims before or after a product becomes part of the product."""

    @explore(FEW, MORE, MORE, MORE, st.booleans())
    def test_linear_then_permute(self, batch, rows, inner, columns, method):
        """linear followed by the method permute is one linear_transpose; the function permute is not looked for."""

        def model(x, weight, bias):
            product = linear(x, weight, bias)
            return (product.permute(0, 2, 1) if method else torch.permute(product, (0, 2, 1))).sum(1)

        verb, fused = (self.assertRewrites, 1) if method else (self.assertUnchanged, 0)
        specs = T(batch, rows, inner), T(columns, inner), T(columns)
        ops = {pre_grad.linear_transpose: (0, fused), linear: (1, 1 - fused)}

        verb(with_shapes(pre_grad.linear_permute_fusion), model, *specs, ops=ops)

    @explore(FEW, MORE, MORE, MORE, max_examples=6)
    def test_fused_product_is_laid_out_anew(self, batch, rows, inner, columns):
        """Where the permuted product is returned, the caller sees other strides than before the fusion."""
        fusion = with_shapes(pre_grad.linear_permute_fusion)

        with self.assertRaisesRegex(fxpect.CheckFailure, "stride"):
            self.assertRewrites(fusion, lambda x, weight: linear(x, weight).permute(0, 2, 1), T(batch, rows, inner),
                                T(columns, inner), golden=False)  # fmt: skip

    @explore(FEW, MORE, MORE, MORE)
    def test_permute_then_linear(self, batch, rows, inner, columns):
        """A permute followed by linear is one transpose_linear."""

        def model(x, weight, bias):
            return linear(x.permute(0, 2, 1), weight, bias)

        specs = T(batch, inner, rows), T(columns, inner), T(columns)
        ops = {pre_grad.transpose_linear: (0, 1), linear: (1, 0)}

        self.assertRewrites(with_shapes(pre_grad.permute_linear_fusion), model, *specs, ops=ops)

    @explore(FEW, MORE, MORE, MORE, st.booleans(), st.booleans())
    def test_permute_then_matmul(self, batch, rows, inner, columns, left, right):
        """A permute of either operand of bmm goes into transpose_matmul; without one nothing is fused."""

        def model(x, y):
            return torch.bmm(x.permute(0, 2, 1) if left else x, y.permute(0, 2, 1) if right else y)

        verb, fused = (self.assertRewrites, 1) if left or right else (self.assertUnchanged, 0)
        x = T(batch, inner, rows) if left else T(batch, rows, inner)
        y = T(batch, columns, inner) if right else T(batch, inner, columns)
        ops = {pre_grad.transpose_matmul: (0, fused), torch.bmm: (1, 1 - fused), ".permute": (left + right, 0)}

        verb(with_shapes(pre_grad.permute_matmul_fusion), model, x, y, ops=ops)


class ConvolutionNormTests(fxpect.PassTestCase):
    """fuse_conv_bn folds a batch norm in evaluation mode into the convolution before it."""

    capture = "symbolic"

    @explore(FEW, FEW, st.integers(1, 3), st.booleans(), st.booleans())
    def test_norm_is_folded(self, channels, features, kernel, bias, training):
        """In evaluation the norm is gone and the numbers stay within rounding; one that still learns stays."""
        convolution = torch.nn.Conv2d(channels, features, kernel, bias=bias)
        norm = torch.nn.BatchNorm2d(features)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
        verb, left = (self.assertUnchanged, 1) if training else (self.assertRewrites, 0)
        ops = {torch.nn.Conv2d: (1, 1), torch.nn.BatchNorm2d: (1, left)}

        model = torch.nn.Sequential(convolution, norm).train(training)
        verb(pre_grad.fuse_conv_bn, model, T(2, channels, 4, 4), ops=ops)


class AtenCleanupTests(fxpect.PassTestCase):
    """Passes over the ATen graphs of make_fx: common subexpressions, in-place operators, those without effect."""

    capture = "make_fx"

    @explore(st.integers(2, 4), SIZES)
    def test_common_subexpressions(self, copies, size):
        """Equal calls become one."""
        ops = {"aten.sin.default": (copies, 1), "aten.mul.Tensor": (copies - 1, copies - 1)}

        self.assertRewrites(CSEPass(), lambda x: functools.reduce(torch.mul, [x.sin() for _ in range(copies)]), T(size),
                            ops=ops)  # fmt: skip

    @explore(SIZES, st.integers(2, 4))
    def test_unequal_calls_stay(self, size, count):
        """Calls that differ in a constant are not merged."""
        ops = {"aten.mul.Tensor": (count, count)}

        self.assertUnchanged(CSEPass(), lambda x: sum(x * (i + 2) for i in range(count)), T(size), ops=ops)

    @explore(SIZES, st.integers(1, 3))
    def test_intermediates_are_written_in_place(self, size, count):
        """Operators on intermediates are made in-place; the input is not written."""

        def model(x):
            return functools.reduce(lambda y, _: y * 2, range(count), x + 1)

        ops = {"aten.add.Tensor": (1, 1), "aten.mul.Tensor": (count, 0), "aten.mul_.Tensor": (0, count)}
        self.assertRewrites(reinplace, model, T(size), ops=ops)

    @explore(st.lists(st.sampled_from(["clone", "view", "slice"]), min_size=1, max_size=3), SIZES)
    def test_operators_without_effect_are_removed(self, names, size):
        """Copies, views of the same shape and slices of everything between two operators are taken out."""
        steps = {"clone": torch.clone, "view": lambda y: aten.view(y, y.shape),
                 "slice": lambda y: aten.slice(y, 0, 0, 2**63 - 1)}  # fmt: skip

        def model(x):
            return functools.reduce(lambda y, name: steps[name](y), names, x.relu()) + 1

        ops = {"aten.relu": (1, 1), "aten.clone": 0, "aten.view": 0, "aten.slice": 0}
        self.assertRewrites(post_grad.remove_noop_ops, model, T(size), ops=ops)


class PassAlgebraTests(fxpect.PassTestCase):
    """A pass run twice, and two passes in either order."""

    capture = "make_fx"
    PASSES = {"cse": CSEPass(), "noop": post_grad.remove_noop_ops}

    @staticmethod
    def model(copies):
        """Return a model with copies to merge and operators to take out."""
        return lambda x: functools.reduce(torch.mul, [x.sin().clone() for _ in range(copies)])

    @explore(st.integers(2, 4), SIZES, max_examples=8)
    def test_twice_is_once(self, copies, size):
        """What a second run of either pass gives is what the first gave."""
        for name, one in self.PASSES.items():
            runs = self.assertPipeline({name: one, f"{name} again": one}, self.model(copies), T(size))

            self.assertEqual(runs[name].execution.after_text, runs[f"{name} again"].execution.after_text)

    @explore(st.integers(2, 4), SIZES, max_examples=8)
    def test_order_does_not_matter(self, copies, size):
        """Either order preserves what the model computes and ends in the same graph."""
        ops = {"aten.sin": (copies, 1), "aten.clone": (copies, 0)}
        backwards = dict(reversed(self.PASSES.items()))

        forth = self.assertPipeline(self.PASSES, self.model(copies), T(size), ops=ops)
        back = self.assertPipeline(backwards, self.model(copies), T(size), ops=ops)

        self.assertEqual(forth["noop"].execution.after_text, back["cse"].execution.after_text)


def observed(name, ran):
    """Return sink_cat as Inductor calls a pass: under a name by which it can be switched off."""

    def sink(gm):
        def note(module):
            ran.append(name)
            return pre_grad.sink_cat_after_pointwise(module)

        GraphTransformObserver(gm, name).apply_gm_pass(note)

    return sink


def relu_of_join(*pieces):
    return torch.relu(torch.cat(pieces, dim=-1))


class DisabledPassTests(fxpect.PreGradPassTestCase):
    """A pass that the configuration switches off by name."""

    @explore(WIDTHS, st.sampled_from(["sink_cat", "SINK_CAT", "other,sink_cat"]), max_examples=8)
    def test_switched_off(self, widths, names):
        """It does not run and the graph stays; without the switch it runs and rewrites."""
        ran, specs = [], [T(2, width) for width in widths]

        with inductor_config.patch(disabled_passes=names):
            self.assertUnchanged(observed("sink_cat", ran), relu_of_join, *specs, label="off")
        self.assertEqual(ran, [])
        self.assertRewrites(observed("sink_cat", ran), relu_of_join, *specs, label="on")
        self.assertEqual(set(ran), {"sink_cat"})

    def test_switch_is_a_substring(self):
        """Switching off a name switches off every pass whose name it holds."""
        ran = []
        with inductor_config.patch(disabled_passes="post_grad_cat"):
            self.assertUnchanged(observed("grad", ran), relu_of_join, T(2, 2), T(2, 3))

        self.assertEqual(ran, [])

    def test_stored_graph(self):
        """The join below the relu, as it is stored."""
        ops = {"torch.cat": (1, 1), "torch.relu": (1, 2)}

        self.assertRewrites(pre_grad.sink_cat_after_pointwise, relu_of_join, T(2, 8), T(2, 2), ops=ops, golden=True)


if __name__ == "__main__":
    fxpect.run_tests()
