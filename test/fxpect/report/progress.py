"""What a run shows while it runs: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Any, Protocol, TextIO

from fxpect.report.verdicts import SKIPPED, Verdict


def wants_color(stream: TextIO, choice: str = "auto") -> bool:
    """Return whether to colour what goes to ``stream``; ``choice`` is "auto", "always" or "never".

    "auto" asks PYTHON_COLORS, NO_COLOR, FORCE_COLOR and TERM in this order (an empty one counts as
    unset), then whether ``stream`` is a terminal.
    """
    if choice != "auto":
        return choice == "always"
    if os.environ.get("PYTHON_COLORS") in ("0", "1"):
        return os.environ["PYTHON_COLORS"] == "1"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return os.environ.get("TERM") != "dumb" and is_terminal(stream)


def is_terminal(stream: TextIO) -> bool:
    """Return whether a person may be looking at ``stream``."""
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False


class Progress(Protocol):
    """Told of every class of tests found, every verdict, and the end."""

    def found(self, tests: int) -> None:
        """Learn that ``tests`` more tests will run."""

    def done(self, verdict: Verdict) -> None:
        """Learn what one test came to."""

    def unit_done(self, name: str, verdicts: list[Verdict]) -> None:
        """Learn that all tests of one class have run."""

    def close(self) -> None:
        """Leave the screen as it was found."""


class PlainProgress:
    """One line for each class when it is done, one for each bad test at once."""

    def __init__(self, stream: TextIO, paint: Callable[[str, str], str]):
        self.stream, self.paint = stream, paint

    def found(self, tests: int) -> None:
        """Say nothing: plain lines tell what is done."""

    def done(self, verdict: Verdict) -> None:
        """Print a bad test at once, so that a log shows it where it happened."""
        if verdict.bad:
            self._print(self.paint(verdict.status, "red") + f"  {verdict.name}")

    def unit_done(self, name: str, verdicts: list[Verdict]) -> None:
        """Print how a class of tests went."""
        bad = sum(verdict.bad for verdict in verdicts)
        skipped = sum(verdict.status == SKIPPED for verdict in verdicts)
        good = len(verdicts) - bad - skipped
        words = [f"{good} ok", bad and f"{bad} bad", skipped and f"{skipped} skipped"]
        seconds = sum(verdict.seconds for verdict in verdicts)
        self._print(f"{name}  {', '.join(word for word in words if word)}  {seconds:.1f} s")

    def close(self) -> None:
        """Say nothing."""

    def _print(self, line: str) -> None:
        print(line, file=self.stream, flush=True)


class LineProgress(PlainProgress):
    """One line that is written over, for a terminal without rich and tqdm."""

    def __init__(self, stream: TextIO, paint: Callable[[str, str], str]):
        super().__init__(stream, paint)
        self.total = self.finished = self.failed = 0

    def found(self, tests: int) -> None:
        """Raise the number that stands after the slash."""
        self.total += tests

    def done(self, verdict: Verdict) -> None:
        """Write the line anew; a bad test keeps a line of its own."""
        self.finished += 1
        self.failed += verdict.bad
        self.stream.write("\r\x1b[K")
        super().done(verdict)
        bad = f", {self.failed} bad" if self.failed else ""
        self.stream.write(f"{self.finished}/{self.total} tests{bad}  {verdict.name[-60:]}")
        self.stream.flush()

    def unit_done(self, name: str, verdicts: list[Verdict]) -> None:
        """Say nothing: the line already moved."""

    def close(self) -> None:
        """Remove the line."""
        self.stream.write("\r\x1b[K")
        self.stream.flush()


class TqdmProgress(PlainProgress):
    """A tqdm bar."""

    def __init__(self, stream: TextIO, paint: Callable[[str, str], str]):
        super().__init__(stream, paint)
        from tqdm import tqdm

        self.bar: Any = tqdm(total=0, unit="test", file=stream, leave=False, dynamic_ncols=True)

    def found(self, tests: int) -> None:
        """Lengthen the bar."""
        self.bar.total += tests
        self.bar.refresh()

    def done(self, verdict: Verdict) -> None:
        """Move the bar; a bad test keeps a line above it."""
        self.bar.update()
        super().done(verdict)

    def unit_done(self, name: str, verdicts: list[Verdict]) -> None:
        """Name the class that was finished last."""
        self.bar.set_postfix_str(name[-40:])

    def close(self) -> None:
        """Remove the bar."""
        self.bar.close()

    def _print(self, line: str) -> None:
        self.bar.write(line, file=self.stream)


class RichProgress(PlainProgress):
    """A rich bar."""

    def __init__(self, stream: TextIO, paint: Callable[[str, str], str]):
        super().__init__(stream, paint)
        from rich.console import Console
        from rich.progress import Progress as Bar

        self.bar: Any = Bar(console=Console(file=stream), transient=True)
        self.task = self.bar.add_task("tests", total=0)
        self.total = 0
        self.bar.start()

    def found(self, tests: int) -> None:
        """Lengthen the bar."""
        self.total += tests
        self.bar.update(self.task, total=self.total)

    def done(self, verdict: Verdict) -> None:
        """Move the bar; a bad test keeps a line above it."""
        self.bar.advance(self.task)
        super().done(verdict)

    def unit_done(self, name: str, verdicts: list[Verdict]) -> None:
        """Name the class that was finished last."""
        self.bar.update(self.task, description=name[-40:])

    def close(self) -> None:
        """Remove the bar."""
        self.bar.stop()

    def _print(self, line: str) -> None:
        self.bar.console.print(line, markup=False, highlight=False)


def progress_for(stream: TextIO | None = None, *, color: bool = False) -> Progress:
    """Return the best progress for ``stream``: rich, else tqdm, else one line; plain where nobody looks."""
    stream = stream or sys.stderr
    paint = painter(color)
    if not is_terminal(stream) or os.environ.get("TERM") == "dumb":
        return PlainProgress(stream, paint)
    for package, bar in (("rich", RichProgress), ("tqdm", TqdmProgress)):
        if importlib.util.find_spec(package):
            return bar(stream, paint)
    return LineProgress(stream, paint)


_CODES = {"red": "31", "green": "32", "yellow": "33", "bold": "1"}


def painter(color: bool) -> Callable[[str, str], str]:
    """Return ``paint(text, color name)``, which leaves the text alone where ``color`` is false."""
    if not color:
        return lambda text, name: text
    return lambda text, name: f"\x1b[{_CODES[name]}m{text}\x1b[0m"
