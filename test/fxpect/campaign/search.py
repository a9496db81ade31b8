"""The search: every single edit of an innocent example in turn, then walks over what still makes the pass fire."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Iterator
from typing import Any

import torch

from fxpect.campaign import causes
from fxpect.campaign.finding import Finding, inputs_text
from fxpect.campaign.reduction import reduce
from fxpect.capture import capture as capture_model
from fxpect.errors import CaptureError, CheckFailure, FxpectError
from fxpect.examples import Example
from fxpect.execution import as_pass
from fxpect.oracles.judge import Result, judge
from fxpect.specs import TensorSpec
from fxpect.standalone.script import standalone_script
from fxpect.strategies.draft import Draft, Edit, Inapplicable
from fxpect.strategies.near import DIRECTIONS, edits, round_robin, step
from fxpect.text.printer import graph_text

DEFAULT_EXAMPLES = 2000
# Where the pass is not told which graph it wants, the first of these on which it rewrites is taken.
CAPTURE_ORDER = ("export", "dynamo", "aten", "symbolic", "make_fx", "joint")


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
    """What a search tells while it runs; this one listens to nothing and forbids nothing."""

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


def search(pass_: Any, model: Any, *inputs: Any, capture: str | None = None, examples: int | None = None,
           seconds: float | None = None, seed: int = 0, dynamic: bool = True, frozen: bool = False,
           directions: tuple[str, ...] | None = None, device: Any = None,
           judge_options: dict[str, Any] | None = None, tally: Tally | None = None,
           watcher: Watcher | None = None) -> list[Finding]:
    """Explore in this process and return the distinct findings; ``fxpect.check`` describes the arguments."""
    found = _Search(as_pass(pass_), seed, examples or DEFAULT_EXAMPLES, seconds, directions,
                    {"device": device, **(judge_options or {})}, tally if tally is not None else Tally(),
                    watcher or Watcher())
    for base in _bases(found.pass_, model, inputs, capture, dynamic, frozen):
        found.add_base(base)
    found.explore()
    return found.findings()


def _bases(pass_: Any, model: Any, inputs: tuple, capture: str | None, dynamic: bool, frozen: bool) -> list[Example]:
    options = {"frozen": True} if frozen else {}
    names = (capture,) if capture else CAPTURE_ORDER
    bases: list[Example] = []
    for name in names:
        try:
            base = capture_model(model, inputs, capture=name, **options).portable()
        except CaptureError:
            if capture:
                raise
            continue
        bases = [base]
        if capture or _fires(pass_, base):
            break
    if not bases:
        raise CaptureError(f"no capture of {', '.join(names)} takes this model")
    square = squared(bases[0])
    if square is not None:
        bases.append(square)
    if dynamic and not isinstance(model, Example):
        try:
            bases.append(capture_model(model, inputs, capture=bases[0].capture, dynamic=True, **options).portable())
        except Exception:  # a model that only works at one size has no dynamic neighbourhood
            pass
    return bases


def squared(example: Example, size: int = 4) -> Example | None:
    """Return the example with every size of every input equal, so that any permutation of dims types."""
    inputs = tuple(spec.replace(shape=(size,) * len(spec.shape), layout=None) if isinstance(spec, TensorSpec)
                   and not spec.is_dynamic else spec for spec in example.inputs)
    if inputs == example.inputs:
        return None

    def apply(draft: Draft):
        draft.inputs[:] = inputs
        draft.touch_inputs()

    try:
        return step(example, Edit("sizes", f"every size {size}", "sizes equal", apply)).replace(triggers=())
    except Inapplicable:
        return None


def _fires(pass_: Any, example: Example) -> bool:
    result = judge(pass_, example, first=True)
    return bool(result.failures) or result.changed


@dataclasses.dataclass
class _Met:
    """The first example that failed with a cause, and how many more did."""

    example: Example
    failure: CheckFailure
    count: int = 1


class _Search:
    """The state of one check: the pool of examples that hold, the failures met, the budget."""

    def __init__(self, pass_: Any, seed: int, budget: int, seconds: float | None, directions: tuple[str, ...] | None,
                 judge_options: dict[str, Any], tally: Tally, watcher: Watcher):
        self.pass_ = pass_
        self.seed = seed
        self.rng = random.Random(seed)
        self.budget = budget
        self.deadline = None if seconds is None else time.monotonic() + seconds
        self.directions = directions
        self.judge_options = judge_options
        self.tally = tally
        self.watcher = watcher
        self.started = time.monotonic()
        self.bases: list[Example] = []
        self.pool: list[tuple[Example, bool]] = []
        self.seen: set[str] = set()
        self.met: dict[causes.Key, _Met] = {}
        # What an example fails with already: its children are not blamed for that again.
        self.known: dict[Example, frozenset[str]] = {}

    def add_base(self, base: Example) -> None:
        """Judge an innocent example; what it fails with itself is one finding, not one of every neighbour."""
        if self._try(base, None) or not self.bases:
            self.bases.append(base)

    def explore(self) -> None:
        """Take every single edit in turn, up to two thirds of the budget, then edits of what still fires."""
        singles = [self._singles(base) for base in self.bases]
        share = [2 * self.budget // 3, self.budget]
        self._drain(singles, share[0])
        self._random_walks()

    def findings(self) -> list[Finding]:
        """Return the findings, made small, nearest to the innocent example first; equal ones merged."""
        found: dict[causes.Key, Finding] = {}
        nearest = sorted(self.met.items(), key=lambda item: (len(item[1].example.edits), len(item[0].steps)))
        for _, met in nearest:
            finding = self._finding(met.example, met.failure, met.count)
            mine = causes.key(finding.example, finding.failure)
            known = next((steps for steps in found if steps.explains(mine)), None)
            if known is None:
                found[mine] = finding
            else:
                found[known] = dataclasses.replace(found[known], seen=found[known].seen + met.count)
        self.tally.seconds = time.monotonic() - self.started
        return list(found.values())

    # ------------------------------------------------------------------ exploring

    def _singles(self, base: Example) -> Iterator[tuple[Example, Edit]]:
        for edit in round_robin(edits(base, self.directions, self.tally.flaws), self.rng):
            yield base, edit

    def _drain(self, queues: list[Iterator[tuple[Example, Edit]]], limit: int) -> None:
        """Alternate between the starts; the first, the static one, gets three turns for each of the others."""
        queues = list(queues)
        while queues and self._open(limit):
            for i, queue in enumerate(list(queues)):
                for _ in range(3 if i == 0 else 1):
                    item = next(queue, None)
                    if item is None:
                        if queue in queues:
                            queues.remove(queue)
                        break
                    if not self._open(limit):
                        return
                    self._edit(*item)

    def _random_walks(self) -> None:
        misses = 0
        while self._open(self.budget) and self.pool and misses < 200:
            firing = [example for example, fired in self.pool if fired]
            candidates = firing if firing and self.rng.random() < 0.9 else [example for example, _ in self.pool]
            base = candidates[self.rng.randrange(len(candidates))]
            names = list(self.directions or DIRECTIONS)
            name = names[self.rng.randrange(len(names))]
            offered = edits(base, (name,), self.tally.flaws)[name]
            if not offered:
                misses += 1
                continue
            for _ in range(min(3, self.budget - self.tally.judged)):
                misses = 0 if self._edit(base, offered[self.rng.randrange(len(offered))]) else misses + 1

    def _open(self, limit: int) -> bool:
        if self.deadline is not None and time.monotonic() > self.deadline:
            return False
        return self.tally.judged < limit

    def _edit(self, base: Example, edit: Edit) -> bool:
        if not self.watcher.may_take(fingerprint(base), edit):
            return False
        try:
            example = step(base, edit)
        except Inapplicable:
            self.tally.untyped += 1
            return False
        return self._try(example, base)

    def _try(self, example: Example, parent: Example | None) -> bool:
        """Judge one example; returns False for one that was met before or does not run."""
        print_ = fingerprint(example)
        if print_ in self.seen:
            return False
        self.seen.add(print_)
        fired = self.watcher.known(print_)
        result = Result(None) if fired is not None else self._judge(example)
        if result.discarded:
            self.tally.discarded += 1
            return False
        self.tally.judged += 1
        if fired is None:
            fired = result.changed
            if not result.failures:
                self.watcher.held(print_, fired)
        self.tally.fired += fired
        inherited = self.known.get(parent, frozenset()) if parent is not None else frozenset()
        fresh = causes.fresh(result.failures, inherited)
        for failure in causes.roots(fresh) if parent is not None else fresh:
            self._meet(example, failure)
        if parent is None or not fresh:
            self.pool.append((example, fired))
            self.known[example] = inherited | {str(failure.cause) for failure in fresh}
        return True

    def _meet(self, example: Example, failure: CheckFailure) -> None:
        """Count a failure under the cause that explains it: steps that fail alone explain any more steps."""
        mine = causes.key(example, failure)
        for steps, met in self.met.items():
            if steps.explains(mine):
                met.count += 1
                if len(example.edits) == len(met.example.edits) and _dynamic(met.example) and not _dynamic(example):
                    met.example, met.failure = example, failure  # fixed sizes read better
                return
        self.met[mine] = _Met(example, failure)

    def _judge(self, example: Example) -> Result:
        if not self.watcher.may_judge(fingerprint(example), example):
            return Result(None, discarded="left out by the watcher")
        return judge(self.pass_, example, seed=self.seed, **self.judge_options)

    # ------------------------------------------------------------------ reporting

    def _finding(self, example: Example, failure: CheckFailure, count: int) -> Finding:
        small, failure = reduce(example, failure, self.bases, self._judge)
        result = self._judge(small)
        after = "" if result.execution is None else text_or_dump(result.execution.after)
        cause = str(causes.key(small, failure))
        return Finding(
            oracle=failure.oracle, pass_name=self.pass_.name, before=small.text, after=after,
            inputs=inputs_text(small), message=failure.message, cause=cause,
            script=standalone_script(self.pass_, small, failure, seed=self.seed), edits=len(small.edits),
            steps=small.edits, example=small, failure=failure, seed=self.seed, seen=count)


def _dynamic(example: Example) -> bool:
    return any(isinstance(spec, TensorSpec) and spec.is_dynamic for spec in example.inputs)


def text_or_dump(gm: torch.fx.GraphModule) -> str:
    """Return the canonical text, or torch's own print of a graph that has none, such as one out of order."""
    try:
        return graph_text(gm)
    except FxpectError as error:
        return f"# {error}\n{gm.graph}"


def fingerprint(example: Example) -> str:
    """Return a cheap text that tells two examples apart: the graph as it stands, and the inputs."""
    inputs = ", ".join(repr(v) if not isinstance(v, torch.Tensor) else f"tensor{tuple(v.shape)}" for v in example.inputs)
    return f"{example.capture}\n{example.graph_module.graph}\n{inputs}"
