"""Every pass of the catalogue fires on each of its innocent models and is right there, but for known bugs."""

import unittest
from pathlib import Path

import torch

from fxpect.errors import CaptureError, InputDrift
from fxpect.examples import inputs_text
from fxpect.oracles.judge import judge
from fxpect.passes.catalogue import CataloguedPass, Innocent, catalogue
from fxpect.passes.firing import fire, pass_of, start
from fxpect.passes.known_bugs import load, table_path, unexplained
from fxpect.report.counts import tally

torch.set_num_threads(1)
BUGS = load(table_path(Path(__file__).parents[2]))


class CatalogueTests(unittest.TestCase):
    """One test for each pass; a model that is captured differently, or not at all, is an ``InputDrift``."""


def check_innocents(entry: CataloguedPass) -> None:
    """Raise unless the pass fires on each of its models, and holds there or shows a known bug."""
    for model in entry.models:
        check_innocent(entry, model)


def check_innocent(entry: CataloguedPass, model: Innocent) -> None:
    """Raise unless the pass fires on this model, and holds there or shows a known bug."""
    try:
        example = start(entry, model)
    except CaptureError as error:
        raise InputDrift("input", f"model {model.name!r} is no longer captured with torch {torch.__version__}: {error}",
                         pass_name=entry.name) from error
    fire(entry, model, example)
    result = judge(pass_of(entry), example, severity=entry.severity)
    if result.discarded is not None:
        raise InputDrift("input", f"model {model.name!r}: {result.discarded}", pass_name=entry.name)
    tally.add("examples")
    for failure in unexplained(BUGS, entry.name, result.failures, example.text, inputs_text(example)):
        raise failure


def _add_tests() -> None:
    """Give the class one test for each pass that the installed torch has."""
    for entry in catalogue():
        def test(self, entry=entry):
            check_innocents(entry)

        test.__name__ = f"test_{entry.name.replace('.', '_')}"
        test.__qualname__ = f"CatalogueTests.{test.__name__}"
        test.__doc__ = f"{entry.name} fires on its {len(entry.models)} models and holds."
        setattr(CatalogueTests, test.__name__, test)


_add_tests()

if __name__ == "__main__":
    unittest.main()
