"""The state around a capture: pinned while it runs, restored when it ends, errors named."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import random
import sys
import warnings
from collections.abc import Iterator
from unittest import mock

import torch
import torch._dynamo
import torch.fx.config

from fxpect.capture.models import first_line
from fxpect.errors import CaptureError, FxpectError


@contextlib.contextmanager
def capturing(model: str, capture: str) -> Iterator[None]:
    """Run a capture with pinned configuration and leave no trace in RNGs or modes.

    Whatever the model or torch raises becomes a ``CaptureError`` with the model's name, the
    capture's name and the first line of the cause; a model that exits or recurses included.
    """
    try:
        with _untouched_state(), _pinned_config(), _quiet(), torch.enable_grad():
            yield
    except FxpectError:
        raise
    except (Exception, SystemExit) as error:
        raise CaptureError(f"{model}: capture {capture!r} failed: {first_line(error)}") from error


@contextlib.contextmanager
def _untouched_state() -> Iterator[None]:
    numpy = sys.modules.get("numpy")
    python_state, torch_state = random.getstate(), torch.get_rng_state()
    numpy_state = numpy.random.get_state() if numpy else None
    try:
        yield
    finally:
        random.setstate(python_state)
        torch.set_rng_state(torch_state)
        if numpy:
            numpy.random.set_state(numpy_state)


@contextlib.contextmanager
def _pinned_config() -> Iterator[None]:
    config = torch._dynamo.config
    wanted = {"nested_graph_breaks": True, "canonicalize_output_graph_node_order": False,
              "suppress_errors": False}
    # No text of a graph holds the stack that each node was made in, and taking it costs a seventh of a capture.
    with config.patch({name: value for name, value in wanted.items() if hasattr(config, name)}), \
            mock.patch.object(torch.fx.config, "do_not_emit_stack_traces", True, create=True):
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what a capture raises from being printed too: logs, partial graphs, advice about torch itself."""
    disabled = logging.root.manager.disable
    try:
        if not os.environ.get("TORCH_LOGS"):
            logging.disable(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
