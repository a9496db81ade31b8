"""JUnit XML, for the CI systems that read it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable

from fxpect.report.verdicts import ERROR, FAILED, FIXED, KNOWN, SKIPPED, RunReport, Verdict

# XML 1.0 has no way to write these characters, escaped or not.
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(report: RunReport, *, name: str = "fxpect") -> str:
    """Return the report as one ``<testsuite>`` a class: mismatch = failure, any other exception = error.

    A known bug that is still there is written as skipped, the nearest thing that the format has.
    """
    root = ET.Element("testsuites", {"name": name, **_totals(report.verdicts)})
    classes: dict[str, list[Verdict]] = {}
    for verdict in report.verdicts:
        classes.setdefault(verdict.name.rpartition(".")[0] or verdict.name, []).append(verdict)
    for class_name, verdicts in classes.items():
        suite = ET.SubElement(root, "testsuite", {"name": class_name, **_totals(verdicts)})
        properties = ET.SubElement(suite, "properties")
        for key, value in sorted(report.versions.items()):
            ET.SubElement(properties, "property", {"name": key, "value": value})
        for verdict in verdicts:
            _add_case(suite, class_name, verdict)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _add_case(suite: ET.Element, class_name: str, verdict: Verdict) -> None:
    case = ET.SubElement(suite, "testcase", {
        "classname": class_name, "name": verdict.name.rpartition(".")[2], "time": f"{verdict.seconds:.3f}",
        "file": verdict.file})
    if verdict.status in (FAILED, ERROR):
        tag = "failure" if verdict.status == FAILED else "error"
        first = verdict.problems[0]
        body = "\n".join(f"{problem.label}\n{problem.text}".lstrip() for problem in verdict.problems)
        ET.SubElement(case, tag, {"type": first.kind, "message": _clean(first.message)}).text = _clean(body)
    elif verdict.status == FIXED:
        ET.SubElement(case, "failure", {"type": "UnexpectedSuccess", "message": _clean(verdict.reason)})
    elif verdict.status in (SKIPPED, KNOWN):
        ET.SubElement(case, "skipped", {"message": _clean(verdict.reason)})
    if verdict.output:
        ET.SubElement(case, "system-out").text = _clean(verdict.output)


def _totals(verdicts: Iterable[Verdict]) -> dict[str, str]:
    chosen = list(verdicts)
    return {"tests": str(len(chosen)),
            "failures": str(sum(one.status in (FAILED, FIXED) for one in chosen)),
            "errors": str(sum(one.status == ERROR for one in chosen)),
            "skipped": str(sum(one.status in (SKIPPED, KNOWN) for one in chosen)),
            "time": f"{sum(one.seconds for one in chosen):.3f}"}


def _clean(text: str) -> str:
    return _UNWRITABLE.sub(lambda found: f"\\x{ord(found.group()):02x}", text)
