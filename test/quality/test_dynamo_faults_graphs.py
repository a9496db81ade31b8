"""A fault in what becomes of a graph turns each module of the suite red, with a message that names it.

The modules are those about trace rules, parts of a graph, passes, hooks, and what AOT autograd makes of a graph.
"""

import os
import shutil
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import torch
import torch._dynamo
import torch._inductor.utils as inductor_utils
from torch._dynamo import trace_rules
from torch._export.passes import replace_set_grad_with_hop_pass
from torch._functorch import partitioners
from torch._functorch._aot_autograd import graph_capture_wrappers, graph_compile
from torch._higher_order_ops.register_hook import RegisterHookOp
from torch._inductor.fx_passes import pre_grad

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from test.quality.faults import TEST, failure_of, recorded_as


class FailureOfTests(unittest.TestCase):
    """faults.py"""

    def test_nothing_is_stored(self):
        """Where all that a run proposes is accepted, that of a broken torch is neither accepted nor left pending."""
        stored = TEST.parent / "fixtures" / "dynamo" / "test_aot_autograd"
        fault = mock.patch.object(torch._dynamo.guards.GuardBuilder, "DUPLICATE_INPUT", lambda *args: None)
        with tempfile.TemporaryDirectory() as folder:
            copied = Path(folder) / "fixtures" / "dynamo" / "test_aot_autograd"
            shutil.copytree(stored, copied)
            accepting = {"FXPECT_FIXTURES": str(copied.parents[1]), "EXPECTTEST_ACCEPT": "1"}

            with mock.patch.dict(os.environ, accepting):
                message = failure_of("dynamo/test_aot_autograd.py", "AliasedInputTests.test_recompiles", fault)

            self.assertIn("-same, then separate: compiled anew, right", message)
            self.assertEqual([path.name for path in Path(folder).iterdir()], ["fixtures"])
            for path in stored.iterdir():
                self.assertEqual((copied / path.name).read_bytes(), path.read_bytes())


class TraceRulesFaultTests(unittest.TestCase):
    """test_trace_rules.py"""

    def test_rule_for_nothing(self):
        """A rule for a name that torch has not is noticed, and the name is shown."""
        tables = [{"torch.sinus": trace_rules.lookup(torch.sin)}, *trace_rules.torch_name_rule_map]
        fault = mock.patch.object(trace_rules, "torch_name_rule_map", tables)

        message = failure_of("dynamo/test_trace_rules.py", "TraceRuleTests.test_torch_name_rule_map_updated", fault)

        self.assertIn("+torch.sinus", message)

    def test_decorator_that_is_not_heeded(self):
        """A function that is allowed in the graph and traced through all the same is noticed by the operators."""
        fault = mock.patch.object(trace_rules, "is_callable_allowed", lambda value: False)

        message = failure_of("dynamo/test_trace_rules.py", "WhatAPassSeesTests.test_cat_and_relu", fault)

        self.assertRegex(message, "--- .* allowed in graph")
        self.assertIn("expected 0 x torch.relu in the graph before the pass; got 1", message)

    def test_file_that_is_not_skipped(self):
        """A file that is traced though it is to be skipped is noticed: no graph breaks."""
        fault = mock.patch.object(trace_rules, "_recompile_re", lambda: None)

        message = failure_of("dynamo/test_trace_rules.py", "TraceRuleTests.test_force_inline_custom_function", fault)

        self.assertIn("Lists differ: [[<built-in method cat", message)

    def test_operator_that_is_another(self):
        """A function that is written into the graph as another one is named, with the one that it became."""
        fault = recorded_as(lambda target, args, kwargs: (torch.exp if target is torch.exp2 else target, args, kwargs))

        message = failure_of("dynamo/test_trace_rules.py", "InGraphTests.test_functions_of_one_tensor", fault)

        self.assertIn("'torch.exp'\n'torch.exp2'", message)


class SubgraphsFaultTests(unittest.TestCase):
    """test_subgraphs.py"""

    def test_rest_that_is_not_compiled(self):
        """A function whose rest behind a break is left to eager has a graph too few, and those it has are shown."""
        check = trace_rules.check_verbose

        def skipping(value, *args, **kwargs):
            if getattr(value, "co_name", "").startswith("torch_dynamo_resume_in"):
                return trace_rules.SkipResult(True, "a fault")
            return check(value, *args, **kwargs)

        fault = mock.patch.object(trace_rules, "check_verbose", skipping)

        message = failure_of("dynamo/test_subgraphs.py", "LiveValueTests.test_inputs_of_the_rest", fault)

        self.assertIn("expected 2 graphs; got 1", message)

    def test_operands_in_another_order(self):
        """An operand that is not the one that waited over the break is noticed by the values of the whole."""
        def moved(target, args, kwargs):
            return target, ([*args[0][1:], args[0][0]],) if target is torch.stack else args, kwargs

        message = failure_of("dynamo/test_subgraphs.py", "NestedGraphBreakTests.test_values_on_the_stack",
                             recorded_as(moved))  # fmt: skip

        self.assertIn("output 0: Tensor-likes are not close", message)


