"""One exploration of one test: its stored cases, then fresh examples, each in a state of its own."""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
import os
import re
import unittest
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import hypothesis.errors
import torch

import fxpect
from fxpect.cases.base import raise_leaks
from fxpect.cases.claims import attach, trial_of
from fxpect.cases.drawing import reject, run_examples
from fxpect.cases.givens import is_drawn_inputs, read_value, value_text
from fxpect.cases.goldens import Goldens, example_of, given_of
from fxpect.cases.messages import Part, explain, together
from fxpect.cases.phases import FRESH, PINNED, Discard, Phase, phase
from fxpect.cases.state import Snapshot, reset_dynamo, seed_everything
from fxpect.cases.switches import EXAMPLES_VARIABLE, HARVEST_VARIABLE, SEED_VARIABLE, number
from fxpect.errors import CheckFailure, FxpectError
from fxpect.examples import Example
from fxpect.fixtures.case import Case
from fxpect.report.counts import tally
from fxpect.strategies.trial import forget

MAX_ALSO = 5
LEAST_FIRING = 10  # of so many examples a pass that is looked at in earnest rewrites at least one
_TYPES = re.compile(r': "[^"]*"')
_MACHINERY = tuple(f"{Path(str(module.__file__)).parent}{os.sep}" for module in (fxpect, hypothesis))


