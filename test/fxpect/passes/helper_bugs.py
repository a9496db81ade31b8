"""The known bugs of torch's helpers: the functions that passes are run, sorted, saved and compared with.

No oracle judges them, since they are not passes. Each bug has a script that needs torch alone and says by its exit code
whether the bug is there. They stand in the table of ``fxpect.fixtures.bugs`` beside those of the passes.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from pathlib import Path

import torch

from fxpect.fixtures.bugs import HELPER_TEXTS, helper_entries
from fxpect.passes.catalogue import applies
from fxpect.passes.known_bugs import CHANGED, ELSEWHERE, FIXED, THERE, table_path
from fxpect.standalone.running import run_script_apart


@dataclasses.dataclass(frozen=True)
class HelperBug:
    """One flaw of a helper: what it is (``when``, in words) and a script that exits 1 while it is there.

    ``helper`` is the dotted name of the function, ``says`` a regular expression that the script's output holds then,
    ``torch`` a version condition, ``link`` where it is discussed.
    """

    id: str
    helper: str
    when: str
    says: str
    torch: str
    script: str
    link: str = ""

    @property
    def applies(self) -> bool:
        """Whether the bug is expected in the installed torch."""
        return applies(self.torch)

    def __str__(self) -> str:
        return f"{self.id} ({self.helper}): {self.when}"


@functools.cache
def load_helpers(path: Path | None = None) -> tuple[HelperBug, ...]:
    """Return the bugs of helpers in the table; raises ``FixtureError`` for a table that is not strict."""
    return parse_helpers((path or table_path()).read_text(encoding="utf-8"))


def parse_helpers(text: str) -> tuple[HelperBug, ...]:
    """Return the bugs of helpers that the text of a table holds; raises ``FixtureError`` if it is not strict."""
    return tuple(HelperBug(link=fields.get("link", ""), **{name: fields[name] for name in HELPER_TEXTS})
                 for fields in helper_entries(text))


def confirm_helper(bug: HelperBug) -> tuple[str, str]:
    """Run a bug's script apart and return its status, as of a bug of a pass, and in words what it did."""
    if not bug.applies:
        return ELSEWHERE, f"expected with torch {bug.torch}; this is {torch.__version__}"
    code, output = run_script_apart(bug.script)
    last = (output.strip().splitlines() or ["no output"])[-1]
    if code == 0:
        return FIXED, f"its script exits 0: {last}"
    if code != 1 or re.search(bug.says, output) is None:
        return CHANGED, f"expected its script to exit 1 and say {bug.says!r}; got {code!r}: {last}"
    return THERE, last
