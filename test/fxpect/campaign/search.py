"""The search: every single edit of an innocent example in turn, then walks over what still makes the pass fire."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import io
import itertools
import logging
import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from fxpect.campaign import causes
from fxpect.campaign.finding import Finding
from fxpect.campaign.reduction import reduce
from fxpect.campaign.rewriting import rewritten
from fxpect.campaign.starts import Start
from fxpect.campaign.stopping import Stop
from fxpect.errors import CaptureError, CheckFailure, FxpectError
from fxpect.examples import Example, inputs_text
from fxpect.execution import as_pass
from fxpect.oracles.judge import Result, judge
from fxpect.standalone.script import standalone_script
from fxpect.strategies.draft import Edit, Inapplicable
from fxpect.strategies.near import DIRECTIONS, edits, round_robin, step
from fxpect.strategies.trial import forget
from fxpect.text.packing import packing
from fxpect.text.printer import graph_text

DEFAULT_EXAMPLES = 3000
# With many starts, so many for each.
LEAST_EXAMPLES = 300
# More for each of the pass's own patterns; of a budget that is given they take a third at most.
PATTERN_EXAMPLES = 60
# A pattern is explored by what its calls are given, which its own conditions are about. What stands around them, such
# as other users, is a matter of the matcher, and explored with the models.
PATTERN_DIRECTIONS = ("input_values", "values", "sizes", "fresh_operands", "dtypes", "ranks", "layouts",
                      "tensors_for_numbers", "absent_operands", "one_input", "operand_lists", "sections", "sequences")
# Patterns that differ in these alone are one.
_CONVERSIONS = frozenset(("convert_element_type", "_to_copy"))
_INCIDENTAL = _CONVERSIONS | {"expand", "view", "_unsafe_view", "clone"}


@dataclasses.dataclass
class Tally:
    """What a check did: examples judged, thrown away because the graph before does not run, and rewritten.

    ``flaws`` are errors of fxpect's own directions; the check went on without what they would have offered.
    """

    judged: int = 0
    discarded: int = 0
    untyped: int = 0
    fired: int = 0
    seconds: float = 0.0
    flaws: list[tuple[str, Exception]] = dataclasses.field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add what another check did."""
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


class Watcher:
    """What a search tells while it runs; this one forbids nothing.

    ``told`` is called with each finding when it is made small, ``stop`` is true from when the search is to end.
    """

    def __init__(self, told: Callable[[Finding], None] | None = None, stop: Stop | None = None):
        self.told, self.stop = told, stop

    def found(self, finding: Finding) -> None:
        """Called once for each finding; what is found later may be counted as one more of it."""
        if self.told is not None:
            self.told(finding)

    def may_take(self, base: str, edit: Edit) -> bool:
        """Called before an edit is typed; False leaves it out."""
        return True

    def may_judge(self, print_: str, example: Example) -> bool:
        """Called before an example is judged; False leaves it out."""
        return True

    def held(self, print_: str, fired: bool) -> None:
        """Called after an example held; ``fired`` says that the pass rewrote it."""

    def known(self, print_: str) -> bool | None:
        """Return whether the pass rewrote an example that is known to hold, None for one that is not known."""
        return None


