"""Tests of pass_execution_and_save: torch's own bug, and every promise of the one made true."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import torch
from torch import fx, nn
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.passes.infra.pass_base import PassResult
from torch.nn import functional as F

from fxpect import graph_text
from fxpect.errors import CheckFailure, FxpectError, GraphCrash, PassCrash, PassFormError
from fxpect.execution import SavedRun, pass_execution_and_save
from fxpect.execution.folders import caller_name, clean, new_folder
from fxpect.execution.ordering import sort_nodes
from fxpect.records import PassRun


class Stateful(nn.Module):
    """Writes its input, updates statistics and draws random numbers."""

    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm1d(4)

    def forward(self, x):
        x.add_(1)
        return F.dropout(self.bn(x), 0.5, True)


class Seed(nn.Module):
    def __init__(self):
        super().__init__()
        self.param = nn.Parameter(torch.ones(4, 4))

    def forward(self, x):
        return self.param + x


def two_ops():
    return fx.symbolic_trace(lambda x: torch.relu(x + 1))


def nodes(graph, target):
    return graph.find_nodes(op="call_function", target=target)


def swap(graph):
    for node in nodes(graph, torch.relu):
        node.target = torch.tanh


class SavingCase(unittest.TestCase):

    def setUp(self):
        torch.set_num_threads(1)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)

    def save(self, func, gm, inp, msg="the pass"):
        return pass_execution_and_save(func, gm, inp, msg, directory=self.root)


class SideEffectTests(SavingCase):

    def damage(self, helper):
        """Return what a call with a pass that does nothing changed outside the graph."""
        gm = fx.symbolic_trace(Stateful().train())
        x = torch.zeros(8, 4)
        state = {name: value.clone() for name, value in gm.state_dict().items()}
        torch_state, python_state = torch.get_rng_state(), random.getstate()
        helper(lambda graph: None, gm, [x], "noop")
        changed = [name for name, value in gm.state_dict().items() if not torch.equal(value, state[name])]
        changed += ["x"] if x.any() else []
        changed += ["rng"] if not torch.equal(torch_state, torch.get_rng_state()) else []
        return changed + (["python rng"] if python_state != random.getstate() else [])

    def test_torch_has_the_bug(self):
        """torch's helper runs the model for real: input, statistics and random state change."""
        from torch._inductor.utils import pass_execution_and_save as torch_helper

        self.assertEqual(self.damage(torch_helper),
                         ["bn.running_mean", "bn.running_var", "bn.num_batches_tracked", "x", "rng"])

    def test_ours_has_not(self):
        """Ours changes nothing outside the graph."""
        self.assertEqual(self.damage(self.save), [])

    def test_data_dependent_shapes(self):
        """A graph that cannot run on fake tensors is run on copies, and still nothing changes."""
        graph = fx.Graph()
        total = graph.call_method("sum", (graph.call_method("add_", (graph.placeholder("x"), 1)),))
        size = graph.call_function(int, (graph.call_method("item", (total,)),))
        graph.output(graph.call_function(torch.ones, (size,)))
        module = fx.GraphModule(nn.Module(), graph)
        value = torch.zeros(3)
        self.save(lambda graph: None, module, [value])
        self.assertFalse(value.any())
        self.assertEqual(module.graph.output_node().args[0].meta["tensor_meta"].shape, (3,))

    def test_shapes_are_written(self):
        """Every node has the shape that really runs, as with torch's helper."""
        gm = two_ops()
        self.save(lambda graph: None, gm, [torch.ones(2, 3)])
        self.assertTrue(all(node.meta["tensor_meta"].shape == (2, 3) for node in gm.graph.nodes))
        self.assertIs(nodes(gm.graph, torch.relu)[0].meta["type"].__mro__[-2], torch._C.TensorBase)

    def test_fake_inputs(self):
        """Fake inputs, as Inductor has them, are taken as they are."""
        with FakeTensorMode():
            x = torch.ones(2, 3)
        gm = two_ops()
        self.save(swap, gm, [x])
        self.assertEqual(nodes(gm.graph, torch.tanh)[0].meta["tensor_meta"].shape, (2, 3))


