"""Short stable labels for what goes wrong, so that one bug met a hundred times counts once."""

from __future__ import annotations

import os
import re
import traceback

import torch

from fxpect.execution.crashes import is_foreign

_TORCH = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep
# Where torch keeps passes: the function that one of its passes is in.
_PASSES = re.compile(
    r"(_inductor/(?!pattern_matcher|fx_utils|decomposition|virtualized)"
    r"|fx/(passes/|subgraph_rewriter|experimental/(?!proxy_tensor|symbolic_shapes|sym_node|recording|validator))"
    r"|ao/|export/|_export/|_functorch/|nn/utils/fusion)"
)
_MATCHER = "_inductor/pattern_matcher.py"
# What torch computes sizes and numbers with, and calls through: no pass of a user is in these.
_LIBRARIES = re.compile(r"/(sympy|numpy|mpmath)/|/python3[^/]*/(?!site-packages|dist-packages)|^<")
_NAMELESS = ("<genexpr>", "<listcomp>", "<dictcomp>", "<setcomp>", "<lambda>")
_NAMELIKE = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|%\w+|\[[^\]]*\]|\([^)]*\)|\S*[\d_<>=/.]\S*")
# autograd refuses to write to some views and leaves: one cause, whichever operator wrote.
_REFUSED_WRITE = re.compile(r"is a view and is being modified inplace|grad is being used in an in-place operation")
# What operators say of operands whose dtypes differ, each in its words, and some in others for another operand.
_SEVERAL_DTYPES = re.compile(r"(?i)have (?:the )?same dtype|expected scalar type \w+ but found \w+"
                             r"|type \(.*\) and (?:weight|bias) type \(.*\) should be the same")
_QUALIFIED = re.compile(r"(?<=:)(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_]\w*:)")
WORDS = 8


def first_words(text: str) -> str:
    """Return the first words of a message without names, numbers, quotations and brackets."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    words = re.findall(r"[A-Za-z]+", _NAMELIKE.sub(" ", line))
    return " ".join(words[:WORDS]).lower()


def raising_function(error: BaseException) -> str:
    """Return the name, with its class, of the innermost function that belongs to a pass, whatever it called raised.

    It is one in a file of torch that holds passes, or outside of torch and of this library; else one of the pattern
    matcher; else the innermost of all.
    """
    codes = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    named = [code for code in codes if code.co_name not in _NAMELESS]
    for belongs in (_is_of_a_pass, _is_of_the_matcher, bool):
        mine = [code for code in named if belongs(code.co_filename)]
        if mine:
            return mine[-1].co_qualname.rpartition("<locals>.")[2].strip("<>")
    return "unknown"


def unqualified(label: str) -> str:
    """Return the label of a crash that names its function alone, without its class."""
    return _QUALIFIED.sub("", label)


def _is_of_a_pass(file: str) -> bool:
    if file.startswith(_TORCH):
        return _PASSES.match(file[len(_TORCH):].replace(os.sep, "/")) is not None
    return is_foreign(file) and _LIBRARIES.search(file.replace(os.sep, "/")) is None


def _is_of_the_matcher(file: str) -> bool:
    return file.startswith(_TORCH) and file[len(_TORCH):].replace(os.sep, "/") == _MATCHER


def root_of(error: BaseException) -> BaseException:
    """Return what an exception was first raised for, through ``raise ... from``."""
    seen = [error]
    while (deeper := seen[-1].__cause__) is not None and deeper not in seen:
        seen.append(deeper)
    return seen[-1]


def crash_cause(what: str, error: BaseException, function: str | None = None) -> str:
    """Return the label of an exception: "crash:pass:ValueError:fuse:expected two operands".

    A ``NotImplementedError``, which is a ``RuntimeError``, is called that: torch raises now one, now the other.
    """
    kind = "RuntimeError" if isinstance(error, NotImplementedError) else type(error).__name__
    if _REFUSED_WRITE.search(str(error)):
        return f"crash:{what}:{kind}:write in place refused"
    words = "several dtypes" if _SEVERAL_DTYPES.search(str(error)) else first_words(str(error))
    return f"crash:{what}:{kind}:{function or raising_function(error)}:{words}"


def in_one_line(error: BaseException, limit: int = 300) -> str:
    """Return the exception's type and the first line of its message."""
    line = next((line for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line}"[:limit]
