"""Two saved runs compared: for each test, and each case of it, what is another way in the second run.

A case has the same pass, options and inputs in both runs. What may differ, and how it is called:

    names only      the canonical texts differ in names alone
    order only      ... or in the order of lines alone
    capture drift   the graph that the pass is given is another, or a text that no pass made
    pass drift      the graph before is the same, the one after is another
    numerics        the graphs after compute something else, by more than rounding
    bug new         something fails, or a known bug of torch shows, that did not in the first run
    bug fixed       the other way around: it does so no more
    only in one     a test or a case that the other run does not have
"""

from __future__ import annotations

import ast
import collections
import contextlib
import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence

from fxpect.errors import FxpectError
from fxpect.fixtures.fields import parse_fields
from fxpect.records import CaseRun, Values
from fxpect.report.verdicts import BAD, SKIPPED, RunReport, Verdict
from fxpect.text import diff
from fxpect.text.edits import edit_of

SAME, NAMES, ORDER = diff.SAME, diff.NAMES, diff.ORDER
CAPTURE, PASS, NUMERICS = "capture drift", "pass drift", "numerics"
NEW_BUG, FIXED_BUG, ONE_SIDE = "bug new", "bug fixed", "only in one"
# The strongest first; a reader who has time for one line of the report reads the first.
KINDS = (NEW_BUG, NUMERICS, PASS, CAPTURE, FIXED_BUG, ONE_SIDE, ORDER, NAMES)
# A failure of these kinds says that a stored text differs, which the texts themselves say better.
_OF_TEXTS = frozenset({"CaptureDrift", "PassDrift", "GoldenMissing"})
# How far two sums may be apart, in parts of the sum of magnitudes: what torch.testing allows for the dtype.
_TOLERANCE = {"float64": 1e-7, "complex128": 1e-7, "float32": 1.3e-6, "complex64": 1.3e-6, "float16": 1e-3,
              "bfloat16": 1.6e-2}
_TINY = 1e-12
_LONGEST = 100


@dataclasses.dataclass(frozen=True)
class Difference:
    """One thing about one test that differs.

    ``cause`` is equal for differences that come of the same change; ``words`` say what it is. ``case`` names the case
    in the test, "" for the test as a whole; ``first`` and ``second`` are the texts that differ, and ``before`` the
    graph that both passes were given, where there are such. ``note`` is what else a reader should know.
    """

    kind: str
    file: str
    test: str
    cause: tuple[str, ...]
    words: str
    case: str = ""
    pass_name: str = ""
    first: str = ""
    second: str = ""
    before: str = ""
    note: str = ""


@dataclasses.dataclass(frozen=True)
class TestDrift:
    """One test of either run with all that differs; ``cases`` is how many cases were compared."""

    file: str
    test: str
    cases: int
    differences: tuple[Difference, ...]

    @property
    def kinds(self) -> list[str]:
        """The kinds of its differences, the strongest first, each once; ``["same"]`` where there is none."""
        found = {one.kind for one in self.differences}
        return [kind for kind in KINDS if kind in found] or [SAME]


@dataclasses.dataclass(frozen=True)
class Drift:
    """Everything that differs from one run to another; ``first`` and ``second`` name the runs."""

    first: str
    second: str
    tests: tuple[TestDrift, ...]

    @property
    def differences(self) -> list[Difference]:
        """All differences, by file and test."""
        return [one for test in self.tests for one in test.differences]

    @property
    def modules(self) -> dict[str, collections.Counter[str]]:
        """How many tests of each file have differences of each kind, "same" included; sorted by file."""
        found: dict[str, collections.Counter[str]] = {}
        for test in self.tests:
            found.setdefault(test.file, collections.Counter()).update(test.kinds)
        return dict(sorted(found.items()))


def compare_runs(first: RunReport, second: RunReport) -> Drift:
    """Return what differs from the first run to the second; raises ``FxpectError`` for a run without graphs."""
    for run in (first, second):
        if not run.graphs:
            raise FxpectError(f"expected runs with graphs; got one of torch {run.versions.get('torch', 'unknown')} "
                              "without\n  fxpect run ... --json FILE --graphs")
    names = _names(first, second)
    bugs = (set(first.tally.details.get("known bug", ())), set(second.tally.details.get("known bug", ())))
    old, new = ({(one.file, one.name): one for one in run.verdicts} for run in (first, second))
    tests = []
    for key in sorted(old.keys() | new.keys()):
        one, other = old.get(key), new.get(key)
        present = one or other
        assert present is not None
        found = tuple(_of_test(one, other, names, bugs))
        cases = len(one.cases) if one else len(present.cases)
        tests.append(TestDrift(present.file, _short(present), cases, found))
    return Drift(*names, tuple(tests))


