"""Messages of dynamo without what differs from one run, machine or release to the next, and read into parts."""

from __future__ import annotations

import dataclasses
import re

from fxpect.errors import FxpectError

_ADVICE = re.compile(r"^\s*(?:Set TORCHDYNAMO_VERBOSE=1|You can suppress this exception|import torch\._dynamo$|"
                     r"torch\._dynamo\.config\.suppress_errors = True|For even more developer context|"
                     r"To log all recompilation reasons)")
_CARETS = re.compile(r"^[\s^~]*[\^~]{2,}[\s^~]*$|^\s*\^\s*$")
_TRACEBACK = "Traceback (most recent call last):"
_PATH = re.compile(r"""(?:[A-Za-z]:)?[^\s'"<>|()=,:]*[/\\]([^\s'"<>|()=,:/\\]+\.\w+)""")
_FRAME = re.compile(r'^\s*File "([^"]*)", line \S+, in (\S+)')
_REWRITES = (
    (re.compile(r"""[^\s'"<>|()=,:]*site-packages/"""), ""),
    (re.compile(r'(?<=, )line \d+'), "line N"),
    (re.compile(r"(\.py):\d+"), r"\1:N"),
    (re.compile(r"\b0x[0-9a-fA-F]{4,}\b"), "0xADDRESS"),
    (re.compile(r"(?<=_at_)\d+(?:_\d+)?\b"), "N"),
    (re.compile(r"\b\d{12,}\b"), "ID"),
    (re.compile(r"https://\S*/gb/(gb\d+)\.html"), r"\1"),
)
_TITLE_ENDS = re.compile(r"^  Explanation: ", re.MULTILINE)
_ENTRY = re.compile(r"^  (Explanation|Hint|Developer debug context): ", re.MULTILINE)
_ID = re.compile(r"\bgb\d{4}\b")
_SKIPPED = "Failed to handle graph break gracefully"
_USER_CODE = re.compile(r"^(?:from user code:|User code traceback:)\s*$", re.MULTILINE)


def munge(text: object) -> str:
    """Return a message of dynamo as it is on every machine: paths, line numbers, addresses and ids taken out.

    A path becomes its file name and a line number ``N``; addresses and object ids become ``0xADDRESS`` and ``ID``,
    and the link of a graph break its id. A traceback keeps its last line alone, what points at a column and
    the advice on how to see more are left out. Takes an exception too. Source: the habit of ``munge_exc`` in
    torch/testing/_internal/common_utils.py, which keeps more.
    """
    lines: list[str] = []
    inside = False
    for line in str(text).split("\n"):
        if line.strip() == _TRACEBACK:
            inside = True
        elif inside and (not line.strip() or line[0].isspace()):
            continue
        elif not _ADVICE.match(line) and not _CARETS.match(line):
            inside = False
            lines.append(_plain(line).rstrip())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def _plain(line: str) -> str:
    for pattern, replacement in _REWRITES:
        line = pattern.sub(replacement, line)
    return _PATH.sub(r"\1", line)


def user_frames(text: object) -> tuple[tuple[str, str], ...]:
    """Return the user frames that a message of dynamo ends in, outermost first, as (function, line of source).

    () for a message that shows none.
    """
    _, _, stack = _cut(str(text))
    frames: list[tuple[str, str]] = []
    lines = stack.split("\n")
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        found = _FRAME.match(line)
        if found:
            source = "" if _FRAME.match(following) else following.strip()
            frames.append((re.sub(r"(?<=_at_)\d+(?:_\d+)?$", "N", found.group(2)), source))
    return tuple(frames)


def _cut(text: str) -> tuple[str, str, str]:
    """Return what stands before the user frames, the line that announces them, and the frames."""
    found = _USER_CODE.search(text)
    return (text, "", "") if found is None else (text[:found.start()], found.group(), text[found.end():])


@dataclasses.dataclass(frozen=True)
class Reason:
    """Why dynamo does not trace something, read from what it says.

    ``title`` is the name of the case, ``id`` the entry of torch's registry of graph breaks ("gb0025", "" where the
    message has none), ``hints`` its advice, ``context`` the debug context, munged. ``skipped`` says that the whole
    function falls back to eager.
    """

    title: str
    explanation: str = ""
    hints: tuple[str, ...] = ()
    context: str = ""
    id: str = ""
    skipped: bool = False

    @classmethod
    def read(cls, text: object) -> Reason:
        """Return the reason that a message gives; raises ``FxpectError`` for a message without an explanation."""
        whole = str(text)
        body = _cut(whole)[0]
        found = _TITLE_ENDS.search(body)
        if found is None:
            raise FxpectError("expected a message of dynamo with a line '  Explanation: ...'; got "
                              f"{whole.strip().splitlines()[0] if whole.strip() else ''!r}")
        title = body[:found.start()].rstrip("\n").split("\n")[-1].strip()
        marks = [*_ENTRY.finditer(body)]
        ends = [mark.start() for mark in marks[1:]] + [len(body)]
        parts: dict[str, list[str]] = {}
        for mark, end in zip(marks, ends, strict=True):
            value = body[mark.end():end].split("\n\n")[0].strip()
            parts.setdefault(mark.group(1), []).append(munge(value))
        ids = _ID.findall(body)
        return cls(title, parts["Explanation"][0], tuple(parts.get("Hint", ())),
                   " ".join(parts.get("Developer debug context", ())), ids[0] if ids else "",
                   body.startswith(_SKIPPED))

    def __str__(self) -> str:
        return f"{self.title} ({self.id})" if self.id else self.title
