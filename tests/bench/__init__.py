"""Benchmarks: they print figures with their conditions, and judge nothing."""
