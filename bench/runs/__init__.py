"""A run, from its configuration to its records: plan, execution, measurement.

`study` says what a run consists of.
"""
