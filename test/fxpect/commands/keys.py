"""What a person answers in a terminal: one key, without Enter, or one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from fxpect.report.progress import is_terminal

END = ""


def can_ask() -> bool:
    """Say whether a person sits at both ends."""
    return is_terminal(sys.stdin) and is_terminal(sys.stdout)


def read_key(prompt: str) -> str:
    """Print the prompt and return the next key, ``END`` at the end of input.

    A key that was pressed before the prompt stood there is no answer to it. What is several characters at once, such as
    an arrow or a paste, comes back whole, so that none of its letters is taken for a key.
    """
    with _single_keys(sys.stdin.fileno()) as descriptor:
        sys.stdout.write(prompt)
        sys.stdout.flush()
        try:
            key = os.read(descriptor, 1024).decode("utf-8", "replace")
        except OSError:  # the terminal is gone
            key = END
    print(key if key.isprintable() and len(key) == 1 else "")
    return END if key == "\x04" else key


def read_line(prompt: str) -> str:
    """Print the prompt and return the line that is typed in answer to it, ``END`` at the end of input."""
    sys.stdout.write(prompt)
    sys.stdout.flush()
    try:
        return os.read(sys.stdin.fileno(), 4096).decode("utf-8", "replace").strip()
    except OSError:  # the terminal is gone
        return END


@contextmanager
def _single_keys(descriptor: int) -> Iterator[int]:
    """Hand keys over at once and unechoed, Ctrl-C still being an interrupt; the terminal is given back as it was."""
    import termios
    import tty

    kept = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor, termios.TCSAFLUSH)
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, kept)
