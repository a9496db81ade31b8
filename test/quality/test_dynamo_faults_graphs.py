"""A fault in what becomes of a graph turns each module of the suite red, with a message that names it.

The modules are those about trace rules, and what AOT autograd makes of a graph.
"""

import sys
import unittest
from pathlib import Path
from unittest import mock

import torch
import torch._dynamo
from torch._dynamo import trace_rules

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from test.quality.faults import failure_of, recorded_as


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


if __name__ == "__main__":
    unittest.main()
