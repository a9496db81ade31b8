"""Captures: the right graph, inputs that fit it, metadata everywhere, and a caller left alone."""

from __future__ import annotations

import copy
import gc
import random
import sys
import unittest
import warnings

import torch

from fxpect.capture import CAPTURES, capture
from fxpect.capture.symbols import holds_for
from fxpect.errors import CaptureError, SpecError
from fxpect.examples import Example
from fxpect.specs import Dim, Same, T, TensorSpec, View

FLAT = tuple(name for name in CAPTURES if name != "symbolic")


def cat_relu(x, y):
    return torch.relu(torch.cat([x, y], dim=-1))


def nested(xs, d, *, scale=2, mode="a", flag=None):
    return {"o": xs[0] * scale + d["k"], "p": [xs[1].relu()]}


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = torch.nn.Linear(3, 3)
        self.norm = torch.nn.BatchNorm1d(3)
        self.register_buffer("seen", torch.zeros(3))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        self.seen.add_(1)
        return torch.nn.functional.dropout(self.norm(self.lin(x)), 0.5, self.training) + self.seen


class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Linear(3, 3, bias=False), torch.nn.Linear(3, 3, bias=False)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(x))


def run(example: Example, **sizes: int) -> list[torch.Tensor]:
    """Run a fresh copy of the example on its own inputs and return the tensors that come out."""
    out = torch.fx.Interpreter(example.build()).run(*example.realize(sizes=sizes or None))
    return [leaf for leaf in torch.utils._pytree.tree_leaves(out) if isinstance(leaf, torch.Tensor)]


def untyped(example: Example) -> list[str]:
    """Return the nodes without metadata; an attribute that is a graph needs none."""
    return [node.name for node in example.graph_module.graph.nodes
            if node.op not in ("output", "get_attr") and example.meta_key not in node.meta]


