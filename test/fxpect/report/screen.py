"""The end of a run: each failure in full, then everything that matters on one screen."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fxpect.report.counts import KINDS, Tally
from fxpect.report.verdicts import ERROR, FAILED, FIXED, KNOWN, PASSED, SKIPPED, RunReport, Verdict

WIDTH = 26
MAX_LINES = 8
STATUS_WORDS = {PASSED: "passed", FAILED: "failed", ERROR: "errors", FIXED: "fixed",
                KNOWN: "known bugs", SKIPPED: "skipped"}
Paint = Callable[[str, str], str]


def failures(report: RunReport, paint: Paint) -> str:
    """Return every bad verdict in full, each followed by the command that runs it again."""
    parts = []
    for verdict in report.bad:
        parts.append(paint(f"{verdict.status}: {verdict.name}", "bold"))
        for problem in verdict.problems:
            parts.append((f"{problem.label}\n" if problem.label else "") + problem.text.rstrip())
        if verdict.reason:
            parts.append(verdict.reason)
        if verdict.output.strip():
            parts.append("it printed:\n" + _indent(verdict.output.rstrip()))
        parts.append(f"run it again:\n    {rerun(verdict)}\n")
    return "\n".join(parts)


def rerun(verdict: Verdict) -> str:
    """Return the command that runs the test of ``verdict`` alone."""
    *_, owner, last = ["", *verdict.name.split(".")]
    if last in ("setUpClass", "tearDownClass"):
        pattern = owner
    elif last in ("setUpModule", "tearDownModule") or verdict.file.endswith(f"{last}.py"):
        pattern = ""
    else:
        pattern = f"{owner}.{last}"
    return " ".join(["fxpect run", verdict.file or "...", *(["-k", pattern] if pattern else [])])


def screen(report: RunReport, paint: Paint) -> str:
    """Return the one screen: versions, tests, cases, examples, drift, known bugs, skips, where to look."""
    whole = report.tally
    lines = [f"{paint('torch ' + report.versions.get('torch', 'not installed'), 'bold')}   "
             + "   ".join(f"{name} {report.versions[name]}" for name in ("python", "fxpect")
                          if name in report.versions),
             _row("tests", _test_words(report)),
             _row("pinned cases", f"{whole['pinned']:,}"),
             _row("examples explored", _example_words(whole))]
    lines += _listed("captures that drifted", whole["capture drift"], _where(report, "capture drift"))
    lines += _listed("passes that changed", whole["pass drift"], _where(report, "pass drift"))
    lines += _known_bugs(report)
    skips = report.skips()
    lines += _listed("skipped", sum(skips.values()),
                     [f"{count} of them: {reason or 'no reason given'}" for reason, count in skips.items()])
    lines += _look_at(report, whole)
    lines.append(_last_line(report, paint))
    return "\n".join(lines)


def _test_words(report: RunReport) -> str:
    numbers = {words: len(report.by_status(status)) for status, words in STATUS_WORDS.items()}
    words = [f"{number} {word.removesuffix('s') if number == 1 else word}"
             for word, number in numbers.items() if number or word == "passed"]
    return f"{len(report.verdicts)}: {', '.join(words)}   in {report.seconds:.1f} s"


def _example_words(whole: Tally) -> str:
    discarded = f"  ({whole['discarded']:,} discarded)" if whole["discarded"] else ""
    return f"{whole['examples']:,}{discarded}"


def _where(report: RunReport, kind: str) -> list[str]:
    """Return one line for each detail of ``kind``, with the test that it belongs to."""
    return [f"{'.'.join(verdict.name.split('.')[-2:])}  {detail}"
            for verdict in report.verdicts for detail in sorted(verdict.tally.details.get(kind, ()))]


def _known_bugs(report: RunReport) -> list[str]:
    known, fixed = report.by_status(KNOWN), report.by_status(FIXED)
    marked = [verdict for verdict in known if not verdict.tally["known bug"]]
    there = [f"{'.'.join(verdict.name.split('.')[-2:])}  {verdict.reason}" for verdict in marked]
    lines = _listed(KINDS["known bug"], len(marked) + report.tally["known bug"],
                    there + _where(report, "known bug"))
    gone = [".".join(verdict.name.split(".")[-2:]) for verdict in fixed] + _where(report, "fixed bug")
    number = len(fixed) + report.tally["fixed bug"]
    return lines + (_listed(KINDS["fixed bug"], number, gone) if number else [])


def _look_at(report: RunReport, whole: Tally) -> list[str]:
    places = []
    if whole["proposed"] or whole["capture drift"] or whole["pass drift"]:
        places.append("fxpect review: what this run proposes (.fxpect/pending/), equal changes as one question")
    if whole["saved"]:
        places.append(".fxpect/runs/: before, after and diff of the passes that failed")
    places += [rerun(verdict) for verdict in report.bad[:MAX_LINES]]
    if len(report.bad) > MAX_LINES:
        places.append(f"and {len(report.bad) - MAX_LINES} more, above")
    return [_row("look at" if not index else "", place) for index, place in enumerate(places)]


def _last_line(report: RunReport, paint: Paint) -> str:
    if report.interrupted:
        return paint("INTERRUPTED", "yellow")
    if report.bad:
        return paint(f"FAILED: {len(report.bad)} of {len(report.verdicts)} tests", "red")
    if not report.ran:
        return paint("NOTHING RAN", "red")
    return paint("OK", "green")


def _listed(title: str, number: int, lines: Iterable[str]) -> list[str]:
    shown = list(lines)
    rest = len(shown) - MAX_LINES
    more = [f"    and {rest} more (--json FILE has them all)"] if rest > 0 else []
    return [_row(title, f"{number:,}"), *(f"    {line}" for line in shown[:MAX_LINES]), *more]


def _row(title: str, text: str) -> str:
    return f"{title:<{WIDTH}}{text}"


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
