"""Tests of the library, one file per library module."""

from fxpect.loading import suite

load_tests = suite(__name__, __file__)
