"""Run a catalogued pass on a model of its own, and insist that it does something."""

from __future__ import annotations

from typing import Any

import torch

from fxpect.capture import capture
from fxpect.errors import NoRewrite
from fxpect.examples import Example
from fxpect.execution import Execution, as_pass, run_pass
from fxpect.execution.fingerprint import Fingerprint
from fxpect.passes.catalogue import CataloguedPass, Innocent, find


def start(entry: CataloguedPass, model: Innocent) -> Example:
    """Return the example that exploration of ``entry`` starts from; raises ``CaptureError``."""
    return capture(model.model, model.inputs, capture=model.capture or entry.capture,
                   dynamic=model.dynamic, frozen=entry.frozen)


def fire(entry: CataloguedPass, model: Innocent, example: Example | None = None) -> Execution:
    """Run the pass on its model, captured or given as ``example``, and return the execution.

    Raises ``NoRewrite`` when nothing changed, or nothing but what the passes in ``entry.after`` change.
    """
    example = example if example is not None else start(entry, model)
    execution = run_pass(pass_of(entry), example)
    compared, first = example, ""
    for name in entry.after:
        before = run_pass(pass_of(find(name)), compared)
        compared = compared.replace(graph_module=before.after, exported=before.exported_after)
        first = " beyond what the passes that run first change"
    if not _differs(entry.writes, compared.graph_module, execution.after):
        raise NoRewrite("firing",
                        f"on its model {model.name!r} with torch {torch.__version__}: expected the pass to "
                        f"change the {entry.writes}{first}; got the same\nsee: fxpect passes {entry.name}",
                        pass_name=entry.name, before=execution.before_text, after=execution.after_text)
    return execution


def pass_of(entry: CataloguedPass) -> Any:
    """Return the pass in the form that the verbs take."""
    return as_pass(entry.make(), kind=entry.kind, name=entry.name)


def _differs(writes: str, before: torch.fx.GraphModule, after: torch.fx.GraphModule) -> bool:
    """Return whether what a pass writes differs."""
    if writes in ("names", "types"):
        attribute = {"names": "name", "types": "type"}[writes]
        old, new = ([str(getattr(node, attribute)) for node in gm.graph.nodes if node.op != "output"]
                    for gm in (before, after))
        return old != new
    return Fingerprint(before).differs(after)