class PreDispatchFaultTests(unittest.TestCase):
    """test_pre_dispatch.py"""

    def test_region_that_is_not_wrapped(self):
        """A region that export does not wrap is noticed, and what was to be wrapped is shown."""
        fault = mock.patch.object(replace_set_grad_with_hop_pass, "_is_set_grad_enabled_node", lambda node: False)

        message = failure_of("dynamo/test_pre_dispatch.py", "WrappedRegionTests.test_gradients", fault)

        self.assertIn("no region of ['no_grad'] is wrapped", message)


class HooksFaultTests(unittest.TestCase):
    """test_hooks.py"""

    def test_hook_that_does_nothing(self):
        """A hook of the graph that does not get to the gradient is noticed, with the input."""
        fault = mock.patch.object(RegisterHookOp, "__call__", lambda hook, tensor, body, *operands: tensor)

        message = failure_of("dynamo/test_hooks.py", "HooksTests.test_hook_on_intermediate", fault)

        self.assertIn("gradient of input 0 after the call: Tensor-likes are not close", message)


class AutogradFunctionFaultTests(unittest.TestCase):
    """test_autograd_function.py"""

    def test_forgotten_mark(self):
        """A dirty input, or an output without a gradient, that the graph does not list is noticed."""
        for test, name in (("MutationTests.test_mark_dirty", "dirty_idx"),
                           ("OutputTests.test_mark_non_differentiable", "non_differentiable_idx")):
            with self.subTest(name):
                def forgetting(target, args, kwargs, name=name):
                    return target, args, kwargs | {name: []} if name in kwargs else kwargs

                message = failure_of("dynamo/test_autograd_function.py", test, recorded_as(forgetting))

                self.assertRegex(message, r"output \d: requires_grad: expected False; got True|\[\] != \[0\]")


class FxPassesFaultTests(unittest.TestCase):
    """test_fx_passes_pre_grad.py"""

    def test_pass_that_computes_something_else(self):
        """A pass whose join is along another dim is noticed, and named with the graph that it made."""
        sink_cat = pre_grad.sink_cat_after_pointwise

        def sink_cat_after_pointwise(gm):
            gm = sink_cat(gm)
            for node in gm.graph.find_nodes(op="call_function", target=torch.cat):
                node.args = (node.args[0][::-1], *node.args[1:])
            gm.recompile()
            return gm

        fault = mock.patch.object(pre_grad, "sink_cat_after_pointwise", sink_cat_after_pointwise)

        message = failure_of("dynamo/test_fx_passes_pre_grad.py", "SinkCatTests.test_every_piece_gets_the_operator",
                             fault)  # fmt: skip

        self.assertIn("pass sink_cat_after_pointwise", message)

    def test_helper_that_saves_nothing(self):
        """A helper that does not run the pass is noticed."""
        fault = mock.patch.object(inductor_utils, "pass_execution_and_save", lambda *args: None)

        message = failure_of("dynamo/test_fx_passes_pre_grad.py", "FxPassesPreGradTests.test_pass_execution_and_save",
                             fault)  # fmt: skip

        self.assertIn("Expected 'propagate' to have been called once. Called 0 times.", message)


class AotAutogradFaultTests(unittest.TestCase):
    """test_aot_autograd.py"""

    def test_write_that_is_lost(self):
        """A functional graph that does not write its inputs at its end is noticed, with the input."""
        fault = mock.patch.object(graph_capture_wrappers, "apply_in_graph_mutations", lambda *args, **kwargs: None)

        message = failure_of("dynamo/test_aot_autograd.py", "MutationTests.test_programs", fault)

        self.assertRegex(message, "input [01] after the call: Tensor-likes are not close")

    def test_wrong_cut(self):
        """A backward graph that gives each gradient to the other input is noticed, with the input."""
        extract = partitioners._extract_fwd_bwd_modules

        def crossed(*args, **kwargs):
            forward, backward = extract(*args, **kwargs)
            output = backward.graph.output_node()
            output.args = (output.args[0][::-1],)
            backward.recompile()
            return forward, backward

        fault = mock.patch.object(partitioners, "_extract_fwd_bwd_modules", crossed)

        message = failure_of("dynamo/test_aot_autograd.py", "PartitionTests.test_memory_budget", fault)

        self.assertIn("gradient of input 0 after the call: Tensor-likes are not close", message)

    def test_input_that_is_donated(self):
        """Donating a saved input, which the backward would overwrite, is noticed."""
        fault = mock.patch.object(graph_compile, "collect_bw_donated_buffer_idxs", lambda *args: [0])

        message = failure_of("dynamo/test_aot_autograd.py", "PartitionTests.test_donated_buffer", fault)

        self.assertRegex(message, r"Lists differ: \[\[0\]\] != \[\[")


if __name__ == "__main__":
    unittest.main()
