"""A fault in what torch traces turns each module of the suite red, with a message that names it.

The modules are those about optimizers, unittest, the minifier, einops, overridden attributes and frames.
"""

import sys
import unittest
from pathlib import Path
from unittest import mock

import torch
import torch._dynamo
from torch._dynamo.variables import functions
from torch._dynamo.variables.builder import VariableBuilder
from torch._functorch import fx_minifier

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from test.quality.faults import failure_of, recorded_as

try:
    import einops
except ImportError:
    einops = None


class ModuleFaultTests(unittest.TestCase):
    """One fault, or two, for each module."""

    def test_buffers_override(self):
        """Asking a module for its buffers by the method that it may have overridden is noticed."""
        wrap_module = VariableBuilder.wrap_module

        def wrap(builder, value):
            list(value.buffers())
            return wrap_module(builder, value)

        fault = mock.patch.object(VariableBuilder, "wrap_module", wrap)

        message = failure_of("dynamo/test_buffers_override.py", "TestBuffersOverride.test_pass_over_the_graph", fault)

        self.assertIn("'list' object is not callable", message)

    def test_buffer_without_guards(self):
        """A buffer that nothing guards, so that the code for the first one runs on the next, is noticed."""
        fault = mock.patch("torch._dynamo.guards.GuardBuilder.TENSOR_MATCH", lambda *args, **kwargs: None)

        message = failure_of("dynamo/test_buffers_override.py", "BufferWriteTests.test_buffer_put_in_its_place", fault)

        self.assertIn("unsupported operand type(s) for *: 'Tensor' and 'NoneType'", message)

    def test_frame_init(self):
        """Arguments bound to the parameters in another order are noticed."""
        bind = functions.bind_args_cached

        def swapped(*args, **kwargs):
            bound = bind(*args, **kwargs)
            names = list(bound)
            if len(names) < 2:
                return bound
            return {**bound, names[0]: bound[names[1]], names[1]: bound[names[0]]}

        fault = mock.patch.object(functions, "bind_args_cached", swapped)

        message = failure_of("dynamo/test_frame_init.py", "BindingTests.test_recursion_is_unrolled", fault)

        self.assertIn("return x.relu() if n == 0 else down(x + n, n - 1)", message)

    def test_optimizers(self):
        """A step whose learning rate gets lost on the way into the graph is noticed."""

        def without_rate(target, args, kwargs):
            return target, args, {name: value for name, value in kwargs.items() if name != "alpha"}

        message = failure_of("dynamo/test_optimizers.py", "RecompileTests.test_new_group", recorded_as(without_rate))

        self.assertIn("Tensor-likes are not close", message)

    def test_unittest(self):
        """An assertion that is dropped while dynamo traces is noticed."""
        fault = mock.patch.object(unittest.TestCase, "assertLess", dropped(unittest.TestCase.assertLess))

        message = failure_of("dynamo/test_unittest.py", "TestUnittest.test_subtests", fault)

        self.assertIn("('failed'", message)
        self.assertIn("('passed', '')", message)

    def test_minifier(self):
        """A minifier that cannot take a node out of the middle is noticed."""
        fault = mock.patch.object(fx_minifier, "_convert_node_to_placeholder", lambda *args: False)

        message = failure_of("dynamo/test_minifier.py", "MinifierTests.test_relu_alone_is_left", fault)

        self.assertIn("Lists differ", message)

    @unittest.skipIf(einops is None, "einops is not installed: pip install einops")
    def test_einops(self):
        """Axes that get into the graph in another order are noticed."""

        def reverse(target, args, kwargs):
            if target == "permute":
                args = (args[0], list(args[1])[::-1])
            return target, args, kwargs

        message = failure_of("dynamo/test_einops.py", "TestEinops.test_stored_rearrange", recorded_as(reverse))

        self.assertIn("Lists differ: [5, 1, 4, 4] != [4, 4, 1, 5]", message)


def dropped(assertion):
    """Return an assertion that holds whenever it is traced."""

    def assert_nothing(test, first, second, msg=None):
        if not torch.compiler.is_dynamo_compiling():
            assertion(test, first, second, msg)

    return assert_nothing


if __name__ == "__main__":
    unittest.main()