class GraphTests(unittest.TestCase):

    def setUp(self):
        torch.set_num_threads(1)

    def test_each_capture_gives_its_own_kind_of_graph(self):
        """One function under each name: torch functions for two, ATen for the rest; metadata everywhere."""
        targets = {}
        for name in CAPTURES:
            example = capture(cat_relu, (T(2, 8), T(2, 2)), capture=name)
            functions = [node for node in example.graph_module.graph.nodes if node.op == "call_function"]
            targets[name] = [str(node.target) for node in functions[:2]]
            self.assertEqual(untyped(example), [], name)
            self.assertEqual(example.capture, name)
            self.assertEqual(len(example.inputs), len(example.placeholders))
            if name != "joint":
                self.assertEqual(example.inputs, (T(2, 8), T(2, 2)), name)
                self.assertEqual([node.name for node in example.placeholders],
                                 ["l_x_", "l_y_"] if name == "dynamo" else ["x", "y"])
                expected = cat_relu(*example.realize())
                self.assertTrue(torch.equal(run(example)[0], expected), name)
        aten = ["aten.cat.default", "aten.relu.default"]
        for name in ("export", "export-nonstrict", "make_fx", "aten", "joint"):
            self.assertEqual(targets[name], aten)
        for name in ("dynamo", "symbolic"):
            self.assertTrue(all("built-in" in target for target in targets[name]), name)

    def test_export_keeps_its_program(self):
        """The two export captures carry the program; the others have none."""
        for name in ("export", "export-nonstrict", "make_fx"):
            example = capture(cat_relu, (T(2, 8), T(2, 2)), capture=name)
            self.assertEqual(isinstance(example.exported, torch.export.ExportedProgram), name != "make_fx")

    def test_aten_is_decomposed_and_functional_until_the_end(self):
        """"aten" has Inductor's decompositions, and writes only by copy_, after everything else."""
        def model(x, y):
            x.add_(y)
            return torch.nn.functional.silu(x), x.t().contiguous()

        nodes = [node for node in capture(model, (T(3, 3), T(3)), capture="aten").graph_module.graph.nodes
                 if node.op == "call_function"]
        self.assertIn(torch.ops.aten.exp.default, [node.target for node in nodes])
        writes = [node.target for node in nodes if node.target._schema.is_mutable]
        self.assertEqual(writes, [torch.ops.aten.copy_.default])
        self.assertEqual(nodes[-1].target, writes[0])

    def test_make_fx_keeps_operators_and_mutation(self):
        """"make_fx" decomposes nothing that has a kernel of its own, and keeps writes in their place."""
        def model(x, y):
            x.add_(y)
            return torch.nn.functional.silu(x)

        graph = capture(model, (T(3), T(3)), capture="make_fx").graph_module.graph
        targets = [node.target for node in graph.nodes if node.op == "call_function"]
        self.assertEqual(targets, [torch.ops.aten.add_.Tensor, torch.ops.aten.silu.default])

    def test_joint_computes_outputs_and_gradients(self):
        """"joint" returns what the model and its backward return, tangents as inputs of their own."""
        net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh())
        example = capture(net, (T(4, 3),), capture="joint")
        names = [node.name for node in example.placeholders]
        self.assertEqual(names, ["primals_1", "primals_2", "primals_3", "tangents_1"])
        self.assertEqual(example.inputs[3], T(4, 2))
        *primals, tangent = example.realize()
        out, *grads = run(example)
        expected = net(primals[2])
        expected.backward(tangent)
        self.assertTrue(torch.allclose(out, expected))
        for grad, parameter in zip(grads, net.parameters(), strict=True):
            self.assertTrue(torch.allclose(grad, parameter.grad, atol=1e-6))

    def test_joint_of_a_function_differentiates_its_inputs(self):
        """Where nothing requires grad every floating input does; without any there is no joint graph."""
        self.assertEqual(len(run(capture(cat_relu, (T(2, 3), T(2, 1)), capture="joint"))), 3)
        with self.assertRaisesRegex(CaptureError, "no output that requires grad"):
            capture(lambda x: x * 2, (T(2, dtype="i64"),), capture="joint")

    def test_symbolic_keeps_modules(self):
        """"symbolic" has call_module nodes, and both "val" and "tensor_meta"."""
        example = capture(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU()), (T(4, 3),),
                          capture="symbolic")
        nodes = [node for node in example.graph_module.graph.nodes if node.op == "call_module"]
        self.assertEqual([node.target for node in nodes], ["0", "1"])
        self.assertEqual([tuple(node.meta["tensor_meta"].shape) for node in nodes], [(4, 2), (4, 2)])
        self.assertEqual(nodes[0].meta["val"].stride(), (2, 1))

    def test_dynamo_graph_can_be_worked_on_afterwards(self):
        """A pre-grad pass of Inductor fires on the graph long after torch.compile has returned."""
        from torch._inductor.fx_passes.pre_grad import sink_cat_after_pointwise

        gm = capture(cat_relu, (T(2, 8), T(2, 2)), capture="dynamo").build()
        torch._dynamo.reset()
        gc.collect()
        after = sink_cat_after_pointwise(gm)
        self.assertEqual(sum(node.target is torch.relu for node in after.graph.nodes), 2)
        fake = next(iter(gm.graph.nodes)).meta["example_value"]
        with fake.fake_mode:
            self.assertEqual(torch.empty(2).shape, (2,))

    def test_dynamo_values_meet_numbers_as_those_of_a_text_do(self):
        """A pass may run an operator that makes a real number of its own on what a node records, captured or read."""
        captured = capture(lambda x: x.relu(), (T(3, 4),), capture="dynamo")
        for example in (captured, Example.from_text(captured.text, T(3, 4), capture="dynamo")):
            value = example.placeholders[0].meta["example_value"]
            self.assertEqual(torch.nn.functional.dropout(value, p=1.0).shape, (3, 4))


