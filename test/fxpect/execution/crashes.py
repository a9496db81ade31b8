"""Turn what a pass raised into a ``PassCrash`` that says where in the pass it happened."""

from __future__ import annotations

import functools
import inspect
import linecache
import os
import sys
import traceback
from types import TracebackType
from typing import Any

import torch

from fxpect.errors import PassCrash
from fxpect.execution.forms import Pass, Raised, other_form

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_TORCH = os.path.dirname(os.path.abspath(torch.__file__))


def crash(raised: Raised, pass_: Pass, *, before: str | None = None, stage: str = "") -> PassCrash:
    """Return the failure for what ``pass_``, or a member of it, raised; raise it from ``raised.error``.

    ``stage`` is "stage 2/3 name" inside a pipeline. ``cause`` of the result is the exception type with the
    function and source line that raised it, so that the same bug has one label however it was met.
    """
    error = raised.error
    root = _chain(error)[-1]
    frame = place(error, raised.pass_)
    code = (frame.line or "").strip() if frame else ""
    where = f"{os.path.basename(frame.filename)}:{frame.lineno} in {frame.name}" if frame else "unknown"
    member = f"{raised.pass_.name}: " if raised.pass_ is not pass_ else ""
    lines = [f"{f'{stage}: ' if stage else ''}{member}expected the pass to return; "
             f"got {type(error).__name__}: {first_line(error)}"]
    if root is not error:
        lines.append(f"because of {type(root).__name__}: {first_line(root)}")
    lines.append(f"at {where}" + (f": {code}" if code else ""))
    kind = other_form(root, raised.given) if isinstance(root, AttributeError) else None
    if kind:
        lines.append(f"if the pass takes another object: fxpect.as_pass(fn, kind={kind!r})")
    cause = f"{type(root).__name__} in {frame.name}: {code}" if frame else type(root).__name__
    return PassCrash("crash", "\n".join(lines), pass_name=pass_.name, before=before, cause=cause)


def first_line(error: BaseException) -> str:
    """Return the first line of the exception's text that is not blank, cut at 300 characters."""
    try:
        text = str(error)
    except Exception:
        return "(its text cannot be made)"
    return next((line.strip() for line in text.splitlines() if line.strip()), "(no message)")[:300]


def place(error: BaseException, pass_: Pass) -> traceback.FrameSummary | None:
    """Return the innermost frame inside the pass's own file, else outside torch and fxpect, else the last."""
    homes = _homes(pass_)
    last = None
    for link in reversed(_chain(error)):
        frames = _frames(link.__traceback__)
        for wanted in (homes.__contains__, is_foreign):
            mine = [frame for frame in frames if wanted(frame.filename)]
            if mine:
                return mine[-1]
        last = last or (frames[-1] if frames else None)
    return last


def _chain(error: BaseException) -> list[BaseException]:
    """Return the error, what caused it, and so on."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None and cause not in chain:
        chain.append(cause)
    return chain


def _frames(tb: TracebackType | None) -> list[traceback.FrameSummary]:
    """Summarise a traceback without keeping it; a runaway recursion is cut to its two ends."""
    steps = [(step.tb_frame.f_code, step.tb_lineno) for step in _walk(tb)]
    if len(steps) > 400:
        steps = steps[:200] + steps[-200:]
    return [traceback.FrameSummary(code.co_filename, line, code.co_name,
                                   line=linecache.getline(code.co_filename, line)) for code, line in steps]


def _walk(tb: TracebackType | None) -> list[TracebackType]:
    steps = []
    while tb is not None:
        steps.append(tb)
        tb = tb.tb_next
    return steps


def _homes(pass_: Pass) -> set[str]:
    """Return the files that the pass was written in: of a list or a manager, those of its members."""
    members: list[Any] = [part.source for part in pass_.parts]
    if pass_.kind == "manager":
        members = list(pass_.source.passes)
    elif pass_.kind == "pattern":
        owner = getattr(pass_.source, "__self__", pass_.source)
        entries = [entry for found in getattr(owner, "patterns", {}).values() for entry in found]
        members = [fn for entry in entries for fn in vars(entry).values() if inspect.isfunction(fn)]
    elif not members:
        members = [pass_.source]
    return {file for member in members for file in _files(member)}


def _files(source: Any) -> list[str]:
    while isinstance(source, functools.partial):
        source = source.func
    source = inspect.unwrap(source) if callable(source) else source
    code = getattr(getattr(source, "__func__", source), "__code__", None)
    if code is not None:
        return [code.co_filename]
    cls = source if isinstance(source, type) else type(source)
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return [file] if file else []


def is_foreign(filename: str) -> bool:
    """Whether a file of source belongs neither to torch nor to fxpect."""
    path = os.path.abspath(filename)
    return not path.startswith((_OURS + os.sep, _TORCH + os.sep)) and not filename.startswith("<")
