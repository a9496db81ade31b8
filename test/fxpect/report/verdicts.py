"""One verdict a test, and the record of a whole run that survives JSON.

The file that ``fxpect run --json`` writes is one object:

    format      1; another number is another format, and is refused
    graphs      whether the run kept the cases of its tests (``--graphs``), which ``fxpect compare`` needs
    versions    {"python": ..., "torch": ..., ...}
    seconds, interrupted
    tests       {status: how many}; the statuses are those of ``STATUSES``
    tally       the sum of what the tests counted; ``fxpect.report.counts`` names the kinds
    skips       {reason: how many}
    verdicts    one a test, sorted by name: the fields of ``Verdict``, with
        problems    the fields of ``Problem``
        tally       what this test counted; the ids of known bugs that showed are details of "known bug"
        cases       the fields of ``fxpect.records.CaseRun``: the graph before the pass, the graph after,
                    what did not hold, which known bugs showed, and what the graph after computes in few numbers
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

from fxpect.errors import FxpectError
from fxpect.records import CaseRun
from fxpect.report.counts import Tally

PASSED, FAILED, ERROR, SKIPPED = "passed", "failed", "error", "skipped"
# unittest's expected failure and unexpected success: a known bug, and one that is gone.
KNOWN, FIXED = "known", "fixed"
STATUSES = (PASSED, FAILED, ERROR, SKIPPED, KNOWN, FIXED)
BAD = frozenset({FAILED, ERROR, FIXED})
FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that went wrong in a test; a test with subtests may have several.

    ``kind`` is the exception's class name; ``oracle``, ``pass_name`` and ``node`` are those of a
    ``CheckFailure``; ``text`` is the traceback.
    """

    kind: str
    message: str
    text: str
    oracle: str | None = None
    pass_name: str | None = None
    node: str | None = None
    label: str = ""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What one test came to; ``output`` is what it printed, kept where it is bad, ``cases`` what it saw of graphs."""

    name: str
    status: str
    seconds: float = 0.0
    file: str = ""
    reason: str = ""
    problems: tuple[Problem, ...] = ()
    output: str = ""
    tally: Tally = dataclasses.field(default_factory=Tally, compare=False)
    cases: tuple[CaseRun, ...] = ()

    @property
    def bad(self) -> bool:
        """Whether this verdict makes the run fail."""
        return self.status in BAD

    def to_dict(self) -> dict:
        """Return plain data for JSON."""
        data = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        data["problems"] = [dataclasses.asdict(problem) for problem in self.problems]
        data["tally"] = self.tally.to_dict()
        data["cases"] = [dataclasses.asdict(case) for case in self.cases]
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Verdict:
        """Read back what ``to_dict`` returned."""
        return cls(**{**data, "problems": tuple(Problem(**problem) for problem in data["problems"]),
                      "tally": Tally.from_dict(data["tally"]),
                      "cases": tuple(CaseRun.from_dict(case) for case in data["cases"])})


@dataclasses.dataclass(frozen=True)
class RunReport:
    """A whole run: the versions it ran on, every verdict in the order of its name, and its seconds.

    ``graphs`` says that the cases of its tests were kept.
    """

    versions: Mapping[str, str]
    verdicts: tuple[Verdict, ...]
    seconds: float = 0.0
    interrupted: bool = False
    graphs: bool = False

    @classmethod
    def of(cls, verdicts: Iterable[Verdict], **fields: Any) -> RunReport:
        """Return the report of ``verdicts``, sorted, so that it says nothing of who ran what when."""
        ordered = sorted(verdicts, key=lambda verdict: (verdict.name, verdict.status))
        return cls(verdicts=tuple(ordered), **fields)

    def by_status(self, *statuses: str) -> list[Verdict]:
        """Return the verdicts of the given statuses, in order."""
        return [verdict for verdict in self.verdicts if verdict.status in statuses]

    @property
    def bad(self) -> list[Verdict]:
        """The verdicts that make the run fail."""
        return [verdict for verdict in self.verdicts if verdict.bad]

    @property
    def ran(self) -> int:
        """How many tests ran; a skipped one did not."""
        return sum(verdict.status != SKIPPED for verdict in self.verdicts)

    @property
    def tally(self) -> Tally:
        """The sum over all tests."""
        return Tally.total(verdict.tally for verdict in self.verdicts)

    def skips(self) -> dict[str, int]:
        """Return how many tests each reason skipped, most first."""
        reasons: dict[str, int] = {}
        for verdict in self.by_status(SKIPPED):
            reasons[verdict.reason] = reasons.get(verdict.reason, 0) + 1
        return dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))

    def to_json(self) -> str:
        """Return the report as JSON, with the totals that a script wants; the module says what is where."""
        counts = {status: len(self.by_status(status)) for status in STATUSES}
        return json.dumps({"format": FORMAT, "graphs": self.graphs,
                           "versions": dict(self.versions), "seconds": round(self.seconds, 3),
                           "interrupted": self.interrupted, "tests": counts, "tally": self.tally.to_dict(),
                           "skips": self.skips(), "verdicts": [one.to_dict() for one in self.verdicts]},
                          indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> RunReport:
        """Read back what ``to_json`` returned; raises ``FxpectError`` for anything else."""
        try:
            data = json.loads(text)
            given = data["format"]
        except (ValueError, TypeError, KeyError):
            raise FxpectError("expected a run that fxpect run --json FILE wrote; got something else") from None
        if given != FORMAT:
            raise FxpectError(f"expected a run of format {FORMAT}; got format {given!r}, of another version of fxpect")
        try:
            return cls(versions=data["versions"], seconds=data["seconds"], interrupted=data["interrupted"],
                       graphs=data["graphs"], verdicts=tuple(Verdict.from_dict(one) for one in data["verdicts"]))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise FxpectError(f"expected a whole run; got a damaged one: {type(error).__name__}: {error}") from None
