"""Where a saved run goes: numbered folders, one per call, safe when many processes make them at once."""

from __future__ import annotations

import os
import re
import sys
import unittest
from pathlib import Path
from types import FrameType

from fxpect.errors import FxpectError


def new_folder(message: str, directory: str | os.PathLike[str] | None = None) -> Path:
    """Make and return ``<directory>/NNN_<message>``, NNN being one more than the highest there.

    ``directory`` defaults to ``.fxpect/runs/<test or script>``. A number is given out once, also to processes
    that ask at the same time.
    """
    from filelock import FileLock

    parent = Path(directory) if directory is not None else Path(".fxpect") / "runs" / caller_name()
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with FileLock(parent / ".lock"):
            taken = [int(match[1]) for match in map(re.compile(r"(\d+)_").match, os.listdir(parent)) if match]
            folder = parent / f"{max(taken, default=0) + 1:03d}_{clean(message, 60)}"
            folder.mkdir()
    except OSError as error:
        raise FxpectError(f"cannot write under {parent}: {error}. "
                          "Pass directory= to choose another place") from error
    return folder


def caller_name() -> str:
    """Return the running test as "module.Class.test", else the script's name, fit for a folder."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name.startswith("test"):
            owner = frame.f_locals.get("self")
            if isinstance(owner, unittest.TestCase):
                return clean(owner.id().replace("__main__.", ""))
        frame = frame.f_back
    current = os.environ.get("PYTEST_CURRENT_TEST")
    if current:
        return clean(current.rpartition(" (")[0].replace(".py::", ".").replace("::", "."))
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    return clean(Path(script).stem) if script else "interactive"


def clean(text: str, longest: int = 150) -> str:
    """Return ``text`` with every run of characters that a file name should not hold made one ``_``."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", text).strip("._")[:longest].strip("._") or "run"


def write(path: Path, text: str) -> str:
    """Write a file whole or not at all, and return its path."""
    part = path.with_name(path.name + ".part")
    part.write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")
    os.replace(part, path)
    return str(path)
