"""Every suite of the project; ``python -m unittest`` at the repository root runs them all."""

from fxpect.loading import suite

load_tests = suite(__name__, __file__, "dynamo", "passes", "quality", "unit")
