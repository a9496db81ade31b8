"""Run a stand-alone script for its exit code and what it prints: in this process, or apart from it."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
from typing import Any

from fxpect.errors import FxpectError


def run_script(script: str) -> tuple[Any, str]:
    """Run a stand-alone script in this process; returns its exit code and its output."""
    output = io.StringIO()
    code: Any = None
    with contextlib.redirect_stdout(output):
        try:
            exec(compile(script, "<script>", "exec"), {"__name__": "__main__"})
        except SystemExit as end:
            code = end.code
        except Exception as error:
            code = f"{type(error).__name__}: {error}"
    return code, output.getvalue()


def run_script_apart(script: str) -> tuple[Any, str]:
    """Run a script in a forked process, with which what it leaves behind goes, such as settings of torch.

    Raises ``FxpectError`` where processes cannot be forked.
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        raise FxpectError("expected a system that can fork, to run a script apart")
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)

    def run() -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # torch's helpers print the tracebacks that they swallow
        code, output = run_script(script)
        there.send((int(code) if isinstance(code, int) else code, output))

    process = context.Process(target=run)
    process.start()
    there.close()
    try:
        answer = here.recv()
    except EOFError:
        answer = None
    process.join()
    return answer or (f"died with exit code {process.exitcode}", "")
