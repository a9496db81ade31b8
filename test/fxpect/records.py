"""Plain records of what ran, made to be written as JSON and read by another program."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class PassRun:
    """One pass run once: canonical texts before and after, and where they were saved.

    ``claimed`` is the pass's own answer to "did you change it?" (None where it gives none);
    ``paths`` maps "before", "after", "diff" to files that exist when the record is returned.
    """

    pass_name: str
    kind: str
    before: str
    after: str
    changed: bool
    claimed: bool | None
    seconds: float
    directory: str | None = None
    paths: dict[str, str] = dataclasses.field(default_factory=dict)

    def to_json(self) -> str:
        """Return the record as one line of JSON with sorted keys."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> PassRun:
        """Read a record back; raises ``TypeError`` for a field that is not one."""
        return cls(**json.loads(text))


@dataclasses.dataclass(frozen=True)
class Values:
    """One tensor in few numbers, by which two runs are compared where they hold no tensors.

    ``name`` says which ("output 0"), ``form`` is its dtype and shape; ``nans`` and ``infinite`` count elements;
    ``total`` is the sum of the others by weights that go with their places, ``scale`` that of their magnitudes.
    """

    name: str
    form: str
    nans: int = 0
    infinite: int = 0
    total: float = 0.0
    scale: float = 0.0


@dataclasses.dataclass(frozen=True)
class CaseRun:
    """One case of a test as one run saw it: what a pass was given, what it made of it, and what did not hold.

    ``pass_name`` is "" where no pass ran; then ``before`` is the graph or text that the test compares and ``after``
    is None, as it is for a pass that crashed. ``options`` (a line of ``name=value``) and ``inputs`` (a line of specs)
    tell the cases of a test apart. ``failures`` holds (oracle, cause, first line of the message), ``known`` the ids
    of the known bugs of torch that showed, ``values`` what the graph after computes, where the pass changed it.
    """

    pass_name: str
    options: str
    inputs: str
    before: str
    after: str | None = None
    failures: tuple[tuple[str, str, str], ...] = ()
    known: tuple[str, ...] = ()
    values: tuple[Values, ...] = ()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CaseRun:
        """Read back what ``dataclasses.asdict`` and JSON made of a record; raises ``TypeError`` for another."""
        return cls(**{**data, "failures": tuple((oracle, cause, line) for oracle, cause, line in data["failures"]),
                      "known": tuple(data["known"]), "values": tuple(Values(**one) for one in data["values"])})
