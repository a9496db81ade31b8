"""Short stable labels for what goes wrong, so that one bug met a hundred times counts once."""

from __future__ import annotations

import re
import traceback

# Frames of the machinery that runs any graph: the function above them is the one that matters.
_MACHINERY = re.compile(
    r"torch/(fx/|_ops\.py|nn/modules/module\.py|utils/|_subclasses/|_library/|_prims_common/)"
    r"|fxpect/"
)
_NAMELIKE = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|%\w+|\[[^\]]*\]|\([^)]*\)|\S*[\d_<>=/.]\S*")
# autograd refuses to write to some views and leaves: one cause, whichever operator wrote.
_REFUSED_WRITE = re.compile(r"is a view and is being modified inplace|grad is being used in an in-place operation")
WORDS = 8


def first_words(text: str) -> str:
    """Return the first words of a message without names, numbers, quotations and brackets."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    words = re.findall(r"[A-Za-z]+", _NAMELIKE.sub(" ", line))
    return " ".join(words[:WORDS]).lower()


def raising_function(error: BaseException) -> str:
    """Return the name of the innermost function that is not machinery of torch.fx or of this library."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if not _MACHINERY.search(frame.filename.replace("\\", "/"))
        and frame.name not in ("<genexpr>", "<listcomp>", "<dictcomp>", "<setcomp>", "<lambda>")
    ]
    return (own or frames)[-1].name.strip("<>") if frames else "unknown"


def root_of(error: BaseException) -> BaseException:
    """Return what an exception was first raised for, through ``raise ... from``."""
    seen = [error]
    while (deeper := seen[-1].__cause__) is not None and deeper not in seen:
        seen.append(deeper)
    return seen[-1]


def crash_cause(what: str, error: BaseException, function: str | None = None) -> str:
    """Return the label of an exception: "crash:pass:ValueError:fuse:expected two operands"."""
    if _REFUSED_WRITE.search(str(error)):
        return f"crash:{what}:{type(error).__name__}:write in place refused"
    return f"crash:{what}:{type(error).__name__}:{function or raising_function(error)}:{first_words(str(error))}"


def in_one_line(error: BaseException, limit: int = 300) -> str:
    """Return the exception's type and the first line of its message."""
    line = next((line for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line}"[:limit]
