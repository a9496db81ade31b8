"""The verbs as plain functions, for tests that derive from no class; each returns its ``Result``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fxpect.cases.claims import PRESERVES, REWRITES, UNCHANGED, Claim, Trial, attach, settle_discard
from fxpect.cases.messages import explain
from fxpect.cases.phases import current
from fxpect.cases.recording import keep_trial
from fxpect.oracles.judge import Result


def assert_rewrites(
    pass_: Any,
    model: Any,
    *inputs: Any,
    ops: Mapping[Any, Any] | None = None,
    grads: bool | None = None,
    dynamic: bool | None = None,
    capture: str = "export",
    **options: Any,
) -> Result:
    """Raise unless the pass changes the graph of ``model`` and everything still holds.

    ``ops`` maps an operator to its count after the pass, or to (before, after); a count is a number or a
    bound such as ``">=1"``. ``grads`` compares gradients (default: where anything requires grad), ``dynamic``
    and ``capture`` are those of ``fxpect.capture``. More options: ``kwargs``, ``oracles``, ``severity``,
    ``idempotent``, ``order``, ``frozen``, ``seed``, ``seeds``, ``device``, ``known`` (see ``claims.Options``).

    Raises a ``CheckFailure`` for what does not hold: ``InputDrift`` for a wrong count before, ``NoRewrite``,
    ``PassCrash``, ``GraphCrash`` and others; ``FxpectError`` for misuse.
    """
    return _try(
        REWRITES, pass_, model, inputs, ops, dict(options, grads=grads, dynamic=dynamic, capture=capture)
    ).result


def assert_unchanged(
    pass_: Any,
    model: Any,
    *inputs: Any,
    ops: Mapping[Any, Any] | None = None,
    grads: bool | None = None,
    dynamic: bool | None = None,
    capture: str = "export",
    **options: Any,
) -> Result:
    """Raise unless the pass leaves the canonical text as it is and everything holds; see ``assert_rewrites``.

    Raises ``UnexpectedRewrite`` with the difference in words.
    """
    return _try(
        UNCHANGED, pass_, model, inputs, ops, dict(options, grads=grads, dynamic=dynamic, capture=capture)
    ).result


def assert_preserves(
    pass_: Any,
    model: Any,
    *inputs: Any,
    ops: Mapping[Any, Any] | None = None,
    grads: bool | None = None,
    dynamic: bool | None = None,
    capture: str = "export",
    **options: Any,
) -> Result:
    """Raise unless everything holds, whether the pass changes the graph or not; see ``assert_rewrites``."""
    return _try(
        PRESERVES, pass_, model, inputs, ops, dict(options, grads=grads, dynamic=dynamic, capture=capture)
    ).result


def _try(
    verb: str,
    pass_: Any,
    model: Any,
    inputs: tuple[Any, ...],
    ops: Mapping[Any, Any] | None,
    options: Mapping[str, Any],
) -> Trial:
    claim = Claim.make(verb, pass_, ops, options)
    return hold(claim, claim.example(model, inputs))


def hold(claim: Claim, example: Any, where: str = "", label: str = "") -> Trial:
    """Try a claim on an example; raises the failure, told in full unless the example is a fresh one.

    ``where`` names the test and the call in it, ``label`` the case.
    """
    phase = current()
    trial = claim.try_on(example)
    settle_discard(trial, phase)
    keep_trial(trial, label)
    phase.judged += 1
    phase.fired += trial.result.changed
    phase.open += claim.verb == PRESERVES
    if trial.failures:
        failure = trial.failures[0]
        attach(failure, trial)
        if not phase.fresh:
            explain(failure, where)
        raise failure
    return trial
