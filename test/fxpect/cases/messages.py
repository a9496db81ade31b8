"""What a failed verb says: what does not hold, where, what the pass did, how to see it again."""

from __future__ import annotations

import dataclasses
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

import torch

from fxpect.cases.claims import METHODS, Trial, trial_of
from fxpect.cases.pasting import display_name, paste, reread, with_values
from fxpect.errors import CheckFailure, FxpectError
from fxpect.examples import short
from fxpect.execution.folders import caller_name, clean, new_folder, write
from fxpect.report.counts import tally
from fxpect.standalone.body import ORACLES
from fxpect.standalone.script import standalone_script

MAX_LINES = 60


def explain(failure: CheckFailure, where: str = "") -> CheckFailure:
    """Give a failure of a trial its full message, its texts and its script; returns the failure.

    The graphs and the script are saved under ``.fxpect/runs/<test>``; ``where`` is the running test's id.
    """
    trial = trial_of(failure)
    if trial is None:
        return failure
    failure.pass_name = failure.pass_name or trial.claim.pass_.name
    failure.before, failure.after = trial.before_text, trial.after_text or None
    failure.script = _script(trial, failure)
    folder = _save(trial, failure, where)
    parts = [
        str(failure),
        *_others(trial, failure),
        *_facts(trial, where),
        *_graphs(trial, folder),
        *_pasted(trial, failure),
        *_next(trial, failure, folder, where),
    ]
    failure.args = ("\n".join(parts),)
    return failure


def inputs_text(trial: Trial) -> str:
    """Return the inputs in one line, by the names that the text gives them."""
    names = [node.target for node in trial.example.placeholders]
    return ", ".join(f"{name}={short(value)}" for name, value in zip(names, trial.example.inputs, strict=False))


def _others(trial: Trial, failure: CheckFailure) -> list[str]:
    return [f"  also {other}" for other in trial.failures if other is not failure][:4]


def _facts(trial: Trial, where: str) -> list[str]:
    place = f"{where}, " if where else ""
    lines = [
        f"  where: {place}capture {trial.example.capture!r}, torch {torch.__version__}",
        f"  inputs: {inputs_text(trial)}",
    ]
    if trial.example.edits:
        lines.append(f"  steps from the innocent model: {'; '.join(trial.example.edits)}")
    if trial.result.execution is not None and trial.text_changed:
        lines.append(f"  the pass: {trial.difference()}")
    return lines


def _graphs(trial: Trial, folder: Path | None) -> list[str]:
    if trial.result.execution is None or not trial.text_changed:
        return []
    return ["  after:", _block(trial.after_text, folder and folder / "after.fx")]


def _block(text: str, file: Path | None = None) -> str:
    lines = text.rstrip("\n").split("\n")
    if len(lines) > MAX_LINES:
        rest = f"... {len(lines) - MAX_LINES} more lines" + (f" in {_shown(file)}" if file else "")
        lines = [*lines[:MAX_LINES], rest]
    return textwrap.indent("\n".join(lines), "      ")


def _pasted(trial: Trial, failure: CheckFailure) -> list[str]:
    """Return the lines to paste; they were tried, and fail as this did: in the order of the program where a pass minds.
    """
    name = display_name(trial.claim.pass_.name)
    method = METHODS[trial.claim.verb]
    extra = (f", ops={_ops(trial)}" if trial.claim.wishes else "") + trial.claim.options.spelled()
    for order, spelled in (("canonical", False), ("program", False), ("canonical", True), ("program", True)):
        try:
            shown = with_values(trial.example, trial.claim.options.seed) if spelled else trial.example
            example = reread(shown, order)
            again = trial.claim.try_on(example)
        except Exception:
            continue
        if any(other.cause == failure.cause for other in again.failures):
            return [
                "  to pin it, paste this into a test (it fails there too):",
                _block(paste(method, name, example, extra, order)),
            ]
    return [
        "  before (as text alone it does not show the failure; the values of the model matter):",
        _block(trial.before_text),
    ]


def _ops(trial: Trial) -> str:
    entries = []
    for wish in trial.claim.wishes:
        before, after = (
            None if bound is None else bound.number if bound.compare == "==" else str(bound)
            for bound in (wish.before, wish.after)
        )
        entries.append(
            f'"{wish.name}": {after!r}' if wish.before is None else f'"{wish.name}": ({before!r}, {after!r})'
        )
    return "{" + ", ".join(entries) + "}"


def _script(trial: Trial, failure: CheckFailure) -> str | None:
    if failure.oracle not in ORACLES:  # the test itself shows it
        return None
    try:
        return standalone_script(trial.claim.pass_, trial.example, failure, seed=trial.claim.options.seed)
    except Exception:
        return None


def _save(trial: Trial, failure: CheckFailure, where: str) -> Path | None:
    """Write the graphs, the message and the script; returns the folder, None where nothing can be written."""
    parent = Path(".fxpect") / "runs" / (clean(where) if where else caller_name())
    try:
        folder = new_folder(trial.claim.pass_.name, parent)
        write(folder / "before.fx", trial.before_text)
        if trial.after_text:
            write(folder / "after.fx", trial.after_text)
        if failure.script:
            write(folder / "replay.py", failure.script)
        write(folder / "failure.txt", str(failure))
    except (OSError, FxpectError):
        return None
    tally.add("saved")
    return folder


def _next(trial: Trial, failure: CheckFailure, folder: Path | None, where: str) -> list[str]:
    lines = [f"  saved in {_shown(folder)}"] if folder else []
    if folder and failure.script:
        fill = "FILL IN" in failure.script
        lines += [
            "  next" + (" (fill in the marked line of the script first)" if fill else "") + ":",
            f"    {_search_path(trial.claim.pass_.source)}python {_shown(folder / 'replay.py')}",
        ]
    elif where:
        lines += ["  next:", f"    python -m unittest {where}"]
    return lines


def _search_path(source: Any) -> str:
    """Return the assignment that lets a script import the pass from where this process did."""
    module = sys.modules.get(getattr(source, "__module__", None) or "")
    file = getattr(module, "__file__", None)
    if file is None or module is None or module.__name__ == "__main__":
        return ""
    top = Path(file).resolve().parents[module.__name__.count(".")]
    if Path(file).name == "__init__.py":
        top = top.parent
    if any(part in ("site-packages", "dist-packages") for part in top.parts) or top.name.startswith("python3"):
        return ""
    return f"PYTHONPATH={_shown(top)} "


def _shown(path: Path | None) -> str:
    if path is None:
        return ""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


@dataclasses.dataclass(frozen=True)
class Part:
    """One of several failures that are told together: a heading, and what it says."""

    title: str
    failure: BaseException


def together(oracle: str, head: str, parts: list[Part]) -> CheckFailure:
    """Return one failure for several, of their own class where they have one in common."""
    kinds = {type(part.failure) for part in parts}
    kind = kinds.pop() if len(kinds) == 1 else CheckFailure
    kind = kind if issubclass(kind, CheckFailure) else CheckFailure
    texts = [f"--- {part.title}\n{_told(part.failure)}" for part in parts]
    first = next((part.failure for part in parts if isinstance(part.failure, CheckFailure)), None)
    failure = kind(
        first.oracle if first is not None and len(parts) == 1 else oracle,
        "\n".join([head, *texts]),
        cause=getattr(first, "cause", None),
    )
    for name in ("pass_name", "node", "before", "after", "script"):
        setattr(failure, name, getattr(first, name, None))
    return failure


def _told(error: BaseException) -> str:
    if isinstance(error, CheckFailure):
        return str(error)
    return f"{type(error).__name__}: {error}"
