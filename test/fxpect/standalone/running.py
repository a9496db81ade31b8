"""Run a stand-alone script for its exit code and what it prints: in this process, or apart from it."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from typing import Any


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


def run_script_apart(script: str) -> tuple[int, str]:
    """Run a script in a fresh interpreter, with which what it leaves behind goes, such as settings of torch.

    A fork of this process would be faster; one could not differentiate where this one did.
    """
    ran = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return ran.returncode, ran.stdout
