"""A finding: one way in which a pass breaks what must hold, made small, with all that a report needs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

from fxpect.contracts import Contract
from fxpect.errors import CheckFailure
from fxpect.examples import Example
from fxpect.specs.writing import spec_call
from fxpect.text.diff import in_words
from fxpect.text.naming import source_word

_REMOVED = re.compile(r"(.*) (removed, .* read instead)")
_INPUT = re.compile(r"\b[lL]_\w*_\b")  # as Dynamo calls it


@dataclasses.dataclass(frozen=True)
class Parcel:
    """An example as plain data, which crosses a process; ``example()`` makes it live again."""

    text: str
    inputs: tuple[Any, ...]
    capture: str
    sizes: dict[str, int]
    edits: tuple[str, ...]
    triggers: tuple[str, ...]
    outside: bool
    contract: Contract | None

    @classmethod
    def of(cls, example: Example) -> Parcel:
        """Return the parcel of an example, its real tensors described by specs."""
        plain = example.portable()
        return cls(plain.text, plain.inputs, plain.capture, dict(plain.sizes), plain.edits, plain.triggers,
                   plain.outside, plain.contract)

    def example(self) -> Example:
        """Return the example that the text describes."""
        return Example.from_text(self.text, *self.inputs, capture=self.capture, sizes=self.sizes, edits=self.edits,
                                 triggers=self.triggers, outside=self.outside, contract=self.contract)

    def realize(self, **options: Any) -> list[Any]:
        """Return fresh arguments, as ``Example.realize`` does."""
        return self.example().realize(**options)


@dataclasses.dataclass(frozen=True, eq=False)
class Finding:
    """One distinct failure of a pass.

    ``before`` and ``after`` are canonical graph texts (``after`` is empty when the pass raised), ``inputs`` the
    input specs as text, ``cause`` the label under which equal findings were counted as one, ``script`` a stand-alone
    program that exits 1 while the failure is there, ``edits`` how many steps lie between the innocent example and
    this one, ``steps`` what they were, ``taken_out`` what was then taken out of the graph to make it small. ``seen``
    is how many explored examples had this cause, ``nth`` which was the first of them, counted from 1. ``also`` are
    the labels of other failures of the same cause. ``outside`` says that the steps left what the stage of the pass
    promises.
    """

    oracle: str
    pass_name: str
    before: str
    after: str
    inputs: str
    message: str
    cause: str
    script: str
    edits: int
    steps: tuple[str, ...]
    example: Example | Parcel
    failure: CheckFailure
    seed: int = 0
    seen: int = 1
    nth: int = 0
    outside: bool = False
    also: tuple[str, ...] = ()
    taken_out: tuple[str, ...] = ()

    @property
    def mark(self) -> tuple[Any, ...]:
        """What tells two findings of one search apart, whatever else is counted as one more of them."""
        return self.cause, self.failure.views, self.before

    def example_inputs(self) -> list[Any]:
        """Return fresh real arguments, one per placeholder of ``before``."""
        return self.example.realize(seed=self.seed)

    def crossing(self) -> Finding:
        """Return the finding without what cannot cross a process: live graphs and the exception's cause."""
        failure = type(self.failure)(self.oracle, self.message, pass_name=self.pass_name, node=self.failure.node,
                                     cause=self.failure.cause)
        failure.views = self.failure.views
        parcel = self.example if isinstance(self.example, Parcel) else Parcel.of(self.example)
        return dataclasses.replace(self, failure=failure, example=parcel)

    def to_json(self) -> dict[str, Any]:
        """Return the finding as plain data, without the live example."""
        kept = ("oracle", "pass_name", "before", "after", "inputs", "message", "cause", "script", "edits", "steps",
                "seed", "seen", "nth", "outside", "also", "taken_out")
        return {**{name: getattr(self, name) for name in kept}, "capture": self.example.capture}

    def pin(self) -> str:
        """Return the line that stores this case in a test class, where TEXT is ``before``."""
        specs = ", ".join(spec_call(value) for value in self.example.inputs)
        name = self.pass_name.rpartition(".")[2]
        return f"self.assertPreserves({name}, TEXT, {specs}, capture={self.example.capture!r})"

    def told_steps(self) -> str:
        """Return the steps on one line, inputs under the names that the text has; empty for the innocent model."""
        return _INPUT.sub(lambda found: source_word(found[0]), "; ".join(self.steps))

    def __str__(self) -> str:
        steps = self.told_steps() or "none, it is the innocent model itself"
        # The others say which output, input or call they are about.
        node = f" node {self.failure.node}" if self.oracle == "metadata" and self.failure.node else ""
        message = self.message.replace("\n", "\n  ")
        if self.outside:
            steps += f" (outside of what {self.example.capture} graphs are: no graph that torch makes shows it)"
        lines = [f"[{self.oracle}] pass {self.pass_name}{node}: {message}", f"  steps from the innocent model: {steps}",
                 *([f"  then made smaller: {'; '.join(_grouped(self.taken_out))}"] if self.taken_out else []),
                 *([f"  also seen as: {', '.join(self.also)}"] if self.also else []),
                 f"  inputs: {self.inputs}"]
        if self.after:
            lines.append(f"  the pass: {in_words(self.before, self.after)}")
        lines += ["  before:", _indented(self.before)]
        if self.after:
            head, body = _signature(self.after)
            same = head == _signature(self.before)[0]
            lines += ["  after, of the same inputs:", _indented(body)] if same else ["  after:", _indented(self.after)]
        return "\n".join(lines)


def _grouped(taken_out: Iterable[str]) -> list[str]:
    """Return what was taken out, at once where one value is read instead: "a, b removed, x read instead"."""
    groups: dict[str, list[str]] = {}
    for what in taken_out:
        removed = _REMOVED.fullmatch(what)
        groups.setdefault(removed[2] if removed else what, []).extend([removed[1]] if removed else [])
    return [f"{', '.join(names)} {what}" if names else what for what, names in groups.items()]


def _signature(text: str) -> tuple[str, str]:
    """Return the lines of a graph text up to the end of its signature, and the rest."""
    lines = text.rstrip().splitlines()
    end = next((i for i, line in enumerate(lines, 1) if line.startswith("def ") and line.endswith(":") or line == "):"),
               0)
    return "\n".join(lines[:end]), "\n".join(lines[end:])


def _indented(text: str) -> str:
    return "\n".join("    " + line for line in text.rstrip().splitlines())