def _names(first: RunReport, second: RunReport) -> tuple[str, str]:
    """Return what to call the runs: by their torches, numbered where those are the same."""
    one, other = (f"torch {run.versions.get('torch', 'unknown').partition('+')[0]}" for run in (first, second))
    return (one, other) if one != other else (f"{one} (first run)", f"{other} (second run)")


def _short(verdict: Verdict) -> str:
    """Return ``Class.test`` of a test, the whole name where it has no such form."""
    parts = verdict.name.split(".")
    return ".".join(parts[-2:]) if len(parts) > 1 else verdict.name


def _of_test(one: Verdict | None, other: Verdict | None, names: tuple[str, str],
             bugs: tuple[set[str], set[str]]) -> Iterator[Difference]:
    """Yield all that differs of one test; ``bugs`` are the known bugs that showed anywhere in each run."""
    present = one or other
    assert present is not None
    if one is None or other is None or SKIPPED in (one.status, other.status):
        if one and other and one.status == other.status:
            return
        there = one if other is None or other.status == SKIPPED else other
        assert there is not None
        where = names[0] if there is one else names[1]
        yield Difference(ONE_SIDE, present.file, _short(present), (where, "test"), f"the test runs only with {where}")
        return
    make = functools.partial(Difference, file=one.file, test=_short(one))
    for ours, theirs in _pairs(one.cases, other.cases):
        if ours is None or theirs is None:
            case = ours or theirs
            assert case is not None
            where = names[1] if ours is None else names[0]
            yield make(kind=ONE_SIDE, cause=(where, "case"), words=f"the test makes the case only with {where}",
                       case=_title(case), pass_name=case.pass_name,
                       **({"first": case.before} if theirs is None else {"second": case.before}))
        else:
            yield from (dataclasses.replace(found, file=one.file, test=_short(one)) for found in _of_case(ours, theirs))
    yield from (dataclasses.replace(found, file=one.file, test=_short(one)) for found in _of_verdicts(one, other, bugs))


def _pairs(ours: Sequence[CaseRun], theirs: Sequence[CaseRun]) -> Iterator[tuple[CaseRun | None, CaseRun | None]]:
    """Yield the cases that belong together: what is alike in most ways first; the others alone."""
    left, right = list(ours), list(theirs)
    partner: dict[int, int] = {}
    for key in (lambda case: (case.pass_name, case.options, case.inputs, case.before),
                lambda case: (case.pass_name, case.options, case.inputs),
                lambda case: (case.pass_name, case.options)):
        waiting: dict[tuple, collections.deque[int]] = collections.defaultdict(collections.deque)
        taken = set(partner.values())
        for at, case in enumerate(right):
            if at not in taken:
                waiting[key(case)].append(at)
        for at, case in enumerate(left):
            if at not in partner and waiting[key(case)]:
                partner[at] = waiting[key(case)].popleft()
    yield from ((case, right[partner[at]] if at in partner else None) for at, case in enumerate(left))
    taken = set(partner.values())
    yield from ((None, case) for at, case in enumerate(right) if at not in taken)


def _title(case: CaseRun) -> str:
    """Return how a person knows the case: its label, or else its options and inputs."""
    options = dict(parse_fields(case.options))
    if "label" in options:
        return str(ast.literal_eval(options["label"]))
    return "; ".join(part for part in (case.options, case.inputs) if part)


def _of_case(ours: CaseRun, theirs: CaseRun) -> Iterator[Difference]:
    """Yield what differs of one case; the test is filled in by the caller."""
    def make(kind: str, cause: tuple[str, ...], words: str, **more: str) -> Difference:
        return Difference(kind, "", "", cause, words, case=_title(ours), pass_name=ours.pass_name, **more)

    before, after = kind_of(ours.before, theirs.before), kind_of(ours.after, theirs.after)
    if _crashed(ours) or _crashed(theirs):
        after = SAME  # what is there in the place of a graph is told as a bug
    note = ""
    if before == diff.CHANGED:
        if ours.after is not None and theirs.after is not None:
            note = _after_capture(ours, theirs)
        yield make(CAPTURE, edit_of(ours.before, theirs.before), said(ours.before, theirs.before),
                   first=ours.before, second=theirs.before, note=note)
    elif after == diff.CHANGED:
        first, second = (case.after or "# no graph after" for case in (ours, theirs))
        yield make(PASS, (_firing(ours, theirs), *edit_of(first, second)), said(first, second), first=first,
                   second=second, before=ours.before, note=_firing(ours, theirs))
    elif {before, after} != {SAME}:
        kind = ORDER if ORDER in (before, after) else NAMES
        first, second = ((ours.before, theirs.before) if before != SAME else (str(ours.after), str(theirs.after)))
        yield make(kind, edit_of(first, second), said(first, second), first=first, second=second)
    words = different_values(ours.values, theirs.values)
    if words:
        yield make(NUMERICS, (ours.pass_name,), words, first=ours.after or "", second=theirs.after or "",
                   before=ours.before)
    for kind, here, there in ((FIXED_BUG, ours, theirs), (NEW_BUG, theirs, ours)):
        labels = {failure[:2] for failure in there.failures}
        for oracle, cause, line in here.failures:
            if (oracle, cause) not in labels:
                yield make(kind, (ours.pass_name, oracle, cause), f"[{oracle}] {line}", before=here.before,
                           **({"second": here.after or ""} if here is theirs else {"first": here.after or ""}))


