"""What to check: a pass and its models, looked up by the names that a person types."""

from __future__ import annotations

import importlib
import pathlib
from typing import Any

from fxpect.campaign.check import Start, Tally, check_starts
from fxpect.campaign.finding import Finding
from fxpect.errors import FxpectError
from fxpect.execution import as_pass
from fxpect.passes.catalogue import CataloguedPass, find
from fxpect.passes.firing import pass_of
from fxpect.passes.patterns import models_of
from fxpect.specs import parse_spec


def check_by_name(name: str, *, model: str | None = None, inputs: str | None = None, capture: str | None = None,
                  examples: int | None = None, **options: Any) -> tuple[list[Finding], Tally]:
    """Check one pass by name; returns its distinct findings over all its models, and what was done.

    ``name`` is of the catalogue, or "package.module:object" (which needs ``model`` and ``inputs``). The budget of
    ``examples`` is for all models together, by default at least 300 for each and 60 for each of the pass's own patterns
    that computes what no model does, or what the catalogue says of a slow pass. The rest is as for ``fxpect.check``.
    """
    pass_, starts, judging = _resolve(name, model, inputs, capture)
    if examples is None and ":" not in name:
        examples = find(name).examples
    tally = Tally()
    return check_starts(pass_, starts, judge_options=judging, tally=tally, examples=examples, **options), tally


def _resolve(name: str, model: str | None, inputs: str | None,
             capture: str | None) -> tuple[Any, list[Start], dict[str, Any]]:
    judging: dict[str, Any] = {}
    if ":" in name:
        pass_, entry = as_pass(import_object(name)), None
        if model is None:
            raise FxpectError(f"{name} is not of the catalogue: give it a --model and --inputs, "
                              "such as --model my.models:Mlp --inputs 'f32[2, 8]'")
    else:
        entry = find(name)
        pass_ = pass_of(entry)
        judging = judge_options(entry)
    if model is not None:
        specs = tuple(parse_spec(part) for part in (inputs or "").split(";") if part.strip())
        given = pathlib.Path(model).read_text(encoding="utf-8") if ":" not in model else import_object(model)
        given = given() if isinstance(given, type) else given
        if entry is None:
            return pass_, [Start(given, specs, capture)], judging
        return pass_, [_start(entry, given, specs, capture or entry.capture)], judging
    assert entry is not None
    models = [_start(entry, innocent.model, innocent.inputs, capture or innocent.capture or entry.capture)
              for innocent in (*entry.models, *entry.dormant)]
    given = capture or entry.capture
    patterns = [_start(entry, innocent.model, innocent.inputs, given, innocent.name)
                for innocent in models_of(entry.name) if innocent.capture == given == entry.capture]
    return pass_, [*models, *patterns], judging


def _start(entry: CataloguedPass, model: Any, inputs: tuple, capture: str, pattern: str = "") -> Start:
    """Return a start whose neighbours keep what the pass may rely on."""
    return Start(model, inputs, capture, frozen=entry.frozen, pattern=pattern, contract=entry.contract(capture))


def judge_options(entry: CataloguedPass) -> dict[str, Any]:
    """Return what the stage of a catalogued pass forgives, as options of ``judge``."""
    return {"severity": entry.severity}


def import_object(path: str) -> Any:
    """Return ``package.module:object``; raises ``FxpectError`` with the part that is missing."""
    module, _, attribute = path.partition(":")
    try:
        found = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise FxpectError(f"{path!r} cannot be imported: {error}") from error
    return found
