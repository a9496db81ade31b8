"""A fault in what torch compiles turns each module of the suite red, with a message that names it.

The modules are those about guards, packages, callbacks, messages and compilation itself.
"""

import contextlib
import sys
import unittest
from pathlib import Path
from unittest import mock

from torch._dynamo.callback import CompilationCallbackHandler

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from test.quality.faults import failure_of  # noqa: E402


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


if __name__ == "__main__":
    unittest.main()
