"""A fault in what torch compiles turns each module of the suite red, with a message that names it.

The modules are those about guards, packages, callbacks, messages and compilation itself.
"""

import contextlib
import sys
import unittest
from pathlib import Path
from unittest import mock

import torch
import torch._dynamo
from torch._dynamo.callback import CompilationCallbackHandler

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from test.quality.faults import failure_of

SITE = "https://meta-pytorch.github.io/compile-graph-break-site/gb/"


class CallbackFaultTests(unittest.TestCase):
    """test_callback.py"""

    def test_end_that_never_comes(self):
        """Callbacks at the end that torch forgets to call are missed."""
        fault = mock.patch.object(CompilationCallbackHandler, "run_end_callbacks", lambda handler, args: None)

        message = failure_of("dynamo/test_callback.py", "CallbackTests.test_recompilations_count_on", fault)

        self.assertIn("1 != 2", message)

    def test_told_twice(self):
        """A nested compilation that is told too is one duplicate too many."""
        @contextlib.contextmanager
        def always(handler, trigger, compile_id):
            handler.run_start_callbacks(args := mock.Mock(callback_trigger=trigger, compile_id=compile_id))
            yield
            handler.run_end_callbacks(args)

        fault = mock.patch.object(CompilationCallbackHandler, "install_callbacks", always)

        message = failure_of("dynamo/test_callback.py", "CallbackHandlerTests.test_counter", fault)

        self.assertIn("0 != 1", message)


class CompileFaultTests(unittest.TestCase):
    """test_compile.py"""

    def test_compiled_state_that_is_saved(self):
        """A module that keeps what was compiled for it when it is copied is found."""
        fault = mock.patch.object(torch.nn.Module, "__getstate__", lambda module: dict(vars(module)))

        message = failure_of("dynamo/test_compile.py", "InPlaceCompilationTests.test_what_is_saved", fault)

        self.assertRegex(message, "is not None|pickle")

    def test_stance_that_is_ignored(self):
        """A stance without effect is found, by the table of outcomes."""
        fault = mock.patch.object(torch.compiler, "set_stance", lambda stance: contextlib.nullcontext())

        message = failure_of("dynamo/test_compile.py", "StanceTests.test_outcomes", fault)

        self.assertRegex(message, "Detected recompile|1 != 0")


class ErrorMessagesFaultTests(unittest.TestCase):
    """test_error_messages.py"""

    def test_wrong_id(self):
        """A message with the id of another reason is found in the registry."""
        fault = mock.patch.object(torch._dynamo.exc, "get_gbid_documentation_link", lambda title: f"{SITE}gb0001.html")

        message = failure_of("dynamo/test_error_messages.py", "ErrorMessagesTest.test_registry", fault)

        self.assertRegex(message, "False is not true : .*id='gb0001'")

    def test_lost_frames(self):
        """A message that lost the user's frames is found."""
        fault = mock.patch.object(torch._dynamo.exc, "get_real_stack", lambda *args, **kwargs: None)

        message = failure_of("dynamo/test_error_messages.py", "ErrorMessagesTest.test_user_frames", fault)

        self.assertIn("Lists differ", message)


class UnspecFaultTests(unittest.TestCase):
    """test_unspec.py"""

    def test_every_int_is_a_constant(self):
        """Without automatic dynamic shapes each number makes a graph of its own, and too many are counted."""
        fault = torch._dynamo.config.patch(automatic_dynamic_shapes=False)

        message = failure_of("dynamo/test_unspec.py", "UnspecTests.test_no_recompilations", fault)

        self.assertIn("not less than or equal to 3", message)

    def test_stale_float(self):
        """A float guard that accepts everything runs the first float's graph for the next one."""
        def never(builder, guard, *args, **kwargs):
            return None

        fault = mock.patch.object(torch._dynamo.guards.GuardBuilder, "EQUALS_MATCH", never)

        message = failure_of("dynamo/test_unspec.py", "UnspecTests.test_float_extremes", fault)

        self.assertIn("Lists differ", message)


class GuardSerializationFaultTests(unittest.TestCase):
    """test_guard_serialization.py"""

    def test_lost_guard(self):
        """Loaded guards that lost one accept what the live ones refuse; both verdicts are shown."""
        from torch._dynamo import package

        load = package.load_guards_state

        def forgetful(state):
            loaded = load(state)
            guards = loaded.output_graph.guards
            guards.inner = {guard for guard in guards.inner if guard.create_fn_name() != "TENSOR_MATCH"}
            return loaded

        fault = mock.patch.object(package, "load_guards_state", forgetful)

        message = failure_of("dynamo/test_guard_serialization.py", "TestGuardSerialization.test_tensor_match", fault)

        self.assertRegex(message, r"Verdict\(accepted=True.*!= Verdict\(accepted=False")

    def test_guard_that_is_no_longer_refused(self):
        """A kind of guard that torch saves though it cannot is found."""
        manager = torch._dynamo.guards.CheckFunctionManager
        fault = mock.patch.object(manager, "UNSUPPORTED_SERIALIZATION_GUARD_TYPES", ())

        message = failure_of("dynamo/test_guard_serialization.py", "UnsavableGuardTests.test_package_error", fault)

        self.assertIn("KeyError: 'sum'", message)
        self.assertIn("drawn: 'builtin'", message)


class PackageFaultTests(unittest.TestCase):
    """test_package.py"""

    def test_source_that_is_not_checked(self):
        """A package that is loaded for other source is found."""
        from torch._dynamo import package

        fault = mock.patch.object(package, "_hash_source", lambda source: "same")

        message = failure_of("dynamo/test_package.py", "StoreTests.test_file_change", fault)

        self.assertIn("RuntimeError not raised", message)

    def test_everything_is_accepted(self):
        """Loaded code that runs for every input is found."""
        from torch._dynamo import package

        def careless(guards_state, target_code, scope):
            return torch._dynamo.guards.GuardManagerWrapper(torch._C._dynamo.guards.RootGuardManager())

        fault = mock.patch.object(package, "load_guard_manager", careless)

        message = failure_of("dynamo/test_package.py", "TestPackage.test_recompilations", fault)

        self.assertRegex(message, "RuntimeError not raised|is not true")


class MiscFaultTests(unittest.TestCase):
    """test_misc.py"""

    def test_stale_cell(self):
        """A number in a closure that is not guarded is found by the value of the second call."""
        fault = mock.patch.object(torch._dynamo.guards.GuardBuilder, "EQUALS_MATCH", lambda *args, **kwargs: None)

        message = failure_of("dynamo/test_misc.py", "ClosureTests.test_cells", fault)

        self.assertIn("False is not true", message)

    def test_pass_that_no_longer_matches(self):
        """A pass that finds nothing in what was captured is told, with the operators that were there."""
        from torch._inductor.fx_passes import pre_grad

        def sink_cat_after_pointwise(gm):
            return gm

        fault = mock.patch.object(pre_grad, "sink_cat_after_pointwise", sink_cat_after_pointwise)

        message = failure_of("dynamo/test_misc.py", "ContainerTests.test_structure", fault)

        self.assertRegex(message, "expected the pass to change the graph.*relu")


if __name__ == "__main__":
    unittest.main()