class Exploration:
    """One run of an explored test; ``body`` is the test without its drawn arguments."""

    def __init__(
        self,
        body: Callable[..., None],
        test: unittest.TestCase | None,
        name: str,
        strategies: tuple[Any, ...],
        max_examples: int,
        seed: int,
    ):
        self.body, self.test, self.name = body, test, name
        self.strategies = tuple(_for_class(strategy, test) for strategy in strategies)
        self.max_examples = number(EXAMPLES_VARIABLE, max_examples)
        self.seed = number(SEED_VARIABLE, seed)
        self.harvest = number(HARVEST_VARIABLE, 0)
        self.goldens = Goldens.of(test) if test is not None else None
        self.target: str | None = None
        self.also: dict[str, str] = {}
        self.drawn = 0
        self.total = Phase(FRESH)
        self.held: list[list[Case]] = []

    def run(self) -> None:
        """Judge every stored case, then the fresh examples; raises one failure for each of the two."""
        with _no_subtests(self.test):
            pinned = self._pinned()
            if self.max_examples:
                self._fresh()
        if not pinned and not self.max_examples:
            raise unittest.SkipTest(f"nothing is stored for {self.name}, and {EXAMPLES_VARIABLE}=0")

    # ------------------------------------------------------------------ stored cases

    def _pinned(self) -> int:
        cases = self.goldens.cases if self.goldens is not None else ()
        parts: list[Part] = []
        for given, group in _groups(cases):
            for title, failure in self._replay(given, group):
                parts.append(Part(title, failure))
        if parts:
            head = (
                f"{len(parts)} of {len(cases)} stored cases of {self.name} do not hold; fresh examples were not tried"
            )
            # The parts tell what failed; of the first failure only the frames are still of use.
            frames = of_the_test(parts[0].failure.__traceback__)
            raise together("pinned", head, parts).with_traceback(frames) from None
        return len(cases)

    def _replay(self, given: str, group: list[Case]) -> Iterator[tuple[str, BaseException]]:
        """Run the test on what was stored; yields what does not hold, with the case it belongs to."""
        assert self.goldens is not None
        title = ", ".join(f"{case.key}  {case.title}".rstrip() for case in group)
        one = Phase(PINNED, given=given)
        tally.add("pinned", len(group))
        for case in group:
            self.goldens.stored.claim(case)
        try:
            values = self._values_of(given, group[0])
            one.of = _of(values)
            self._in_own_state(one, values)
        except Exception as error:
            yield title, error
            return
        for case in group:
            if case.expected(torch.__version__) is not None and case.key not in one.compared:
                yield (
                    f"{case.key}  {case.title}".rstrip(),
                    CheckFailure(
                        "fixture",
                        "expected the test to compare its graph with this stored case; it never did",
                        cause="fixture: never compared",
                    ),
                )

    def _values_of(self, given: str, case: Case) -> tuple[Any, ...]:
        values = read_value(given) if given else (example_of(case),)
        if not isinstance(values, tuple) or len(values) != len(self.strategies):
            raise FxpectError(f"expected a case for a test that is given {len(self.strategies)} values; got {values!r}")
        return values

    # ------------------------------------------------------------------ fresh examples

    def _fresh(self) -> None:
        forget()
        try:
            run_examples(self._attempt, self.strategies, max_examples=self.max_examples, seed=self._own_seed())
        except hypothesis.errors.Flaky as flaky:
            raise self._unstable(flaky) from None
        except hypothesis.errors.Unsatisfiable as error:
            raise self._nothing_judged() from error
        except CheckFailure as failure:
            self._tell(failure)
            raise failure.with_traceback(of_the_test(failure.__traceback__)) from failure.__cause__
        except FxpectError:
            raise
        except Exception as error:
            error.add_note(self._footer())
            raise error.with_traceback(of_the_test(error.__traceback__)) from error.__cause__
        finally:
            tally.add("examples", self.total.judged)
            for why, count in self.total.discarded.items():
                tally.add("discarded", count, detail=why[:120])
        if self.total.discarded and not self.total.judged:
            raise self._nothing_judged()
        self._warn_of_silence()
        self._propose()

    def _attempt(self, values: tuple[Any, ...]) -> None:
        """Judge one example; a failure of another cause than the first is noted and left for another day."""
        self.drawn += 1
        one = Phase(FRESH)
        if self.harvest:
            with contextlib.suppress(FxpectError):  # a value that no file can hold is not worth storing
                one.given, one.of, one.held = _given(values), _of(values), []
        try:
            self._in_own_state(one, values)
        except Discard:
            reject()
        except CheckFailure as failure:
            self._count(one)
            self._values = values
            same = self._of_target(failure)
            if same is None:
                return
            raise same from same.__cause__
        except Exception:
            self._values = values
            raise
        self._count(one)
        if one.held:
            self.held.append(one.held)

    def _count(self, one: Phase) -> None:
        self.total.judged += max(one.judged, 1)
        self.total.fired += one.fired
        self.total.open += one.open

    def _of_target(self, failure: CheckFailure) -> CheckFailure | None:
        """Return the failure that has the cause which is being made small, None where there is none."""
        trial = trial_of(failure)
        failures = [failure, *(one for one in (trial.failures if trial else ()) if one is not failure)]
        labels = [str(one.cause or one.oracle) for one in failures]
        if self.target is None:
            self.target = labels[0]
        if self.target not in labels:
            self.also.setdefault(labels[0], failure.message.split("\n")[0])
            return None
        same = failures[labels.index(self.target)]
        if trial is not None:
            attach(same, trial)
        return same

    def _in_own_state(self, one: Phase, values: tuple[Any, ...]) -> None:
        """Call the test in a context of its own, from the same state every time; raises what leaked."""
        contextvars.copy_context().run(self._isolated, one, values)

    def _isolated(self, one: Phase, values: tuple[Any, ...]) -> None:
        one.drawn = tuple(value for value in values if is_drawn_inputs(value))
        reset_dynamo()
        seed_everything(getattr(self.test, "seed", 0))
        snapshot = Snapshot()
        held = False
        try:
            with phase(one):
                try:
                    self.body(*values)
                except Discard as discard:
                    if one.name == FRESH:
                        self.total.discarded[str(discard)] = self.total.discarded.get(str(discard), 0) + 1
                    raise
            held = True
        finally:
            if not held:
                snapshot.restore()
        raise_leaks(snapshot)

    # ------------------------------------------------------------------ telling

    def _tell(self, failure: CheckFailure) -> None:
        explain(failure, self.test.id().replace("__main__.", "") if self.test is not None else "")
        failure.args = (f"{failure}\n{self._footer()}",)

    def _footer(self) -> str:
        lines = [
            f"  found and made small in {self.drawn} runs of {self.name}; the same again: "
            f"{SEED_VARIABLE}={self.seed} {EXAMPLES_VARIABLE}={self.max_examples}"
        ]
        values = getattr(self, "_values", ())
        if not any(isinstance(value, Example) for value in values):
            lines.append(f"  drawn: {', '.join(map(_shown, values))}")
        if self.also:
            shown = list(self.also.items())[:MAX_ALSO]
            lines.append(f"  {len(self.also)} other causes were met on the way:")
            lines += [f"    {cause}: {message}" for cause, message in shown]
        return "\n".join(lines)

    def _unstable(self, flaky: BaseException) -> CheckFailure:
        seen = [error for error in getattr(flaky, "exceptions", ()) if not isinstance(error, hypothesis.errors.Flaky)]
        words = str(seen[0]).split("\n")[0] if seen else str(flaky).split("\n")[0]
        return CheckFailure(
            "stability",
            f"expected an example that fails to fail again; it did not: {words}\n"
            f"  the pass, the model or the test depends on something beside its input\n{self._footer()}",
            cause="stability: fails now and then",
        )

    def _nothing_judged(self) -> CheckFailure:
        reasons = "\n".join(f"    {count} x {why}" for why, count in self.total.discarded.items())
        return CheckFailure(
            "explore",
            f"expected examples that {self.name} can judge; got none of {self.drawn}\n"
            f"{reasons or '    the test refused every one'}",
            cause="explore: nothing judged",
        )

    def _warn_of_silence(self) -> None:
        """Warn of a property that no example put to the test: the pass rewrote none of them."""
        if self.total.open >= LEAST_FIRING and not self.total.fired:
            warnings.warn(
                f"{self.name}: the pass rewrote none of {self.total.open} examples, so that they say little; "
                "is their capture= the graph that the pass is made for?",
                stacklevel=5,
            )

    def _own_seed(self) -> int:
        return int.from_bytes(hashlib.sha256(f"{self.name} {self.seed}".encode()).digest()[:8], "big")

    def _propose(self) -> None:
        """Propose the cases of a few examples whose graphs look new, where that was asked for."""
        if self.goldens is None or not self.held:
            return
        known = {_shape(case) for case in self.goldens.cases}
        stored = {case.key for case in self.goldens.cases}
        left = self.harvest
        for group in reversed(self.held):  # the first examples are the smallest, and say least
            if (
                left
                and not any(case.key in stored for case in group)
                and any(_shape(case) not in known for case in group)
            ):
                for case in group:
                    self.goldens.propose(case)
                known.update(map(_shape, group))
                stored.update(case.key for case in group)
                left -= 1


