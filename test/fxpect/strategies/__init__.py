"""Hypothesis strategies: near misses, programs, inputs."""
