"""Run a pass: every calling convention in, the graph before and the graph after out.

``forms`` says how a pass is called, ``answers`` what its return value means, ``running`` runs it on an
example, ``saving`` runs it the way torch's own helper does and keeps the graphs on disk.
"""

from __future__ import annotations

from fxpect.execution.answers import Outcome, apply
from fxpect.execution.fingerprint import Fingerprint
from fxpect.execution.forms import KINDS, Pass, Subject, as_pass
from fxpect.execution.running import Execution, run_pass, run_pipeline
from fxpect.execution.saving import SavedRun, pass_execution_and_save
from fxpect.execution.shapes import ShapeProp

__all__ = [
    "KINDS", "Execution", "Fingerprint", "Outcome", "Pass", "SavedRun", "ShapeProp", "Subject", "apply",
    "as_pass", "pass_execution_and_save", "run_pass", "run_pipeline",
]
