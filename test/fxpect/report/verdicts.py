"""One verdict a test, and the record of a whole run that survives JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

from fxpect.report.counts import Tally

PASSED, FAILED, ERROR, SKIPPED = "passed", "failed", "error", "skipped"
# unittest's expected failure and unexpected success: a known bug, and one that is gone.
KNOWN, FIXED = "known", "fixed"
STATUSES = (PASSED, FAILED, ERROR, SKIPPED, KNOWN, FIXED)
BAD = frozenset({FAILED, ERROR, FIXED})


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
    """What one test came to; ``output`` is what it printed, kept where it is bad."""

    name: str
    status: str
    seconds: float = 0.0
    file: str = ""
    reason: str = ""
    problems: tuple[Problem, ...] = ()
    output: str = ""
    tally: Tally = dataclasses.field(default_factory=Tally, compare=False)

    @property
    def bad(self) -> bool:
        """Whether this verdict makes the run fail."""
        return self.status in BAD

    def to_dict(self) -> dict:
        """Return plain data for JSON."""
        data = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        data["problems"] = [dataclasses.asdict(problem) for problem in self.problems]
        data["tally"] = self.tally.to_dict()
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Verdict:
        """Read back what ``to_dict`` returned."""
        return cls(**{**data, "problems": tuple(Problem(**problem) for problem in data["problems"]),
                      "tally": Tally.from_dict(data["tally"])})


@dataclasses.dataclass(frozen=True)
class RunReport:
    """A whole run: the versions it ran on, every verdict in the order of its name, and its seconds."""

    versions: Mapping[str, str]
    verdicts: tuple[Verdict, ...]
    seconds: float = 0.0
    interrupted: bool = False

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
        """Return the report as JSON, with the totals that a script wants at the top."""
        counts = {status: len(self.by_status(status)) for status in STATUSES}
        return json.dumps({"versions": dict(self.versions), "seconds": round(self.seconds, 3),
                           "interrupted": self.interrupted, "tests": counts, "tally": self.tally.to_dict(),
                           "skips": self.skips(), "verdicts": [one.to_dict() for one in self.verdicts]},
                          indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> RunReport:
        """Read back what ``to_json`` returned."""
        data = json.loads(text)
        return cls(versions=data["versions"], seconds=data["seconds"], interrupted=data["interrupted"],
                   verdicts=tuple(Verdict.from_dict(one) for one in data["verdicts"]))
