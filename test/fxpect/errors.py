"""Every exception of fxpect: misuse is a ``FxpectError``, a check that does not hold is a ``CheckFailure``."""

from __future__ import annotations

import re


class FxpectError(Exception):
    """The caller asked for something that cannot be done; the message says what would work."""


class SpecError(FxpectError):
    """An input specification that no tensor can meet."""


class CaptureError(FxpectError):
    """A model that the chosen capture cannot turn into a graph."""


class PassFormError(FxpectError):
    """A pass whose calling convention cannot be told; ``fxpect.as_pass(fn, kind=...)`` says it."""


class GraphTextError(FxpectError):
    """A graph text that cannot be read, with the 1-based ``line`` where reading stopped."""

    def __init__(self, message: str, line: int | None = None):
        super().__init__(message if line is None else f"line {line}: {message}")
        self.line = line


class UnknownTargetError(GraphTextError):
    """A graph text names a callable that is not an operator and was not registered."""


class FixtureError(FxpectError):
    """A stored file that cannot be trusted, with ``path`` and 1-based ``line``."""

    def __init__(self, message: str, path: object = None, line: int | None = None):
        where = "" if path is None else f"{path}:{line}: " if line is not None else f"{path}: "
        super().__init__(where + message)
        self.path, self.line = path, line


class OutdatedError(FixtureError):
    """The stored text changed between the run that proposed and the accept."""


class RefusedError(FxpectError):
    """A command that may not run here, such as ``accept`` in CI."""


# Addresses, and the number of a code that torch generated: two runs print the same.
_OF_THIS_PROCESS = re.compile(r" at 0x[0-9a-f]+\b|(?<=<eval_with_key>)\.\d+")


class CheckFailure(AssertionError):
    """Something that must hold does not: which oracle, for which pass, at which node.

    ``before`` and ``after`` are canonical graph texts; ``cause`` is a short stable label under which
    equal findings are counted once; ``script`` is a stand-alone program that exits 1 while it fails.
    ``severity`` is "error", or "note" for a matter of hygiene. ``views`` names the operators whose results, copies
    before the pass, are views after it, where that is why it fails.
    """

    severity: str = "error"
    views: tuple[str, ...] = ()

    def __init__(self, oracle: str, message: str, *, pass_name: str | None = None, node: str | None = None,
                 before: str | None = None, after: str | None = None, script: str | None = None,
                 cause: str | None = None):
        message = _OF_THIS_PROCESS.sub("", message)
        where = "".join(f" {word}" for word in (pass_name and f"pass {pass_name}", node and f"node {node}") if word)
        super().__init__(f"[{oracle}]{where}: {message}")
        self.oracle, self.message, self.pass_name, self.node = oracle, message, pass_name, node
        self.before, self.after, self.script, self.cause = before, after, script, cause

    def __reduce__(self):
        # Exceptions pickle by their printed arguments, of which this one has fewer than it takes.
        return _rebuilt, (type(self), self.oracle, self.message, dict(self.__dict__))


def _rebuilt(kind: type[CheckFailure], oracle: str, message: str, fields: dict) -> CheckFailure:
    failure = kind(oracle, message, pass_name=fields.get("pass_name"), node=fields.get("node"))
    failure.__dict__.update(fields)
    return failure


class PassCrash(CheckFailure):
    """The pass itself raised on a graph that runs."""


class GraphCrash(CheckFailure):
    """The graph that the pass made does not run, though the graph before does."""


class InputDrift(CheckFailure):
    """The capture no longer holds what the test says the pass is given."""


class NoRewrite(CheckFailure):
    """The pass was expected to change the graph and did not."""


class UnexpectedRewrite(CheckFailure):
    """The pass was expected to leave the graph alone and changed it."""


class CaptureDrift(CheckFailure):
    """The model no longer captures to the stored graph."""


class PassDrift(CheckFailure):
    """The pass no longer turns the stored graph into the stored result."""


class GoldenMissing(CheckFailure):
    """No expected text is stored for this case yet; one was proposed."""
