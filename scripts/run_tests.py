#!/usr/bin/env python3
"""Run lint and every test of this checkout with tox, on a machine that may have nothing but Python.

Makes .venv with tox in it; tox makes an environment for lint and for each torch; then one line says what came of
each, and the last one of all. With --env only the environments that it names run.
Arguments after -- go to ``fxpect run``: scripts/run_tests.py -- test/unit -k parser
"""

import argparse
import os

import _environment as environment

RESULTS = environment.ROOT / ".fxpect" / "results"
LINT = "lint"  # the environment of tox.ini that needs no torch
# Those that have a torch of their own; any other version runs in "torch".
OWN = {"2.11.0": "torch211", "2.13.0": "torch213", "2.15.0": "torch215"}
FAILURES, NOTHING_RAN = 1, 5


def main() -> int:
    arguments = parse()
    python = environment.ensure("tests", ["tox>=4"])
    lines, codes, total, lint = [], [], {"passed": 0, "failed": 0, "skipped": 0}, "lint not run"
    for name, version in chosen(arguments):
        code, result = run_one(str(python), name, version, arguments.rest)
        codes.append(code)
        lines += describe(name, version, code, result)
        if name == LINT:
            lint = "lint failed" if code else "lint passed"
        for key in total:
            total[key] += counts(result)[key] if result else 0
    print("\nsummary")
    print("\n".join(lines))
    print("{passed} passed, {failed} failed, {skipped} skipped; ".format(**total) + lint, flush=True)
    return verdict(codes)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-e", "--env", action="append", default=[], metavar="ENV,...",
                        help="environments of tox.ini (default: lint,torch213)")
    parser.add_argument("--torch", action="append", default=[], metavar="VERSION,...",
                        help="versions of torch, such as 2.13.0,2.15.0; lint runs before them")
    parser.add_argument("rest", nargs="*", metavar="ARGUMENT", help=argparse.SUPPRESS)
    return parser.parse_args()


def chosen(arguments: argparse.Namespace) -> list:
    """Return each environment that was asked for, with the version of torch ("" for its own)."""
    named = [(name, "") for given in arguments.env for name in given.split(",")]
    torches = [(OWN.get(version, "torch"), version)
               for given in arguments.torch for version in given.split(",")]
    if named:
        return named + torches
    return [(LINT, ""), *(torches or [(OWN[environment.DEFAULT_TORCH], "")])]


def run_one(python: str, name: str, version: str, rest: list) -> tuple:
    """Run one environment; return the exit code of tox and the result that its tests wrote, if any."""
    written = RESULTS / f"{name}.json"
    if written.exists():
        written.unlink()
    os.environ["FXPECT_TORCH"] = version
    words = [python, "-m", "tox", "run", "-e", name, *(["--", *rest] if rest else [])]
    return environment.call(words), environment.read_json(written)


def describe(name: str, version: str, code: int, result: "dict | None") -> list:
    """Return what to print about one environment: its counts, and every reason for a skip."""
    if result is None:
        return [f"  {name}: {'ok' if not code else f'failed with exit code {code}, see above'}"]
    tally = result["tally"]["counts"]
    return [f"  {name}, torch {result['versions'].get('torch', 'missing')}: "
            + ", ".join(f"{number} {word}" for word, number in counts(result).items())
            + f"; {tally.get('pinned', 0)} pinned cases, {tally.get('examples', 0)} examples explored; "
            f"{result['seconds']:.0f} s",
            *(f"    skipped {number}: {reason}" for reason, number in result["skips"].items())]


def counts(result: dict) -> dict:
    """Return how many passed, failed and were skipped; a known bug that failed as expected has passed."""
    tests = result["tests"]
    return {"passed": tests["passed"] + tests["known"],
            "failed": tests["failed"] + tests["error"] + tests["fixed"], "skipped": tests["skipped"]}


def verdict(codes: list) -> int:
    """Return one exit code for all: a failure before an interrupt before nothing ran."""
    bad = [code for code in codes if code]
    for code in (environment.INTERRUPTED, NOTHING_RAN):
        if bad and all(one == code for one in bad):
            return code
    return FAILURES if bad else 0


if __name__ == "__main__":
    environment.run_script(main)
