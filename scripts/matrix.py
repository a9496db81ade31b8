#!/usr/bin/env python3
"""Run the suite on several versions of torch and write one report of what differs from each to the next.

    scripts/matrix.py                                   2.11.0, 2.13.0 and 2.15.0, every test
    scripts/matrix.py --torch 2.13.0,2.15.0 test/passes test/dynamo
    scripts/matrix.py --add 2.16.0                      one torch more
    scripts/matrix.py --add nightly/bin/python          ... the one of this Python, which has hypothesis and expecttest
    scripts/matrix.py -k batch_linear                   the tests of that name

A version runs in its environment of tox, a Python as it is. The runs and the report, drift.json and drift.html, go to
.fxpect/matrix. Ends with 0 where every run passed, whatever differs: a
difference that nobody expects fails a test. ``fxpect compare`` makes the report anew from the saved runs.
"""

import argparse
import shutil
from pathlib import Path

import _environment as environment
import run_tests

OUT = environment.ROOT / ".fxpect" / "matrix"


def main() -> int:
    arguments = parse()
    rest = [*arguments.targets, *(word for pattern in arguments.patterns for word in ("-k", pattern))]
    python = str(environment.ensure("matrix", ["tox>=4", "jinja2", "packaging"]))
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    lines, codes, files = [], [], []
    for torch in torches(arguments):
        name, code, written = run_one(python, torch, rest, out)
        codes.append(code)
        result = environment.read_json(written)
        lines += run_tests.describe(name, torch, code, result)
        if result is not None:
            files.append(str(written))
    if len(files) > 1:
        words = ["compare", *files, "--json", str(out / "drift.json"), "--html", str(out / "drift.html"), "--exit-zero"]
        codes.append(environment.call([python, "-m", "fxpect", *words], **library()))
        report = str(out / "drift.html")
    else:
        codes.append(run_tests.FAILURES)
        report = "none, since fewer than two runs have a result"
    print("\n".join(["\nsummary", *lines, f"report: {report}"]), flush=True)
    return run_tests.verdict(codes)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", default=["test"], metavar="TARGET",
                        help="a folder, a file, or a dotted name of tests (default: test)")
    parser.add_argument("-k", action="append", default=[], dest="patterns", metavar="PATTERN",
                        help="only tests whose name holds PATTERN, or matches it where it has a *")
    parser.add_argument("--torch", action="append", default=[], metavar="TORCH,...",
                        help=f"versions of torch, or Pythons that have one (default: {','.join(run_tests.OWN)})")
    parser.add_argument("--add", action="append", default=[], metavar="TORCH,...", help="the same, beside the others")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="where runs and report go")
    arguments = parser.parse_args()
    if len(torches(arguments)) < 2:
        parser.error(f"expected two torches or more, to compare; got {', '.join(torches(arguments))}")
    return arguments


def torches(arguments: argparse.Namespace) -> list:
    """Return what to run on, in the order in which it is compared."""
    chosen = [torch for given in arguments.torch or [",".join(run_tests.OWN)] for torch in given.split(",")]
    return list(dict.fromkeys([*chosen, *(torch for given in arguments.add for torch in given.split(","))]))


def run_one(python: str, torch: str, rest: list, out: Path) -> tuple:
    """Run the suite on one torch; return what to call it, the exit code, and the file of the run."""
    is_python = "/" in torch or "\\" in torch
    written = out / ("_".join(Path(torch).parts[-3:]).strip("/_") if is_python else torch)
    written = written.with_name(f"{written.name}.json")
    written.unlink(missing_ok=True)  # an earlier run must not stand in for this one
    if is_python:
        words = [torch, "-m", "fxpect", "run", "--jobs", "auto", "--json", str(written), "--graphs", *rest]
        return torch, environment.call(words, **library()), written
    name = run_tests.OWN.get(torch, "torch")
    code, result = run_tests.run_one(python, name, torch, rest)
    if result is not None:
        shutil.copyfile(run_tests.RESULTS / f"{name}.json", written)
    return name, code, written


def library() -> dict:
    """Return the variables by which a Python finds the library of this checkout."""
    return {"PYTHONPATH": str(environment.ROOT / "test")}


if __name__ == "__main__":
    environment.run_script(main)
