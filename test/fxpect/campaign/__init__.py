"""Exploration without a test file: ``check`` and its findings."""
