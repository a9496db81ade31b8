"""Hypothesis, run so that a test judges the same examples everywhere and fails with one small example."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity
from hypothesis import strategies as st

# CPython gives frames 16 KiB at a time; torch's hot calls at a chunk's end allocate and free one each time.
# A code object that asks for more than that makes it take one chunk of 256 KiB.
_STACK_SLOTS = 16_500


def run_examples(
    body: Callable[[tuple[Any, ...]], None],
    strategies: tuple[st.SearchStrategy[Any], ...],
    *,
    max_examples: int,
    seed: int,
) -> None:
    """Call ``body`` with up to ``max_examples`` drawn tuples; raises what it raises for the smallest.

    Equal arguments give equal examples: nothing is read from or written to a database, and no constants are
    taken from the modules that happen to be loaded. Raises ``Flaky`` for a body that fails and then does not.
    """
    settings = hypothesis.settings(
        max_examples=max_examples,
        derandomize=True,
        database=None,
        deadline=None,
        print_blob=False,
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        stateful_step_count=1,
    )

    def attempt(values: tuple[Any, ...]) -> None:
        roomy(body, values)

    attempt.__name__ = attempt.__qualname__ = getattr(body, "__name__", "body")
    with same_constants():
        hypothesis.seed(seed)(settings(hypothesis.given(st.tuples(*strategies))(attempt)))()


def reject() -> None:
    """End an example that cannot judge anything."""
    hypothesis.reject()


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


roomy = types.FunctionType(_call.__code__.replace(co_stacksize=_STACK_SLOTS), globals(), "roomy")
roomy.__doc__ = "Call a function with room on the stack for a capture."


@contextlib.contextmanager
def same_constants() -> Iterator[None]:
    """Keep Hypothesis from drawing constants that it finds in the modules loaded so far.

    Which these are depends on the tests that ran before; examples must not.
    """
    from hypothesis.internal.conjecture import providers

    patches = [mock.patch.object(providers, name, value) for name, value in _without_local(providers).items()]
    with contextlib.ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        yield


def _without_local(providers: Any) -> dict[str, Any]:
    """Return what to put in the place of Hypothesis's collector, nothing for a version that has none."""
    if not hasattr(providers, "_get_local_constants"):
        return {}
    empty = type(providers._local_constants)()
    replaced: dict[str, Any] = {"_get_local_constants": lambda: empty}
    cache = getattr(providers, "CONSTANTS_CACHE", None)
    if cache is not None:
        replaced["CONSTANTS_CACHE"] = type(cache)(1024)
    return replaced
