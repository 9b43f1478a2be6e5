"""A run from its configuration to its records: plan, execution and measurement.

The package `study` resolves a configuration into the studies that a run consists of.
"""
