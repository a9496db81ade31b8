#!/usr/bin/env python3
"""Run the regression suite of torch's graph passes, on a machine that may have nothing but Python.

Makes .venv, installs torch and this checkout into it, and runs ``fxpect run`` there. Arguments that are
not listed below go to ``fxpect run``: -j N, -k PATTERN, --junit FILE, --json FILE, a folder or a file.
"""

import argparse

import _environment as environment


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", metavar="VERSION",
                        help="the torch to test, such as 2.15.0 (default: the one that is there, "
                             f"else {environment.DEFAULT_TORCH})")
    arguments, rest = parser.parse_known_args()
    python = environment.ensure("suite", [], editable=".[einops,html,progress,test]", torch=arguments.torch)
    return environment.call([str(python), "-m", "fxpect", "run", *rest])


if __name__ == "__main__":
    environment.run_script(main)
