"""fxpect: a regression suite and a library for PyTorch graph passes.

The public names load on first use, so that ``import fxpect`` costs no more than it must.
"""

from __future__ import annotations

if __name__ != "fxpect":
    raise ImportError(f"import fxpect, not {__name__}: one file, one module name")

__version__ = "0.1.0"

_PUBLIC = {
    "T": "specs", "Dim": "specs", "Same": "specs", "TensorSpec": "specs",
    "graph_text": "text.printer", "parse_graph": "text.parser", "graph_diff": "text.diff",
    "register_target": "text.targets", "Example": "examples",
    "as_pass": "execution", "run_pass": "execution", "pass_execution_and_save": "execution",
    "judge": "oracles.judge",
    "near": "strategies.near", "programs": "strategies.programs", "inputs": "strategies.inputs",
    "check": "campaign.check", "Finding": "campaign.finding",
    "TestCase": "cases.base", "ExportTestCase": "cases.export", "PassTestCase": "cases.passes",
    "PreGradPassTestCase": "cases.passes", "JointGraphPassTestCase": "cases.passes",
    "CompileTestCase": "cases.compile",
    "PostGradPassTestCase": "cases.passes", "BackendTestCase": "cases.backend", "Checks": "cases.checks",
    "assert_rewrites": "cases.functions", "assert_unchanged": "cases.functions",
    "assert_preserves": "cases.functions", "explore": "cases.explore", "run_tests": "cases.running",
    "FxpectError": "errors", "CheckFailure": "errors", "InputDrift": "errors", "NoRewrite": "errors",
}

__all__ = ["__version__"] + list(_PUBLIC)


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'fxpect' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"fxpect.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(set(globals()) | set(_PUBLIC))
