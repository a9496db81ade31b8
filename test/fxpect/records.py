"""Plain records of what ran, made to be written as JSON and read by another program."""

from __future__ import annotations

import dataclasses
import json


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