class InputTests(unittest.TestCase):

    def test_nested_inputs_keywords_and_constants(self):
        """Nested tensors become placeholders of their own, named after where they are; constants fold in."""
        inputs, kwargs = ([T(2, 3), T(4)], {"k": T(3)}), {"scale": 3, "flag": None}
        for name in CAPTURES:
            example = capture(nested, inputs, kwargs, capture=name)
            named = {node.name: spec for node, spec in zip(example.placeholders, example.inputs, strict=True)}
            if name not in ("dynamo", "joint"):
                self.assertEqual({k: v for k, v in named.items() if isinstance(v, TensorSpec)},
                                 {"xs_0": T(2, 3), "xs_1": T(4), "d_k": T(3)}, name)
            if name.startswith("export"):
                self.assertEqual((named["scale"], named["flag"]), (3, None))
            specs = [spec for spec in example.inputs if isinstance(spec, TensorSpec)]
            self.assertEqual(specs[:3], [T(2, 3), T(3), T(4)] if name == "dynamo" else [T(2, 3), T(4), T(3)])

    def test_varied_arguments_have_names(self):
        """*args and **kwargs are named after themselves."""
        def model(*xs, **kw):
            return xs[0] + xs[1] * kw["w"]

        example = capture(model, (T(2), T(2)), {"w": T(2)}, capture="make_fx")
        self.assertEqual([node.name for node in example.placeholders], ["xs_0", "xs_1", "w"])

    def test_parameters_and_buffers_come_lifted(self):
        """Parameters and buffers are placeholders with real values, after training-mode changes too."""
        net = Net()
        for name in FLAT:
            example = capture(net, (T("B", 3),), capture=name)
            real = [spec for spec in example.inputs if isinstance(spec, torch.Tensor)]
            self.assertEqual(len(real), 8, name)
            self.assertTrue(any(torch.equal(tensor, net.lin.weight) for tensor in real), name)
            self.assertEqual(example.build().state_dict(), {}, name)
            self.assertEqual(untyped(example), [], name)
            run(example)
        self.assertEqual(len(capture(net, (T(2, 3),), capture="symbolic").inputs), 1)

    def test_names_hold_no_accident(self):
        """Parameters are called after where they are, on every version, closures and odd modules included."""
        scale = torch.ones(3)

        def model(x):
            return GLOBAL(x) * scale

        def names(example: Example) -> list[str]:
            return [node.name for node in example.placeholders]

        state = {"p_lin_weight", "p_lin_bias", "p_norm_weight", "p_norm_bias", "b_seen",
                 "b_norm_num_batches_tracked", "b_norm_running_mean", "b_norm_running_var"}
        for name in ("export", "export-nonstrict", "make_fx", "aten"):
            self.assertEqual(set(names(capture(Net(), (T(2, 3),), capture=name))), {*state, "x"}, name)
        for name in ("export", "make_fx", "aten"):
            self.assertEqual(names(capture(model, (T(2, 3),), capture=name)),
                             ["p_global_weight", "p_global_bias", "b_scale", "x"], name)
        self.assertEqual(names(capture(Net(), (T(2, 3),), capture="dynamo"))[:3],
                         ["l_self_buffers_seen_", "l_self_modules_lin_parameters_weight_",
                          "l_self_modules_lin_parameters_bias_"])

    def test_training_and_evaluation_differ(self):
        """The mode of the model decides what is captured."""
        for name in ("export-nonstrict", "dynamo", "aten", "symbolic"):
            text = {mode: capture(Net().train(mode), (T(4, 3),), capture=name).text for mode in (True, False)}
            self.assertNotEqual(text[True], text[False], name)

    def test_tied_weights_are_one_tensor(self):
        """A weight under two names is one input, or an input and Same."""
        for name in FLAT:
            state = [spec for spec in capture(Tied(), (T(2, 3),), capture=name).inputs
                     if not isinstance(spec, TensorSpec)]
            self.assertIn([type(spec) for spec in state], ([torch.Tensor], [torch.Tensor, Same]), name)

    def test_the_same_tensor_twice(self):
        """A repeated tensor, written as Same or passed twice, is the same tensor of the example."""
        def model(x, y):
            return x.mul_(2) + y

        tensor = torch.ones(3)
        for name in CAPTURES:
            for inputs in ((T(3, values="ones"), Same(0)), (tensor, tensor)):
                example = capture(model, inputs, capture=name)
                self.assertNotIn(False, [spec == Same(0) for spec in example.inputs[1:] if name not in FLAT])
                self.assertEqual(run(example)[-1 if name != "joint" else 1].tolist(), [4.0] * 3, name)
        self.assertEqual(tensor.tolist(), [1.0] * 3)

    def test_overlapping_views(self):
        """A view of another input, written as View or passed as a tensor, still overlaps it."""
        def model(x, y):
            y.add_(1)
            return x * 2

        base = torch.zeros(3)
        for name in ("export", "export-nonstrict", "dynamo", "make_fx", "symbolic"):
            for inputs in ((T(3, values="zeros"), View(0, start=1)), (base, base[1:])):
                example = capture(model, inputs, capture=name)
                self.assertEqual(example.inputs[1], View(0, start=1), name)
                self.assertEqual(run(example)[0].tolist(), [0.0, 2.0, 2.0], name)
        self.assertEqual(base.tolist(), [0.0] * 3)

    def test_real_tensors_are_kept_as_clones(self):
        """The example holds a tensor's values, strides and requires_grad, whatever the caller does to it."""
        tensor = torch.arange(6.0).reshape(2, 3).t().requires_grad_()
        for name in CAPTURES:
            held = capture(lambda x: x * 2, (tensor,), capture=name).inputs[0]
            self.assertEqual((held.stride(), held.requires_grad, held.is_leaf), ((1, 3), True, True))
            with torch.no_grad():
                tensor.add_(1)
            self.assertFalse(torch.equal(held, tensor))

    def test_every_layout_and_dtype_can_be_captured(self):
        """What a spec can describe a capture can take: layouts, dtypes, no elements, no dims."""
        for name in ("export-nonstrict", "dynamo", "make_fx", "aten", "symbolic"):
            for spec in (T(2, 3, layout="transposed"), T(2, 3, layout="expanded"), T(2, 3, layout="strided"),
                         T(2, 3, layout="offset"), T(2, 3, 4, 5, layout="channels_last"), T(0, 3), T(),
                         T(2, dtype="b8"), T(2, dtype="u8"), T(2, dtype="bf16"), T(2, dtype="c64")):
                example = capture(lambda x: x * 2, (spec,), capture=name)
                self.assertEqual(example.inputs, (spec,))
                value = example.placeholders[0].meta[example.meta_key]
                self.assertEqual((value.dtype, tuple(value.stride())), (spec.dtype, spec.example().stride()))

    def test_a_function_owns_what_it_closes_over(self):
        """Modules and tensors of a closure or of the globals are lifted, and copies."""
        net, scale = torch.nn.Linear(3, 3), torch.ones(3)

        def model(x):
            scale.add_(1)
            return net(x) * scale + GLOBAL(x)

        for name in CAPTURES:
            example = capture(model, (T(2, 3),), capture=name)
            if name in FLAT:
                tensors = [spec for spec in example.inputs if isinstance(spec, torch.Tensor)]
                self.assertGreaterEqual(len(tensors), 4, name)
            self.assertEqual(len(run(example)) >= 1, True)
        self.assertEqual(scale.tolist(), [1.0] * 3)

    def test_methods_partials_builtins_and_callable_objects(self):
        """Whatever can be called can be captured."""
        import functools

        class Scale:
            def __init__(self):
                self.by = 3

            def __call__(self, x):
                return x * self.by

        models = (torch.relu, functools.partial(torch.mul, other=2), Scale(), torch.nn.Linear(3, 3).forward)
        for name in ("export-nonstrict", "dynamo", "make_fx", "aten", "symbolic"):
            for model in models:
                x = T(2, 3).example()
                example = capture(model, (x,), capture=name)
                self.assertTrue(torch.allclose(run(example)[0], model(x)), (name, model))


