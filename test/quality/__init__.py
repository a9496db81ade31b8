"""Planted and real bugs - are they found, how fast, and what do they shrink to?"""

from fxpect.loading import suite

load_tests = suite(__name__, __file__)
