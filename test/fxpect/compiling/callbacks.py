"""When compilation starts and ends: the callbacks of torch._dynamo.callback, logged in order."""

from __future__ import annotations

import dataclasses
import re
from types import TracebackType

from torch._dynamo.callback import CallbackArgs, callback_handler

from fxpect.errors import CheckFailure

START, END = "start", "end"
_FRAME = re.compile(r"(\d+)(?=/\d+(?:_\d+)?$)")


@dataclasses.dataclass(frozen=True)
class CompileEvent:
    """One call of a callback: its edge ("start", "end"), torch's name of the trigger, and the compile id."""

    edge: str
    trigger: str
    compile_id: str

    def __str__(self) -> str:
        return f"{self.edge} {self.trigger} {self.compile_id}"


class CompileLog:
    """The compilations that start and end inside a ``with``, in order.

        with CompileLog() as log:
            torch.compile(f, backend="eager")(x)
        log.lines       ["start DYNAMO 0/0", "end DYNAMO 0/0"]

    Frames are counted from 0 in the order in which the log sees them; torch counts on from reset to reset.
    """

    def __init__(self) -> None:
        self.events: list[CompileEvent] = []
        self._frames: dict[str, str] = {}

    def __enter__(self) -> CompileLog:
        callback_handler.register_start_callback(self._start)
        callback_handler.register_end_callback(self._end)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        # A test that clears all callbacks has taken these away.
        for callbacks, own in ((callback_handler.start_callbacks, self._start),
                               (callback_handler.end_callbacks, self._end)):
            if own in callbacks:
                callbacks.remove(own)

    def _start(self, args: CallbackArgs) -> None:
        self._add(START, args)

    def _end(self, args: CallbackArgs) -> None:
        self._add(END, args)

    def _add(self, edge: str, args: CallbackArgs) -> None:
        compile_id = _FRAME.sub(self._renumber, str(args.compile_id))
        self.events.append(CompileEvent(edge, args.callback_trigger.name, compile_id))

    def _renumber(self, found: re.Match[str]) -> str:
        return self._frames.setdefault(found.group(), str(len(self._frames)))

    @property
    def lines(self) -> list[str]:
        """The events as text: ``"start DYNAMO 0/0"``."""
        return [str(event) for event in self.events]

    @property
    def compilations(self) -> list[str]:
        """What was compiled, in the order of the starts: ``"DYNAMO 0/0"``.

        Raises ``CheckFailure`` unless each start is followed by the end of the same trigger and id.
        """
        lines = self.lines
        for place in range(0, len(lines), 2):
            pair = lines[place:place + 2]
            if not pair[0].startswith(START) or pair[1:] != [END + pair[0].removeprefix(START)]:
                raise CheckFailure("callbacks", f"expected {pair[0]!r} to be followed by its end; got {lines}",
                                   cause="callbacks: not in pairs")
        return [line.removeprefix(f"{START} ") for line in lines[::2]]


def pending() -> int:
    """Return how many compilations torch counts as running: 0 outside of any."""
    return callback_handler._CompilationCallbackHandler__pending_callbacks_counter


def forget_pending() -> None:
    """Make torch count no compilation as running, and take every callback away.

    A callback at the end of a compilation that raises leaves one counted for good (torch 2.13 to 2.15): no
    callback is called from then on, and ``callback_handler.clear`` raises.
    """
    callback_handler._CompilationCallbackHandler__pending_callbacks_counter = 0
    callback_handler.clear()
