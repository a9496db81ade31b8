"""The stored cases of a running test: compared with what the verbs see, and proposed where they differ."""

from __future__ import annotations

import ast
import dataclasses
import unittest
from typing import Any

import torch

from fxpect.cases.claims import Trial
from fxpect.cases.givens import read_value, value_text
from fxpect.cases.phases import FRESH, PINNED, Phase, current
from fxpect.errors import CaptureDrift, CheckFailure, FxpectError, PassDrift
from fxpect.examples import Example
from fxpect.execution import run_pass
from fxpect.fixtures.case import Case
from fxpect.fixtures.compare import MUST, Difference, line_diff
from fxpect.fixtures.fields import join_fields, parse_fields
from fxpect.fixtures.pending import BEFORE_CHANGED, NEW_CASE
from fxpect.fixtures.store import Store
from fxpect.fixtures.stored import Found, Proposal, Settled, StoredTest
from fxpect.report.counts import tally
from fxpect.specs import Dim, TensorSpec, default_sizes
from fxpect.text.diff import in_words
from fxpect.text.printer import graph_text

_ATTRIBUTE = "_fxpect_goldens"


class Goldens:
    """The stored cases of one execution of one test; ``Goldens.of(test)`` is one object all through it."""

    def __init__(self, test: unittest.TestCase):
        self.test = test
        self.why = test.shortDescription() or ""
        self._stored: StoredTest | None
        try:
            self._stored = Store.for_case(test)
        except (TypeError, OSError):  # a class that no file holds, as in an interactive session
            self._stored = None

    @property
    def stored(self) -> StoredTest:
        """What is stored; raises ``FxpectError`` for a test that is in no file."""
        if self._stored is None:
            raise FxpectError(
                f"expected a test class in a file, since the stored file is named after it; got "
                f"{type(self.test).__qualname__}, which no file holds"
            )
        return self._stored

    @property
    def cases(self) -> tuple[Case, ...]:
        """The stored cases that this torch makes, none where there is no file."""
        cases = self._stored.cases if self._stored is not None else ()
        return tuple(case for case in cases if case.applies(torch.__version__))

    @classmethod
    def of(cls, test: unittest.TestCase) -> Goldens:
        """Return the stored cases of a running test; what it leaves unread is a failure when it ends."""
        found = vars(test).get(_ATTRIBUTE)
        if found is None:
            found = cls(test)
            setattr(test, _ATTRIBUTE, found)
            test.addCleanup(_finish, test)
        return found

    def settle_trial(self, trial: Trial, label: str, golden: bool | None) -> None:
        """Compare a trial that holds with what is stored for it; raises what differs.

        A case that nothing is stored for is a failure only with ``golden=True``. Fresh examples are never
        compared, only collected where the phase asks for cases worth storing. A pass that crashed, by a bug that is
        known, gave nothing to compare.
        """
        phase = current()
        if golden is False or trial.result.execution is None:
            return
        if phase.name == FRESH:
            if phase.held is not None:
                phase.held.append(make_case(trial, label, phase))
            return
        if not self.cases and not golden:
            return
        case = self._titled(make_case(trial, label, phase))
        found = self.stored.find(case, torch.__version__)
        if found.case is None and not golden:
            return
        answer = _on_stored(trial, found.case) if found.drifted and found.case is not None else None
        self._settle(case, found, answer, phase, trial.claim.pass_.name)

    def settle_text(self, text: str, label: str) -> None:
        """Compare a text with the one stored under ``label``; raises what differs, also where none is."""
        phase = current()
        case = _text_case(label, text)
        if phase.name == FRESH:
            if phase.held is not None:
                phase.held.append(case)
            return
        self._settle(case, self.stored.find(case, torch.__version__), None, phase)

    def _titled(self, case: Case) -> Case:
        """Return the case under the title that a person gave the stored one with its inputs and options."""
        wanted = set(case.before.split("\n"))
        alike = [one for one in self.cases if (one.specs, one.options) == (case.specs, case.options)]
        if not alike or any(one.title == case.title for one in alike):
            return case
        best = max(alike, key=lambda one: (len(wanted & set(one.before.split("\n"))), one.key))
        return dataclasses.replace(case, title=best.title)

    def holds_text(self, label: str) -> bool:
        """Say whether a text is stored under ``label``."""
        key = _text_case(label, "").key
        return any(case.key == key for case in self.cases)

    def _settle(
        self, case: Case, found: Found, answer: str | CheckFailure | None, phase: Phase, pass_name: str | None = None
    ) -> None:
        if found.case is not None:
            phase.compared.add(found.case.key)
            if phase.name != PINNED:
                tally.add("pinned")
        after = answer if isinstance(answer, str) else None
        settled = self.stored.settle(case, found, after_on_stored=after, torch_version=torch.__version__, why=self.why)
        written = sum(not proposal.problem for proposal in settled.proposals)
        tally.add("proposed", written)
        if settled.failure is not None:
            raise _told(settled, self.stored, case, found, answer, pass_name)

    def propose(self, case: Case) -> Proposal:
        """Propose a new case, for a person to accept."""
        tally.add("proposed")
        return self.stored.propose(
            NEW_CASE,
            case,
            reason="nothing is stored for this case",
            torch_version=torch.__version__,
            why=self.why,
        )

    def finish(self) -> None:
        """Raise when stored cases were never reached: the test checks less than it did."""
        left = self._stored.propose_gone(torch.__version__) if self._stored is not None else ()
        if left:
            tally.add("proposed", len(left))
            names = "\n".join(f"    {case.key}  {case.title}".rstrip() for case in left)
            commands = "\n".join(f"    fxpect accept {case.key}" for case in left)
            raise CheckFailure(
                "fixture",
                f"{self.stored.test}: expected the test to reach every stored case in "
                f"{self.stored.path}; it never made\n{names}\n  to take them out, where they are no longer wanted, "
                f"or with --version-section where this torch alone does not make them:\n{commands}",
                cause="fixture: never reached",
            )