class InputTests(SavingCase):

    def test_seed_call(self):
        """The call of torch's own test works: exported graph, bare tensor, shapes propagated once."""
        exported = torch.export.export(Seed(), (torch.randn(4, 4),), strict=True)
        gm = exported.graph_module
        with mock.patch("torch._inductor.utils.ShapeProp.propagate") as propagate:
            run = self.save(lambda graph: None, gm, torch.randn(4, 4), "Apply testing pass")
        propagate.assert_called_once()
        self.assertFalse(run.changed)

    def test_bare_tensor_is_one_input(self):
        """A bare tensor is not taken apart into rows: every node has the whole shape."""
        gm = torch.export.export(Seed(), (torch.randn(4, 4),), strict=True).graph_module
        self.save(lambda graph: None, gm, torch.randn(4, 4))
        shapes = {node.meta["tensor_meta"].shape for node in gm.graph.nodes if node.op != "output"}
        self.assertEqual(shapes, {torch.Size([4, 4])})

    def test_hook_by_our_own_name(self):
        """Shape propagation can be replaced under fxpect.execution too."""
        with mock.patch("fxpect.execution.ShapeProp.propagate") as propagate:
            self.save(swap, two_ops(), torch.ones(2))
        propagate.assert_called_once()

    def test_nested_inputs(self):
        """A graph with structured inputs, such as an exported program's module, takes them structured."""
        class Pair(nn.Module):
            def forward(self, pair):
                return pair["a"] + pair["b"]

        pair = {"a": torch.ones(2), "b": torch.ones(2)}
        gm = torch.export.export(Pair(), (pair,)).module()
        self.assertFalse(self.save(lambda graph: None, gm, [pair]).changed)

    def test_wrong_number_of_inputs(self):
        """Too many inputs, or too few without metadata, are misuse that names the placeholders."""
        with self.assertRaisesRegex(FxpectError, r"expected 1 inputs, one per placeholder \(x\); got 2"):
            self.save(swap, two_ops(), [torch.ones(2), torch.ones(2)])
        gm = fx.symbolic_trace(lambda x, y: x + y)
        with self.assertRaisesRegex(FxpectError, r"\(x, y\); got 1, and the first 1 carry no metadata"):
            self.save(swap, gm, [torch.ones(2)])

    def test_inputs_that_do_not_fit(self):
        """Inputs that the graph cannot run on are misuse, with what the operator said."""
        gm = fx.symbolic_trace(lambda x, y: x @ y)
        with self.assertRaisesRegex(FxpectError, "expected inputs that the graph runs on; got RuntimeError"):
            self.save(swap, gm, [torch.ones(2, 3), torch.ones(2, 3)])

    def test_not_a_graph_module(self):
        """Anything else than a GraphModule is misuse."""
        with self.assertRaisesRegex(FxpectError, "expected a GraphModule as the second argument; got ReLU"):
            self.save(swap, nn.ReLU(), [torch.ones(2)])


