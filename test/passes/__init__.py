"""The suite over the catalogue: what each pass of torch does, its known bugs, and its neighbourhood."""

from fxpect.loading import suite

load_tests = suite(__name__, __file__)
