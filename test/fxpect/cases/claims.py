"""A claim about a pass (it rewrites, it changes nothing, it preserves) and one trial of it on one example."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from fxpect.capture import CAPTURES
from fxpect.capture import capture as capture_model
from fxpect.cases.counting import Wish, census, check_before, find_after, parse_ops
from fxpect.cases.phases import Discard, Phase, current
from fxpect.errors import CheckFailure, FxpectError, InputDrift, NoRewrite, UnexpectedRewrite
from fxpect.examples import Example, inputs_text
from fxpect.execution import Pass, as_pass
from fxpect.oracles.agreement import QuickLook
from fxpect.oracles.effects import find_effects
from fxpect.oracles.evidence import ERROR, severity_of
from fxpect.oracles.judge import ALWAYS, OFF, Result, judge
from fxpect.oracles.numerics import find_numerics
from fxpect.oracles.structure import find_disagreement
from fxpect.text.diff import in_words
from fxpect.text.printer import graph_text

REWRITES, UNCHANGED, PRESERVES = "rewrites", "unchanged", "preserves"
METHODS = {REWRITES: "assertRewrites", UNCHANGED: "assertUnchanged", PRESERVES: "assertPreserves"}
_TWICE = ("stability:not-idempotent", "stability:second-run-crashes")


@dataclasses.dataclass(frozen=True)
class Options:
    """What may be said to every verb beside the pass, the model and its inputs.

    ``kwargs`` are keyword inputs of the model. ``oracles`` names those to ask instead of all, ``severity``
    weighs causes ("error", "note", "off"); both as ``fxpect.judge`` takes them. ``idempotent`` is True, or
    the reason why a second run may change the graph again. ``order="program"`` makes the order of the nodes
    part of the text, for scheduling passes. ``frozen`` captures parameters as constants. ``seeds`` is for
    how many inputs, from ``seed`` on, the graph that was captured and rewritten once is run. ``known`` holds bugs
    of torch, as ``fxpect.passes.known_bugs.load`` gives them: a failure that one explains is counted, not raised.
    """

    grads: bool | None = None
    dynamic: bool | None = None
    capture: str = "export"
    kwargs: Mapping[str, Any] | None = None
    oracles: Iterable[str] | None = None
    severity: Mapping[str, str] | None = None
    idempotent: bool | str = True
    order: str = "canonical"
    frozen: bool = False
    seed: int = 0
    seeds: int = 1
    device: Any = None
    known: Iterable[Any] = ()

    def __post_init__(self) -> None:
        if self.oracles is not None:
            object.__setattr__(self, "oracles", tuple(self.oracles))
        if self.capture not in CAPTURES:
            raise FxpectError(f"expected capture= one of {', '.join(CAPTURES)}; got {self.capture!r}")
        if self.order not in ("canonical", "program"):
            raise FxpectError(f'expected order="canonical" or "program"; got {self.order!r}')
        if isinstance(self.seeds, bool) or not isinstance(self.seeds, int) or self.seeds < 1:
            raise FxpectError(f"expected seeds= to be a number of 1 or more; got {self.seeds!r}")
        if self.idempotent is not True and not (isinstance(self.idempotent, str) and self.idempotent.strip()):
            raise FxpectError(
                "expected idempotent=True, or the reason why a second run may change the graph again; "
                f"got {self.idempotent!r}"
            )

    def spelled(self) -> str:
        """Return the options that a call has to repeat, as Python; "" where all are the usual ones."""
        names = ("grads", "dynamic", "oracles", "severity", "idempotent", "order", "seed")
        usual = {field.name: field.default for field in dataclasses.fields(self)}
        return "".join(f", {name}={getattr(self, name)!r}" for name in names if getattr(self, name) != usual[name])

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Options:
        """Return the options of a verb; raises ``FxpectError`` for one that no verb has."""
        names = [field.name for field in dataclasses.fields(cls)]
        unknown = [name for name in values if name not in names]
        if unknown:
            raise FxpectError(f"expected options among {', '.join(names)}; got {', '.join(unknown)}")
        return cls(**values)


@dataclasses.dataclass(frozen=True)
class Claim:
    """A verb, a pass, and what was said about both."""

    verb: str
    pass_: Pass
    wishes: tuple[Wish, ...]
    options: Options
    ops: Mapping[Any, Any] | None = None

    @classmethod
    def make(cls, verb: str, pass_: Any, ops: Mapping[Any, Any] | None, options: Mapping[str, Any]) -> Claim:
        """Return the claim; raises ``FxpectError`` for what cannot be one."""
        return cls(verb, as_pass(pass_), tuple(parse_ops(ops)), Options.read(options), ops)

    def example(self, model: Any, inputs: tuple[Any, ...]) -> Example:
        """Return the example that the pass is given; an Example stands in the place of model and inputs."""
        options = self.options
        if isinstance(model, Example):
            if inputs or options.kwargs:
                raise FxpectError(f"an example has its inputs; got {len(inputs) + len(options.kwargs or ())} more")
            return model
        return capture_model(
            model,
            current().as_specs(inputs),
            dict(options.kwargs or {}),
            capture=options.capture,
            dynamic=options.dynamic,
            device=options.device,
            frozen=options.frozen,
        )

    def try_on(self, example: Example) -> Trial:
        """Run the pass on the example and ask everything; nothing is raised for what does not hold."""
        try:
            check_before(list(self.wishes), example.graph_module, pass_name=self.pass_.name, capture=example.capture)
        except InputDrift as drift:
            return Trial(self, example, Result(None), [drift])
        options = self.options
        result = judge(
            self.pass_,
            example,
            oracles=self._oracles(example),
            grads=options.grads,
            device=options.device,
            seed=options.seed,
            severity=self._severity(),
        )
        trial = Trial(self, example, result, self._news(result.failures, example))
        if result.discarded is None and result.execution is not None:
            if options.seeds > 1 and not trial.failures:
                trial = self._at_other_seeds(trial)
            trial.failures += trial.own_failures()
        return trial

    def _news(self, failures: list[CheckFailure], example: Example) -> list[CheckFailure]:
        if not self.options.known or not failures:
            return list(failures)
        from fxpect.passes.known_bugs import unexplained

        return unexplained(self.options.known, self.pass_.name, failures, example.text, inputs_text(example))

    def _at_other_seeds(self, trial: Trial) -> Trial:
        """Run the same two graphs on more inputs; returns the trial of the first seed that fails, else this one."""
        evidence, options = trial.result.evidence, self.options
        if evidence is None:  # nothing changed, so nothing was run
            return trial
        excused = [cause for cause, weight in self._severity().items() if weight != ERROR]
        look = QuickLook(evidence)
        for seed in range(options.seed + 1, options.seed + options.seeds):
            if look.agrees(trial.example.realize(seed=seed, device=options.device)):
                continue
            there = evidence.at(trial.example.realize(seed=seed, device=options.device))
            if there.expected.error is not None:
                continue
            found = [
                failure
                for find in (find_disagreement, find_numerics, find_effects)
                for failure in find(there)
                if severity_of(failure) == ERROR and not any(str(failure.cause).startswith(c) for c in excused)
            ]
            found = self._news(found, trial.example)
            if found:
                claim = dataclasses.replace(self, options=dataclasses.replace(options, seed=seed, seeds=1))
                return Trial(claim, trial.example, trial.result, found)
        return trial

    def _oracles(self, example: Example) -> tuple[str, ...]:
        if self.options.oracles is not None:
            return tuple(self.options.oracles)
        asked: tuple[str, ...] = ALWAYS
        if self.options.dynamic is not False and example.is_dynamic:
            asked = (*asked, "generality")
        # Running the pass again costs as much as all the rest: not for every fresh example.
        return asked if current().fresh else (*asked, "stability", "serialization")

    def _severity(self) -> dict[str, str]:
        excused = dict.fromkeys(_TWICE, OFF) if isinstance(self.options.idempotent, str) else {}
        return {**excused, **(self.options.severity or {})}


@dataclasses.dataclass(eq=False)
class Trial:
    """A claim tried on one example: the result, and every failure, the most telling first."""

    claim: Claim
    example: Example
    result: Result
    failures: list[CheckFailure]

    def own_failures(self) -> list[CheckFailure]:
        """Return what the verb itself has to say: was there a rewrite, are the counts right."""
        claim, execution = self.claim, self.result.execution
        assert execution is not None
        name = execution.pass_name
        found: list[CheckFailure] = []
        if claim.verb == REWRITES and not self.text_changed:
            found.append(
                NoRewrite(
                    "rewrite",
                    "expected the pass to change the graph; got the same graph, which has "
                    f"{census(self.example.graph_module)}{self._hint()}",
                    pass_name=name,
                    cause="no rewrite",
                )
            )
        if claim.verb == UNCHANGED and self.text_changed:
            found.append(
                UnexpectedRewrite(
                    "rewrite",
                    f"expected the pass to leave the graph alone; got {self.difference()}",
                    pass_name=name,
                    cause="unexpected rewrite",
                )
            )
        found += find_after(list(claim.wishes), execution.after, pass_name=name)
        return found

    @property
    def text_changed(self) -> bool:
        """Whether the canonical text changed, names apart."""
        execution = self.result.execution
        if execution is None or not execution.changed:
            return False
        return self.before_text != self.after_text

    @property
    def before_text(self) -> str:
        """The text of the graph before the pass, in the order that the claim asks for."""
        if self.claim.options.order == "canonical":
            return self.example.text
        return graph_text(self.example.graph_module, order="program")

    @property
    def after_text(self) -> str:
        """The text of the graph after, "" for none; torch's own print-out where it has no canonical one."""
        execution = self.result.execution
        if execution is None:
            return ""
        try:
            if self.claim.options.order == "canonical":
                return execution.after_text
            return graph_text(execution.after, order="program")
        except Exception as error:
            return f"# no canonical text: {type(error).__name__}: {error}\n{execution.after.graph}\n"

    def difference(self) -> str:
        """Return in words what the pass did to the graph."""
        return in_words(self.before_text, self.after_text)

    def _hint(self) -> str:
        level = {"dynamo": "torch functions and methods", "symbolic": "torch functions and submodules"}
        here = self.example.capture
        other = "export" if here in level else "dynamo"
        return (
            f"\n  capture {here!r} gives {level.get(here, 'ATen operators')}; a pass written for "
            f"{level.get(other, 'ATen operators')} matches nothing there: try capture={other!r}"
        )


def attach(failure: CheckFailure, trial: Trial) -> None:
    """Let a failure know the trial that it comes from."""
    vars(failure)["trial"] = trial


def trial_of(failure: BaseException) -> Trial | None:
    """Return the trial that a failure comes from, None where it comes from elsewhere."""
    return vars(failure).get("trial")


def settle_discard(trial: Trial, phase: Phase) -> None:
    """End a trial whose example cannot judge any pass.

    It is misuse in a test, drift where the example is stored, and no example where it is fresh.
    """
    why = trial.result.discarded
    if why is None:
        return
    if phase.fresh:
        phase.discarded[why] = phase.discarded.get(why, 0) + 1
        raise Discard(why)
    if phase.name == "pinned":
        raise InputDrift(
            "input",
            f"expected a stored graph that runs on torch {torch.__version__}; got: {why}",
            pass_name=trial.claim.pass_.name,
            before=trial.example.text,
            cause="input drift: does not run",
        )
    raise FxpectError(f"expected a model that runs on its inputs; got: {why}\n{trial.example!r}")