class ResultTests(SavingCase):

    def assertTanh(self, gm, run):
        x = torch.full((2,), 0.5)
        self.assertTrue(torch.equal(gm(x), torch.tanh(x + 1)))
        self.assertTrue(run.changed)
        self.assertEqual(run.after, graph_text(gm))

    def test_forms(self):
        """What a pass returns is honoured: a graph, a module, a PassResult, or nothing; gm itself changes."""
        def returns_graph(graph):
            copied = fx.Graph()
            copied.output(copied.graph_copy(graph, {}))
            swap(copied)
            return copied

        def returns_module(gm):
            other = fx.GraphModule(gm, returns_graph(gm.graph))
            return other

        def returns_result(gm):
            return PassResult(returns_module(gm), True)

        def takes_inputs(gm, example_inputs):
            assert [tuple(t.shape) for t in example_inputs] == [(2,)]
            swap(gm.graph)

        forms = [
            (swap, "graph"), (lambda g: swap(g), "graph"), (lambda g: swap(g.owning_module.graph), "graph"),
            (lambda thing: swap(thing.graph), "module"), (returns_graph, "graph"),
            (returns_module, "module"), (returns_result, "module"), (takes_inputs, "module-inputs"),
            ([swap, returns_module], "list"),
        ]
        for func, kind in forms:
            gm = two_ops()
            run = self.save(func, gm, torch.ones(2))
            self.assertEqual(run.kind, kind)
            self.assertTanh(gm, run)

    def test_pass_that_knows_the_module(self):
        """A pass that closes over gm, as torch's callers write it, works on the very module."""
        gm = two_ops()
        self.assertTanh(gm, self.save(lambda graph: swap(gm.graph), gm, torch.ones(2)))

    def test_new_submodules(self):
        """A returned module brings its attributes along."""
        gm = fx.symbolic_trace(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))

        def smaller(module):
            other = fx.symbolic_trace(nn.Sequential(nn.Linear(2, 3)))
            return other

        run = self.save(smaller, gm, torch.ones(1, 2))
        self.assertEqual(gm(torch.ones(1, 2)).shape, (1, 3))
        self.assertEqual(len(gm.get_submodule("0").weight), 3)
        self.assertTrue(run.changed)

    def test_claim(self):
        """The pass's own answer is kept apart from what really changed."""
        self.assertIs(self.save(lambda graph: True, two_ops(), torch.ones(2)).claimed, True)
        run = self.save(lambda graph: 0, two_ops(), torch.ones(2))
        self.assertEqual((run.claimed, run.changed), (False, False))

    def test_sorting_is_told(self):
        """A node used before it is defined is moved, the record says which, and the graph runs."""
        def disorder(graph):
            relu = nodes(graph, torch.relu)[0]
            graph.find_nodes(op="placeholder")[0].append(relu)

        gm = two_ops()
        run = self.save(disorder, gm, torch.ones(2))
        self.assertEqual((run.moved, run.changed), (["relu"], False))
        self.assertTrue(torch.equal(gm(torch.ones(2)), torch.full((2,), 2.0)))
        self.assertEqual(self.save(swap, two_ops(), torch.ones(2)).moved, [])

    def test_program_is_refused(self):
        """A pass over an ExportedProgram cannot be run on a module."""
        with self.assertRaisesRegex(PassFormError, "use fxpect.run_pass"):
            self.save(lambda exported_program: None, two_ops(), torch.ones(2))