def _finish(test: unittest.TestCase) -> None:
    goldens: Goldens | None = vars(test).pop(_ATTRIBUTE, None)
    if goldens is not None and not _ended_early(test):
        goldens.finish()


def _ended_early(test: unittest.TestCase) -> bool:
    """Say whether the test failed or was skipped, and so need not have reached every stored case."""
    outcome = getattr(test, "_outcome", None)
    result = getattr(outcome, "result", None)
    if getattr(outcome, "expectedFailure", None) or getattr(result, "_excinfo", None):  # the latter is pytest's
        return True
    noted = [getattr(result, name, None) or () for name in ("failures", "errors", "skipped", "expectedFailures")]
    return any(getattr(entry[0], "test_case", entry[0]) is test for entries in noted for entry in entries)


def make_case(trial: Trial, label: str, phase: Phase) -> Case:
    """Return the case of a trial; raises ``FxpectError`` for a graph or an input that no file can hold."""
    example = trial.example.portable()
    before, after = trial.before_text, trial.after_text
    if after.startswith("# no canonical text"):
        raise FxpectError(
            f"expected a graph after {trial.claim.pass_.name} that has a canonical text; got "
            f"{after.splitlines()[0][2:]}\n  fxpect.register_target(function) allows a function of yours"
        )
    return Case.make(
        before,
        inputs=inputs_field(before, example),
        options=options_of(trial, label, phase),
        title=label or phase.given.strip("()"),
        after=after,
    )


def options_of(trial: Trial, label: str, phase: Phase) -> str:
    """Return what tells the cases of a test apart beside graph and inputs, as the file has it."""
    example, order = trial.example.portable(), trial.claim.options.order
    return _options(
        {
            "capture": example.capture,
            "label": label,
            "given": phase.given,
            "order": order if order != "canonical" else "",
            "sizes": _sizes_text(example),
        }
    )


def _text_case(label: str, text: str) -> Case:
    phase = current()
    options = _options({"label": label, "given": phase.given, "of": phase.of})
    return Case.make(options=options, after=text or None, title=label or phase.given.strip("()"))


def inputs_field(text: str, example: Example) -> str:
    """Return the inputs as the file has them: the names of the text, and the specs."""
    names = parameter_names(text)
    return join_fields(zip(names, map(value_text, example.inputs), strict=True))


