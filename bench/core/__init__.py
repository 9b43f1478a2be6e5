"""Foundations that all other packages use; nothing here depends on models or data.

Errors and exit codes, content hashes, hyper-parameters, folders and atomic writes, the store,
records, progress reporting, and the environment of a run.
"""
