"""The decorator ``explore``: a test that is run on its stored cases, and then on generated examples."""

from __future__ import annotations

import functools
import inspect
import unittest
from collections.abc import Callable
from typing import Any

from fxpect.errors import FxpectError

DEFAULT_EXAMPLES = 25


def explore(*strategies: Any, max_examples: int = DEFAULT_EXAMPLES, seed: int = 0) -> Callable[[Callable], Callable]:
    """Run a test on every stored case of it, then on up to ``max_examples`` fresh values of ``strategies``.

    The test takes one more argument for each strategy. Every example starts from a reset dynamo, seeded
    generators and pinned settings. All stored cases that do not hold are reported in one failure; of the
    fresh ones the first finding is made small and printed as a graph text, with the lines that pin it. Equal
    seeds give equal examples in any order of tests.

    In the environment: ``FXPECT_EXAMPLES`` and ``FXPECT_SEED`` go before ``max_examples`` and ``seed``
    (``FXPECT_EXAMPLES=0``: stored cases alone); ``FXPECT_HARVEST=3`` proposes three examples whose graphs look
    new as cases to store. Raises ``FxpectError`` where a strategy is none, or the test takes
    other arguments.
    """
    _check(strategies, max_examples)

    def decorate(function: Callable) -> Callable:
        own, drawn = _parameters(function, len(strategies))

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> None:
            from fxpect.cases.exploring import Exploration

            test = args[0] if args and isinstance(args[0], unittest.TestCase) else None
            owner = f"{type(test).__qualname__}." if test is not None else ""
            name = owner.rpartition("<locals>.")[2] + function.__name__

            def body(*values: Any) -> None:
                function(*args, **kwargs, **dict(zip(drawn, values, strict=True)))

            Exploration(body, test, name, strategies, max_examples, seed).run()

        # A runner must not take the drawn arguments for fixtures of its own.
        del wrapper.__wrapped__
        wrapper.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
        return wrapper

    return decorate


def _check(strategies: tuple[Any, ...], max_examples: int) -> None:
    from hypothesis.strategies import SearchStrategy

    wrong = [strategy for strategy in strategies if not isinstance(strategy, SearchStrategy)]
    if not strategies or wrong:
        raise FxpectError(
            "expected @explore(strategy, ...) with strategies such as near(model, *specs); got "
            f"{wrong[0] if wrong else 'none'!r}"
        )
    if isinstance(max_examples, bool) or not isinstance(max_examples, int) or max_examples < 0:
        raise FxpectError(f"expected max_examples to be a whole number; got {max_examples!r}")


def _parameters(function: Callable, drawn: int) -> tuple[list[inspect.Parameter], list[str]]:
    """Return the parameters that a runner fills, and the names of the last ones, which are drawn."""
    parameters = list(inspect.signature(function).parameters.values())
    plain = all(parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in parameters)
    method = bool(parameters) and parameters[0].name == "self"
    if not plain or len(parameters) < drawn + method:
        raise FxpectError(
            f"expected {function.__qualname__} to take {'self and ' if method else ''}{drawn} drawn "
            f"argument{'s' if drawn != 1 else ''}, one for each strategy; got "
            f"{function.__name__}{inspect.signature(function)}"
        )
    split = len(parameters) - drawn
    return parameters[:split], [parameter.name for parameter in parameters[split:]]
