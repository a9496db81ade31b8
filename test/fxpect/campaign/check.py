"""``check``: explore the neighbourhood of an innocent example and report each distinct finding once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fxpect.campaign.finding import Finding
from fxpect.campaign.isolation import can_isolate, isolated_search
from fxpect.campaign.search import DEFAULT_EXAMPLES, Tally, search
from fxpect.campaign.starts import Start
from fxpect.contracts import Contract

__all__ = ["DEFAULT_EXAMPLES", "Finding", "Start", "Tally", "check", "check_starts"]


def check(pass_: Any, model: Any, *inputs: Any, capture: str | None = None, examples: int | None = None,
          seconds: float | None = None, seed: int = 0, isolate: bool | None = None, dynamic: bool = True,
          frozen: bool = False, contract: Contract | None = None, **options: Any) -> list[Finding]:
    """Explore from an innocent example and return the distinct findings, those nearest to it first.

    ``pass_`` has any form that ``as_pass`` knows, ``model`` and ``inputs`` any that ``capture`` takes; an
    ``Example`` stands for both. ``capture`` names the graph the pass is given; without it the first on which
    the pass rewrites is taken. ``examples`` bounds how many are judged (default 3000), ``seconds`` stops
    earlier. Equal arguments give equal findings as long as ``seconds`` does not cut in.

    ``isolate`` explores in a forked process, so that a crash of the interpreter, one example of more than
    ``timeout`` seconds (default 20) or growth by ``memory`` MiB (default 8192) is one finding and not the end;
    it is the default where a forked process can do all that this one can. ``dynamic=False`` leaves out the start
    with dynamic shapes, ``directions`` names the kinds of edits (default all), ``frozen`` keeps parameters as
    attributes, ``contract`` is what the explored graphs keep (default that of the capture), ``outside`` also explores
    what breaks it, ``tally`` is filled with what was done, ``told`` is called with each finding as soon as it is made
    small, and a ``stop`` (``fxpect.campaign.stopping``) ends the search with what it met until then. Raises
    ``CaptureError`` when the model cannot be captured.
    """
    return check_starts(pass_, [Start(model, inputs, capture, frozen, dynamic, contract)], examples=examples,
                        seconds=seconds, seed=seed, isolate=isolate, **options)


def check_starts(pass_: Any, starts: Sequence[Start], *, isolate: bool | None = None, **options: Any) -> list[Finding]:
    """Explore from several innocent examples at once, as ``check`` does from one.

    ``examples`` is for all of them: at least 300 for each where it is not given, and 60 for each pattern.
    """
    if isolate is None:
        isolate = can_isolate()
    if isolate:
        return isolated_search(pass_, starts, **options)
    for limit in ("timeout", "memory"):
        options.pop(limit, None)
    return search(pass_, starts, **options)