GLOBAL = torch.nn.Linear(3, 3)


class DynamicTests(unittest.TestCase):

    def test_a_named_dim_is_one_symbol(self):
        """Every capture keeps a named dim open, and its graph is right at other sizes."""
        for name in CAPTURES:
            example = capture(cat_relu, (T("B", 8), T("B", 2)), capture=name)
            self.assertEqual(list(example.sizes), ["B"])
            self.assertIn("s0", example.text)
            self.assertNotIn("s1", example.text.replace("s1_", ""), name)
            for size in (2, 5, 17):
                self.assertEqual(run(example, B=size)[0].shape, (size, 10), name)
            ints = [spec for spec in example.inputs if isinstance(spec, Dim)]
            self.assertEqual(ints, [Dim("B")] if name in ("dynamo", "aten", "joint") else [])

    def test_ranges_reach_the_graph(self):
        """A declared range is the range of the symbol."""
        for name in CAPTURES:
            example = capture(lambda x: x * 2, (T(Dim("B", 3, 9)),), capture=name)
            self.assertIn('"3 <= s0 <= 9"', example.text, name)
            self.assertTrue(holds_for(example, {"B": 9}))

    def test_derived_dims(self):
        """2*B stays twice B, in every capture."""
        for name in CAPTURES:
            example = capture(lambda x, y: x.repeat(2, 1) + y, (T("B", 3), T("2*B", 3)), capture=name)
            self.assertIn("f32[2*s0, 3]", example.text, name)
            self.assertEqual(run(example, B=4)[0].shape, (8, 3), name)

    def test_dynamic_opens_every_dim_and_false_none(self):
        """dynamic=True opens sizes of 2 and more, of specs and tensors; dynamic=False fixes named ones."""
        for name in CAPTURES:
            for inputs in ((T(4, 3), T(5, 3)), (torch.ones(4, 3), torch.ones(5, 3))):
                example = capture(lambda x, y: torch.cat([x, y]), inputs, capture=name, dynamic=True)
                self.assertEqual(sorted(example.sizes), ["s0", "s1", "s2"], name)
                self.assertEqual(run(example, s0=2, s1=7, s2=3)[0].shape, (5, 7), name)
            fixed = capture(cat_relu, (T("B", 8), T("B", 2)), capture=name, dynamic=False)
            self.assertNotIn("s0", fixed.text)
            self.assertFalse(any(spec.is_dynamic for spec in fixed.inputs), name)

    def test_a_model_that_fixes_a_size_is_refused(self):
        """A named dim that the trace did not keep general is a CaptureError that says for which size."""
        def branches(x):
            return x + 1 if x.shape[0] == 5 else x + 2

        for name in FLAT:
            with self.assertRaisesRegex(CaptureError, "B.*5", msg=name):
                capture(branches, (T("B", 2),), capture=name)
            capture(branches, (T(Dim("B", 6), 2),), capture=name)
            with self.assertRaises(CaptureError, msg=name):
                capture(lambda x, y: x + y, (T("B", 2), T("C", 2)), capture=name)

    def test_holds_for_knows_range_and_guards(self):
        """holds_for is False where the graph promises nothing: outside a range, or against a guard."""
        def model(x):
            return x + 1 if x.shape[0] % 2 else x + 2

        example = capture(model, (T(5, 2),), capture="make_fx", dynamic=True)
        self.assertTrue(holds_for(example, {"s0": 7}))
        self.assertFalse(holds_for(example, {"s0": 8}))
        self.assertFalse(holds_for(example, {"s0": 1}))
        self.assertTrue(holds_for(capture(cat_relu, (T(2, 8), T(2, 2))), {}))


