"""Stopping: a signal that asks a search to end early, and to tell what it met until then."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether somebody asked to stop, seen by this process and by all that it starts; falsy until then.

    A signal must not take a lock that what it interrupts may hold, so this is a number in shared memory without one.
    """

    def __init__(self) -> None:
        self._number = multiprocessing.get_context("spawn").RawValue(ctypes.c_int, 0)

    def __bool__(self) -> bool:
        return self._number.value != 0

    def __str__(self) -> str:
        return signal.Signals(self._number.value).name if self else "nothing"

    def ask(self, number: int) -> None:
        """Ask to stop because of a signal."""
        self._number.value = number

    @contextlib.contextmanager
    def listening(self) -> Iterator[Stop]:
        """Ask to stop at the first signal of the keyboard or of ``kill``; the second raises ``KeyboardInterrupt``."""
        owner = os.getpid()

        def heard(number: int, frame: Any) -> None:
            if os.getpid() != owner:
                return  # a forked process hears the keyboard too, and sees what its parent asks for
            if self:
                raise KeyboardInterrupt
            self.ask(number)

        if threading.current_thread() is not threading.main_thread():
            yield self  # only the main thread may listen
            return
        before = {number: signal.signal(number, heard) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def ignore_signals() -> None:
    """Leave the signals to the process that started this one."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