def search(pass_: Any, starts: Sequence[Start], *, examples: int | None = None, seconds: float | None = None,
           seed: int = 0, directions: tuple[str, ...] | None = None, device: Any = None,
           judge_options: dict[str, Any] | None = None, tally: Tally | None = None,
           watcher: Watcher | None = None, outside: bool = False, told: Callable[[Finding], None] | None = None,
           stop: Stop | None = None) -> list[Finding]:
    """Explore from every start in this process and return the distinct findings; ``check`` describes the arguments."""
    found = _Search(as_pass(pass_), seed, examples, seconds, directions, {"device": device, **(judge_options or {})},
                    tally if tally is not None else Tally(), watcher or Watcher(told, stop), outside)
    forget()
    with _quiet():
        for start in starts:
            if not start.pattern and not found.watcher.stop:
                found.add(start)
        found.add_patterns([start for start in starts if start.pattern])
        found.explore()
        return found.findings()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what torch says of odd graphs, such as of deprecated overloads, off the screen: they are on purpose.

    A graph module that fails prints where, with each frame that it passes.
    """
    torch_log = logging.getLogger("torch")
    level = torch_log.level
    torch_log.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch_log.setLevel(level)


@dataclasses.dataclass(eq=False)
class _Met:
    """The example that shows a cause best, the ``nth`` of all, and how many did; ``bases`` are of its start.

    ``labels`` are all that it was seen by.
    """

    example: Example
    failure: CheckFailure
    bases: list[Example]
    nth: int
    count: int = 1
    labels: set[str] = dataclasses.field(default_factory=set)


@dataclasses.dataclass(eq=False)
class _Held:
    """An example to go on from, and whether the pass rewrote it.

    ``known`` are the causes that it fails with already: what it leads to is not blamed for those again.
    """

    example: Example
    bases: list[Example]
    fired: bool
    known: frozenset[str] = frozenset()


class _Search:
    """The state of one check: the pool of examples that hold, the failures met, the budget."""

    def __init__(self, pass_: Any, seed: int, budget: int | None, seconds: float | None,
                 directions: tuple[str, ...] | None, judge_options: dict[str, Any], tally: Tally, watcher: Watcher,
                 outside: bool):
        self.pass_ = pass_
        self.seed = seed
        self.rng = random.Random(seed)
        self.budget = budget
        self.deadline = None if seconds is None else time.monotonic() + seconds
        self.directions = directions
        self.judge_options = judge_options
        self.tally = tally
        self.watcher = watcher
        self.outside = outside
        self.started = time.monotonic()
        self.models = 0
        self.innocent: list[_Held] = []
        self.patterns: list[_Held] = []
        self.computed: set[tuple[str, ...]] = set()
        self.tried: collections.Counter[str] = collections.Counter()
        self.moved: collections.Counter[str] = collections.Counter()
        self.pool: list[_Held] = []
        self.seen: set[str] = set()
        self.walked: collections.Counter[str] = collections.Counter()
        self.met: dict[causes.Key, _Met] = {}

    def add(self, start: Start) -> None:
        """Judge the examples of a start; what one fails with itself is one finding, not one of every neighbour."""
        self.models += 1
        bases = start.examples(self._fires)
        for base in bases:
            self.computed.add(_computation(base))
            held = self._try(base, None, bases)
            if held is not None:
                self.innocent.append(held)

    def add_patterns(self, starts: Sequence[Start]) -> None:
        """Judge those of the pass's own patterns on which it fires and whose operators no other start has.

        Of several with the same operators the one with the fewest conversions is taken.
        """
        room = len(starts) if self.budget is None else self.budget // 3 // PATTERN_EXAMPLES
        examples = []
        for start in starts if room else ():
            if self.watcher.stop:
                return
            with contextlib.suppress(CaptureError):  # torch traces some of its patterns in a way of its own
                examples += start.examples(self._fires)
        for example in sorted(examples, key=_conversions):
            if len(self.patterns) < room and _computation(example) not in self.computed:
                held = self._try(example, None, [example])
                if held is not None and held.fired:
                    self.computed.add(_computation(example))
                    self.patterns.append(held)

    def explore(self) -> None:
        """Take every single edit of the models in turn, some of each pattern, then edits of what still fires.

        The single edits of the models get up to two thirds of what patterns do not get.
        """
        share = len(self.patterns) * PATTERN_EXAMPLES
        if self.budget is None:
            self.budget = max(DEFAULT_EXAMPLES, LEAST_EXAMPLES * self.models) + share
        # The plain example of a start gets three turns for each of its others.
        self._drain([(self._singles(held), 3 if held.example is held.bases[0] else 1) for held in self.innocent],
                    2 * (self.budget - share) // 3)
        for held in self.patterns:
            self._drain([(self._least_tried(held), 1)], min(self.tally.judged + PATTERN_EXAMPLES, self.budget))
        self._random_walks()

    def findings(self) -> list[Finding]:
        """Return the findings, made small, equal ones merged: nearest to the innocent example first, crashes last.

        Once the search is to stop they are as they were met.
        """
        found: dict[causes.Key, Finding] = {}
        nearest = sorted(self.met.items(), key=lambda item: (
            len(item[1].example.edits), item[1].failure.oracle == "crash", len(item[0].steps)))
        for _, met in nearest:
            mine, finding = self._finding(met)
            known = next((steps for steps in found if steps.explains(mine)), None)
            if known is None:
                found[mine] = finding
                self.watcher.found(finding)
            else:
                first = found[known]
                also = {*first.also, *finding.also, str(finding.failure.cause)} - {str(first.failure.cause)}
                found[known] = dataclasses.replace(first, seen=first.seen + met.count, nth=min(first.nth, met.nth),
                                                   also=tuple(sorted(also)))
        self.tally.seconds = time.monotonic() - self.started
        return sorted(found.values(), key=lambda finding: (finding.edits, finding.oracle == "crash"))

    # ------------------------------------------------------------------ exploring

    def _fires(self, example: Example) -> bool:
        if not self.watcher.may_judge(fingerprint(example), example):
            return True  # the pass ended the process on it
        result = judge(self.pass_, example, first=True)
        return bool(result.failures) or result.changed

    def _singles(self, held: _Held) -> Iterator[tuple[_Held, Edit]]:
        for edit in round_robin(self._edits(held.example, self.directions), self.rng):
            yield held, edit

    def _least_tried(self, held: _Held) -> Iterator[tuple[_Held, Edit]]:
        """Yield edits of a pattern, one of each direction in turn: what was tried least elsewhere comes first.

        What the pass did not fire after, however often it was tried, comes last.
        """
        queues = []
        for group in self._edits(held.example, self.directions or PATTERN_DIRECTIONS).values():
            self.rng.shuffle(group)
            times = collections.Counter({edit.trigger: self.tried[edit.trigger] for edit in group})
            ranked = []
            for edit in group:
                idle = self.tried[edit.trigger] > 1 and not self.moved[edit.trigger]
                ranked.append((idle, times[edit.trigger] + edit.rank, edit))
                times[edit.trigger] += 1
            queues.append([edit for *_, edit in sorted(ranked, key=lambda item: item[:2])])
        for turn in itertools.zip_longest(*queues):
            yield from ((held, edit) for edit in turn if edit is not None)

    def _edits(self, example: Example, directions: tuple[str, ...] | None) -> dict[str, list[Edit]]:
        return edits(example, directions, self.tally.flaws, outside=self.outside)

    def _drain(self, queues: list[tuple[Iterator[tuple[_Held, Edit]], int]], limit: int) -> None:
        """Take so many of each queue in turn, until all are empty."""
        while queues and self._open(limit):
            left = []
            for queue, turns in queues:
                taken = list(itertools.islice(queue, turns))
                for held, edit in taken:
                    if self._open(limit):
                        self._edit(held, edit)
                if taken:
                    left.append((queue, turns))
            queues = left

    def _random_walks(self) -> None:
        misses, budget = 0, self.budget or 0
        while self._open(budget) and self.pool and misses < 200:
            firing = [held for held in self.pool if held.fired]
            candidates = firing if firing and self.rng.random() < 0.9 else self.pool
            base = candidates[self.rng.randrange(len(candidates))]
            names = list(self.directions or DIRECTIONS)
            name = names[self.rng.randrange(len(names))]
            offered = self._edits(base.example, (name,))[name]
            if not offered:
                misses += 1
                continue
            for _ in range(min(3, budget - self.tally.judged)):
                edit = self._rare(offered)
                misses = 0 if self._edit(base, edit) else misses + 1

    def _rare(self, offered: list[Edit]) -> Edit:
        """Return one of the edits, of a few drawn the one whose trigger walks have taken least."""
        drawn = [offered[self.rng.randrange(len(offered))] for _ in range(4)]
        edit = min(drawn, key=lambda edit: (self.walked[edit.trigger], edit.rank))
        self.walked[edit.trigger] += 1
        return edit

    def _open(self, limit: int) -> bool:
        if self.watcher.stop or self.deadline is not None and time.monotonic() > self.deadline:
            return False
        return self.tally.judged < limit

    def _edit(self, base: _Held, edit: Edit) -> bool:
        """Take one step and judge what it leads to; returns whether there was something new to judge."""
        if not self.watcher.may_take(fingerprint(base.example), edit):
            return False
        try:
            example = step(base.example, edit, outside=self.outside)
        except Inapplicable:
            self.tally.untyped += 1
            return False
        judged, fired = self.tally.judged, self.tally.fired
        self._try(example, base, base.bases)
        self.tried[edit.trigger] += self.tally.judged - judged
        self.moved[edit.trigger] += self.tally.fired - fired
        return self.tally.judged > judged

    def _try(self, example: Example, parent: _Held | None, bases: list[Example]) -> _Held | None:
        """Judge one example; returns it where it holds, or is innocent, so that the search may go on from it."""
        print_ = fingerprint(example)
        if print_ in self.seen:
            return None
        self.seen.add(print_)
        fired = self.watcher.known(print_)
        result = Result(None) if fired is not None else self._judge(example)
        if result.discarded:
            self.tally.discarded += 1
            return None
        self.tally.judged += 1
        if fired is None:
            fired = result.changed
            if not result.failures:
                self.watcher.held(print_, fired)
        self.tally.fired += fired
        known = parent.known if parent is not None else frozenset()
        fresh = causes.fresh(result.failures, known)
        for failure in causes.roots(fresh) if parent is not None else fresh:
            self._meet(example, failure, bases, rewritten(result.execution))
        if parent is not None and fresh:
            return None
        held = _Held(example, bases, fired, known | {str(failure.cause) for failure in fresh})
        self.pool.append(held)
        return held

    def _meet(self, example: Example, failure: CheckFailure, bases: list[Example], rewrite: frozenset[str]) -> None:
        """Count a failure under the cause that explains it: steps that fail alone explain any more steps."""
        mine = causes.key(example, failure, rewrite)
        for steps, met in self.met.items():
            if steps.explains(mine):
                met.count += 1
                met.labels.add(str(failure.cause))
                more = len(example.edits) - len(met.example.edits)
                better = steps.views and mine.views and len(example.edits) < 2 and \
                    causes.tells_more(failure, met.failure)
                if better or more == 0 and met.example.is_dynamic and not example.is_dynamic:  # fixed sizes read better
                    met.example, met.failure, met.bases = example, failure, bases
                return
        self.met[mine] = _Met(example, failure, bases, self.tally.judged, labels={str(failure.cause)})

    def _judge(self, example: Example) -> Result:
        if not self.watcher.may_judge(fingerprint(example), example):
            return Result(None, discarded="left out by the watcher")
        try:
            return judge(self.pass_, example, seed=self.seed, **self.judge_options)
        except CaptureError as error:
            if not example.path:
                raise
            return Result(None, discarded=str(error))  # a graph that makes no ExportedProgram, which the pass takes

    # ------------------------------------------------------------------ reporting

    def _finding(self, met: _Met) -> tuple[causes.Key, Finding]:
        small, failure, taken_out = reduce(met.example, met.failure, met.bases, self._judge_smaller)
        result = self._judge(small)
        after = "" if result.execution is None else text_or_dump(result.execution.after)
        inputs = inputs_text(small)
        cause = dataclasses.replace(causes.key(small, failure, rewritten(result.execution)),
                                    program=f"{small.portable().text}{inputs}")
        return cause, Finding(
            oracle=failure.oracle, pass_name=self.pass_.name, before=self._text(small, failure), after=after,
            inputs=inputs, message=failure.message, cause=str(cause),
            script=standalone_script(self.pass_, small, failure, seed=self.seed), edits=len(small.edits),
            steps=small.edits, taken_out=taken_out, example=small, failure=failure, seed=self.seed, seen=met.count,
            nth=met.nth, outside=small.outside, also=tuple(sorted(met.labels - {str(failure.cause)})))

    def _judge_smaller(self, example: Example) -> Result:
        return Result(None, discarded="to stop") if self.watcher.stop else self._judge(example)

    def _text(self, example: Example, failure: CheckFailure) -> str:
        """Return the canonical text where it fails too, else that of the program order, which some passes look at."""
        plain = example.portable()
        for text in (plain.text, graph_text(plain.graph_module, order="program")):
            with contextlib.suppress(FxpectError):  # of a text that stands for what it cannot hold
                read = Example.from_text(text, *plain.inputs, capture=plain.capture, sizes=plain.sizes,
                                         contract=plain.contract)
                if any(other.cause == failure.cause for other in self._judge(read).failures):
                    return text
        return plain.text


def text_or_dump(gm: torch.fx.GraphModule) -> str:
    """Return the canonical text, or torch's own print of a graph that has none, such as one out of order."""
    try:
        return graph_text(gm)
    except FxpectError as error:
        return f"# {error}\n{gm.graph}"


def _computation(example: Example) -> tuple[str, ...]:
    """Return the operators that compute something, in order, or all operators where none does."""
    names = _operators(example)
    return tuple(name for name in names if name not in _INCIDENTAL) or tuple(names)


def _conversions(example: Example) -> int:
    return sum(name in _CONVERSIONS for name in _operators(example))


def _operators(example: Example) -> list[str]:
    return [str(getattr(node.target, "__name__", node.target)).partition(".")[0]
            for node in example.graph_module.graph.nodes if node.op.startswith("call")]


@functools.lru_cache(maxsize=64)  # asked of a base for each of its steps, and several times of a new example
def fingerprint(example: Example) -> str:
    """Return a cheap text that tells two examples apart: the graph as it stands, what it owns, and the inputs.

    A module or an attribute that an edit changed has the same name whatever it became: the edit itself tells.
    """
    own = [edit for edit in example.edits if edit.startswith(("modules:", "attributes:"))]
    inputs = ", ".join(f"tensor{tuple(v.shape)}" if isinstance(v, torch.Tensor) else repr(v) for v in example.inputs)
    return f"{example.capture}\n{example.graph_module.graph}\n{packing(example.graph_module.graph)}\n{own}\n{inputs}"
