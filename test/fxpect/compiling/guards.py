"""Guards: which call fits what was compiled, why another does not, and whether guards survive being saved."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping
from types import CodeType
from typing import Any

import torch
import torch._dynamo
from torch._dynamo.eval_frame import _debug_get_cache_entry_list, innermost_fn

from fxpect.compiling.backends import RecordingBackend
from fxpect.errors import FxpectError

_COMMENT = re.compile(r"\s{2,}# .*$", re.DOTALL)
_TYPE_ID = re.compile(r"___check_type_id\((.*), \d+\), type=<class '([^']*)'>")
_OBJECT_ID = re.compile(r"(___check_obj_id\(.*), \d+\)(, type=<class '[^']*'>)?")
_STATE = re.compile(r"(___check_global_state\(\)) against .*", re.DOTALL)
_WORDINGS = (  # what one release says, and another puts in other words
    (re.compile(r"to be (?:a tensor type, '|<class 'torch\.Tensor'>,) but found"), "to be a tensor, but found"),
)


def plain_reason(text: str) -> str:
    """Return a guard, or the reason why it fails, without comment, object ids and the wording of one release.

    >>> plain_reason("L['n'] == 2      # y = x * n  # file.py:8 in f")
    "L['n'] == 2"
    >>> plain_reason("___check_type_id(L['l'], 139987842855744), type=<class 'list'>  # for e in l")
    "type(L['l']) is list"
    """
    text = _COMMENT.sub("", text.strip())
    text = _TYPE_ID.sub(r"type(\1) is \2", text)
    text = _OBJECT_ID.sub(r"\1)", text)
    text = _STATE.sub(r"\1", text)
    for pattern, replacement in _WORDINGS:
        text = pattern.sub(replacement, text)
    return text.strip()


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a call fits something that was compiled; ``reasons`` has one line for each that it does not fit."""

    accepted: bool
    reasons: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.accepted


def guard_verdict(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Verdict:
    """Return whether a call would run something that was compiled for ``function``; nothing runs.

    ``function`` is what was compiled, or what ``torch.compile`` returned for it. With nothing compiled the call
    is refused without a reason. Raises ``TypeError`` where the arguments do not fit its signature.
    """
    frame = _Frame(function)
    scope = frame.locals(args, kwargs)
    return _verdict([entry.guard_manager for entry in frame.entries()], scope)


def guards_of(function: Callable[..., Any]) -> list[list[str]]:
    """Return the guards of everything that was compiled for ``function``, the newest first, sorted and plain."""
    return [sorted({plain_reason(part) for part in entry.guard_manager.code_parts})
            for entry in _Frame(function).entries()]


def _verdict(managers: list[Any], scope: dict[str, Any]) -> Verdict:
    reasons = []
    for manager in managers:
        answer = manager.check_verbose(scope)
        if answer.result:
            return Verdict(True)
        reasons.append("; ".join(map(plain_reason, answer.verbose_code_parts)))
    return Verdict(False, tuple(reasons))


@dataclasses.dataclass(frozen=True)
class GuardedCall:
    """One call of several in turn: whether it compiled the function anew, why, and what it returned.

    ``reasons`` says for each thing compiled before why the call did not fit it; () for the first one. ``graphs``
    counts the graphs that were made, those of inner frames included.
    """

    compiled: bool
    reasons: tuple[str, ...]
    graphs: int
    value: Any


def call_in_turn(function: Callable[..., Any], *calls: Any, dynamic: bool | None = None,
                 backend: RecordingBackend | None = None, fullgraph: bool = False) -> list[GuardedCall]:
    """Compile ``function`` and make several calls, each a tuple of arguments or a dict of keywords.

    A function among the calls is run in its turn, to change something between them, and has no result. Dynamo is
    reset before and after. Raises what a call raises.
    """
    backend = backend or RecordingBackend()
    torch._dynamo.reset()
    try:
        compiled = torch.compile(function, backend=backend, dynamic=dynamic, fullgraph=fullgraph)
        frame = _Frame(function)
        results = []
        for call in calls:
            if callable(call):
                call()
                continue
            args, kwargs = ((), dict(call)) if isinstance(call, Mapping) else (tuple(call), {})
            reasons = guard_verdict(function, *args, **kwargs).reasons
            entries, graphs = len(frame.entries()), len(backend.graphs)
            value = compiled(*args, **kwargs)
            made = len(frame.entries()) > entries
            results.append(GuardedCall(made, reasons if made else (), len(backend.graphs) - graphs, value))
        return results
    finally:
        torch._dynamo.reset()


class LoadedGuards:
    """Guards of one compilation after they were saved and loaded.

    ``state`` holds the bytes, ``kinds`` what torch calls the guards, sorted.
    """

    def __init__(self, function: Callable[..., Any], state: bytes):
        from torch._dynamo.package import load_guard_manager, load_guards_state

        self._frame = _Frame(function)
        self.state = state
        loaded = load_guards_state(state)
        self.kinds: list[str] = sorted({guard.create_fn_name() for guard in loaded.output_graph.guards})
        self._manager = load_guard_manager(loaded, self._frame.code, self._frame.globals)

    def verdict(self, *args: Any, **kwargs: Any) -> Verdict:
        """Return whether the loaded guards let a call through."""
        return _verdict([self._manager], self._frame.locals(args, kwargs))


def reload_guards(function: Callable[..., Any], *args: Any, dynamic: bool | None = None, **kwargs: Any) -> LoadedGuards:
    """Compile ``function`` with one call, save its guards as a compile package does, and load them again.

    The function stays compiled, so that ``guard_verdict`` can be asked too. Raises torch's ``PackageError`` for
    guards that cannot be saved, and ``FxpectError`` for a function that was not compiled as one frame.
    """
    from torch._dynamo.package import CompilePackage

    frame = _Frame(function)
    torch._dynamo.reset()
    package = CompilePackage(frame.function)
    with torch._dynamo.config.patch(strict_precompile=True):  # else what cannot be saved is passed over in silence
        torch._dynamo.optimize(RecordingBackend(), package=package, dynamic=dynamic)(function)(*args, **kwargs)
    own = [code for code in package.cache_entry().codes if len(code.guarded_codes) == 1]
    if not own:
        raise FxpectError(f"expected {frame.function.__qualname__} to be compiled by the call; got no guards")
    return LoadedGuards(function, own[0].guarded_codes[0].guards_state)


class _Frame:
    """The function whose frame dynamo compiles, and how a call fills its locals."""

    def __init__(self, function: Any):
        function = getattr(function, "_orig_mod", function)
        if isinstance(function, torch.nn.Module):
            function = function.forward
        function = innermost_fn(function) if not inspect.ismethod(function) else function
        self.bound = (function.__self__,) if inspect.ismethod(function) else ()
        self.function = function.__func__ if inspect.ismethod(function) else function
        if not inspect.isfunction(self.function):
            raise FxpectError(f"expected a Python function, a method or a Module; got {type(function).__name__}")
        self.code: CodeType = self.function.__code__
        self.globals = self.function.__globals__

    def entries(self) -> list[Any]:
        return _debug_get_cache_entry_list(self.code)

    def locals(self, args: tuple, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        bound = inspect.signature(self.function).bind(*self.bound, *args, **kwargs)
        bound.apply_defaults()
        cells = zip(self.code.co_freevars, self.function.__closure__ or (), strict=True)
        return {**{name: cell.cell_contents for name, cell in cells}, **bound.arguments}