def _after_capture(ours: CaseRun, theirs: CaseRun) -> str:
    """Say whether the pass makes the same edit of both captures."""
    assert ours.after is not None and theirs.after is not None
    same = edit_of(ours.before, ours.after) == edit_of(theirs.before, theirs.after)
    return ("the pass makes the same edit of both" if same else
            "what the pass makes of each is another edit too" if _firing(ours, theirs) == "" else _firing(ours, theirs))


def _firing(ours: CaseRun, theirs: CaseRun) -> str:
    """Say that the pass changes the graph in one of the runs alone, "" where it does so in both or none."""
    fires = [case.after is not None and kind_of(case.before, case.after) != SAME for case in (ours, theirs)]
    if None in (ours.after, theirs.after) or fires[0] == fires[1]:
        return ""
    return "the pass no longer changes the graph" if fires[0] else "the pass now changes the graph"


def _crashed(case: CaseRun) -> bool:
    """Whether there is a failure in the place of a graph after."""
    return case.after is None and bool(case.failures)


def _of_verdicts(one: Verdict, other: Verdict, bugs: tuple[set[str], set[str]]) -> Iterator[Difference]:
    """Yield known bugs that show in one run alone, and failures of the test that no case of it tells.

    An explored test meets other examples on another torch: a bug is gone where no test of the run meets it.
    """
    for kind, here, there, elsewhere in ((FIXED_BUG, one, other, bugs[1]), (NEW_BUG, other, one, bugs[0])):
        only = set(here.tally.details.get("known bug", ())) - elsewhere
        yield from (Difference(kind, "", "", ("known bug", bug), f"known bug {bug}") for bug in sorted(only))
        if here.status in BAD and there.status not in BAD:
            told = {failure[0] for case in here.cases for failure in case.failures}
            for problem in here.problems:
                if problem.kind not in _OF_TEXTS and problem.oracle not in told:
                    line = problem.message.strip().partition("\n")[0]
                    yield Difference(kind, "", "", (problem.kind, line), f"{problem.kind}: {line}")
            if not here.problems:
                yield Difference(kind, "", "", (here.status, here.reason), f"{here.status}: {here.reason}")


def kind_of(first: str | None, second: str | None) -> str:
    """Return how two texts differ: "same", "names only", "order only" or "changed"."""
    if first == second:
        return SAME
    with contextlib.suppress(FxpectError):
        if first is not None and second is not None:
            return diff.graph_diff(first, second).kind
    return diff.CHANGED


def said(first: str, second: str) -> str:
    """Return in words how two texts differ."""
    with contextlib.suppress(FxpectError):
        return diff.graph_diff(first, second).summary
    lines = edit_of(first, second)
    gone, new = ([line[1:].strip() for line in lines if line[:1] == sign] for sign in "-+")
    if gone and new:
        more = max(len(gone), len(new)) - 1
        return f"{_cut(gone[0])} became {_cut(new[0])}" + (f"; {more} more" if more else "")
    if gone or new:
        return f"{len(gone) or 'no'} lines gone, {len(new) or 'no'} new: {_cut((gone or new)[0])}"
    return _cut(lines[0])


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST - 3]}..."


def different_values(ours: Iterable[Values], theirs: Iterable[Values]) -> str:
    """Return in words which values differ by more than rounding, "" where none does or one side has none."""
    ours, theirs = tuple(ours), tuple(theirs)
    if not ours or not theirs:
        return ""
    found = []
    if len(ours) != len(theirs):
        found.append(f"{len(ours)} values became {len(theirs)}")
    for old, new in zip(ours, theirs):
        if old.name != new.name:
            break
        if old.form != new.form:
            found.append(f"{old.name}: {old.form} became {new.form}")
        elif (old.nans, old.infinite) != (new.nans, new.infinite):
            found.append(f"{old.name}: {old.nans} NaN and {old.infinite} infinite elements became "
                         f"{new.nans} and {new.infinite}")
        else:
            scale = max(old.scale, new.scale)
            if abs(old.total - new.total) > _TOLERANCE.get(old.form.partition(" ")[0], 0.0) * scale + _TINY:
                found.append(f"{old.name}: the weighted sum {old.total:.6g} became {new.total:.6g}")
    return "; ".join(found)

