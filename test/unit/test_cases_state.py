"""The state of the process: what a snapshot notices, names and puts back."""

import contextvars
import random
import unittest

import torch
import torch._dynamo
import torch._inductor.config
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from fxpect.cases.state import Randomness, Snapshot, pin_configuration, reset_dynamo, seed_everything

CHANGES = {
    "grad mode": (lambda: torch.set_grad_enabled(False), "True became False"),
    "default dtype": (lambda: torch.set_default_dtype(torch.float64), "torch.float32 became torch.float64"),
    "default device": (lambda: torch.set_default_device("meta"), "cpu"),
    "deterministic algorithms": (lambda: torch.use_deterministic_algorithms(True), "0 became 2"),
    "number of threads": (lambda: torch.set_num_threads(torch.get_num_threads() + 1), "became"),
    "float32 matmul precision": (lambda: torch.set_float32_matmul_precision("medium"), "'highest' became 'medium'"),
    "anomaly mode": (lambda: torch.autograd.set_detect_anomaly(True), "False became True"),
    "saved tensor hooks": (lambda: torch._C._autograd._saved_tensors_hooks_disable("no"), "True became False"),
    "cpu autocast": (lambda: torch.set_autocast_enabled("cpu", True), "False became True"),
    "cpu autocast dtype": (lambda: torch.set_autocast_dtype("cpu", torch.float16), "became torch.float16"),
    "autocast depth": (torch.autocast_increment_nesting, "0 became 1"),
    "autocast cache": (lambda: torch.set_autocast_cache_enabled(False), "True became False"),
    "fill of uninitialized memory": (
        lambda: setattr(torch.utils.deterministic, "fill_uninitialized_memory", False),
        "True became False",
    ),
    "function modes": (lambda: TorchFunctionMode().__enter__(), "TorchFunctionMode left on the stack"),
    "dispatch modes": (lambda: TorchDispatchMode().__enter__(), "TorchDispatchMode left on the stack"),
    "torch._dynamo.config.suppress_errors": (
        lambda: setattr(torch._dynamo.config, "suppress_errors", True),
        "False became True",
    ),
    "torch._inductor.config.pre_grad_fusion_options": (
        lambda: torch._inductor.config.pre_grad_fusion_options.update(split_cat_pass={}),
        "split_cat_pass",
    ),
}


def in_own_context(function, *arguments):
    return contextvars.copy_context().run(function, *arguments)


class StateTests(unittest.TestCase):
    """Every setting is noticed by its name, put back, and then no longer noticed."""

    def test_change_is_named_and_undone(self):
        """A change of one setting is one line with its name and both values, and is gone afterwards."""

        def change_and_restore(change):
            pin_configuration()
            snapshot = Snapshot()
            change()
            return snapshot.restore(), snapshot.restore()

        for name, (change, words) in CHANGES.items():
            with self.subTest(name):
                leaks, again = in_own_context(change_and_restore, change)

                self.assertTrue(any(leak.startswith(f"{name}: ") for leak in leaks), leaks)
                self.assertIn(words, "\n".join(leaks))
                self.assertEqual(again, [])

    def test_container_set_before_is_refilled(self):
        """A container that an earlier test left set and that is written to is one leak, once, whatever ran before."""

        def change_and_restore():
            pin_configuration()
            torch._inductor.config.pre_grad_fusion_options = {}
            snapshot = Snapshot()
            torch._inductor.config.pre_grad_fusion_options.update(split_cat_pass={})
            return snapshot.restore(), snapshot.restore(), dict(torch._inductor.config.pre_grad_fusion_options)

        leaks, again, left = in_own_context(change_and_restore)

        self.assertEqual((len(leaks), again, left), (1, [], {}), leaks)

    def test_nothing_changed(self):
        """Reading settings, random numbers and configuration is no change."""

        def use_and_restore():
            pin_configuration()
            snapshot = Snapshot()
            torch.randn(2)
            random.random()
            _ = torch._inductor.config.post_grad_fusion_options, torch._dynamo.config.suppress_errors
            with torch.no_grad(), torch.autocast("cpu"), torch.device("cpu"):
                torch.ones(2)
            with torch._dynamo.config.patch(suppress_errors=True):
                pass
            return snapshot.restore()

        self.assertEqual(in_own_context(use_and_restore), [])

    def test_list_changed_in_place(self):
        """An option that is a dict of its own since before the snapshot is compared by content."""

        def change_and_restore():
            torch._inductor.config.pre_grad_fusion_options = {"one": {}}
            snapshot = Snapshot()
            torch._inductor.config.pre_grad_fusion_options["two"] = {}
            return snapshot.restore(), dict(torch._inductor.config.pre_grad_fusion_options)

        leaks, left = in_own_context(change_and_restore)

        self.assertEqual(len(leaks), 1)
        self.assertIn("pre_grad_fusion_options", leaks[0])
        self.assertEqual(left, {"one": {}})

    def test_pins_end_with_the_context(self):
        """What is pinned inside a context of its own is pinned there, and nowhere else."""

        def pinned():
            pin_configuration()
            return torch._dynamo.config.nested_graph_breaks, torch._inductor.config.fx_graph_cache

        with torch._dynamo.config.patch(nested_graph_breaks=False):
            before = Snapshot()
            inside = in_own_context(pinned)
            before.restore()  # torch before 2.12 keeps no configuration in contexts
            outside = torch._dynamo.config.nested_graph_breaks

        self.assertEqual((inside, outside), ((True, False), False))

    def test_canonical_order_of_dynamo_is_off(self):
        """Where torch can reorder and rename the nodes of a graph, it does not."""

        def pinned():
            pin_configuration()
            return getattr(torch._dynamo.config, "canonicalize_output_graph_node_order", False)

        self.assertFalse(in_own_context(pinned))

    def test_randomness_is_put_back(self):
        """The next numbers of torch and Python are those that would have come."""
        state = Randomness()
        expected = torch.randn(3), random.random()
        state.restore()
        seed_everything(5)
        torch.randn(100)
        state.restore()

        self.assertTrue(torch.equal(torch.randn(3), expected[0]))
        self.assertEqual(random.random(), expected[1])
        state.restore()

    def test_seed_is_torchs_own(self):
        """Seeding gives the numbers of torch.manual_seed."""
        state = Randomness()
        self.addCleanup(state.restore)
        torch.manual_seed(7)
        expected = torch.randn(3)
        seed_everything(7)

        self.assertTrue(torch.equal(torch.randn(3), expected))

    def test_reset_forgets_what_was_compiled(self):
        """After a reset the same function is compiled anew, for its own sizes."""
        graphs = []

        def backend(gm, example_inputs):
            graphs.append([node.target for node in gm.graph.find_nodes(op="placeholder")])
            return gm

        def double(x):
            return x * 2

        for size in (3, 4):
            reset_dynamo()
            torch.compile(double, backend=backend)(torch.ones(size))
        reset_dynamo()

        self.assertEqual(graphs, [["L_x_"], ["L_x_"]])


if __name__ == "__main__":
    unittest.main()
