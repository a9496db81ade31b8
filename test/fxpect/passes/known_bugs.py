"""The known bugs of torch's own passes: a strict table, what each entry explains, and whether it is still there.

``fxpect.fixtures.bugs`` holds its form; here each entry means something too, to the oracles and the specs.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import functools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from fxpect.errors import CheckFailure, FixtureError, FxpectError, SpecError
from fxpect.examples import Example
from fxpect.fixtures.bugs import LISTS, TABLE, TEXTS, entries
from fxpect.fixtures.paths import find_root
from fxpect.oracles.causes import unqualified
from fxpect.oracles.judge import ALWAYS, ON_REQUEST, ORACLES, Result, judge
from fxpect.passes.catalogue import CataloguedPass, applies, find
from fxpect.passes.firing import pass_of
from fxpect.report.counts import tally
from fxpect.specs import parse_spec

THERE, FIXED, CHANGED, ELSEWHERE = "there", "fixed", "changed", "elsewhere"


@dataclasses.dataclass(frozen=True)
class KnownBug:
    """One flaw of a pass, with the smallest example that shows it.

    ``pass_name`` is of the catalogue, ``also`` names other passes of it that run the same code. ``when`` is
    the condition in words. ``oracle`` and ``cause`` say what fails: a regular expression that the label of the
    failure starts with, in which the function of a crash may stand without its class. ``shows`` are regular
    expressions that an example must hold, each, in its text or its line of inputs, before this bug explains what it
    fails with; ``views``, where it is given, are the operators of which a copy must have become a view for it to
    fail. ``torch`` is a version condition, ``before`` the graph, ``inputs`` its specs, ``sizes`` the value of each
    named dim, ``steps`` what leads from an innocent model to it, ``link`` where it is discussed.
    """

    id: str
    pass_name: str
    when: str
    oracle: str
    cause: str
    torch: str
    capture: str
    before: str
    inputs: tuple[str, ...]
    also: tuple[str, ...] = ()
    shows: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    sizes: tuple[tuple[str, int], ...] = ()
    link: str = ""

    @property
    def applies(self) -> bool:
        """Whether the bug is expected in the installed torch."""
        return applies(self.torch)

    @property
    def entry(self) -> CataloguedPass:
        """The pass in the catalogue; raises ``FxpectError`` when this torch has no such pass."""
        return find(self.pass_name)

    def example(self) -> Example:
        """Return the example that shows the bug."""
        return Example.from_text(self.before, *map(read_input, self.inputs), capture=self.capture,
                                 sizes=dict(self.sizes), edits=self.steps)

    def matches(self, failure: CheckFailure) -> bool:
        """Whether a failure has a label of this kind, and comes of the views that are named."""
        if self.views and set(self.views).isdisjoint(failure.views):
            return False
        label = str(failure.cause)
        return any(re.match(self.cause, text) for text in (label, unqualified(label)))

    def explains(self, pass_name: str, failure: CheckFailure, text: str, inputs: str) -> bool:
        """Whether this bug is why an example of that text and those inputs failed."""
        return (pass_name in (self.pass_name, *self.also) and self.applies and self.matches(failure)
                and all(re.search(shown, text) or re.search(shown, inputs) for shown in self.shows))

    def __str__(self) -> str:
        return f"{self.id} ({self.pass_name}): {self.when}"


@dataclasses.dataclass(frozen=True)
class Confirmation:
    """Whether a bug is there: ``status``, in words, and the failure that shows it.

    ``status`` is "there", "fixed" (the example holds), "changed" (something else fails, or the example
    does not run) or "elsewhere" (the table does not expect it in this torch, and it was not looked for).
    """

    bug: KnownBug
    status: str
    message: str
    failure: CheckFailure | None = None


def table_path(given: str | Path | None = None) -> Path:
    """Return the path of the table, in ``given`` or in the fixtures folder that commands work on."""
    return find_root(given) / TABLE


@functools.cache
def load(path: str | Path | None = None) -> tuple[KnownBug, ...]:
    """Return the bugs of the table, in its order; raises ``FixtureError`` for a table that is not strict."""
    path = Path(path) if path is not None else table_path()
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise FixtureError(f"expected a table of known bugs; got {error}", path) from error
    except FixtureError as error:
        raise FixtureError(str(error), path) from error


def parse(text: str) -> tuple[KnownBug, ...]:
    """Return the bugs that the text of a table holds; raises ``FixtureError`` for one that is not strict."""
    return tuple(map(_bug, entries(text)))


def confirm(bug: KnownBug, *, whatever_torch: bool = False) -> Confirmation:
    """Judge the bug's example and return whether it fails as the table says.

    A bug that is not expected in the installed torch is looked for only with ``whatever_torch``.
    """
    if not bug.applies and not whatever_torch:
        return Confirmation(bug, ELSEWHERE, f"expected with torch {bug.torch}; this is {torch.__version__}")
    try:
        result = reproduce(bug)
    except FxpectError as error:
        return Confirmation(bug, CHANGED, f"its example cannot be judged: {error}")
    if result.discarded is not None:
        return Confirmation(bug, CHANGED, f"its example does not run: {result.discarded}")
    failure = next((each for each in result.failures if each.oracle == bug.oracle and bug.matches(each)), None)
    if failure is not None:
        return Confirmation(bug, THERE, failure.message, failure)
    if result.failures:
        labels = ", ".join(f"{failure.oracle} {failure.cause!r}" for failure in result.failures)
        return Confirmation(bug, CHANGED, f"expected {bug.oracle} {bug.cause!r}; got {labels}", result.failures[0])
    what = "what the pass makes of its example holds" if result.changed else "the pass leaves its example alone"
    return Confirmation(bug, FIXED, what)


def reproduce(bug: KnownBug) -> Result:
    """Run the pass on the bug's example and ask the oracles; raises ``FxpectError`` without pass or example."""
    oracles = (*ALWAYS, bug.oracle) if bug.oracle in ON_REQUEST else None
    return judge(pass_of(bug.entry), bug.example(), oracles=oracles, severity=bug.entry.severity)