def parameter_names(text: str) -> list[str]:
    """Return the names of the inputs of a graph text."""
    tree = ast.parse(text)
    forward = next(node for node in tree.body if isinstance(node, ast.FunctionDef))
    arguments = forward.args
    named = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    return [name for name in named if name != "self"]


def example_of(case: Case) -> Example:
    """Return the example that a stored case holds; raises ``FxpectError`` where this torch cannot read it."""
    options = dict(parse_fields(case.options))
    inputs = [read_value(value) for _, value in parse_fields(case.inputs)]
    sizes = read_value(options["sizes"]) if "sizes" in options else _default_sizes(inputs)
    return Example.from_text(case.before, *inputs, capture=options.get("capture", "export"), sizes=sizes)


def given_of(case: Case) -> str:
    """Return the text of what was drawn for a stored case, "" for one that is its own input."""
    return dict(parse_fields(case.options)).get("given", "")


def _options(values: dict[str, str]) -> str:
    pairs = {name: repr(value) if name == "label" else value for name, value in values.items() if value}
    return join_fields(pairs)


def _sizes_text(example: Example) -> str:
    return value_text(dict(sorted(example.sizes.items()))) if example.sizes != _default_sizes(example.inputs) else ""


def _default_sizes(inputs: Any) -> dict[str, int]:
    dims = [
        dim
        for spec in inputs
        for dim in (spec.dims if isinstance(spec, TensorSpec) else (spec,) if isinstance(spec, Dim) else ())
    ]
    return default_sizes(dims)


def _on_stored(trial: Trial, stored: Case) -> str | CheckFailure:
    """Return the graph that the pass makes of the stored graph before, or why there is none."""
    try:
        execution = run_pass(trial.claim.pass_, example_of(stored))
        return graph_text(execution.after, order=trial.claim.options.order)
    except CheckFailure as failure:
        return failure
    except FxpectError as error:
        return CheckFailure("fixture", str(error))


def _told(
    settled: Settled,
    stored: StoredTest,
    case: Case,
    found: Found,
    answer: str | CheckFailure | None,
    pass_name: str | None,
) -> CheckFailure:
    """Return the failure with every answer in words: what the capture gives now, what the pass does now."""
    failure = settled.failure
    assert failure is not None
    where = "stored in" if stored.exists else "to be stored in"
    lines = [f"{stored.test}: {where} {stored.path}"]
    for one in settled.differences:
        lines += [
            f"  {_NAMES.get(one.kind, 'pass drift')} of {one.key}  {case.title}".rstrip(),
            *_difference(one),
        ]
    if found.drifted and not any(one.kind != BEFORE_CHANGED for one in settled.differences):
        lines.append("  on the stored graph before, " + _answer(answer))
    left = [proposal for proposal in settled.proposals if not proposal.accepted]
    commands = dict.fromkeys(line for proposal in left for line in proposal.command.split("\n"))
    lines += ["  next:", *(f"    {line}" for line in commands)] if commands else []
    made = type(failure)(
        failure.oracle,
        "\n".join(lines),
        pass_name=pass_name,
        before=failure.before,
        after=failure.after,
        cause=failure.cause,
    )
    if isinstance(made, CaptureDrift):
        tally.add("capture drift", detail=f"{case.key} {stored.test}")
    elif isinstance(made, PassDrift):
        changed = [one for one in settled.differences if one.kind != MUST and one.expected and one.got]
        words = [in_words(one.expected or "", one.got or "") for one in changed] or [settled.differences[0].reason]
        tally.add("pass drift", detail="; ".join(words))
    return made


_NAMES = {NEW_CASE: "nothing is stored", BEFORE_CHANGED: "capture drift", MUST: "must"}


def _difference(one: Difference) -> list[str]:
    if one.kind == MUST:
        return [f"    {one.reason}"]
    head = f"    {one.reason}"
    if one.expected and one.got:
        head += f": {in_words(one.expected, one.got)}"
    return [head, *(f"      {line}" for line in line_diff(one.expected, one.got).split("\n"))]


def _answer(answer: str | CheckFailure | None) -> str:
    if isinstance(answer, CheckFailure):
        return f"the pass gives no graph: {answer.message}"
    return "the pass gives the stored graph after: only the capture changed"
