"""The command ``fxpect``: picks the command's module, and turns misuse into a message and an exit code.

A command is a module ``fxpect.commands.<name>`` with two functions: ``configure(parser)`` adds its
arguments, ``main(arguments) -> int`` runs it and returns the exit code. Only the chosen one is imported.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Sequence

from fxpect import __version__
from fxpect.commands import exit_codes
from fxpect.errors import FixtureError, FxpectError, OutdatedError, RefusedError

# In the order in which a newcomer meets them.
COMMANDS = {
    "run": "run the regression suite against the torch that is installed",
    "check": "explore the neighbourhood of a model and print what a pass breaks",
    "passes": "list the passes of the catalogue, and one of them in full",
    "bugs": "list the known bugs of the passes of torch, and see whether each is still there",
    "compare": "tell what differs between two saved runs, such as those of two versions of torch",
    "status": "list what the last runs propose, and what is corrupt",
    "diff": "show what a proposal changes, in words and then in lines",
    "review": "answer what is pending with single keys, one question for all cases with the same edit",
    "accept": "write proposals into fixtures/",
    "reject": "throw proposals away",
    "verify": "check that every stored file can be trusted and has a test, and that nothing is pending",
    "merge": "make one file of a stored file with conflict markers: the union of its cases",
    "migrate": "write stored files in the newest format, where nothing but their spelling changes",
    "prune": "list the stored files whose test is gone, and move or delete them",
    "catalogue": "write pages that show each test, its claim, its stored graphs and what is related",
}
# The most specific first.
CODES: tuple[tuple[type[Exception], int], ...] = (
    (OutdatedError, exit_codes.OUTDATED), (FixtureError, exit_codes.CORRUPT),
    (RefusedError, exit_codes.REFUSED), (FxpectError, exit_codes.USAGE))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; ``argv`` is without the program's name."""
    words = list(sys.argv[1:] if argv is None else argv)
    there = [name for name in COMMANDS if importlib.util.find_spec(f"fxpect.commands.{name}")]
    if words and words[0] in there:
        return _run_command(words[0], words[1:])
    overview = _overview(there)
    if words:
        overview.parse_args(words)  # --help, --version or misuse: all of them end here
    overview.print_help(sys.stderr)
    return exit_codes.USAGE


def _run_command(name: str, words: list[str]) -> int:
    command = importlib.import_module(f"fxpect.commands.{name}")
    parser = argparse.ArgumentParser(f"fxpect {name}", description=command.__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    command.configure(parser)
    arguments = parser.parse_args(words)
    try:
        return command.main(arguments)
    except FxpectError as error:
        print(f"fxpect {name}: {error}", file=sys.stderr)
        return next(code for kind, code in CODES if isinstance(error, kind))
    except KeyboardInterrupt:
        print(f"fxpect {name}: interrupted", file=sys.stderr)
        return exit_codes.INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has seen enough
        sys.stderr.close()
        return exit_codes.OK
    except OSError as error:
        print(f"fxpect {name}: expected a project that can be read and written; got {error}", file=sys.stderr)
        return exit_codes.USAGE


def _overview(there: Sequence[str]) -> argparse.ArgumentParser:
    lines = [f"  {name:<10}{COMMANDS[name]}" for name in there]
    parser = argparse.ArgumentParser(
        "fxpect", usage="fxpect COMMAND ...", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="A regression suite for PyTorch graph passes.\n\ncommands:\n" + "\n".join(lines),
        epilog="fxpect COMMAND --help tells more.")
    parser.add_argument("--version", action="version", version=f"fxpect {__version__}")
    parser.add_argument("command", choices=there, metavar="COMMAND", help=argparse.SUPPRESS)
    return parser
