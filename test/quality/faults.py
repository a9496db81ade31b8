"""Run one test of a suite while torch is broken on purpose, and hand back what the test says."""

import contextlib
import importlib.util
import logging
import os
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from torch._dynamo.output_graph import OutputGraph

TEST = Path(__file__).resolve().parent.parent


def failure_of(path, name, *faults):
    """Return the message of a test that fails while the ``faults`` (context managers) hold, "" where it passes.

    ``path`` is relative to the folder of the tests, ``name`` is ``"Class.test_method"``. The test runs in a module of
    its own, so that nothing of it stays. What it proposes to store is thrown away, whatever the environment accepts.
    """
    specification = importlib.util.spec_from_file_location(Path(path).stem, TEST / path)
    module = importlib.util.module_from_spec(specification)
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module  # what is pickled by name is looked for there
    try:
        specification.loader.exec_module(module)
        return _failure(module, name, faults)
    finally:
        del sys.modules[module.__name__]
        if before is not None:
            sys.modules[module.__name__] = before


def _failure(module, name, faults):
    owner, method = name.split(".")
    result = unittest.TestResult()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(mock.patch.dict(os.environ, {"FXPECT_PENDING": folder, "EXPECTTEST_ACCEPT": "0"}))
        for fault in faults:
            stack.enter_context(fault)
        logging.disable(logging.CRITICAL)
        stack.callback(logging.disable, logging.NOTSET)
        getattr(module, owner)(method).run(result)
    if not result.testsRun or result.skipped:
        raise AssertionError(f"expected {name} to run; it was skipped: {result.skipped}")
    return "\n".join(text for _, text in [*result.failures, *result.errors])


def recorded_as(change):
    """Return the fault that dynamo writes a call into the graph as ``change`` makes it of (target, args, kwargs)."""
    create_proxy = OutputGraph.create_proxy

    def create(graph, kind, target, args, kwargs, *more, **options):
        if kind.startswith("call_"):
            target, args, kwargs = change(target, args, kwargs)
        return create_proxy(graph, kind, target, args, kwargs, *more, **options)

    return mock.patch.object(OutputGraph, "create_proxy", create)