class GivenGraphTests(unittest.TestCase):

    def test_a_program(self):
        """An ExportedProgram gives its own graph and the inputs that it was exported with, or those given."""
        net = torch.nn.Linear(3, 3)
        program = torch.export.export(net, (torch.ones(2, 3),))
        text = str(program.graph)
        example = capture(program)
        self.assertEqual(len(example.inputs), 3)
        self.assertIs(example.exported, program)
        self.assertTrue(torch.allclose(run(example)[0], net(torch.ones(2, 3))))
        self.assertEqual(capture(program, (T(2, 3),)).inputs[2], T(2, 3))
        example.graph_module.graph.find_nodes(op="placeholder")[0].name = "changed"
        self.assertEqual(str(program.graph), text)
        self.assertTrue(torch.allclose(run(capture(program, capture="aten"))[0], net(torch.ones(2, 3))))
        with self.assertRaisesRegex(CaptureError, "takes 1 inputs; got 2"):
            capture(program, (T(2), T(2)))

    def test_a_dynamic_program(self):
        """The open dims of a program have names, so that other sizes can be asked for."""
        dim = torch.export.Dim("batch", min=2, max=64)
        program = torch.export.export(torch.nn.ReLU(), (torch.ones(4, 3),), dynamic_shapes=({0: dim},))
        example = capture(program)
        self.assertEqual(example.inputs, (T(Dim("s0", 2, 64), 3, values="ones"),))
        self.assertEqual(run(example, s0=9)[0].shape, (9, 3))

    def test_a_graph_text(self):
        """A text is taken as it stands; its own types are its inputs where none are given."""
        for name in ("dynamo", "make_fx"):
            made = capture(cat_relu, (T("B", 8), T("B", 2)), capture=name)
            again = capture(made.text, capture=name)
            self.assertEqual(again.text, made.text)
            self.assertEqual(run(again, s0=6)[0].shape, (6, 10))
            self.assertEqual(capture(made.text, made.inputs, capture=name).inputs, made.inputs)
        with self.assertRaisesRegex(CaptureError, "2 placeholders; got 1"):
            capture(capture(cat_relu, (T(2, 8), T(2, 2))).text, (T(2, 8),))

    def test_a_graph_module(self):
        """A GraphModule is taken as it stands, typed from the inputs, and not touched."""
        gm = torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.Linear(3, 2)))
        example = capture(gm, (T(4, 3),), capture="symbolic")
        self.assertEqual(untyped(example), [])
        self.assertTrue(all(not node.meta.get("val") for node in gm.graph.nodes))
        self.assertEqual(run(example)[0].shape, (4, 2))
        with self.assertRaisesRegex(CaptureError, "give the inputs"):
            capture(gm)

    def test_an_example(self):
        """An Example is returned as it is."""
        example = capture(cat_relu, (T(2, 8), T(2, 2)), capture="make_fx")
        self.assertIs(capture(example, capture="dynamo"), example)

    def test_frozen_parameters_are_constants(self):
        """frozen=True keeps parameters as attributes of the graph, except those that it writes."""
        for name in ("make_fx", "aten"):
            net = Net().eval()
            example = capture(net, (T(2, 3),), capture=name, frozen=True)
            tensors = [spec for spec in example.inputs if isinstance(spec, torch.Tensor)]
            self.assertEqual(len(tensors), 1, name)           # seen, which the model adds to
            self.assertTrue(torch.allclose(run(example)[0], net(example.realize()[-1])), name)
            self.assertEqual(untyped(example), [])
        with self.assertRaisesRegex(CaptureError, "make_fx and aten"):
            capture(Net(), (T(2, 3),), frozen=True)