def explanation(bugs: Iterable[KnownBug], pass_name: str, failure: CheckFailure, text: str,
                inputs: str, steps: Sequence[str] = ()) -> KnownBug | None:
    """Return a bug that explains why an example failed; None for news.

    Of several the one whose own steps are most like those that led to the example, else the first of the table.
    """
    fitting = [bug for bug in bugs if bug.explains(pass_name, failure, text, inputs)]
    return max(fitting, key=lambda bug: _likeness(bug.steps, steps)) if fitting else None


def _likeness(ours: Sequence[str], theirs: Sequence[str]) -> float:
    """Return how alike two ways from an innocent model are, from 0 to 1."""
    return difflib.SequenceMatcher(None, "; ".join(ours), "; ".join(theirs), autojunk=False).ratio() if theirs else 0.0


def unexplained(bugs: Iterable[KnownBug], pass_name: str, failures: Iterable[CheckFailure], text: str,
                inputs: str) -> list[CheckFailure]:
    """Return the failures of one example that are news; each of the others is tallied as a known bug."""
    bugs, news = tuple(bugs), []
    for failure in failures:
        known = explanation(bugs, pass_name, failure, text, inputs)
        if known is None:
            news.append(failure)
        else:
            tally.add("known bug", detail=known.id)
    return news


def read_input(text: str) -> Any:
    """Return the input that one text of the table stands for: a spec, or a Python literal."""
    try:
        return parse_spec(text)
    except SpecError:
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError):
            raise FixtureError(f"expected a spec or a literal; got {text!r}") from None


def as_toml(bug: KnownBug) -> str:
    """Return a bug as an entry of the table."""
    lines = ["[[bug]]", f"id = {_string(bug.id)}", f"pass = {_string(bug.pass_name)}"]
    if bug.also:
        lines.append(f"also = {_strings(bug.also)}")
    lines += [f"{name} = {_string(getattr(bug, name))}" for name in ("when", "oracle", "cause")]
    if bug.shows:
        lines.append(f"shows = {_strings(bug.shows)}")
    if bug.views:
        lines.append(f"views = {_strings(bug.views)}")
    lines += [f"torch = {_string(bug.torch)}", f"capture = {_string(bug.capture)}", f"inputs = {_strings(bug.inputs)}"]
    if bug.sizes:
        lines.append("sizes = { " + ", ".join(f"{name} = {size}" for name, size in bug.sizes) + " }")
    if bug.steps:
        lines.append(f"steps = {_strings(bug.steps)}")
    if bug.link:
        lines.append(f"link = {_string(bug.link)}")
    return "\n".join([*lines, "before = '''", bug.before.strip("\n"), "'''", ""])


def _bug(fields: dict[str, Any]) -> KnownBug:
    """Return the bug of one entry, its oracle and its inputs being some that there are."""
    if fields["oracle"] not in ORACLES and fields["oracle"] != "crash":
        raise FixtureError(f"bug {fields['id']}: expected an oracle; got {fields['oracle']!r}")
    try:
        for text in fields["inputs"]:
            read_input(text)
    except FixtureError as error:
        raise FixtureError(f"bug {fields['id']}: expected inputs; got {error}") from error
    texts = {name: fields[name] for name in TEXTS if name != "pass"}
    lists: dict[str, Any] = {name: tuple(fields.get(name, ())) for name in LISTS}
    return KnownBug(pass_name=fields["pass"], sizes=tuple(fields.get("sizes", {}).items()),
                    link=fields.get("link", ""), **texts, **lists)


def _string(text: str) -> str:
    """Return a TOML string, taken literally where it can be."""
    if "'" not in text and "\n" not in text:
        return f"'{text}'" if "\\" in text or '"' in text else f'"{text}"'
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _strings(texts: Iterable[str]) -> str:
    return "[" + ", ".join(map(_string, texts)) + "]"