class FailureTests(SavingCase):

    def assertRestored(self, error, func, gm=None, regex=""):
        """The call raises, gm still computes and prints what it did, and the files are there."""
        gm = gm or fx.symbolic_trace(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
        x = torch.ones(1, 2)
        text, result = graph_text(gm), gm(x)
        names = [node.name for node in gm.graph.nodes]
        with self.assertRaisesRegex(error, regex) as caught:
            self.save(func, gm, x)
        self.assertEqual(graph_text(gm), text)
        self.assertEqual([node.name for node in gm.graph.nodes], names)
        self.assertTrue(torch.equal(gm(x), result))
        folder = self.root / "001_the_pass"
        self.assertEqual((folder / "before.fx").read_text(), text)
        run = SavedRun.from_json((folder / "run.json").read_text())
        self.assertTrue(run.error.startswith(f"{type(caught.exception).__name__}: "))
        self.assertIn("Traceback", (folder / "error.txt").read_text())
        self.assertIn(str(folder), caught.exception.__notes__[0])
        return caught.exception

    def test_exception_is_the_pass_s_own(self):
        """Type and message are those the pass raised, whatever it did to the graph before."""
        def fails(graph):
            gm = graph.owning_module
            graph.erase_node(graph.output_node())
            gm.add_module("new", nn.ReLU())
            gm.delete_submodule("0")
            raise LookupError("no such thing")

        error = self.assertRestored(LookupError, fails)
        self.assertEqual(error.args, ("no such thing",))

    def test_weights_are_put_back(self):
        """A pass that scaled a weight in place and then failed leaves the weight as it was."""
        def scales(gm):
            with torch.no_grad():
                gm.get_submodule("0").weight.mul_(3)
            raise SystemExit(4)

        self.assertRestored(SystemExit, scales)

    def test_replaced_graph(self):
        """A pass that put another graph into the module and then failed leaves the old one."""
        def replaces(gm):
            gm.graph = fx.symbolic_trace(nn.Identity()).graph
            raise ValueError("late")

        self.assertRestored(ValueError, replaces)

    def test_results_that_do_not_hold(self):
        """A cycle, an erased operand, no output, code that is no Python, and garbage fail by name."""
        def cycle(graph):
            zero, one = graph.find_nodes(op="call_module")
            zero.args = (one,)

        def erased(graph):
            node = graph.find_nodes(op="call_module")[0]
            stray = fx.Graph().placeholder("stray")
            node.args = (stray,)

        def cut(graph):
            graph.erase_node(graph.output_node())

        def no_python(graph):
            graph.output_node().args = ((graph.output_node().args[0], torch.conv2d),)

        for func, error, regex in (
            (cycle, CheckFailure, "wait for each other"), (erased, CheckFailure, "expected a graph"),
            (cut, PassCrash, "deleted it"), (no_python, GraphCrash, "that compiles"),
            (lambda graph: "done", PassCrash, "got 'done'"),
        ):
            with self.subTest(regex):
                self.setUp()
                self.assertRestored(error, func, regex=regex)

    def test_interrupt(self):
        """An interrupt passes through, and the graph is put back."""
        def stops(graph):
            graph.erase_node(graph.output_node())
            raise KeyboardInterrupt

        gm = two_ops()
        with self.assertRaises(KeyboardInterrupt):
            self.save(stops, gm, torch.ones(2))
        self.assertEqual(gm(torch.ones(2)).tolist(), [2, 2])


class FileTests(SavingCase):

    def test_files(self):
        """The texts, their difference and the record exist on return, and the record reads back equal."""
        gm = make_fx(lambda x: torch.relu(x), tracing_mode="fake")(torch.ones(2, 3))

        def to_tanh(graph):
            for node in nodes(graph, torch.ops.aten.relu.default):
                node.target = torch.ops.aten.tanh.default

        run = self.save(to_tanh, gm, torch.ones(2, 3), "relu -> tanh!")
        self.assertEqual(run.directory, str(self.root / "001_relu_-_tanh"))
        self.assertEqual({key: Path(path).name for key, path in run.paths.items()},
                         {"before": "before.fx", "after": "after.fx", "diff": "diff.txt"})
        self.assertEqual(Path(run.paths["before"]).read_text(), run.before)
        self.assertEqual(Path(run.paths["after"]).read_text(), run.after)
        self.assertIn("tanh", Path(run.paths["diff"]).read_text())
        self.assertIn('relu: "f32[2, 3]" = torch.ops.aten.relu.default(', run.before)
        stored = (Path(run.directory) / "run.json").read_text()
        self.assertEqual(SavedRun.from_json(stored), run)
        self.assertEqual(json.loads(stored)["pass_name"], "to_tanh")
        self.assertIsInstance(run, PassRun)
        self.assertEqual([p.name for p in Path(run.directory).iterdir() if p.suffix == ".part"], [])

    def test_numbers(self):
        """Runs are numbered in the order of the calls."""
        for _ in range(3):
            self.save(swap, two_ops(), torch.ones(2))
        self.assertEqual(sorted(p.name for p in self.root.iterdir() if p.is_dir()),
                         ["001_the_pass", "002_the_pass", "003_the_pass"])

    def test_default_directory(self):
        """Without directory= the run goes under the name of the test."""
        here = os.getcwd()
        os.chdir(self.root)
        self.addCleanup(os.chdir, here)
        run = pass_execution_and_save(swap, two_ops(), torch.ones(2), "m")
        self.assertEqual(Path(run.directory).parts[:2], (".fxpect", "runs"))
        self.assertTrue(Path(run.directory).parts[2].endswith("FileTests.test_default_directory"))
        self.assertTrue(os.path.exists(run.paths["diff"]))

    def test_caller_name(self):
        """The name is the test's, pytest's for a plain function, the script's outside of a test."""
        self.assertTrue(caller_name().endswith("FileTests.test_caller_name"))
        with mock.patch("fxpect.execution.folders.unittest.TestCase", dict), \
                mock.patch.dict(os.environ, {"PYTEST_CURRENT_TEST": "test/a_test.py::test_x[1-2] (call)"}):
            self.assertEqual(caller_name(), "test_a_test.test_x_1-2")
        self.assertEqual(clean("../../etc"), "etc")
        self.assertEqual(clean("  "), "run")

    def test_parallel_processes(self):
        """Processes that ask at the same time are given different numbers."""
        context = multiprocessing.get_context("spawn" if os.name == "nt" else "fork")
        workers = [context.Process(target=_take, args=(str(self.root), letter)) for letter in "abc"]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        numbers = sorted(int(p.name[:3]) for p in self.root.iterdir() if p.is_dir())
        self.assertEqual(numbers, list(range(1, 31)))

    def test_unwritable(self):
        """A directory that cannot be made is misuse that names it."""
        (self.root / "file").write_text("")
        with self.assertRaisesRegex(FxpectError, "Pass directory= to choose another place"):
            new_folder("m", self.root / "file")


def _take(root, letter):
    for _ in range(10):
        new_folder(letter, root)


class OrderingTests(unittest.TestCase):

    def test_sorted_graph_stays(self):
        """A graph in order is not touched."""
        graph = two_ops().graph
        names = [node.name for node in graph.nodes]
        self.assertEqual(sort_nodes(graph), [])
        self.assertEqual([node.name for node in graph.nodes], names)

    def test_chain_backwards(self):
        """A chain written backwards is turned round; what was right keeps its place."""
        gm = fx.symbolic_trace(lambda x, y: torch.tanh(torch.relu(torch.neg(x))) + y)
        first = next(iter(gm.graph.nodes))
        for name in ("neg", "relu", "tanh"):
            first.prepend(next(n for n in gm.graph.nodes if n.name == name))
        first.prepend(next(n for n in gm.graph.nodes if n.name == "relu"))
        self.assertEqual([n.name for n in gm.graph.nodes][:4], ["neg", "tanh", "relu", "x"])
        self.assertEqual(sort_nodes(gm.graph), ["neg", "relu", "tanh"])
        self.assertEqual([n.name for n in gm.graph.nodes], ["x", "neg", "relu", "tanh", "y", "add", "output"])
        gm.graph.lint()

    def test_output_is_last(self):
        """A node put behind the output is used all the same: the output goes to the end."""
        gm = two_ops()
        with gm.graph.inserting_after(gm.graph.output_node()):
            late = gm.graph.call_function(torch.neg, (nodes(gm.graph, torch.relu)[0],))
        gm.graph.find_nodes(op="output")[0].args = (late,)
        self.assertEqual(sort_nodes(gm.graph), ["output"])
        gm.graph.lint()

    def test_cycle(self):
        """A cycle has no order."""
        gm = two_ops()
        relu = nodes(gm.graph, torch.relu)[0]
        relu.args[0].args = (relu, 1)
        with self.assertRaisesRegex(ValueError, "add, relu wait for each other"):
            sort_nodes(gm.graph)


if __name__ == "__main__":
    unittest.main()