class CallerTests(unittest.TestCase):

    def test_the_caller_is_left_alone(self):
        """Parameters, buffers, gradients, mode, attributes, inputs, RNGs, grad mode: as before a capture."""
        net, x = Net(), torch.randn(4, 3)
        net.lin.weight.grad = torch.ones(3, 3)
        for name in CAPTURES:
            for mode in (True, False):
                net.train(mode)
                before = copy.deepcopy((net.state_dict(), x, net.lin.weight.grad))
                rng, python_rng = torch.get_rng_state(), random.getstate()
                with torch.no_grad():
                    capture(net, (x,), capture=name)
                    self.assertFalse(torch.is_grad_enabled())
                for ours, theirs in zip(torch.utils._pytree.tree_leaves(before),
                                        torch.utils._pytree.tree_leaves(
                                            (net.state_dict(), x, net.lin.weight.grad)), strict=True):
                    self.assertTrue(torch.equal(ours, theirs), name)
                self.assertTrue(torch.equal(torch.get_rng_state(), rng), name)
                self.assertEqual(random.getstate(), python_rng)
                self.assertEqual((net.calls, net.training), (0, mode), name)

    def test_captures_repeat(self):
        """The first capture and a later one give the same text and key, whatever came between."""
        for name in CAPTURES:
            texts = set()
            for size in (4, 9, 4):
                example = capture(cat_relu, (T(size, 8), T(size, 2)), capture=name)
                if size == 4:
                    texts.add(example.text)
            self.assertEqual(len(texts), 1, name)

    def test_the_configuration_of_dynamo_does_not_matter(self):
        """Canonical node order, which newer versions switch on in tests, does not reach a capture."""
        plain = capture(cat_relu, (T(2, 8), T(2, 2)), capture="dynamo")
        config = torch._dynamo.config
        option = {"canonicalize_output_graph_node_order": True}
        with config.patch({name: on for name, on in option.items() if hasattr(config, name)}):
            again = capture(cat_relu, (T(2, 8), T(2, 2)), capture="dynamo")
        self.assertEqual(plain.text, again.text)
        self.assertEqual([n.name for n in plain.graph_module.graph.nodes],
                         [n.name for n in again.graph_module.graph.nodes])

    def test_captures_are_not_kept(self):
        """A capture that is dropped leaves no real tensor behind; torch may keep a few fake ones."""
        def tensors() -> int:
            for _ in range(3):          # what a finalizer lets go of goes in the next round
                gc.collect()
            return sum(type(thing) in (torch.Tensor, torch.nn.Parameter) for thing in gc.get_objects())

        counts = []
        for _ in range(3):
            for name in ("export", "dynamo", "aten", "symbolic"):
                capture(Net(), (T(4, 3),), capture=name)
            counts.append(tensors())
        self.assertLessEqual(counts[2], counts[1] + 2)


