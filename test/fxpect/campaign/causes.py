"""Causes: which failures are one finding, told by what failed and by the kind of step that led there."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

from fxpect.campaign.rewriting import of_any_dims
from fxpect.errors import CheckFailure
from fxpect.examples import Example
from fxpect.oracles.metadata import STALE
from fxpect.oracles.sharing import SYMPTOMS

# What an example breaks, the root first: a wrong value explains the wrong metadata of the same example.
_FAMILIES = (("crash",), ("structure",), ("numerics", "effects"), ("gradients",), ("generality",), ("serialization",),
             ("stability",), ("metadata",), ("honesty",))
# Explained by where the pass stands, whichever step shows it.
_WITHOUT_STEPS = ("crash:", "numerics:stride", "metadata:", "structure:", "honesty:",
                  "effects:output-aliases-", "effects:outputs-alias", "effects:inputs-alias", "effects:rng:",
                  "effects:output-identity", "effects:leaf")
_ALIASES = frozenset({"effects:output-aliases-input", "effects:outputs-alias", "effects:output-no-longer-aliases-input",
                      "effects:outputs-no-longer-alias", "effects:output-aliases-state", "effects:inputs-alias"})
_TRACKED = ("gradients:", "effects:requires-grad", "effects:leaf")
# Steps that try one thing in several ways: what they lead to is told once.
_SAME = tuple((re.compile(pattern), what) for pattern, what in (
    (r"\S+ operands (swapped|reversed|rotated)|\S+ pieces permuted", "pieces in another order"),
    (r"(\S+) (?:repeated operand|operands one (?:doubled|repeated))", r"\1 of one operand twice"),
    (r"\S+ read elsewhere", "a parameter read elsewhere"),
    (r"two patterns of another constant .*", "two patterns of another constant"),
    (r"(.*) written to by a view", r"\1 written to"),
    (r"(\w+?)[123]d with a hook", r"\1 with a hook"),
    (r"(.*) returned (?:first|too)", r"\1 returned too"),
))
# So do these where, all told, the pass did the same to the graph: what they were done to says nothing of its own.
_SAME_REWRITE = tuple((re.compile(pattern), re.compile(label), what) for pattern, label, what in (
    (r"one input \S+|\S+ operand of dtype \w+|(?:cast )?to \S+ after .*|\w+ torch\.\w+|\S+ -> \S+",
     r".*:dtype", "a value of another dtype"),
    (r"(?:one input|\S+ operand of dtype) (?:half|float|double)|(?:cast )?to (?:torch\.)?b?f(?:loat)?\d+ after .*",
     r".*:values", "a value of another float dtype"),
    (r"(\w+) torch\.u?int\d+", r".*", r"\1 integers"),
    (r"(\S+)\.\w+ as keyword", r".*", r"\1 by keyword"),
    (r"\S+ (under autocast|without gradients)", r".*", r"a call \1"),
    (r"(?:leading|trailing) dim (?:of one )?added|a dim put in|two inputs: a dim more .*|\S+ operand of higher rank|"
     r"unsqueeze after .*", r".*", "a dim more"),
    (r"(?:leading|last) dim removed(?: and a size that fits)?|two inputs: a dim less each|\S+ operand of lower rank",
     r".*", "a dim less"),
    (r"two patterns (?:on .*|interleaved)|\S+ called again", r".*", "calls again"),
))


@dataclasses.dataclass(frozen=True)
class Key:
    """What tells two causes apart: the label of the failure, its family, and the kinds of steps.

    A trigger says what was done and, after ", ", in which way: "add.alpha changed, not finite". ``steps`` holds
    all these parts, ``ways`` the same but equal for steps that try the same thing, ``kinds`` the first of each of
    these. ``views`` are the operators whose results the pass made views, where that is what fails, ``program`` is the
    text of the example once it is made small, ``triggers`` what a person reads.
    """

    label: str
    family: int
    steps: frozenset[str]
    kinds: frozenset[str]
    ways: frozenset[str]
    views: frozenset[str] = frozenset()
    triggers: tuple[str, ...] = dataclasses.field(default=(), compare=False)
    program: str = ""

    def explains(self, other: Key) -> bool:
        """Whether a failure with the other key is one more of this.

        It is where both fail alike and are made small to the same program; where both fail because the result of one
        operator became a view, whatever that is seen by, but that a write which autograd then refuses is told by
        itself; where both fail alike after the same kinds of steps, taken in another way, or the other after more
        steps; where both needed more steps than one to fail alike, and share one that is no mere onlooker; and where a
        failure of the same family had these steps among its own.
        """
        if self.program and (self.label, self.program) == (other.label, other.program):
            return True
        if self.views and other.views:
            return self.label.startswith("crash:") == other.label.startswith("crash:") and \
                not self.views.isdisjoint(other.views)
        if self.label == other.label and other.label.startswith(_WITHOUT_STEPS):
            return True
        if not other.label.startswith(_WITHOUT_STEPS) and self.label.startswith(_WITHOUT_STEPS):
            return False
        if not self.steps:
            return False
        if self.label == other.label:
            several = min(len(self.kinds), len(other.kinds)) > 1
            if self.kinds <= other.kinds or several and not all(map(_looks_on, self.kinds & other.kinds)):
                return True
            if self.ways <= other.ways:
                return True
        return self.family == other.family and self.steps <= other.steps

    def __str__(self) -> str:
        return f"{self.label} | {' + '.join(self.triggers)}" if self.triggers else self.label


def _looks_on(kind: str) -> bool:
    """Whether a step only lets more be seen of what is there, as another output or another pattern does."""
    return kind.startswith(("extra user of", "pattern ")) or \
        kind.endswith(("returned too", "returned first", "require grad"))


def _way(part: str, label: str, rewrite: frozenset[str]) -> str:
    """Return one text for all parts of triggers that try the same thing, in what the pass did alike."""
    for pattern, what in _SAME:
        if match := pattern.fullmatch(part):
            return match.expand(what)
    for pattern, labels, what in _SAME_REWRITE:
        if rewrite and labels.fullmatch(label) and (match := pattern.fullmatch(part)):
            return f"{of_any_dims(match.expand(what))} where {sorted(rewrite)}"
    return part


def key(example: Example, failure: CheckFailure, rewrite: frozenset[str] = frozenset()) -> Key:
    """Return the key of one failure of one example; ``rewrite`` is what the pass did to its graph."""
    label = str(failure.cause)
    if failure.oracle == "metadata" and failure.node and not label.endswith(STALE):
        label += f" at {failure.node.rstrip('_0123456789')}"
    triggers = [] if label.startswith(_WITHOUT_STEPS) else [trigger.split(", ") for trigger in example.triggers]
    ways = [[_way(part, label, rewrite) for part in parts] for parts in triggers]
    return Key(label, _family(failure), frozenset(part for parts in triggers for part in parts),
               frozenset(parts[0] for parts in ways), frozenset(way for parts in ways for way in parts),
               frozenset(failure.views), tuple(", ".join(parts) for parts in triggers))


def tells_more(new: CheckFailure, old: CheckFailure) -> bool:
    """Whether, of two failures because of the same view, the first shows it better: by a wrong number, say."""
    return _telling(new) < _telling(old)


def _telling(failure: CheckFailure) -> int:
    return next((i for i, label in enumerate(SYMPTOMS) if str(failure.cause).startswith(label)), len(SYMPTOMS))


def fresh(failures: Iterable[CheckFailure], inherited: frozenset[str]) -> list[CheckFailure]:
    """Return the failures that the example's parent did not show: an alias of any kind explains any other.

    So does a gradient that is wrong: where a part of the graph is tracked that was not, its neighbours show it by what
    requires grad, by what is a leaf, and by gradients that should not be there.
    """
    aliased, tracked = bool(inherited & _ALIASES), any(cause.startswith(_TRACKED) for cause in inherited)
    return [f for f in failures if str(f.cause) not in inherited
            and not (aliased and str(f.cause) in _ALIASES or tracked and str(f.cause).startswith(_TRACKED))]


def roots(failures: Sequence[CheckFailure]) -> list[CheckFailure]:
    """Return the one failure of an example that explains the others of it."""
    return [min(failures, key=_family)] if failures else []


def _family(failure: CheckFailure) -> int:
    if str(failure.cause).endswith(":signed-zero"):
        return len(_FAMILIES) + 1  # the least of all: it hides nothing else
    return next((i for i, names in enumerate(_FAMILIES) if failure.oracle in names), len(_FAMILIES))
