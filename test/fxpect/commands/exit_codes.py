"""The exit codes of every command of ``fxpect``; the README has the same table."""

OK = 0
FAILURES = 1
USAGE = 2
REFUSED = 3
PENDING = 4
NOTHING_RAN = 5
CORRUPT = 6
OUTDATED = 7
INTERRUPTED = 130