def _for_class(strategy: Any, test: unittest.TestCase | None) -> Any:
    """Return the strategy on the graphs of the test's class, where it leaves the capture to the class."""
    choose = getattr(strategy, "for_capture", None)
    capture = getattr(test, "capture", None)
    return choose(capture) if choose is not None and capture else strategy


def _groups(cases: tuple[Case, ...]) -> list[tuple[str, list[Case]]]:
    """Return the stored cases that one call of the test comes to: by what was drawn, else each its own."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        given = given_of(case)
        if given or case.before:
            groups.setdefault(given or f"case {case.key}", []).append(case)
    return [("" if name.startswith("case ") else name, group) for name, group in groups.items()]


def _given(values: tuple[Any, ...]) -> str:
    """Return what was drawn as text, "" for an example, which is its own text."""
    if any(isinstance(value, Example) for value in values):
        return ""
    return value_text(values)


def _shown(value: Any) -> str:
    return getattr(value, "__qualname__", None) or repr(value)


def _of(values: tuple[Any, ...]) -> str:
    """Return the key of the example that was drawn, "" for none."""
    return next((value.key for value in values if isinstance(value, Example)), "")


def _shape(case: Case) -> tuple[Any, ...]:
    """Return what makes a case structurally new: its graphs, whatever the sizes and dtypes of their values."""
    return _TYPES.sub("", case.before), _TYPES.sub("", case.after or ""), case.options.partition("given=")[0]


def of_the_test(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames of fxpect and Hypothesis; whole where nothing else is left."""
    kept = None
    frames = []
    step = trace
    while step is not None:
        frames.append(step)
        step = step.tb_next
    for step in reversed(frames):
        if not step.tb_frame.f_code.co_filename.startswith(_MACHINERY):
            kept = TracebackType(kept, step.tb_frame, step.tb_lasti, step.tb_lineno)
    return kept or trace


@contextlib.contextmanager
def _no_subtests(test: unittest.TestCase | None) -> Iterator[None]:
    """Let a failure inside ``subTest`` end the example, so that it can be made small."""
    if test is None:
        yield
        return

    @contextlib.contextmanager
    def plain(*args: Any, **params: Any) -> Iterator[None]:
        yield

    test.subTest = plain  # type: ignore[method-assign]
    try:
        yield
    finally:
        del test.subTest
