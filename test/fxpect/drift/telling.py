"""The drift report as text for a terminal, and as data for another program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fxpect.drift.comparing import KINDS, SAME, Drift
from fxpect.drift.grouping import Group, groups_of, lines_of

FORMAT = 1
MAX_TESTS = 4
Paint = Callable[[str, str], str]


def as_text(drift: Drift, paint: Paint, *, max_lines: int) -> str:
    """Return the report of one pair of runs; of each diff at most ``max_lines`` lines, 0 for all."""
    groups = groups_of(drift.differences)
    parts = [paint(headline(drift), "bold"), ""]
    parts += _table(drift)
    for number, group in enumerate(groups, 1):
        parts += ["", *_group(group, number, drift, paint, max_lines)]
    return "\n".join(parts)


def headline(drift: Drift) -> str:
    """Return the pair, how much was compared, and how much of it is the same."""
    same = sum(not test.differences for test in drift.tests)
    cases = sum(test.cases for test in drift.tests)
    causes = _count(len(groups_of(drift.differences)), "cause")
    whole = f"{drift.first} -> {drift.second}: {_count(len(drift.tests), 'test')} with {_count(cases, 'case')}"
    if same == len(drift.tests):
        return f"{whole}; nothing differs"
    return f"{whole}; {same:,} the same, {len(drift.tests) - same:,} with differences of {causes}"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'s' * (number != 1)}"


def _table(drift: Drift) -> list[str]:
    """Return the files with how many tests have differences of each kind; files that are the same are one line."""
    kinds = [kind for kind in KINDS if any(counts[kind] for counts in drift.modules.values())]
    differing = {file: counts for file, counts in drift.modules.items() if any(counts[kind] for kind in kinds)}
    rows = [["tests of", SAME, *kinds],
            *([file, *(str(counts[kind] or "") for kind in (SAME, *kinds))] for file, counts in differing.items())]
    rest = len(drift.modules) - len(differing)
    if rest:
        whole = sum(counts[SAME] for file, counts in drift.modules.items() if file not in differing)
        name = f"{rest} {'other file' if differing else 'file'}{'s' * (rest != 1)}"
        rows.append([name, str(whole), *[""] * len(kinds)])
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    padded = ([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows)
    return ["  ".join(cells).rstrip() for cells in padded]


def _group(group: Group, number: int, drift: Drift, paint: Paint, max_lines: int) -> Iterator[str]:
    yield paint(f"{number}. {group.kind}, {group.count}: {group.title}", "bold")
    yield f"   {group.example.words}"
    if group.example.note:
        yield f"   {group.example.note}"
    for (file, test), members in list(group.tests.items())[:MAX_TESTS]:
        cases = [one.case for one in members if one.case]
        more = f"  and {len(cases) - 1} more" if len(cases) > 1 else ""
        yield f"     {file} {test}" + (f"  {cases[0]}{more}" if cases else "")
    rest = len(group.tests) - MAX_TESTS
    if rest > 0:
        yield f"     and {rest} more tests: --json FILE or --html FILE has them all"
    if group.compares_texts:
        yield paint(f"   --- {drift.first}", "red")
        yield paint(f"   +++ {drift.second}", "green")
        lines = lines_of(group.example)
        shown = lines if max_lines <= 0 else lines[:max_lines]
        for line in shown:
            color = {"-": "red", "+": "green"}.get(line[:1])
            yield f"   {paint(line, color) if color else line}"
        if len(shown) < len(lines):
            yield f"   ... {len(lines) - len(shown)} more lines: --lines 0"


def as_data(drifts: Sequence[Drift]) -> dict[str, Any]:
    """Return the whole report as plain data.

    ``drifts`` has one entry for each pair of runs: ``first`` and ``second`` name them, ``modules`` maps each file to
    how many of its tests have differences of each kind, ``tests`` lists each test with its kinds, and ``groups`` each
    cause with its kind, words, diff, example (the texts themselves) and the cases that it explains.
    """
    return {"format": FORMAT, "drifts": [_drift(one) for one in drifts]}


def _drift(drift: Drift) -> dict[str, Any]:
    return {"first": drift.first, "second": drift.second, "same": not drift.differences,
            "modules": {file: dict(sorted(counts.items())) for file, counts in drift.modules.items()},
            "tests": [{"file": one.file, "test": one.test, "cases": one.cases, "kinds": one.kinds}
                      for one in drift.tests],
            "groups": [_data(group) for group in groups_of(drift.differences)]}


def _data(group: Group) -> dict[str, Any]:
    example = group.example
    return {"name": group.name, "kind": group.kind, "words": example.words, "note": example.note,
            "passes": group.passes, "diff": lines_of(example),
            "example": {"file": example.file, "test": example.test, "case": example.case, "before": example.before,
                        "first": example.first, "second": example.second},
            "differences": [{"file": one.file, "test": one.test, "case": one.case, "pass": one.pass_name,
                             "words": one.words} for one in group.differences]}