class ErrorTests(unittest.TestCase):

    def test_models_that_cannot_be_captured(self):
        """A graph break, an exit, a recursion, a bug: a CaptureError with model, capture and cause."""
        def breaks(x):
            return x if x.sum() > 0 else x + 1

        def exits(x):
            sys.exit(3)

        def recurses(x):
            return recurses(x)

        def fails(x):
            raise KeyError("lost")

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for name in CAPTURES:
                for model in (breaks, exits, recurses, fails):
                    message = f"{model.__name__}: capture '{name}' failed"
                    with self.assertRaisesRegex(CaptureError, message) as caught:
                        capture(model, (T(3),), capture=name)
                    self.assertIsNotNone(caught.exception.__cause__)
        with self.assertRaisesRegex(CaptureError, "Data-dependent branching"):
            capture(breaks, (T(3),), capture="dynamo")

    def test_ctrl_c_goes_through(self):
        """A KeyboardInterrupt is no failure of the model."""
        def interrupted(x):
            raise KeyboardInterrupt

        with self.assertRaises(KeyboardInterrupt):
            capture(interrupted, (T(3),), capture="make_fx")

    def test_inputs_that_do_not_fit(self):
        """Too few, too many, unknown keywords: an error before any tracing, with the signature."""
        for inputs, kwargs in (((T(2),), None), ((T(2),) * 3, None), ((T(2), T(2)), {"z": 1})):
            with self.assertRaisesRegex(CaptureError, r"do not fit forward\(x, y\)"):
                capture(cat_relu, inputs, kwargs)
        with self.assertRaises(CaptureError):
            capture(cat_relu, (T(2, 8), T(3, 2)))
        with self.assertRaisesRegex(SpecError, "give a model the int"):
            capture(cat_relu, (T(2), Dim("B")))
        with self.assertRaisesRegex(SpecError, "before it"):
            capture(cat_relu, (Same(1), T(2)))

    def test_wrong_words(self):
        """An unknown capture, a strange dynamic, no model at all: refused with what would do."""
        for wrong, message in (({"capture": "onnx"}, "export.*symbolic; got 'onnx'"),
                               ({"dynamic": "yes"}, "True, False")):
            with self.assertRaisesRegex(CaptureError, message):
                capture(cat_relu, (T(2), T(2)), **wrong)
        with self.assertRaisesRegex(CaptureError, "expected a Module.*got 3"):
            capture(3, ())

    def test_a_model_that_cannot_be_copied(self):
        """A module that refuses deepcopy is named."""
        class Locked(torch.nn.Module):
            def __deepcopy__(self, memo):
                raise TypeError("cannot pickle lock")

        with self.assertRaisesRegex(CaptureError, "Locked: the model cannot be copied: TypeError: cannot"):
            capture(Locked(), (T(2),))


if __name__ == "__main__":
    unittest.main()
