"""The exit codes of every command of ``fxpect``; the README has the same table."""

from __future__ import annotations

OK = 0
FAILURES = 1
USAGE = 2
REFUSED = 3
PENDING = 4
NOTHING_RAN = 5
CORRUPT = 6
OUTDATED = 7
STOPPED = 8
INTERRUPTED = 130

TABLE: tuple[tuple[int, str], ...] = (
    (OK, "all is well"),
    (FAILURES, "a check does not hold, a proposal was refused by one, or two runs differ (compare)"),
    (USAGE, "misuse, or nothing matched what was asked for"),
    (REFUSED, "refused in CI, where nobody reviews"),
    (PENDING, "proposals or stale files are left (verify)"),
    (NOTHING_RAN, "no test ran"),
    (CORRUPT, "a stored file cannot be trusted"),
    (OUTDATED, "a proposal is outdated: the stored case changed since"),
    (STOPPED, "a check was stopped before its end, and told what it met until then"),
    (INTERRUPTED, "interrupted from the keyboard"),
)


def markdown() -> str:
    """Return the table as the README has it."""
    rows = [f"| {code} | {text} |" for code, text in TABLE]
    return "\n".join(["| code | meaning |", "| --- | --- |", *rows])
